"""What the doctor says, and that it writes nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import doctor
from harness.environment import UNKNOWN
from harness.errors import Exit, install_hint

Json = dict[str, Any]


def fine(_: Sequence[str]) -> str:
    return ""


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Modules that are found; a test may take some away."""
    modules = {module for packages in doctor.ENGINES.values() for module in packages}
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: object() if name in modules else None
    )
    monkeypatch.setattr("importlib.metadata.version", lambda _: "1.2.3")
    return modules


def engine(found: Json, name: str) -> dict[str, str]:
    (row,) = (row for row in found["engines"] if row["backend"] == name)
    return row


def folder(found: Json, name: str) -> Json:
    (row,) = (row for row in found["folders"] if row["name"] == name)
    return row


def test_a_machine_that_can_measure(installed: set[str], somewhere: Path) -> None:
    found = doctor.diagnose(Path("results"), import_in_child=fine)
    assert installed
    assert found["ready"]
    assert doctor.exit_code(found) == Exit.DONE
    assert engine(found, "llama_cpp") == {
        "backend": "llama_cpp",
        "status": "ready",
        "detail": "llama-cpp-python 1.2.3, gguf 1.2.3",
        "hint": "",
    }
    assert json.loads(json.dumps(found)) == found
    shown = doctor.text(found)
    assert "  ready    onnxruntime  onnxruntime 1.2.3, onnx 1.2.3, tokenizers 1.2.3\n" in shown
    assert shown.endswith(
        "\nnext: harness selftest, then harness devices probe, then harness run --device local"
    )
    # Neither folder exists, and looking at them makes neither.
    assert list(somewhere.iterdir()) == []


def test_an_engine_that_is_not_installed(installed: set[str]) -> None:
    installed.discard("tokenizers")
    found = doctor.diagnose(import_in_child=fine)
    assert engine(found, "onnxruntime") == {
        "backend": "onnxruntime",
        "status": "absent",
        "detail": "not installed: tokenizers",
        "hint": install_hint("tokenizers"),
    }
    assert doctor.exit_code(found) == Exit.DONE  # the other one works
    assert "pip install tokenizers" in doctor.text(found)


def test_no_engine_at_all(installed: set[str]) -> None:
    installed.clear()
    found = doctor.diagnose(import_in_child=fine)
    assert doctor.exit_code(found) == Exit.PREREQUISITE
    assert doctor.text(found).endswith(
        f"next: {install_hint('llama-cpp-python', 'gguf')}"
        f" or {install_hint('onnxruntime', 'onnx', 'tokenizers')}"
    )


def test_an_engine_that_cannot_be_imported(installed: set[str]) -> None:
    def broken(modules: Sequence[str]) -> str:
        return "ImportError: \x1b[31mno libgomp.so.1" if "onnxruntime" in modules else ""

    assert installed
    found = doctor.diagnose(import_in_child=broken)
    row = engine(found, "onnxruntime")
    assert row["status"] == "broken"
    assert row["detail"] == "cannot be imported: ImportError: \x1b[31mno libgomp.so.1"
    assert row["hint"] == ("python -m pip install --force-reinstall onnxruntime onnx tokenizers")
    assert "\x1b" not in doctor.text(found)
    assert "no libgomp.so.1" in doctor.text(found)


def test_imports_happen_in_a_child(somewhere: Path) -> None:
    assert doctor._import_in_child(["json"]) == ""
    assert "No module named 'absent_here'" in doctor._import_in_child(["absent_here"])
    # A file of the same name in the working folder is not the engine.
    (somewhere / "shadow.py").write_text("raise SystemExit('executed')")
    assert "No module named 'shadow'" in doctor._import_in_child(["shadow"])


def test_a_child_that_dies_or_hangs_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(returncode=-11, stderr=b"")

    monkeypatch.setattr(subprocess, "run", killed)
    assert doctor._import_in_child(["x"]) == "the import ended with status -11"

    def hangs(command: list[str], **_: Any) -> Any:
        raise subprocess.TimeoutExpired(command[:1], 120)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert "timed out after 120" in doctor._import_in_child(["x"])


def test_a_folder_that_cannot_be_written(
    installed: set[str], somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installed
    (somewhere / "cache").write_text("a file is in the way")
    found = doctor.diagnose(Path("results"), import_in_child=fine)
    row = folder(found, "cache")
    assert row["status"] == "broken"
    assert "cannot be written: Not a directory" in row["detail"]
    assert row["hint"] == "set HARNESS_CACHE to a folder that can be written"
    assert folder(found, "results")["status"] == "ready"
    assert folder(found, "results")["hint"] == ""
    assert "next: set HARNESS_CACHE" in doctor.text(found)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100 << 20))
    found = doctor.diagnose(Path("results"), import_in_child=fine)
    row = folder(found, "results")
    assert row["status"] == "full"
    assert row["detail"] == "results: 100 MiB are free"
    assert row["hint"] == "free some disk space, or harness run --results FOLDER"


def test_a_broken_file_is_a_finding_and_not_an_end(installed: set[str], somewhere: Path) -> None:
    assert installed
    (somewhere / "models.yaml").write_text("models:\n  - idd: x\n")
    found = doctor.diagnose(import_in_child=fine)
    (finding,) = found["findings"]
    assert finding["code"] == "bad_specification"
    assert finding["severity"] == "invalid"
    assert finding["detail"].startswith("models.yaml:2: unknown key 'idd' in entry 1; did")
    assert "models.yaml:2: unknown key 'idd'" in doctor.text(found)


def test_what_cannot_be_observed_comes_with_a_remedy(
    installed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installed
    facts = doctor.environment.observe() | {
        "virtual_machine": False,
        "container": "none",
        "temperature_c": UNKNOWN,
        "throttle_count": UNKNOWN,
        "product": UNKNOWN,
    }
    monkeypatch.setattr(doctor.environment, "observe", lambda: facts)
    monkeypatch.setattr("sys.platform", "linux")
    shown = doctor.text(doctor.diagnose(import_in_child=fine))
    assert "  product                 maker and model of the computer\n" in shown
    assert "  temperature_c " not in shown  # what a run watches has it already
    assert "next: load the sensor's driver: sudo modprobe coretemp (Intel)" in shown
    assert "next: only Intel's processors count throttling" in shown
    assert "next: nothing to do: it is recorded as unknown" in shown
    facts["virtual_machine"] = True
    shown = doctor.text(doctor.diagnose(import_in_child=fine))
    # One remedy for all of a section is printed once.
    watched, unobserved = shown.split("Memory of a model")
    assert watched.count("next: run on the machine itself, outside virtual machines") == 1
    assert unobserved.count("next: run on the machine itself, outside virtual machines") == 1


GOVERNED = {"governor": "powersave", "temperature_c": 51.0, "container": "none"}
COUNTERS = dict.fromkeys(doctor._WATCHED, 0)


def watched(facts: Json, counters: dict[str, int], name: str) -> dict[str, str]:
    rows = doctor._watched(facts, counters)
    (row,) = (row for row in rows if row["name"] == name)
    return row


def test_everything_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    facts = {**GOVERNED, "power_mode": UNKNOWN, "virtual_machine": False}
    rows = doctor._watched(facts, COUNTERS)
    assert {row["status"] for row in rows} == {"ready"}
    assert {row["hint"] for row in rows} == {""}


@pytest.mark.parametrize(
    ("gone", "name", "hint"),
    [
        ("on_battery", "battery", "nothing to do: it is recorded as unknown"),
        ("throttle_count", "throttling", "only Intel's processors count throttling"),
        ("temperature_c", "temperature", "load the sensor's driver: sudo modprobe coretemp"),
        ("governor", "power mode", "install power-profiles-daemon"),
        ("cpu_busy_ns", "programs", "nothing to do"),
        ("cpu_steal_ns", "steal", "nothing to do"),
        ("available_bytes", "memory", "nothing to do"),
        ("swap_in_bytes", "swap", "nothing to do"),
        ("hard_faults", "page faults", "nothing to do"),
        ("boot_offset_ns", "suspend", "nothing to do"),
    ],
)
def test_each_sensor_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, gone: str, name: str, hint: str
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    facts = {**GOVERNED, "virtual_machine": False} | {gone: UNKNOWN}
    absent = {gone, "power_mode", "temperature_c"}
    row = watched(facts, {key: 0 for key in COUNTERS if key not in absent}, name)
    assert row["status"] == "absent"
    assert row["detail"].endswith(": not on this machine")
    assert row["hint"].startswith(hint)


def test_memory_readers_and_the_page_cache(
    somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows() -> dict[str, str]:
        found = [*doctor._memory(), doctor._page_cache(somewhere / "cache/models")]
        return {row["name"]: row["status"] for row in found}

    asked: list[int] = []

    def evict(paths: list[Path]) -> bool:
        asked.extend(path.stat().st_size for path in paths)
        return True

    monkeypatch.setattr(doctor.pagecache, "evict", evict)
    assert rows()["cold loads"] == "ready"
    assert asked == [1 << 20]
    assert list(somewhere.iterdir()) == []
    monkeypatch.setattr(doctor.pagecache, "evict", lambda _: False)
    monkeypatch.setattr(doctor.memory, "resident", lambda: None)
    monkeypatch.setattr(doctor.memory, "reset_peak", lambda: False)
    monkeypatch.setattr(doctor.memory, "resident_split", lambda _: None)
    assert set(rows().values()) == {"absent"}
    (somewhere / "file").write_text("in the way")
    monkeypatch.setattr(doctor.pagecache, "evict", evict)
    assert doctor._page_cache(somewhere / "file")["status"] == "absent"


def test_energy_says_how_to_allow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"name": "rapl", "status": "denied", "detail": "not allowed", "hint": "sudo chmod"},
        {"name": "battery", "status": "absent", "detail": "no battery", "hint": ""},
    ]
    monkeypatch.setattr(doctor.energy, "sources", lambda: rows)
    found = doctor.diagnose(import_in_child=fine)
    assert found["energy"] == rows
    assert (
        "\nEnergy of a model\n"
        "  denied   rapl         not allowed\n"
        "                        next: sudo chmod\n"
        "  absent   battery      no battery\n"
    ) in doctor.text(found)


def test_one_remedy_of_several_sensors_is_printed_once() -> None:
    row = {"status": "absent", "detail": "d", "hint": "mend it"}
    lines = doctor._rows([row | {"name": "a"}, row | {"name": "b"}])
    assert [line.split()[0] for line in lines] == ["absent", "absent", "next:"]


def test_a_machine_without_findings_says_so() -> None:
    found = doctor.diagnose(import_in_child=fine) | {"findings": [], "unobserved": []}
    shown = doctor.text(found)
    assert "\nFindings\n  none\n" in shown
    assert "Cannot be observed" not in shown


def test_the_engines_of_this_machine() -> None:
    found = doctor.diagnose()
    for row in found["engines"]:
        assert row["status"] in {"ready", "absent"}, row
    assert os.fspath(sys.executable) not in json.dumps(found)


@pytest.mark.skipif(sys.platform != "linux", reason="level 1 is Linux's")
def test_the_sandbox_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._sandbox() | {"detail": ""} == {
        "name": "level 1",
        "status": "ready",
        "detail": "",
        "hint": "",
    }
    monkeypatch.setenv("HARNESS_SANDBOX", "off")
    assert doctor._sandbox() == {
        "name": "level 0",
        "status": "absent",
        "detail": "an official run is unverified below level 1: switched_off",
        "hint": "unset HARNESS_SANDBOX",
    }
