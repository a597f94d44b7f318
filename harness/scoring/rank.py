"""Who beats whom, ranks with ties, the Pareto front and sensitivity to weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from harness.metrics import METRICS, Floats, suite_of
from harness.scoring.formulas import Formula
from harness.scoring.judge import Judged
from harness.stats import holm, quiet, round_significant, two_sided_p

LEAST_GAP = 0.02
SIGNIFICANCE = 0.05
MEMORY_TIE_BYTES = 8 * 2**20
WEIGHT_SHIFT = 0.10
_MEMORY = "peak_resident_bytes"


class Pair(NamedTuple):
    """Two entries of one list; `a` has the higher score.

    `gap` is a share of the lower score, or under a formula of sums of 1000 points.
    """

    a: str
    b: str
    gap: float
    p: float
    p_adjusted: float
    beats: bool


class Ranking(NamedTuple):
    """Ranks of one list.

    Attributes:
        ranks: 1 + number of entries that beat the entry, by id.
        tied: entries that neither beat it nor are beaten by it.
        ranges: best and worst rank when each weight moves by 0.10.
    """

    ranks: Mapping[str, int]
    tied: Mapping[str, list[str]]
    ranges: Mapping[str, tuple[int, int]]
    pairs: list[Pair]


class _Field(NamedTuple):
    """Scored entries of one list as arrays.

    Attributes:
        terms: what ratios are worth, `[entries, metrics]`. draws: in each resample,
            `[entries, metrics, B]`. weights: `[metrics]`.
        memory: peak bytes, `[entries]`, and its column among the metrics, or None.
    """

    ids: list[str]
    formula: Formula
    terms: Floats
    draws: Floats
    weights: Floats
    resolved: list[bool]
    memory: Floats | None
    memory_column: int


def rank(entries: Sequence[Judged], weights: Mapping[str, float], formula: Formula) -> Ranking:
    """Rank the scored entries of one list, given in order of their ids."""
    if not entries:
        return Ranking({}, {}, {}, [])
    field = _field(entries, weights, formula)
    pairs = _pairs(field)
    ranks = _ranks(field.ids, pairs)
    decided = {(pair.a, pair.b) for pair in pairs if pair.beats}
    decided |= {(b, a) for a, b in decided}
    tied = {a: [b for b in field.ids if a != b and (a, b) not in decided] for a in field.ids}
    ranges = {model: (place, place) for model, place in ranks.items()}
    for shifted in _shifted(field.weights):
        moved = _ranks(field.ids, _pairs(field._replace(weights=shifted)))
        ranges = {m: (min(lo, moved[m]), max(hi, moved[m])) for m, (lo, hi) in ranges.items()}
    return Ranking(ranks, tied, ranges, pairs)


def _field(entries: Sequence[Judged], weights: Mapping[str, float], formula: Formula) -> _Field:
    metrics = list(weights)
    has_memory = _MEMORY in metrics
    values = {m: np.array([entry.ratios[m].value for entry in entries]) for m in metrics}
    draws = {m: np.stack([entry.ratios[m].draws for entry in entries]) for m in metrics}
    return _Field(
        ids=[entry.id for entry in entries],
        formula=formula,
        terms=np.stack([formula.term(m, values[m]) for m in metrics], axis=1),
        draws=np.stack([formula.term(m, draws[m]) for m in metrics], axis=1),
        weights=np.array(list(weights.values())),
        resolved=[entry.resolved for entry in entries],
        memory=np.array([e.summaries.metrics[_MEMORY].value for e in entries])
        if has_memory
        else None,
        memory_column=metrics.index(_MEMORY) if has_memory else 0,
    )


class _Totals(NamedTuple):
    """Compared values, `[entries]`, and in each resample, `[entries, B]`."""

    values: Floats
    draws: Floats

    def gap(self, i: int, others: slice) -> tuple[Floats, Floats]:
        """How far entry i is above others, and the standard errors."""
        return self.values[i] - self.values[others], _errors(self.draws[i] - self.draws[others])


def _totals(field: _Field, weights: Floats) -> _Totals:
    draws = np.einsum("emb,m->eb", field.draws, weights, optimize=False)
    total = field.formula.total
    return _Totals(total((field.terms * weights).sum(axis=1)), total(draws))


def _pairs(field: _Field) -> list[Pair]:
    """All pairs with Holm's adjustment over them."""
    totals = flat = _totals(field, field.weights)
    if field.memory is not None:
        # As if all took the same memory: its column weighs nothing.
        without = field.weights.copy()
        without[field.memory_column] = 0.0
        flat = _totals(field, without)
    found: list[tuple[str, str, float, float]] = []
    for i in range(len(field.ids) - 1):
        after = slice(i + 1, None)
        gaps, errors = totals.gap(i, after)
        flat_gaps, flat_errors = (gaps, errors) if flat is totals else flat.gap(i, after)
        for k, j in enumerate(range(i + 1, len(field.ids))):
            first, second = (i, j) if gaps[k] >= 0 else (j, i)
            sign = 1 if first == i else -1
            gap, flat_gap = sign * float(gaps[k]), sign * float(flat_gaps[k])
            p = _p(gap, float(errors[k]))
            if (
                field.memory is not None
                and abs(field.memory[i] - field.memory[j]) <= MEMORY_TIE_BYTES
            ):
                # Both with and without the memory difference, the winner has to win.
                p = max(p, _p(flat_gap, float(flat_errors[k])) if flat_gap > 0 else 1.0)
                gap = min(gap, max(0.0, flat_gap))
            if not (field.resolved[i] and field.resolved[j]):
                p = 1.0
            share = round_significant(field.formula.gap(quiet(gap)))
            found.append((field.ids[first], field.ids[second], share, p))
    adjusted = [round_significant(p) for p in holm([p for *_, p in found])]
    return [
        Pair(a, b, gap, round_significant(p), q, q < SIGNIFICANCE and gap > LEAST_GAP)
        for (a, b, gap, p), q in zip(found, adjusted, strict=True)
    ]


def _errors(differences: Floats) -> Floats:
    """Standard errors of score differences from their draws, `[n, B]` → `[n]`."""
    errors: Floats = differences.std(axis=1, ddof=1)
    return errors


def _p(gap: float, error: float) -> float:
    """Two-sided p of a gap between totals; both rounded, so that noise of 1e-17 is no gap."""
    return two_sided_p(round_significant(quiet(gap)), round_significant(quiet(error)))


def _ranks(ids: Sequence[str], pairs: Sequence[Pair]) -> dict[str, int]:
    ranks = dict.fromkeys(ids, 1)
    for pair in pairs:
        if pair.beats:
            ranks[pair.b] += 1
    return ranks


def _shifted(weights: Floats) -> list[Floats]:
    """Each weight ± 0.10 within [0, 1], the others scaled so that all add up to 1."""
    out = []
    for i, weight in enumerate(weights):
        rest = 1 - weight
        for shift in (-WEIGHT_SHIFT, WEIGHT_SHIFT):
            moved = min(1.0, max(0.0, weight + shift))
            if rest > 0:
                shifted = weights * ((1 - moved) / rest)
                shifted[i] = moved
                out.append(shifted)
    return out


class Pareto(NamedTuple):
    """Entries that nothing dominates, and who dominates the others.

    Attributes:
        axes: the metrics that were compared.
    """

    axes: tuple[str, ...]
    front: list[str]
    dominated: dict[str, list[str]]


AXES = ("accuracy", "ttft_s", "decode_tok_per_s", _MEMORY)
"""Of the Pareto front, whatever a profile weighs."""


def pareto(entries: Sequence[Judged], measured: Collection[str]) -> Pareto:
    """Front of the scored entries of one list over those of the four axes that are measured.

    A dominates B when it is worse by more than 2 % nowhere and better by more than 2 %
    somewhere; memory within 8 MiB is equal. Such tolerance allows rings (A over B over C
    over A): members of a ring stay on the front. Who lacks an axis takes no part.

    Args:
        measured: suites that the profile runs.
    """
    axes = tuple(metric for metric in AXES if suite_of(metric) in measured)
    whole = [e for e in entries if all(metric in e.summaries.metrics for metric in axes)]
    count = len(whole)
    over = np.array([[_dominates(a, b, axes) for b in whole] for a in whole], np.bool_)
    over = over.reshape(count, count)
    reach = over.copy()
    for middle in range(count):
        reach |= np.outer(reach[:, middle], reach[middle])
    ids = [entry.id for entry in whole]
    strictly = reach & ~reach.T
    dominated = {
        ids[b]: [ids[a] for a in range(count) if over[a, b] and strictly[a, b]]
        or [ids[a] for a in range(count) if strictly[a, b]]
        for b in range(count)
        if strictly[:, b].any()
    }
    return Pareto(axes, [model for model in ids if model not in dominated], dominated)


def _dominates(a: Judged, b: Judged, axes: Sequence[str]) -> bool:
    advantages = [_advantage(a, b, metric) for metric in axes]
    return bool(advantages) and min(advantages) >= -LEAST_GAP and max(advantages) > LEAST_GAP


def _advantage(a: Judged, b: Judged, metric: str) -> float:
    """By which share A is better than B, rounded; negative where B is better."""
    mine, theirs = (e.summaries.metrics[metric].value for e in (a, b))
    if metric == _MEMORY and abs(mine - theirs) <= MEMORY_TIE_BYTES:
        return 0.0
    if METRICS[metric].direction == "lower":
        mine, theirs = theirs, mine
    if min(mine, theirs) <= 0:
        # Chance-adjusted accuracy: guessers are alike, and infinitely worse than the rest.
        return float((mine > 0) - (theirs > 0))
    return (
        round_significant(mine / theirs - 1)
        if mine >= theirs
        else -round_significant(theirs / mine - 1)
    )
