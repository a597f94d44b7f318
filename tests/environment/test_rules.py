"""Preconditions: every finding, both when it must appear and when it must not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness import environment
from harness.environment import FACTS, UNKNOWN, linux, preconditions
from harness.spec import Device
from tests.environment.conftest import Unpack

GIB = 1 << 30
ANY = Device(id="any", name="Any")
LAPTOP = Device(
    id="gram",
    name="gram",
    cpu="Core Ultra",
    physical_cores=16,
    memory_bytes=16 * GIB,
    memory_budget_bytes=8 * GIB,
    power="ac",
)
GOOD: dict[str, object] = {
    "cpu": "Intel(R) Core(TM) Ultra 7 155H",
    "physical_cores": 16,
    "logical_cores": 22,
    "usable_cpus": 22,
    "cpu_quota": "none",
    "memory_bytes": int(15.4 * GIB),
    "memory_available_bytes": 9 * GIB,
    "memory_limit_bytes": "none",
    "swap_used_bytes": 0,
    "power_source": "ac",
    "power_mode": "balanced",
    "governor": "powersave",
    "energy_preference": "balance_performance",
    "temperature_c": 48.0,
    "throttle_count": 0,
    "load_1m": 0.2,
    "virtual_machine": False,
    "container": "none",
    "traced": False,
}


def test_a_good_machine_has_no_findings() -> None:
    assert preconditions(LAPTOP, GOOD) == []
    assert preconditions(ANY, GOOD) == []


@pytest.mark.parametrize(
    ("changes", "code", "severity", "detail"),
    [
        ({"power_source": "battery"}, "wrong_power_source", "invalid",
         "the machine runs on battery, 'gram' wants mains power"),
        ({"power_mode": "low-power"}, "power_saving", "warn",
         "power mode is 'low-power': choose the one that users will have"),
        ({"energy_preference": "power"}, "power_saving", "warn", "energy preference is 'power'"),
        ({"memory_available_bytes": GIB}, "low_memory", "invalid",
         "1.0 GiB of memory are available, 2.0 GiB beyond what the model needs are wanted: close"),
        ({"cpu": UNKNOWN, "memory_bytes": UNKNOWN}, "device_unverified", "unknown",
         "'gram' declares cpu, memory, which cannot be read here"),
        ({"swap_used_bytes": 190 << 20}, "swap_in_use", "warn", "190 MiB of swap are in use"),
        ({"cpu": "AMD Ryzen 7 7840U"}, "cpu_differs", "invalid",
         "'gram' has the CPU 'Core Ultra', this one is 'AMD Ryzen 7 7840U'"),
        ({"memory_bytes": 31 * GIB}, "memory_differs", "invalid",
         "'gram' has 16.0 GiB of memory, this machine 31.0 GiB"),
        ({"memory_bytes": 8 * GIB}, "memory_differs", "invalid", "this machine 8.0 GiB"),
        ({"physical_cores": 12}, "cores_differ", "invalid",
         "'gram' has 16 cores, this machine 12"),
        ({"load_1m": 3.5}, "busy_machine", "warn",
         "load of the last minute is 3.50: close other programs"),
        ({"virtual_machine": True}, "virtual_machine", "warn", "never those of a laptop"),
        ({"container": "docker"}, "container", "warn", "runs in a container (docker)"),
        ({"cpu_quota": 2.5}, "cpu_restricted", "warn",
         "this process is granted the time of 2.5 processors"),
        ({"usable_cpus": 4}, "cpu_restricted", "warn",
         "this process may use 4 of 22 processors"),
        ({"traced": True}, "debugger", "warn", "a debugger is attached"),
        ({"power_source": UNKNOWN}, "unknown_power_source", "unknown",
         "whether the machine runs on battery cannot be read here"),
        ({"power_mode": UNKNOWN, "governor": UNKNOWN}, "unknown_power_mode", "unknown",
         "the power mode cannot be read here"),
        ({"throttle_count": UNKNOWN}, "unknown_throttle_count", "unknown", "thermal throttling"),
        ({"temperature_c": UNKNOWN}, "unknown_temperature_c", "warn",
         "so no job waits for the processor to cool down"),
        ({"memory_available_bytes": UNKNOWN}, "unknown_memory_available_bytes", "unknown",
         "available memory"),
        ({"swap_used_bytes": UNKNOWN}, "unknown_swap_used_bytes", "unknown", "swap"),
    ],
)  # fmt: skip
def test_a_finding(changes: dict[str, Any], code: str, severity: str, detail: str) -> None:
    (finding,) = preconditions(LAPTOP, GOOD | changes)
    assert finding["code"] == code
    assert finding["severity"] == severity
    assert detail in finding["detail"]


def test_a_battery_is_only_worth_a_warning_where_nothing_is_declared() -> None:
    (finding,) = preconditions(ANY, GOOD | {"power_source": "battery"})
    assert (finding["code"], finding["severity"]) == ("on_battery", "warn")
    on_battery = replace(LAPTOP, power="battery")
    assert preconditions(on_battery, GOOD | {"power_source": "battery"}) == []
    (finding,) = preconditions(on_battery, GOOD)
    assert "runs on mains power, 'gram' wants battery" in finding["detail"]


def test_what_was_not_observed_contradicts_no_declaration_and_confirms_none() -> None:
    facts = GOOD | dict.fromkeys(("cpu", "memory_bytes", "physical_cores", "container"), UNKNOWN)
    (finding,) = preconditions(LAPTOP, facts)
    assert finding["code"] == "device_unverified"
    assert preconditions(ANY, facts) == [], "nothing is declared"


def test_a_governor_stands_in_for_a_missing_power_mode() -> None:
    assert preconditions(LAPTOP, GOOD | {"power_mode": UNKNOWN}) == []


@pytest.mark.parametrize(
    ("declared", "changes", "shown"),
    [
        ("performance", {}, "power mode is 'balanced'"),
        ("balanced", {"power_mode": "low-power"}, "power mode is 'low-power'"),
        # A governor below the mode that users choose does not stand in for it.
        ("performance", {"power_mode": "low-power", "governor": "performance"},
         "power mode is 'low-power'"),
        ("performance", {"power_mode": UNKNOWN}, "governor is 'powersave'"),
    ],
)  # fmt: skip
def test_another_power_mode_than_the_declared_one(
    declared: str, changes: dict[str, Any], shown: str
) -> None:
    device = replace(LAPTOP, power_mode=declared)
    (finding,) = preconditions(device, GOOD | changes)
    assert (finding["code"], finding["severity"]) == ("wrong_power_mode", "invalid")
    assert finding["detail"] == f"'gram' wants the power mode '{declared}', here the {shown}"


def test_the_declared_power_mode_is_right_even_where_it_saves_power() -> None:
    saving = GOOD | {"power_mode": "low-power", "energy_preference": "power"}
    assert preconditions(replace(LAPTOP, power_mode="low-power"), saving) == []
    nothing = GOOD | dict.fromkeys(("power_mode", "governor", "energy_preference"), UNKNOWN)
    (finding,) = preconditions(replace(LAPTOP, power_mode="balanced"), nothing)
    assert finding["code"] == "unknown_power_mode"


def test_memory_beyond_what_the_largest_model_needs() -> None:
    facts = GOOD | {"memory_available_bytes": 6 * GIB}
    assert preconditions(LAPTOP, facts, need_bytes=4 * GIB) == []
    (finding,) = preconditions(LAPTOP, facts, need_bytes=4 * GIB + 1)
    assert (finding["code"], finding["severity"]) == ("low_memory", "invalid")
    assert finding["detail"] == (
        "6.0 GiB of memory are available, 2.0 GiB beyond the 4.0 GiB that the largest model "
        "needs are wanted: close programs"
    )


def test_a_laptop_that_was_unplugged_and_slowed_down(machine: Unpack) -> None:
    """From the kernel's files to the finding: the battery, then the governor."""
    root = machine("core-ultra-laptop")
    device = replace(LAPTOP, physical_cores=None, memory_bytes=None, power_mode="balanced")
    quiet = {"load_1m": 0.0}

    def found() -> list[tuple[str, str]]:
        facts = linux.read(root, frozenset(range(6))) | quiet
        findings = preconditions(device, facts)
        return [(item["code"], item["severity"]) for item in findings]

    swap = ("swap_in_use", "warn")
    assert found() == [swap]
    (root / "sys/class/power_supply/ADP1/online").write_text("0\n")
    (root / "sys/class/power_supply/BAT0/status").write_text("Discharging\n")
    assert found() == [("wrong_power_source", "invalid"), swap]
    (root / "sys/firmware/acpi/platform_profile").write_text("low-power\n")
    assert found() == [("wrong_power_source", "invalid"), ("wrong_power_mode", "invalid"), swap]


def test_a_laptop_whose_governor_was_changed(machine: Unpack) -> None:
    root = machine("core-ultra-laptop")
    (root / "sys/firmware/acpi/platform_profile").unlink()  # a desktop without power modes
    device = replace(ANY, power_mode="powersave")

    def invalid() -> list[str]:
        findings = preconditions(device, linux.read_telemetry(root))
        return [item["detail"] for item in findings if item["severity"] == "invalid"]

    assert invalid() == []
    for cpu in ("cpu0", "cpu4"):
        governor = root / f"sys/devices/system/cpu/{cpu}/cpufreq/scaling_governor"
        governor.write_text("performance\n", "ascii")
    (detail,) = invalid()
    assert detail.startswith(
        "'any' wants the power mode 'powersave', here the governor is 'performance'"
    )


def test_the_load_after_a_run_is_its_own() -> None:
    assert preconditions(LAPTOP, GOOD | {"load_1m": 16.0}, after=True) == []


def test_nothing_known_is_five_unknowns_and_never_fine() -> None:
    findings = preconditions(ANY, dict.fromkeys(FACTS, UNKNOWN))
    assert [finding["severity"] for finding in findings] == ["unknown"] * 5 + ["warn"]
    assert preconditions(ANY, {}) == findings


@pytest.mark.parametrize(
    ("facts", "threads"),
    [
        ({"performance_cores": 6, "physical_cores": 16, "logical_cores": 22}, 6),
        ({"performance_cores": UNKNOWN, "physical_cores": 8, "logical_cores": 16}, 8),
        ({"logical_cores": 4}, 4),
        ({}, 1),
        ({"performance_cores": 6, "cpu_quota": 2.5}, 2),
        ({"performance_cores": 6, "cpu_quota": 0.5}, 1),
        ({"performance_cores": 6, "cpu_quota": "none"}, 6),
    ],
)
def test_default_threads(facts: dict[str, object], threads: int) -> None:
    assert environment.default_threads(facts) == threads
