"""What is observed around a run: hardware, system, power, limits.

Only the parent imports this. A fact that cannot be read is `unknown`, never a guess and
never "ok". Nothing that names a person or one machine is read: no user, no host name, no
serial number, no network address.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping

from harness.environment.base import FACTS, TELEMETRY, UNKNOWN, Facts, common
from harness.environment.rules import preconditions

__all__ = [
    "FACTS",
    "TELEMETRY",
    "UNKNOWN",
    "default_threads",
    "observe",
    "preconditions",
    "telemetry",
]


def observe() -> Facts:
    """Every fact of `FACTS`, read now."""
    found = {**common(), **_platform_facts(sys.platform)}
    return {name: found.get(name, UNKNOWN) for name in FACTS}


def telemetry() -> Facts:
    """The facts of `TELEMETRY`, read now and cheaply: what cannot change is not asked for."""
    if sys.platform == "linux":
        from harness.environment import linux

        found = linux.read_telemetry()
    else:
        found = _platform_facts(sys.platform)
    return {name: found.get(name, UNKNOWN) for name in TELEMETRY}


def _platform_facts(name: str) -> Facts:
    if name == "linux":
        from harness.environment import linux

        return linux.read()
    if name == "win32":
        from harness.environment import windows

        return windows.read()
    if name == "darwin":
        from harness.environment import macos

        return macos.read()
    return {}


def default_threads(facts: Mapping[str, object]) -> int:
    """Threads of an engine unless a model says otherwise: the physical performance cores
    that this process may use, but no more than a container's share of processor time.
    """
    names = ("performance_cores", "physical_cores", "logical_cores")
    cores = next((n for name in names if isinstance(n := facts.get(name), int) and n > 0), 1)
    quota = facts.get("cpu_quota")
    if isinstance(quota, int | float):
        cores = min(cores, math.floor(quota))
    return max(1, cores)
