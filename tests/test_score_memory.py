"""Memory of a scorecard: which peak counts, what is refused, what stands beside it."""

import pytest

from tests.strategies import MIB, records
from tests.test_score_suites import LEAN, REF, edited, scored


def test_one_context_fits_nothing():
    found = scored(records([REF], LEAN))["ref"]
    assert found["memory"]["kv_bytes_per_tok"] == {"fitted": None, "computed": 4096}
    assert "kv_growth_bytes_per_tok" not in found["metrics"]


def test_the_peak_is_that_of_the_whole_tree():
    rows = edited(records([REF], LEAN), {"tree_peak_bytes": 900 * MIB}, kind="memory_split")
    assert scored(rows)["ref"]["metrics"]["peak_resident_bytes"]["value"] == pytest.approx(
        900 * MIB, rel=1e-5
    )
    rows = edited(records([REF], LEAN), {"tree_peak_bytes": 9 * MIB}, kind="memory_split")
    assert scored(rows)["ref"]["metrics"]["peak_resident_bytes"]["value"] == pytest.approx(
        400 * MIB, rel=1e-5
    )


def test_a_worker_that_was_killed_leaves_no_part_of_its_memory():
    """It was watched up to its end, but the largest of these samples is not the case's."""
    rows = [
        row
        for row in records([REF], LEAN)
        if not (row.get("kind") == "memory" and row["phase"] in {"prefill", "decode"})
    ]
    found = scored(rows)["ref"]
    assert found["reason"] == "missing_case"
    assert not {"peak_anon_bytes", "peak_resident_bytes"} & set(found["metrics"])
    assert found["metrics"]["runtime_resident_bytes"]["n"] > 0


@pytest.mark.parametrize(("swapped", "reason"), [(16 * MIB, ""), (17 * MIB, "memory_swapped")])
def test_what_was_swapped_out_is_missing_from_the_peak(swapped, reason):
    rows = edited(records([REF], LEAN), {"swapped_bytes": swapped}, kind="memory", phase="decode")
    found = scored(rows)["ref"]
    assert found["reason"] == reason
    assert ("peak_resident_bytes" in found["metrics"]) is not bool(reason)


def test_the_fall_of_available_memory_stands_beside_the_peak():
    found = scored(records([REF], LEAN))["ref"]["metrics"]
    peak, runtime = (found[f"{name}_resident_bytes"]["value"] for name in ("peak", "runtime"))
    assert found["available_fall_bytes"]["value"] == pytest.approx(peak - runtime, rel=1e-4)


@pytest.mark.parametrize("processes", [2, None])
def test_children_that_nobody_could_read_refuse_the_case(processes):
    change = {"processes": processes, "tree_peak_bytes": None}
    found = scored(edited(records([REF], LEAN), change, kind="memory_split"))["ref"]
    assert found["reason"] == "memory_unreadable"
    assert found["score"] is None


def test_the_peak_may_lie_in_any_phase():
    rows = edited(
        records([REF], LEAN), {"peak_resident_bytes": 700 * MIB}, kind="memory", phase="load"
    )
    assert scored(rows)["ref"]["metrics"]["peak_resident_bytes"]["value"] == pytest.approx(
        700 * MIB, rel=1e-5
    )
