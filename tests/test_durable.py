"""A file is the old one or the new one, and what was appended is there or not."""

from __future__ import annotations

import errno
import importlib
import os
import runpy
import subprocess
import sys
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


def test_windows_writes_the_bytes_that_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "O_BINARY", 1 << 15, raising=False)
    try:
        assert importlib.reload(durable).BINARY == os.O_BINARY  # type: ignore[attr-defined]
    finally:
        monkeypatch.undo()
        importlib.reload(durable)


def test_replacing_a_file_is_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "scorecard.json"
    write_whole(target, b"old")
    write_whole(target, b"new")
    assert target.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["scorecard.json"]
    with pytest.raises(RecordError, match="cannot write"):
        write_whole(tmp_path / "absent" / "file", b"")


def test_windows_writes_the_bytes_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its text mode every checksum would be that of another line."""
    monkeypatch.setattr(os, "O_BINARY", 1 << 15, raising=False)
    assert runpy.run_path(durable.__file__)["BINARY"] == 1 << 15


@pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")
def test_what_a_stranger_made_is_opened_only_if_it_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    with durable.open_plain(tmp_path / "file") as file:
        assert file.read() == b"x"
    with pytest.raises(OSError):
        durable.open_plain(tmp_path / "link")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ValueError, match="no regular file"):
            durable.open_plain(path)


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


def test_what_a_killed_replacement_left_is_swept_up(tmp_path: Path) -> None:
    path = tmp_path / "scorecard.json"
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    dead, living, other = (
        tmp_path / name
        for name in (f".{path.name}.{ended.pid}", f".{path.name}.{os.getppid()}", ".other.1x")
    )
    for left in (dead, living, other):
        left.write_bytes(b"half")
    write_whole(path, b"new")
    assert sorted(tmp_path.iterdir()) == sorted([path, living, other])


def test_a_new_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "you.key"
    durable.write_new(path, b"secret", mode=0o600)
    assert path.read_bytes() == b"secret"
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        durable.write_new(path, b"another")
    assert path.read_bytes() == b"secret"


def test_a_folder_gets_its_name_only_if_nobody_has_it(tmp_path: Path) -> None:
    made, target = tmp_path / "made", tmp_path / "target"
    for folder in (made, target):
        folder.mkdir()
        (folder / "file").write_bytes(folder.name.encode())
    with pytest.raises(OSError):
        durable.publish(made, target)
    assert (target / "file").read_bytes() == b"target"
    durable.publish(made, tmp_path / "free")
    assert (tmp_path / "free" / "file").read_bytes() == b"made"
    assert not made.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fcntl")
def test_where_the_full_sync_of_macos_is_refused_the_common_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    synced: list[int] = []
    monkeypatch.setattr(durable.os, "fsync", synced.append)
    with (tmp_path / "file").open("wb") as file:
        monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51_966, raising=False)  # no kernel knows it
        durable._sync(file.fileno())
        assert synced == [file.fileno()]
        monkeypatch.setattr(fcntl, "F_FULLFSYNC", fcntl.F_GETFD)  # one that every kernel grants
        durable._sync(file.fileno())
        assert synced == [file.fileno()]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_file_system_that_cannot_sync_folders_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refusing(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(durable.os, "fsync", refusing)
    if number == errno.EIO and sys.platform != "win32":
        with pytest.raises(OSError):
            durable.sync_folder(tmp_path)
    else:
        durable.sync_folder(tmp_path)
