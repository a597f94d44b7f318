"""What a scorecard holds for its charts: gaps between tokens, and memory in parts."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from harness.score import dump, scorecard
from harness.scoring.itl import INNER, OUTER
from tests.strategies import MIB, Candidate, records
from tests.test_score_suites import ALL, LEAN, REF, edited, scored

NOISY = replace(REF, noise=0.05)


def gaps_of(rows, case="fixed-"):
    """All gaps of the scored latency cases, by hand."""
    return [
        (later - earlier) / 1e9
        for row in rows
        if row["type"] == "sample"
        and row.get("kind") == "request"
        and row["case"].startswith(case)
        and "@d" not in row["case"]
        for earlier, later in itertools.pairwise(row["token_ns"])
    ]


def test_gaps_are_those_of_all_scored_cases_together():
    rows = records([NOISY], ALL)
    found = scored(rows)["ref"]["gaps"]
    own = gaps_of(rows)
    assert found["n"] == len(own) > 100
    assert found["min"] == pytest.approx(min(own), rel=1e-5)
    assert found["max"] == pytest.approx(max(own), rel=1e-5)
    assert [int(q) for q in found["quantiles"]] == sorted((*INNER, *OUTER))
    for q, value in found["quantiles"].items():
        assert value == pytest.approx(np.percentile(own, int(q)), rel=1e-5)


def test_quantiles_do_not_fall():
    found = scored(records([NOISY], ALL))["ref"]["gaps"]
    rising = [found["min"], *found["quantiles"].values(), found["max"]]
    assert rising == sorted(rising)


def test_few_gaps_have_no_tails():
    rows = [
        row
        for row in records([NOISY], LEAN)
        if not (row.get("kind") == "request" and (row["process"] or row["index"]))
    ]
    found = scored(rows)["ref"]["gaps"]
    assert 0 < found["n"] < 100
    assert [int(q) for q in found["quantiles"]] == list(INNER)


def test_without_latency_there_are_no_gaps():
    rows = [row for row in records([NOISY], LEAN) if row.get("kind") != "request"]
    assert scored(rows)["ref"]["gaps"] is None


def test_the_parts_of_a_peak_add_up_to_it():
    found = scored(records([REF], LEAN))["ref"]
    split = dict(found["memory"]["split"])
    assert split.pop("context") == LEAN.suites.memory.context
    assert sum(split.values()) == pytest.approx(
        found["metrics"]["peak_resident_bytes"]["value"], rel=1e-5
    )
    assert split["runtime"] == pytest.approx(
        found["memory"]["phases"][f"c{LEAN.suites.memory.context}"]["import"], rel=1e-5
    )
    assert split["weights"] == pytest.approx(0.7 * REF.memory_mib * MIB, rel=1e-5)
    assert split["kv"] == pytest.approx(4096 * LEAN.suites.memory.context, rel=1e-5)
    assert min(split.values()) >= 0


def test_a_part_is_cut_where_less_is_resident():
    """Mapped weights of 10 GiB that were never read do not make the rest negative."""
    rows = [
        row | {"load": {"model_bytes": 10 * 2**30, "kv_bytes_per_token": 4096}}
        if row["type"] == "engine"
        else row
        for row in records([REF], LEAN)
    ]
    found = scored(rows)["ref"]
    split = found["memory"]["split"]
    assert split["kv"] == split["rest"] == 0
    assert split["runtime"] + split["weights"] == pytest.approx(
        found["metrics"]["peak_resident_bytes"]["value"], rel=1e-5
    )


def test_an_unknown_start_leaves_no_parts():
    rows = [
        row
        for row in records([REF], LEAN)
        if not (row.get("kind") == "memory" and row["phase"] in {"runtime", "import"})
    ]
    assert scored(rows)["ref"]["memory"]["split"] is None


def test_the_peaks_by_context_leave_mapped_weights_out():
    found = scored(records([REF], ALL))["ref"]
    contexts = found["memory"]["contexts"]
    suite = ALL.suites.memory
    assert [point["context"] for point in contexts] == sorted(
        (suite.context, *suite.further_contexts)
    )
    for point in contexts:
        case = found["cases"][f"c{point['context']}"]
        assert point["peak_bytes"] == case["peak_resident_bytes"]["value"]


def test_they_do_not_depend_on_the_order_of_records():
    rows = records([NOISY, Candidate(id="x", skill=0.5, noise=0.05)], ALL)
    mixed = rows[:]
    random.Random(3).shuffle(mixed)
    assert dump(scorecard(mixed)) == dump(scorecard(rows))


def test_a_refused_request_leaves_no_gaps():
    rows = records([NOISY], LEAN)
    refused = edited(rows, {"evaluated": 0}, kind="request")
    assert scored(refused)["ref"]["gaps"] is None
