"""Files of held-out items, and the one way to load them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import Exit, SpecError
from harness.heldout import HeldOutTask, load
from harness.spec import HeldOut, sha256

CAPITAL = {"question": "한국의 수도는?", "choices": ["서울", "부산", "대구"], "answer": 0}
FRANCE = {"question": "Capital of France?", "choices": ["Rome", "Paris"], "answer": "Paris"}
SUM = {"prompt": "12 + 30 = ?", "answer": "42", "checker": "number"}


def jsonl(*rows: object) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def entry(path: Path, **fields: Any) -> HeldOut:
    given = {"id": "exam", "path": path.name, "licence": "Apache-2.0"} | fields
    return HeldOut(**({"sha256": sha256(path.read_bytes())} | given))


def load_bytes(
    folder: Path, content: bytes, name: str = "exam.jsonl", **fields: Any
) -> HeldOutTask:
    path = folder / name
    path.write_bytes(content)
    return load(entry(path, **fields), folder)


def load_rows(folder: Path, *rows: object, **fields: Any) -> HeldOutTask:
    return load_bytes(folder, jsonl(*rows), **fields)


def refusal(folder: Path, content: bytes, name: str = "exam.jsonl", **fields: Any) -> SpecError:
    """The one error of a file; every error says where, what is right and what next."""
    with pytest.raises(SpecError) as caught:
        load_bytes(folder, content, name, **fields)
    error = caught.value
    assert error.exit_code == Exit.SPECIFICATION
    assert error.where.startswith(str(folder))
    assert error.allowed
    assert "harness accuracy check" in error.hint
    return error
