"""Statistics of right and wrong answers: paired tests and what they can tell, calibration. Pure.

Whole numbers stay whole until the last division, so that the same answers give the same
figure on every platform.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.stats import Floats, Indices

POWER = 0.80
SIGNIFICANCE = 0.05
BINS = 10
LEAST_OF_TEMPLATE = 3
"""Items from which on a template's own share says anything."""


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided p of the exact conditional test of McNemar (1947): the binomial on the items
    that one of two models alone has right. Twice the smaller tail, at most 1; not the mid-p.

    Raises:
        ValueError: a negative count.
    """
    n, least = only_a + only_b, min(only_a, only_b)
    if least < 0:
        raise ValueError(f"{only_a} and {only_b} are no counts")
    term = tail = 1
    for i in range(least):
        term = term * (n - i) // (i + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << n))


def minimum_detectable_difference(
    items: int, discordance: float, *, power: float = POWER, significance: float = SIGNIFICANCE
) -> float:
    """Smallest difference of two shares right that McNemar's test finds with this power.

    Connor (1987): n = (z_a √ψ + z_b √(ψ - δ²))² / δ² with the share ψ of discordant items,
    solved for δ by √ψ sin θ = δ. A difference takes as many discordant items at least: where
    δ would exceed ψ, all of them are on one side and ψ = δ.

    Args:
        items: that both models answered.
        discordance: share of them that one model alone has right, observed or assumed.

    Returns:
        A difference of shares, above 0; 1 where not even that would be found.

    Raises:
        ValueError: no items, or a discordance that is no share.
    """
    if items < 1 or not 0 <= discordance <= 1:
        raise ValueError(f"{items} items of which {discordance} differ")
    z_a, z_b = (NormalDist().inv_cdf(q) for q in (1 - significance / 2, power))
    if items <= z_a * z_a:
        return 1.0
    angle = math.atan2(z_b, math.sqrt(items)) + math.asin(z_a / math.sqrt(items + z_b * z_b))
    return math.sin(angle) * max(math.sqrt(discordance), math.sin(angle))


def softmax(log_likelihoods: Floats) -> Floats:
    """Probabilities of each item's choices among themselves, from log-likelihoods in nat: `[n, w]`.

    Exponentials and sums are the standard library's: numpy's last bit depends on the processor.
    """
    less = log_likelihoods - log_likelihoods.max(axis=1, keepdims=True)
    weights = np.reshape(list(map(math.exp, less.ravel().tolist())), less.shape)
    totals = np.array(list(map(math.fsum, weights.tolist())))
    found: Floats = weights / totals[:, None]
    return found


def brier(forecasts: Iterable[Floats], right: Iterable[Indices]) -> float:
    """Mean over items of Σ (p - outcome)² over the choices, 0 … 2, low is good (Brier 1950).

    Args:
        forecasts: probabilities of the choices, `[n, w]` for each number of choices.
        right: which is right, `[n]` each.
    """
    squares: list[float] = []
    items = 0
    for chances, answers in zip(forecasts, right, strict=True):
        misses = chances.copy()
        misses[np.arange(answers.size), answers] -= 1
        squares += (misses * misses).ravel().tolist()
        items += answers.size
    return math.fsum(squares) / items


def calibration_error(confidences: Floats, correct: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error: mean |share right - mean confidence| over bins, weighted by
    their items (Naeini et al. 2015; Guo et al. 2017). `[n]` each.

    Ten bins of equal width, each without its lower and with its upper end.
    """
    # Rounded, so that an edge is one whatever the last bit of an exponential is.
    places = np.ceil(np.round(confidences * BINS, 9)) - 1
    gaps = np.bincount(np.clip(places, 0, BINS - 1).astype(np.int64), correct - confidences, BINS)
    return math.fsum(np.abs(gaps).tolist()) / correct.size


def overdispersion(answers: Mapping[tuple[Any, Any, bool], int]) -> float | None:
    """How far the templates' shares vary, in units of what chance alone makes of it.

    Pearson's dispersion (McCullagh and Nelder 1989, section 4.5) conditional on the answers
    of each stratum: the mean over templates of r² / Var(r), r = right answers less their
    expectation, Var(r) = Σ n p(1 - p) (N - n)/(N - 1) over strata (hypergeometric). It is 1
    on average where right answers fall on templates at random.

    Args:
        answers: how many items there are of a template and a stratum (such as form and level)
            that are right, or not.

    Returns:
        The index; None with fewer than two templates that have 3 items and could vary.
    """
    size: Counter[Hashable] = Counter()
    right: Counter[Hashable] = Counter()
    hits: Counter[Hashable] = Counter()
    cells: defaultdict[Hashable, Counter[Hashable]] = defaultdict(Counter)
    for (template, stratum, hit), n in answers.items():
        size[stratum] += n
        right[stratum] += n * hit
        hits[template] += n * hit
        cells[template][stratum] += n
    terms = []
    for template, cell in cells.items():
        if cell.total() < LEAST_OF_TEMPLATE:
            continue
        share = {stratum: right[stratum] / size[stratum] for stratum in cell}
        residual = hits[template] - math.fsum(n * share[s] for s, n in cell.items())
        variance = math.fsum(
            n * share[s] * (1 - share[s]) * (size[s] - n) / (size[s] - 1)
            for s, n in cell.items()
            if size[s] > 1
        )
        if variance > 0:
            terms.append(residual**2 / variance)
    return math.fsum(terms) / len(terms) if len(terms) > 1 else None
