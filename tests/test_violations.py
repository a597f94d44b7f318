"""Forced violations, through real runs of fake models: each is found, and clean runs are not.

What can be forced safely is: a worker is stopped and continued, and all processors are
kept busy. For the rest a run's records get counters of a machine that misbehaves.
"""

from __future__ import annotations

import copy
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness import plan as planning
from harness import score, session
from harness.environment import preconditions
from harness.models import resolve as artefacts
from harness.plan import Plan
from harness.probes import counters
from harness.records import Record, read
from harness.spec import Device, LatencySuite, Profile, Protocol, Suites, to_json

MODELS = ("steady", "troubled")
GIB = 1 << 30
CPUS = 8


def small_plan(folder: Path, *, processes: int, requests: int, **fields: object) -> Plan:
    """Latency of two equal fake models."""
    found = []
    for name in MODELS:
        path = folder / f"{name}.fake.json"
        path.write_text(json.dumps(fields), "utf-8")
        found.append(artefacts.resolve(artefacts.model_from_path(str(path)), folder))
    profile = Profile(
        id="violations",
        version=1,
        title="What a machine may do wrong",
        reference=found[0].model.id,
        tier="unverified",
        protocol=Protocol(
            processes={"latency": processes},
            requests=requests,
            warmup_max=1,
            grouping="suite",
            job_timeout_s=60,
        ),
        suites=Suites(latency=LatencySuite(prompt_tokens=(8,), output_tokens=(16,))),
        weights={"ttft_s": 0.5, "decode_tok_per_s": 0.5},
    )
    return planning.build(profile, Device(id="this-machine", name="this"), found, threads=1)


def codes(card: dict[str, Any], model: str) -> set[str]:
    """Codes of what speaks against one model."""
    (entry,) = (entry for entry in card["entries"] if entry["model"].startswith(model))
    return {finding["code"] for finding in entry["findings"]}


# --- what is really done to a run ---------------------------------------------------------


def wait_for(condition: Callable[[], object]) -> Any:
    """The first true value of a condition that comes within half a minute."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    raise TimeoutError


def worker_of(part: Path) -> psutil.Process | None:
    """Our child that writes this part file, once its timed requests have begun."""
    if not part.exists() or b'"telemetry"' not in part.read_bytes():
        return None
    own = psutil.Process().children(recursive=True)
    # The last: where there is no filter, the one before is the worker's keeper.
    return next((child for child in reversed(own) if str(part) in child.cmdline()), None)


def disturb(plan: Plan, results: Path, ended: threading.Event) -> None:
    """Stop and continue the worker of one model; keep all processors busy beside the other."""
    stopped, hogged = plan.jobs

    def worker(job: str) -> psutil.Process | None:
        parts = next(results.glob("*/parts"), None)
        return worker_of(parts / f"{job}-0.part") if parts else None

    process = wait_for(lambda: worker(stopped.id))
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.1)
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: worker(hogged.id))
    spin = [sys.executable, "-c", "while True: pass"]
    hogs = [subprocess.Popen(spin) for _ in range(os.cpu_count() or 1)]
    try:
        ended.wait(30)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be stopped there")
def test_a_stopped_worker_and_a_busy_machine_are_found_on_their_models(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, processes=1, requests=10, clock="real", step_s=0.015)
    ended = threading.Event()
    results = tmp_path / "results"
    vandal = threading.Thread(target=disturb, args=(plan, results, ended), daemon=True)
    vandal.start()
    try:
        result = session.run(plan, results, lambda _outcome, left, _left_s: left or ended.set())
    finally:
        ended.set()
        vandal.join()
    assert result.status == "done"
    stopped, hogged = (job.model for job in plan.jobs)
    assert "process_stopped" in codes(result.card, stopped)
    assert "process_stopped" not in codes(result.card, hogged)
    assert "busy_machine" in codes(result.card, hogged)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_memory_hog_is_seen_by_the_counter_that_the_rule_reads() -> None:
    """The rule's threshold is tested below: nobody can fill this machine's memory here."""
    taken = 512 << 20
    before = counters.read()["available_bytes"]
    hold = f"held = b'x' * {taken}; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as hog:
        assert hog.stdout
        hog.stdout.readline()
        left = counters.read()["available_bytes"]
        hog.communicate(b"\n")
    assert before - left > taken // 2


# --- fixtures of counters and facts -------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Records of a run of three processes a model, on the virtual clock."""
    folder = tmp_path_factory.mktemp("violations")
    plan = small_plan(folder, processes=3, requests=5, step_s=0.01, prefill_s_per_token=0.001)
    result = session.run(plan, folder / "results")
    return read(result.folder / "records.jsonl").records


FACTS = {
    "power_source": "ac",
    "power_mode": "balanced",
    "governor": "performance",
    "energy_preference": "performance",
    "turbo": "on",
    "temperature_c": 55.0,
    "throttle_count": 3,
    "memory_available_bytes": 8 * GIB,
    "swap_used_bytes": 0,
}
SPEEDS = {"read_bytes_per_s": 4e10, "copy_bytes_per_s": 3e10, "fp32_flop_per_s": 5e11}


def quiet_counters(chance: random.Random) -> Iterator[dict[str, int]]:
    """Readings of a machine that does nothing else, about half a second apart."""
    clock = busy = own = 0
    while True:
        step = round(chance.uniform(0.3, 0.7) * 1e9)
        clock += step
        own += step
        busy += step + round(step * CPUS * chance.uniform(0, 0.02))
        yield {
            "clock_ns": clock,
            "cpu_busy_ns": busy // 10_000_000 * 10_000_000,
            "cpu_steal_ns": 0,
            "cpus": CPUS,
            "own_cpu_ns": own,
            "hard_faults": clock // 10**10,
            "swap_in_bytes": 0,
            "throttle_count": 3,
            "available_bytes": 8 * GIB + chance.randrange(GIB // 8),
            "on_battery": 0,
            "boot_offset_ns": chance.randrange(2000),
            "wall_offset_ns": clock // 100_000 + chance.randrange(2000),
            "continued": 0,
        }


def clean(records: list[Record], seed: int) -> list[Record]:
    """The same run on a quiet machine with realistic noise in its times."""
    chance = random.Random(seed)
    counters = quiet_counters(chance)
    pace: dict[str, float] = {}
    out = []
    for record in copy.deepcopy(records):
        if record["type"] == "telemetry" and record["source"] == "worker":
            record["counters"] = next(counters)
        elif record["type"] == "telemetry":
            record |= {"facts": dict(FACTS), "gate": "cool", "waited_s": 0.0}
        elif record["type"] == "environment":
            speeds = {name: value * chance.gauss(1, 0.005) for name, value in SPEEDS.items()}
            calibration = speeds | {"threads": 4, "method": "numpy"}
            found = preconditions(Device(id="laptop", name="a laptop", power="ac"), FACTS)
            record |= {"facts": dict(FACTS), "findings": found, "calibration": calibration}
        elif record.get("kind") == "request":
            of_job = pace.setdefault(record["job"], chance.gauss(1, 0.005))
            moment, last, moments = 0.0, 0, []
            for token_ns in record["token_ns"]:
                moment += (token_ns - last) * max(0.9, chance.gauss(of_job, 0.01))
                last = token_ns
                moments.append(round(moment))
            record |= {"token_ns": moments, "end_ns": moments[-1] + 1000}
        out.append(record)
    return out


def serious(card: dict[str, Any]) -> list[dict[str, Any]]:
    """Findings that are more than a remark, on the run or on any model."""
    found = [*card["verdict"]["findings"]]
    for entry in card["entries"]:
        found += entry["findings"]
    return [finding for finding in found if finding["severity"] != "warn"]


def test_twenty_clean_runs_raise_no_alarm(measured: list[Record]) -> None:
    for seed in range(20):
        card = score.scorecard(clean(measured, seed))
        assert serious(card) == [], seed
        assert all(entry["score"] is not None for entry in card["entries"]), seed


Change = Callable[[list[Record]], None]


def of_the_troubled(records: list[Record], name: str) -> list[dict[str, Any]]:
    """Counters or facts of one model's telemetry, in the order of the run."""
    return [
        record[name]
        for record in records
        if record["type"] == "telemetry"
        and record["model"].startswith("troubled")
        and name in record
    ]


def counter(name: str, value: int, *, every: bool = False) -> Change:
    """Add to the last reading of the troubled model, or more and more to each."""

    def change(records: list[Record]) -> None:
        readings = of_the_troubled(records, "counters")
        for number, reading in enumerate(readings, 1):
            if every or reading is readings[-1]:
                reading[name] += value * (number if every else 1)

    return change


def fact(name: str, value: object) -> Change:
    """Another fact before the troubled model's last job."""

    def change(records: list[Record]) -> None:
        of_the_troubled(records, "facts")[-1][name] = value

    return change


VIOLATIONS = {
    "battery": (counter("on_battery", 1), "on_battery"),
    "battery between jobs": (fact("power_source", "battery"), "on_battery"),
    "governor": (fact("governor", "powersave"), "power_mode_changed"),
    "power mode": (fact("power_mode", "power-saver"), "power_mode_changed"),
    "throttled": (counter("throttle_count", 1), "throttled"),
    "other programs": (counter("cpu_busy_ns", 10**9, every=True), "busy_machine"),
    "steal": (counter("cpu_steal_ns", 10**8, every=True), "cpu_steal"),
    "memory hog": (counter("available_bytes", -8 * GIB), "low_memory"),
    "swapping": (counter("swap_in_bytes", 64 << 20), "swapped"),
    "page faults": (counter("hard_faults", 500), "hard_faults"),
    "suspended": (counter("boot_offset_ns", 10**10), "suspended"),
    "clock set": (counter("wall_offset_ns", 10**10), "clock_stepped"),
    "stopped": (counter("continued", 1), "process_stopped"),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_speaks_against_its_model_alone(measured: list[Record], name: str) -> None:
    change, code = VIOLATIONS[name]
    records = clean(measured, 1)
    change(records)
    card = score.scorecard(records)
    assert code in codes(card, "troubled")
    assert code not in codes(card, "steady")
    assert {finding["code"] for finding in serious(card)} == {code}


def strict(records: list[Record]) -> list[Record]:
    """The same records under a profile that forgives nothing."""
    (header,) = (record for record in records if record["type"] == "run")
    header["profile"] |= to_json({"tolerates_unknown": False})
    return records


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_strict_profile_gives_no_score_to_what_was_disturbed(
    measured: list[Record], name: str
) -> None:
    records = strict(clean(measured, 2))
    VIOLATIONS[name][0](records)
    entries = {entry["model"]: entry for entry in score.scorecard(records)["entries"]}
    steady, troubled = (
        next(entry for model, entry in entries.items() if model.startswith(name)) for name in MODELS
    )
    assert (troubled["score"], troubled["reason"]) == (None, "invalid_job")
    assert steady["score"] is not None


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("governor", "powersave", "power_mode_changed"),
        ("throttle_count", 9, "throttled"),
    ],
)
def test_what_changed_over_the_run_speaks_against_the_run(
    measured: list[Record], name: str, value: object, code: str
) -> None:
    records = strict(clean(measured, 3))
    (after,) = (r for r in records if r["type"] == "environment" and r["when"] == "after")
    after["facts"][name] = value
    card = score.scorecard(records)
    assert card["verdict"]["state"] == "invalid"
    assert code in {finding["code"] for finding in card["verdict"]["findings"]}
    assert {entry["reason"] for entry in card["entries"]} == {"run_invalid"}


def test_a_slower_machine_after_the_run_is_found(measured: list[Record]) -> None:
    records = clean(measured, 4)
    (after,) = (r for r in records if r["type"] == "environment" and r["when"] == "after")
    after["calibration"]["read_bytes_per_s"] *= 0.8
    findings = score.scorecard(records)["verdict"]["findings"]
    assert "calibration_drift" in {finding["code"] for finding in findings}
