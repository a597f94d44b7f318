"""Facts of a Mac, through psutil and sysctl.

Untested on hardware: the tests run it on recorded values.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import re
import subprocess
from typing import Any

from harness.environment.base import NONE, UNKNOWN, Facts, attempt, from_psutil

_FEATURES = {
    "hw.optional.AdvSIMD": "asimd",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
}


def read(psutil: Any = None, sysctl: Sysctl | None = None, pmset: str | None = None) -> Facts:
    """All facts that this machine reveals; what it hides is `unknown`."""
    psutil = psutil or importlib.import_module("psutil")
    sysctl = sysctl or Sysctl()
    pmset = _pmset() if pmset is None else pmset
    virtual = sysctl.number("kern.hv_vmm_present")
    physical = sysctl.number("hw.physicalcpu")
    logical = sysctl.number("hw.logicalcpu")
    load = attempt(os.getloadavg)
    facts: Facts = {
        **from_psutil(psutil),
        "os": f"macOS {platform.mac_ver()[0]}".strip(),
        "kernel": platform.release() or UNKNOWN,
        "product": sysctl.text("hw.model") or UNKNOWN,
        "cpu": sysctl.text("machdep.cpu.brand_string") or UNKNOWN,
        "isa": [name for key, name in _FEATURES.items() if sysctl.number(key)],
        "performance_cores": sysctl.number("hw.perflevel0.physicalcpu") or physical or UNKNOWN,
        "power_mode": _power_mode(pmset),
        "virtual_machine": UNKNOWN if virtual is None else bool(virtual),
        "load_1m": load[0] if load else UNKNOWN,
        "container": NONE,
        "cpu_quota": NONE,
        "memory_limit_bytes": NONE,
    }
    if physical and logical:
        facts |= {"physical_cores": physical, "logical_cores": logical, "usable_cpus": logical}
    return facts


def _pmset() -> str:
    """What `pmset -g` prints; empty where it cannot be run."""
    command = ["/usr/bin/pmset", "-g"]
    done = attempt(
        lambda: subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    )
    return done.stdout if done else ""


def _power_mode(pmset: str) -> str:
    """`lowpowermode` of the power source in use; newer laptops have `powermode` 0, 1 or 2."""
    found = re.search(r"^\s*(?:lowpowermode|powermode)\s+(\d)\s*$", pmset, re.MULTILINE)
    modes = {"0": "automatic", "1": "low-power", "2": "high-power"}
    return modes.get(found.group(1), UNKNOWN) if found else UNKNOWN


class Sysctl:
    """Values by name; a recorded one stands in for it in tests."""

    def text(self, name: str) -> str:
        """Text value; empty where there is none of this name."""
        return self._bytes(name).rstrip(b"\0").decode("utf-8", "replace")

    def number(self, name: str) -> int | None:
        """Whole number; None where there is none of this name."""
        raw = self._bytes(name)
        return int.from_bytes(raw, "little") if len(raw) in {4, 8} else None

    def _bytes(self, name: str) -> bytes:
        ask = ctypes.CDLL(None).sysctlbyname
        size = ctypes.c_size_t(0)
        key = name.encode()
        if ask(key, None, ctypes.byref(size), None, ctypes.c_size_t(0)):
            return b""
        buffer = ctypes.create_string_buffer(size.value)
        if ask(key, buffer, ctypes.byref(size), None, ctypes.c_size_t(0)):
            return b""
        return buffer.raw[: size.value]
