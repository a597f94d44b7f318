"""Frames of a run, checked against its scorecard."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

import harness
from harness import frames, score
from harness.errors import HarnessError, RecordError
from harness.frames import Run
from harness.metrics import METRICS
from harness.records import JournalWriter
from harness.scoring.observe import observe
from harness.scoring.rules import read_rules
from tests import strategies
from tests.golden_run import golden_records

DERIVED = {"mbu", "mfu"}
"""Of a sample and the machine's roof: the samples themselves hold none."""
FRAMES = ("scorecard", "metrics", "samples", "items", "jobs", "gates")


def journal(folder: Path, records: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    writer = JournalWriter(folder / "records.jsonl")
    writer.append(*records)
    writer.close()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("results") / "20261123T081500Z-a1b2c3"
    return journal(home, golden_records())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("results") / "20261123T081500Z-a1b2c3"
    return journal(home, strategies.records([strategies.Candidate(id="ref")]))


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return harness.load(folder)


def medians(samples: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """Median over processes of each process's median, by model, case and metric."""
    used = samples[samples["used"]]
    place = ["model", "case", "metric"]
    within = used.groupby([*place, "process"], observed=True)["value"].median()
    return within.groupby(place, observed=True).median().to_dict()


def agree(samples: pd.DataFrame, card: dict[str, Any]) -> int:
    """How many medians of samples are those of the card; every one of them has to be."""
    found = medians(samples)
    wanted = {
        (entry["model"], case, metric): figures["value"]
        for entry in card["entries"]
        for case, measured in entry["cases"].items()
        for metric, figures in measured.items()
        if METRICS[metric].suite != "fidelity"
        and metric not in DERIVED
        and not metric.startswith("itl_s_p")
    }
    assert found.keys() == wanted.keys()
    for place, value in wanted.items():
        assert found[place] == pytest.approx(value, rel=1e-5), place
    return len(wanted)


def test_medians_of_samples_are_the_scorecards(run: Run) -> None:
    assert agree(run.samples, dict(run.card)) > 500


@settings(max_examples=6, deadline=None)
@given(strategies.fields(most=2))
def test_medians_agree_for_any_models(candidates: list[strategies.Candidate]) -> None:
    records = strategies.records(candidates)
    samples, items = frames.observations(records)
    card = score.scorecard(records)
    assert agree(samples, card)
    for entry in card["entries"]:
        for task, found in entry["tasks"].items():
            own = items[(items["model"] == entry["model"]) & (items["task"] == task)]
            assert own["correct"].mean() == pytest.approx(found["value"], rel=1e-5)


def test_percentiles_are_of_pooled_gaps(run: Run) -> None:
    gaps = run.samples[run.samples["metric"] == "itl_s"]
    assert gaps["position"].max() == 30
    for entry in run.card["entries"]:
        own = gaps[(gaps["model"] == entry["model"]) & (gaps["case"] == "fixed-p64-n32")]
        p99 = entry["cases"]["fixed-p64-n32"]["itl_s_p99"]
        assert np.percentile(own["value"], 99) == pytest.approx(p99["value"], rel=1e-5)
        assert len(own) == p99["n"]


def test_items_hold_one_row_an_item_and_nothing_secret(run: Run) -> None:
    for entry in run.card["entries"]:
        for task, found in entry["tasks"].items():
            own = run.items[(run.items["model"] == entry["model"]) & (run.items["task"] == task)]
            assert len(own) == found["n"]
            assert own["correct"].mean() == pytest.approx(found["value"], rel=1e-5)
            skipped = own["skipped"].value_counts().loc[lambda counts: counts > 0].to_dict()
            assert skipped == found["skipped"]
    assert not {"output", "right", "log_likelihoods", "prompt"} & set(run.items.columns)


def test_metrics_hold_every_figure_with_its_interval(run: Run) -> None:
    rows = {(row.model, row.case, row.metric): row for row in run.metrics.itertuples(index=False)}
    assert len(rows) == len(run.metrics)
    for entry in run.card["entries"]:
        for case, found in {"": entry["metrics"], **entry["cases"]}.items():
            for metric, figures in found.items():
                row = rows[entry["model"], case, metric]
                assert (row.value, row.unit) == (figures["value"], figures["unit"])
                assert row.n == figures["n"]
                if figures["lo"] is not None:
                    assert (row.lo, row.hi) == (figures["lo"], figures["hi"])
        if entry["score"] is not None:
            row = rows[entry["model"], "", "score"]
            assert (row.value, [row.lo, row.hi]) == (entry["score"], entry["interval"])


def test_the_scorecard_is_a_row_a_model(run: Run) -> None:
    card = run.scorecard.set_index("model")
    for entry in run.card["entries"]:
        row = card.loc[entry["model"]]
        assert (entry["rank"] is None) == bool(pd.isna(row["rank"]))
        assert row["size_bytes"] == entry["size_bytes"]
        for metric, figures in entry["metrics"].items():
            assert row[metric] == figures["value"]
    failed = card.loc["startup-c.q8_0.gguf"]
    assert np.isnan(failed["peak_resident_bytes"])
    assert failed["reason"] == "out_of_memory"


def test_jobs_and_gates_say_how_it_went(run: Run) -> None:
    assert (run.jobs["wall_s"] == 1.5).all()
    lost = run.jobs[run.jobs["outcome"] == "out_of_memory"]
    assert set(lost["model"]) == {"startup-c.q8_0.gguf"}
    gates = sum(
        len(entry["gates"]) + len((entry["fidelity"] or {"gates": ()})["gates"])
        for entry in run.card["entries"]
    )
    assert len(run.gates) == gates
    assert run.gates["passed"].isna().any()


@pytest.mark.parametrize("name", FRAMES)
def test_every_column_has_its_type_and_unit(run: Run, name: str) -> None:
    frame = getattr(run, name)
    units = frame.attrs["units"]
    assert units
    for unit in units.values():
        assert unit in {metric.unit for metric in METRICS.values()}
    if "unit" in frame:
        assert set(units) == set(frame["metric"].dropna()) & set(METRICS)
        told = frame.dropna(subset=["unit"]).drop_duplicates("metric")
        for metric, unit in zip(told["metric"], told["unit"], strict=True):
            assert units.get(metric, "1") == unit
    else:
        assert set(units) <= set(frame.columns)
        # A column takes the frame's units along.
        first = next(iter(units))
        assert frame[first].attrs["units"][first] == units[first]
    assert isinstance(frame["run"].dtype, pd.CategoricalDtype)


def test_times_have_a_zone(run: Run) -> None:
    assert run.started == pd.Timestamp("2026-11-23T08:15:00", tz="UTC")
    assert (run.scorecard["started"] == run.started).all()
    assert str(run.scorecard["started"].dtype.tz) == "UTC"


def test_refused_samples_stay_with_their_reason(tmp_path: Path) -> None:
    records = strategies.records([strategies.Candidate(id="ref")])
    requests = [r for r in records if r.get("kind") == "request" and r["process"] == 1]
    requests[0]["evaluated"] -= 1
    requests[1]["token_ns"][3] = requests[1]["token_ns"][2]
    twice = dict(requests[2], end_ns=requests[2]["end_ns"] + 1)
    found = harness.load(journal(tmp_path, [*records, twice]))
    refused = found.samples[~found.samples["used"]]
    assert dict(zip(refused["request"], refused["reason"], strict=True)) == {
        requests[0]["index"]: "prompt_not_evaluated",
        requests[1]["index"]: "bad_times",
        requests[2]["index"]: "conflicting_samples",
    }
    assert refused["metric"].isna().all()
    assert refused["value"].isna().all()
    (entry,) = found.card["entries"]
    whole = {f"{finding['code']}" for finding in entry["findings"]} | {entry["reason"]}
    assert whole & set(refused["reason"])
    used = found.samples[found.samples["used"] & (found.samples["metric"] == "ttft_s")]
    case = requests[0]["case"]
    assert (used["case"] == case).sum() == entry["cases"][case]["ttft_s"]["n"]


@pytest.mark.parametrize("form", ["id", "latest", "records", "scorecard in a run"])
def test_every_way_to_name_a_run(small: Path, form: str) -> None:
    results, folder = small.parent, small
    run = harness.load(folder)
    match form:
        case "id" | "latest":
            name = folder.name if form == "id" else "latest"
            found = harness.load(name, results=results)
        case "records":
            found = harness.load(folder / "records.jsonl")
        case _:
            found = harness.load(str(folder / "scorecard.html"))
    pd.testing.assert_frame_equal(found.scorecard, run.scorecard)
    pd.testing.assert_frame_equal(found.samples, run.samples)


def test_a_scorecard_alone_has_no_samples(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "scorecard.json"
    path.write_bytes(score.dump(run.card))
    found = harness.load(path)
    pd.testing.assert_frame_equal(found.metrics, run.metrics)
    pd.testing.assert_frame_equal(found.scorecard, run.scorecard)
    assert len(found.jobs) == len(run.jobs)
    assert found.jobs["wall_s"].isna().all()
    for name in ("samples", "items"):
        empty, full = getattr(found, name), getattr(run, name)
        assert empty.empty
        assert list(empty.columns) == list(full.columns)
        numbers = [c for c in full if not isinstance(full[c].dtype, pd.CategoricalDtype)]
        assert (empty[numbers].dtypes == full[numbers].dtypes).all()


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[" * 100_000,
        b"\xff",
        b"[]",
        json.dumps({"kind": "scorecard", "schema": "99"}).encode(),
        json.dumps({"kind": "scorecard", "schema": 1}).encode(),
        json.dumps({"kind": "scorecard", "schema": 1, "entries": 7}).encode(),
    ],
)
def test_what_is_no_scorecard_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scorecard.json"
    path.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        harness.load(path)
    assert caught.value.reason == "scorecard_unreadable"
    assert caught.value.where == str(path)
    assert caught.value.hint.startswith("harness score")


def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no run with records here") as caught:
        harness.load("latest", results=tmp_path)
    assert caught.value.reason == "run_missing"
    assert caught.value.exit_code == 2


def test_an_edited_record_file_is_refused(tmp_path: Path) -> None:
    path = journal(tmp_path, strategies.records([strategies.Candidate(id="ref")])) / "records.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"evaluated":64', b'"evaluated":65', 1))
    with pytest.raises(RecordError) as caught:
        harness.load(path)
    assert caught.value.reason == "records_damaged"


def test_text_of_others_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    records = strategies.records([strategies.Candidate(id="ref", fails=(("memory", "failed"),))])
    for record in records:
        if record["type"] == "job" and record["outcome"] == "failed":
            record["detail"] = "\x1b]0;owned\x07\u202e"
    found = harness.load(journal(tmp_path, records))
    (shown,) = found.jobs.loc[found.jobs["outcome"] == "failed", "detail"]
    assert shown == "\\x1b]0;owned\\x07\\u{202e}"


def test_reading_writes_nothing(small: Path) -> None:
    before = sorted(small.iterdir())
    harness.load(small)
    assert sorted(small.iterdir()) == before


def test_importing_the_package_stays_cheap() -> None:
    script = "import sys, harness; print(*{'pandas', 'numpy', 'harness.frames'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_as_many_values_as_scoring_has(run: Run) -> None:
    records = golden_records()
    rules = read_rules(records[0]["profile"])
    seen = {one.id: one for one in observe(records, records[0]["models"], rules)}
    samples = run.samples
    counts = samples[samples["used"]].groupby(["model", "case", "metric"], observed=True).size()
    for (model, case, metric), count in counts.items():
        assert seen[model].series[case, metric].n == count
