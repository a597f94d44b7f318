"""Models compared on identical items."""

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.score import dump, scorecard
from harness.scoring.accuracy import summarise, summarise_task
from harness.scoring.items import Item
from harness.spec import AccuracySuite
from harness.stats import holm, percentile_interval
from harness.stats_items import mcnemar, minimum_detectable_difference
from tests.answered import formed
from tests.strategies import Candidate, profile, records

REF = Candidate(id="ref", skill=0.6)
USED = profile(
    suites=replace(
        profile().suites,
        accuracy=AccuracySuite(tasks=("arith", "josa"), languages=("ko",), items=60),
    )
)


def entries(card):
    return {entry["model"]: entry for entry in card["entries"]}


def card_of(found, **options):
    return scorecard(list(formed(records(found, USED), **options)))


def counts(rows, a, b):
    """By brute force: (only a, only b, both, neither) over items that both answered."""
    right = {
        model: {(r["case"], r["form"], r["index"]): r["correct"]
                for r in rows if r.get("kind") == "item" and r["model"] == model}
        for model in (a, b)
    }  # fmt: skip
    common = right[a].keys() & right[b].keys()
    sides = [(right[a][item], right[b][item]) for item in common]
    pattern = ((True, False), (False, True), (True, True), (False, False))
    return tuple(sides.count(side) for side in pattern)


def test_pairs_by_brute_force():
    found = [REF, replace(REF, id="x", skill=0.75, seed=2), replace(REF, id="y", seed=3)]
    rows = list(formed(records(found, USED)))
    card = scorecard(rows)
    pairs = card["accuracy"]["pairs"]
    assert {frozenset((p["a"], p["b"])) for p in pairs} == {
        frozenset(pair) for pair in itertools.combinations(("ref", "x", "y"), 2)
    }
    by_id = entries(card)
    for pair in pairs:
        a, b = pair["a"], pair["b"]
        assert (pair["only_a"], pair["only_b"], pair["both"], pair["neither"]) == counts(rows, a, b)
        assert pair["p"] == pytest.approx(mcnemar(pair["only_a"], pair["only_b"]), rel=1e-5)
        values = [by_id[model]["metrics"]["accuracy"]["value"] for model in (a, b)]
        assert pair["difference"] == pytest.approx(values[0] - values[1], abs=2e-6)
        assert pair["lo"] <= pair["difference"] <= pair["hi"]
        assert pair["difference"] >= 0
    assert [p["p_holm"] for p in pairs] == pytest.approx(holm([p["p"] for p in pairs]), rel=1e-5)


def test_what_could_be_told():
    found = card_of([REF, replace(REF, id="x", seed=2), replace(REF, id="y", seed=3)])["accuracy"]
    shares = [(p["only_a"] + p["only_b"]) / 120 for p in found["pairs"]]
    assert found["items"] == 120
    assert found["discordance"] == pytest.approx(sum(shares) / 3, rel=1e-5)
    assert found["minimum_detectable_difference"] == pytest.approx(
        minimum_detectable_difference(120, sum(shares) / 3), rel=1e-5
    )


def test_only_what_both_were_asked_is_paired():
    suite = AccuracySuite(tasks=("calendar",), languages=("ko",), items=100)
    used = replace(USED, suites=replace(USED.suites, accuracy=suite))
    field = [REF, replace(REF, id="x", seed=2)]
    found = scorecard(list(formed(records(field, used), skipping="x")))["accuracy"]
    assert found["items"] == 98
    (pair,) = found["pairs"]
    assert sum(pair[name] for name in ("only_a", "only_b", "both", "neither")) == 98


def test_a_model_without_a_rank_is_not_compared():
    card = card_of([REF, replace(REF, id="x", fails=(("memory", "crashed"),))])
    nothing = {"items": None, "discordance": None, "minimum_detectable_difference": None}
    assert card["accuracy"] == nothing | {"pairs": []}


def test_lists_are_compared_apart():
    field = [replace(REF, kind="embedded"), replace(REF, id="e", kind="embedded", seed=1),
             replace(REF, id="x", seed=2), replace(REF, id="y", seed=3)]  # fmt: skip
    card = card_of(field)
    assert {frozenset((p["a"], p["b"])) for p in card["accuracy"]["pairs"]} == {
        frozenset(("ref", "e")), frozenset(("x", "y"))
    }  # fmt: skip


def test_a_twin_differs_in_nothing():
    """The same answers: no discordant item, no difference, and no doubt about it."""
    rows = records([REF], USED)
    (run, *rest) = formed(rows)
    twin = [row | {"model": "twin", "job": f"t{row['job']}"} for row in rest if "model" in row]
    run = run | {"models": [run["models"][0], run["models"][0] | {"id": "twin"}]}
    (pair,) = scorecard([run, *rest, *twin])["accuracy"]["pairs"]
    assert (pair["only_a"], pair["only_b"], pair["p"], pair["p_holm"]) == (0, 0, 1.0, 1.0)
    assert (pair["difference"], pair["lo"], pair["hi"]) == (0.0, 0.0, 0.0)


def test_ranks_do_not_see_the_comparison():
    """Unequal answers in many items: accuracy differs surely, ranks stay the score's."""
    weights = {"ttft_s": 1.0}
    used = replace(USED, weights=weights)
    field = [REF, replace(REF, id="x", skill=0.95)]
    card = scorecard(list(formed(records(field, used))))
    (pair,) = card["accuracy"]["pairs"]
    assert pair["p_holm"] < 0.001
    assert {entry["rank"] for entry in card["entries"]} == {1}


def test_other_items_are_not_paired_where_nothing_demands_the_same():
    used = replace(USED, weights={"ttft_s": 1.0})
    rows = list(formed(records([REF, replace(REF, id="x", seed=2)], used)))
    moved = [r | {"template": "mine"} if r.get("kind") == "item" and r["model"] == "x" else r
             for r in rows]  # fmt: skip
    assert scorecard(moved)["accuracy"]["pairs"] == []


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow],
          derandomize=True)  # fmt: skip
@given(st.lists(st.floats(0.4, 0.9), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_the_order_of_records_is_irrelevant(skills, shuffler):
    field = [REF, *(replace(REF, id=f"m{i}", skill=s, seed=i) for i, s in enumerate(skills))]
    rows = list(formed(records(field, USED), skipping="m0"))
    expected = dump(scorecard(rows))
    shuffler.shuffle(rows)
    assert dump(scorecard(rows)) == expected


def simulated(draw, shares):
    """Two models on the same items: templates are hard or easy for both alike."""
    tasks = ({}, {})
    for name in ("ko-a", "ko-b"):
        found = ([], [])
        for template in range(20):
            easy = draw.gauss(0, 0.15)
            for i in range(4):
                common = draw.random()
                for model, share in enumerate(shares):
                    p = min(1.0, max(0.0, share + easy))
                    right = (common if draw.random() < 0.5 else draw.random()) < p
                    found[model].append(Item(4 * template + i, f"t{template}", 1, 0.0, right,
                                             answered=True))  # fmt: skip
        for model in (0, 1):
            tasks[model][name] = summarise_task(name, found[model])
    return [summarise(part) for part in tasks]


def test_intervals_of_a_difference_cover_it_and_equal_models_are_seldom_told_apart():
    draw, runs = random.Random(12), 200
    hits = alarms = 0
    for _ in range(runs):
        one, other = simulated(draw, (0.6, 0.5))
        lo, hi = percentile_interval(one.draws - other.draws, one.value - other.value)
        hits += lo <= 0.1 <= hi
        one, other = simulated(draw, (0.5, 0.5))
        lo, hi = percentile_interval(one.draws - other.draws, one.value - other.value)
        alarms += not lo <= 0 <= hi
    assert hits / runs >= 0.90
    assert alarms / runs <= 0.10
