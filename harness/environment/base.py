"""Names of the observed facts, and what readers of several platforms share."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

UNKNOWN: Final = "unknown"
NONE: Final = "none"
"""No limit, no container: known to be absent, unlike `UNKNOWN`."""

Facts = dict[str, object]
"""JSON values: text, numbers, booleans and lists of text."""

FACTS: Mapping[str, str] = {
    "os": "name and version of the operating system",
    "kernel": "release or build of its kernel",
    "machine": "processor architecture",
    "product": "maker and model of the computer",
    "bios": "maker, version and date of the firmware",
    "cpu": "name of the processor",
    "isa": "vector and matrix instructions that engines use",
    "logical_cores": "hardware threads",
    "physical_cores": "cores of all kinds",
    "performance_cores": "physical performance cores that this process may use",
    "usable_cpus": "hardware threads that this process may use",
    "cpu_quota": "processors' worth of time that a container grants",
    "memory_bytes": "memory that the operating system sees",
    "memory_available_bytes": "memory that can be had without swapping",
    "memory_limit_bytes": "memory that a container grants",
    "swap_bytes": "size of swap",
    "swap_used_bytes": "swap in use",
    "power_source": "ac or battery",
    "power_mode": "power mode that the user chose",
    "governor": "frequency governor",
    "energy_preference": "energy performance preference",
    "turbo": "on or off",
    "power_limit_w": "what the processor's package may take for long",
    "power_limit_short_w": "what it may take for some seconds",
    "temperature_c": "temperature of the processor's package",
    "throttle_count": "thermal throttle events since start-up",
    "load_1m": "mean number of running threads over the last minute",
    "virtual_machine": "whether a hypervisor runs below the system",
    "container": "kind of container",
    "traced": "whether a debugger is attached",
    "python": "version of Python",
    "timer_resolution_s": "resolution of the clock that measures",
}
"""Every fact that `observe` reports; no name of a user or host and no serial number."""

TELEMETRY: Final = (
    "temperature_c",
    "throttle_count",
    "power_source",
    "power_mode",
    "governor",
    "energy_preference",
    "turbo",
    "power_limit_w",
    "power_limit_short_w",
    "memory_available_bytes",
    "swap_used_bytes",
)
"""Facts that change while a run lasts: the parent reads them before each job."""

_MOST_CHARS = 64
_VIRTUAL_PRODUCTS = ("virtual", "vmware", "qemu", "kvm", "xen", "parallels", "bochs", "bhyve")


def common() -> Facts:
    """Facts that Python knows on every platform."""
    return {
        "os": f"{platform.system()} {platform.release()}".strip() or UNKNOWN,
        "machine": platform.machine() or UNKNOWN,
        "logical_cores": os.cpu_count() or UNKNOWN,
        "traced": sys.gettrace() is not None,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "timer_resolution_s": time.get_clock_info("perf_counter").resolution,
    }


def from_psutil(psutil: Any) -> Facts:
    """Facts that psutil reads on Windows and macOS; each one may fail alone."""
    memory = attempt(psutil.virtual_memory)
    swap = attempt(psutil.swap_memory)
    facts: Facts = {
        "physical_cores": attempt(lambda: psutil.cpu_count(logical=False)) or UNKNOWN,
        "logical_cores": attempt(psutil.cpu_count) or UNKNOWN,
        "power_source": _power_source(psutil),
    }
    if memory is not None:
        facts |= {"memory_bytes": memory.total, "memory_available_bytes": memory.available}
    if swap is not None:
        facts |= {"swap_bytes": swap.total, "swap_used_bytes": swap.used}
    return facts


def _power_source(psutil: Any) -> str:
    try:
        battery = psutil.sensors_battery()
    except (OSError, RuntimeError, AttributeError, NotImplementedError):
        return UNKNOWN
    if battery is None:
        return "ac"  # a machine without a battery runs on the mains
    plugged: bool | None = battery.power_plugged
    return UNKNOWN if plugged is None else "ac" if plugged else "battery"


def attempt(read: Callable[[], Any]) -> Any:
    """The value, or None where the system refuses to tell."""
    try:
        return read()
    except (OSError, RuntimeError, AttributeError, ValueError, subprocess.SubprocessError):
        return None


def firmware(vendor: str, version: str, date: str) -> str:
    """Firmware in one line. One that somebody compiled may name the machine where: that is cut."""
    plain = re.sub(r"(\d{8}_\d{6})-.*", r"\1", version.strip())
    return " ".join(filter(None, (vendor.strip(), plain[:_MOST_CHARS], date.strip()))) or UNKNOWN


def looks_virtual(product: str) -> bool:
    """Whether the maker or model of a computer is that of a virtual machine."""
    words = product.casefold()
    return any(name in words for name in _VIRTUAL_PRODUCTS)
