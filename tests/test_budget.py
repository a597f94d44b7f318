"""The allocator of items against brute force, and what must hold of it."""

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import budget
from harness.budget import Stratum, allocate, item_variance, reached


def spent_s(strata, items):
    return sum((items[s.case] - s.done) * s.seconds_per_item for s in strata)


def variance(strata, items):
    return sum(s.weight**2 * s.variance / items[s.case] for s in strata)


@st.composite
def fields(draw, most=40):
    return [
        Stratum(
            case=f"c{i}",
            weight=draw(st.sampled_from([0.5, 1.0, 2.0])),
            seconds_per_item=draw(st.sampled_from([0.25, 0.5, 1.0, 3.0])),
            variance=draw(st.floats(0.01, 0.5)),
            done=(done := draw(st.integers(0, 6))),
            most=draw(st.integers(max(1, done), most)),
        )
        for i in range(draw(st.integers(1, 4)))
    ]


@settings(max_examples=60, deadline=None)
@given(fields(most=8), st.floats(0, 30), st.integers(1, 3))
def test_nothing_that_takes_as_long_is_better(strata, budget_s, floor):
    """Against every allocation, for the time that was taken."""
    items = allocate(budget_s, strata, floor=floor)
    taken = spent_s(strata, items) + 1e-9
    ranges = [range(max(s.done, min(floor, s.most)), s.most + 1) for s in strata]
    best = min(
        variance(strata, found)
        for choice in itertools.product(*ranges)
        if spent_s(strata, found := dict(zip(items, choice, strict=True))) <= taken
    )
    assert variance(strata, items) == pytest.approx(best)


@given(fields(), st.floats(0, 200), st.integers(0, 12))
def test_bounds_and_budget_are_kept(strata, budget_s, floor):
    items = allocate(budget_s, strata, floor=floor)
    least = {s.case: max(s.done, min(floor, s.most)) for s in strata}
    for s in strata:
        assert least[s.case] <= items[s.case] <= s.most
    assert spent_s(strata, items) <= max(budget_s, spent_s(strata, least)) + 1e-9
    full = all(items[s.case] == s.most for s in strata)
    dearest = max(s.seconds_per_item for s in strata)
    assert full or spent_s(strata, items) > budget_s - dearest - 1e-9, "time was left unused"


@given(fields(), st.floats(0, 100), st.floats(0, 100))
def test_more_time_never_takes_items_away(strata, budget_s, more_s):
    one, other = allocate(budget_s, strata), allocate(budget_s + more_s, strata)
    assert all(one[case] <= other[case] for case in one)
    assert reached(strata, other) <= reached(strata, one)


@given(fields(), st.floats(0, 100), st.randoms(use_true_random=False))
def test_the_order_of_the_strata_is_irrelevant(strata, budget_s, shuffler):
    shuffled = shuffler.sample(strata, len(strata))
    assert allocate(budget_s, shuffled) == allocate(budget_s, strata)


def test_items_follow_neyman_with_costs():
    strata = [
        Stratum("cheap", 1.0, 1.0, 0.25, 0, 10**6),
        Stratum("dear", 1.0, 16.0, 0.25, 0, 10**6),
        Stratum("sure", 1.0, 1.0, 0.01, 0, 10**6),
        Stratum("heavy", 3.0, 1.0, 0.25, 0, 10**6),
    ]
    items = allocate(20_000, strata)
    per = {s.case: items[s.case] / (s.weight * math.sqrt(s.variance / s.seconds_per_item))
           for s in strata}  # fmt: skip
    assert max(per.values()) / min(per.values()) < 1.01
    assert items["cheap"] / items["dear"] == pytest.approx(4, rel=0.01)


def test_a_case_without_weight_gets_its_floor():
    strata = [Stratum("a", 1.0, 1.0, 0.2, 0, 50), Stratum("shown", 0.0, 1.0, 0.2, 0, 50)]
    assert allocate(1000, strata) == {"a": 50, "shown": budget.FLOOR}
    assert reached(strata, {"a": 50, "shown": 0}) < math.inf
    assert reached(strata, {"a": 0, "shown": 8}) == math.inf


@pytest.mark.parametrize(
    "strata",
    [[Stratum("a", 1, 0.0, 0.2, 0, 9)], [Stratum("a", 1, 1.0, 0.2, 0, 9)] * 2],
)
def test_strata_that_make_no_sense_are_refused(strata):
    with pytest.raises(ValueError, match=r"takes time|two strata"):
        allocate(10, strata)


def test_item_variance_by_hand():
    """Beta(1, 1): E[p(1-p)] = 1/2 - 1/3; after 3 of 4 Beta(4, 2): 8/42."""
    assert item_variance(0, 0) == pytest.approx(1 / 6)
    assert item_variance(3, 4) == pytest.approx(8 / 42)
    assert item_variance(3, 4, chance=0.5) == pytest.approx(4 * 8 / 42)
    assert item_variance(3, 4, share=0.5, strength=4) == pytest.approx(6 * 4 / 110)
    assert item_variance(0, 50) > 0
    assert item_variance(5000, 10_000) == pytest.approx(0.25, rel=1e-3)


def test_the_interval_covers_what_it_should():
    """95 % of simulated runs of two suites lie within the half-width."""
    draw, hits, runs = random.Random(9), 0, 400
    truth = {"a": 0.7, "b": 0.4}
    strata = [Stratum(c, 1.0, 1.0 + (c == "b"), p * (1 - p), 0, 500) for c, p in truth.items()]
    items = allocate(150, strata)
    half = reached(strata, items)
    for _ in range(runs):
        mean = sum(sum(draw.random() < p for _ in range(items[c])) / items[c]
                   for c, p in truth.items()) / 2  # fmt: skip
        hits += abs(mean - 0.55) <= half
    assert hits / runs == pytest.approx(0.95, abs=0.03)


def test_luck_in_a_pilot_is_hardly_kept():
    """Sizes that follow the counted answers bend their mean: a lucky pilot gets few items more."""
    draw, cases, truth = random.Random(4), 22, 0.9
    errors = {0.0: [], budget.SHARED: []}
    for _ in range(250):
        answers = [[draw.random() < truth for _ in range(60)] for _ in range(cases)]
        pilots = [sum(each[:8]) for each in answers]
        share = sum(pilots) / (8 * cases)
        for strength, found in errors.items():
            strata = [
                Stratum(str(i), 1, 1, item_variance(k, 8, share=share, strength=strength), 8, 60)
                for i, k in enumerate(pilots)
            ]
            items = allocate(4 * cases, strata)
            shares = [sum(each[: items[str(i)]]) / items[str(i)] for i, each in enumerate(answers)]
            found.append(sum(shares) / cases - truth)
    bias = {strength: sum(found) / len(found) for strength, found in errors.items()}
    assert bias[0.0] > 0.008
    assert bias[budget.SHARED] < 0.65 * bias[0.0]
