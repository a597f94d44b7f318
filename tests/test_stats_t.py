"""Student's t against SciPy 1.17's values, and what must hold of any distribution."""

import numpy as np
import pytest

from harness.stats import student_t
from harness.stats_t import quantile, regularised_beta, two_sided

# 2 * scipy.stats.t.sf(t, freedom)
P_VALUES = [
    (1.0, 0.1, 0.936548965138893), (1.0, 3.5, 0.17717106556580953),
    (2.5, 1.0, 0.40406102727827364), (2.5, 8.0, 0.007656644131043447),
    (9.0, 2.1, 0.06511828241215196), (9.0, 8.0, 2.2134816809400155e-05),
    (18.0, 0.1, 0.9214496882429104), (18.0, 3.5, 0.0025567273667714855),
    (57.3, 2.1, 0.04014255587138378), (57.3, 8.0, 6.637311218811308e-11),
    (400.0, 1.0, 0.31791505643751394), (400.0, 8.0, 1.3573776535312149e-14),
]  # fmt: skip
# scipy.stats.t.isf(p / 2, freedom)
QUANTILES = [
    (1.0, 0.05, 12.706204736174705), (1.0, 0.0025, 254.64659994874776),
    (2.5, 0.05, 3.5746548420036834), (2.5, 0.0025, 12.629365903411026),
    (9.0, 0.05, 2.2621571627982053), (9.0, 0.0025, 4.1457888284432425),
    (18.0, 0.05, 2.1009220402410387), (18.0, 0.0025, 3.5101041304634215),
    (400.0, 0.05, 1.965912343229463), (400.0, 0.0025, 3.0426150876846942),
]  # fmt: skip


def test_p_values_are_scipys() -> None:
    freedom, t, expected = np.array(P_VALUES).T
    np.testing.assert_allclose(two_sided(t, freedom), expected, rtol=1e-10)
    np.testing.assert_array_equal(two_sided(-t, freedom), two_sided(t, freedom))


@pytest.mark.parametrize(("freedom", "p", "expected"), QUANTILES)
def test_quantiles_are_scipys(freedom: float, p: float, expected: float) -> None:
    assert quantile(p, np.array([freedom]))[0] == pytest.approx(expected, rel=1e-10)


def test_the_ends() -> None:
    assert two_sided(np.array([0.0, np.inf]), np.array([9.0, 9.0])).tolist() == [1.0, 0.0]
    a, b = np.array([0.5, 3.0]), np.array([4.0, 0.5])
    assert regularised_beta(a, b, np.zeros(2)).tolist() == [0.0, 0.0]
    assert regularised_beta(a, b, np.ones(2)).tolist() == [1.0, 1.0]


def test_p_falls_with_t_and_quantiles_undo_it() -> None:
    t = np.linspace(0, 30, 200)
    for freedom in (1.0, 4.5, 18.0, 2000.0):
        p = two_sided(t, np.full_like(t, freedom))
        assert (np.diff(p) < 0).all()
        assert quantile(float(p[20]), np.array([freedom]))[0] == pytest.approx(t[20])


@pytest.mark.parametrize("tail", [0.025, 0.2, 0.001])
def test_the_short_expansion_agrees(tail: float) -> None:
    """What plans repetitions needs no bisection."""
    for freedom in (18, 40, 400):
        exact = quantile(2 * tail, np.array([float(freedom)]))[0]
        assert student_t(freedom, tail) == pytest.approx(exact, rel=1e-3)
