"""What is observed here, and what must never be."""

from __future__ import annotations

import getpass
import json
import platform
from typing import Any

import pytest

from harness import environment
from harness.environment import FACTS, TELEMETRY, UNKNOWN, linux, macos, windows
from tests.environment.conftest import Unpack


def test_every_fact_is_there_and_is_json() -> None:
    facts = environment.observe()
    assert list(facts) == list(FACTS)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["python"] == f"{platform.python_implementation()} {platform.python_version()}"
    assert None not in facts.values()
    assert "" not in facts.values()
    threads = environment.default_threads(facts)
    assert isinstance(facts["logical_cores"], int)
    assert 1 <= threads <= facts["logical_cores"]


def test_nobody_is_named() -> None:
    text = json.dumps(environment.observe()).casefold()
    if len(platform.node()) > 3:
        assert platform.node().casefold() not in text
    assert f"/{getpass.getuser()}/" not in text
    assert not {"host", "user", "serial", "mac", "address", "uuid"} & set(FACTS)


@pytest.mark.parametrize(
    ("platform_name", "reader"), [("linux", linux), ("win32", windows), ("darwin", macos)]
)
def test_each_platform_has_its_reader(
    monkeypatch: pytest.MonkeyPatch, platform_name: str, reader: Any
) -> None:
    monkeypatch.setattr("sys.platform", platform_name)
    monkeypatch.setattr(reader, "read", lambda: {"cpu": "recorded"})
    facts = environment.observe()
    assert facts["cpu"] == "recorded"
    assert facts["power_source"] == UNKNOWN


def test_telemetry_is_the_part_that_changes() -> None:
    assert set(TELEMETRY) <= set(FACTS)
    facts = environment.telemetry()
    assert list(facts) == list(TELEMETRY)
    steady = set(TELEMETRY) - {"temperature_c", "memory_available_bytes", "swap_used_bytes"}
    whole = environment.observe()
    assert {name: facts[name] for name in steady} == {name: whole[name] for name in steady}


def test_telemetry_of_a_laptop(machine: Unpack) -> None:
    root = machine("core-ultra-laptop")
    facts = linux.read_telemetry(root)
    whole = linux.read(root, frozenset(range(6)))
    assert facts == {name: whole[name] for name in facts}
    assert set(TELEMETRY) <= set(facts)
    (root / "sys/devices/system/cpu/cpu4/cpufreq/scaling_governor").write_text("performance\n")
    assert linux.read_telemetry(root)["governor"] == "performance, powersave"


@pytest.mark.parametrize(("platform_name", "reader"), [("win32", windows), ("darwin", macos)])
def test_telemetry_of_other_platforms(
    monkeypatch: pytest.MonkeyPatch, platform_name: str, reader: Any
) -> None:
    monkeypatch.setattr("sys.platform", platform_name)
    monkeypatch.setattr(reader, "read", lambda: {"power_source": "ac", "cpu": "recorded"})
    expected = dict.fromkeys(TELEMETRY, UNKNOWN) | {"power_source": "ac"}
    assert environment.telemetry() == expected


def test_another_platform_is_mostly_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "plan9")
    facts = environment.observe()
    assert facts["cpu"] == UNKNOWN
    assert facts["machine"] != UNKNOWN
