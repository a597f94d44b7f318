"""The files of a bundle, read once and whole: a folder, or a .zip of one.

folder or .zip ─▶ names and kinds ─▶ sizes ─▶ bytes ─▶ as the manifest says, or broken

A bundle has few files, all of whose names are known: whatever else lies there is refused by its
name, before it is opened. Nothing is unpacked and nothing is written.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from harness.bundle.attest import ENVELOPE
from harness.bundle.create import EVIDENCE, KIND, PARTS, zipped
from harness.durable import open_plain, write_whole
from harness.errors import RecordError, SpecError, printable
from harness.kit.install import LITTER, MANIFEST, Refused, is_safe, parse_manifest, shown
from harness.spec import canonical, sha256

NAMES = frozenset({MANIFEST, ENVELOPE, *PARTS})
MOST_BYTES = 1 << 30
"""Of a whole bundle: ten times what a day's run gives."""
_MOST_VALUES = 1 << 25
"""Of JSON, in all: each may take a hundred bytes of memory, and three in the file. A bundle of
100 MB has 5 million."""
_BEGINS_NO_VALUE = bytes(set(range(256)) - set(b",[{"))
_MOST_SMALL_BYTES = 1 << 20
"""Of manifest and envelope."""
_MOST_ENTRIES = 1000
_END_BYTES, _MOST_LIST_BYTES = 22, 1 << 16
_LINKED = "a link, allowed are plain files"


_Fetch = Callable[[str], bytes]
"""Gives the bytes of a file by its name."""


class BrokenError(Exception):
    """A check that failed: file, reason code and a sentence."""

    def __init__(self, path: str, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.path, self.reason, self.detail = path, reason, detail


class Content(NamedTuple):
    """A bundle's files by name, and what its manifest says."""

    files: Mapping[str, bytes]
    manifest: Mapping[str, Any]

    @property
    def claims(self) -> dict[str, Any]:
        """What the manifest says of the run."""
        about: dict[str, Any] = self.manifest["about"]
        return about


def read(path: Path) -> Content:
    """Read a bundle; which files it has and how large they are is checked here.

    Raises:
        SpecError: `not_a_bundle`: there is no manifest of one.
        BrokenError: a file is missing, extra, too large, or no plain file.
    """
    is_file, is_folder, is_there = os.path.isfile, os.path.isdir, os.path.exists  # never raise
    if is_file(path) and zipfile.is_zipfile(path):
        with _opened(path) as archive:
            return _read(path, *_zipped(archive))
    if not is_folder(path):
        raise _no_bundle(path, "no folder and no .zip" if is_there(path) else "nothing is there")
    return _read(path, *_folder(path))


def check_hashes(content: Content, digests: Mapping[str, Future[str]]) -> None:
    """Compare hashes with the manifest's.

    Raises:
        BrokenError: the first file that was changed.
    """
    for entry in content.manifest["files"]:
        name = entry["path"]
        if digests[name].result() != entry["sha256"]:
            raise _changed(name, "changed, its sha256 is another")


@contextlib.contextmanager
def hashing(content: Content) -> Iterator[dict[str, Future[str]]]:
    """sha256 of every file, computed on another core meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        yield {name: pool.submit(sha256, data) for name, data in content.files.items()}


def add(path: Path, found: Content, name: str, data: bytes) -> Path:
    """Put a file into a bundle that was read, or in the place of one; returns what was written.

    Raises:
        RecordError: it cannot be written.
    """
    in_folder = path.is_dir()
    written = path / name if in_folder else path
    try:
        write_whole(written, data if in_folder else zipped({**found.files, name: data}))
    except RecordError as error:
        if error.reason == "unwritable":
            error.hint = "copy the bundle to a folder that you may write to"
        raise
    return written


class _Entry(NamedTuple):
    """Something in a bundle: its size, and why it is no plain file."""

    size_bytes: int
    refused: str


def _read(path: Path, found: Mapping[str, _Entry], fetch: _Fetch) -> Content:
    """The content of whatever holds these entries."""
    manifest = _manifest(path, found, fetch)
    _check_kinds(found)
    listed = {entry["path"]: entry["size_bytes"] for entry in manifest["files"]}
    _check_sizes(listed, {name: entry.size_bytes for name, entry in found.items()})
    files = {name: fetch(name) for name in sorted(found)}
    _check_values(files)
    return Content(files, manifest)


def _check_kinds(found: Mapping[str, _Entry]) -> None:
    """Refuse what is no plain file, no part of a bundle, or larger than any.

    Raises:
        BrokenError: the first that is.
    """
    for name, entry in sorted(found.items()):
        if entry.refused:
            raise _changed(name, entry.refused)
        if name not in NAMES:
            raise _changed(name, "extra, it is no part of a bundle")
        if name == ENVELOPE and entry.size_bytes > _MOST_SMALL_BYTES:
            raise _changed(name, "more than 1 MiB")
    if sum(entry.size_bytes for entry in found.values()) > MOST_BYTES:
        largest = max(found, key=lambda name: found[name].size_bytes)
        raise BrokenError(largest, "too_large", f"more than {MOST_BYTES >> 30} GiB in all")


def _check_sizes(listed: Mapping[str, int], present: Mapping[str, int]) -> None:
    """Compare the names and sizes of the manifest with those that are there.

    Raises:
        BrokenError: the first that differs, or what a bundle cannot be without.
    """
    for name in listed:
        if name not in PARTS:
            raise _changed(MANIFEST, f"it lists {shown(name)}, which is no part of a bundle")
    for name in sorted(listed.keys() | present.keys() - {MANIFEST, ENVELOPE}):
        if name not in present:
            raise _changed(name, "missing")
        if name not in listed:
            raise _changed(name, "extra, the manifest does not have it")
        if listed[name] != present[name]:
            raise _changed(name, f"changed, {present[name]} bytes instead of {listed[name]}")
    for name in EVIDENCE:
        if name not in present:
            raise BrokenError(name, "part_missing", "a bundle cannot be without it")


def _check_values(files: Mapping[str, bytes]) -> None:
    """Refuse what would fill the memory once it is read.

    Raises:
        BrokenError: the file in which there are too many.
    """
    ahead = sum(map(len, files.values()))
    left = _MOST_VALUES
    for name, data in files.items():
        if ahead <= left:
            return  # each takes a byte at least: there cannot be too many
        ahead -= len(data)
        left -= len(data.translate(None, _BEGINS_NO_VALUE))
        if left < 0:
            raise BrokenError(name, "too_large", f"more than {_MOST_VALUES >> 20} Mi values in all")


def _manifest(path: Path, found: Mapping[str, _Entry], fetch: _Fetch) -> dict[str, Any]:
    """What the manifest says.

    Raises:
        SpecError: `not_a_bundle`.
        BrokenError: it was one: records are there, and no sound manifest of them.
    """
    entry = found.get(MANIFEST)
    if entry is None:
        raise _no_bundle(path, f"{MANIFEST}: missing")
    why = entry.refused or ("more than 1 MiB" if entry.size_bytes > _MOST_SMALL_BYTES else "")
    try:
        manifest = parse_manifest(b"" if why else fetch(MANIFEST))
        canonical(manifest)
        kind = manifest["about"].get("kind")
        if kind == KIND:
            return manifest
        why = f"its manifest is of a {printable(str(kind))[:40]!r}"
    except Refused as refused:
        why = f"{MANIFEST}: {why}" if why else str(refused)
    except (ValueError, RecursionError):
        why = f"{MANIFEST}: it holds half a character, or is nested too deeply"
    if "records.jsonl" in found:
        raise BrokenError(MANIFEST, "manifest_broken", why)
    raise _no_bundle(path, why)


def _folder(folder: Path) -> tuple[dict[str, _Entry], _Fetch]:
    """What lies in a folder, and how to read a file of it."""
    found: dict[str, _Entry] = {}
    try:
        # By name first: they may be the last of a million.
        for name in NAMES:
            with contextlib.suppress(FileNotFoundError):
                found[name] = _judged(os.lstat(folder / name))
        with os.scandir(folder) as entries:
            for entry in itertools.islice(entries, _MOST_ENTRIES):
                if entry.name not in LITTER | NAMES:
                    found[entry.name] = _judged(os.lstat(entry.path))
    except OSError as error:
        raise _no_bundle(folder, f"cannot be read: {error.strerror}") from None
    return found, lambda name: _bytes(folder / name, found[name].size_bytes)


def _judged(status: os.stat_result) -> _Entry:
    marks = getattr(status, "st_file_attributes", 0)
    refused = ""
    if stat.S_ISLNK(status.st_mode) or marks & stat.FILE_ATTRIBUTE_REPARSE_POINT:
        refused = _LINKED
    elif not stat.S_ISREG(status.st_mode):
        refused = "no plain file"
    elif status.st_nlink > 1:
        refused = "a hard link: it has another name elsewhere; copy the file"
    return _Entry(status.st_size, refused)


def _bytes(path: Path, size_bytes: int) -> bytes:
    """All bytes of a file that still is what it was when it was looked at."""
    try:
        with open_plain(path) as file:
            data = file.read(size_bytes + 1)
    except OSError as error:
        raise _changed(path.name, f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise _changed(path.name, str(error)) from None
    if len(data) != size_bytes:
        raise _changed(path.name, "it changes while it is read")
    return data


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        _require_small(path)
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (
        zipfile.BadZipFile,
        EOFError,
        NotImplementedError,
        OSError,
        RuntimeError,
        UnicodeError,
        zlib.error,
    ) as error:
        why = printable(str(error))[:200]
        raise BrokenError(printable(path.name), "archive_broken", why) from None


def _require_small(path: Path) -> None:
    """Refuse a list of entries that would take long to read.

    Raises:
        BadZipFile: it is longer than any bundle's, or of the form for such lists.
    """
    with path.open("rb") as file:
        start = max(0, path.stat().st_size - _END_BYTES - (1 << 16))
        file.seek(start)
        end = file.read()
    # As zipfile looks for it: the very end, else behind it a comment.
    place = len(end) - _END_BYTES
    if end[place:][:4] != b"PK\5\6" or end[-2:] != b"\0\0":
        place = end.rfind(b"PK\5\6")
    list_bytes = int.from_bytes(end[place + 12 : place + 16], "little")
    if list_bytes > _MOST_LIST_BYTES or end[max(0, place - 20) :][:4] == b"PK\6\7":
        raise zipfile.BadZipFile("its list of entries is longer than any bundle's")


def _zipped(archive: zipfile.ZipFile) -> tuple[dict[str, _Entry], _Fetch]:
    """What lies in a .zip, below the one folder that it may have, and how to read a file of it."""
    infos = archive.infolist()
    names = [info.orig_filename for info in infos]
    tops = {name.partition("/")[0] for name in names}
    top = f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in names) else ""
    found: dict[str, _Entry] = {}
    places: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.orig_filename.removeprefix(top)
        if not name and info.is_dir():
            continue
        refused = "" if is_safe(name) else "no name inside the folder"
        if name in found:
            refused = "it is there twice"
        elif info.flag_bits & 1:
            refused = "it is encrypted"
        elif info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            # Others may ask for gigabytes before the first byte, or fail in ways of their own.
            refused = "neither stored nor deflated"
        elif info.external_attr >> 28 not in {0, 8} or info.is_dir():
            refused = "no plain file"
        found[name] = _Entry(info.file_size, refused)
        places[name] = info

    def fetch(name: str) -> bytes:
        with archive.open(places[name]) as file:
            data = file.read(found[name].size_bytes + 1)
        if len(data) != found[name].size_bytes:
            raise _changed(name, "it is longer or shorter than it says")
        return data

    return found, fetch


def _changed(name: str, why: str) -> BrokenError:
    reason = "bad_signature" if name == ENVELOPE else "manifest_broken"
    return BrokenError(shown(name), reason, why)


def _no_bundle(path: Path, why: str) -> SpecError:
    return SpecError(
        f"not a bundle: {why}",
        where=printable(str(path)),
        allowed="a folder of `harness bundle create`, or a .zip of it",
        hint="harness bundle create RUN --to FOLDER",
        reason="not_a_bundle",
    )
