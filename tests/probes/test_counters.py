"""Counters on copies of `/proc` and `/sys`, on this machine, and on other systems' calls."""

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.probes import counters

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
MIB = 1 << 20
OWN = {"clock_ns", "own_cpu_ns", "wall_offset_ns", "hard_faults", "boot_offset_ns"}
TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0

STAT = """cpu  100 20 30 5000 400 6 7 8 90 10
cpu0 50 10 15 2500 200 3 3 4 45 5
cpu1 50 10 15 2500 200 3 4 4 45 5
intr 4711 1 2 3
"""
MEMINFO = "MemTotal:  16000 kB\nMemFree:  4000 kB\nMemAvailable:   9000 kB\n"
VMSTAT = "nr_free_pages 7\npswpin 5\npswpout 6\n"


def write(root: Path, files: dict[str, str]) -> str:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "ascii")
    return str(root)


def machine(root: Path, **supplies: dict[str, str]) -> str:
    """A laptop with two processors and the given power supplies."""
    files = {"proc/stat": STAT, "proc/meminfo": MEMINFO, "proc/vmstat": VMSTAT}
    for cpu, count in enumerate((3, 4)):
        folder = f"sys/devices/system/cpu/cpu{cpu}/thermal_throttle"
        files |= {
            f"{folder}/core_throttle_count": f"{count}\n",
            f"{folder}/package_throttle_count": "10\n",
            f"{folder}/core_throttle_total_time_ms": "999\n",
        }
    for name, entries in supplies.items():
        files |= {
            f"sys/class/power_supply/{name}/{key}": f"{value}\n" for key, value in entries.items()
        }
    return write(root, files)


# --- Linux, from files ---------------------------------------------------------------


@linux
def test_every_counter_of_a_laptop(tmp_path: Path) -> None:
    found = counters.read(machine(tmp_path, AC={"type": "Mains", "online": "1"}))
    assert {name: found[name] for name in sorted(set(found) - OWN - {"continued"})} == {
        "available_bytes": 9000 * 1024,
        "cpu_busy_ns": (100 + 20 + 30 + 6 + 7) * TICK_NS,
        "cpu_steal_ns": 8 * TICK_NS,
        "cpus": 2,
        "on_battery": 0,
        "swap_in_bytes": 5 * mmap.PAGESIZE,
        "throttle_count": 3 + 10 + 4 + 10,
    }


@linux
def test_counters_are_read_anew_each_time(tmp_path: Path) -> None:
    root = machine(tmp_path)
    before = counters.read(root)
    write(
        tmp_path,
        {
            "proc/stat": STAT.replace("100 20 30", "101 20 30"),
            "proc/vmstat": VMSTAT.replace("pswpin 5", "pswpin 9"),
            "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "6\n",
        },
    )
    after = counters.read(root)
    grown = {name: after[name] - before[name] for name in set(after) - OWN}
    assert grown["cpu_busy_ns"] == TICK_NS
    assert grown["swap_in_bytes"] == 4 * mmap.PAGESIZE
    assert grown["throttle_count"] == 2
    assert grown["available_bytes"] == 0


BATTERY = {"type": "Battery", "status": "Discharging"}


@linux
@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ({"AC": {"type": "Mains", "online": "0"}, "BAT0": BATTERY}, 1),
        ({"AC": {"type": "Mains", "online": "1"}, "BAT0": BATTERY}, 0),
        ({"BAT0": BATTERY}, 1),
        ({"BAT0": {**BATTERY, "status": "Full"}}, 0),
        ({"ucsi": {"type": "USB", "online": "1"}, "BAT0": BATTERY}, 0),
        ({"ucsi": {"type": "USB", "online": "0"}, "BAT0": {**BATTERY, "status": "Charging"}}, 0),
        ({"AC": {"type": "Mains", "online": "0"}, "BAT0": {**BATTERY, "status": "Unknown"}}, 1),
        ({"BAT0": {**BATTERY, "status": "Unknown"}}, None),
        ({"mouse": {**BATTERY, "scope": "Device"}}, 0),
        ({}, None),
    ],
)
def test_power(tmp_path: Path, supplies: dict[str, dict[str, str]], expected: int | None) -> None:
    assert counters.read(machine(tmp_path, **supplies)).get("on_battery") == expected


@linux
def test_what_cannot_be_read_is_absent(tmp_path: Path) -> None:
    assert set(counters.read(str(tmp_path))) - {"continued"} == OWN


@linux
@pytest.mark.parametrize(
    ("file", "content", "absent"),
    [
        ("proc/stat", "cpu  1 2 3\n", {"cpu_busy_ns", "cpu_steal_ns", "cpus"}),
        ("proc/stat", "cpu a b c d e f g h i j\n", {"cpu_busy_ns", "cpu_steal_ns", "cpus"}),
        ("proc/stat", "", {"cpu_busy_ns", "cpu_steal_ns", "cpus"}),
        ("proc/vmstat", "pswpinned 5\n", {"swap_in_bytes"}),
        ("proc/vmstat", "pswpin \n", {"swap_in_bytes"}),
        ("proc/meminfo", "MemAvailable: much kB\n", {"available_bytes"}),
        # A core that went offline must not make the sum fall.
        (
            "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count",
            "",
            {"throttle_count"},
        ),
    ],
)
def test_damaged_files(tmp_path: Path, file: str, content: str, absent: set[str]) -> None:
    whole = set(counters.read(machine(tmp_path / "whole")))
    root = machine(tmp_path / "damaged")
    write(Path(root), {file: content})
    assert whole - set(counters.read(root)) == absent


@linux
def test_one_reading_without_numbers_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would leave a hole in the evidence of a run that may take a day."""
    root = machine(tmp_path)
    whole, garbled, data = counters.read(root), ["proc/stat"], counters.kernelfs.data

    def once(*parts: str) -> bytes:
        if parts[-1] in garbled:
            garbled.remove(parts[-1])
            return b"cpu  \n"
        return data(*parts)

    monkeypatch.setattr(counters.kernelfs, "data", once)
    assert counters.read(root)["cpu_busy_ns"] == whole["cpu_busy_ns"]
    assert not garbled


# --- this machine ---------------------------------------------------------------------


@linux
def test_work_of_this_process_shows_in_its_own_and_in_all_time() -> None:
    before = counters.read()
    while counters.read()["own_cpu_ns"] - before["own_cpu_ns"] < 200 * 10**6:
        sum(range(1000))
    after = counters.read()
    worked_ns = after["own_cpu_ns"] - before["own_cpu_ns"]
    assert after["clock_ns"] - before["clock_ns"] > 0
    # The kernel books the work of all processes in ticks.
    assert after["cpu_busy_ns"] - before["cpu_busy_ns"] > worked_ns / 2
    assert after["cpus"] == before["cpus"] > 0
    assert after["available_bytes"] > 0


@linux
def test_sleep_costs_no_time_of_this_process() -> None:
    before = counters.read()
    time.sleep(0.1)
    after = counters.read()
    assert after["own_cpu_ns"] - before["own_cpu_ns"] < after["clock_ns"] - before["clock_ns"]
    assert abs(after["boot_offset_ns"] - before["boot_offset_ns"]) < 10**9


READ_FROM_DISK = """
import json, mmap, os, sys
from harness.probes import counters
file = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
area = mmap.mmap(file, 0, mmap.MAP_SHARED, mmap.PROT_READ)
area.madvise(mmap.MADV_RANDOM)
before = counters.read()["hard_faults"]
if os.fork() == 0:
    sum(area[place] for place in range(0, len(area) // 2, mmap.PAGESIZE))
    os._exit(0)
os.wait()
child = counters.read()["hard_faults"]
sum(area[place] for place in range(len(area) // 2, len(area), mmap.PAGESIZE))
print(json.dumps([child - before, counters.read()["hard_faults"] - child]))
"""


@linux
def test_hard_faults_are_those_of_this_process_alone(tmp_path: Path) -> None:
    path = tmp_path / "pages"
    with path.open("wb") as file:
        file.write(os.urandom(2 * MIB))
        file.flush()
        os.fsync(file.fileno())
    childs, own = json.loads(in_child(READ_FROM_DISK, str(path)))
    if own == 0:
        pytest.skip("this file system keeps its files in memory")
    assert own > 100
    assert childs < 10


def in_child(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


WATCHED = """
import sys
from harness.probes import counters
print(counters.read().get("continued"), flush=True)
counters.watch_stops()
counters.watch_stops()
print(counters.read()["continued"], flush=True)
for line in sys.stdin:
    print(counters.read()["continued"], flush=True)
"""


@linux
def test_a_process_that_was_stopped_and_continued_knows_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WATCHED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(2)]
        for _ in range(2):
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            process.send_signal(signal.SIGCONT)
            process.stdin.write("\n")
            process.stdin.flush()
            said.append(process.stdout.readline().strip())
        process.stdin.close()
    assert said == ["None", "0", "1", "2"]


def test_only_the_main_thread_can_watch_for_stops() -> None:
    script = (
        "import threading; from harness.probes import counters\n"
        "thread = threading.Thread(target=counters.watch_stops); thread.start(); thread.join()\n"
        "print(counters.read().get('continued'))"
    )
    assert in_child(script).strip() == "None"


# --- Windows and macOS, on recorded values ---------------------------------------------


class Kernel32:
    """Answers as Windows does; 0 says that a call failed."""

    def __init__(self, answer: int = 1, line: int = 0) -> None:
        self.answer = answer
        self.line = line

    def GetSystemTimes(self, idle: Any, kernel: Any, user: Any) -> int:  # noqa: N802 - theirs
        idle._obj.value, kernel._obj.value, user._obj.value = 600, 1000, 200
        return self.answer

    def GlobalMemoryStatusEx(self, memory: Any) -> int:  # noqa: N802 - theirs
        assert memory._obj.size == 64
        memory._obj.available = 7 << 30
        return self.answer

    def GetSystemPowerStatus(self, power: Any) -> int:  # noqa: N802 - theirs
        power._obj[0] = self.line
        return self.answer


def test_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert counters._windows("", Kernel32()) == {
        "cpu_busy_ns": (1000 + 200 - 600) * 100,
        "cpus": 8,
        "available_bytes": 7 << 30,
        "on_battery": 1,
    }
    assert counters._windows("", Kernel32(line=1))["on_battery"] == 0
    assert "on_battery" not in counters._windows("", Kernel32(line=255))
    assert counters._windows("", Kernel32(answer=0)) == {}


def test_windows_tells_suspended_time_by_one_source() -> None:
    def fills(value: int) -> Any:
        return lambda pointer: setattr(pointer._obj, "value", value)

    kernelbase = SimpleNamespace(
        QueryInterruptTimePrecise=fills(500 * 10**7),
        QueryUnbiasedInterruptTimePrecise=fills(300 * 10**7),
    )
    found = counters._windows_clock("", kernelbase)
    assert found["boot_offset_ns"] == 200 * 10**9
    assert found["wall_offset_ns"] > 0


def process_list(*processes: tuple[int, int]) -> bytes:
    """SYSTEM_PROCESS_INFORMATION entries of (process id, hard faults), 256 bytes each."""
    entries = b""
    for index, (process, faults) in enumerate(processes):
        step = 256 if index < len(processes) - 1 else 0
        entry = struct.pack("<II8xI60xQ", step, 4, faults, process)
        entries += entry.ljust(256, b"\0")
    return entries


@pytest.mark.parametrize(
    ("processes", "found"),
    [
        (((4, 9), (os.getpid(), 17), (8, 1)), {"hard_faults": 17}),
        (((os.getpid(), 3),), {"hard_faults": 3}),
        (((4, 9), (8, 1)), {}),
    ],
)
def test_windows_counts_the_hard_faults_of_this_process(
    processes: tuple[tuple[int, int], ...], found: dict[str, int]
) -> None:
    content = process_list(*processes)
    asked: list[int] = []

    def ask(kind: int, buffer: Any, size: Any, wanted: Any) -> int:
        assert kind == 5
        asked.append(size.value)
        if len(asked) == 1:  # too small, as on a machine with many processes
            wanted._obj.value = 3 << 20
            return -1073741820  # STATUS_INFO_LENGTH_MISMATCH
        buffer[: len(content)] = content
        return 0

    assert counters._windows_faults("", SimpleNamespace(NtQuerySystemInformation=ask)) == found
    assert asked == [1 << 20, (3 << 20) + (1 << 16)]


def macos(left_s: float, failed: int = 0) -> tuple[SimpleNamespace, SimpleNamespace]:
    """The system's library and IOKit."""

    class Call:
        restype: Any = None

        def __init__(self, answer: Any) -> None:
            self.answer = answer

        def __call__(self, *arguments: Any) -> Any:
            return self.answer(*arguments) if callable(self.answer) else self.answer

    def host_statistics(_host: int, flavour: int, ticks: Any, _count: Any) -> int:
        assert flavour == 3
        ticks[:] = (10, 20, 4000, 5)
        return failed

    def sysctlbyname(name: bytes, value: Any, *_: Any) -> int:
        value._obj.value = {b"hw.memsize": 16 << 30, b"kern.memorystatus_level": 50}[name]
        return failed

    system = SimpleNamespace(
        mach_host_self=Call(7), host_statistics=host_statistics, sysctlbyname=sysctlbyname
    )
    return system, SimpleNamespace(IOPSGetTimeRemainingEstimate=Call(left_s))


def test_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    found = counters._macos("", *macos(-2.0))
    assert found == {
        "cpu_busy_ns": (10 + 20 + 5) * 10**7,
        "cpus": 10,
        "available_bytes": 8 << 30,
        "on_battery": 0,
    }
    assert counters._macos("", *macos(3600.0))["on_battery"] == 1
    assert counters._macos("", *macos(-1.0))["on_battery"] == 1
    assert "cpu_busy_ns" not in counters._macos("", *macos(-2.0, failed=5))
    assert "available_bytes" not in counters._macos("", *macos(-2.0, failed=5))


@pytest.mark.parametrize("platform", ["win32", "darwin", "plan9"])
def test_a_system_without_the_libraries_still_tells_the_time(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    if platform == sys.platform:
        pytest.skip("this system has them")
    monkeypatch.setattr(counters, "_PLATFORM", platform)
    found = counters.read()
    assert set(found) >= {"clock_ns", "own_cpu_ns"}
    assert "boot_offset_ns" not in found, "a clock that is not there is not another one"
    assert "cpu_busy_ns" not in counters.read()
