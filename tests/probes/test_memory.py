"""The truth test: a child that allocates a known amount in a known way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.probes import memory

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
        found = memory.peak_resident_bytes(pid)
    assert found is not None
    return found


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
        found = memory.peak_resident_bytes(second)
    assert found is not None
    assert abs(found - bare - 128 * MIB) <= TOLERANCE_BYTES


@linux
def test_a_fat_parent_is_not_inherited(bare: int) -> None:
    ballast = bytearray(64 * MIB)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert abs(peak("held()", 0) - bare) <= TOLERANCE_BYTES


@linux
def test_this_process_is_the_default() -> None:
    own = memory.peak_resident_bytes()
    assert own is not None
    assert own == pytest.approx(memory.peak_resident_bytes(os.getpid()), abs=MIB)


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
def test_the_sampler_sees_descendants_and_keeps_the_largest() -> None:
    grandchild = (
        "import sys; area = bytearray(64 << 20); area[::4096] = b'x' * len(area[::4096]);"
        "print('ready', flush=True); sys.stdin.read()"
    )
    body = f"""
other = subprocess.Popen([sys.executable, "-I", "-S", "-c", {grandchild!r}],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
other.stdout.readline(); time.sleep(.1)
other.stdin.close(); other.wait()
held()
"""
    sampler = memory.SplitSampler()
    command = [sys.executable, "-I", "-S", "-c", PRELUDE + body, "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        sampler.start(process.pid)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.03)
        found = sampler.stop()
        assert process.stdin is not None
        process.stdin.close()
    assert found is not None
    assert found["method"] == "sampled"
    assert isinstance(found["samples"], int)
    assert found["samples"] > 3
    assert isinstance(found["anon_bytes"], int)
    assert found["anon_bytes"] >= 64 * MIB
    assert found["anon_bytes"] <= 64 * MIB + 2 * TOLERANCE_BYTES


@linux
def test_a_process_that_is_gone_gives_nothing() -> None:
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", ""]) as process:
        process.wait()
    assert memory.peak_resident_bytes(process.pid) is None
    assert memory.resident_split(process.pid) is None
    sampler = memory.SplitSampler()
    sampler.start(process.pid)
    assert sampler.stop() is None


def test_a_sampler_that_never_started_has_nothing_to_say() -> None:
    assert memory.SplitSampler().stop() is None


def test_status_lines_without_a_size_are_passed_over() -> None:
    text = b"Name:\tsh kB\nVmHWM:\t    1640 kB\nThreads:\t1\nVmSwap:\t 0 kB\n\xff\xfe: x kB\n"
    assert memory.parse_status(text) == {"VmHWM": 1640 * 1024, "VmSwap": 0}


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

    close = FakeCall(1)
    kernel32 = SimpleNamespace(
        OpenProcess=FakeCall(1 << 40), K32GetProcessMemoryInfo=FakeCall(1, fill), CloseHandle=close
    )
    monkeypatch.setattr(memory, "_PLATFORM", "win32")
    monkeypatch.setattr(memory, "_library", lambda _: kernel32)
    assert memory.peak_resident_bytes(7) == 123 * MIB
    assert len(close.calls) == 1
    kernel32.K32GetProcessMemoryInfo = FakeCall(0)
    assert memory.peak_resident_bytes(7) is None
    assert len(close.calls) == 2
    kernel32.OpenProcess = FakeCall(None)
    assert memory.peak_resident_bytes(7) is None
    assert len(close.calls) == 2


def test_macos_reads_the_lifetime_footprint(monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(pid: int, flavor: int, reference: Any) -> None:
        import ctypes

        assert (pid, flavor) == (7, 4)
        assert ctypes.sizeof(reference._obj) == 296  # sizeof(struct rusage_info_v4)
        reference._obj.words[28] = 45 * MIB

    libproc = SimpleNamespace(proc_pid_rusage=FakeCall(0, fill))
    monkeypatch.setattr(memory, "_PLATFORM", "darwin")
    monkeypatch.setattr(memory, "_library", lambda _: libproc)
    assert memory.peak_resident_bytes(7) == 45 * MIB
    libproc.proc_pid_rusage = FakeCall(-1)
    assert memory.peak_resident_bytes(7) is None


def test_another_platform_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_PLATFORM", "plan9")
    assert memory.peak_resident_bytes() is None


def test_importing_the_probe_stays_cheap() -> None:
    script = "import sys, harness.probes.memory; print({'psutil', 'ctypes'} & {*sys.modules})"
    command = [sys.executable, "-S", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"
