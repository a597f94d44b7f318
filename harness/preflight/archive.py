"""Unpack a submitted archive without following any of its names out of the folder.

Names, types and sizes are judged for the whole archive before the first byte is written,
what is written is counted again, and a refusal leaves nothing behind. `tarfile`'s own
filter would quietly mend some names; here the archive is refused and says why.
"""

from __future__ import annotations

import re
import shutil
import sys
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, Final, NamedTuple

from harness.errors import PrerequisiteError, SpecError, printable
from harness.preflight import folder
from harness.preflight.rules import DEVICES, RULES, refuse

SUFFIXES: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_ENTRIES_MAX: Final = folder.FILES_MAX
_BYTES_MAX: Final = 64 << 30
_NAME_BYTES_MAX: Final = 1024
_RATIO_MAX: Final = 200
_FREE_RATIO_BYTES: Final = 16 << 20
"""Small archives may be as dense as they like: a configuration of spaces harms nobody."""
_SPARE_BYTES: Final = 64 << 20
_CHUNK_BYTES: Final = 1 << 20
_MEMORY_BYTES: Final = 1 << 30
_FORBIDDEN: Final = re.compile(r'[\\:*?"<>|]')


class _Entry(NamedTuple):
    name: str
    size_bytes: int
    is_folder: bool
    open: Callable[[], IO[bytes] | None]


def is_archive(path: Path) -> bool:
    """Whether a name is that of an archive that can be unpacked."""
    return path.name.lower().endswith(SUFFIXES)


def bound_memory() -> None:
    """Keep this process from taking more: headers of an archive may claim any length."""
    if sys.platform != "win32":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, hard))


def unpack(path: Path, target: Path) -> int:
    """Write an archive's files below `target`, a new folder; returns how many.

    Raises:
        SpecError: a rule of `rules.RULES` that the archive breaks; nothing is left then.
        PrerequisiteError: `target` is there already.
        OSError: it cannot be read or written.
    """
    if not is_archive(path) or not path.is_file():
        refuse(path, "archive_type", f"'{path.name}' is no archive")
    if target.exists():
        raise PrerequisiteError(
            "this is there already",
            where=printable(str(target)),
            allowed="a new folder",
            hint=f"name another: harness models unpack {printable(str(path))} NEW_FOLDER",
            reason="target_exists",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with _beside(target) as made, _opened(path) as entries:
        files = _checked(path, entries)
        if not files:
            refuse(path, "archive_type", "there is no file in it")
        _check_disk(path, sum(entry.size_bytes for entry in files), made)
        for entry in files:
            _write(path, entry, made)
        folder.check_folder(made)
        made.rename(target)
    return len(files)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A folder on the same disk that is gone afterwards, unless it was renamed."""
    made = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target.parent))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def _opened(path: Path) -> Iterator[Iterator[_Entry]]:
    """Entries of an archive while it is open."""
    try:
        if path.name.lower().endswith(".zip"):
            with zipfile.ZipFile(path) as opened:
                yield _zipped(path, opened)
        else:
            with tarfile.open(path) as opened_tar:
                yield _tarred(path, opened_tar)
    except MemoryError:
        refuse(path, "archive_size", "listing it takes more memory than is allowed")
    except (
        OSError,
        RecursionError,  # of headers that announce each other
        zipfile.BadZipFile,
        tarfile.TarError,
        EOFError,
        LZMAError,
        NotImplementedError,
        UnicodeError,
        ValueError,
        zlib.error,
    ) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the system's: gzip and bz2 raise the same without a number
        raise SpecError(
            f"the archive is damaged: {printable(str(error))[:200]}",
            where=printable(str(path)),
            allowed=RULES["archive_type"],
            hint="fetch or pack it again",
            reason="archive_type",
        ) from error


def _zipped(path: Path, opened: zipfile.ZipFile) -> Iterator[_Entry]:
    for entry in opened.infolist():
        if entry.flag_bits & 1:
            refuse(path, "archive_type", "it is encrypted", place=f"'{entry.filename}'")
        # The upper half holds a Unix mode where the archive was made on such a system.
        kind = entry.external_attr >> 28
        if kind not in {0, 4, 8} or (kind == 4) != entry.is_dir() != (kind == 0):
            refuse(path, "archive_entry", "a link or a device", place=f"'{entry.filename}'")

        def open_it(entry: zipfile.ZipInfo = entry) -> IO[bytes]:
            return opened.open(entry)

        yield _Entry(entry.orig_filename, entry.file_size, entry.is_dir(), open_it)


def _tarred(path: Path, opened: tarfile.TarFile) -> Iterator[_Entry]:
    for entry in opened:
        if not entry.isdir() and entry.type not in {tarfile.REGTYPE, tarfile.AREGTYPE}:
            refuse(path, "archive_entry", "a link or a device", place=f"'{entry.name}'")

        def open_it(entry: tarfile.TarInfo = entry) -> IO[bytes] | None:
            return opened.extractfile(entry)

        name = entry.name.removeprefix("./")
        if name != ".":  # what `tar -c .` begins with
            yield _Entry(name, entry.size, entry.isdir(), open_it)


def _checked(path: Path, entries: Iterable[_Entry]) -> list[_Entry]:
    """The files of an archive; judged one by one, since the next may be the millionth."""
    packed = path.stat().st_size
    most = min(_BYTES_MAX, max(_RATIO_MAX * packed, _FREE_RATIO_BYTES))
    files = []
    tree = _Tree(path)
    total = 0
    for entry in entries:
        total += entry.size_bytes
        if total > most:
            refuse(path, "archive_size", f"more than {most} bytes out of {packed}")
        _check_name(path, entry.name)
        tree.add(entry)
        if not entry.is_folder:
            folder.check_type(f"{path}: '{entry.name}'", PurePosixPath(entry.name).name)
            files.append(entry)
    return files


class _Tree:
    """What an archive's names make, the folders that they only imply included."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folders: dict[str, str] = {}
        self._entries: set[str] = set()
        self._files: set[str] = set()

    def add(self, entry: _Entry) -> None:
        """Add one entry.

        Raises:
            SpecError: its name is taken, it is too deep, or there are too many.
        """
        name = entry.name.rstrip("/")
        place = f"'{entry.name[:80]}'"
        parts = name.split("/")
        if len(parts) > folder.DEPTH_MAX or len(name.encode()) > _NAME_BYTES_MAX:
            message = f"a name of {len(parts)} parts and {len(name.encode())} bytes"
            refuse(self._path, "folder_size", message, place=place)
        # Some systems take names for the same that differ in case or in how 한 is composed.
        plain = _folded(name)
        clash = plain in self._entries or (not entry.is_folder and plain in self._folders)
        for count in range(1, len(parts) + entry.is_folder):
            above = "/".join(parts[:count])
            known = self._folders.setdefault(_folded(above), above)
            clash = clash or known != above or _folded(above) in self._files
        if clash:
            refuse(self._path, "archive_name", "two entries of one name", place=place)
        self._entries.add(plain)
        if not entry.is_folder:
            self._files.add(plain)
        if len(self._folders) + len(self._files) > _ENTRIES_MAX:
            refuse(self._path, "archive_size", f"more than {_ENTRIES_MAX} entries")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _check_name(path: Path, name: str) -> None:
    for part in name.rstrip("/").split("/"):
        wrong = part in {"", ".", ".."} or part != part.rstrip(" .")
        if wrong or _FORBIDDEN.search(part) or DEVICES.fullmatch(part.lower()):
            refuse(path, "archive_name", f"a name with {part!r:.60} in it", place=f"'{name}'")
        folder.check_name(f"{path}: '{name}'", part)


def _check_disk(path: Path, needed: int, made: Path) -> None:
    free = shutil.disk_usage(made).free
    if needed + _SPARE_BYTES > free:
        refuse(path, "archive_disk", f"{needed} bytes are needed, {free} are free")


def _write(path: Path, entry: _Entry, made: Path) -> None:
    """One file, no longer than its entry says."""
    place = made / entry.name
    place.parent.mkdir(parents=True, exist_ok=True)
    left = entry.size_bytes
    source = entry.open()
    assert source is not None
    with source, place.open("xb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                break
            file.write(chunk)
    if left:
        refuse(
            path, "archive_size", "it is longer or shorter than it says", place=f"'{entry.name}'"
        )
