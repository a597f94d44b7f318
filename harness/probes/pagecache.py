"""A model's files in the operating system's page cache: put there, taken out, looked at.

A load is cold or warm by what the cache holds, so the parent arranges it before a worker
starts and looks whether it really is so. Taking out and looking need Linux; elsewhere the
answer is "unknown", never a guess. Standard library and ctypes, loaded when needed.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

COLD_SHARE = 0.01
"""A file is cold when less than this share of it is resident."""

WARM_SHARE = 0.99

_CHUNK_BYTES = 1 << 22
_PLATFORM: str = sys.platform


def evict(paths: Iterable[Path]) -> bool:
    """Take files out of the page cache.

    Pages that another process has mapped stay, and so do all on some file systems
    (tmpfs has no other place for them): that is seen, and answered with False.

    Returns:
        Whether less than 1 % of each file is resident afterwards.
    """
    return all([_drop(path) and _is_cold(path) for path in paths])


def warm(paths: Iterable[Path]) -> bool:
    """Read files through, so that the page cache holds them.

    Returns:
        Whether each was read, and is resident as far as the platform can say.
    """
    return all([_read_through(path) for path in paths])


def resident_share(path: Path) -> float | None:
    """Share of a file's pages in the page cache: 0 to 1.

    Returns:
        None where the platform cannot say, or the file is empty or cannot be read.
    """
    if _PLATFORM != "linux":
        return None
    try:
        with path.open("rb") as file:
            # Copy on write: ctypes takes an address only of what could be written.
            with mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as view:
                return _mincore(view)
    except (OSError, ValueError):  # ValueError: mmap refuses an empty file
        return None


def _mincore(view: mmap.mmap) -> float | None:
    """Ask the kernel which pages of a mapping are resident; it touches none of them."""
    import ctypes

    pages = -(-len(view) // mmap.PAGESIZE)
    present = (ctypes.c_ubyte * pages)()
    first = (ctypes.c_ubyte * len(view)).from_buffer(view)
    mincore: Any = ctypes.CDLL(None).mincore
    failed = mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(len(view)), present)
    del first  # or the mapping could not be closed
    return None if failed else sum(page & 1 for page in present) / pages


def _drop(path: Path) -> bool:
    """Write a file's pages out and give them up."""
    if not hasattr(os, "posix_fadvise"):
        return False
    try:
        with path.open("rb") as file:
            os.fsync(file.fileno())  # dirty pages would stay
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError:
        return False
    return True


def _is_cold(path: Path) -> bool:
    share = resident_share(path)
    return share is not None and share < COLD_SHARE


def _read_through(path: Path) -> bool:
    buffer = bytearray(_CHUNK_BYTES)
    try:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    except OSError:
        return False
    share = resident_share(path)
    return share is None or share > WARM_SHARE
