"""Formulas by hand, gates on facts, tiers, LocalScore, and the front whatever is weighed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.score import LISTS, blocked, scorecard
from harness.scoring.compat import localscore
from harness.scoring.formulas import FORMULAS
from harness.specgate import FACTS, Gate, Scoring
from tests.perf.scoring_trials import FORMULAS as PROFILES
from tests.perf.scoring_trials import QUICK, REF, same_answers
from tests.strategies import records
from tests.test_score import entries

ORACLE = json.loads((Path(__file__).parent / "oracles" / "localscore.json").read_text("utf-8"))
STILL = replace(REF, noise=0.0)


def scored(field, used, *, run=None):
    first, *rest = same_answers(records(field, used))
    return entries(scorecard([first | (run or {}), *rest]))


@pytest.mark.parametrize(
    "row", ORACLE["rows"], ids=lambda row: f"{row['accelerator']}-{row['model']}"
)
def test_localscore_is_that_of_its_database(row) -> None:
    found = localscore(row["prompt_tok_per_s"], row["gen_tok_per_s"], row["ttft_ms"] / 1000)
    assert found == pytest.approx(row["score"], rel=ORACLE["tolerance_relative"], abs=0.5)


def test_localscore_of_a_run_by_hand() -> None:
    """250 prompt tok/s, 25 output tok/s, 0.256 s to the first token."""
    found = scored([STILL], QUICK)["ref"]["compat"]["localscore"]
    assert found["prompt_tok_per_s"] == pytest.approx(250)
    assert found["output_tok_per_s"] == pytest.approx(25)
    assert found["ttft_s"] == pytest.approx(0.256)
    assert found["score"] == pytest.approx(10 * (250 * 25 / 0.256) ** (1 / 3), rel=1e-5)
    lame = scored([replace(STILL, fails=(("latency", "crashed"),))], QUICK)
    assert lame["ref"]["compat"]["localscore"] is None


@pytest.mark.parametrize(
    ("speed", "score"),
    [(1.0, 500), (1.25, 600), (2.0, 750), (4.0, 750), (0.8, 375), (0.5, 0.0), (0.25, 0.0)],
)
def test_aimers_by_hand(speed: float, score: float) -> None:
    """Half of the accuracy ratio, 1 here, and half of the share of time that is saved; capped."""
    found = scored([STILL, replace(STILL, id="x", speed=speed)], PROFILES["aimers"])
    assert found["ref"]["score"] == 500, "doing nothing scores a half"
    assert found["x"]["score"] == pytest.approx(score, abs=1e-3)
    assert found["x"]["interval"] == pytest.approx([score, score], abs=1e-3)


def test_aimers_is_never_below_zero() -> None:
    rows = records([STILL, replace(STILL, id="x", speed=0.5, skill=0.4)], PROFILES["aimers"])
    found = entries(scorecard(rows))["x"]
    assert (found["score"], found["rank"]) == (0.0, 2)
    assert found["ratios"]["tpot_s"]["effect"] > 0


def test_effects_of_a_geometric_score_multiply_to_it() -> None:
    found = scored([STILL, replace(STILL, id="x", speed=1.3, memory_mib=300)], QUICK)["x"]
    product = 1000.0
    for ratio in found["ratios"].values():
        product *= ratio["effect"]
    assert found["score"] == pytest.approx(product, rel=1e-4)


def test_gate_ranks_by_speed_those_whose_accuracy_holds() -> None:
    used = PROFILES["gate"]
    field = [
        STILL,
        replace(STILL, id="quick", speed=1.5, seed=1),
        replace(STILL, id="worse", speed=1.9, skill=0.42, seed=2),
    ]
    found = entries(scorecard(records(field, used)))
    assert [(n, found[n]["rank"]) for n in ("quick", "ref", "worse")] == [
        ("quick", 1), ("ref", 2), ("worse", None),
    ]  # fmt: skip
    assert found["worse"]["reason"] == "gate_failed"
    assert found["quick"]["score"] == pytest.approx(1500, rel=1e-4)
    assert found["quick"]["ratios"]["accuracy"]["effect"] is None, "it has no weight"


@pytest.mark.parametrize("scoring", ["geometric", "gate"])
def test_an_open_accuracy_gate_costs_the_rank_only_where_nothing_else_speaks(
    scoring: Scoring,
) -> None:
    used = PROFILES[scoring]
    gate = Gate(id="accuracy", metric="accuracy_ratio", limit=0.7, min_items=2000)
    found = scored([STILL, replace(STILL, id="x")], replace(used, gates=(gate,)))["x"]
    assert (found["gates"][0]["passed"], found["gates"][0]["reason"]) == (None, "too_few_items")
    if scoring == "gate":
        assert (found["score"], found["reason"]) == (None, "gate_open")
        assert "fewer than 2000 items were answered; ask more" in found["detail"]
    else:
        assert found["score"] == 1000


def test_gates_on_facts_both_ways() -> None:
    used = replace(QUICK, gates=tuple(Gate(id=name, metric=name) for name in FACTS))
    run = records([REF, replace(REF, id="x"), replace(REF, id="old")], used)[0]
    good, bare, old = run["models"]
    models = [
        good | {"preflight": "passed"},
        bare | {"preflight": "passed", "licence": " "},
        {**old, "id": "old"},
    ]
    field = [REF, replace(REF, id="x"), replace(REF, id="old")]
    found = scored(field, used, run={"models": models})

    def outcomes(name: str):
        return {gate["id"]: (gate["passed"], gate["reason"]) for gate in found[name]["gates"]}

    assert set(outcomes("ref").values()) == {(True, "")}
    assert outcomes("x")["licence_declared"] == (False, "no_licence")
    assert found["x"]["reason"] == "gate_failed"
    assert "no licence is declared; name it in the models file" in found["x"]["detail"]
    assert outcomes("old")["artefact_safe"] == (None, "not_recorded")
    assert found["old"]["score"] is not None


def test_a_run_that_does_not_count_fails_its_gate() -> None:
    strict = replace(
        QUICK,
        tier="verified",
        tolerates_unknown=False,
        gates=(Gate(id="run", metric="run_valid"),),
    )
    rows = [
        row | {"findings": [{"code": "c", "severity": "invalid", "detail": ""}]}
        if row.get("when") == "after"
        else row
        for row in records([REF, replace(REF, id="x")], strict)
    ]
    for entry in scorecard(rows)["entries"]:
        assert entry["reason"] == "run_invalid"
        assert entry["gates"][0]["passed"] is False
        assert entry["gates"][0]["reason"] == "run_invalid"


def test_divisions_kinds_and_tiers_never_share_a_list() -> None:
    used = replace(QUICK, fixed_family="ref")
    field = [
        REF,
        replace(REF, id="ref.fake", format="fake", seed=1),
        replace(REF, id="ref.tuned", tuned=True, seed=2),
        replace(REF, id="open", seed=3),
        replace(REF, id="made.up", format="fake", seed=4),
    ]
    card = scorecard(records(field, used))
    found = {e["model"]: (e["list"], e["division"], e["tier"]) for e in card["entries"]}
    assert found == {
        "ref": ("fixed-real", "fixed-model", "unverified"),
        "ref.fake": ("fixed-synthetic", "fixed-model", "synthetic"),
        "ref.tuned": ("fixed-real-tuned", "fixed-model", "unverified"),
        "open": ("real", "open", "unverified"),
        "made.up": ("synthetic", "open", "synthetic"),
    }
    assert {e["list"] for e in card["entries"]} <= set(LISTS)
    assert card["pairs"] == []
    # One list has one tier and one division.
    places = {(e["list"], e["division"], e["tier"]) for e in card["entries"]}
    assert len(places) == len({name for name, *_ in places})


def test_the_front_has_four_axes_whatever_is_weighed() -> None:
    used = replace(QUICK, weights={"ttft_s": 1.0})
    field = [
        REF,
        replace(REF, id="lean", memory_mib=200),
        replace(REF, id="fat", memory_mib=900),
        replace(REF, id="guess", skill=0.0, memory_mib=900),
    ]
    rows = [
        row | {"correct": False, "answered": False} if row.get("model") == "guess"
        and row.get("kind") == "item" else row
        for row in records(field, used)
    ]  # fmt: skip
    found = scorecard(rows)["pareto"]
    assert found["axes"] == ["accuracy", "ttft_s", "decode_tok_per_s", "peak_resident_bytes"]
    assert found["front"] == ["lean"]
    assert found["dominated"]["guess"] == ["fat", "lean", "ref"]
    alone = replace(used, suites=replace(used.suites, accuracy=None, memory=None))
    assert scorecard(records(field, alone))["pareto"]["axes"] == ["ttft_s", "decode_tok_per_s"]


def test_who_lacks_an_axis_takes_no_part() -> None:
    used = replace(QUICK, weights={"ttft_s": 1.0})
    lame = replace(REF, id="x", speed=1.5, fails=(("memory", "crashed"),))
    card = scorecard(records([REF, lame], used))
    assert entries(card)["x"]["rank"] == 1
    assert card["pareto"]["front"] == ["ref"]
    assert card["pareto"]["dominated"] == {}


def test_a_whole_card_is_blocked_only_by_what_concerns_all() -> None:
    assert blocked(scorecard(records([REF], QUICK))) is None
    part = replace(REF, id="x", fails=(("memory", "crashed"),))
    assert blocked(scorecard(records([replace(part, id="ref"), part], QUICK))) is None


def test_every_formula_has_a_profile_here() -> None:
    assert set(FORMULAS) == set(PROFILES)
