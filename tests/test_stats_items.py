"""Statistics of answers against published examples, exact enumeration and simulation."""

import itertools
import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import stats, stats_items


def tail(n, k):
    return sum(math.comb(n, i) for i in range(k + 1)) / 2**n


# --- McNemar ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        # Fagerland, Lydersen and Laake 2013, tables 1 and 2, exact conditional test.
        (1, 7, 0.070),
        (6, 16, 0.053),
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 5, 2 / 2**5),
        (0, 6, 2 / 2**6),
        (3, 12, 2 * (1 + 15 + 105 + 455) / 2**15),
    ],
)
def test_mcnemar_published_and_by_hand(only_a, only_b, p):
    assert stats_items.mcnemar(only_a, only_b) == pytest.approx(p, abs=6e-4)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test(only_a, only_b):
    p = stats_items.mcnemar(only_a, only_b)
    assert p == stats_items.mcnemar(only_b, only_a)
    expected = min(1.0, 2 * tail(only_a + only_b, min(only_a, only_b)))
    assert p == pytest.approx(expected, rel=1e-12)
    assert 0 < p <= 1
    if only_a < only_b:
        assert stats_items.mcnemar(only_a, only_b + 1) < p or p == 1.0


@pytest.mark.parametrize("n", [1, 5, 6, 9, 20, 57, 200])
def test_mcnemar_keeps_its_level_exactly(n):
    """Of equal models: the probability of p ≤ 0.05, summed over all outcomes."""
    alarms = sum(math.comb(n, k) for k in range(n + 1) if stats_items.mcnemar(k, n - k) <= 0.05)
    assert alarms / 2**n <= 0.05


def test_mcnemar_of_thousands_is_finite():
    assert stats_items.mcnemar(0, 5000) == 0.0
    assert stats_items.mcnemar(4900, 5100) == pytest.approx(0.0466, abs=5e-4)
    with pytest.raises(ValueError, match="no counts"):
        stats_items.mcnemar(-1, 3)


# --- what can be told -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "p10", "p01"),
    [
        # Connor's formula in the calculators of powersamplesize.com, and its usual example.
        (23, 0.45, 0.05),
        (155, 0.30, 0.15),
    ],
)
def test_detectable_difference_inverts_the_published_sample_sizes(pairs, p10, p01):
    enough, few = (
        stats_items.minimum_detectable_difference(n, p10 + p01) for n in (pairs, pairs - 1)
    )
    assert enough <= p10 - p01 < few


def power(n, psi, delta):
    """Exact power of the exact test: number of discordant items, then their split."""
    total = 0.0
    for d in range(n + 1):
        weight = math.comb(n, d) * psi**d * (1 - psi) ** (n - d)
        if weight < 1e-9:
            continue
        q = (psi + delta) / (2 * psi)
        total += weight * sum(
            math.comb(d, k) * q**k * (1 - q) ** (d - k)
            for k in range(d + 1)
            if stats_items.mcnemar(k, d - k) <= 0.05
        )
    return total


@pytest.mark.parametrize(("n", "psi"), [(200, 0.3), (400, 0.1)])
def test_the_exact_test_finds_it_about_four_times_in_five(n, psi):
    delta = stats_items.minimum_detectable_difference(n, psi)
    assert 0.70 < power(n, psi, delta) < 0.85


@given(st.integers(1, 5000), st.floats(0, 1))
def test_detectable_differences_are_possible_and_shrink(n, psi):
    delta = stats_items.minimum_detectable_difference(n, psi)
    assert 0 < delta <= 1
    assert stats_items.minimum_detectable_difference(n + 1, psi) <= delta
    if delta < psi:
        z_a, z_b = 1.959963985, 0.8416212336
        needed = ((z_a * math.sqrt(psi) + z_b * math.sqrt(psi - delta**2)) / delta) ** 2
        assert needed == pytest.approx(n, rel=1e-6)
    else:
        # No more items differ than what the difference itself takes.
        assert stats_items.minimum_detectable_difference(n, delta) == pytest.approx(delta)


@pytest.mark.parametrize(("n", "psi"), [(0, 0.5), (5, -0.1), (5, 1.1)])
def test_detectable_difference_refuses(n, psi):
    with pytest.raises(ValueError, match="differ"):
        stats_items.minimum_detectable_difference(n, psi)


def test_holm_published():
    """R's `p.adjust(c(.01, .02, .03, .04, .05), "holm")`."""
    assert stats.holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx(
        [0.05, 0.08, 0.09, 0.09, 0.09]
    )


# --- calibration ------------------------------------------------------------------------


def test_softmax_by_hand():
    def of(*values):
        return stats_items.softmax(np.array([values]))[0].tolist()

    assert of(math.log(0.2), math.log(0.6)) == pytest.approx([0.25, 0.75])
    assert of(-1000.0, -1000.0) == [0.5, 0.5]
    assert of(0.0, -2000.0) == [1.0, 0.0]


def test_brier_by_hand():
    """Brier 1950: certain and right is 0, certain and wrong 2; a guess among four 3/4."""

    def of(forecasts, right):
        return stats_items.brier([np.array(forecasts)], [np.array(right)])

    assert of([[1.0, 0.0]], [0]) == 0
    assert of([[1.0, 0.0]], [1]) == 2
    assert of([[0.25] * 4], [2]) == pytest.approx(0.75)
    two = of([[0.7, 0.3], [0.9, 0.1]], [0, 1])
    assert two == pytest.approx((0.18 + 1.62) / 2)
    both = [np.array([[0.7, 0.3], [0.9, 0.1]]), np.array([[0.25] * 4])]
    mixed = stats_items.brier(both, [np.array([0, 1]), np.array([2])])
    assert mixed == pytest.approx((0.18 + 1.62 + 0.75) / 3)


def calibration_error(confidences, correct):
    return stats_items.calibration_error(np.array(confidences), np.array(correct))


def test_calibration_error_by_hand():
    """Bins (0.5, 0.6]: 2 of 4 right at 0.6; (0.9, 1]: 1 of 1 at 1."""
    error = calibration_error([0.6] * 4 + [1.0], [True, True, False, False, True])
    assert error == pytest.approx(4 / 5 * 0.1)
    # Edges belong to the bin below: 0.5 and 0.51 are apart, 0.45 and 0.5 together.
    apart = calibration_error([0.5, 0.51], [True, False])
    assert apart == pytest.approx((0.5 + 0.51) / 2)
    together = calibration_error([0.45, 0.5], [True, False])
    assert together == pytest.approx(0.05 / 2)
    assert calibration_error([0.0], [False]) == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_calibration_error_is_at_least_the_bias(answers):
    confidences, correct = zip(*answers, strict=True)
    error = calibration_error(confidences, correct)
    assert abs(sum(correct) - sum(confidences)) / len(correct) - 1e-12 <= error <= 1


def test_honest_confidences_are_calibrated():
    draw = random.Random(1)
    confidences = [draw.random() for _ in range(20_000)]
    error = calibration_error(confidences, [draw.random() < p for p in confidences])
    assert error < 0.02


# --- templates --------------------------------------------------------------------------


def test_overdispersion_by_hand():
    """Two templates of four items, 4 and 0 right: r² = 4, Var = 4 · ¼ · 4/7."""
    answers = [("a", 0, True)] * 4 + [("b", 0, False)] * 4
    assert stats_items.overdispersion(Counter(answers)) == pytest.approx(4 / (4 * 0.25 * 4 / 7))
    even = [(t, 0, right) for t in "ab" for right in (True, True, False, False)]
    assert stats_items.overdispersion(Counter(even)) == 0


def test_overdispersion_is_one_over_all_arrangements():
    """The mean over every way to place three right answers in each of two strata."""
    places = [("a", 0), ("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 1), ("c", 0), ("c", 0),
              ("c", 1), ("c", 1)]  # fmt: skip
    strata = [[i for i, (_, s) in enumerate(places) if s == stratum] for stratum in (0, 1)]
    found = []
    for first in itertools.combinations(strata[0], 3):
        for second in itertools.combinations(strata[1], 2):
            right = {*first, *second}
            answers = [(t, s, i in right) for i, (t, s) in enumerate(places)]
            found.append(stats_items.overdispersion(Counter(answers)))
    assert sum(found) / len(found) == pytest.approx(1.0)


def test_memorised_templates_show():
    draw = random.Random(4)
    level = {t: t % 2 for t in range(20)}
    honest = [(t, level[t], draw.random() < 0.3 + 0.4 * level[t])
              for t in range(20) for _ in range(20)]  # fmt: skip
    known = [(t, level[t], draw.random() < (0.95 if t < 8 else 0.25))
             for t in range(20) for _ in range(20)]  # fmt: skip
    assert stats_items.overdispersion(Counter(honest)) < 2
    assert stats_items.overdispersion(Counter(known)) > 4


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [("a", 0, True)] * 9,
        [("a", 0, True)] * 3 + [("b", 0, True)] * 3,
        [("a", 0, True)] * 2 + [("b", 0, False)] * 3,
        [("a", 0, True)] * 3 + [("b", 1, False)] * 3,
    ],
)
def test_overdispersion_of_nothing_that_could_vary(answers):
    assert stats_items.overdispersion(Counter(answers)) is None
