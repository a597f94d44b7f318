"""A file is the old one or the new one, and what was appended is there or not."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from harness import durable
from harness.durable import unwritable, write_whole
from harness.errors import RecordError


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    full = unwritable(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert full.reason == "disk_full"
    assert "harness run --resume latest" in full.hint
    other = unwritable(tmp_path, OSError(errno.EACCES, "Permission denied"))
    assert other.reason == "unwritable"
    assert "--out" in other.hint


def test_replacing_a_file_is_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "scorecard.json"
    write_whole(target, b"old")
    write_whole(target, b"new")
    assert target.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["scorecard.json"]
    with pytest.raises(RecordError, match="cannot write"):
        write_whole(tmp_path / "absent" / "file", b"")


def held(monkeypatch: pytest.MonkeyPatch, times: int, number: int) -> list[float]:
    """Windows refuses to replace a file so many times, as while a scanner reads it."""
    replace, pauses = Path.replace, []

    def refusing(self: Path, target: Path) -> Path:
        if len(pauses) < times:
            error = PermissionError(13, "used by another process")
            error.winerror = number
            raise error
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refusing)
    monkeypatch.setattr(durable.time, "sleep", pauses.append)
    return pauses


def test_a_file_that_is_held_for_a_moment_is_replaced(tmp_path, monkeypatch):
    path = tmp_path / "scorecard.json"
    path.write_bytes(b"old")
    pauses = held(monkeypatch, 3, 32)
    durable.write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert len(pauses) == 3


def test_a_file_that_stays_held_stays_whole(tmp_path, monkeypatch):
    path = tmp_path / "scorecard.json"
    path.write_bytes(b"old")
    held(monkeypatch, 99, 32)
    with pytest.raises(RecordError, match="used by another process"):
        durable.write_whole(path, b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(path.name, b"old")]


def test_what_will_never_be_allowed_is_not_tried_again(tmp_path, monkeypatch):
    pauses = held(monkeypatch, 99, 19)
    with pytest.raises(RecordError):
        durable.write_whole(tmp_path / "scorecard.json", b"new")
    assert pauses == []
