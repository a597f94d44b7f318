"""Whatever a file holds, loading ends in a task or in a `SpecError` that a person can read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.heldout import HeldOutTask, load, mark
from tests.conftest import examples
from tests.heldout.helpers import CAPITAL, FRANCE, SUM, entry, jsonl
from tests.heldout.test_taskfile import CHOICE, FREE, place

NAMES = [
    *("question", "choices", "answer", "prompt", "checker"),
    *("id", "level", "template", "group", "language", "anwser"),
]
TEXT = st.text(max_size=12) | st.sampled_from(["서울", "A", "exact", "number", "ko", "\x1b[31m"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ROWS = st.dictionaries(st.sampled_from(NAMES) | TEXT, JSON, max_size=7) | JSON
GOOD = jsonl(CAPITAL, FRANCE | {"id": "fr", "level": 2, "group": "g"})


def outcome(path: Path, **fields: object) -> None:
    try:
        found = load(entry(path, **fields), path.parent)
    except SpecError as error:
        check_complaint(error, path)
    else:
        check_task(found)


def check_complaint(error: SpecError, path: Path) -> None:
    text = str(error)
    assert error.where.startswith(str(path.parent))
    assert error.allowed or "is missing" in error.message
    assert error.hint
    assert error.reason
    assert all(char.isprintable() or char == "\n" for char in text), text
    assert len(text) < 2000


def check_task(found: HeldOutTask) -> None:
    """What was accepted can be asked, recorded and marked."""
    assert found.items
    assert len(found.ids) == len(found.items)
    for item in found.items:
        item.context.encode()
        assert item.context.strip()
        assert 1 <= item.level <= 3
        assert item.template.isprintable()
        json.dumps(item.check, allow_nan=False)
        if found.form == "choice":
            assert item.answer in item.choices
            assert len(set(item.choices)) == len(item.choices) >= 2
        else:
            assert mark(item.answer, item).loose
            assert item.stop


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "exam.jsonl"


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=300))
def test_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    outcome(path)


@settings(max_examples=examples(50, 1000), deadline=None)
@given(
    rows=st.lists(ROWS, min_size=1, max_size=4),
    choices=st.sampled_from(["cloze", "letter"]),
    shots=st.integers(0, 3),
)
def test_json_of_any_form(path: Path, rows: list[object], choices: str, shots: int) -> None:
    path.write_bytes("".join(json.dumps(row) + "\n" for row in rows).encode())
    outcome(path, choices=choices, shots=shots)


@settings(max_examples=200, deadline=None)
@given(
    base=st.sampled_from([CAPITAL, FRANCE, SUM]),
    changes=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=2),
    choices=st.sampled_from(["cloze", "letter"]),
    licence=st.sampled_from(["MIT", "CC-BY-ND-4.0"]),
)
def test_lines_that_are_almost_right(
    path: Path, base: dict[str, object], changes: dict[str, object], choices: str, licence: str
) -> None:
    path.write_bytes(json.dumps(base | changes).encode())
    outcome(path, choices=choices, licence=licence)


@settings(max_examples=30, deadline=None)
@given(
    start=st.integers(0, len(GOOD)),
    drop=st.integers(0, 20),
    insert=st.binary(max_size=4) | st.sampled_from([b'"', b"\\ud800", b"\r\n", b"[", b"\0"]),
)
def test_mutants(path: Path, start: int, drop: int, insert: bytes) -> None:
    path.write_bytes(GOOD[:start] + insert + GOOD[start + drop :])
    outcome(path)


@settings(
    max_examples=examples(40, 1000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    text=st.sampled_from([CHOICE, FREE]),
    start=st.integers(0, len(CHOICE)),
    drop=st.integers(0, 12),
    insert=st.text("abz019:-#{}[]&*!|>'\"%@`,?\\ \n\t\x07\u200b한", max_size=5),
)
def test_task_files(path: Path, text: str, start: int, drop: int, insert: str) -> None:
    mutant = text[:start] + insert + text[start + drop :]
    outcome(place(path.parent, mutant))


@settings(max_examples=examples(10, 200), deadline=None)
@given(
    template=st.text("{}%|.()[]'\" abqfor in endset=~+0,:-", max_size=14),
    key=st.sampled_from(['"{{q}}"', "word"]),
)
def test_templates(path: Path, template: str, key: str) -> None:
    quoted = json.dumps("{{q}}" + template)
    outcome(place(path.parent, FREE.replace(key, quoted, 1)))


@settings(max_examples=examples(10, 200), deadline=None)
@given(doc=st.dictionaries(st.sampled_from(["q", "word", "self", "loop", "가"]), JSON, max_size=4))
def test_data_of_a_task(path: Path, doc: dict[str, object]) -> None:
    outcome(place(path.parent, FREE, [{"q": "?", "word": "x"} | doc]))
    outcome(place(path.parent, FREE.replace("doc_to_target: word", 'doc_to_target: "{{word}}"'), [
        {"q": "?", "word": "x"} | doc
    ]))  # fmt: skip
