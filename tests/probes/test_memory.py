"""The truth test: a child that allocates a known amount in a known way."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import kernelfs
from harness.probes import memory, memory_native

MIB = 1 << 20
ROOT = Path(__file__).parents[2]
TOLERANCE_BYTES = 8 * MIB
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Every way ends in `held`: the parent measures, then closes stdin.
PRELUDE = """
import mmap, os, subprocess, sys, time
size = int(sys.argv[1]) << 20
def touch(area):
    for place in range(0, size, 4096):
        area[place] = 1
def held():
    print("ready", flush=True)
    sys.stdin.read()
"""
WAYS = {
    "heap": "area = bytearray(size); touch(area); held()",
    "private map": "area = mmap.mmap(-1, size, mmap.MAP_PRIVATE); touch(area); held()",
    "shared map": "area = mmap.mmap(-1, size, mmap.MAP_SHARED); touch(area); held()",
    "transient": "area = bytearray(size); touch(area); time.sleep(.05); del area; held()",
}


@contextmanager
def child(body: str, size_mib: int) -> Iterator[int]:
    command = [sys.executable, "-I", "-S", "-c", PRELUDE + body, str(size_mib)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)


def peak(body: str, size_mib: int) -> int:
    with child(body, size_mib) as pid:
        found = memory.resident(pid)
    assert found is not None
    return found.peak_bytes


@pytest.fixture(scope="module")
def bare() -> int:
    """Peak of the same process without an allocation."""
    return peak("held()", 0)


@linux
@pytest.mark.parametrize(("way", "size_mib"), [*((way, 64) for way in WAYS), ("heap", 256)])
def test_the_peak_is_true(bare: int, way: str, size_mib: int) -> None:
    assert abs(peak(WAYS[way], size_mib) - bare - size_mib * MIB) <= TOLERANCE_BYTES


@linux
def test_two_children_at_once_do_not_disturb_each_other(bare: int) -> None:
    with child(WAYS["heap"], 64), child(WAYS["shared map"], 128) as second:
        found = memory.resident(second)
    assert found is not None
    assert abs(found.peak_bytes - bare - 128 * MIB) <= TOLERANCE_BYTES


@linux
def test_a_fat_parent_is_not_inherited(bare: int) -> None:
    ballast = bytearray(64 * MIB)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert abs(peak("held()", 0) - bare) <= TOLERANCE_BYTES


@linux
def test_this_process_is_the_default() -> None:
    assert memory.resident() == pytest.approx(memory.resident(os.getpid()), abs=MIB)


@linux
@pytest.mark.parametrize(
    ("way", "kind"), [("heap", 0), ("private map", 0), ("shared map", 2)], ids=str
)
def test_the_split_names_the_kind_of_page(way: str, kind: int) -> None:
    with child(WAYS[way], 64) as pid:
        split = memory.resident_split(pid)
    assert split is not None
    assert abs(split[kind] - 64 * MIB) <= TOLERANCE_BYTES


@linux
def test_a_process_that_is_gone_gives_nothing() -> None:
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", ""]) as process:
        process.wait()
    assert memory.resident(process.pid) is None
    assert memory.resident_split(process.pid) is None


@linux
def test_the_mark_is_set_back() -> None:
    """A transient belongs to its own phase, and not to the next one."""
    script = """
from harness import kernelfs
from harness.probes import memory, memory_native
area = bytearray(64 << 20)
area[::4096] = b"x" * len(area[::4096])
del area
print(*memory.resident()[:2], memory.reset_peak(), *memory.resident()[:2])
"""
    command = [sys.executable, "-S", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    peak_before, now, fell, peak_after, now_after = done.stdout.split()
    assert fell == "True"
    assert int(peak_before) - int(now) == pytest.approx(64 * MIB, abs=TOLERANCE_BYTES)
    assert int(peak_after) - int(now_after) <= MIB


@linux
def test_a_mark_that_cannot_be_set_back_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    # A kernel may accept the request and do nothing: the mark stands above the size.
    status = b"VmHWM:\t 90000 kB\nVmRSS:\t 10000 kB\n"
    monkeypatch.setattr(kernelfs, "data", lambda path: status)
    assert not memory.reset_peak()
    for platform in ("win32", "darwin", "plan9"):
        monkeypatch.setattr(memory, "_PLATFORM", platform)
        assert not memory.reset_peak()


def test_status_lines_without_a_size_are_passed_over() -> None:
    text = b"Name:\tsh kB\nVmHWM:\t    1640 kB\nThreads:\t1\nVmSwap:\t 0 kB\n\xff\xfe: x kB\n"
    assert kernelfs.sizes(text) == {"VmHWM": 1640 * 1024, "VmSwap": 0}


class FakeCall:
    """A foreign function: records its arguments and answers with `result`."""

    def __init__(self, result: Any, fill: Any = None) -> None:
        self.result = result
        self.fill = fill
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *args: Any) -> Any:
        self.calls.append(args)
        if self.fill:
            self.fill(*args)
        return self.result


def test_windows_reads_the_peak_working_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(_handle: Any, reference: Any, size: int) -> None:
        counters = reference._obj
        assert size == 72  # sizeof(PROCESS_MEMORY_COUNTERS) on 64-bit Windows
        counters.PeakWorkingSetSize = 123 * MIB
        counters.WorkingSetSize = 100 * MIB

    close = FakeCall(1)
    kernel32 = SimpleNamespace(
        OpenProcess=FakeCall(1 << 40), K32GetProcessMemoryInfo=FakeCall(1, fill), CloseHandle=close
    )
    monkeypatch.setattr(memory, "_PLATFORM", "win32")
    monkeypatch.setattr(memory_native, "library", lambda _: kernel32)
    assert memory.resident(7) == (123 * MIB, 100 * MIB, None)
    assert len(close.calls) == 1
    kernel32.K32GetProcessMemoryInfo = FakeCall(0)
    assert memory.resident(7) is None
    assert len(close.calls) == 2
    kernel32.OpenProcess = FakeCall(None)
    assert memory.resident(7) is None
    assert len(close.calls) == 2


def test_macos_reads_the_lifetime_footprint(monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(pid: int, flavor: int, reference: Any) -> None:
        import ctypes

        assert (pid, flavor) == (7, 4)
        assert ctypes.sizeof(reference._obj) == 296  # sizeof(struct rusage_info_v4)
        reference._obj.words[28] = 45 * MIB
        reference._obj.words[7] = 40 * MIB

    libproc = SimpleNamespace(proc_pid_rusage=FakeCall(0, fill))
    monkeypatch.setattr(memory, "_PLATFORM", "darwin")
    monkeypatch.setattr(memory_native, "library", lambda _: libproc)
    assert memory.resident(7) == (45 * MIB, 40 * MIB, None)
    libproc.proc_pid_rusage = FakeCall(-1)
    assert memory.resident(7) is None


def job_object(*, assigned: int = 1, answered: int = 1) -> SimpleNamespace:
    """kernel32 with a job of three processes that committed 700 MiB at most."""

    def query(_job: Any, kind: int, buffer: Any, size: int, _returned: Any) -> int:
        assert size == {9: 144, 1: 48}[kind]  # sizes of the two structures on 64-bit Windows
        if kind == 9:
            struct.pack_into("<Q", buffer, 136, 700 * MIB)
        else:
            struct.pack_into("<IIII", buffer, 32, 12345, 3, 1, 0)
        return answered

    return SimpleNamespace(
        CreateJobObjectW=FakeCall(1 << 40),
        OpenProcess=FakeCall(1 << 41),
        AssignProcessToJobObject=FakeCall(assigned),
        QueryInformationJobObject=query,
        CloseHandle=FakeCall(1),
    )


def test_windows_keeps_the_peak_of_a_whole_job() -> None:
    kernel32 = job_object()
    sampler = memory_native.JobSampler(kernel32)
    sampler.start(7)
    assert kernel32.OpenProcess.calls == [(0x0101, 0, 7)]
    assert sampler.stop() == {
        "processes": 3,
        "tree_peak_bytes": 700 * MIB,
        "method": "job_object",
    }
    closed = [call[0].value for call in kernel32.CloseHandle.calls]
    assert closed == [1 << 41, 1 << 40], "the process, then the job"


@pytest.mark.parametrize("refused", [{"assigned": 0}, {"answered": 0}])
def test_a_job_that_windows_refuses_says_nothing(refused: dict[str, int]) -> None:
    kernel32 = job_object(**refused)
    sampler = memory_native.JobSampler(kernel32)
    sampler.start(7)
    assert sampler.stop() is None
    assert len(kernel32.CloseHandle.calls) == 2


def test_another_platform_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_PLATFORM", "plan9")
    assert memory.resident() is None


def test_importing_the_probe_stays_cheap() -> None:
    script = "import sys, harness.probes.memory; print({'psutil', 'ctypes'} & {*sys.modules})"
    command = [sys.executable, "-S", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"
