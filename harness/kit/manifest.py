"""A folder's manifest: every file with size and sha256, written and checked.

The check itself is `install.examine`, which needs nothing but Python.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.durable import write_whole
from harness.errors import SpecError
from harness.kit.install import (
    FORMAT,
    MANIFEST,
    Refused,
    examine,
    files_below,
    is_safe,
    sha256_of,
    shown,
)


def write(folder: Path, about: Mapping[str, Any], ignored: frozenset[str] = frozenset()) -> Path:
    """Write the manifest of what a folder holds, sorted by name: the same files, the same bytes.

    Args:
        about: JSON data on the folder as a whole.
        ignored: names, relative to the folder, that are left out with what is in them.

    Raises:
        SpecError: there is a link, or a name that means nothing on another system.
        RecordError: it cannot be written.
    """
    try:
        found = files_below(folder, ignored)
        files = [_entry(folder, name, size) for name, size in sorted(found.items())]
    except Refused as refused:
        raise _error(folder, refused, hint="take it out of the folder, or rename it") from None
    value = {"format": FORMAT, "about": about, "files": files}
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(folder / MANIFEST, f"{text}\n".encode())
    return folder / MANIFEST


def _entry(folder: Path, name: str, size_bytes: int) -> dict[str, Any]:
    if not is_safe(name):
        raise Refused(f"{shown(name)}: a name that not every system can have")
    return {"path": name, "size_bytes": size_bytes, "sha256": sha256_of(folder / name)}


def verify(folder: Path, ignored: frozenset[str] = frozenset()) -> dict[str, Any]:
    """What a folder's manifest says about it, once every file is as the manifest says.

    Raises:
        SpecError: the first file that is missing, extra, changed or a link; `manifest_broken`.
    """
    try:
        return examine(folder, ignored)
    except Refused as refused:
        raise _error(folder, refused, hint="copy the folder again from where it was made") from None


def _error(folder: Path, refused: Refused, *, hint: str) -> SpecError:
    return SpecError(
        str(refused),
        where=str(folder),
        allowed=f"exactly the files of {MANIFEST}",
        hint=hint,
        reason="manifest_broken",
    )
