"""Facts of a Linux machine, out of `/proc` and `/sys`.

`root` can be a folder that holds copies of the files, for tests.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.environment.base import NONE, UNKNOWN, Facts, looks_virtual

_ISA = frozenset(
    {
        "sse4_2",
        "avx",
        "avx2",
        "fma",
        "f16c",
        "avx_vnni",
        "avx_vnni_int8",
        "avx512f",
        "avx512_vnni",
        "avx512_bf16",
        "avx512_fp16",
        "amx_tile",
        "amx_int8",
        "amx_bf16",
        "asimd",
        "asimddp",
        "asimdhp",
        "i8mm",
        "bf16",
        "sve",
        "sve2",
        "sme",
    }
)
_SLOWER_CLUSTER = 0.8
"""Cores below this share of the fastest one's rating are another kind of core. Favoured
cores of one kind differ by a few percent, efficiency cores by a third."""
_NO_LIMIT_BYTES = 1 << 60
_CONTAINER_MARKS = ("docker", "kubepods", "containerd", "libpod", "lxc")
_PACKAGE_ZONES = ("x86_pkg_temp", "TCPU", "cpu-thermal", "cpu_thermal", "acpitz")
_PACKAGE_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")


def read(root: Path = Path("/"), affinity: frozenset[int] | None = None) -> Facts:
    """All facts that this machine reveals; what it hides is `unknown`.

    Args:
        affinity: processors that this process may use; None asks the kernel.
    """
    machine = _Machine(root)
    usable = frozenset(os.sched_getaffinity(0)) if affinity is None else affinity
    return {
        **machine.identity(),
        **machine.processors(usable),
        **machine.memory(),
        **machine.limits(),
        **machine.power(),
        **machine.state(),
    }


def read_telemetry(root: Path = Path("/")) -> Facts:
    """What can change while a run lasts: memory, power, temperature and throttling."""
    machine = _Machine(root)
    return {**machine.memory(), **machine.power(), **machine.heat()}


def parse_cpu_list(text: str) -> list[int]:
    """`0-3,8` as numbers; what is not of this form is left out."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            found.extend(range(int(first), int(last or first) + 1))
    return found


class _Machine:
    """Readers over one root."""

    def __init__(self, root: Path) -> None:
        self.proc = root / "proc"
        self.sys = root / "sys"
        self.root = root
        self._cpus = self.sys / "devices/system/cpu"

    def identity(self) -> Facts:
        """Operating system, computer and processor."""
        release = _pairs(_text(self.root / "etc/os-release"), "=")
        cpuinfo = _pairs(_text(self.proc / "cpuinfo"))
        kernel = _text(self.proc / "sys/kernel/osrelease") or platform.release()
        flags = (cpuinfo.get("flags") or cpuinfo.get("Features") or "").split()
        dmi = self.sys / "class/dmi/id"
        product = f"{_text(dmi / 'sys_vendor')} {_text(dmi / 'product_name')}".strip()
        names = (cpuinfo.get(key) for key in ("model name", "Model", "Hardware"))
        return {
            "os": (release.get("PRETTY_NAME") or "Linux").strip('"'),
            "kernel": kernel or UNKNOWN,
            "product": product or UNKNOWN,
            "cpu": next(filter(None, names), UNKNOWN),
            "isa": sorted(_ISA.intersection(flags)) if flags else UNKNOWN,
            "virtual_machine": self._is_virtual(flags, kernel, product),
            "container": self._container(),
        }

    def _is_virtual(self, flags: Sequence[str], kernel: str, product: str) -> bool | str:
        if "hypervisor" in flags or "microsoft" in kernel.casefold():
            return True
        if (self.sys / "hypervisor/type").exists() or looks_virtual(product):
            return True
        # Only x86 announces a hypervisor by a flag; elsewhere the maker's name has to do.
        return False if product or "sse2" in flags else UNKNOWN

    def _container(self) -> str:
        if (self.root / ".dockerenv").exists():
            return "docker"
        if (self.root / "run/.containerenv").exists():
            return "podman"
        groups = _text(self.proc / "1/cgroup")
        if not groups:
            return UNKNOWN
        return next((mark for mark in _CONTAINER_MARKS if mark in groups), NONE)

    # --- processors -----------------------------------------------------------------

    def processors(self, usable: frozenset[int]) -> Facts:
        """Cores by kind, and those that this process may use."""
        online = parse_cpu_list(_text(self._cpus / "online")) or sorted(usable)
        fast = set(self._fast(online)) & usable
        return {
            "logical_cores": len(online),
            "physical_cores": len({self._core(cpu) for cpu in online}),
            # Pinned to slow cores only, those are what there is.
            "performance_cores": len({self._core(cpu) for cpu in fast or usable}),
            "usable_cpus": len(usable),
        }

    def _core(self, cpu: int) -> tuple[str, str]:
        topology = self._cpus / f"cpu{cpu}" / "topology"
        core = _text(topology / "core_id") or f"cpu{cpu}"
        return _text(topology / "physical_package_id"), core

    def _fast(self, online: Sequence[int]) -> list[int]:
        """Processors of the fastest kind of core."""
        if listed := parse_cpu_list(_text(self.sys / "devices/cpu_core/cpus")):
            return listed  # Intel names its performance cores
        for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
            ratings = {cpu: _number(self._cpus / f"cpu{cpu}" / name) or 0 for cpu in online}
            best = max(ratings.values(), default=0)
            if best:
                return [cpu for cpu in online if ratings[cpu] >= _SLOWER_CLUSTER * best]
        return list(online)

    # --- memory and limits ----------------------------------------------------------

    def memory(self) -> Facts:
        """Memory and swap in bytes."""
        sizes = {
            name: int(value.split()[0]) * 1024
            for name, value in _pairs(_text(self.proc / "meminfo")).items()
            if value.split()[:1] and value.split()[0].isdigit()
        }
        facts: Facts = {
            "memory_bytes": sizes.get("MemTotal", UNKNOWN),
            "memory_available_bytes": sizes.get("MemAvailable", UNKNOWN),
            "swap_bytes": sizes.get("SwapTotal", UNKNOWN),
        }
        if "SwapTotal" in sizes and "SwapFree" in sizes:
            facts["swap_used_bytes"] = sizes["SwapTotal"] - sizes["SwapFree"]
        return facts

    def limits(self) -> Facts:
        """What the control groups of this process grant, the tightest on the way up."""
        groups = _text(self.proc / "self/cgroup")
        if not groups:
            return {}
        quotas: list[float] = []
        bytes_: list[int] = []
        for line in groups.splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            for folder in self._group_folders(controllers, path):
                quotas.extend(_quota(folder))
                bytes_.extend(_memory_limit(folder))
        return {
            "cpu_quota": round(min(quotas), 3) if quotas else NONE,
            "memory_limit_bytes": min(bytes_) if bytes_ else NONE,
        }

    def _group_folders(self, controllers: str, path: str) -> Iterator[Path]:
        mount = self.sys / "fs/cgroup"
        mounts = [
            mount / name for name in (controllers, *controllers.split(","), "unified") if name
        ]
        for base in mounts if controllers else [mount, mount / "unified"]:
            folder = base / path.lstrip("/")
            while base in (folder, *folder.parents):
                yield folder
                folder = folder.parent

    # --- power and state ------------------------------------------------------------

    def power(self) -> Facts:
        """Power source, and everything that sets the clock."""
        frequency = sorted(self._cpus.glob("cpu[0-9]*/cpufreq"))
        no_turbo = _text(self._cpus / "intel_pstate/no_turbo")
        boost = _text(self._cpus / "cpufreq/boost")
        turbo = {"0": "on", "1": "off"}.get(no_turbo) or {"1": "on", "0": "off"}.get(boost)
        return {
            "power_source": self._power_source(),
            "power_mode": _text(self.sys / "firmware/acpi/platform_profile") or UNKNOWN,
            "governor": _distinct(folder / "scaling_governor" for folder in frequency),
            "energy_preference": _distinct(
                folder / "energy_performance_preference" for folder in frequency
            ),
            "turbo": turbo or UNKNOWN,
        }

    def _power_source(self) -> str:
        folder = self.sys / "class/power_supply"
        if not folder.is_dir():
            return UNKNOWN
        online: list[str] = []
        states: list[str] = []
        for supply in sorted(folder.iterdir()):
            # A battery of scope Device belongs to a mouse or a headset.
            if _text(supply / "type") == "Battery" and _text(supply / "scope") != "Device":
                states.append(_text(supply / "status"))
            elif _text(supply / "type") in {"Mains", "USB"}:
                online.append(_text(supply / "online"))
        if not states or "1" in online:
            return "ac"  # a machine without a battery runs on the mains
        if "Discharging" in states:
            return "battery"
        if {"Charging", "Full", "Not charging"} & set(states):
            return "ac"
        return "battery" if "0" in online else UNKNOWN

    def state(self) -> Facts:
        """Heat, load and debugger."""
        load = _text(self.proc / "loadavg").split()
        tracer = _pairs(_text(self.proc / "self/status")).get("TracerPid")
        facts = self.heat() | {"load_1m": float(load[0]) if load else UNKNOWN}
        if tracer is not None:
            facts["traced"] = tracer != "0"
        return facts

    def heat(self) -> Facts:
        """Temperature, and how often it slowed the processor down."""
        return {"temperature_c": self._temperature(), "throttle_count": self._throttle_count()}

    def _temperature(self) -> float | str:
        zones = {
            _text(zone / "type"): _number(zone / "temp")
            for zone in sorted((self.sys / "class/thermal").glob("thermal_zone*"), reverse=True)
        }
        chips = {
            _text(chip / "name"): _number(chip / "temp1_input")
            for chip in sorted((self.sys / "class/hwmon").glob("hwmon*"), reverse=True)
        }
        found = [zones.get(name) for name in _PACKAGE_ZONES[:-1]]
        found += [chips.get(name) for name in _PACKAGE_CHIPS]
        found += [zones.get(_PACKAGE_ZONES[-1])]
        return next((value / 1000 for value in found if value), UNKNOWN)

    def _throttle_count(self) -> int | str:
        counts = [
            _number(path) for path in self._cpus.glob("cpu[0-9]*/thermal_throttle/*_throttle_count")
        ]
        known = [count for count in counts if count is not None]
        return sum(known) if known else UNKNOWN


def _quota(folder: Path) -> Iterator[float]:
    """Processors' worth of time that one group grants."""
    words = _text(folder / "cpu.max").split()
    if len(words) == 2 and words[0].isdigit() and int(words[1]) > 0:
        yield int(words[0]) / int(words[1])
    quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    if quota and quota > 0 and period:
        yield quota / period


def _memory_limit(folder: Path) -> Iterator[int]:
    for name in ("memory.max", "memory.limit_in_bytes"):
        limit = _number(folder / name)
        if limit is not None and limit < _NO_LIMIT_BYTES:
            yield limit


def _text(path: Path) -> str:
    """Content of a small file without the final line break; empty where unreadable."""
    try:
        return path.read_bytes()[: 1 << 20].decode("utf-8", "replace").strip("\n\0 ")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.removeprefix("-").isdigit() else None


def _distinct(paths: Iterator[Path]) -> str:
    """The value of all processors, or the different ones joined."""
    return ", ".join(sorted({_text(path) for path in paths} - {""})) or UNKNOWN


def _pairs(text: str, separator: str = ":") -> dict[str, str]:
    """`key: value` lines; the first one of a key counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, mark, value = line.partition(separator)
        if mark:
            found.setdefault(key.strip(), value.strip())
    return found
