"""Resident memory of a process: the kernel's high-water mark, and a sampled split.

The peak of one process comes from the kernel, which alone sees transients: `VmHWM` on
Linux, those of `memory_native` elsewhere. `ru_maxrss` is not used: a child inherits its
parent's. Two things have no high-water mark on Linux, so the parent samples them: the
split into anonymous, file-backed and shared pages, and the sum over a worker and what it
started, its keeper left out. A descendant that leaves its parent (a daemon) is not seen where
there is no keeper, and where the kernel lacks `CONFIG_PROC_CHILDREN` nobody knows of any.

Standard library only, and ctypes only where it is needed: the measured child imports this.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from harness import kernelfs
from harness.sandbox.keeper import NAME as KEEPER

if TYPE_CHECKING:
    from harness.probes.memory_native import JobSampler

PERIOD_S = 0.02
"""Time between two samples of the split: an engine's load takes many times as long."""

_PLATFORM: str = sys.platform
_SLACK_BYTES = 1 << 20
"""A larger sample must be larger by this before a tree's shared pages are counted again."""
_RESET_SLACK_BYTES = 4 << 20
"""Kernels count resident pages in batches for each processor, and a reading takes some."""
_FORKED_NOT_EXECUTED = 0x40  # PF_FORKNOEXEC of the kernel's <linux/sched.h>


class Resident(NamedTuple):
    """Resident size of a process: the largest since its mark was set, and the present one;
    what of it is swapped out, None where the system does not say.
    """

    peak_bytes: int
    now_bytes: int
    swapped_bytes: int | None = None


class Split(NamedTuple):
    """Resident bytes by the kind of page; their sum is the resident size."""

    anon_bytes: int
    file_bytes: int
    shmem_bytes: int


def resident(pid: int | None = None) -> Resident | None:
    """Resident size of a process.

    Args:
        pid: None = this process.

    Returns:
        None where the process is gone or the platform does not say.
    """
    pid = os.getpid() if pid is None else pid
    if _PLATFORM == "linux":
        found = _status(pid)
        if "VmHWM" not in found or "VmRSS" not in found:
            return None
        peak_bytes = max(found["VmHWM"], found["VmRSS"])
        return Resident(peak_bytes, found["VmRSS"], found.get("VmSwap"))
    from harness.probes import memory_native as native

    found_elsewhere = None
    if _PLATFORM == "win32":
        found_elsewhere = native.windows_resident(pid, native.library("kernel32"))
    elif _PLATFORM == "darwin":
        found_elsewhere = native.macos_resident(pid, native.library(None))
    return Resident(*found_elsewhere) if found_elsewhere else None


def reset_peak() -> bool:
    """Set this process's high-water mark back to its present resident size.

    Returns:
        Whether it really fell; only Linux can.
    """
    if _PLATFORM != "linux":
        return False
    try:
        with open("/proc/self/clear_refs", "wb", buffering=0) as file:  # noqa: PTH123 - a path object costs memory in the child
            file.write(b"5")
    except OSError:
        return False
    found = resident()
    return found is not None and found.peak_bytes - found.now_bytes <= _RESET_SLACK_BYTES


def resident_split(pid: int) -> Split | None:
    """Resident pages of one process by kind, now; None where it is gone or unreadable."""
    found = _status(pid)
    if "RssAnon" not in found:
        return None
    return Split(found["RssAnon"], found.get("RssFile", 0), found.get("RssShmem", 0))


def tree_sampler() -> TreeSampler | JobSampler:
    """What watches a worker and what it starts: a job object on Windows, else samples."""
    if _PLATFORM == "win32":
        from harness.probes.memory_native import JobSampler

        return JobSampler()
    return TreeSampler()


class TreeSampler:
    """Samples a process and its descendants, in a thread of the parent.

    Pages that processes of the tree share are counted once.

        sampler = TreeSampler()
        sampler.start(child.pid)
        ...
        sampler.stop()   # {"method": "sampled", "anon_bytes": …, …}
    """

    def __init__(self, period_s: float = PERIOD_S) -> None:
        self._period_s = period_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._largest: Split | None = None
        self._samples = self._processes = 0
        self._unreadable = False
        self._lists_children = False
        self._known: list[int] = []
        self._newest = b""
        self._sum_counted, self._counted_again_s = 0, 0.0

    def start(self, pid: int) -> None:
        """Begin to sample a running process; once a sampler."""
        self._thread = threading.Thread(target=self._watch, args=(pid,), daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, object] | None:
        """End sampling.

        Returns:
            `anon_bytes`, `file_bytes`, `shmem_bytes` of the largest sample, the most
            `processes` at once (None = unknown), `tree_peak_bytes` (None where there was
            only one process, or where one could not be read), the number of `samples` and
            the `method`; None where nothing could be read.
        """
        self._ended.set()
        if self._thread:
            self._thread.join()
        if self._largest is None:
            return None
        known = self._processes > 1 and not self._unreadable
        return {
            **self._largest._asdict(),
            "processes": self._processes if self._lists_children else None,
            "tree_peak_bytes": sum(self._largest) if known else None,
            "samples": self._samples,
            "method": "sampled",
        }

    def _watch(self, pid: int) -> None:
        while tree := self._tree(pid):
            self._samples += 1
            if not self._lists_children:
                self._lists_children = os.path.exists(f"/proc/{pid}/task/{pid}/children")  # noqa: PTH110 - as above
            self._processes = max(self._processes, len(tree))
            self._compare(tree)
            if self._ended.wait(self._period_s):
                return

    def _tree(self, pid: int) -> dict[int, Split]:
        """A process and its living descendants; empty once the process itself is gone.

        Looking for descendants is most of the work, and needless while the machine has
        started no process or thread since: the newest one's number has not changed.
        """
        newest = kernelfs.data("/proc/loadavg").rpartition(b" ")[2]
        if not newest or newest != self._newest:
            self._known, settled = _descendants(pid)
            self._newest = newest if settled else b""
        splits = {each: resident_split(each) for each in (pid, *self._known)}
        if not splits[pid]:
            return {}
        if self._known and kernelfs.data(f"/proc/{pid}/comm").strip() == KEEPER:
            del splits[pid]  # it is the harness's
        return {each: split for each, split in splits.items() if split}

    def _compare(self, tree: Mapping[int, Split]) -> None:
        """Keep the sample if it is the largest; a plain sum is an upper bound."""
        total = sum(map(sum, tree.values()))
        largest = sum(self._largest) if self._largest else 0
        if len(tree) == 1:
            if total > largest:
                (self._largest,) = tree.values()
            return
        grown = total > self._sum_counted + _SLACK_BYTES
        started_s = time.monotonic()
        # To count shared pages the kernel walks over all pages. What is shared can become
        # private without growth, so it is done again, but for a tenth of the time at most.
        if total <= largest + _SLACK_BYTES or not (grown or started_s > self._counted_again_s):
            return
        found = _counted_once(tree)
        self._sum_counted = total
        self._counted_again_s = started_s + 10 * (time.monotonic() - started_s)
        if found is None:
            self._unreadable = True
            found = max(tree.values(), key=sum)
        if sum(found) > largest:
            self._largest = found


def _descendants(pid: int) -> tuple[list[int], bool]:
    """What a process has started, and whether all of it has executed a program of its own.

    Between `vfork` and `exec` a child still runs in its parent's, and would double it.
    The thread that made it sleeps uninterruptibly all that time.
    """
    found: list[int] = []
    settled = True
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for thread in kernelfs.listed(f"/proc/{parent}/task") or ():
            path = f"/proc/{parent}/task/{thread}"
            for word in kernelfs.data(f"{path}/children").split():
                child = int(word)
                flags = _stat(f"/proc/{child}")[6:7]
                # In this order: a child that executes in between is read after it has.
                borrowed = flags and int(flags[0]) & _FORKED_NOT_EXECUTED
                settled = settled and not borrowed  # one that may still execute is looked at again
                if not (borrowed and _stat(path)[:1] == [b"D"]) and child not in found:
                    found.append(child)
                    waiting.append(child)
    return found, settled


def _stat(path: str) -> list[bytes]:
    """The fields of a process's or a thread's `stat` from the state on, which is the third."""
    return kernelfs.data(f"{path}/stat").rpartition(b")")[2].split()


def _counted_once(tree: Mapping[int, Split]) -> Split | None:
    """Pages of a tree, those that its processes share counted once; None where unreadable.

    Proportional sizes lose what processes outside the tree share too: no kind can be
    smaller than in the one process that has most of it.
    """
    shares = [Split(0, 0, 0)]
    for pid in tree:
        found = kernelfs.sizes(kernelfs.data(f"/proc/{pid}/smaps_rollup"))
        if "Pss_Anon" in found:
            shares.append(Split(found["Pss_Anon"], found["Pss_File"], found["Pss_Shmem"]))
        elif resident_split(pid):
            return None  # alive: not a process that has ended since it was listed
    sums = map(sum, zip(*shares, strict=True))
    most = map(max, zip(*tree.values(), strict=True))
    return Split(*map(max, sums, most))


def _status(pid: int) -> dict[str, int]:
    """The sizes in `/proc/<pid>/status`, in bytes; empty where it cannot be read."""
    return kernelfs.sizes(kernelfs.data(f"/proc/{pid}/status"))
