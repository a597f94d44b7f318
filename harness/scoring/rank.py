"""Who beats whom, ranks with ties, the Pareto front and sensitivity to weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from harness.metrics import METRICS, Floats
from harness.scoring.judge import Judged
from harness.stats import holm, quiet, round_significant, two_sided_p

LEAST_GAP = 0.02
SIGNIFICANCE = 0.05
MEMORY_TIE_BYTES = 8 * 2**20
WEIGHT_SHIFT = 0.10
_MEMORY = "peak_resident_bytes"


class Pair(NamedTuple):
    """Two entries of one list; `a` has the higher score."""

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
        logs: ln ratio, `[entries, metrics]`. draws: in each resample, `[entries,
            metrics, B]`. weights: `[metrics]`.
        memory: peak bytes, `[entries]`, and its column among the metrics, or None.
    """

    ids: list[str]
    logs: Floats
    draws: Floats
    weights: Floats
    resolved: list[bool]
    memory: Floats | None
    memory_column: int


def rank(entries: Sequence[Judged], weights: Mapping[str, float]) -> Ranking:
    """Rank the scored entries of one list, given in order of their ids."""
    if not entries:
        return Ranking({}, {}, {}, [])
    field = _field(entries, list(weights), np.array(list(weights.values())))
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


def _field(entries: Sequence[Judged], metrics: list[str], weights: Floats) -> _Field:
    has_memory = _MEMORY in metrics
    draws = [np.stack([entry.ratios[m].log_draws for m in metrics]) for entry in entries]
    return _Field(
        ids=[entry.id for entry in entries],
        logs=np.array([[math.log(e.ratios[m].value) for m in metrics] for e in entries]),
        draws=np.stack(draws),
        weights=weights,
        resolved=[entry.resolved for entry in entries],
        memory=np.array([e.summaries.metrics[_MEMORY].value for e in entries])
        if has_memory
        else None,
        memory_column=metrics.index(_MEMORY) if has_memory else 0,
    )


def _pairs(field: _Field) -> list[Pair]:
    """All pairs with Holm's adjustment over them."""
    scores = (field.logs * field.weights).sum(axis=1)
    draws = np.einsum("emb,m->eb", field.draws, field.weights, optimize=False)
    found: list[tuple[str, str, float, float]] = []
    for i in range(len(field.ids) - 1):
        after = slice(i + 1, None)
        gaps, errors = scores[i] - scores[after], _errors(draws[i] - draws[after])
        flat_gaps, flat_errors = _without_memory(field, i, gaps, draws)
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
            found.append(
                (field.ids[first], field.ids[second], round_significant(math.expm1(gap)), p)
            )
    adjusted = [round_significant(p) for p in holm([p for *_, p in found])]
    return [
        Pair(a, b, gap, round_significant(p), q, q < SIGNIFICANCE and gap > LEAST_GAP)
        for (a, b, gap, p), q in zip(found, adjusted, strict=True)
    ]


def _without_memory(field: _Field, i: int, gaps: Floats, draws: Floats) -> tuple[Floats, Floats]:
    """Gaps of entry i to those after it, and their errors, leaving memory out."""
    if field.memory is None:
        return gaps, gaps
    column = field.memory_column
    weight = field.weights[column]
    memory = weight * field.draws[:, column]
    logs = weight * field.logs[:, column]
    flat = draws[i] - memory[i] - (draws[i + 1 :] - memory[i + 1 :])
    return gaps - (logs[i] - logs[i + 1 :]), _errors(flat)


def _errors(differences: Floats) -> Floats:
    """Standard errors of score differences from their draws, `[n, B]` → `[n]`."""
    errors: Floats = differences.std(axis=1, ddof=1)
    return errors


def _p(gap: float, error: float) -> float:
    """Two-sided p of a gap in ln S; both rounded, so that noise of 1e-17 is no gap."""
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
    """Entries that nothing dominates, and who dominates the others."""

    front: list[str]
    dominated: dict[str, list[str]]


def pareto(entries: Sequence[Judged], metrics: Sequence[str]) -> Pareto:
    """Front of the scored entries of one list over the weighted metrics.

    A dominates B when it is worse by more than 2 % nowhere and better by more than 2 %
    somewhere; memory within 8 MiB is equal. Such tolerance allows rings (A over B over C
    over A): members of a ring stay on the front.
    """
    count = len(entries)
    over = np.array([[_dominates(a, b, metrics) for b in entries] for a in entries], np.bool_)
    over = over.reshape(count, count)
    reach = over.copy()
    for middle in range(count):
        reach |= np.outer(reach[:, middle], reach[middle])
    ids = [entry.id for entry in entries]
    strictly = reach & ~reach.T
    dominated = {
        ids[b]: [ids[a] for a in range(count) if over[a, b] and strictly[a, b]]
        or [ids[a] for a in range(count) if strictly[a, b]]
        for b in range(count)
        if strictly[:, b].any()
    }
    return Pareto([model for model in ids if model not in dominated], dominated)


def _dominates(a: Judged, b: Judged, metrics: Sequence[str]) -> bool:
    advantages = [_advantage(a, b, metric) for metric in metrics]
    return bool(advantages) and min(advantages) >= -LEAST_GAP and max(advantages) > LEAST_GAP


def _advantage(a: Judged, b: Judged, metric: str) -> float:
    """By which share A is better than B, rounded; negative where B is better."""
    mine, theirs = (e.summaries.metrics[metric].value for e in (a, b))
    if metric == _MEMORY and abs(mine - theirs) <= MEMORY_TIE_BYTES:
        return 0.0
    if METRICS[metric].direction == "lower":
        mine, theirs = theirs, mine
    return (
        round_significant(mine / theirs - 1)
        if mine >= theirs
        else -round_significant(theirs / mine - 1)
    )
