"""Fidelity to the most precise artefact of a family: figures, flips and gates. Pure.

Never a ranking: a gate says whether a file still is the network that it is called after.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from harness.metrics import METRICS, Floats
from harness.scoring.divergence import Divergence
from harness.scoring.observe import Observed
from harness.spectext import FidelitySuite
from harness.stats import (
    Interval,
    percentile_interval,
    quantile,
    resampled_counts,
    round_significant,
    stream,
    wilson,
)
from harness.stats_items import mcnemar

BLOCK_TOKENS = 64
"""Neighbouring tokens are not independent: resampling draws blocks of them."""
_NOTHING_TO_CHECK = frozenset({"is_reference", "no_reference", "synthetic_weights"})
Json = dict[str, Any]
Place = tuple[str, int]


class Figure(NamedTuple):
    """A value, its 95 % interval where one is known, and the tokens behind it."""

    value: float
    interval: Interval | None
    n: int


class Flips(NamedTuple):
    """Choice items that both artefacts answered, and those whose answer turned.

    Attributes:
        p: exact McNemar: how surprising so uneven a split is if no direction is favoured.
    """

    to_wrong: int
    to_right: int
    n: int
    p: float


class Check(NamedTuple):
    """Outcome of a gate, as `judge.GateResult`; None where it cannot be decided."""

    id: str
    metric: str
    passed: bool | None
    value: float | None
    limit: float | None
    reason: str


def figures(found: Sequence[Divergence], name: str) -> dict[str, Figure]:
    """All metrics over one or more texts, tokens pooled."""
    kld = np.hstack([one.kld for one in found])
    n = kld.size
    same = sum(one.same_top for one in found)
    size = sum(one.bytes for one in found)
    change = math.fsum(one.nats - one.reference_nats for one in found) / math.log(2) / size
    rms = math.sqrt(math.fsum(one.squares for one in found) / n)
    return {
        "kld_nat": Figure(float(kld.mean()), _block_interval(found, name), n),
        "kld_nat_p50": Figure(float(quantile(kld, 0.5)), None, n),
        "kld_nat_p99": Figure(float(quantile(kld, 0.99)), None, n),
        "top1_agreement": Figure(same / n, wilson(same, n), n),
        "delta_p_rms": Figure(rms, None, n),
        "bits_per_byte_change": Figure(change, None, n),
    }


def _block_interval(found: Sequence[Divergence], name: str) -> Interval | None:
    """Of the mean divergence, by a bootstrap over blocks of tokens."""
    blocks = [
        one.kld[at : at + BLOCK_TOKENS]
        for one in found
        for at in range(0, one.kld.size, BLOCK_TOKENS)
    ]
    if len(blocks) < 2:
        return None
    counts = _block_counts(name, len(blocks))
    sums, sizes = (np.array([f(block) for block in blocks]) for f in (np.sum, np.size))
    value = float(sums.sum() / sizes.sum())
    return percentile_interval((counts @ sums) / (counts @ sizes), value)


@cache
def _block_counts(name: str, blocks: int) -> Floats:
    """How often each block is drawn in each resample, `[B, blocks]`, for every model."""
    return resampled_counts(stream("block", name), blocks)


def flips(reference: Mapping[Place, bool], candidate: Mapping[Place, bool]) -> Flips | None:
    """Turned answers to the items that both were asked; None where there are none."""
    shared = reference.keys() & candidate.keys()
    if not shared:
        return None
    to_wrong = sum(reference[place] and not candidate[place] for place in shared)
    to_right = sum(candidate[place] and not reference[place] for place in shared)
    return Flips(to_wrong, to_right, len(shared), mcnemar(to_wrong, to_right))


def entry(
    seen: Observed,
    others: Mapping[str, Observed],
    skipped: Iterable[Mapping[str, Any]],
    suite: FidelitySuite | None,
) -> Json | None:
    """What a scorecard says of one artefact; its figures stand among the metrics.

    Args:
        others: all artefacts by id.
        skipped: cases that were not planned, as the run record lists them.
    """
    if suite is None:
        return None
    reason, detail = _why_not(seen, skipped)
    reference = next((one.reference for one in seen.divergences.values()), "")
    turned = None
    if reference in others:
        turned = flips(_choices(others[reference]), _choices(seen))
    elif seen.stores_reference:
        reference, reason, detail = seen.id, "is_reference", ""
    elif not reason:
        return None
    gates = () if reason in _NOTHING_TO_CHECK else checks(seen.divergences, reason, suite)
    return {
        "reference": reference,
        "reason": reason,
        "detail": detail,
        "gates": [gate._asdict() for gate in gates],
        "flips": turned._asdict() if turned else None,
    }


def _why_not(seen: Observed, skipped: Iterable[Mapping[str, Any]]) -> tuple[str, str]:
    """Reason and detail of the first text that was not compared."""
    for problem in seen.problems:
        if problem.case.startswith("fidelity-"):
            return problem.reason, f"{problem.case}: {problem.detail}"
    for job in seen.jobs:
        if job.suite == "fidelity" and job.outcome != "ok":
            return job.reason or job.outcome, job.detail
    for found in skipped:
        if found.get("model") == seen.id and str(found.get("case", "")).startswith("fidelity"):
            return str(found.get("reason", "")), str(found.get("detail", ""))
    return "", ""


def _choices(seen: Observed) -> dict[Place, bool]:
    """Whether each choice item that was asked was right."""
    found: dict[Place, bool] = {}
    for task, items in seen.items.items():
        right = items.correct.tolist()
        rows = [row for table in items.choices for row in table.rows.tolist()]
        found |= {(task, items.numbers[row]): right[row] for row in rows}
    return found


def checks(found: Mapping[str, Divergence], reason: str, suite: FidelitySuite) -> tuple[Check, ...]:
    """The gates: the family's tokeniser, and near enough to its reference on every text.

    Args:
        reason: why a text was not compared; empty where all were.
    """
    alike = None if reason or not found else True
    if reason == "tokeniser_differs":
        alike = False
    worst: dict[str, float] = {}
    if alike:
        each = [figures([one], case) for case, one in found.items()]
        worst["kld_nat"] = max(case["kld_nat"].value for case in each)
        worst["top1_agreement"] = min(case["top1_agreement"].value for case in each)
    limits = {"kld_nat": suite.kld_max, "top1_agreement": suite.agreement_min}
    return (
        Check("fidelity-tokeniser", "", alike, None, None, reason),
        *(
            _limited(
                f"fidelity-{metric.partition('_')[0]}", metric, worst.get(metric), limit, reason
            )
            for metric, limit in limits.items()
        ),
    )


def _limited(name: str, metric: str, value: float | None, limit: float, reason: str) -> Check:
    if value is None:
        return Check(name, metric, None, None, limit, reason)
    shown, most = round_significant(value), round_significant(limit)
    passed = shown >= most if METRICS[metric].direction == "higher" else shown <= most
    return Check(name, metric, passed, value, limit, "" if passed else "beyond_limit")
