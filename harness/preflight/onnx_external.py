"""Where the tensors of an ONNX graph lie outside its file, judged before anything opens it.

Three fixes of one path traversal in the onnx package, and a hard link that ONNX Runtime
1.32 still follows: so a location is a plain relative name, each of its parts is looked at
without following it, and the file must have one name only. No weight is read here.

Between this look and the engine's the file could be exchanged. Two things stand against
that: the hashes are taken after it and compared again with the snapshot that was measured,
and the worker that loads the model can read no file outside its folder.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from pathlib import Path
from typing import Final, NamedTuple

from harness.preflight.onnx_rules import broken, shown
from harness.preflight.onnx_wire import Message
from harness.preflight.rules import DEVICES

_KEYS: Final = frozenset({"location", "offset", "length", "checksum"})
"""ONNX Runtime also knows `prepacked_…`: ranges that go into kernels unread. Not from strangers."""

_NUMBER: Final = re.compile(r"[0-9]{1,19}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_PATH_CHARS_MAX: Final = 200
_FORBIDDEN: Final = frozenset('\\:*?"<>|%~$\x7f')
"""Windows forbids most; `%`, `~` and `$` are for whoever expands them. `*` also begins the
tag by which ONNX Runtime takes an address in memory for a location."""


class Range(NamedTuple):
    """A part of a file beside the graph."""

    file: Path
    offset: int
    length: int | None
    size: int


def find(tensor: Message, folder: Path, where: str) -> Range:
    """The range that a tensor's `external_data` names.

    Args:
        folder: where the graph lies; ONNX Runtime starts there too.

    Raises:
        SpecError: a path, a link, a file or a number that no honest exporter writes.
    """
    entries: dict[str, str] = {}
    for entry in tensor.each("external_data"):
        key = entry.text("key")
        if key not in _KEYS or key in entries:
            what = "a second" if key in entries else "an unknown"
            raise broken("onnx_external", where, f"{what} key {shown(key)} in external_data")
        entries[key] = entry.text("value")
    if "location" not in entries:
        raise broken("onnx_external", where, "external data without a location")
    file = folder.joinpath(*_parts(entries["location"], where))
    size = _size(file, folder, where)
    offset = _number(entries, "offset", where) or 0
    return Range(file, offset, _number(entries, "length", where), size)


def fit(part: Range, needed: int, where: str) -> None:
    """Compare a range with the bytes that its tensor needs.

    Raises:
        SpecError: it does not fit the tensor, or leaves the file.
    """
    if part.length is not None and part.length != needed:
        message = f"{part.length} bytes of external data for a tensor of {needed}"
        raise broken("onnx_external_range", where, message)
    if part.offset + needed > part.size:
        message = f"bytes {part.offset} to {part.offset + needed} of {shown(part.file.name)}"
        raise broken("onnx_external_range", where, f"{message}, which has {part.size}")


def _parts(location: str, where: str) -> list[str]:
    """The names of a plain relative path."""
    wrong = ""
    parts = location.split("/")
    if len(location) > _PATH_CHARS_MAX:
        wrong = "is too long"
    elif found := sorted(set(location) & _FORBIDDEN):
        wrong = f"has a {shown(found[0])}"
    elif not location.isprintable() or unicodedata.normalize("NFC", location) != location:
        wrong = "has characters that systems treat differently"
    elif any(part in {"", ".", ".."} or part != part.strip(" .") for part in parts):
        wrong = "has an empty, dotted or padded part"
    elif any(DEVICES.fullmatch(part.lower()) for part in parts):
        wrong = "is a device on Windows"
    if wrong:
        message = f"the location {shown(location)} of external data {wrong}"
        raise broken("onnx_external_path", where, message)
    return parts


def _size(file: Path, folder: Path, where: str) -> int:
    """Bytes of a regular file below `folder`, no part of whose path is a link."""
    name = shown(file.relative_to(folder).as_posix())
    try:
        for parent in [*reversed(file.relative_to(folder).parents)][1:]:
            if not stat.S_ISDIR(os.lstat(folder / parent).st_mode):
                message = f"{shown(parent.as_posix())} is a link or no folder"
                raise broken("onnx_external_link", where, message)
        found = os.lstat(file)
        if stat.S_ISLNK(found.st_mode) and file.resolve().parent == _blobs(folder):
            return file.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        raise broken("onnx_external_missing", where, f"{name} is not there") from None
    if not stat.S_ISREG(found.st_mode):
        raise broken("onnx_external_link", where, f"{name} is not a regular file")
    if found.st_nlink != 1:
        message = f"{name} is one of {found.st_nlink} hard links to a file"
        raise broken("onnx_external_link", where, message)
    return found.st_size


def _blobs(folder: Path) -> Path | None:
    """Where a hub's cache keeps the files that `snapshots/<commit>/…` links to.

    Those are its own links, and its files are known by their hashes.
    """
    inside = folder.absolute()
    for commit in (inside, *inside.parents):
        if commit.parent.name == "snapshots" and _COMMIT.fullmatch(commit.name):
            return (commit.parents[1] / "blobs").resolve()
    return None


def _number(entries: dict[str, str], key: str, where: str) -> int | None:
    if key not in entries:
        return None
    if not _NUMBER.fullmatch(entries[key]):
        raise broken("onnx_external_range", where, f"the {key} {shown(entries[key])}")
    return int(entries[key])
