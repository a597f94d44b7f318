"""What a run arranges before a job, and what it watches while one runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from harness.backends import BACKENDS
from harness.cases import Case
from harness.execute import WATCHES, Conditions, Outcome, execute
from harness.job import Job
from harness.records import JournalWriter, Record, read
from harness.supervise import Watch
from tests.conftest import FakeModel
from tests.suites.helpers import job

CASE = Case(id="fixed-p8-n4", prompt_tokens=8, output_tokens=4)


def planned(model: Path, number: int = 0, suite: str = "latency") -> Job:
    made = job(suite, CASE)
    return dataclasses.replace(made, path=str(model), id=f"{number:016x}", process=number)


def records_of(folder: Path) -> list[Record]:
    return read(folder / "records.jsonl").records


def test_conditions_reach_the_worker_and_the_records(fake_model: FakeModel) -> None:
    model = fake_model()
    journal = JournalWriter(model.parent / "records.jsonl")
    asked: list[int] = []

    def arrange(found: Job) -> Conditions:
        asked.append(found.process)
        cache = "cold" if found.process else "warm"
        return Conditions(cache, 2.0, {"facts": {"temperature_c": 41.5}, "gate": "cool"})

    jobs = [planned(model, 0), planned(model, 1)]
    done = list(execute(jobs, BACKENDS, model.parent / "parts", journal, arrange=arrange))
    journal.close()
    assert [outcome.state for outcome in done] == ["ok", "ok"]
    assert [outcome.waited_s for outcome in done] == [2.0, 2.0]
    assert asked == [0, 1]
    records = records_of(model.parent)
    loads = [record for record in records if record.get("kind") == "load"]
    assert [(load["case"], load["cache"]) for load in loads] == [
        ("load", "warm"),
        ("load-cold", "cold"),
    ]
    parent = [record for record in records if record.get("source") == "parent"]
    assert [record["process"] for record in parent] == [0, 1]
    assert parent[0]["facts"] == {"temperature_c": 41.5}
    assert (parent[0]["gate"], parent[0]["waited_s"]) == ("cool", 2.0)


def test_the_next_job_is_chosen_when_the_one_before_is_on_record(fake_model: FakeModel) -> None:
    """An outcome carries its samples, so that it may decide whether another is needed."""
    model = fake_model()
    journal = JournalWriter(model.parent / "records.jsonl")
    seen: list[Outcome] = []

    def jobs() -> Iterator[Job]:
        yield planned(model, 0)
        assert [outcome.job.process for outcome in seen] == [0]
        requests = [sample for sample in seen[0].samples if sample["kind"] == "request"]
        if len(requests) < 3:
            yield planned(model, 1)

    seen.extend(execute(jobs(), BACKENDS, model.parent / "parts", journal))
    journal.close()
    assert len(seen) == 1
    assert list(seen[0].samples) == [
        record for record in records_of(model.parent) if record["type"] == "sample"
    ]


class _Recorder:
    """A sampler that notes whom it watched."""

    def __init__(self) -> None:
        self.pid = 0

    def start(self, pid: int) -> None:
        self.pid = pid

    def stop(self) -> dict[str, object]:
        return {"method": "rapl", "watched": self.pid > 0}


def test_a_suite_is_watched_by_its_own_sampler(fake_model: FakeModel) -> None:
    model = fake_model()
    journal = JournalWriter(model.parent / "records.jsonl")
    watches = {**WATCHES, "latency": Watch("energy_trace", _Recorder)}
    jobs = [planned(model)]
    (done,) = execute(jobs, BACKENDS, model.parent / "parts", journal, watches=watches)
    journal.close()
    (trace,) = [sample for sample in done.samples if sample["kind"] == "energy_trace"]
    assert trace["case"] == CASE.id
    assert (trace["method"], trace["watched"], trace["suite"]) == ("rapl", True, "latency")
