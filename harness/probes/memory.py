"""Resident memory of a process: the kernel's high-water mark, and a sampled split.

The peak comes from the kernel, which alone sees transients: `VmHWM` on Linux,
`PeakWorkingSetSize` on Windows, `ri_lifetime_max_phys_footprint` on macOS (the last two
are written from the vendors' headers and untested on hardware). `ru_maxrss` is not used:
a child inherits its parent's. The split into anonymous, file-backed and shared pages has
no high-water mark anywhere, so the parent samples it.

Standard library only, and ctypes only where it is needed: the measured child imports this.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, NamedTuple

PERIOD_S = 0.01
"""Time between two samples of the split: an engine's load takes many times as long."""

_PLATFORM: str = sys.platform
_KIB = 1024


class Split(NamedTuple):
    """Resident bytes by the kind of page; their sum is the resident size."""

    anon_bytes: int
    file_bytes: int
    shmem_bytes: int


def peak_resident_bytes(pid: int | None = None) -> int | None:
    """Largest resident size of a process since its start.

    Args:
        pid: None = this process.

    Returns:
        Bytes, or None where the process is gone or the platform does not say.
    """
    pid = os.getpid() if pid is None else pid
    if _PLATFORM == "linux":
        return _status(pid).get("VmHWM")
    if _PLATFORM == "win32":
        return _windows_peak(pid, _library("kernel32"))
    if _PLATFORM == "darwin":
        return _macos_peak(pid, _library(None))
    return None


def resident_split(pid: int) -> Split | None:
    """Resident pages of one process by kind, now; None where it is gone or unreadable."""
    found = _status(pid)
    if "RssAnon" not in found:
        return None
    return Split(found["RssAnon"], found.get("RssFile", 0), found.get("RssShmem", 0))


class SplitSampler:
    """Samples the split of a process and its descendants, in a thread of the parent.

    The sample with the largest sum is kept. Pages that several processes share are
    counted in each of them.

        sampler = SplitSampler()
        sampler.start(child.pid)
        ...
        sampler.stop()   # {"method": "sampled", "anon_bytes": …, …}
    """

    def __init__(self, period_s: float = PERIOD_S) -> None:
        self._period_s = period_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._largest: Split | None = None
        self._samples = 0

    def start(self, pid: int) -> None:
        """Begin to sample a running process; once a sampler."""
        self._thread = threading.Thread(target=self._watch, args=(pid,), daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, object] | None:
        """End sampling.

        Returns:
            `anon_bytes`, `file_bytes`, `shmem_bytes` of the largest sample, the number of
            `samples` and the `method`; None where nothing could be read.
        """
        self._ended.set()
        if self._thread:
            self._thread.join()
        if self._largest is None:
            return None
        return {**self._largest._asdict(), "samples": self._samples, "method": "sampled"}

    def _watch(self, pid: int) -> None:
        while True:
            found = _tree_split(pid)
            if found is None:
                return
            self._samples += 1
            if self._largest is None or sum(found) > sum(self._largest):
                self._largest = found
            if self._ended.wait(self._period_s):
                return


def _tree_split(pid: int) -> Split | None:
    """Sum of a process and its living descendants; None once the process itself is gone."""
    total = resident_split(pid)
    if total is None:
        return None
    for child in _descendants(pid):
        if found := resident_split(child):
            total = Split(*(a + b for a, b in zip(total, found, strict=True)))
    return total


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for thread in _listed(f"/proc/{parent}/task"):
            text = _read(f"/proc/{parent}/task/{thread}/children")
            children = [int(word) for word in text.split()]
            found += children
            waiting += children
    return found


def _status(pid: int) -> dict[str, int]:
    """The sizes in `/proc/<pid>/status`, in bytes; empty where it cannot be read."""
    return parse_status(_read(f"/proc/{pid}/status"))


def parse_status(text: bytes) -> dict[str, int]:
    """Lines of the form `VmHWM:   1640 kB`, in bytes."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(b":")
        words = rest.split()
        if len(words) == 2 and words[1] == b"kB" and words[0].isdigit():
            found[name.decode("ascii", "replace")] = int(words[0]) * _KIB
    return found


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a path object costs memory in the child
            return file.read()
    except OSError:
        return b""


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 - as above
    except OSError:
        return []


# --- Windows and macOS --------------------------------------------------------------


def _library(name: str | None) -> Any:
    """A system library. On 64-bit Windows all calling conventions are one."""
    import ctypes

    return ctypes.CDLL(name)


def _windows_peak(pid: int, kernel32: Any) -> int | None:
    """`PeakWorkingSetSize` (psapi.h, PROCESS_MEMORY_COUNTERS). Untested on hardware."""
    import ctypes

    class Counters(ctypes.Structure):
        _fields_ = (
            ("cb", ctypes.c_uint32),
            ("PageFaultCount", ctypes.c_uint32),
            ("PeakWorkingSetSize", ctypes.c_size_t),
            ("others", ctypes.c_size_t * 7),
        )

    query_limited_information = 0x1000
    kernel32.OpenProcess.restype = ctypes.c_void_p
    handle = kernel32.OpenProcess(query_limited_information, 0, pid)
    if not handle:
        return None
    counters = Counters(cb=ctypes.sizeof(Counters))
    # Without a declared type ctypes would cut a 64-bit handle to an int.
    done = kernel32.K32GetProcessMemoryInfo(
        ctypes.c_void_p(handle), ctypes.byref(counters), counters.cb
    )
    kernel32.CloseHandle(ctypes.c_void_p(handle))
    return int(counters.PeakWorkingSetSize) if done else None


_RUSAGE_INFO_V4 = 4
_RUSAGE_V4_WORDS = 35
_LIFETIME_MAX_PHYS_FOOTPRINT = 28


def _macos_peak(pid: int, libproc: Any) -> int | None:
    """`ri_lifetime_max_phys_footprint` (sys/resource.h, rusage_info_v4): a 16-byte uuid,
    then 35 words of 64 bits of which it is number 28 from 0. Untested on hardware.
    """
    import ctypes

    class Usage(ctypes.Structure):
        _fields_ = (
            ("uuid", ctypes.c_uint8 * 16),
            ("words", ctypes.c_uint64 * _RUSAGE_V4_WORDS),
        )

    usage = Usage()
    failed = libproc.proc_pid_rusage(pid, _RUSAGE_INFO_V4, ctypes.byref(usage))
    return None if failed else int(usage.words[_LIFETIME_MAX_PHYS_FOOTPRINT])
