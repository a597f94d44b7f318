"""What speaks against measuring here and now. Pure.

`invalid`: the figures would not be those of the declared device. `warn`: they can be
used with care. `unknown`: a sensor is missing, so nobody can say that all was well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from harness.environment.base import NONE, UNKNOWN
from harness.spec import Device

Severity = Literal["warn", "invalid", "unknown"]
Finding = dict[str, str]

MEMORY_MARGIN_BYTES = 2 << 30
"""Memory that has to be available beyond what a model needs."""
SWAP_TOLERATED_BYTES = 16 << 20
MEMORY_SEEN = (0.85, 1.02)
"""Share of the installed memory that a system reports: firmware and graphics take some."""
_LOAD_FLOOR = 0.5
_LOAD_SHARE = 0.05
_SAVING_MODES = frozenset({"low-power", "power", "best power efficiency", "quiet"})
MODES = ("power_mode", "governor", "energy_preference")
"""Facts that a declared power mode may name, the one that users choose first."""
_SENSORS = {
    "power_source": "whether the machine runs on battery",
    "power_mode": "the power mode",
    "throttle_count": "thermal throttling",
    "memory_available_bytes": "available memory",
    "swap_used_bytes": "swap",
}
"""Facts that a strict profile wants to know."""


def preconditions(
    device: Device,
    facts: Mapping[str, object],
    *,
    after: bool = False,
    need_bytes: int | None = None,
) -> list[Finding]:
    """Findings about the machine before or after a run.

    Args:
        after: the run has just ended, so that the load is the run's own.
        need_bytes: memory that the largest model is predicted to take; None = not known.

    Returns:
        `{"code", "severity", "detail"}` each; empty where nothing is wrong.
    """
    return [
        *_power(device, facts),
        *_memory(facts, need_bytes or 0),
        *identity(device, facts),
        *unverified(device, facts),
        *([] if after else _quiet(facts)),
        *_isolation(facts),
        *_unknown(facts),
    ]


def _finding(code: str, severity: Severity, detail: str) -> Finding:
    return {"code": code, "severity": severity, "detail": detail}


def _power(device: Device, facts: Mapping[str, object]) -> Iterator[Finding]:
    source = facts.get("power_source")
    if source in {"ac", "battery"} and device.power not in {"any", source}:
        yield _finding(
            "wrong_power_source",
            "invalid",
            f"the machine runs on {_power_name(source)}, '{device.id}' wants "
            f"{_power_name(device.power)}",
        )
    elif source == "battery" and device.power == "any":
        yield _finding(
            "on_battery", "warn", "the machine runs on battery and may slow itself down; plug it in"
        )
    yield from _power_mode(device, facts)


def _power_mode(device: Device, facts: Mapping[str, object]) -> Iterator[Finding]:
    if device.power_mode is not None:
        # What users choose comes first: a governor below it says little.
        name, mode = power_mode(facts) or ("", device.power_mode)
        if mode != device.power_mode:
            yield _finding(
                "wrong_power_mode",
                "invalid",
                f"'{device.id}' wants the power mode '{device.power_mode}', here the "
                f"{name.replace('_', ' ')} is '{mode}'",
            )
        return
    for name in ("power_mode", "energy_preference"):
        if facts.get(name) in _SAVING_MODES:
            yield _finding(
                "power_saving",
                "warn",
                f"{name.replace('_', ' ')} is '{facts[name]}': choose the one that users will have",
            )


def power_mode(facts: Mapping[str, object]) -> tuple[str, str] | None:
    """The first fact of `MODES` that is known and the same for all processors, and its value."""
    known = ((name, str(facts.get(name, UNKNOWN))) for name in MODES)
    return next((pair for pair in known if pair[1] != UNKNOWN and ", " not in pair[1]), None)


def _power_name(source: object) -> str:
    return {"ac": "mains power", "battery": "battery"}.get(str(source), str(source))


def _memory(facts: Mapping[str, object], need_bytes: int) -> Iterator[Finding]:
    room = _number(facts, "memory_available_bytes")
    if room is not None and room < need_bytes + MEMORY_MARGIN_BYTES:
        needs = f"the {_mib(need_bytes)} that the largest model" if need_bytes else "what the model"
        yield _finding(
            "low_memory",
            "invalid",
            f"{_mib(room)} of memory are available, {_mib(MEMORY_MARGIN_BYTES)} beyond {needs} "
            "needs are wanted: close programs",
        )
    swapped = _number(facts, "swap_used_bytes")
    if swapped is not None and swapped > SWAP_TOLERATED_BYTES:
        yield _finding(
            "swap_in_use", "warn", f"{_mib(swapped)} of swap are in use: close programs or restart"
        )


def identity(device: Device, facts: Mapping[str, object]) -> Iterator[Finding]:
    """What shows that this is another machine than the declared one."""
    cpu = facts.get("cpu", UNKNOWN)
    if device.cpu and cpu != UNKNOWN and not _words(device.cpu) <= _words(str(cpu)):
        yield _finding(
            "cpu_differs",
            "invalid",
            f"'{device.id}' has the CPU '{device.cpu}', this one is '{cpu}'",
        )
    memory = _number(facts, "memory_bytes")
    if device.memory_bytes and memory is not None:
        share = memory / device.memory_bytes
        if not MEMORY_SEEN[0] <= share <= MEMORY_SEEN[1]:
            yield _finding(
                "memory_differs",
                "invalid",
                f"'{device.id}' has {_mib(device.memory_bytes)} of memory, "
                f"this machine {_mib(memory)}",
            )
    cores = _number(facts, "physical_cores")
    if device.physical_cores and cores is not None and cores != device.physical_cores:
        yield _finding(
            "cores_differ",
            "invalid",
            f"'{device.id}' has {device.physical_cores} cores, this machine {cores:.0f}",
        )


def unverified(device: Device, facts: Mapping[str, object]) -> Iterator[Finding]:
    """What the device declares and nobody can compare with this machine."""
    declared = {
        "cpu": device.cpu,
        "memory_bytes": device.memory_bytes,
        "physical_cores": device.physical_cores,
    }
    hidden = [n for n, v in declared.items() if v and facts.get(n, UNKNOWN) == UNKNOWN]
    if hidden:
        names = ", ".join(name.removesuffix("_bytes").replace("_", " ") for name in hidden)
        yield _finding(
            "device_unverified",
            "unknown",
            f"'{device.id}' declares {names}, which cannot be read here",
        )


def _quiet(facts: Mapping[str, object]) -> Iterator[Finding]:
    load, cores = _number(facts, "load_1m"), _number(facts, "logical_cores")
    if load is not None and load > max(_LOAD_FLOOR, _LOAD_SHARE * (cores or 1)):
        yield _finding(
            "busy_machine", "warn", f"load of the last minute is {load:.2f}: close other programs"
        )


def _isolation(facts: Mapping[str, object]) -> Iterator[Finding]:
    if facts.get("virtual_machine") is True:
        yield _finding(
            "virtual_machine", "warn", "a virtual machine: its figures are never those of a laptop"
        )
    container = facts.get("container")
    if container not in {NONE, UNKNOWN, None}:
        yield _finding("container", "warn", f"runs in a container ({container})")
    usable, logical = _number(facts, "usable_cpus"), _number(facts, "logical_cores")
    quota = _number(facts, "cpu_quota")
    if quota is not None:
        yield _finding(
            "cpu_restricted", "warn", f"this process is granted the time of {quota:g} processors"
        )
    elif usable is not None and logical is not None and usable < logical:
        yield _finding(
            "cpu_restricted", "warn", f"this process may use {usable} of {logical} processors"
        )
    if facts.get("traced") is True:
        yield _finding("debugger", "warn", "a debugger is attached and slows everything down")


def _unknown(facts: Mapping[str, object]) -> Iterator[Finding]:
    for name, what in _SENSORS.items():
        # Where the desktop has no power modes, the governor says the same.
        substitute = facts.get("governor", UNKNOWN) if name == "power_mode" else UNKNOWN
        if facts.get(name, UNKNOWN) == UNKNOWN == substitute:
            yield _finding(f"unknown_{name}", "unknown", f"{what} cannot be read here")
    if facts.get("temperature_c", UNKNOWN) == UNKNOWN:
        yield _finding(
            "unknown_temperature_c",
            "warn",  # the throttle counter and the calibration say what heat did
            "the temperature cannot be read here, so no job waits for the processor to cool down",
        )


def _number(facts: Mapping[str, object], name: str) -> float | None:
    value = facts.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _words(cpu: str) -> frozenset[str]:
    """`Intel(R) Core(TM) Ultra 7 155H` → intel, core, ultra, 7, 155h."""
    plain = re.sub(r"\((?:r|tm)\)", " ", cpu.casefold())
    return frozenset(re.findall(r"[a-z0-9][a-z0-9.-]*", plain))


def _mib(size: float) -> str:
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"
