from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.report import markdown
from tests.report import sample


@pytest.mark.parametrize("payload", sample.PAYLOADS)
def test_escaped_values_hold_no_syntax(payload: str) -> None:
    text = markdown.escape(payload)
    bare = re.sub(r"&#\d+;", "", text)
    assert not re.search(r"[<>|`*\[\]\\~#&$@]|://|www\.", bare)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def test_underscores_within_words_stay_readable() -> None:
    assert markdown.escape("ref-4m.q8_0.gguf") == "ref-4m.q8_0.gguf"
    assert markdown.escape("_x_") == "&#95;x&#95;"


def test_hostile_cells_do_not_break_tables() -> None:
    text = markdown.render(sample.hostile())
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) >= 6
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "<script" not in text
    assert "<img" not in text


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        ("en", ["Joint first", "no score", "harness models pull", "project's proposal"]),
        ("ko", ["공동 1위", "점수 없음", "harness models pull", "이 프로젝트의 제안"]),
    ],
)
def test_holds_what_the_console_holds(lang, words) -> None:
    text = markdown.render(sample.laptop(), lang=lang)
    for word in words:
        assert word in text


def test_write_replaces_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "scorecard.md"
    assert markdown.write(sample.laptop(), path) == path
    markdown.write(sample.card([]), path)
    assert path.read_text("utf-8") == markdown.render(sample.card([]))
    assert [file.name for file in path.parent.iterdir()] == ["scorecard.md"]


def test_unwritable_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "scorecard.md"
    with pytest.raises(HarnessError) as caught:
        markdown.write(sample.laptop(), path)
    assert caught.value.where == str(path)
    assert caught.value.reason == "unwritable"


def test_a_failed_replace_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "scorecard.md"
    path.mkdir()
    with pytest.raises(HarnessError, match="cannot write"):
        markdown.write(sample.laptop(), path)
    assert list(tmp_path.iterdir()) == [path]
