"""Files that are whole whatever happens, and on disk when a call that says so returns.

Ways to write: append (`Appends`), where what was not written whole is cut off again; replace
(`write_whole`), where the old file stays until the new one is on disk; make a file (`write_new`)
or a folder (`publish`), whole or not at all. All hold against a killed process, a full disk and a
power cut; the system's calls for that differ by platform and are only here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from glob import escape
from io import BufferedReader
from pathlib import Path

from harness.errors import RecordError

# Without it Windows would write two bytes for a line feed, and no checksum would hold.
BINARY = getattr(os, "O_BINARY", 0)
_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8)
_HELD = frozenset({5, 32, 33})
"""Windows: access denied, sharing violation, lock violation."""
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
"""What a disk says of itself, and never a program of what it asked for."""
_PLAIN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | BINARY
_NO_FOLDERS = frozenset({errno.EINVAL, errno.ENOTSUP})
"""What file systems of a network say that cannot sync a folder."""


class Appends:
    """Appends to an open file; what was not written whole is cut off again.

    Args:
        size: where the file ends.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._torn = True
        self.cut()

    def add(self, data: bytes, *, synced: bool) -> None:
        """Append all of it, to disk if `synced`, or nothing.

        Raises:
            OSError: it cannot be written.
        """
        if self._torn:
            self.cut()
        self._torn = True
        try:
            _write_all(self._descriptor, data)
            if synced:
                _sync(self._descriptor)
        except BaseException:
            # Ctrl-C too: half a line would spoil the next one, and one that was not
            # acknowledged its chain.
            with contextlib.suppress(OSError):
                self.cut()
            raise
        self._size += len(data)
        self._torn = False

    def cut(self) -> None:
        """Drop what stands behind the end.

        Raises:
            OSError: the file cannot be written.
        """
        self._torn = True
        os.ftruncate(self._descriptor, self._size)
        os.lseek(self._descriptor, self._size, os.SEEK_SET)
        self._torn = False

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file atomically: the old one stays whole until the new one is on disk.

    Raises:
        RecordError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    sweep(path)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | BINARY, 0o644)
        try:
            _write_all(descriptor, data)
            _sync(descriptor)
        finally:
            os.close(descriptor)
        _replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise unwritable(path, error) from error


def write_new(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file that does not exist yet, whole or not at all.

    A disk that becomes read-only meanwhile keeps what it has got.

    Raises:
        OSError: it cannot be written; FileExistsError: it is there.
    """
    # O_EXCL neither overwrites nor follows a link; the mode holds from the first byte.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, mode)
    try:
        try:
            _write_all(descriptor, data)
            _sync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def publish(made: Path, target: Path) -> None:
    """Give a folder of files its name once all of it is on disk.

    Raises:
        OSError: the disk does not take them, or the name is taken.
    """
    for path in made.iterdir():
        descriptor = os.open(path, os.O_RDWR | BINARY)
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)
    sync_folder(made)
    _replace(made, target)
    try:
        sync_folder(target.parent)
    except OSError:
        target.rename(made)
        raise


def sweep(path: Path) -> None:
    """Remove what processes left that were killed while they replaced this file."""
    for left in path.parent.glob(f".{escape(path.name)}.*"):
        # Not at the top: a measured child seldom finds any.
        import psutil

        if (pid := left.suffix[1:]).isdecimal() and not psutil.pid_exists(int(pid)):
            with contextlib.suppress(OSError):
                left.unlink()


def open_plain(path: Path) -> BufferedReader:
    """Open what a stranger made: no link is followed, and the other end of a pipe not waited for.

    Raises:
        ValueError: it is no regular file.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, _PLAIN)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("no regular file")
    return os.fdopen(descriptor, "rb")


def make_folder(path: Path) -> None:
    """Make a folder, and the ones above it, that a power cut leaves there.

    Raises:
        OSError: it cannot be made.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Have the disk hold the names in a folder, without which a synced file may be gone.

    Windows keeps them in its own journal, and offers no such call.

    Raises:
        OSError: the disk does not take them.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    """Have the disk hold what was written."""
    if sys.platform != "win32":
        import fcntl

        # macOS: fsync leaves it in the drive's cache, which a power cut empties.
        if full := getattr(fcntl, "F_FULLFSYNC", None):
            # Not on every file system, such as those of a network.
            with contextlib.suppress(OSError):
                fcntl.fcntl(descriptor, full)
                return
    os.fsync(descriptor)


def _replace(temporary: Path, path: Path) -> None:
    """Rename over a file; on Windows a scanner or a viewer may hold the old one for a moment."""
    for pause_s in _PAUSES_S:
        try:
            temporary.replace(path)
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _HELD:
                raise
            time.sleep(pause_s)
        else:
            return
    temporary.replace(path)


_ELSEWHERE = "choose a folder that you may write to with --out"


def unwritable(path: Path | str, error: OSError, hint: str = _ELSEWHERE) -> RecordError:
    """The error for a file that cannot be written.

    Args:
        hint: what to do where the disk is not full.
    """
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return RecordError(
        f"cannot write: {error.strerror}",
        where=str(path),
        hint="free space, then the same command again; `harness run --resume latest` for a run"
        if full
        else hint,
        reason="disk_full" if full else "unwritable",
    )


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
