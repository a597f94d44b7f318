"""Which jobs of a plan are run, and what is on record about those that are not."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from harness import plan as planning
from harness import session
from harness.models import resolve
from harness.plan import Plan
from harness.probes import energy, pagecache
from harness.records import Record, read
from harness.spec import Device, EnergySuite, LatencySuite, Profile, Protocol, Suites
from tests.conftest import FakeModel
from tests.strategies import profile

PROTOCOL = Protocol(
    processes={"latency": 3},
    processes_max={"latency": 6},
    requests=2,
    warmup_max=3,
    grouping="suite",
    job_timeout_s=60.0,
)
LATENCY = LatencySuite(prompt_tokens=(16,), output_tokens=(8,))


def used(**changes: object) -> Profile:
    defaults = {"protocol": PROTOCOL, "suites": Suites(latency=LATENCY), "weights": {}}
    return profile(reference="toy.fake", **(defaults | changes))


def planned(model: Path, chosen: Profile) -> Plan:
    artefact = resolve.resolve(resolve.model_from_path(str(model)), Path())
    return planning.build(chosen, Device(id="here", name="Here"), [artefact], threads=1)


def records_of(result: session.RunResult) -> list[Record]:
    return read(result.folder / "records.jsonl").records


def test_repeating_ends_once_the_figures_are_precise(fake_model: FakeModel, tmp_path: Path) -> None:
    """A virtual clock has no noise: three processes are enough, three are left out."""
    model = fake_model(step_s=0.01, prefill_s_per_token=0.001)
    left: list[int] = []
    plan = planned(model, used())
    result = session.run(plan, tmp_path / "results", lambda _, n, __: left.append(n))
    assert left == [2, 1, 0]
    records = records_of(result)
    events = [record for record in records if record["type"] == "event"]
    assert [(event["kind"], event["reason"]) for event in events] == [("not_needed", "precise")] * 3
    assert {event["process"] for event in events} == {3, 4, 5}
    codes = {finding["code"] for finding in result.card["verdict"]["findings"]}
    assert "run_incomplete" not in codes


def test_repeating_goes_on_while_they_are_not(fake_model: FakeModel, tmp_path: Path) -> None:
    """Nothing real is within a millionth."""
    strict = dataclasses.replace(PROTOCOL, precision=1e-6)
    model = fake_model(clock="real", step_s=0.0002, prefill_s_per_token=0.00001)
    result = session.run(planned(model, used(protocol=strict)), tmp_path / "results")
    jobs = [record for record in records_of(result) if record["type"] == "job"]
    assert len(jobs) == 6
    assert {job["outcome"] for job in jobs} == {"ok"}


def test_a_spent_budget_ends_repeating(fake_model: FakeModel, tmp_path: Path) -> None:
    hurried = dataclasses.replace(PROTOCOL, precision=1e-6, budget_s=0.001)
    model = fake_model(clock="real", step_s=0.0002, prefill_s_per_token=0.00001)
    result = session.run(planned(model, used(protocol=hurried)), tmp_path / "results")
    events = [record for record in records_of(result) if record["type"] == "event"]
    assert [event["reason"] for event in events] == ["budget_spent"] * 3


def test_what_fails_in_its_first_process_is_not_tried_again(
    fake_model: FakeModel, tmp_path: Path
) -> None:
    model = fake_model(crash_signal={"at": "prefill", "signal": "SIGABRT"})
    left: list[int] = []
    plan = planned(model, used(weights={"ttft_s": 1.0}))
    result = session.run(plan, tmp_path / "results", lambda _, n, __: left.append(n))
    assert left == [2]
    jobs = [record for record in records_of(result) if record["type"] == "job"]
    crashed = ("crashed", "signal_sigabrt")
    assert (jobs[0]["outcome"], jobs[0]["reason"]) == crashed
    later = {(job["outcome"], job["reason"]) for job in jobs[1:] if job["process"] < 3}
    assert later == {("skipped", "signal_sigabrt")}
    assert all("its first process ended crashed" in job["detail"] for job in jobs[1:])
    assert result.status == "failed"
    assert result.card["entries"][0]["reason"] == "signal_sigabrt"


def test_without_a_power_sensor_energy_is_skipped_with_its_reason(
    fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "open_source", lambda: None)
    suites = Suites(latency=LATENCY, energy=EnergySuite(prompt_tokens=16, output_tokens=8))
    once = dataclasses.replace(PROTOCOL, processes={"latency": 1, "energy": 2}, processes_max={})
    plan = planned(
        fake_model(step_s=0.01, prefill_s_per_token=0.001), used(suites=suites, protocol=once)
    )
    result = session.run(plan, tmp_path / "results")
    assert result.status == "done"
    jobs = [record for record in records_of(result) if record["type"] == "job"]
    skipped = [job for job in jobs if job["suite"] == "energy"]
    assert [(job["outcome"], job["reason"]) for job in skipped] == [
        ("skipped", "no_power_sensor")
    ] * 2
    assert all("rapl" in job["detail"] for job in skipped)
    assert "energy_j" not in result.card["entries"][0]["metrics"]


def test_the_machine_is_looked_at_before_every_job(fake_model: FakeModel, tmp_path: Path) -> None:
    once = dataclasses.replace(PROTOCOL, processes={"latency": 2}, processes_max={})
    plan = planned(fake_model(step_s=0.01), used(protocol=once))
    records = records_of(session.run(plan, tmp_path / "results"))
    parent = [record for record in records if record.get("source") == "parent"]
    assert [record["process"] for record in parent] == [0, 1]
    assert all(record["gate"] == "off" for record in parent)
    assert all("power_source" in record["facts"] for record in parent)
    loads = {r["process"]: r["cache"] for r in records if r.get("kind") == "load"}
    assert loads[0] == "warm"
    evicted = sys.platform == "linux" and pagecache.evict([tmp_path / "toy.fake.json"])
    assert loads[1] == ("cold" if evicted else "unknown")
