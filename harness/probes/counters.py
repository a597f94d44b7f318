"""Cumulative counters of this process and of the machine, read between requests.

What a run is judged by needs no sampling: the growth of a counter over a request tells
what happened in it. Those of the machine are the host's, in a container too, and that is
what quietness means. A counter that cannot be read is absent; nothing here ever raises.

A reading takes about 0.3 ms (Linux, two processors). Readers for Windows and macOS are
written from the vendors' headers and untested on hardware.

Standard library only, and ctypes only where it is needed: the measured child imports this.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from harness import kernelfs

_PLATFORM: str = sys.platform
_STAT = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""Columns of the first line of `/proc/stat`; guests are part of user and nice."""
_BUSY = ("user", "nice", "system", "irq", "softirq")
_continued: int | None = None


def read(root: str = "/") -> dict[str, int]:
    """Every counter that can be read now.

    Args:
        root: folder that holds `proc` and `sys` (Linux); tests give their own.

    Returns:
        Times in ns and sizes in bytes:
        `clock_ns` of the clock that measures; `own_cpu_ns` of all threads of this process;
        `cpu_busy_ns` and `cpu_steal_ns` of all `cpus` and processes (in ticks of 10 ms);
        `hard_faults` of this process; `swap_in_bytes` and `available_bytes` of the
        machine; `throttle_count`, all cores' and packages' added up; `on_battery` 0 or 1;
        `boot_offset_ns`, which grows by the time spent suspended; `wall_offset_ns`, which
        moves only when the clock is set, not while suspended; `continued`, once
        `watch_stops` was called.
    """
    found = {
        "clock_ns": time.perf_counter_ns(),
        "own_cpu_ns": time.process_time_ns(),
    }
    if _continued is not None:
        found["continued"] = _continued
    for reader in _READERS.get(_PLATFORM, ()):
        # What one of them cannot read hides nothing of the others.
        with contextlib.suppress(OSError, ValueError, AttributeError, ImportError):
            found |= reader(root)
    return found


def watch_stops() -> None:
    """Count from now on how often this process is continued after it was stopped.

    Python runs the handler between two of its own instructions, so a stop inside an
    engine's call is counted when that call returns. Windows has no such signal. Only the
    main thread may ask for this; elsewhere nothing is counted.
    """
    global _continued  # noqa: PLW0603 - a signal belongs to the process, and so does its count
    number = getattr(signal, "SIGCONT", None)
    if number is None or _continued is not None:
        return
    try:
        signal.signal(number, _count)
    except (OSError, ValueError):
        return
    # An engine's blocking call must not end early because of us.
    signal.siginterrupt(number, False)  # noqa: FBT003 - it takes no keyword
    _continued = 0


def _count(_number: int, _frame: object) -> None:
    global _continued  # noqa: PLW0603 - as above
    _continued = (_continued or 0) + 1


def _hard_faults(_root: str) -> dict[str, int]:
    """Page faults that waited for the disk: this process's only, children not counted."""
    import resource

    return {"hard_faults": resource.getrusage(resource.RUSAGE_SELF).ru_majflt}


# --- Linux --------------------------------------------------------------------------


def _linux(root: str) -> dict[str, int]:
    found = {
        **_linux_processors(root),
        **_line(kernelfs.data(root, "proc/vmstat"), b"pswpin", "swap_in_bytes", _page_bytes()),
        **_line(kernelfs.data(root, "proc/meminfo"), b"MemAvailable:", "available_bytes", 1024),
    }
    if (count := kernelfs.throttle_count(root)) is not None:
        found["throttle_count"] = count
    if (source := kernelfs.power_source(kernelfs.supplies(root))) != "unknown":
        found["on_battery"] = int(source == "battery")
    return found


def _linux_clock(_root: str) -> dict[str, int]:
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return {
        "boot_offset_ns": boot_ns - time.clock_gettime_ns(time.CLOCK_MONOTONIC),
        "wall_offset_ns": time.time_ns() - boot_ns,
    }


def _page_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE")


def _linux_processors(root: str) -> dict[str, int]:
    for _ in range(2):
        # Of some hundred thousand readings one has no numbers in it, the next one has.
        content = kernelfs.data(root, "proc/stat")
        words = content[: content.find(b"\n")].split()
        if words[:1] == [b"cpu"] and len(words) > len(_STAT) and _digits(words[1:]):
            break
    else:
        return {}
    ticks = dict(zip(_STAT, map(int, words[1:]), strict=False))
    tick_ns = 10**9 // os.sysconf("SC_CLK_TCK")
    return {
        "cpu_busy_ns": sum(ticks[name] for name in _BUSY) * tick_ns,
        "cpu_steal_ns": ticks["steal"] * tick_ns,
        "cpus": content.count(b"\ncpu"),
    }


def _line(content: bytes, key: bytes, name: str, unit: int) -> dict[str, int]:
    """The whole number after a key, times its unit."""
    place = (b"\n" + content).find(b"\n" + key + b" ")
    words = content[place:].split(None, 2) if place >= 0 else []
    return {name: int(words[1]) * unit} if _digits(words[1:2]) and words[1:] else {}


def _digits(words: Iterable[bytes]) -> bool:
    return all(word.isdigit() for word in words)


# --- Windows and macOS --------------------------------------------------------------


def _windows(_root: str, kernel32: Any = None) -> dict[str, int]:
    """GetSystemTimes (kernel time includes idle time), GlobalMemoryStatusEx,
    GetSystemPowerStatus. Untested on hardware.
    """
    import ctypes

    class Memory(ctypes.Structure):
        _fields_ = (
            ("size", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            ("total", ctypes.c_uint64),
            ("available", ctypes.c_uint64),
            ("others", ctypes.c_uint64 * 5),
        )

    library = kernel32 or ctypes.CDLL("kernel32")
    found: dict[str, int] = {}
    idle, kernel, user = (ctypes.c_uint64() for _ in range(3))
    if library.GetSystemTimes(ctypes.byref(idle), ctypes.byref(kernel), ctypes.byref(user)):
        found["cpu_busy_ns"] = (kernel.value + user.value - idle.value) * 100
        found["cpus"] = os.cpu_count() or 1
    memory = Memory(size=ctypes.sizeof(Memory))
    if library.GlobalMemoryStatusEx(ctypes.byref(memory)):
        found["available_bytes"] = memory.available
    power = (ctypes.c_uint8 * 12)()
    if library.GetSystemPowerStatus(ctypes.byref(power)) and power[0] in {0, 1}:
        found["on_battery"] = 1 - power[0]
    return found


def _windows_clock(_root: str, kernelbase: Any = None) -> dict[str, int]:
    """Interrupt time with and without suspended time, both in units of 100 ns and of one
    source, so that their difference stands still while the machine is awake. Python's
    monotonic clock counts suspended time there. Untested on hardware.
    """
    import ctypes

    library = kernelbase or ctypes.CDLL("kernelbase")
    everything, awake = ctypes.c_uint64(), ctypes.c_uint64()
    library.QueryUnbiasedInterruptTimePrecise(ctypes.byref(awake))
    library.QueryInterruptTimePrecise(ctypes.byref(everything))
    return {
        "boot_offset_ns": (everything.value - awake.value) * 100,
        "wall_offset_ns": time.time_ns() - time.monotonic_ns(),
    }


_SYSTEM_PROCESS_INFORMATION = 5
_HARD_FAULTS_AT, _PROCESS_ID_AT = 16, 80


def _windows_faults(_root: str, ntdll: Any = None) -> dict[str, int]:
    """Hard faults of this process: HardFaultCount of its SYSTEM_PROCESS_INFORMATION, whose
    entries are chained by the offset of the next (64-bit layout). Untested on hardware.
    """
    import ctypes

    library = ntdll or ctypes.CDLL("ntdll")
    size = ctypes.c_uint32(1 << 20)
    buffer = ctypes.create_string_buffer(size.value)
    wanted = ctypes.c_uint32()
    ask = library.NtQuerySystemInformation
    if ask(_SYSTEM_PROCESS_INFORMATION, buffer, size, ctypes.byref(wanted)):
        # More processes than a megabyte holds: some of what it says it wants may be new.
        size = ctypes.c_uint32(wanted.value + (1 << 16))
        buffer = ctypes.create_string_buffer(size.value)
        if ask(_SYSTEM_PROCESS_INFORMATION, buffer, size, ctypes.byref(wanted)):
            return {}
    entries = memoryview(buffer).cast("B")
    at = 0
    while True:
        entry = entries[at:]
        if int.from_bytes(entry[_PROCESS_ID_AT : _PROCESS_ID_AT + 8], "little") == os.getpid():
            faults = entry[_HARD_FAULTS_AT : _HARD_FAULTS_AT + 4]
            return {"hard_faults": int.from_bytes(faults, "little")}
        step = int.from_bytes(entry[:4], "little")
        if not step:
            return {}
        at += step


_HOST_CPU_LOAD_INFO = 3
_MACOS_TICK_NS = 10**7
_TIME_UNLIMITED = -2.0
"""kIOPSTimeRemainingUnlimited: on mains power."""


def _macos(_root: str, system: Any = None, power: Any = None) -> dict[str, int]:
    """host_statistics (mach/host_info.h: user, system, idle, nice ticks of 10 ms),
    IOPSGetTimeRemainingEstimate, and the share of memory that the kernel calls free.
    Untested on hardware.
    """
    import ctypes

    library = system or ctypes.CDLL(None)
    found: dict[str, int] = {}
    ticks = (ctypes.c_uint32 * 4)()
    count = ctypes.c_uint32(4)
    library.mach_host_self.restype = ctypes.c_uint32
    host = library.mach_host_self()
    if not library.host_statistics(host, _HOST_CPU_LOAD_INFO, ticks, ctypes.byref(count)):
        found["cpu_busy_ns"] = (ticks[0] + ticks[1] + ticks[3]) * _MACOS_TICK_NS
        found["cpus"] = os.cpu_count() or 1
    total, percent = _sysctl(library, b"hw.memsize"), _sysctl(library, b"kern.memorystatus_level")
    if total is not None and percent is not None:
        found["available_bytes"] = total * percent // 100
    supplies = power or ctypes.CDLL("/System/Library/Frameworks/IOKit.framework/IOKit")
    supplies.IOPSGetTimeRemainingEstimate.restype = ctypes.c_double
    left_s = supplies.IOPSGetTimeRemainingEstimate()
    found["on_battery"] = int(left_s != _TIME_UNLIMITED)
    return found


def _macos_clock(_root: str) -> dict[str, int]:
    """Two clocks that nobody adjusts: one counts sleep, the other does not."""
    names = ("CLOCK_MONOTONIC_RAW", "CLOCK_UPTIME_RAW")
    everything, awake = (getattr(time, name) for name in names)
    since_boot_ns = time.clock_gettime_ns(everything)
    return {
        "boot_offset_ns": since_boot_ns - time.clock_gettime_ns(awake),
        "wall_offset_ns": time.time_ns() - since_boot_ns,
    }


def _sysctl(library: Any, name: bytes) -> int | None:
    import ctypes

    value = ctypes.c_uint64(0)
    size = ctypes.c_size_t(ctypes.sizeof(value))
    failed = library.sysctlbyname(name, ctypes.byref(value), ctypes.byref(size), None, 0)
    return None if failed else int(value.value)


_READERS: Final[Mapping[str, tuple[Callable[[str], dict[str, int]], ...]]] = {
    "linux": (_hard_faults, _linux_clock, _linux),
    "win32": (_windows_clock, _windows_faults, _windows),
    "darwin": (_hard_faults, _macos_clock, _macos),
}
