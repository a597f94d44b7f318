"""A model's files in the operating system's page cache: put there, taken out, looked at.

A load is cold or warm by what the cache holds, so the parent arranges it before a worker
starts and looks whether it really is so. Taking out and looking need Linux; elsewhere the
answer is "cannot say", never a guess. Standard library, and ctypes when it is needed.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

COLD_SHARE = 0.01
"""A file is cold when less than this share of it is resident, and warm when not more
than this share is missing."""

_CHUNK_BYTES = 1 << 22
_PLATFORM: str = sys.platform


def evict(paths: Iterable[Path]) -> bool:
    """Take files out of the page cache.

    Pages that a process has mapped stay, and so do those of file systems that keep files
    nowhere else (tmpfs): that is seen, and answered with False.

    Returns:
        Whether less than 1 % of each file is resident afterwards; False where the
        platform cannot do it or cannot say.
    """
    return not [path for path in paths if not _drop(path)]


def warm(paths: Iterable[Path]) -> bool:
    """Read files through, so that the page cache holds them.

    Returns:
        Whether each could be read and is resident, as far as the platform can say.
    """
    return not [path for path in paths if not _read_through(path)]


def resident_share(path: Path) -> float | None:
    """Share of a file's pages in the page cache, 0 to 1.

    Returns:
        None where the platform cannot say, or the file is empty or cannot be read.
    """
    if _PLATFORM != "linux" or not _may_ask(path):
        return None
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as view:
            return _resident_pages(view) / _pages(view)
    except (OSError, ValueError):  # ValueError: an empty file cannot be mapped
        return None


def _may_ask(path: Path) -> bool:
    """The kernel answers "all of it" to who neither owns a file nor may write to it."""
    try:
        return path.stat().st_uid == os.geteuid() or os.access(path, os.W_OK)
    except OSError:
        return False


def _drop(path: Path) -> bool:
    if _PLATFORM != "linux" or not _may_ask(path):
        return False  # what cannot be checked is left as it is
    try:
        with path.open("rb", buffering=0) as file:
            os.fsync(file.fileno())  # only what is on the disk can be dropped
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            if not os.fstat(file.fileno()).st_size:
                return True
    except OSError:
        return False
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
    return share is None or share >= 1 - COLD_SHARE


def _pages(view: mmap.mmap) -> int:
    return -(-len(view) // mmap.PAGESIZE)


def _resident_pages(view: mmap.mmap) -> int:
    """Pages of a mapping that are resident; asking touches none of them.

    Raises:
        OSError: the kernel refuses.
    """
    import ctypes

    present = ctypes.create_string_buffer(_pages(view))
    mincore: Any = ctypes.CDLL(None, use_errno=True).mincore
    first = ctypes.c_char.from_buffer(view)
    failed = mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(len(view)), present)
    del first  # a mapping that something points into cannot be closed
    if failed:
        raise OSError(ctypes.get_errno(), "mincore")
    return present.raw.count(b"\x01")
