"""Which laptop this is, and the file that declares it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness import devices, environment, specfile
from harness.environment import FACTS, UNKNOWN, preconditions
from harness.errors import HarnessError

GIB = 1 << 30
ROOT = Path(__file__).parents[1]
GRAM: dict[str, object] = dict.fromkeys(FACTS, UNKNOWN) | {
    "product": "LG Electronics 16Z90S-G.AA75K",
    "cpu": "Intel(R) Core(TM) Ultra 7 155H",
    "physical_cores": 16,
    "memory_bytes": int(15.2 * GIB),
    "memory_available_bytes": 9 * GIB,
    "power_source": "ac",
    "power_mode": "balanced",
    "governor": "powersave",
}


@pytest.fixture(autouse=True)
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A laptop to probe, in an empty folder; tests may change its facts."""
    facts = dict(GRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "observe", lambda: facts)
    monkeypatch.setattr(psutil, "sensors_battery", object, raising=False)
    return facts


def row(name: str) -> dict[str, Any]:
    (found,) = (row for row in devices.listing() if row["id"] == name)
    return found


def test_a_laptop_is_recognised() -> None:
    found = row("lg-gram-2024-16gb")
    assert found["matches"]
    assert found["why_not"] == []
    assert found["name"] == "LG gram 2024, 16 GB"
    assert Path(found["file"]).name == "lg-gram-2024-16gb.yaml"
    assert json.loads(json.dumps(devices.listing())) == devices.listing()


def test_another_laptop_says_why(laptop: dict[str, object]) -> None:
    laptop["cpu"] = "AMD Ryzen 7 7840U"
    found = row("lg-gram-2025-32gb")
    assert not found["matches"]
    assert found["why_not"] == [
        "'lg-gram-2025-32gb' has the CPU 'Core Ultra', this one is 'AMD Ryzen 7 7840U'",
        "'lg-gram-2025-32gb' has 32.0 GiB of memory, this machine 15.2 GiB",
    ]
    shown = devices.text(devices.listing())
    assert "\nthis one  this-machine       This machine\n" in shown
    assert "another   lg-gram-2025-32gb  LG gram 2025, 32 GB\n" in shown
    assert f"{'':<29}{found['why_not'][1]}\n" in shown
    assert shown.endswith("\nnext: harness devices probe, or harness run --device ID")


def test_a_device_on_battery_is_still_the_same_device(laptop: dict[str, object]) -> None:
    laptop["power_source"] = "battery"
    assert row("lg-gram-2024-16gb")["matches"]


def test_a_broken_file_matches_nothing(tmp_path: Path) -> None:
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices/mine.yaml").write_text("id: mine\nname: Mine\ncpus: 3\n", "utf-8")
    found = row("mine")
    assert not found["matches"]
    (why,) = found["why_not"]
    assert "devices/mine.yaml:3: unknown key 'cpus'" in why


# --- probing ---------------------------------------------------------------------------


def test_a_probed_laptop_is_this_one(laptop: dict[str, object]) -> None:
    device, path = devices.probe()
    assert path == Path("devices/local.yaml")
    assert specfile.load_device(path) == device == specfile.resolve_device("local")
    assert device.id == "local"
    assert device.name == "LG Electronics 16Z90S-G.AA75K"
    assert device.device_class == "laptop-16gb"
    assert device.cpu == "Intel(R) Core(TM) Ultra 7 155H"
    assert device.physical_cores == 16
    assert (device.memory_bytes, device.memory_budget_bytes) == (16 * GIB, 8 * GIB)
    assert (device.power, device.power_mode, device.npu) == ("ac", "balanced", None)
    assert row("local")["matches"]
    invalid = [f for f in preconditions(device, laptop) if f["severity"] == "invalid"]
    assert invalid == []
    changed = laptop | {"power_source": "battery", "power_mode": "low-power"}
    assert [f["code"] for f in preconditions(device, changed) if f["severity"] == "invalid"] == [
        "wrong_power_source",
        "wrong_power_mode",
    ]


def test_the_file_explains_itself() -> None:
    _, path = devices.probe()
    content = path.read_text("utf-8")
    assert content.startswith("# This machine, as `harness devices probe` observed it.")
    assert "\nmemory_budget_bytes: 8 GiB  # half: the system and a browser still fit\n" in content
    assert "\npower: ac  # it has a battery: a run on it would be slower\n" in content


def test_probing_again_follows_the_machine(laptop: dict[str, object]) -> None:
    devices.probe()
    laptop["power_mode"] = "performance"
    device, _ = devices.probe()
    assert device.power_mode == "performance"


def test_what_is_unknown_is_declared_by_nobody(
    laptop: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop |= dict.fromkeys(FACTS, UNKNOWN)

    def refuses() -> None:
        raise RuntimeError("no such sensor")

    monkeypatch.setattr(psutil, "sensors_battery", refuses)
    device, path = devices.probe()
    assert (device.name, device.device_class) == ("This machine", "unknown")
    assert (device.cpu, device.physical_cores, device.memory_bytes) == (None, None, None)
    assert (device.memory_budget_bytes, device.power, device.power_mode) == (None, "any", None)
    assert "# nobody knows of a battery" in path.read_text("utf-8")


def test_a_machine_without_a_battery_and_power_modes(
    laptop: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None)
    laptop |= {"product": UNKNOWN, "power_mode": UNKNOWN, "governor": "performance"}
    device, _ = devices.probe()
    assert device.name == "Intel(R) Core(TM) Ultra 7 155H"
    assert (device.device_class, device.power, device.power_mode) == (
        "unknown",
        "any",
        "performance",
    )
    laptop["governor"] = "performance, powersave"  # cores that differ have no one mode
    assert devices.probe()[0].power_mode is None


@pytest.mark.parametrize(
    ("seen_gib", "sold_gib"),
    [(7.5, 8), (15.2, 16), (15.9, 16), (16.0, 16), (17.5, 18), (31.0, 32), (62.5, 64)],
)
def test_memory_as_it_is_sold(laptop: dict[str, object], seen_gib: float, sold_gib: int) -> None:
    laptop["memory_bytes"] = int(seen_gib * GIB)
    device, _ = devices.probe()
    assert device.memory_bytes == sold_gib * GIB
    assert list(devices.identity(device, laptop)) == []


def test_an_odd_memory_is_taken_as_it_is(laptop: dict[str, object]) -> None:
    laptop["memory_bytes"] = 27 * GIB - 4096
    device, _ = devices.probe()
    assert device.memory_bytes == 27 * GIB - 4096
    assert device.device_class == "unknown"


@pytest.mark.parametrize("name", ['A "quoted": #1', "엘지 그램", "- yes", "null"])
def test_any_name_survives(laptop: dict[str, object], name: str) -> None:
    laptop["product"] = name
    assert devices.probe()[0].name == name


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "devices").write_text("a file is in the way", "utf-8")
    with pytest.raises(HarnessError) as caught:
        devices.probe()
    assert caught.value.message.startswith("devices/local.yaml cannot be written: ")
    assert caught.value.hint == "work in a folder of your own, or make this one writable"
    assert caught.value.reason == "folder_not_writable"


def test_git_ignores_the_probed_file() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout")
    done = subprocess.run(
        ["git", "check-ignore", "-q", "devices/local.yaml"], cwd=ROOT, check=False
    )
    assert done.returncode == 0


def test_this_very_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    device, path = devices.probe(tmp_path / "mine")
    assert path == tmp_path / "mine/local.yaml"
    assert list(devices.identity(device, environment.observe())) == []
