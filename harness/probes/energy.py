"""Energy of the whole machine, read in the parent beside a worker that is not timed.

Sources, best first: `rapl` (the processor packages' energy counters), `psys` (the same
counters for the whole platform, taken only where no package has one) and `battery` (its
discharge power). Each is a method of its own and what it covers differs, so a run keeps
to one and methods are never compared. Linux; EMI (Windows) and IOReport (macOS) are not
read. Package counters exclude memory chips, screen and losses of the power supply.

How short a request may be: RAPL counts each millisecond and is read every 50 ms, so 300 ms
have the five readings that scoring asks for. A battery's controller renews its figure each
second or later and the kernel keeps it for one: requests below 5 s to 10 s are refused.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from harness import kernelfs
from harness.errors import HarnessError

PERIOD_S = 0.05
"""Time between two readings."""

_PLATFORM: str = sys.platform
_MAX_W = 10_000.0
"""A counter that says more than this was set back, not wrapped."""
_ZONE = re.compile(r"intel-rapl:\d+")  # AMD too; `-mmio` repeats them, `:0:0` is a part of one
_DOMAINS = {"rapl": "package", "psys": "psys"}
_NOT_BUILT = {"win32": ("emi", "Windows' EMI"), "darwin": ("ioreport", "macOS' IOReport")}

_DRIVER = "sudo modprobe intel_rapl_msr"
_ALLOW = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/*energy*_uj"
_COVERS = {
    "rapl": "processor packages, without memory chips, screen and power supply",
    "psys": "the platform, as far as its maker wired it",
    "battery": "the whole machine, while it runs on its battery; too slow for short requests",
}
_ABSENT = {
    "rapl": ("no counter of a processor package; virtual machines seldom have one", _DRIVER),
    "psys": ("no counter of the whole platform", ""),
    "battery": ("no battery", ""),
}

Reading = tuple[int, ...]
"""Micro-units as the kernel has them, one a domain or battery."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaplSource:
    """Energy counters of one kind of domain, added up.

    Attributes:
        ranges_uj: where each counter starts again from 0; 0 = not known.
    """

    method: str
    zones: tuple[Path, ...]
    ranges_uj: tuple[int, ...]

    def read(self) -> Reading:
        """Counters in µJ.

        Raises:
            HarnessError: `energy_unreadable` or `energy_denied`.
        """
        return tuple(_counter(zone / "energy_uj") for zone in self.zones)

    def joules(self, before: Reading, after: Reading, elapsed_s: float) -> float:
        """Growth of all counters; each may have wrapped once.

        Raises:
            HarnessError: `energy_unreadable`: the readings do not fit together.
        """
        total_uj = 0
        for old, new, range_uj in zip(before, after, self.ranges_uj, strict=True):
            step_uj = new - old if new >= old else new - old + range_uj
            # The counter moves in steps of a millisecond; readings can be closer together.
            if not 0 <= step_uj <= _MAX_W * 1e6 * (elapsed_s + PERIOD_S):
                raise _unreadable(f"an energy counter went from {old} to {new} µJ")
            total_uj += step_uj
        return total_uj / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class BatterySource:
    """Discharge of all batteries, in µW."""

    method: str
    batteries: tuple[Path, ...]

    def read(self) -> Reading:
        """Power of each battery that is discharging, 0 of the others (they empty in turn).

        Raises:
            HarnessError: `energy_unreadable` or `not_discharging`.
        """
        states = [kernelfs.text(battery / "status") for battery in self.batteries]
        if "Discharging" not in states or "Charging" in states:
            raise HarnessError(
                f"the battery is not discharging: {', '.join(states)}",
                hint="unplug the charger",
                reason="not_discharging",
            )
        return tuple(
            _battery_uw(battery) if state == "Discharging" else 0
            for battery, state in zip(self.batteries, states, strict=True)
        )

    def joules(self, before: Reading, after: Reading, elapsed_s: float) -> float:
        """Mean of the two powers times the time."""
        return (sum(before) + sum(after)) / 2 / 1e6 * elapsed_s


Source: TypeAlias = RaplSource | BatterySource


class PowerSampler:
    """Records the energy of the machine in a thread of the parent.

        sampler = PowerSampler(source)
        sampler.start(child.pid)
        ...
        sampler.stop()   # {"method": "rapl", "t_ns": […], "joules": […]}

    Args:
        idle_w: idle power, written beside the trace where it is given.

    Attributes:
        problem: reason code where reading ended early or brought nothing, else empty.
    """

    def __init__(
        self, source: Source, *, idle_w: float | None = None, period_s: float = PERIOD_S
    ) -> None:
        self._source = source
        self._idle_w = idle_w
        self._period_s = period_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._t_ns: list[int] = []
        self._joules: list[float] = []
        self.problem = ""

    def start(self, pid: int) -> None:  # noqa: ARG002 - what every sampler is given
        """Begin to read; once a sampler. The counters know no processes."""
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, object] | None:
        """End reading.

        Returns:
            `method`, `t_ns` (perf_counter_ns) and `joules` (since the first of them), one
            each time that the source said something new, and at the end; `idle_w` where
            it was given; `problem`, a reason code, only where reading ended early or the
            source stood still. None where nothing could be read.
        """
        self._ended.set()
        if self._thread:
            self._thread.join()
        if not self._t_ns:
            return None
        if not self.problem and not self._joules[-1] > 0:
            self.problem = "energy_stands_still"
        trace: dict[str, object] = {
            "method": self._source.method,
            "t_ns": self._t_ns,
            "joules": self._joules,
        }
        if self._idle_w is not None:
            trace["idle_w"] = self._idle_w
        return trace | ({"problem": self.problem} if self.problem else {})

    @property
    def mean_w(self) -> float:
        """Mean power over the trace."""
        return self._joules[-1] / (self._t_ns[-1] - self._t_ns[0]) * 1e9

    def _watch(self) -> None:
        try:
            self._follow()
        except HarnessError as error:
            self.problem = error.reason

    def _follow(self) -> None:
        """Read until the end, and once more then: the last request ends before that."""
        last_ns, last = self._read()
        self._t_ns.append(last_ns)
        self._joules.append(0.0)
        total_j = 0.0
        while True:
            ended = self._ended.wait(self._period_s)
            now_ns, now = self._read()
            total_j += self._source.joules(last, now, (now_ns - last_ns) / 1e9)
            # A repeated figure is no new measurement: scoring counts the points.
            if ended or now != last:
                self._t_ns.append(now_ns)
                self._joules.append(round(total_j, 6))  # as fine as the counters
            if ended:
                return
            last_ns, last = now_ns, now

    def _read(self) -> tuple[int, Reading]:
        """A reading and the middle of the time that it took."""
        started_ns = time.perf_counter_ns()
        reading = self._source.read()
        return (started_ns + time.perf_counter_ns()) // 2, reading


def idle_watts(source: Source, seconds: float = 5.0) -> float:
    """Mean power of the machine while the harness only waits, in W.

    Raises:
        HarnessError: `energy_unreadable`, `energy_denied`, `not_discharging` or
            `energy_stands_still`.
    """
    sampler = PowerSampler(source)
    sampler.start(os.getpid())
    time.sleep(seconds)
    sampler.stop()
    if sampler.problem:
        raise HarnessError(
            f"idle power by {source.method} cannot be measured",
            hint="harness doctor",
            reason=sampler.problem,
        )
    return sampler.mean_w


def open_source(root: Path = Path("/")) -> Source | None:
    """The best source that can be read now; None where there is none.

    Args:
        root: a folder with copies of the kernel's files, for tests.
    """
    for source in _found(root).values():
        if source and _state(source)[0] == "ready":
            return source
    return None


def sources(root: Path = Path("/")) -> list[dict[str, str]]:
    """What energy can be read from here, best first.

    Returns:
        `name`, `status` (`ready`, `denied` or `absent`), `detail` and `hint` each: what it
        covers or why it cannot be read, and the command that would mend it.
    """
    if _PLATFORM != "linux":
        name, title = _NOT_BUILT.get(_PLATFORM, ("energy", "this system's counter"))
        detail = f"{title} is not read by this harness"
        return [{"name": name, "status": "absent", "detail": detail, "hint": ""}]
    listed = []
    for name, source in _found(root).items():
        status, detail, hint = _state(source) if source else ("absent", *_ABSENT[name])
        listed.append({"name": name, "status": status, "detail": detail, "hint": hint})
    return listed


def _found(root: Path) -> dict[str, Source | None]:
    """Every source by name, best first; None where the machine has none."""
    found: dict[str, Source | None] = {"rapl": None, "psys": None, "battery": None}
    if _PLATFORM != "linux":
        return {}
    zones = sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
    for method, domain in _DOMAINS.items():
        own = tuple(
            zone
            for zone in zones
            if _ZONE.fullmatch(zone.name) and kernelfs.text(zone / "name").startswith(domain)
        )
        if own:
            ranges = tuple(kernelfs.number(zone / "max_energy_range_uj") or 0 for zone in own)
            found[method] = RaplSource(method=method, zones=own, ranges_uj=ranges)
    supplies = kernelfs.supplies(root)
    if supplies and supplies.batteries:
        batteries = tuple(map(Path, supplies.batteries))
        found["battery"] = BatterySource(method="battery", batteries=batteries)
    return found


def _state(source: Source) -> tuple[str, str, str]:
    """Status, detail and hint of a source that the machine has."""
    try:
        source.read()
    except HarnessError as error:
        status = "denied" if error.reason == "energy_denied" else "absent"
        return status, error.message, error.hint
    return "ready", _COVERS[source.method], ""


def _counter(path: Path) -> int:
    """An energy counter, in µJ."""
    try:
        text = path.read_text("ascii", "replace").strip()
    except PermissionError as error:
        raise HarnessError(
            "only the administrator may read energy counters",
            hint=_ALLOW,
            reason="energy_denied",
        ) from error
    except OSError as error:
        raise _unreadable(f"{path.name} cannot be read: {error.strerror}") from error
    if not text.isdecimal():
        raise _unreadable(f"{path.name} says {text!r}")
    return int(text)


def _battery_uw(battery: Path) -> int:
    """Power in µW; some controllers give it as current and voltage, some as negative."""
    power_uw = kernelfs.number(battery / "power_now")
    if power_uw is None:
        current_ua = kernelfs.number(battery / "current_now")
        voltage_uv = kernelfs.number(battery / "voltage_now")
        if current_ua is None or voltage_uv is None:
            raise _unreadable(f"{battery.name} tells neither power nor current and voltage")
        power_uw = current_ua * voltage_uv // 10**6
    return abs(power_uw)


def _unreadable(message: str) -> HarnessError:
    return HarnessError(message, reason="energy_unreadable")
