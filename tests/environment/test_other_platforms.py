"""The readers of Windows and macOS on recorded values: no such machine is at hand."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest

from harness.environment import base, macos, windows
from harness.environment.base import FACTS, NONE, UNKNOWN


def fake_psutil(**changes: Any) -> SimpleNamespace:
    """What psutil says on a laptop that is plugged in."""
    values = {
        "virtual_memory": lambda: SimpleNamespace(total=16 << 30, available=9 << 30),
        "swap_memory": lambda: SimpleNamespace(total=4 << 30, used=1 << 20),
        "cpu_count": lambda logical=True: 22 if logical else 16,
        "sensors_battery": lambda: SimpleNamespace(power_plugged=True),
        "Process": lambda: SimpleNamespace(cpu_affinity=lambda: list(range(22))),
    }
    return SimpleNamespace(**(values | changes))


def core(efficiency: int, mask: int, relation: int = 0) -> bytes:
    """One SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX record of a processor core."""
    return struct.pack("<IIBB20xHQHHHH", relation, 48, 1, efficiency, 1, mask, 0, 0, 0, 0)


# Two performance cores of two threads each, then two efficiency cores.
CORES = core(1, 0b11) + core(1, 0b1100) + core(0, 0b10000) + core(0, 0b100000)


class RecordedWindows:
    """What a laptop's registry and kernel32 answered."""

    def __init__(self, **changes: Any) -> None:
        self.values = {
            "ProcessorNameString": "Intel(R) Core(TM) Ultra 7 155H  ",
            "SystemManufacturer": "LG Electronics",
            "SystemProductName": "16Z90S-G.AA75K",
            "BIOSVendor": "Phoenix Technologies Ltd. ",
            "BIOSVersion": "C2ZE0120 X64",
            "BIOSReleaseDate": "01/17/2025",
        } | changes
        self.plan = "381B4222-F694-41F0-9685-FF5BB260DF2E"
        self.bent = "DED574B5-45A0-4F42-8737-46345C09C238"
        self.line = 1
        self.cores = CORES

    def registry(self, _key: str, name: str) -> str:
        return self.values[name]

    def has_feature(self, number: int) -> bool:
        return number in {38, 39, 40}

    def core_information(self) -> bytes:
        return self.cores

    def power_line(self) -> int:
        return self.line

    def scheme(self) -> str:
        return self.plan

    def overlay(self) -> str:
        return self.bent


def test_windows() -> None:
    facts = windows.read(fake_psutil(), RecordedWindows())
    assert set(facts) <= set(FACTS)
    assert facts["cpu"] == "Intel(R) Core(TM) Ultra 7 155H"
    assert facts["product"] == "LG Electronics 16Z90S-G.AA75K"
    assert facts["bios"] == "Phoenix Technologies Ltd. C2ZE0120 X64 01/17/2025"
    assert facts["isa"] == ["sse4_2", "avx", "avx2"]
    assert facts["power_mode"] == "best performance"
    assert facts["power_source"] == "ac"
    assert facts["physical_cores"] == 16
    assert facts["logical_cores"] == 22
    assert facts["performance_cores"] == 2
    assert facts["usable_cpus"] == 22
    assert facts["virtual_machine"] is False
    assert facts["memory_bytes"] == 16 << 30
    assert facts["swap_used_bytes"] == 1 << 20
    assert str(facts["os"]).startswith("Windows")


def test_windows_in_a_virtual_machine_that_tells_little() -> None:
    system = RecordedWindows(
        ProcessorNameString="",
        SystemManufacturer="Microsoft Corporation",
        SystemProductName="Virtual Machine",
    )
    system.plan = system.bent = ""
    system.line = 255
    system.cores = b""

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError

    psutil = fake_psutil(
        Process=refuse, virtual_memory=refuse, swap_memory=refuse, cpu_count=refuse
    )
    facts = windows.read(psutil, system)
    assert facts["virtual_machine"] is True
    assert facts["cpu"] == UNKNOWN
    assert facts["power_mode"] == UNKNOWN
    assert facts["power_source"] == UNKNOWN, "neither plugged in nor not"
    assert facts["physical_cores"] == UNKNOWN
    assert not {"performance_cores", "usable_cpus", "memory_bytes", "swap_bytes"} & set(facts)


@pytest.mark.parametrize(
    ("plan", "mode"),
    [
        ("381b4222-f694-41f0-9685-ff5bb260df2e", "best performance"),
        ("", "best performance"),
        ("8c5e7fda-e8bf-4a96-9a85-a6e23a8c635c", "high performance"),
        ("a1841308-3541-4fab-bc81-f71556f20b4a", "power saver"),
        ("00000000-1111-2222-3333-444444444444", UNKNOWN),
    ],
)
def test_windows_overlays_bend_the_balanced_plan_alone(plan: str, mode: str) -> None:
    system = RecordedWindows()
    system.plan = plan
    assert windows.read(fake_psutil(), system)["power_mode"] == mode


@pytest.mark.parametrize(("line", "source"), [(0, "battery"), (1, "ac"), (255, UNKNOWN)])
def test_windows_power_lines(line: int, source: str) -> None:
    system = RecordedWindows()
    system.line = line
    assert windows.read(fake_psutil(), system)["power_source"] == source


def test_windows_without_a_maker_is_not_called_real() -> None:
    facts = windows.read(
        fake_psutil(), RecordedWindows(SystemManufacturer="", SystemProductName="")
    )
    assert facts["virtual_machine"] == UNKNOWN
    assert facts["product"] == UNKNOWN


@pytest.mark.parametrize(
    ("buffer", "usable", "cores"),
    [
        (CORES, -1, 2),
        (CORES, 0b11, 1),
        (CORES, 0b110000, 2),  # pinned to efficiency cores: those are what there is
        (CORES + core(7, 1, relation=3), -1, 2),  # a record of another kind
        (core(0, 1) * 4, -1, 4),
        (core(1, 1 << 63), -1, 1),
        (b"", -1, 0),
        (CORES[:47], -1, 1),
        (struct.pack("<II40x", 0, 0), -1, 0),  # a size of 0 would never end
    ],
)
def test_efficiency_classes(buffer: bytes, usable: int, cores: int) -> None:
    assert windows.performance_cores(buffer, usable) == cores


class RecordedMac:
    """What sysctl answered."""

    def __init__(self, **changes: Any) -> None:
        self.values: dict[str, Any] = {
            "hw.model": "Mac14,2",
            "machdep.cpu.brand_string": "Apple M2",
            "kern.hv_vmm_present": 0,
            "hw.physicalcpu": 8,
            "hw.logicalcpu": 8,
            "hw.perflevel0.physicalcpu": 4,
            "hw.optional.AdvSIMD": 1,
            "hw.optional.arm.FEAT_DotProd": 1,
            "hw.optional.arm.FEAT_SME": 0,
        } | changes

    def text(self, name: str) -> str:
        return str(self.values.get(name, ""))

    def number(self, name: str) -> int | None:
        return self.values.get(name)


PMSET = """System-wide power settings:
Currently in use:
 standby              1
 lowpowermode         {}
 sleep                1
"""


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        (PMSET.format(0), "automatic"),
        (PMSET.format(1), "low-power"),
        (PMSET.replace("lowpowermode", "powermode   ").format(2), "high-power"),
        ("", UNKNOWN),
    ],
)
def test_macos_power_modes(said: str, mode: str) -> None:
    assert macos.read(fake_psutil(), RecordedMac(), said)["power_mode"] == mode


def test_macos() -> None:
    facts = macos.read(fake_psutil(), RecordedMac(), "")
    assert set(facts) <= set(FACTS)
    assert facts["cpu"] == "Apple M2"
    assert facts["product"] == "Mac14,2"
    assert facts["isa"] == ["asimd", "asimddp"]
    assert facts["performance_cores"] == 4
    assert facts["physical_cores"] == facts["usable_cpus"] == 8
    assert facts["virtual_machine"] is False
    assert facts["container"] == NONE


def test_an_intel_mac_and_one_that_tells_nothing() -> None:
    intel = RecordedMac(**{"hw.perflevel0.physicalcpu": None, "kern.hv_vmm_present": 1})
    facts = macos.read(fake_psutil(), intel)
    assert facts["performance_cores"] == 8
    assert facts["virtual_machine"] is True
    silent = SimpleNamespace(text=lambda _: "", number=lambda _: None)
    facts = macos.read(fake_psutil(), silent)
    assert facts["virtual_machine"] == UNKNOWN
    assert facts["performance_cores"] == UNKNOWN
    assert facts["isa"] == []


@pytest.mark.parametrize(
    ("battery", "source"),
    [
        (lambda: None, "ac"),
        (lambda: SimpleNamespace(power_plugged=False), "battery"),
        (lambda: SimpleNamespace(power_plugged=None), UNKNOWN),
    ],
)
def test_batteries(battery: Any, source: str) -> None:
    assert base.from_psutil(fake_psutil(sensors_battery=battery))["power_source"] == source


def test_no_sensor_of_a_battery_is_unknown() -> None:
    psutil = fake_psutil()
    del psutil.sensors_battery
    assert base.from_psutil(psutil)["power_source"] == UNKNOWN
