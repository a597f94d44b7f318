"""Cumulative counters of this process and of the machine, read between requests.

What a run is judged by needs no sampling: the growth of a counter over a request tells
what happened in it. Those of the machine are the host's, in a container too, and that is
what quietness means. A counter that cannot be read is absent; nothing here ever raises.

A reading takes about 0.05 ms (Linux, two processors): its files stay open. Readers
for Windows and macOS are written from the vendors' headers and untested on hardware.

Standard library only, and ctypes only where it is needed: the measured child imports this.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

_PLATFORM: str = sys.platform
_STAT = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""Columns of the first line of `/proc/stat`; guests are part of user and nice."""
_BUSY = ("user", "nice", "system", "irq", "softirq")
_MAX_FILE_BYTES = 1 << 16
"""All that is looked for stands in the first page of these files."""
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
        moves when the clock is set; `continued`, once `watch_stops` was called.
    """
    found = {
        "clock_ns": time.perf_counter_ns(),
        "own_cpu_ns": time.process_time_ns(),
        "wall_offset_ns": time.time_ns() - time.monotonic_ns(),
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


def _linux_clock(_root: str) -> dict[str, int]:
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return {"boot_offset_ns": boot_ns - time.clock_gettime_ns(time.CLOCK_MONOTONIC)}


def _linux_files(root: str) -> dict[str, int]:
    return _files(root).read()


@functools.cache
def _files(root: str) -> _Files:
    return _Files(root)


class _Files:
    """Files of `/proc` and `/sys` that stay open: most of a reading's time is opening."""

    def __init__(self, root: str) -> None:
        cpus = os.path.join(root, "sys/devices/system/cpu")  # noqa: PTH118 - light in the child
        self._tick_ns = 10**9 // os.sysconf("SC_CLK_TCK")
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._stat = _opened(root, "proc/stat")
        self._vmstat = _opened(root, "proc/vmstat")
        self._meminfo = _opened(root, "proc/meminfo")
        self._throttles = [
            _opened(cpus, cpu, "thermal_throttle", name)
            for cpu in _listed(cpus)
            if cpu[:3] == "cpu" and cpu[3:].isdigit()
            for name in _listed(cpus, cpu, "thermal_throttle")
            if name.endswith("_throttle_count")
        ]
        self._chargers: list[int] = []
        self._batteries: list[int] = []
        self._has_supplies = False
        self._open_supplies(os.path.join(root, "sys/class/power_supply"))  # noqa: PTH118 - as above

    def _open_supplies(self, folder: str) -> None:
        self._has_supplies = os.path.isdir(folder)  # noqa: PTH112 - as above
        for supply in _listed(folder):
            kind = _content(_opened(folder, supply, "type")).strip()
            scope = _content(_opened(folder, supply, "scope")).strip()
            if kind in {b"Mains", b"USB"}:
                self._chargers.append(_opened(folder, supply, "online"))
            elif kind == b"Battery" and scope != b"Device":  # of a mouse or a headset
                self._batteries.append(_opened(folder, supply, "status"))

    def read(self) -> dict[str, int]:
        """Counters that files hold."""
        return {
            **self._processors(),
            **_line(self._vmstat, b"pswpin", "swap_in_bytes", self._page_bytes),
            **_line(self._meminfo, b"MemAvailable:", "available_bytes", 1024),
            **self._throttling(),
            **self._power(),
        }

    def _processors(self) -> dict[str, int]:
        data = _content(self._stat)
        words = data[: data.find(b"\n")].split()
        if words[:1] != [b"cpu"] or len(words) <= len(_STAT) or not _digits(words[1:]):
            return {}
        ticks = dict(zip(_STAT, map(int, words[1:]), strict=False))
        return {
            "cpu_busy_ns": sum(ticks[name] for name in _BUSY) * self._tick_ns,
            "cpu_steal_ns": ticks["steal"] * self._tick_ns,
            "cpus": data.count(b"\ncpu"),
        }

    def _throttling(self) -> dict[str, int]:
        counts = [_content(file).strip() for file in self._throttles]
        # A sum without a core that went offline would seem to fall.
        if not counts or not _digits(counts):
            return {}
        return {"throttle_count": sum(map(int, counts))}

    def _power(self) -> dict[str, int]:
        if not self._has_supplies:
            return {}
        if not self._batteries:
            return {"on_battery": 0}
        # Chargers first: a battery's state can take milliseconds to ask for.
        online = {_content(file).strip() for file in self._chargers}
        if b"1" in online:
            return {"on_battery": 0}
        states = {_content(file).strip() for file in self._batteries}
        if b"Discharging" in states:
            return {"on_battery": 1}
        if states & {b"Charging", b"Full", b"Not charging"}:
            return {"on_battery": 0}
        return {"on_battery": 1} if b"0" in online else {}


def _opened(*parts: str) -> int:
    """A descriptor, or -1 where there is no such file."""
    try:
        return os.open(os.path.join(*parts), os.O_RDONLY | os.O_CLOEXEC)  # noqa: PTH118 - as above
    except OSError:
        return -1


def _content(file: int) -> bytes:
    """What the file says now; empty where it cannot be read."""
    try:
        return os.pread(file, _MAX_FILE_BYTES, 0)
    except OSError:
        return b""


def _listed(*parts: str) -> list[str]:
    try:
        return sorted(os.listdir(os.path.join(*parts)))  # noqa: PTH118, PTH208 - as above
    except OSError:
        return []


def _line(file: int, key: bytes, name: str, unit: int) -> dict[str, int]:
    """The whole number after a key, times its unit."""
    data = b"\n" + _content(file)
    place = data.find(b"\n" + key + b" ")
    words = data[place + 1 :].split(None, 2) if place >= 0 else []
    return {name: int(words[1]) * unit} if _digits(words[1:2]) and words[1:] else {}


def _digits(words: Iterable[bytes]) -> bool:
    return all(word.isdigit() for word in words)


# --- Windows and macOS --------------------------------------------------------------


def _windows(_root: str, kernel32: Any = None) -> dict[str, int]:
    """GetSystemTimes (kernel time includes idle time), GlobalMemoryStatusEx,
    GetSystemPowerStatus; suspended time is GetTickCount64, in steps of 16 ms, less
    QueryUnbiasedInterruptTime. Untested on hardware.
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
    awake = ctypes.c_uint64()
    library.GetTickCount64.restype = ctypes.c_uint64
    if library.QueryUnbiasedInterruptTime(ctypes.byref(awake)):
        found["boot_offset_ns"] = library.GetTickCount64() * 10**6 - awake.value * 100
    return found


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
    awake = getattr(time, "CLOCK_UPTIME_RAW", None)
    if awake is not None:  # unlike Linux's, this system's monotonic clock counts sleep
        asleep_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - time.clock_gettime_ns(awake)
        found["boot_offset_ns"] = asleep_ns
    return found


def _sysctl(library: Any, name: bytes) -> int | None:
    import ctypes

    value = ctypes.c_uint64(0)
    size = ctypes.c_size_t(ctypes.sizeof(value))
    failed = library.sysctlbyname(name, ctypes.byref(value), ctypes.byref(size), None, 0)
    return None if failed else int(value.value)


_READERS: Final[Mapping[str, tuple[Callable[[str], dict[str, int]], ...]]] = {
    "linux": (_hard_faults, _linux_clock, _linux_files),
    "win32": (_windows,),
    "darwin": (_hard_faults, _macos),
}
