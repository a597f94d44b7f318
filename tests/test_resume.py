"""Runs that end early and go on: nothing is measured twice, and nothing lost."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import harness
from harness import environment, ledger, planfile, records, resume, runs, seeds, session
from harness.errors import HarnessError
from harness.execute import skipped
from harness.parts import read_own
from harness.plan import Plan
from harness.prepare import prepare
from harness.records import JournalWriter, PartWriter, encode_line
from harness.schedule import Arranger
from harness.spec import canonical
from tests.conftest import Harness, tree
from tests.fuzz import run_kills as kills
from tests.fuzz.run_kills import settled


def prepared(folder: Path, **options: Any) -> Plan:
    return prepare(
        profile=str(folder / "kills.yaml"), catalogue_path=folder / "models.yaml", **options
    )


def planned(folder: Path, **options: Any) -> Plan:
    kills.fill(folder)
    return prepared(folder, **options)


SHORT: dict[str, Any] = {"suites": ("latency",), "models": ("ref.f.fake",)}
"""What to plan where it does not matter what a run measures, and …"""
WORDS = ("run", "--profile", "kills.yaml", "--suite", "latency", "--model", "ref.f.fake")
"""… the command of the same plan."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> session.RunResult:
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    return session.run(planned(folder), folder / "results")


def stop_after(count: int) -> session.Progress:
    """Ctrl-C as the job of this number ends."""
    ended = []

    def progress(outcome, left, left_s):
        ended.append(outcome)
        if len(ended) == count:
            raise KeyboardInterrupt

    return progress


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped behind its third job."""
    folder = tmp_path_factory.mktemp("stopped")
    result = session.run(planned(folder), folder / "results", stop_after(3))
    assert (result.status, result.exit_code) == ("interrupted", 130)
    return result.folder


@pytest.fixture
def begun(stopped: Path, tmp_path: Path) -> Path:
    """A copy of it, results folder and all."""
    return Path(shutil.copytree(stopped.parent, tmp_path / "results")) / stopped.name


def jobs(folder: Path) -> list[dict[str, Any]]:
    return [r for r in records.read(folder / "records.jsonl").records if r["type"] == "job"]


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


def edit_plan(folder: Path, patch: pytest.MonkeyPatch) -> None:
    path = folder / planfile.NAME
    path.write_bytes(path.read_bytes().replace(b'"requests":20', b'"requests":21'))


def lose_plan(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / planfile.NAME).unlink()


def lose_records(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "records.jsonl").unlink()


def edit_records(folder: Path, patch: pytest.MonkeyPatch) -> None:
    path = folder / "records.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"ok"', b'"no"', 1))


def cut_records(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Whole lines off its end, so that its last job would be measured once more."""
    path = folder / "records.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:-40], b""]))


def damage_ledger(folder: Path, patch: pytest.MonkeyPatch) -> None:
    path = folder.parent / ledger.NAME
    path.write_bytes(path.read_bytes().replace(b'"announced":false', b'"announced":true '))


def move_away(folder: Path, patch: pytest.MonkeyPatch) -> None:
    facts = environment.observe() | {"cpu": "another processor"}
    patch.setattr(environment, "observe", lambda: facts)


def update(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(resume, "builds", lambda plan: {"harness": "99", "numpy": "1"})


def begin_earlier(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """As the version before left it."""
    kept = records.read(folder / "records.jsonl").records
    del kept[0]["plan_sha256"]
    (folder / "records.jsonl").unlink()
    writer = JournalWriter(folder / "records.jsonl")
    writer.append(*kept)
    writer.close()


REFUSED: dict[Callable[[Path, pytest.MonkeyPatch], None], tuple[str, int]] = {
    edit_plan: ("plan_changed", 4),
    lose_plan: ("part_missing", 4),
    lose_records: ("records_missing", 4),
    edit_records: ("records_damaged", 4),
    cut_records: ("records_cut", 4),
    damage_ledger: ("ledger_damaged", 4),
    begin_earlier: ("schema_older", 5),
    move_away: ("other_machine", 5),
    update: ("other_build", 5),
}


@pytest.mark.parametrize("change", REFUSED)
def test_it_goes_on_only_where_and_with_what_it_was_begun(
    begun: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[..., None]
) -> None:
    change(begun, monkeypatch)
    before = tree(begun.parent)
    with pytest.raises(HarnessError) as caught:
        session.resume(begun)
    assert (caught.value.reason, caught.value.exit_code) == REFUSED[change]
    assert caught.value.hint
    assert tree(begun.parent) == before


def test_an_older_copy_of_the_folder_is_not_gone_on_with(begun: Path, tmp_path: Path) -> None:
    """Whoever keeps a copy and goes on until he likes the rest has gone on already."""
    copy = Path(shutil.copytree(begun, tmp_path / "copy"))
    assert session.resume(begun, stop_after(1)).status == "interrupted"
    shutil.rmtree(begun)
    shutil.copytree(copy, begun)
    with pytest.raises(HarnessError) as caught:
        session.resume(begun)
    assert caught.value.reason == "records_cut"


def test_a_killed_resumption_leaves_its_trace_in_the_ledger(begun: Path) -> None:
    noted = ledger.load(begun.parent / ledger.NAME).ends[begun.name]

    def die(*_: object) -> None:
        os._exit(9)

    if not (pid := os.fork()):
        session.resume(begun, die)
    os.waitpid(pid, 0)
    lines, _ = ledger.load(begun.parent / ledger.NAME).ends[begun.name]
    assert lines == noted[0] + 1  # that it was resumed
    assert records.read(begun / "records.jsonl").records[lines - 1]["kind"] == "resumed"
    assert session.resume(begun).status == "done"


def test_model_files_have_to_be_the_same(tmp_path: Path) -> None:
    plan = planned(tmp_path, suites=("latency",))
    result = session.run(plan, tmp_path / "results", stop_after(1))
    model = tmp_path / "slow.fake.json"
    sound = model.read_bytes()
    for change, reason in ((lambda: model.write_bytes(b"{}"), "hash_mismatch"),
                           (model.unlink, "model_missing")):  # fmt: skip
        change()
        with pytest.raises(HarnessError) as caught:
            session.resume(result.folder)
        assert caught.value.reason == reason
        assert str(model) in str(caught.value)
    model.write_bytes(sound)
    assert session.resume(result.folder).status == "done"


def test_a_secret_seed_has_to_be_given_again(tmp_path: Path) -> None:
    secret, other = tmp_path / "seed", tmp_path / "other"
    value = seeds.draw(secret)
    seeds.draw(other)
    plan = planned(tmp_path, seed=value, suites=("accuracy",))
    seed = seeds.Seed(value=value)
    result = session.run(plan, tmp_path / "results", stop_after(1), seed=seed)
    assert value.hex().encode() not in b"".join(
        path.read_bytes() for path in result.folder.iterdir() if path.is_file()
    )
    for file, reason in ((None, "seed_missing"), (other, "seed_mismatch")):
        with pytest.raises(HarnessError) as caught:
            session.resume(result.folder, seed_file=file)
        assert caught.value.reason == reason
    assert session.resume(result.folder, seed_file=secret).status == "done"


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


# --- the command ----------------------------------------------------------------------


def test_the_command_goes_on(begun: Path, run_harness: Harness) -> None:
    left = run_harness("run", "--resume", "latest", "--dry-run")
    assert "jobs are on record" in left.stderr
    assert len(left.stdout.splitlines()) >= 2
    done = run_harness("run", "--resume", begun.name, "--json")
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "done"
    assert (begun / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--resume", "latest", "--profile", "quick"], "without --profile"),
        (["--resume", "latest", "--model", "x.gguf"], "without --model"),
        (["--retry-failed"], "needs --resume"),
    ],
)
def test_nothing_else_can_be_asked_of_it(
    begun: Path, run_harness: Harness, words: list[str], said: str
) -> None:
    assert said in run_harness("run", *words, check=2).stderr


def test_no_run_to_go_on_with(tmp_path: Path, run_harness: Harness) -> None:
    (tmp_path / "results" / "20260101T000000Z-abcdef").mkdir(parents=True)
    (tmp_path / "results" / "20260101T000000Z-abcdef" / "records.jsonl").write_bytes(b"1234")
    done = run_harness("run", "--resume", "latest", check=2)
    assert "no run with records here" in done.stderr


def test_a_plain_run_names_the_one_that_was_interrupted(tmp_path: Path, run_harness) -> None:
    first = session.run(planned(tmp_path, **SHORT), tmp_path / "results", stop_after(1))
    done = run_harness(*WORDS)
    assert f"next: harness run --resume results/{first.folder.name}" in done.stderr
    # The new one is finished, so that there is nothing to go on with any more.
    assert resume.unfinished(tmp_path / "results", resume.examine(first.folder).plan) is None


def test_one_that_is_being_measured_is_not_called_interrupted(begun: Path, run_harness) -> None:
    kills.fill(begun.parent.parent)
    before = tree(begun)
    with runs.alone(begun.parent):
        done = run_harness("run", "--profile", "kills.yaml", check=3)
    assert "another harness is measuring into this folder" in done.stderr
    assert "interrupted" not in done.stderr
    assert tree(begun) == before


def test_an_announced_run_is_found_behind_others(tmp_path: Path) -> None:
    """Somebody practised after the announced run was interrupted."""
    plan, results = planned(tmp_path), tmp_path / "results"
    session.announce(plan, results, 2)
    first = session.run(plan, results, stop_after(3), announced=True)
    other = session.run(plan, results, stop_after(3))
    assert resume.unfinished(results, plan).folder == other.folder
    assert resume.unfinished(results, plan, announced=True).folder == first.folder


def test_what_is_left_can_be_read_by_programs(begun: Path, run_harness: Harness) -> None:
    words = ("run", "--resume", "latest", "--dry-run")
    (line,) = run_harness(*words, "--json").stdout.splitlines()
    found = json.loads(line)
    assert (found["run"], found["ended"]) == (begun.name, 3)
    needed = [text for text in run_harness(*words).stdout.splitlines() if "if needed" not in text]
    assert [job["id"] for job in found["left"]] == [text.split()[0] for text in needed]
    session.resume(begun)
    assert "none is left to be measured" in run_harness(*words).stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo terminals")
def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    first = session.run(planned(tmp_path, **SHORT), tmp_path / "results", stop_after(1))
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(tmp_path)
        os.execv(sys.executable, [sys.executable, "-m", "harness", *WORDS, "--lang", "ko"])
    said = b""
    deadline = time.monotonic() + 120
    answered = False
    while time.monotonic() < deadline:
        try:
            said += os.read(terminal, 65536)
        except OSError:
            break  # the other end is closed
        if not answered and "이어서".encode() in said:
            os.write(terminal, b"\n")
            answered = True
    os.close(terminal)  # whoever still waits for an answer is told that nobody is there
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, said.decode()
    assert answered, said.decode()
    asked, counted = re.findall(r"(\d+)개가 남았습니다", said.decode())
    assert asked == counted, "the question counts as the answer does"
    assert "컴퓨터를 쓰지 마세요" not in said.decode(), "no new run is announced"
    assert [path.parent for path in (tmp_path / "results").glob("*/records.jsonl")] == [
        first.folder
    ]
    assert resume.examine(first.folder).closed


# --- killed at random -----------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_nothing_acknowledged_is_lost(tmp_path: Path, whole: session.RunResult) -> None:
    """A few of `python -m tests.fuzz.run_kills`."""
    wanted = settled(json.loads(whole.scorecard.read_bytes()))
    harness, worker = tmp_path / "harness", tmp_path / "worker"
    for folder in (harness, worker):
        folder.mkdir()
    assert kills.kill_harness(harness, [3.5, 2.0], wanted).faults == ()  # and the resumed one too
    assert kills.kill_worker(worker, (0.5, 0.2), wanted).faults == ()
