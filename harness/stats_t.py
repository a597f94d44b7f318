"""Student's t with any degrees of freedom: p values and quantiles without SciPy. Pure.

Everything takes and gives arrays, so that thousands of comparisons cost one pass.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_TINY = 1e-300
_STEPS = 1000
_log_gamma = np.frompyfunc(math.lgamma, 1, 1)


def regularised_beta(a: Floats, b: Floats, x: Floats) -> Floats:
    """Regularised incomplete beta function I_x(a, b), elementwise.

    Continued fraction of Didonato and Morris (DLMF 8.17.22), evaluated by Lentz's method on
    whichever side of the mean it converges fast.

    Args:
        a, b: above 0. x: 0 … 1. All of one shape.
    """
    mirrored = x > (a + 1) / (a + b + 2)
    first, second = np.where(mirrored, b, a), np.where(mirrored, a, b)
    at = np.where(mirrored, 1 - x, x)
    logs = _log_gamma(first + second) - _log_gamma(first) - _log_gamma(second)
    with np.errstate(divide="ignore"):
        front = np.asarray(logs, np.float64) + first * np.log(at) + second * np.log1p(-at)
    part = np.exp(front) * _fraction(first, second, at) / first
    out: Floats = np.where(mirrored, 1 - part, part)
    return out


def _fraction(a: Floats, b: Floats, x: Floats) -> Floats:
    """The continued fraction, by the modified method of Lentz (Thompson and Barnett 1986)."""
    c = np.ones_like(x)
    d = 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _away_from_zero(1 + term * d)
            c = _away_from_zero(1 + term / c)
            value = value * c * d
        if np.all(np.abs(c * d - 1) < 1e-15):
            break
    return value


def _away_from_zero(values: Floats) -> Floats:
    out: Floats = np.where(np.abs(values) < _TINY, _TINY, values)
    return out


def two_sided(t: Floats, freedom: Floats) -> Floats:
    """P of a |t| at least this large: I_x(ν/2, 1/2) at x = ν / (ν + t²).

    Args:
        t: any value; infinite gives 0. freedom: at least 1, whole or not; of t's shape.
    """
    with np.errstate(over="ignore"):
        x = freedom / (freedom + t * t)
    return regularised_beta(freedom / 2, np.full_like(x, 0.5), x)


def quantile(p: float, freedom: Floats) -> Floats:
    """The |t| that is exceeded on either side with probability p in all.

    Newton's method from the normal quantile, which is below every t's: P(|T| > t) is convex
    for t > 0, so that the steps only grow towards the root.

    Args:
        p: two-sided, 0 < p < 1. freedom: at least 1.
    """
    t = np.full_like(freedom, NormalDist().inv_cdf(1 - p / 2))
    logs = _log_gamma((freedom + 1) / 2) - _log_gamma(freedom / 2)
    scale = 2 * np.exp(np.asarray(logs, np.float64)) / np.sqrt(np.pi * freedom)
    for _ in range(_STEPS):
        density = scale * np.exp(-(freedom + 1) / 2 * np.log1p(t * t / freedom))
        step = (two_sided(t, freedom) - p) / density
        t += step
        if np.all(np.abs(step) <= 1e-13 * t):
            break
    return t
