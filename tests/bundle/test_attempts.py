"""The ledger in a bundle: which run it is, and how many came later."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from harness import runs, score, session
from harness.bundle import attempts
from harness.bundle import create as making
from harness.bundle import verify as checking
from harness.bundle.verify import Verdict
from harness.errors import RecordError
from harness.kit import manifest
from harness.kit.manifest import MANIFEST
from harness.plan import Plan
from harness.prepare import prepare
from harness.records import JournalWriter, decode_line, read, run_record, strict_json
from tests.bundle.conftest import small_run
from tests.test_cli import fill

Change = Callable[[list[dict[str, Any]]], object]


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder: a practice run, two announced ones, and one of another plan."""
    folder = tmp_path_factory.mktemp("counted")
    fill(folder)
    results = folder / "results"
    plan = plan_in(folder)
    session.run(plan, results)
    session.announce(plan, results, 2, nonce="round-2")
    for _ in range(2):
        session.run(plan, results, nonce="round-2", announced=True)
    session.run(plan_in(folder, models=["slow.f.fake"], suites=["latency"]), results)
    return results


def plan_in(folder: Path, **more: Any) -> Plan:
    catalogue = folder / "models.yaml"
    return prepare(profile=str(folder / "fast.yaml"), catalogue_path=catalogue, **more)


@pytest.fixture
def results(counted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(counted, tmp_path / "results")


def folders(results: Path) -> list[Path]:
    return sorted(path for path in results.iterdir() if path.is_dir())


def run_of(folder: Path) -> dict[str, Any]:
    return dict(run_record(read(folder / "records.jsonl").records))


def rewritten(results: Path, change: Change) -> bytes:
    """The ledger with all its sums right, after somebody has changed its lines."""
    lines = [decode_line(line) for line in (results / attempts.NAME).read_bytes().splitlines()]
    plain = [{k: v for k, v in line.items() if k not in {"seq", "prev"}} for line in lines]
    change(plain)
    path = results / "changed.jsonl"
    path.unlink(missing_ok=True)
    with contextlib.closing(JournalWriter(path)) as journal:
        journal.append(*plain)
    return path.read_bytes()


def test_what_came_later_is_counted(results: Path) -> None:
    practice, first, second, other = map(run_of, folders(results))
    data = (results / attempts.NAME).read_bytes()
    assert attempts.check(data, practice) == attempts.Attempts(later=2, elsewhere=1)
    assert attempts.check(data, first).later == 1
    assert attempts.check(data, second).later == 0
    assert attempts.check(data, other) == attempts.Attempts(later=0, elsewhere=3)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines.pop(1),
        lambda lines: lines.pop(2),
        lambda lines: lines[3].update(of=1),
        lambda lines: lines[1].update(run="20260101T000000Z-000000"),
        lambda lines: lines[4].update(models=[]),
        lambda lines: lines.insert(1, lines[1]),
    ],
)
def test_whatever_is_changed_before_a_run_is_found(results: Path, change: Change) -> None:
    """Its line holds the hash of the line before, and so on back to the first."""
    first = run_of(folders(results)[1])
    with pytest.raises(ValueError, match="not the line that the run was started by"):
        attempts.check(rewritten(results, change), first)


def test_a_line_left_out_after_a_run_is_not_found(results: Path) -> None:
    """What it does not prove: the end can be cut off (docs/ledger.md)."""
    first = run_of(folders(results)[1])
    assert attempts.check(rewritten(results, lambda lines: lines.pop()), first).later == 1
    cut = rewritten(results, lambda lines: lines.__delitem__(slice(5, None)))
    assert attempts.check(cut, first).later == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("number", 2), ("of", 3), ("announced", False), ("earlier", []), ("ledger", "00" * 32)],
)
def test_a_run_that_says_otherwise_is_found(results: Path, name: str, value: object) -> None:
    run = run_of(folders(results)[1])
    run["attempt"] = {**run["attempt"], name: value}
    with pytest.raises(ValueError, match=name if name != "ledger" else "not the line"):
        attempts.check((results / attempts.NAME).read_bytes(), run)


@pytest.mark.parametrize(
    ("name", "value"),
    [("nonce", "round-3"), ("plan", "00"), ("run", "x"), ("profile", {"reference": ""})],
)
def test_a_line_of_another_run_is_found(results: Path, name: str, value: object) -> None:
    run = {**run_of(folders(results)[1]), name: value}
    with pytest.raises(ValueError, match=name):
        attempts.check((results / attempts.NAME).read_bytes(), run)


def test_records_that_were_cut_off_are_found(results: Path, tmp_path: Path) -> None:
    """Whole lines off the end break no chain: the ledger has noted how many there were."""
    folder = folders(results)[1]
    kept = (folder / "records.jsonl").read_bytes()
    cut = b"".join(kept.splitlines(keepends=True)[:-1])

    def forge(ledger: Path) -> None:
        records = ledger.with_name("records.jsonl")
        records.write_bytes(cut)
        ledger.with_name("scorecard.json").write_bytes(score.dump(runs.scored(records)[1]))

    found = bundle_of(folder, tmp_path / "bundle", forge)
    assert (found.state, found.reason) == ("broken", "records_cut")
    (folder / "records.jsonl").write_bytes(cut)
    with pytest.raises(RecordError) as caught:
        making.create(folder, tmp_path / "another")
    assert caught.value.reason == "records_cut"


def bundle_of(folder: Path, target: Path, change: Callable[[Path], object] = bool) -> Verdict:
    """A bundle that is changed, and given a manifest that fits, as its verifier sees it."""
    made = making.create(folder, target).path
    change(made / attempts.NAME)
    about = strict_json((made / MANIFEST).read_text("utf-8"))["about"]
    (made / MANIFEST).unlink()
    manifest.write(made, about)
    return checking.verify(made, {}, today=date(2026, 11, 27))


def test_a_bundle_tells_which_run_it_is(results: Path, tmp_path: Path) -> None:
    found = bundle_of(folders(results)[1], tmp_path / "bundle")
    assert (found.state, found.reason) == ("unverified", "not_signed")
    assert found.attempts == attempts.Attempts(later=1, elsewhere=1)
    said = (
        "  attempt  run 1 of 2 announced; 1 of its plan before it (0 without records), 1 later; "
        "1 of other plans with its models"
    )
    assert said in checking.text(found).splitlines()
    assert checking.to_json(found)["attempts"] == {"later": 1, "elsewhere": 1}


def test_a_bundle_whose_ledger_is_not_the_runs_is_broken(results: Path, tmp_path: Path) -> None:
    anew = rewritten(results, lambda lines: lines.pop(1))
    damaged = (results / attempts.NAME).read_bytes().replace(b'"of":2', b'"of":1')
    wanted = {
        "gone": (Path.unlink, "part_missing"),
        "anew": (lambda path: path.write_bytes(anew), "ledger_differs"),
        "damaged": (lambda path: path.write_bytes(damaged), "ledger_damaged"),
        "torn": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "ledger_differs"),
        "empty": (lambda path: path.write_bytes(b""), "ledger_differs"),
    }
    for name, (change, reason) in wanted.items():
        found = bundle_of(folders(results)[1], tmp_path / name, change)
        assert (found.state, found.reason, found.path) == ("broken", reason, attempts.NAME)


def test_a_ledger_that_no_run_names_is_no_evidence(tmp_path: Path) -> None:
    """Of a run that was counted in none."""
    folder = tmp_path / "run"
    folder.mkdir()
    with contextlib.closing(JournalWriter(folder / "records.jsonl")) as journal:
        journal.append(*small_run())
    found = bundle_of(folder, tmp_path / "bundle", lambda path: path.write_bytes(b""))
    assert (found.state, found.reason) == ("broken", "ledger_differs")
    assert found.detail == "the run names no line of it"


def test_an_unfinished_line_stays_behind(results: Path) -> None:
    path = results / attempts.NAME
    whole = path.read_bytes()
    path.write_bytes(whole + b'1234abcd {"type"')
    folder = folders(results)[1]
    assert attempts.beside(folder, run_of(folder)) == whole
    with pytest.raises(ValueError, match="unfinished"):
        attempts.check(path.read_bytes(), run_of(folder))


def test_no_bundle_without_its_ledger(results: Path, tmp_path: Path) -> None:
    folder = folders(results)[1]
    kept = (results / attempts.NAME).read_bytes()
    for left, reason in (
        (kept[1:], "ledger_damaged"),
        (kept[:200], "ledger_differs"),
        (None, "ledger_missing"),
    ):
        if left is None:
            (results / attempts.NAME).unlink()
        else:
            (results / attempts.NAME).write_bytes(left)
        with pytest.raises(RecordError) as caught:
            making.create(folder, tmp_path / "bundle")
        assert caught.value.reason == reason
        assert not (tmp_path / "bundle").exists()
