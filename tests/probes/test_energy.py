"""Energy readers, on copies of the kernel's files."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.probes import energy
from harness.probes.energy import BatterySource, PowerSampler, RaplSource

RANGE_UJ = 262_143_328_850
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /sys")


def put(folder: Path, **files: object) -> Path:
    """Write small files, each as a whole: a reader never sees half of one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / f".{name}"
        path.write_text(f"{content}\n", "utf-8")
        path.replace(folder / name)
    return folder


def zone(
    root: Path, number: str, name: str, energy_uj: object, range_uj: object = RANGE_UJ
) -> Path:
    folder = root / "sys/class/powercap" / f"intel-rapl{number}"
    return put(folder, name=name, energy_uj=energy_uj, max_energy_range_uj=range_uj)


def battery(root: Path, name: str = "BAT0", status: str = "Discharging", **files: object) -> Path:
    folder = root / "sys/class/power_supply" / name
    return put(folder, **{"type": "Battery", "status": status, **files})


def laptop(root: Path) -> Path:
    """Two packages, their parts, the second interface to one of them, and the platform."""
    zone(root, ":0", "package-0", 1_000_000)
    zone(root, ":0:0", "core", 500_000)
    zone(root, ":0:1", "dram", 100_000)
    zone(root, ":1", "package-1", 3_000_000)
    zone(root, ":2", "psys", 9_000_000)
    zone(root, "-mmio:0", "package-0", 1_000_000)
    return root


def opened(root: Path) -> energy.Source:
    source = energy.open_source(root)
    assert source is not None
    return source


def rapl(root: Path, *ranges_uj: int) -> RaplSource:
    return RaplSource(method="rapl", zones=(root,) * len(ranges_uj), ranges_uj=ranges_uj)


# --- which source ---------------------------------------------------------------------


@linux
def test_only_whole_packages_are_added_up(tmp_path: Path) -> None:
    source = opened(laptop(tmp_path))
    assert source.method == "rapl"
    assert source.read() == (1_000_000, 3_000_000)
    assert source.joules((1_000_000, 3_000_000), (1_500_000, 5_000_000), 1.0) == 2.5


@linux
def test_the_platform_is_another_method_and_never_added(tmp_path: Path) -> None:
    zone(tmp_path, ":0", "psys", 9_000_000)
    source = opened(tmp_path)
    assert (source.method, source.read()) == ("psys", (9_000_000,))


@linux
def test_rapl_comes_before_a_battery(tmp_path: Path) -> None:
    battery(tmp_path, power_now=7_000_000)
    assert opened(tmp_path).method == "battery"
    assert opened(laptop(tmp_path)).method == "rapl"


@linux
def test_sources_says_what_is_there(tmp_path: Path) -> None:
    battery(tmp_path, status="Charging", power_now=7_000_000)
    by_name = {entry["name"]: entry for entry in energy.sources(laptop(tmp_path))}
    assert list(by_name) == ["rapl", "psys", "battery"]
    assert by_name["rapl"] == {
        "name": "rapl",
        "status": "ready",
        "detail": "processor packages, without memory chips, screen and power supply",
        "hint": "",
    }
    assert by_name["psys"]["status"] == "ready"
    assert by_name["battery"]["status"] == "absent"
    assert by_name["battery"]["detail"] == "the battery is not discharging: Charging"
    assert by_name["battery"]["hint"] == "unplug the charger"


@linux
def test_a_bare_machine_has_no_source(tmp_path: Path) -> None:
    listed = energy.sources(tmp_path)
    assert {entry["status"] for entry in listed} == {"absent"}
    assert listed[0]["hint"] == "sudo modprobe intel_rapl_msr"
    assert energy.open_source(tmp_path) is None


@linux
def test_this_machine_can_be_asked() -> None:
    listed = energy.sources()
    assert all(entry["detail"] for entry in listed)
    ready = [entry["name"] for entry in listed if entry["status"] == "ready"]
    source = energy.open_source()
    assert ready[:1] == ([source.method] if source else [])


@pytest.mark.parametrize(("platform", "name"), [("win32", "emi"), ("darwin", "ioreport")])
def test_other_systems_are_absent(
    monkeypatch: pytest.MonkeyPatch, platform: str, name: str
) -> None:
    monkeypatch.setattr(energy, "_PLATFORM", platform)
    (entry,) = energy.sources()
    assert (entry["name"], entry["status"]) == (name, "absent")
    assert "not read by this harness" in entry["detail"]
    assert energy.open_source() is None


@contextmanager
def nobody() -> Iterator[None]:
    """The administrator may read everything: be someone else for a moment."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@linux
def test_a_denied_counter_says_how_to_allow_it() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are private
        root = Path(folder)
        root.chmod(0o755)
        (zone(root, ":0", "package-0", 1) / "energy_uj").chmod(0)
        with nobody():
            listed = energy.sources(root)
            source = energy.open_source(root)
    assert listed[0] == {
        "name": "rapl",
        "status": "denied",
        "detail": "only the administrator may read energy counters",
        "hint": "sudo chmod a+r /sys/class/powercap/intel-rapl:*/*energy*_uj",
    }
    assert source is None


# --- RAPL -----------------------------------------------------------------------------


@given(
    steps=st.lists(st.integers(0, 5_000_000), min_size=1, max_size=30),
    start=st.integers(0, RANGE_UJ - 1),
)
def test_a_wrapped_counter_loses_nothing(steps: list[int], start: int) -> None:
    source = rapl(Path(), RANGE_UJ)
    counter, total = start, 0.0
    for step in steps:
        after = (counter + step) % RANGE_UJ
        total += source.joules((counter,), (after,), 0.05)
        counter = after
    assert total == pytest.approx(sum(steps) / 1e6)


@pytest.mark.parametrize(
    ("before", "after", "range_uj"),
    [
        (5_000_000_000, 0, RANGE_UJ),  # set back to 0: 257 kJ in 50 ms would be 5 MW
        (5_000_000, 4_000_000, 0),  # may have wrapped, but nobody knows where
        (0, 200_000_000_000, RANGE_UJ),  # leapt
        (300_000_000_000, 1, RANGE_UJ),  # beyond its own range
    ],
)
def test_an_impossible_step_is_no_energy(before: int, after: int, range_uj: int) -> None:
    with pytest.raises(HarnessError, match=f"from {before} to {after} µJ") as caught:
        rapl(Path(), range_uj).joules((before,), (after,), 0.05)
    assert caught.value.reason == "energy_unreadable"


@linux
@pytest.mark.parametrize("content", ["", "none", "1.5", "-"])
def test_a_counter_that_is_no_number(tmp_path: Path, content: str) -> None:
    zone(tmp_path, ":0", "package-0", content)
    entry = energy.sources(tmp_path)[0]
    assert (entry["status"], entry["detail"]) == ("absent", f"energy_uj says {content!r}")


# --- battery --------------------------------------------------------------------------


@linux
def test_power_of_batteries_in_every_form(tmp_path: Path) -> None:
    battery(tmp_path, "BAT0", power_now=-7_000_000)
    battery(tmp_path, "BAT1", current_now=500_000, voltage_now=12_000_000)
    battery(tmp_path, "BAT2", status="Not charging", power_now=1)
    battery(tmp_path, "hid-mouse", scope="Device", power_now=3)
    put(tmp_path / "sys/class/power_supply/AC", type="Mains", online=0)
    source = opened(tmp_path)
    assert source.read() == (7_000_000, 6_000_000, 0)


@linux
def test_a_battery_without_figures(tmp_path: Path) -> None:
    battery(tmp_path, voltage_now=12_000_000)
    entry = energy.sources(tmp_path)[-1]
    assert entry["detail"] == "BAT0 tells neither power nor current and voltage"


def test_discharge_is_integrated() -> None:
    source = BatterySource(method="battery", batteries=())
    assert source.joules((4_000_000,), (8_000_000,), 0.5) == 3.0


# --- sampling -------------------------------------------------------------------------


@contextmanager
def burning(package: Path, watts: float) -> Iterator[None]:
    """Let a package's counter run, as a processor does."""
    ended = threading.Event()
    first_uj = int((package / "energy_uj").read_text())
    started = time.perf_counter()

    def run() -> None:
        while not ended.wait(0.001):
            used_uj = int((time.perf_counter() - started) * watts * 1e6)
            put(package, energy_uj=(first_uj + used_uj) % RANGE_UJ)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def wait_for(sampler: PowerSampler, points: int) -> None:
    while len(sampler._joules) < points:
        time.sleep(0.001)


def wait_for_the_end(sampler: PowerSampler) -> None:
    assert sampler._thread is not None
    sampler._thread.join(30)
    assert not sampler._thread.is_alive(), "it reads on"


@linux
def test_a_trace_follows_a_running_counter_over_its_wrap(tmp_path: Path) -> None:
    package = zone(tmp_path, ":0", "package-0", RANGE_UJ - 2_000_000)
    sampler = PowerSampler(opened(tmp_path), idle_w=1.5, period_s=0.01)
    before_ns = time.perf_counter_ns()
    with burning(package, watts=20.0):
        sampler.start(os.getpid())
        time.sleep(0.4)
        trace = sampler.stop()
    assert trace is not None
    t_ns, joules = trace.pop("t_ns"), trace.pop("joules")
    assert trace == {"method": "rapl", "idle_w": 1.5}
    assert isinstance(t_ns, list)
    assert isinstance(joules, list)
    assert before_ns < t_ns[0] < t_ns[-1] < time.perf_counter_ns()
    assert t_ns == sorted(set(t_ns))
    assert joules[0] == 0
    assert joules == sorted(joules)
    assert len(joules) == len(t_ns) > 5
    watts = joules[-1] / (t_ns[-1] - t_ns[0]) * 1e9
    assert watts == pytest.approx(20.0, rel=0.5)


@linux
def test_a_counter_that_stands_still_is_said_to(tmp_path: Path) -> None:
    zone(tmp_path, ":0", "package-0", 5)
    sampler = PowerSampler(opened(tmp_path), period_s=0.001)
    sampler.start(os.getpid())
    wait_for(sampler, points=1)
    time.sleep(0.02)
    trace = sampler.stop()
    assert trace is not None
    assert trace["problem"] == "energy_stands_still"
    assert trace["joules"] == [0.0, 0.0], "only the first and the last reading are kept"


@linux
def test_a_source_that_vanishes_ends_the_trace(tmp_path: Path) -> None:
    package = zone(tmp_path, ":0", "package-0", 0)
    sampler = PowerSampler(opened(tmp_path), period_s=0.001)
    sampler.start(os.getpid())
    wait_for(sampler, points=1)
    put(package, energy_uj=100)
    wait_for(sampler, points=2)
    (package / "energy_uj").unlink()
    wait_for_the_end(sampler)
    trace = sampler.stop()
    assert trace is not None
    assert trace["problem"] == "energy_unreadable"
    assert trace["joules"] == [0.0, 0.0001]


@linux
def test_a_charger_ends_a_trace_by_battery(tmp_path: Path) -> None:
    battery(tmp_path, power_now=5_000_000)
    sampler = PowerSampler(opened(tmp_path), period_s=0.001)
    sampler.start(os.getpid())
    wait_for(sampler, points=1)
    battery(tmp_path, status="Charging")
    wait_for_the_end(sampler)
    trace = sampler.stop()
    assert trace is not None
    assert trace["problem"] == "not_discharging"
    assert trace["joules"] == [0.0], "a battery that said nothing new adds no point"


@linux
def test_nothing_to_read_gives_no_trace(tmp_path: Path) -> None:
    package = zone(tmp_path, ":0", "package-0", 0)
    source = opened(tmp_path)
    (package / "energy_uj").unlink()
    sampler = PowerSampler(source)
    sampler.start(os.getpid())
    assert sampler.stop() is None
    assert sampler.problem == "energy_unreadable"


@linux
def test_idle_power(tmp_path: Path) -> None:
    battery(tmp_path, power_now=6_500_000)
    assert energy.idle_watts(opened(tmp_path), 0.05) == pytest.approx(6.5, rel=1e-3)
    zone(tmp_path, ":0", "package-0", 5)
    with pytest.raises(HarnessError, match="idle power by rapl cannot be measured") as caught:
        energy.idle_watts(opened(tmp_path), 0.01)
    assert caught.value.reason == "energy_stands_still"
