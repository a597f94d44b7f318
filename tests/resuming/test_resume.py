"""Runs that end early and go on: nothing is measured twice, and nothing lost."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import harness
from harness import environment, ledger, planfile, records, resume, session
from harness.errors import HarnessError
from harness.execute import skipped
from harness.parts import read_own
from harness.plan import Plan
from harness.records import JournalWriter, PartWriter, encode_line
from harness.schedule import Arranger
from harness.spec import canonical
from tests.fuzz import run_kills as kills
from tests.fuzz.run_kills import settled
from tests.stopped import jobs, planned, prepared, stop_after


def test_a_plan_is_read_as_it_was_written(whole: session.RunResult, tmp_path: Path) -> None:
    data = (whole.folder / planfile.NAME).read_bytes()
    plan = planfile.parse(data)
    assert planfile.dump(plan) == data
    assert plan == planned(Path(plan.folder))
    assert plan.need_bytes >= 0
    with pytest.raises(ValueError, match="not a plan"):
        planfile.parse(canonical({"profile": {}}))


def test_the_rest_is_measured_and_the_scorecard_is_that_of_an_undisturbed_run(
    begun: Path, whole: session.RunResult
) -> None:
    before = (begun / "records.jsonl").read_bytes()
    told: list[resume.Past] = []
    result = session.resume(begun, announce=told.append)
    assert result.status == "done"
    assert (begun / "records.jsonl").read_bytes().startswith(before)
    assert [len(told[0].outcomes), told[0].lost] == [3, ()]
    assert settled(result.card) == settled(whole.card)
    # In the plan's order, each once.
    ids = [job["job"] for job in jobs(begun)]
    assert ids == [job["job"] for job in jobs(whole.folder)]
    assert len(result.card["sessions"]["resumed"]) == 1
    assert result.card["sessions"]["again"] == []
    assert whole.card["sessions"] == {"resumed": [], "again": []}


def test_what_was_running_is_begun_again_and_its_records_stay(
    begun: Path, whole: session.RunResult
) -> None:
    """As a kill leaves it: a part file, and nothing of its job in the journal."""
    past = resume.examine(begun)
    running = past.left[0]
    (begun / "parts").mkdir()
    writer = PartWriter(begun / "parts" / f"{running.id}-0.part")
    sample = {"type": "sample", "kind": "request", "case": running.cases[0].id, "repetition": 99}
    writer.write(sample)
    writer.close()
    with (begun / "parts" / f"{running.id}-0.part").open("ab") as part:
        part.write(encode_line(sample)[:20])  # it died while it was writing
    result = session.resume(begun)
    first, second = [job for job in jobs(begun) if job["job"] == running.id]
    assert (first["outcome"], first["torn"], first.get("retry")) == ("interrupted", True, None)
    assert (second["outcome"], second["retry"]) == ("ok", 1)
    kept = records.read(begun / "records.jsonl").records
    assert [r["repetition"] for r in kept if r.get("repetition") == 99] == [99]
    assert settled(result.card) == settled(whole.card)
    assert result.card["sessions"]["again"] == [
        {
            "model": running.model,
            "suite": running.suite,
            "process": running.process,
            "outcome": "interrupted",
            "reason": "interrupted",
        }
    ]
    assert not (begun / "parts").exists()
    assert len(harness.load(begun).jobs) == len(jobs(whole.folder))


def test_a_batch_that_reached_the_disk_in_part_is_measured_again(
    begun: Path, whole: session.RunResult
) -> None:
    """Power fails while a job's records are appended: samples, and no record of their job."""
    past = resume.examine(begun)
    running = past.left[0]
    placed = {"job": running.id, "model": running.model, "suite": running.suite, "process": 0}
    writer = JournalWriter(begun / "records.jsonl")
    sample = {"type": "sample", "kind": "request", "case": running.cases[0].id, "repetition": 0}
    writer.append(sample | placed)
    writer.close()
    result = session.resume(begun)
    assert [j["outcome"] for j in jobs(begun) if j["job"] == running.id] == ["interrupted", "ok"]
    assert settled(result.card) == settled(whole.card)


def test_answers_of_an_exam_survive_the_harness(begun: Path) -> None:
    exam = next(job for job in resume.examine(begun).left if job.suite == "accuracy")
    (begun / "parts").mkdir()
    writer = PartWriter(begun / "parts" / f"{exam.id}-0.marks")
    item = {"type": "sample", "kind": "item", "case": exam.cases[0].id, "index": 3, "form": "free"}
    writer.write(item, item | {"index": 4})
    writer.close()
    session.resume(begun)
    kept = records.read(begun / "records.jsonl").records
    items = [r for r in kept if r.get("job") == exam.id and r.get("kind") == "item"]
    assert [r["index"] for r in items if "retry" not in r] == [3, 4]
    counted = [r for r in records.current(items) if "retry" not in r]
    assert counted == []
    assert len(items) > 2


def test_the_folder_that_one_stands_in_goes_on(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the same lock and ledger as from anywhere else."""
    monkeypatch.chdir(begun)
    noted = ledger.load(begun.parent / ledger.NAME).ends[begun.name]
    assert session.resume(Path()).status == "done"
    assert ledger.load(begun.parent / ledger.NAME).ends[begun.name] != noted
    kept = {path.name for path in begun.iterdir()}
    assert kept == {"plan.json", "records.jsonl", "scorecard.json"}


def test_a_finished_run_is_left_as_it_is(whole: session.RunResult, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole.folder.parent, tmp_path / "results")) / whole.folder.name
    before = (folder / "records.jsonl").read_bytes()
    result = session.resume(folder)
    assert (result.status, result.card) == ("done", whole.card)
    assert (folder / "records.jsonl").read_bytes() == before


def test_one_that_was_killed_behind_its_last_job_is_closed(begun: Path) -> None:
    session.resume(begun)
    path = begun / "records.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:-2], b""]))  # without the environment after it
    noted = begun.parent / ledger.NAME
    noted.write_bytes(b"\n".join([*noted.read_bytes().split(b"\n")[:-2], b""]))
    assert resume.examine(begun).left == ()
    count = len(jobs(begun))
    session.resume(begun)
    kept = records.read(path).records
    assert (kept[-1]["type"], kept[-1]["when"]) == ("environment", "after")
    assert len(jobs(begun)) == count


def test_what_failed_is_tried_again_only_when_asked(tmp_path: Path) -> None:
    kills.fill(tmp_path)
    broken = tmp_path / "slow.fake.json"
    sound = broken.read_bytes()
    broken.write_text(json.dumps({"fail_on_load": "no memory for it"}), "utf-8")
    failing = prepared(tmp_path, suites=("latency",))
    result = session.run(failing, tmp_path / "results")
    assert result.status == "failed"
    failed = [job for job in jobs(result.folder) if job["outcome"] != "ok"]
    assert {job["outcome"] for job in failed} == {"failed", "skipped"}
    assert resume.examine(result.folder).left == ()
    again = resume.examine(result.folder, retry_failed=True)
    assert {job.model for job in again.left} == {"slow.f.fake"}
    assert session.resume(result.folder, retry_failed=True).status == "failed"
    tried = [job for job in jobs(result.folder) if job.get("retry") == 1]
    assert len(tried) == len(failed)
    # Another file would be another model.
    broken.write_bytes(sound)
    with pytest.raises(HarnessError) as caught:
        session.resume(result.folder, retry_failed=True)
    assert caught.value.reason == "hash_mismatch"


def test_a_killed_worker_is_made_up_for_once_in_all(begun: Path) -> None:
    """Whether the harness dies before or behind the second start."""
    job = resume.examine(begun).left[0]
    ended = skipped(job, "worker_killed", "") | {"outcome": "crashed", "wall_s": 1.0}
    with contextlib.closing(JournalWriter(begun / "records.jsonl")) as journal:
        journal.append(ended)
        again = resume.examine(begun).left[0]
        assert (again.id, again.retry) == (job.id, 1)
        journal.append(ended | {"retry": 1})
    past = resume.examine(begun)
    assert job.id not in {other.id for other in past.left}
    session.resume(begun)
    tried = [found for found in jobs(begun) if found["job"] == job.id]
    assert [found["reason"] for found in tried] == ["worker_killed"] * 2


def test_a_hot_machine_is_not_taken_for_a_cool_one(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was interrupted has warmed it: jobs wait for the temperature before the first."""
    seen = []

    def arrange(plan: Plan, facts: dict[str, Any]) -> Arranger:
        seen.append(facts)
        return Arranger(plan, facts)

    first = resume.examine(begun).before["facts"]
    now = environment.observe() | {"temperature_c": 88.0}
    monkeypatch.setattr(environment, "observe", lambda: now)
    monkeypatch.setattr(session, "Arranger", arrange)
    session.resume(begun, stop_after(1))
    assert seen == [first]


def test_a_time_budget_asks_everybody_the_same_items(tmp_path: Path) -> None:
    """What the first exam decided holds for those behind the interruption."""
    plan = planned(tmp_path, budget_s=3.0, suites=("accuracy",))
    result = session.run(plan, tmp_path / "results", stop_after(1))
    past = resume.examine(result.folder)
    assert past.items
    session.resume(result.folder)
    asked: dict[str, dict[str, int]] = {}
    for record in records.read(result.folder / "records.jsonl").records:
        if record.get("kind") == "item":
            cases = asked.setdefault(record["model"], {})
            cases[record["case"]] = cases.get(record["case"], 0) + 1
    assert asked["ref.f.fake"] == asked["slow.f.fake"] == dict(past.items)


def test_only_the_last_start_of_a_job_counts() -> None:
    first = [{"type": "sample", "job": "a"}, {"type": "job", "job": "a"}]
    other = [{"type": "run"}, {"type": "job", "job": "b"}, {"type": "event", "kind": "x"}]
    again = [{"type": "sample", "job": "a", "retry": 2}, {"type": "job", "job": "a", "retry": 2}]
    assert records.current([*first, *other]) == [*first, *other]
    assert records.current([*again, *first, *other]) == [*again, *other]
    assert records.current([]) == []


def test_the_parents_own_part_file_ends_where_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.marks"
    assert read_own(path) == []
    lines = [encode_line({"type": "sample", "index": index}) for index in range(3)]
    path.write_bytes(lines[0] + b"\0" * 40 + b"\n" + lines[2])
    assert [record["index"] for record in read_own(path)] == [0]
    path.write_bytes(b"".join(lines)[:-1])
    assert [record["index"] for record in read_own(path)] == [0, 1]


# --- killed at random -----------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_nothing_acknowledged_is_lost(tmp_path: Path, whole: session.RunResult) -> None:
    """A few of `python -m tests.fuzz.run_kills`."""
    wanted = settled(json.loads(whole.scorecard.read_bytes()))
    harness, worker = tmp_path / "harness", tmp_path / "worker"
    for folder in (harness, worker):
        folder.mkdir()
    assert kills.kill_harness(harness, [3.5, 2.0], wanted).faults == ()  # and the resumed one too
    assert kills.kill_worker(worker, 0.7, wanted).faults == ()
