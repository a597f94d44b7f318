"""Facts of a Linux machine, out of `/proc` and `/sys`.

`root` can be a folder that holds copies of the files, for tests.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import kernelfs
from harness.environment.base import NONE, UNKNOWN, Facts, firmware, looks_virtual

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
        release = _pairs(kernelfs.text(self.root / "etc/os-release"), "=")
        cpuinfo = _pairs(kernelfs.text(self.proc / "cpuinfo"))
        kernel = kernelfs.text(self.proc / "sys/kernel/osrelease") or platform.release()
        flags = (cpuinfo.get("flags") or cpuinfo.get("Features") or "").split()
        dmi = self.sys / "class/dmi/id"
        product = (
            f"{kernelfs.text(dmi / 'sys_vendor')} {kernelfs.text(dmi / 'product_name')}".strip()
        )
        names = (cpuinfo.get(key) for key in ("model name", "Model", "Hardware"))
        return {
            "os": (release.get("PRETTY_NAME") or "Linux").strip('"'),
            "kernel": kernel or UNKNOWN,
            "product": product or UNKNOWN,
            "bios": firmware(
                *(kernelfs.text(dmi / f"bios_{part}") for part in ("vendor", "version", "date"))
            ),
            "cpu": next(filter(None, names), UNKNOWN),
            "isa": sorted(_ISA.intersection(flags)) if flags else UNKNOWN,
            "virtual_machine": self._is_virtual(flags, kernel, product),
            "container": self._container(),
        }

    def _is_virtual(self, flags: Sequence[str], kernel: str, product: str) -> bool | str:
        if "hypervisor" in flags or "microsoft" in kernel.casefold():
            return True
        if kernelfs.text(self.sys, "hypervisor/type") or looks_virtual(product):
            return True
        # Only x86 announces a hypervisor by a flag; elsewhere the maker's name has to do.
        return False if product or "sse2" in flags else UNKNOWN

    def _container(self) -> str:
        marks = {".dockerenv": "docker", ".containerenv": "podman"}
        for folder in (self.root, self.root / "run"):
            for name in kernelfs.listed(folder) or ():
                if name in marks:
                    return marks[name]
        if kind := kernelfs.text(self.root, "run/systemd/container"):
            return kind
        groups = kernelfs.text(self.proc, "1/cgroup")
        if named := next((mark for mark in _CONTAINER_MARKS if mark in groups), ""):
            return named
        # With a namespace of its own, a container sees its group as the root of all.
        booted = kernelfs.listed(self.root, "run/systemd/system") is not None
        return NONE if groups and (groups != "0::/" or booted) else UNKNOWN

    # --- processors -----------------------------------------------------------------

    def processors(self, usable: frozenset[int]) -> Facts:
        """Cores by kind, and those that this process may use."""
        online = parse_cpu_list(kernelfs.text(self._cpus / "online")) or sorted(usable)
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
        core = kernelfs.text(topology / "core_id") or f"cpu{cpu}"
        return kernelfs.text(topology / "physical_package_id"), core

    def _fast(self, online: Sequence[int]) -> list[int]:
        """Processors of the fastest kind of core."""
        if listed := parse_cpu_list(kernelfs.text(self.sys / "devices/cpu_core/cpus")):
            return listed  # Intel names its performance cores
        for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
            ratings = {cpu: kernelfs.number(self._cpus / f"cpu{cpu}" / name) or 0 for cpu in online}
            best = max(ratings.values(), default=0)
            if best:
                return [cpu for cpu in online if ratings[cpu] >= _SLOWER_CLUSTER * best]
        return list(online)

    # --- memory and limits ----------------------------------------------------------

    def memory(self) -> Facts:
        """Memory and swap in bytes; what is available is so in this process's groups, too."""
        sizes = kernelfs.sizes(kernelfs.data(self.proc, "meminfo"))
        left = [room for folder in self._own_groups() for room in _memory_left(folder)]
        if "MemAvailable" in sizes:
            left.append(sizes["MemAvailable"])
        facts: Facts = {
            "memory_bytes": sizes.get("MemTotal", UNKNOWN),
            "memory_available_bytes": min(left, default=UNKNOWN),
            "swap_bytes": sizes.get("SwapTotal", UNKNOWN),
        }
        if "SwapTotal" in sizes and "SwapFree" in sizes:
            facts["swap_used_bytes"] = sizes["SwapTotal"] - sizes["SwapFree"]
        return facts

    def limits(self) -> Facts:
        """What the control groups of this process grant, the tightest on the way up.

        No limit is known only where a group could be read.
        """
        quotas: list[float] = []
        bytes_: list[int] = []
        seen = False
        for folder in self._own_groups():
            seen |= kernelfs.listed(folder) is not None
            quotas.extend(_quota(folder))
            bytes_.extend(_memory_limit(folder))
        if not seen:
            return {}
        return {
            "cpu_quota": round(min(quotas), 3) if quotas else NONE,
            "memory_limit_bytes": min(bytes_) if bytes_ else NONE,
        }

    def _own_groups(self) -> Iterator[Path]:
        for line in kernelfs.text(self.proc, "self/cgroup").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            yield from self._group_folders(controllers, path)

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
        no_turbo = kernelfs.text(self._cpus / "intel_pstate/no_turbo")
        boost = kernelfs.text(self._cpus / "cpufreq/boost")
        turbo = {"0": "on", "1": "off"}.get(no_turbo) or {"1": "on", "0": "off"}.get(boost)
        return {
            "power_source": kernelfs.power_source(kernelfs.supplies(self.root)),
            "power_mode": kernelfs.text(self.sys / "firmware/acpi/platform_profile") or UNKNOWN,
            "governor": _distinct(folder / "scaling_governor" for folder in frequency),
            "energy_preference": _distinct(
                folder / "energy_performance_preference" for folder in frequency
            ),
            "turbo": turbo or UNKNOWN,
            **self._power_limits(),
        }

    def _power_limits(self) -> Facts:
        """Of the first package, as the kernel's power capping framework has them: of the limits
        in its registers and in its memory the lower one holds.
        """
        limits: dict[str, list[int]] = {"long_term": [], "short_term": []}
        for zone in ("intel-rapl:0", "intel-rapl-mmio:0"):
            folder = self.sys / "class/powercap" / zone
            for number in range(2):
                name = kernelfs.text(folder / f"constraint_{number}_name")
                limit = kernelfs.number(folder / f"constraint_{number}_power_limit_uw")
                if name in limits and limit:
                    limits[name].append(limit)
        names = {"power_limit_w": "long_term", "power_limit_short_w": "short_term"}
        return {
            fact: min(limits[name]) / 1e6 if limits[name] else UNKNOWN
            for fact, name in names.items()
        }

    def state(self) -> Facts:
        """Heat, load and debugger."""
        load = kernelfs.text(self.proc / "loadavg").split()
        tracer = _pairs(kernelfs.text(self.proc / "self/status")).get("TracerPid")
        facts = self.heat() | {"load_1m": float(load[0]) if load else UNKNOWN}
        if tracer is not None:
            facts["traced"] = tracer != "0"
        return facts

    def heat(self) -> Facts:
        """Temperature, and how often it slowed the processor down."""
        count = kernelfs.throttle_count(self.root)
        return {
            "temperature_c": self._temperature(),
            "throttle_count": UNKNOWN if count is None else count,
        }

    def _temperature(self) -> float | str:
        zones = {
            kernelfs.text(zone / "type"): kernelfs.number(zone / "temp")
            for zone in sorted((self.sys / "class/thermal").glob("thermal_zone*"), reverse=True)
        }
        chips = {
            kernelfs.text(chip / "name"): kernelfs.number(chip / "temp1_input")
            for chip in sorted((self.sys / "class/hwmon").glob("hwmon*"), reverse=True)
        }
        found = [zones.get(name) for name in _PACKAGE_ZONES[:-1]]
        found += [chips.get(name) for name in _PACKAGE_CHIPS]
        found += [zones.get(_PACKAGE_ZONES[-1])]
        return next((value / 1000 for value in found if value), UNKNOWN)


def _quota(folder: Path) -> Iterator[float]:
    """Processors' worth of time that one group grants."""
    words = kernelfs.text(folder / "cpu.max").split()
    if len(words) == 2 and words[0].isdigit() and int(words[1]) > 0:
        yield int(words[0]) / int(words[1])
    quota, period = (
        kernelfs.number(folder / "cpu.cfs_quota_us"),
        kernelfs.number(folder / "cpu.cfs_period_us"),
    )
    if quota and quota > 0 and period:
        yield quota / period


def _memory_left(folder: Path) -> Iterator[int]:
    """What a group may still take: its limit less what it uses and cannot give back."""
    used = kernelfs.number(folder, "memory.current") or kernelfs.number(
        folder, "memory.usage_in_bytes"
    )
    stat = _pairs(kernelfs.text(folder, "memory.stat"), " ")
    cached = stat.get("inactive_file") or stat.get("total_inactive_file") or "0"
    for limit in _memory_limit(folder):
        if used is not None and cached.isdecimal():
            yield max(0, limit - used + int(cached))


def _memory_limit(folder: Path) -> Iterator[int]:
    for name in ("memory.max", "memory.limit_in_bytes"):
        limit = kernelfs.number(folder / name)
        if limit is not None and limit < _NO_LIMIT_BYTES:
            yield limit


def _distinct(paths: Iterator[Path]) -> str:
    """The value of all processors, or the different ones joined."""
    return ", ".join(sorted({kernelfs.text(path) for path in paths} - {""})) or UNKNOWN


def _pairs(text: str, separator: str = ":") -> dict[str, str]:
    """`key: value` lines; the first one of a key counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, mark, value = line.partition(separator)
        if mark:
            found.setdefault(key.strip(), value.strip())
    return found
