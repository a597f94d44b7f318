"""Runs that cannot be ranked, end to end: reason code, exit code, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness import session
from harness.errors import Exit
from harness.gate import of_run
from harness.records import JournalWriter
from harness.spec import to_json
from tests.perf.scoring_trials import FORMULAS, QUICK, REF
from tests.strategies import records

OTHER = replace(REF, id="x", skill=0.65, seed=3)
FAILED = (("latency", "crashed"), ("memory", "out_of_memory"), ("accuracy", "timeout"))


class Scored(NamedTuple):
    """What `harness score RUN --json` did."""

    code: int
    data: dict[str, Any]
    said: str

    @property
    def findings(self) -> dict[str, str]:
        return {f["code"]: f["detail"] for f in self.data["verdict"]["findings"]}

    @property
    def reasons(self) -> dict[str, str]:
        return {entry["model"]: entry["reason"] for entry in self.data["entries"]}


@pytest.fixture
def score(run_harness, tmp_path: Path):
    """Write the records of a run, let `spoil` at the file, and score it as a user does."""

    def run(rows: Iterable[dict[str, Any]], spoil=lambda data: data) -> Scored:
        folder = tmp_path / "run"
        folder.mkdir()
        path = folder / "records.jsonl"
        journal = JournalWriter(path)
        journal.append(*rows)
        journal.close()
        path.write_bytes(spoil(path.read_bytes()))
        done = run_harness("score", folder, "--json", check=None)
        return Scored(done.returncode, json.loads(done.stdout), done.stderr)

    return run


def test_a_good_run_is_the_measure(score) -> None:
    found = score(records([REF, OTHER], QUICK))
    assert (found.code, found.said) == (0, "")
    assert set(found.reasons.values()) == {""}
    odd = {"nothing_measured", "reference_not_measured", "single_model", "records_torn"}
    assert not odd & set(found.findings)


def test_no_reference(score) -> None:
    found = score(records([OTHER, replace(OTHER, id="y")], QUICK))
    assert found.code == 5
    assert set(found.reasons.values()) == {"no_reference"}
    assert "`harness run`" in found.findings["reference_not_measured"]
    assert "no score (reference_not_measured): scores are ratios to ref" in found.said


def test_one_model(score) -> None:
    found = score(records([REF], QUICK))
    assert (found.code, found.said) == (0, "")
    assert found.reasons == {"ref": ""}
    assert "`harness run --model`" in found.findings["single_model"]


def test_everything_failed(score) -> None:
    failed = [replace(model, fails=FAILED) for model in (REF, OTHER)]
    found = score(records(failed, QUICK))
    assert found.code == 4
    assert found.reasons == {"ref": "timeout", "x": "timeout"}
    assert "`harness doctor`" in found.findings["nothing_measured"]
    assert "no score (nothing_measured)" in found.said


def refused(*models: str) -> list[dict[str, Any]]:
    """A run in which nothing but loading and accuracy is left of some models."""
    rows = records([REF, OTHER], QUICK)
    for row in rows:
        if row.get("kind") == "request" and row["model"] in models:
            row["token_ns"] = [5] * len(row["token_ns"])
    return rows


def test_every_sample_of_a_suite_refused(score) -> None:
    found = score(refused("x"))
    assert found.code == 0
    entry = next(entry for entry in found.data["entries"] if entry["model"] == "x")
    assert (entry["score"], entry["reason"]) == (None, "bad_times")
    (told,) = [f["detail"] for f in entry["findings"] if f["code"] == "samples_refused"]
    assert told.startswith("latency: no sample can be used: fixed-p64-n8: bad_times: ")
    assert session._status(found.data, interrupted=False) == ("failed", Exit.FAILED)
    (rule,) = [rule for rule in of_run(found.data) if rule.outcome == "failed"]
    assert (rule.model, rule.id, rule.reason) == ("x", "measured", "not_measured")


def test_every_sample_of_a_run_refused(score) -> None:
    rows = refused("ref", "x")
    latency = [row for row in rows if row.get("suite", "latency") == "latency"]
    found = score(latency)
    assert found.code == 4
    assert "no sample" not in found.said
    assert "no score (nothing_measured): no job ended well with a sample" in found.said


@pytest.mark.parametrize("used", FORMULAS.values(), ids=FORMULAS)
def test_a_reference_at_chance(score, used) -> None:
    found = score(records([replace(REF, skill=0.0), OTHER], used))
    assert found.code == 5
    assert found.reasons == {"ref": "at_chance", "x": "reference_at_chance"}
    assert "no score (reference_at_chance): the reference ref is not better" in found.said
    assert "name a stronger reference" in found.said


def test_a_torn_record_file(score) -> None:
    found = score(records([REF, OTHER], QUICK), lambda data: data[:-7])
    assert found.code == 0
    assert "unfinished" in found.findings["records_torn"]


def test_an_edited_record_file(score) -> None:
    found = score(records([REF, OTHER], QUICK), lambda data: data.replace(b"Core 7", b"Core 9"))
    assert (found.code, found.data["reason"]) == (4, "records_damaged")
    assert "records.jsonl:2: the file was edited or damaged: checksum does" in found.said
    assert "next: use an untouched copy, or measure again with `harness run`" in found.said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": {"ttft_s": 0.7}}, "weights do not add up to 1"),
        ({"weights": {"ttft_ms": 1.0}}, "weighs 'ttft_ms'"),
        ({"scoring": "harmonic"}, "scores by 'harmonic'"),
        ({"scoring": "gate"}, "takes accuracy as a gate"),
    ],
)
def test_an_impossible_profile_on_record(score, change, message) -> None:
    run, *rest = records([REF, OTHER], QUICK)
    found = score([run | {"profile": to_json(QUICK) | change}, *rest])
    assert (found.code, found.data["reason"]) == (4, "bad_profile")
    assert message in found.said


def test_what_no_arithmetic_takes_is_damaged(score) -> None:
    rows = list(records([REF], QUICK))
    item = next(row for row in rows if row.get("kind") == "item")
    item.update(right=0, log_likelihoods=[10**400, -1.0], tokens=[1, 1], chars=[1, 1], bytes=[1, 1])
    item["form"] = "choice"
    found = score(rows)
    assert (found.code, found.data["reason"]) == (4, "records_damaged")
    assert "Traceback" not in found.said
