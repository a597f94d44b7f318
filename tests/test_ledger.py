"""The attempt ledger: nothing that was started is uncounted, nothing in it can be changed."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness import counting, ledger, privacy, session
from harness.durable import write_whole
from harness.errors import HarnessError, PrerequisiteError, RecordError, SchemaError, SpecError
from harness.ledger import NAME, Ledger, Started
from harness.plan import Plan
from harness.prepare import prepare
from harness.records import JournalWriter, encode_line, read, strict_json
from harness.runs import alone
from tests.conftest import tree
from tests.test_cli import fill


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan of four jobs on fake models."""
    folder = tmp_path_factory.mktemp("planned")
    fill(folder)
    return prepare(
        profile=str(folder / "fast.yaml"),
        catalogue_path=folder / "models.yaml",
        suites=["latency"],
    )


@pytest.fixture(scope="module")
def measured(planned: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with two runs of it."""
    results = tmp_path_factory.mktemp("measured") / "results"
    for _ in range(2):
        session.run(planned, results)
    return results


@pytest.fixture
def results(measured: Path, tmp_path: Path) -> Path:
    """A copy."""
    return shutil.copytree(measured, tmp_path / "results")


def begin(results: Path, plan: Plan, run: str, **more: Any) -> dict[str, Any]:
    """Start a run that never measures anything: its line is in the ledger, its folder is not."""
    with alone(results):
        return counting.begin(counting.examine(results), plan, run=run, **more)


def announce(results: Path, plan: Plan, of: int, nonce: str = "") -> int:
    return session.announce(plan, results, of, nonce=nonce)


def runs_of(results: Path) -> list[str]:
    return [run.run for run in ledger.load(results / NAME).runs]


def folders(results: Path) -> list[Path]:
    return sorted(path for path in results.iterdir() if path.is_dir())


def attempt_of(folder: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((folder / "scorecard.json").read_text("utf-8"))
    found: dict[str, Any] = card["attempt"]
    return found


def test_every_run_names_its_line(results: Path) -> None:
    lines = ledger.load(results / NAME).runs
    first, second = map(attempt_of, folders(results))
    assert [first["ledger"], second["ledger"]] == [line.sha256 for line in lines]
    assert (first["number"], first["of"], first["announced"], first["earlier"]) == (1, 1, False, [])
    assert (second["number"], second["of"]) == (2, 2)
    (earlier,) = second["earlier"]
    assert earlier == {
        "run": lines[0].run,
        "started_utc": lines[0].started_utc,
        "announced": False,
        "gone": False,
    }


def test_a_run_is_counted_before_it_measures(planned: Plan, tmp_path: Path) -> None:
    """Whoever kills it at the first job cannot make it undone."""
    results = tmp_path / "results"
    seen: list[list[str]] = []

    def look(*_: object) -> None:
        seen.append(runs_of(results))
        raise KeyboardInterrupt

    found = session.run(planned, results, look)
    assert seen == [[found.folder.name]]
    assert found.status == "interrupted"
    shutil.rmtree(found.folder)
    again = session.run(planned, results)
    assert (again.card["attempt"]["number"], again.card["attempt"]["of"]) == (2, 2)


def test_a_deleted_run_stays_counted_and_is_gone(results: Path, planned: Plan) -> None:
    shutil.rmtree(folders(results)[0])
    found = session.run(planned, results)
    attempt = found.card["attempt"]
    assert (attempt["number"], attempt["of"]) == (3, 3)
    assert [run["gone"] for run in attempt["earlier"]] == [True, False]


def test_another_plan_is_counted_apart(results: Path, planned: Plan, tmp_path: Path) -> None:
    fill(tmp_path)
    other = prepare(
        profile=str(tmp_path / "fast.yaml"),
        catalogue_path=tmp_path / "models.yaml",
        suites=["memory"],
    )
    assert begin(results, other, "x")["number"] == 1
    assert begin(results, planned, "y")["number"] == 3


def test_runs_without_a_ledger_are_taken_up(results: Path, planned: Plan) -> None:
    """Made by an older harness, or the ledger was deleted: either way they are counted."""
    (results / NAME).unlink()
    attempt = begin(results, planned, "x")
    assert (attempt["number"], attempt["of"]) == (3, 3)
    first, second, _ = ledger.load(results / NAME).runs
    assert [first.found, second.found] == ["lost", "lost"]  # they name a line of another ledger
    assert (first.plan, first.models) == (planned.hash, second.models)


def test_runs_of_an_older_harness_are_marked_as_such(results: Path, planned: Plan) -> None:
    (results / NAME).unlink()
    for folder in folders(results):
        path = folder / "records.jsonl"
        first, *others = read(path).records
        path.unlink()
        with contextlib.closing(JournalWriter(path)) as journal:
            attempt = {"number": 1, "of": 1, "earlier": []}
            journal.append({**first, "attempt": attempt}, *others)
    begin(results, planned, "x")
    assert [run.found for run in ledger.load(results / NAME).runs] == ["unlisted", "unlisted", ""]


def test_a_ledger_cut_short_takes_its_runs_up_again(results: Path, planned: Plan) -> None:
    """Whole lines can be cut off without breaking the chain; the folders tell."""
    path = results / NAME
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    attempt = begin(results, planned, "x")
    assert attempt["number"] == 3
    assert [run.found for run in ledger.load(path).runs] == ["", "lost", ""]


def test_a_ledger_written_anew_is_refused(results: Path, planned: Plan) -> None:
    """A line left out, all sums right: kept runs name the lines they were started by."""
    path = results / NAME
    head, _, _, second, _ = (
        strict_json(line[9:].decode()) for line in path.read_bytes().splitlines()
    )
    path.unlink()
    with contextlib.closing(JournalWriter(path)) as journal:
        journal.append(
            *(
                {k: v for k, v in line.items() if k not in {"seq", "prev"}}
                for line in (head, second)
            )
        )
    before = tree(results)
    with pytest.raises(RecordError) as caught:
        session.run(planned, results)
    assert (caught.value.reason, caught.value.exit_code) == ("ledger_differs", 4)
    assert second["run"] in str(caught.value)
    assert "--out" in caught.value.hint
    assert tree(results) == before


@pytest.mark.parametrize("line", [1, 2, 4])
def test_every_changed_line_is_found_and_nothing_is_touched(
    results: Path, planned: Plan, line: int
) -> None:
    path = results / NAME
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b'"0.1.0"', b'"0.1.1"')
    path.write_bytes(b"".join(lines))
    before = tree(results)
    for attempted in (
        lambda: session.run(planned, results),
        lambda: announce(results, planned, 3),
        lambda: counting.examine(results),
    ):
        with pytest.raises(RecordError) as caught:
            attempted()
        assert caught.value.reason == "ledger_damaged"
        assert caught.value.where == f"{path}:{line}"
    assert tree(results) == before


def test_every_structural_edit_is_found(results: Path) -> None:
    path = results / NAME
    first, second, third, *_ = path.read_bytes().splitlines(keepends=True)
    for lines in (
        (second, third),
        (first, third),
        (first, third, second),
        (first, second, second, third),
    ):
        path.write_bytes(b"".join(lines))
        with pytest.raises(RecordError) as caught:
            counting.examine(results)
        assert caught.value.reason == "ledger_damaged"


def test_every_truncation_of_the_last_line_is_a_torn_one(results: Path, planned: Plan) -> None:
    path = results / NAME
    shutil.rmtree(folders(results)[1])
    whole = b"".join(path.read_bytes().splitlines(keepends=True)[:-1])  # to where the last began
    start = whole.rstrip(b"\n").rindex(b"\n") + 1
    for end in range(start + 1, len(whole)):
        path.write_bytes(whole[:end])
        found = ledger.load(path)
        assert found.torn
        assert len(found.runs) == 1
    assert begin(results, planned, "x")["number"] == 2
    assert not ledger.load(path).torn


def test_a_first_line_whose_batch_was_torn_is_not_doubled(tmp_path: Path, planned: Plan) -> None:
    """The first line and a run's are one append: a power cut may keep only the former."""
    begin(tmp_path, planned, "x")
    path = tmp_path / NAME
    for end in range(1, len(path.read_bytes())):
        cut = path.read_bytes()[:end]
        (tmp_path / "cut").mkdir()
        (tmp_path / "cut" / NAME).write_bytes(cut)
        assert begin(tmp_path / "cut", planned, "y")["number"] == 1
        assert runs_of(tmp_path / "cut") == ["y"]
        shutil.rmtree(tmp_path / "cut")


def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    with contextlib.closing(JournalWriter(tmp_path / NAME)) as journal:
        journal.append({"type": "ledger", "schema": ledger.SCHEMA + 1})
    with pytest.raises(SchemaError) as caught:
        counting.examine(tmp_path)
    assert caught.value.reason == "schema_too_new"
    assert "newer" in caught.value.hint


@pytest.mark.parametrize(
    "lines",
    [
        ({"type": "attempt"},),
        ({"type": "ledger", "schema": 1}, {"type": "attempt", "run": 5}),
        ({"type": "ledger", "schema": 1}, {"type": "announcement", "plan": "", "nonce": ""}),
        ({"type": "ledger", "schema": 1}, {"type": "ledger", "schema": 1}),
    ],
)
def test_lines_of_another_form_are_refused(tmp_path: Path, lines: tuple[dict[str, Any]]) -> None:
    with contextlib.closing(JournalWriter(tmp_path / NAME)) as journal:
        journal.append(*lines)
    with pytest.raises(RecordError) as caught:
        counting.examine(tmp_path)
    assert caught.value.reason == "ledger_damaged"


def test_a_ledger_that_is_a_folder_is_refused(tmp_path: Path, planned: Plan) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(RecordError) as caught:
        session.run(planned, tmp_path)
    assert caught.value.reason == "ledger_unreadable"
    assert folders(tmp_path) == [tmp_path / NAME]


def test_a_line_of_a_later_version_is_passed_over(tmp_path: Path, planned: Plan) -> None:
    with contextlib.closing(JournalWriter(tmp_path / NAME)) as journal:
        journal.append({"type": "ledger", "schema": 1}, {"type": "remark", "text": "…"})
    assert begin(tmp_path, planned, "x")["number"] == 1


def test_announced_runs_are_numbered_within_their_series(tmp_path: Path, planned: Plan) -> None:
    begin(tmp_path, planned, "practice")
    assert announce(tmp_path, planned, 3) == 3
    first = begin(tmp_path, planned, "a", announced=True)
    other = begin(tmp_path, planned, "b")
    second = begin(tmp_path, planned, "c", announced=True)
    facts = [(at["number"], at["of"], at["announced"]) for at in (first, other, second)]
    assert facts == [(1, 3, True), (3, 3, False), (2, 3, True)]
    assert [run["run"] for run in second["earlier"]] == ["practice", "a", "b"]
    assert [run["announced"] for run in second["earlier"]] == [False, True, False]
    assert announce(tmp_path, planned, 3) == 1  # goes on, and announces nothing


def test_what_is_announced_cannot_be_announced_otherwise(tmp_path: Path, planned: Plan) -> None:
    announce(tmp_path, planned, 2)
    before = tree(tmp_path)
    for of in (1, 3):
        with pytest.raises(SpecError) as caught:
            announce(tmp_path, planned, of)
        assert caught.value.reason == "announced_already"
        assert "--attempts 2" in caught.value.allowed
        assert caught.value.hint == "harness ledger list"
    assert tree(tmp_path) == before
    for run in "ab":
        begin(tmp_path, planned, run, announced=True)
    assert announce(tmp_path, planned, 2) == 0  # made: nothing is begun a second time
    with pytest.raises(PrerequisiteError) as late:
        begin(tmp_path, planned, "c", announced=True)
    assert late.value.reason == "series_complete"


def test_a_run_that_cannot_be_counted_is_not_begun(tmp_path: Path, planned: Plan) -> None:
    """Its folder goes again; here because the series was completed by somebody else."""
    with pytest.raises(PrerequisiteError) as caught:
        session.run(planned, tmp_path, announced=True)
    assert caught.value.reason == "series_complete"
    assert folders(tmp_path) == []


def test_each_nonce_has_a_series_of_its_own(tmp_path: Path, planned: Plan) -> None:
    """An evaluator who gives out another word asks for other runs."""
    announce(tmp_path, planned, 1)
    begin(tmp_path, planned, "a", announced=True)
    assert announce(tmp_path, planned, 2, nonce="round-2") == 2
    with pytest.raises(PrerequisiteError):
        begin(tmp_path, planned, "b", announced=True)
    assert begin(tmp_path, planned, "c", nonce="round-2", announced=True)["of"] == 2
    assert len(ledger.load(tmp_path / NAME).series) == 2


def test_a_plan_that_cannot_be_run_is_not_announced(tmp_path: Path, planned: Plan) -> None:
    import dataclasses

    with pytest.raises(PrerequisiteError) as caught:
        announce(tmp_path, dataclasses.replace(planned, jobs=()), 3)
    assert caught.value.reason == "nothing_to_measure"
    assert list(tmp_path.iterdir()) == []


def test_a_stranger_cannot_claim_more_runs_than_were_announced() -> None:
    """An edited ledger with all sums right still gives no series more runs than it has."""
    lines = [line(announced=True, run="z"), announcement(of=1)]
    lines += [line(announced=True, run=name) for name in "ab"]
    found = Ledger(lines=tuple(lines))
    (series,) = found.series
    assert [run.run for run in series.runs] == ["a"]
    assert [found.place(run).announced for run in found.runs] == [False, True, False]
    twice = Ledger(lines=(*lines, announcement(of=9)))
    assert [one.announced.of for one in twice.series] == [1]


def line(*, announced: bool, run: str) -> Started:
    return Started(
        run=run,
        plan="p",
        profile="",
        nonce="",
        models=(),
        started_utc="",
        announced=announced,
        found="",
        sha256=run,
    )


def announcement(*, of: int) -> ledger.Announced:
    return ledger.Announced(plan="p", nonce="", of=of, announced_utc="", sha256=str(of))


def test_a_resumed_run_is_the_same_attempt(planned: Plan, tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    begun = session.run(planned, tmp_path, stop)
    ended = session.resume(begun.folder)
    assert runs_of(tmp_path) == [ended.folder.name]
    assert ended.card["attempt"] == begun.card["attempt"]


def test_a_ledger_tells_nothing_of_the_machine(tmp_path: Path) -> None:
    """Names of models and profiles may hold anybody's name: digests only."""
    fill(tmp_path)
    secret = "kim-chulsoo"
    (tmp_path / f"{secret}.fake.json").write_text("{}", "utf-8")
    text = (tmp_path / "fast.yaml").read_text("utf-8")
    (tmp_path / "mine.yaml").write_text(text.replace("id: fast", f"id: {secret}"), "utf-8")
    plan = prepare(
        profile=str(tmp_path / "mine.yaml"),
        catalogue_path=tmp_path / "models.yaml",
        models=[str(tmp_path / f"{secret}.fake.json")],
        suites=["latency"],
    )
    announce(tmp_path, plan, 2, nonce=f"for {secret}")
    begin(tmp_path, plan, "a", nonce=f"for {secret}", announced=True)
    data = (tmp_path / NAME).read_bytes()
    assert b"chulsoo" not in data
    assert list(privacy.leaks(data, [*privacy.secrets(), privacy.Private("x", secret)])) == []


def test_a_renamed_model_has_the_same_digest() -> None:
    assert ledger.models_digest({"a.gguf": "12"}) == ledger.models_digest({"b.gguf": "12"})
    assert ledger.models_digest({"a.gguf": "12"}) != ledger.models_digest({"a.gguf": "13"})


def test_a_damaged_run_folder_stops_nobody(results: Path, planned: Plan) -> None:
    """It is no run that the ledger could take up; what it says is not believed."""
    (results / NAME).unlink()
    first, second = folders(results)
    odd = {"type": "run", "schema": 1, "run": first.name, "models": 5, "attempt": [], "profile": {}}
    write_whole(first / "records.jsonl", encode_line(odd))
    write_whole(second / "records.jsonl", b"\x00\x01 no record\n")
    with contextlib.suppress(HarnessError):
        begin(results, planned, "x")
    assert runs_of(results) == [first.name, "x"]
