"""The official result: the median of what was announced, and no way to better it afterwards."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import official, session
from harness.official import Entry, Standing, median, standings
from harness.plan import Plan
from harness.prepare import prepare
from harness.records import JournalWriter, read
from tests.conftest import Harness, interruptible
from tests.test_cli import fill, last_json

MODELS = ("a", "b", "c")
SCORES = st.none() | st.floats(0, 3000)
ATTEMPTS = st.lists(
    st.none() | st.fixed_dictionaries(dict.fromkeys(MODELS, SCORES)), min_size=1, max_size=7
)
Scores = list[dict[str, float | None] | None]


def entries(scores: dict[str, float | None] | None) -> dict[str, Entry] | None:
    """An attempt whose time to first token falls as its score rises."""
    if scores is None:
        return None
    return {
        model: Entry("real", score, {"ttft_s": None if score is None else 1 / (1 + score)})
        for model, score in scores.items()
    }


def result(scores: Scores) -> dict[str, Standing]:
    return {found.model: found for found in standings([entries(one) for one in scores])}


def worth(figure: official.Figure) -> float:
    return -1.0 if figure.value is None else figure.value


def rank(found: Standing | None) -> float:
    return 99.0 if found is None or found.rank is None else found.rank


@given(ATTEMPTS, st.data())
def test_removing_an_attempt_never_improves_anything(scores: Scores, data: st.DataObject) -> None:
    gone = data.draw(st.integers(0, len(scores) - 1))
    before, after = result(scores), result([*scores[:gone], None, *scores[gone + 1 :]])
    for model, found in after.items():
        assert worth(found.score) <= worth(before[model].score)
        late, was = found.metrics["ttft_s"].value, before[model].metrics["ttft_s"].value
        assert late is None or (was is not None and late >= was)  # smaller is better
        assert rank(found) >= rank(before[model])


@given(ATTEMPTS, st.data())
def test_worsening_an_attempt_never_improves_its_model(scores: Scores, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(scores) - 1))
    model = data.draw(st.sampled_from(MODELS))
    attempt = scores[place]
    if attempt is None or attempt[model] is None:
        return
    worse = data.draw(st.none() | st.floats(0, attempt[model]))
    changed = [*scores[:place], {**attempt, model: worse}, *scores[place + 1 :]]
    before, after = result(scores)[model], result(changed)[model]
    assert worth(after.score) <= worth(before.score)
    assert rank(after) >= rank(before)


@given(ATTEMPTS, st.randoms())
def test_the_order_of_attempts_means_nothing(scores: Scores, random: Any) -> None:
    shuffled = list(scores)
    random.shuffle(shuffled)
    assert result(shuffled) == result(scores)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
def test_the_median_is_one_of_the_values_and_of_two_the_worse(values: list[float]) -> None:
    ordered = sorted(values)
    worse_middle = ordered[(len(ordered) - 1) // 2]
    assert median(values) == worse_middle
    assert median([-value for value in values], higher=False) == -worse_middle
    assert median([*values, None]) == ordered[len(ordered) // 2 - 1] if len(values) > 1 else True


def test_what_is_missing_counts_as_the_worst() -> None:
    assert median([5.0, None, 7.0]) == 5.0
    assert median([5.0, None, None]) is None
    assert median([5.0, None]) is None
    assert median([0.1, None, 0.3], higher=False) == 0.3


def test_ranks_are_given_only_where_the_order_is_certain() -> None:
    """a and b overlap in what they reached; c lies below both in every attempt."""
    found = result(
        [
            {"a": 1100, "b": 1050, "c": 900},
            {"a": 1000, "b": 1020, "c": 910},
            {"a": 1090, "b": 1040, "c": 905},
        ]
    )
    assert [(s.model, s.rank, s.score.value) for s in found.values()] == [
        ("a", 1, 1090),
        ("b", 1, 1040),
        ("c", 3, 905),
    ]
    assert (found["a"].score.lowest, found["a"].score.highest) == (1000, 1100)


def test_reasons_why_nobody_is_ranked() -> None:
    two = result([{"a": 1000, "b": 900, "c": None}] * 2)
    assert [s.reason for s in two.values()] == ["too_few_attempts"] * 2 + ["no_score"]
    lost = result([{"a": 1000, "b": 900, "c": 800}, {"a": 990, "b": None, "c": 800}] * 2)
    assert [(s.model, s.rank, s.reason) for s in lost.values()] == [
        ("a", 1, ""),
        ("c", 2, ""),
        ("b", None, "no_score"),  # of four, the worse of the two middle ones is missing
    ]
    gone = result([{"a": 1000, "b": 900, "c": 800}] * 2 + [None])
    assert {(s.rank, s.reason) for s in gone.values()} == {(None, "attempt_lost")}


def test_lists_are_never_ranked_together() -> None:
    attempt = {"a": Entry("real", 900, {}), "b": Entry("synthetic", 1000, {})}
    assert [(s.list_name, s.rank) for s in standings([attempt] * 3)] == [
        ("real", 1),
        ("synthetic", 1),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three announced runs of two models that differ for certain, and an unannounced one."""
    folder = tmp_path_factory.mktemp("announced")
    fill(folder)
    plan = plan_in(folder)
    results = folder / "results"
    assert session.announce(plan, results, 3) == 3
    session.run(plan, results)
    for _ in range(3):
        session.run(plan, results, announced=True)
    return folder


@pytest.fixture
def results(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path, dirs_exist_ok=True) / "results"


def plan_in(folder: Path, **more: Any) -> Plan:
    catalogue = folder / "models.yaml"
    return prepare(profile=str(folder / "fast.yaml"), catalogue_path=catalogue, **more)


def announced(results: Path) -> list[Path]:
    """Folders of the announced runs, the first announced one first."""
    return sorted(path for path in results.iterdir() if path.is_dir())[1:]


def of(results: Path) -> official.Official:
    return official.official(results, *official.meant(results))


def test_three_announced_runs_make_a_result(results: Path) -> None:
    found = of(results)
    assert [attempt.state for attempt in found.attempts] == ["counted"] * 3
    assert [attempt.run for attempt in found.attempts] == [p.name for p in announced(results)]
    assert found.others == 1  # the practice run
    assert [(s.model, s.rank, s.elsewhere) for s in found.standings] == [
        ("ref.f.fake", 1, 0),
        ("slow.f.fake", 2, 0),
    ]
    cards = [json.loads((p / "scorecard.json").read_text()) for p in announced(results)]
    scores = sorted(e["score"] for c in cards for e in c["entries"] if e["model"] == "slow.f.fake")
    score = found.standings[1].score
    assert [score.lowest, score.value, score.highest] == scores
    assert found.standings[1].metrics["ttft_s"].value == 0.032


def test_a_deleted_attempt_counts_as_the_worst(results: Path) -> None:
    before = of(results)
    shutil.rmtree(announced(results)[1])
    found = of(results)
    assert [attempt.state for attempt in found.attempts] == ["counted", "gone", "counted"]
    for was, now in zip(before.standings, found.standings, strict=True):
        assert worth(now.score) <= worth(was.score)
        assert (now.rank, now.reason) == (None, "attempt_lost")


def test_another_runs_records_are_no_attempt(results: Path) -> None:
    """The best run copied over a worse one, and the practice run in its place."""
    practice = next(iter(sorted(path for path in results.iterdir() if path.is_dir())))
    first, second, third = announced(results)
    shutil.copyfile(first / "records.jsonl", second / "records.jsonl")
    shutil.copyfile(practice / "records.jsonl", third / "records.jsonl")
    assert [attempt.state for attempt in of(results).attempts] == ["counted", "damaged", "damaged"]


def test_edited_records_are_no_attempt(results: Path) -> None:
    path = announced(results)[0] / "records.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"sample"', b'"simple"', 1))
    assert next(attempt.state for attempt in of(results).attempts) == "damaged"


@pytest.mark.parametrize("name", ["profile", "plan", "models", "nonce"])
def test_records_that_are_judged_by_other_rules_are_no_attempt(results: Path, name: str) -> None:
    """Written anew with all sums right: what the ledger has of the run still tells."""
    path = announced(results)[0] / "records.jsonl"
    first, *rest = read(path).records
    model, *others = first["models"]
    changes = {
        "profile": {**first["profile"], "title": "other rules"},
        "plan": "0" * 64,
        "models": [{**model, "sha256": {"other.gguf": "0" * 64}}, *others],
        "nonce": "another",
    }
    path.unlink()
    with contextlib.closing(JournalWriter(path)) as journal:
        journal.append({**first, name: changes[name]}, *rest)
    assert of(results).attempts[0].state == "damaged"


def test_an_edited_scorecard_changes_nothing(results: Path) -> None:
    before = of(results)
    for folder in announced(results):
        card = json.loads((folder / "scorecard.json").read_text("utf-8"))
        for entry in card["entries"]:
            entry["score"] = 9999
        (folder / "scorecard.json").write_text(json.dumps(card), "utf-8")
    assert of(results) == before


def test_a_run_that_was_cut_off_is_no_attempt(results: Path) -> None:
    first, _, last = announced(results)
    keep(first / "records.jsonl", -1)
    assert of(results).attempts[0].state == "damaged"  # the ledger has noted where it ended
    # As a kill leaves it: nobody noted an end.
    keep(results / "ledger.jsonl", -1)
    keep(last / "records.jsonl", -1)  # all jobs, but not the end
    assert of(results).attempts[2].state == "interrupted"
    keep(last / "records.jsonl", len((last / "records.jsonl").read_bytes().splitlines()) // 2)
    assert of(results).attempts[2].state == "interrupted"


def keep(path: Path, lines: int) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))


def test_an_invalid_run_is_no_attempt(results: Path, tmp_path: Path) -> None:
    """A strict profile does not count a run whose machine's speed nobody knows."""
    text = (tmp_path / "fast.yaml").read_text("utf-8")
    strict = text.replace("tier: unverified", "tier: verified\ntolerates_unknown: false")
    (tmp_path / "fast.yaml").write_text(strict, "utf-8")
    plan = plan_in(tmp_path)
    assert plan.hash not in [line.plan for line in official.examine(results).ledger.runs]
    session.announce(plan, results, 1)
    made = session.run(plan, results, announced=True)
    assert made.card["verdict"]["state"] == "invalid"
    found = of(results)
    assert [attempt.state for attempt in found.attempts] == ["invalid"]
    assert found.standings == ()


def test_models_measured_in_other_plans_are_told(results: Path, tmp_path: Path) -> None:
    """Whoever names the same file otherwise, or adds a model, has another plan, and is seen."""
    shutil.copyfile(tmp_path / "slow.fake.json", tmp_path / "best.fake.json")
    plan = plan_in(tmp_path, models=[str(tmp_path / "best.fake.json")])
    session.announce(plan, results, 1)
    session.run(plan, results, announced=True)
    told = {s.model: s.elsewhere for s in of(results).standings}
    assert told == {"ref.f.fake": 4, "best.fake": 4}


def test_the_command_announces_makes_and_shows(tmp_path: Path, run_harness: Harness) -> None:
    fill(tmp_path)
    words = ("run", "--profile", "fast.yaml", "--suite", "latency", "--suite", "memory")
    done = run_harness(*words, "--attempts", 2, "--json")
    found = last_json(done)
    assert "announced run 1 of 2" in done.stderr
    assert "announced run 2 of 2" in done.stderr
    assert found["status"] == "done"
    assert len(found["runs"]) == 2  # type: ignore[arg-type]
    shown = last_json(run_harness("ledger", "official", "--json"))
    assert shown == found["official"]
    assert {model["reason"] for model in shown["models"]} == {"too_few_attempts"}  # type: ignore[attr-defined]
    for run in found["runs"]:  # type: ignore[attr-defined]
        assert (tmp_path / run / "report.html").is_file()
    again = last_json(run_harness(*words, "--attempts", 2, "--json"))
    assert (again["runs"], again["official"]) == ([], shown)
    assert len(list((tmp_path / "results").glob("*/plan.json"))) == 2
    refused = run_harness(*words, "--attempts", 5, check=2)
    assert "2 runs of this plan are announced, 2 of them were started" in refused.stderr
    assert "allowed: --attempts 2" in refused.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="sends Ctrl-C as POSIX does")
def test_an_interrupted_series_goes_on(tmp_path: Path, run_harness: Harness) -> None:
    """Ctrl-C in the first run: it counts as the worst until it is finished."""
    fill(tmp_path)
    words = ["run", "--profile", "fast.yaml", "--attempts", "2"]
    command = [sys.executable, "-m", "harness", *words]
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=interruptible
    ) as child:
        assert child.stderr is not None
        for text in child.stderr:
            if text.startswith("ok"):
                child.send_signal(signal.SIGINT)
                break
        rest = child.stderr.read()
    assert child.returncode == 130
    (run,) = [path.parent.name for path in (tmp_path / "results").glob("*/plan.json")]
    assert f"next: harness run --resume results/{run}, then the same command again" in rest
    unfinished = run_harness("ledger", "official", check=3)
    assert "not yet: 1 of 2 announced runs were started" in unfinished.stderr
    assert "the same `harness run --attempts 2 …` again" in unfinished.stderr
    noted = run_harness("run", "--profile", "fast.yaml", "--dry-run")
    assert "announced" not in noted.stderr
    spoilt = run_harness(*words, check=4)  # no model has a score in both
    assert f"{run}" in spoilt.stdout
    assert "interrupted: counts as the worst" in spoilt.stdout
    assert f"next: harness run --resume results/{run}" in spoilt.stderr
    unknown = run_harness("ledger", "official", "nosuch", check=2)
    assert "next: harness ledger list" in unknown.stderr
    run_harness("run", "--resume", run)
    whole = last_json(run_harness("ledger", "official", "--json"))
    assert [attempt["state"] for attempt in whole["attempts"]] == ["counted"] * 2  # type: ignore[attr-defined]
    assert [attempt["resumed"] for attempt in whole["attempts"]] == [1, 0]  # type: ignore[attr-defined]
    first, second = (
        line for line in run_harness("ledger", "official").stdout.splitlines() if "Z-" in line
    )
    assert "resumed 1×" in first
    assert "resumed" not in second


def test_a_run_outside_the_series_says_so(tmp_path: Path, run_harness: Harness) -> None:
    fill(tmp_path)
    session.announce(plan_in(tmp_path), tmp_path / "results", 3)
    done = run_harness("run", "--profile", "fast.yaml")
    assert "note: 3 of 3 announced runs of this plan are missing" in done.stderr
    assert "this run is counted, and not one of them" in done.stderr
    assert "next: harness run --attempts 3 …" in done.stderr
    assert "run 1 of 1, not announced" in " ".join(done.stdout.split())
    listed = run_harness("ledger", "list")
    assert "announced runs made: 0/3" in listed.stdout
    assert "run 1 of its plan, not announced" in listed.stdout


def test_nothing_announced_is_said_with_the_command(tmp_path: Path, run_harness: Harness) -> None:
    done = run_harness("ledger", "official", check=3)
    assert "no runs of this plan are announced" in done.stderr
    assert "next: harness run --attempts 3" in done.stderr
    assert "no run was started here yet" in run_harness("ledger", "list").stderr
    assert list(tmp_path.iterdir()) == []


def test_tuned_plans_cannot_be_announced(tmp_path: Path, run_harness: Harness) -> None:
    fill(tmp_path)
    done = run_harness("run", "--tune", "--attempts", 3, check=2)
    assert "--tune may choose other threads each time: not with --attempts" in done.stderr


def test_the_list_names_what_is_gone(results: Path, run_harness: Harness) -> None:
    lost = announced(results)[2]
    shutil.rmtree(lost)
    text = run_harness("ledger", "list").stdout
    (line,) = [text for text in text.splitlines() if lost.name in text]
    assert line.endswith("run 3 of 3 announced  its records are gone")
    found = last_json(run_harness("ledger", "list", "--json"))
    gone = {run["run"]: run["gone"] for run in found["runs"]}  # type: ignore[attr-defined]
    assert gone.pop(lost.name)
    assert set(gone.values()) == {False}
    assert [one["of"] for one in found["series"]] == [3]  # type: ignore[attr-defined]


def test_a_result_is_found_by_run_and_by_plan(results: Path, run_harness: Harness) -> None:
    by_default = last_json(run_harness("ledger", "official", "--json"))
    plan = str(by_default["plan"])
    for text in (plan[:8], announced(results)[0].name, "latest"):
        assert last_json(run_harness("ledger", "official", text, "--json")) == by_default
    unknown = run_harness("ledger", "official", "nothing-here", check=2)
    assert "no run with records here" in unknown.stderr


def test_a_later_report_says_how_many_came_after(results: Path, run_harness: Harness) -> None:
    """The page may say more than the scorecard, which is built from the records alone."""
    first = announced(results)[0]
    before = (first / "scorecard.json").read_bytes()
    run_harness("report", first.name, "--lang", "en", "--format", "markdown")
    text = (first / "scorecard.md").read_text("utf-8")
    assert "run 1 of 3 announced; 2 started later" in text
    assert (first / "scorecard.json").read_bytes() == before
    run_harness("report", announced(results)[2].name, "--lang", "en", "--format", "markdown")
    assert "later" not in (announced(results)[2] / "scorecard.md").read_text("utf-8")[:2000]


def test_a_torn_ledger_is_said(results: Path, run_harness: Harness) -> None:
    path = results / "ledger.jsonl"
    path.write_bytes(path.read_bytes() + b'1234abcd {"type":"att')
    assert "the last line was unfinished" in run_harness("ledger", "list").stderr
    done = run_harness("run", "--profile", "fast.yaml", "--suite", "latency")
    assert "the ledger's last line was unfinished and is dropped" in done.stderr
    assert "unfinished" not in run_harness("ledger", "list").stderr
