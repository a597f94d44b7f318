"""Log-probabilities, top tokens and divergence against plain float64."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import BackendError
from harness.suites.rows import Coarse, coarse, divergence, log_probability, top

SHAPES = [(1, 2), (5, 257), (64, 2048), (3, 152_064), (0, 100)]


def rows_of(shape, seed=0, spread=4.0):
    return np.random.default_rng(seed).normal(0, spread, shape).astype(np.float32)


def log_softmax(rows):
    wide = rows.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))


def exact_kld(p, q):
    log_p, log_q = log_softmax(p), log_softmax(q)
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", [0.0, 4.0, 80.0])
def test_log_probabilities_are_those_of_float64(shape, spread) -> None:
    rows = rows_of(shape, spread=spread) if spread else np.zeros(shape, np.float32)
    kept = rows.copy()
    targets = np.random.default_rng(1).integers(0, shape[1], shape[0])
    expected = log_softmax(rows)[np.arange(shape[0]), targets]
    np.testing.assert_allclose(log_probability(rows, targets), expected, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(rows, kept, err_msg="rows are not written to")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [1, 7, 256])
def test_top_tokens_are_the_first_of_a_sort(shape, k) -> None:
    rows = np.round(rows_of(shape) * 8) / 8  # many ties
    found = top(rows, k)
    assert found.shape == (shape[0], min(k, shape[1]))
    for row, ids in zip(rows, found, strict=True):
        assert len(set(ids)) == len(ids)
        np.testing.assert_array_equal(row[ids], -np.sort(-row)[: len(ids)])
        assert k == 1 or ids[0] == row.argmax()
        for first, second in itertools.pairwise(ids):
            assert row[first] > row[second] or first < second


@pytest.mark.parametrize("shape", [(5, 257), (64, 2048), (2, 152_064)])
def test_a_head_and_its_tail_add_up(shape) -> None:
    rows = rows_of(shape)
    ids = top(rows, 100)
    found = coarse(rows, ids)
    expected = np.take_along_axis(log_softmax(rows), ids, axis=1)
    np.testing.assert_allclose(found.head, expected, rtol=0, atol=2e-6)
    np.testing.assert_allclose(np.exp(found.head).sum(1) + np.exp(found.tail), 1, atol=1e-6)


def test_a_tail_below_float32_rounding_is_still_known() -> None:
    rows = np.array([[30.0, 0.0, 0.0, -1.0]], np.float32)
    found = coarse(rows, np.array([[0]]))
    assert found.tail[0] == pytest.approx(np.log(2 + np.exp(-1)) - 30, abs=1e-5)


def test_no_tail_at_all_is_no_infinity() -> None:
    rows = rows_of((3, 5))
    every = coarse(rows, top(rows, 256))
    assert every.head.shape == (3, 5)
    other = coarse(rows_of((3, 5), seed=9), top(rows, 256))
    np.testing.assert_allclose(
        divergence(every, other), exact_kld(rows, rows_of((3, 5), seed=9)), atol=1e-6
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_overflowed_are_refused(bad) -> None:
    rows = rows_of((4, 50))
    rows[2, 7] = bad
    for compute in (
        lambda: log_probability(rows, [0, 0, 0, 0]),
        lambda: coarse(rows, np.zeros((4, 1), np.int64)),
    ):
        with pytest.raises(BackendError) as caught:
            compute()
        assert caught.value.reason == "not_finite"


def test_a_block_of_a_large_vocabulary_takes_little_memory() -> None:
    """64 rows of 152 thousand tokens are 39 MB; nothing of that size is made beside them."""
    rows = rows_of((64, 152_064))
    tracemalloc.start()
    try:
        log_probability(rows, [0] * 64)
        coarse(rows, top(rows, 256))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


# --- divergence -------------------------------------------------------------------------


def test_a_network_does_not_diverge_from_itself() -> None:
    rows = rows_of((64, 2048))
    found = coarse(rows, top(rows, 256))
    assert divergence(found, found).max() < 1e-12


def test_rounded_logarithms_cost_the_second_order_only() -> None:
    rows = rows_of((64, 2048))
    found = coarse(rows, top(rows, 256))
    noise = np.random.default_rng(2).uniform(-(2**-19), 2**-19, found.head.shape)
    assert divergence(Coarse(found.head + noise, found.tail), found).max() < 1e-10


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    vocabulary=st.integers(2, 400),
    ks=st.lists(st.integers(1, 400), min_size=2, max_size=4),
    far=st.floats(0, 6),
    spread=st.floats(0.1, 12),
)
def test_a_coarser_divergence_is_a_lower_bound(seed, vocabulary, ks, far, spread) -> None:
    """Fewer tokens kept, less divergence seen; never more than there is, never negative."""
    draw = np.random.default_rng(seed)
    p = draw.normal(0, spread, (4, vocabulary)).astype(np.float32)
    q = (p + draw.normal(0, far, p.shape)).astype(np.float32)
    found = [divergence(coarse(p, ids), coarse(q, ids)) for ids in (top(p, k) for k in sorted(ks))]
    exact = exact_kld(p, q)
    tolerance = 1e-6 + 1e-5 * exact
    for less, more in zip(found, [*found[1:], exact], strict=True):
        assert (less >= 0).all()
        assert (less <= more + tolerance).all()
    if max(ks) >= vocabulary:
        np.testing.assert_allclose(found[-1], exact, atol=1e-5, rtol=1e-5)
