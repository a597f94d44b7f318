from __future__ import annotations

import re

import pytest

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
