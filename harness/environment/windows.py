"""Facts of a Windows machine, through psutil, the registry and kernel32.

Untested on hardware: the tests run it on recorded values.
"""

from __future__ import annotations

import ctypes
import importlib
import platform
import struct
import uuid
from typing import Any

from harness.environment.base import (
    UNKNOWN,
    Facts,
    attempt,
    firmware,
    from_psutil,
    looks_virtual,
)

_CPU_KEY = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_FIRMWARE = ("Vendor", "Version", "ReleaseDate")
_BIOS_KEY = r"HARDWARE\DESCRIPTION\System\BIOS"
_FEATURES = {38: "sse4_2", 39: "avx", 40: "avx2", 41: "avx512f", 43: "asimddp"}
"""PF_* numbers of IsProcessorFeaturePresent (winnt.h)."""
_OVERLAYS = {
    "00000000-0000-0000-0000-000000000000": "balanced",
    "961cc777-2547-4f9d-8174-7d86181b8a7a": "best power efficiency",
    "3af9b8d9-7c97-431d-ad78-34a8bfea439f": "better performance",
    "ded574b5-45a0-4f42-8737-46345c09c238": "best performance",
}
_BALANCED = "381b4222-f694-41f0-9685-ff5bb260df2e"
_SCHEMES = {
    "8c5e7fda-e8bf-4a96-9a85-a6e23a8c635c": "high performance",
    "a1841308-3541-4fab-bc81-f71556f20b4a": "power saver",
    "e9a42b02-d5df-448d-aa00-03f14749eb61": "ultimate performance",
}
"""Power plans; overlays only bend the balanced one."""
_POWER_LINES = {0: "battery", 1: "ac"}
_RELATION_PROCESSOR_CORE = 0


def read(psutil: Any = None, system: System | None = None) -> Facts:
    """All facts that this machine reveals; what it hides is `unknown`."""
    psutil = psutil or importlib.import_module("psutil")
    system = system or System()
    affinity = attempt(lambda: psutil.Process().cpu_affinity())
    usable = sum(1 << cpu for cpu in affinity) if affinity else -1
    maker = system.registry(_BIOS_KEY, "SystemManufacturer")
    product = f"{maker} {system.registry(_BIOS_KEY, 'SystemProductName')}".strip()
    facts: Facts = {
        **from_psutil(psutil),
        "os": f"Windows {platform.release()}",
        "kernel": platform.version() or UNKNOWN,
        "product": product or UNKNOWN,
        "bios": firmware(
            *(system.registry(_BIOS_KEY, f"BIOS{part}") for part in _FIRMWARE),
        ),
        "cpu": system.registry(_CPU_KEY, "ProcessorNameString").strip() or UNKNOWN,
        "isa": [name for number, name in _FEATURES.items() if system.has_feature(number)],
        "power_mode": _power_mode(system),
        # psutil takes an unknown state of the line for battery, and of the battery for none.
        "power_source": _POWER_LINES.get(system.power_line(), UNKNOWN),
        # The hypervisor bit is no sign: Windows runs its own below a bare machine.
        "virtual_machine": looks_virtual(product) if product else UNKNOWN,
    }
    if affinity:
        facts["usable_cpus"] = len(affinity)
    if cores := performance_cores(system.core_information(), usable):
        facts["performance_cores"] = cores
    return facts


def _power_mode(system: System) -> str:
    scheme = system.scheme().casefold()
    if scheme in {_BALANCED, ""}:
        return _OVERLAYS.get(system.overlay().casefold(), UNKNOWN)
    return _SCHEMES.get(scheme, UNKNOWN)


def performance_cores(buffer: bytes, usable: int = -1) -> int:
    """Cores of the highest efficiency class that a process may use.

    Args:
        buffer: SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX records (winnt.h): relationship
            and size of the record, 32 bits each; flags and efficiency class, 8 bits each;
            from byte 32 on the mask of the first group, 64 bits.
        usable: mask of the processors of that group.
    """
    classes: list[int] = []
    place = 0
    while place + 40 <= len(buffer):
        relation, size, _, efficiency = struct.unpack_from("<IIBB", buffer, place)
        (mask,) = struct.unpack_from("<q", buffer, place + 32)
        if size < 40:
            break
        if relation == _RELATION_PROCESSOR_CORE and mask & usable:
            classes.append(efficiency)
        place += size
    return classes.count(max(classes, default=0))


class System:
    """The calls of Windows that are used; a recorded one stands in for it in tests."""

    def registry(self, key: str, name: str) -> str:
        """Text value below HKEY_LOCAL_MACHINE; empty where absent."""
        winreg: Any = importlib.import_module("winreg")
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
                return str(winreg.QueryValueEx(opened, name)[0])
        except OSError:
            return ""

    def has_feature(self, number: int) -> bool:
        """Whether IsProcessorFeaturePresent says so."""
        return bool(ctypes.CDLL("kernel32").IsProcessorFeaturePresent(number))

    def core_information(self) -> bytes:
        """Buffer of GetLogicalProcessorInformationEx for processor cores."""
        ask = ctypes.CDLL("kernel32").GetLogicalProcessorInformationEx
        size = ctypes.c_uint32(0)
        ask(_RELATION_PROCESSOR_CORE, None, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        done = ask(_RELATION_PROCESSOR_CORE, buffer, ctypes.byref(size))
        return buffer.raw if done else b""

    def power_line(self) -> int:
        """ACLineStatus of GetSystemPowerStatus: 0 = battery, 1 = mains, 255 = unknown."""
        status = (ctypes.c_uint8 * 12)()
        done = ctypes.CDLL("kernel32").GetSystemPowerStatus(ctypes.byref(status))
        return int(status[0]) if done else 255

    def scheme(self) -> str:
        """Active power plan, as text of a GUID; empty where the system does not say."""
        place = ctypes.c_void_p()
        try:
            failed = ctypes.CDLL("powrprof").PowerGetActiveScheme(None, ctypes.byref(place))
        except (OSError, AttributeError):
            return ""
        if failed or not place.value:
            return ""
        found = str(uuid.UUID(bytes_le=ctypes.string_at(place.value, 16)))
        ctypes.CDLL("kernel32").LocalFree(place)
        return found

    def overlay(self) -> str:
        """Effective power overlay scheme, as text of a GUID."""
        scheme = ctypes.create_string_buffer(16)
        try:
            failed = ctypes.CDLL("powrprof").PowerGetEffectiveOverlayScheme(scheme)
        except (OSError, AttributeError):
            return ""
        return "" if failed else str(uuid.UUID(bytes_le=scheme.raw))
