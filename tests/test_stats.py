"""Statistics against published values, brute force and simulation."""

import hashlib
import itertools
import math
import random
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import stats

FINITE = st.floats(-1e12, 1e12, allow_nan=False)


def test_splitmix64_published_vector():
    # Seed 1234567, as in Rosetta Code's "Pseudo-random numbers/Splitmix64".
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert stats.random_words(1234567, 5).tolist() == expected


def test_random_words_match_plain_python():
    def word(state):
        mask = (1 << 64) - 1
        z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    for seed in (0, 1, 2**63, 2**64 - 1):
        plain = [word((seed + (i + 1) * 0x9E3779B97F4A7C15) & (2**64 - 1)) for i in range(50)]
        assert stats.random_words(seed, 50).tolist() == plain


def test_streams_are_frozen():
    """A change here changes every published interval."""
    text = b"process\x1fm\x1flatency\x1f"
    expected = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
    assert stats.stream("process", "m", "latency", "") == expected == 0x6EB8853D6C60175C
    drawn = [((word >> 32) * 10) >> 32 for word in stats.random_words(7, 6).tolist()]
    assert stats.random_below(7, (2, 3), 10).tolist() == [drawn[:3], drawn[3:]]
    assert drawn == [3, 0, 9, 5, 4, 2]


@pytest.mark.parametrize("bound", [1, 2, 3, 7, 10, 1000])
def test_random_below_is_uniform(bound):
    n = 20_000
    drawn = stats.random_below(stats.stream("uniform", bound), (n,), bound)
    assert drawn.min() >= 0
    assert drawn.max() < bound
    counts = np.bincount(drawn, minlength=bound)
    chi2 = float(((counts - n / bound) ** 2 / (n / bound)).sum())
    # Wilson-Hilferty: five standard deviations of chi-squared with bound - 1 degrees.
    df = max(1, bound - 1)
    assert ((chi2 / df) ** (1 / 3) - (1 - 2 / (9 * df))) / math.sqrt(2 / (9 * df)) < 5


@pytest.mark.parametrize("bound", [0, -1, 1 << 31])
def test_random_below_refuses(bound):
    with pytest.raises(ValueError, match="outside"):
        stats.random_below(0, (3,), bound)


@given(st.lists(FINITE, min_size=1, max_size=30))
def test_median_agrees_with_the_standard_library(values):
    assert stats.median(values) == pytest.approx(statistics.median(values), rel=1e-12)


def far(values):
    count, _ = stats.outliers(np.array(values, dtype=np.float64))
    return int(count)


def test_outliers():
    assert far([1.0, 2, 3, 4, 5, 100]) == 1
    assert far([1.0, 2, 3, 4, 5]) == 0
    assert far([2, 2, 2, 5, 1]) == 2


@given(FINITE)
def test_rounding_keeps_six_digits_and_is_stable(value):
    once = stats.round_significant(value)
    assert stats.round_significant(once) == once
    assert once == pytest.approx(value, rel=5.001e-6)
    assert math.copysign(1, once) == 1 or once < 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_rounding_refuses_what_is_no_number(value):
    with pytest.raises(ValueError, match="not a number"):
        stats.round_significant(value)
    with pytest.raises(ValueError, match="not a number"):
        stats.round_all({"a": [1, {"b": value}]})


def test_round_all_leaves_other_values():
    data = {"a": [1.23456789, 7, None, True, "x"], "b": (0.1 + 0.2,)}
    assert stats.round_all(data) == {"a": [1.23457, 7, None, True, "x"], "b": [0.3]}


@pytest.mark.parametrize(
    ("successes", "n", "lo", "hi"),
    [
        # Newcombe 1998, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_published(successes, n, lo, hi):
    assert stats.wilson(successes, n) == pytest.approx((lo, hi), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_is_symmetric(pair):
    successes, n = pair
    lo, hi = stats.wilson(successes, n)
    assert 0 <= lo <= successes / n <= hi <= 1
    mirrored = stats.wilson(n - successes, n)
    assert (1 - mirrored.hi, 1 - mirrored.lo) == pytest.approx((lo, hi), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses(successes, n):
    with pytest.raises(ValueError, match="not a proportion"):
        stats.wilson(successes, n)


def test_two_sided_p():
    assert stats.two_sided_p(1.959963985, 1.0) == pytest.approx(0.05)
    assert stats.two_sided_p(-1.959963985, 1.0) == pytest.approx(0.05)
    assert stats.two_sided_p(0.0, 0.0) == 1.0
    assert stats.two_sided_p(0.1, 0.0) == 0.0


def test_holm_by_hand():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([]) == []
    assert stats.holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), max_size=12), st.randoms(use_true_random=False))
def test_holm_does_not_depend_on_order(p_values, shuffler):
    adjusted = stats.holm(p_values)
    assert all(q >= p for p, q in zip(p_values, adjusted, strict=True))
    order = list(range(len(p_values)))
    shuffler.shuffle(order)
    assert stats.holm([p_values[i] for i in order]) == [adjusted[i] for i in order]


def test_mean_interval():
    parts = [stats.Interval(0.3, 0.7), stats.Interval(0.1, 0.5)]
    lo, hi = stats.mean_interval([0.5, 0.3], parts)
    assert (lo, hi) == pytest.approx((0.4 - 0.1 * math.sqrt(2), 0.4 + 0.1 * math.sqrt(2)))


@pytest.mark.parametrize(("units", "m"), [(6, 1), (6, 2), (6, 5), (6, 6), (300, 10), (300, 300)])
def test_process_medians_match_numpy(units: int, m: int) -> None:
    values = np.round(stats.random_below(1, (3, units), 1000) / 100)  # with ties
    drawn = stats.random_below(m, (200, m), units)
    expected = np.median(values[:, drawn], axis=-1)
    found = stats.process_medians(values, stats.drawn_counts(drawn, units))
    assert found.tolist() == expected.tolist()


FINITE = st.floats(-1e12, 1e12, allow_subnormal=False)


@given(st.lists(st.lists(FINITE, min_size=5, max_size=5), min_size=1, max_size=9))
def test_medians_are_numpys_to_the_last_bit(rows):
    assert stats.medians([np.array(row) for row in rows]).tolist() == [np.median(r) for r in rows]
    pooled = [value for row in rows for value in row]
    for count in (len(pooled), len(pooled) - 1):
        assert stats.median(pooled[:count]) == np.median(pooled[:count])


@given(st.lists(FINITE, min_size=2, max_size=60))
def test_the_interval_is_numpys_to_the_last_bit(draws):
    tail = 100 * (1 - stats.CONFIDENCE) / 2
    lo, hi = np.percentile(draws, (tail, 100 - tail))
    middle = float(np.median(draws))
    found = stats.percentile_interval(np.array(draws), middle)
    assert found == (min(float(lo), middle), max(float(hi), middle))


def test_process_bootstrap_matches_enumeration():
    values = np.array([1.0, 2.0, 4.0])
    every = [np.median(values[list(draw)]) for draw in itertools.product(range(3), repeat=3)]
    counts = stats.drawn_counts(stats.resample_units(1, 3, 50_000), 3)
    drawn = stats.process_medians(values[None], counts)[0]
    for value in values:
        share = float(np.mean(np.array(every) == value))
        assert float(np.mean(drawn == value)) == pytest.approx(share, abs=0.01)


def test_two_units_give_an_unbiased_variance():
    values = np.array([1.0, 3.0])
    counts = stats.drawn_counts(stats.resample_units(3, 2, 50_000), 2)
    drawn = stats.process_medians(values[None], counts)[0]
    # s^2 / k = 2 / 2
    assert float(drawn.var()) == pytest.approx(1.0, rel=0.02)


def test_template_counts_give_an_unbiased_variance():
    shares = np.array([0.1, 0.5, 0.9, 0.3, 0.7])
    counts = stats.resampled_counts(stats.stream("t"), 5, 50_000)
    assert set(counts.sum(axis=1)) == {4.0}
    means = (counts @ shares) / 4
    assert float(means.var()) == pytest.approx(shares.var(ddof=1) / 5, rel=0.03)
    assert stats.resampled_counts(0, 1, 4).tolist() == [[1.0]] * 4


def test_requests_of_a_single_process_vary_as_their_median_does():
    draw = random.Random(5)
    values = np.array([draw.gauss(10, 1) for _ in range(101)])
    drawn = stats.request_medians(values, 1)
    assert drawn.std() == pytest.approx(math.sqrt(math.pi / 2 / 101), rel=0.3)
    assert drawn.tolist() == stats.request_medians(values, 1).tolist()
    assert stats.request_medians(np.full(9, 4.0), 1).tolist() == [4.0] * stats.RESAMPLES


def test_quantiles_interpolate():
    """Hyndman and Fan 1996, definition 7."""
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert stats.quantile(values, 0.5) == 2.5
    assert stats.quantile(values, 0.9) == pytest.approx(3.7)


@settings(max_examples=50)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.lists(st.sampled_from([0.0, 0.025, 0.5, 0.9, 0.95, 0.99]), min_size=1, max_size=4),
)
def test_quantiles_are_numpys_to_the_last_bit(values, shares):
    rows = np.array([values, values[::-1]])
    assert stats.quantiles(rows, shares).tolist() == np.quantile(rows, shares, axis=-1).tolist()


@settings(max_examples=30)
@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=12), st.floats(1e-3, 1e3))
def test_bootstrap_scales_with_its_unit(values, factor):
    array = np.array(values)
    drawn = stats.drawn_counts(stats.resample_units(9, array.size, 200), array.size)
    one = stats.process_medians(array[None], drawn)[0] * factor
    other = stats.process_medians(array[None] * factor, drawn)[0]
    assert other == pytest.approx(one, rel=1e-12)


def test_interval_holds_the_estimate():
    assert stats.percentile_interval(np.array([2.0, 3.0]), 1.0).lo == 1.0
    assert stats.percentile_interval(np.array([2.0, 3.0]), 4.0).hi == 4.0


def test_equal_machines_rarely_differ():
    """A/A: process spread of 2 %, ten processes, both metrics of a score; level about 5 %."""
    draw = np.random.default_rng(11)
    alarms, trials = 0, 300
    for trial in range(trials):
        draws, centres = [], []
        for model in range(2):
            values = np.exp(draw.normal(0, 0.02, 10))
            units = stats.resample_units(stats.stream(model, trial), 10, 400)
            drawn = stats.drawn_counts(units, 10)
            draws.append(np.log(stats.process_medians(values[None], drawn)[0]))
            centres.append(math.log(stats.median(values)))
        error = float((draws[0] - draws[1]).std(ddof=1))
        alarms += stats.two_sided_p(centres[0] - centres[1], error) < 0.05
    assert alarms / trials < 0.09


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (19, 2.09302)],
)
def test_student_t_is_that_of_the_tables(freedom, quantile):
    assert stats.student_t(freedom) == pytest.approx(quantile, rel=2e-3)


def test_student_t_needs_a_degree_of_freedom():
    with pytest.raises(ValueError, match="0 degrees"):
        stats.student_t(0)
