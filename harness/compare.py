"""Is B worse than A? Verdicts on matched cases of two sides. Pure.

A, B ─ what must be equal ─▶ incomparable, or
     ─ Welch's t a case on ln(process median) ─ Holm over all cases ─ floor ─▶ verdicts

The process is the unit, because requests inside one are not independent. A case is worse
only if its adjusted p is below 5 %, its interval excludes no change, the change is at least
the noise floor and either side has ten processes. Accuracy is compared item by item where
both were asked the same. Method and reasons: docs/comparison.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.comparing.comparable import Axis, Reason, nothing_in_common, reasons_against
from harness.comparing.noise import FLOOR, NO_FLOOR, Floor
from harness.comparing.sides import Answers, Measured, Side
from harness.errors import RecordError, SpecError
from harness.metrics import METRICS
from harness.stats import CONFIDENCE, holm, quiet, round_significant, student_t
from harness.stats_items import POWER, SIGNIFICANCE, mcnemar
from harness.stats_t import quantile, two_sided

Floats = npt.NDArray[np.float64]
Verdict = Literal["regressed", "improved", "inconclusive", "unchanged", "incomparable"]

LEAST_PROCESSES = 10
MOST_PROCESSES, MOST_ITEMS = 1000, 100_000
"""More than these are no advice."""
ACCURACY = "accuracy_raw"
ACCURACY_FLOOR = 0.01
"""Smallest change of the share of right answers that is called one."""
ALL_TASKS = "all"
_NOT_ASKED = Answers("", "", ())
_NOTHING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One metric of one case of one model on both sides.

    Attributes:
        model: id on side B. a, b: geometric means of the process medians, or shares of right
            answers; None where a side lacks the case.
        change, lo, hi: B / A with its 95 % interval; for accuracy B - A. None = not known.
        p, p_holm: of no change, alone and over the comparison.
        floor: smallest change that counts, relative; for accuracy a difference.
        n_a, n_b: processes, or items that both were asked.
        needed: processes a side (or items) that would decide an inconclusive case; None
            where it is decided or no number below 1,000 would.
        reason: code for a case without figures.
    """

    model: str
    case: str
    metric: str
    verdict: Verdict = "inconclusive"
    a: float | None = None
    b: float | None = None
    change: float | None = None
    lo: float | None = None
    hi: float | None = None
    p: float | None = None
    p_holm: float | None = None
    floor: float = FLOOR
    n_a: int = 0
    n_b: int = 0
    needed: int | None = None
    reason: str = ""

    @property
    def is_accuracy(self) -> bool:
        """Whether the change is a difference of shares, and the units are items."""
        return self.metric == ACCURACY


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """B against A.

    Attributes:
        reasons: why nothing was compared; empty where it was.
        cases: in order of model, case and metric.
        only_a, only_b: models that the other side lacks.
        unfinished: of `A` and `B` those whose run did not come to its end.
    """

    a: str
    b: str
    verdict: Verdict
    floor: Floor
    reasons: tuple[Reason, ...] = ()
    cases: tuple[Case, ...] = ()
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()

    def count(self, verdict: Verdict) -> int:
        """How many cases have this verdict."""
        return sum(case.verdict == verdict for case in self.cases)


# --- the test ---------------------------------------------------------------------------


class Effects(NamedTuple):
    """Difference of means with its 95 % interval and p, arrays of one shape."""

    effect: Floats
    lo: Floats
    hi: Floats
    p: Floats


def welch(a: Floats, b: Floats) -> Effects:
    """Welch's (1947) t test and interval of mean(b) - mean(a) along the last axis.

    Args:
        a, b: `[…, k_a]` and `[…, k_b]`, at least two values each; ln of process medians.

    Without any spread the interval is a point, and p 1 where the means agree, 0 where not.
    """
    part_a = a.var(axis=-1, ddof=1) / a.shape[-1]
    part_b = b.var(axis=-1, ddof=1) / b.shape[-1]
    effect = np.atleast_1d(b.mean(axis=-1) - a.mean(axis=-1))
    squared = np.atleast_1d(part_a + part_b)
    # What rounding leaves of equal values is neither a spread nor a difference.
    still = squared < _NOTHING**2
    safe = np.where(still, 1.0, squared)
    weights = part_a**2 / (a.shape[-1] - 1) + part_b**2 / (b.shape[-1] - 1)
    freedom = np.where(still, 1.0, safe**2 / np.where(still, 1.0, weights))
    error = np.sqrt(safe)
    p = np.where(
        still,
        np.where(np.abs(effect) < _NOTHING, 1.0, 0.0),
        two_sided(effect / error, freedom),
    )
    half = np.where(still, 0.0, quantile(1 - CONFIDENCE, freedom) * error)
    return Effects(effect, effect - half, effect + half, p)


def judge(
    effect: float,
    lo: float,
    hi: float,
    p_holm: float,
    *,
    floor: float,
    k: int,
    higher_is_better: bool,
) -> Verdict:
    """The verdict on one case: section 5 of the method in one place.

    Args:
        effect, lo, hi: difference B - A (of logarithms) and its interval. k: processes of
            the smaller side. floor: smallest |effect| that counts.
    """
    certain = p_holm < SIGNIFICANCE and not lo <= 0 <= hi
    if certain and abs(effect) >= floor and k >= LEAST_PROCESSES:
        return "improved" if (effect > 0) == higher_is_better else "regressed"
    return "unchanged" if -floor <= lo and hi <= floor else "inconclusive"


def units_needed(
    effect: float, spread: float, floor: float, cases: int, *, most: int
) -> int | None:
    """Processes a side (or items) that would decide a case, if its effect and spread are as
    they seem.

    An effect of the floor's size or more is decided once it is found with a power of 80 % by
    a t test at 5 % over `cases`, a smaller one once half the interval fits between it and
    the floor. Solved by iteration, because t depends on the number.

    Args:
        spread: variance of B - A for one unit of either side.

    Returns:
        At least 10; None where `most` are not enough.
    """
    real = abs(effect) >= floor
    margin = abs(effect) if real else floor - abs(effect)
    units = LEAST_PROCESSES
    for _ in range(50):
        freedom = 2 * (units - 1)
        t = student_t(freedom)
        if real:
            t = student_t(freedom, SIGNIFICANCE / 2 / cases) + student_t(freedom, 1 - POWER)
        wanted = spread * (t / margin) ** 2
        if wanted > most:
            return None
        last, units = units, max(LEAST_PROCESSES, math.ceil(wanted))
        if units == last:
            break
    return units


# --- comparing --------------------------------------------------------------------------


def compare(
    a: Side,
    b: Side,
    floor: Floor = NO_FLOOR,
    *,
    across: Collection[Axis] = (),
    models: tuple[str, str] | None = None,
) -> Comparison:
    """B against A, model by model of the same id.

    Args:
        floor: of the machine that both ran on. across: what may differ on purpose.
        models: one of A and one of B, instead of all that both have.

    Raises:
        SpecError: both are one and the same, or a model is not there.
        RecordError: a side measured nothing.
    """
    mine, theirs = models or ("", "")
    if a.run == b.run and mine == theirs:
        raise SpecError(
            f"{a.name} and {b.name} are the same run: nothing can differ",
            where=a.run,
            allowed="two runs, a run and a baseline, or RUN:MODEL RUN:MODEL",
            hint="harness compare previous latest",
            reason="same_run",
        )
    for side in (a, b):
        if side.is_empty:
            raise RecordError(
                "nothing was measured: there is nothing to compare",
                where=side.name,
                hint="harness run",
                reason="nothing_measured",
            )
    pairs = [(model, model) for model in sorted(a.models.keys() & b.models.keys())]
    if models:
        a, b, pairs = a.only(mine), b.only(theirs), [models]
    made = Comparison(
        a=a.label,
        b=b.label,
        verdict="incomparable",
        floor=floor,
        reasons=reasons_against(a, b, pairs, across),
        only_a=tuple(sorted(a.models.keys() - {pair[0] for pair in pairs})),
        only_b=tuple(sorted(b.models.keys() - {pair[1] for pair in pairs})),
        unfinished=tuple(name for name, one in (("A", a), ("B", b)) if not one.finished),
    )
    if made.reasons:
        return made
    same_items = a.items == b.items
    cases = _adjusted(
        [
            draft
            for one, other in pairs
            for draft in _drafts(
                other, a.models[one], b.models[other], floor, same_items=same_items
            )
        ]
    )
    if not cases:
        return replace(made, reasons=(nothing_in_common(a, b),))
    return replace(made, cases=cases, verdict=overall([case.verdict for case in cases]))


def overall(verdicts: Collection[Verdict]) -> Verdict:
    """One word for all cases: what needs attention first."""
    order: tuple[Verdict, ...] = ("regressed", "inconclusive", "improved")
    return next((verdict for verdict in order if verdict in verdicts), "unchanged")


class _Draft(NamedTuple):
    """A case before it is adjusted; the figures are differences of logarithms or of shares.

    Attributes:
        k: units of the smaller side, in processes. spread: variance of B - A of one unit.
    """

    case: Case
    effect: float = 0.0
    lo: float = 0.0
    hi: float = 0.0
    floor: float = 0.0
    k: int = 0
    spread: float = 0.0

    def judged(self, p_holm: float | None, cases: int) -> Case:
        """The case with its verdict, and what would decide it."""
        case = self.case
        if p_holm is None:
            return case
        verdict = judge(
            *(self.effect, self.lo, self.hi, p_holm),
            floor=self.floor,
            k=self.k,
            higher_is_better=METRICS[case.metric].direction == "higher",
        )
        needed = self._needed(cases) if verdict == "inconclusive" else None
        return replace(case, verdict=verdict, p_holm=round_significant(p_holm), needed=needed)

    def _needed(self, cases: int) -> int | None:
        units = units_needed(
            self.effect,
            self.spread,
            self.floor,
            cases,
            most=MOST_ITEMS if self.case.is_accuracy else MOST_PROCESSES,
        )
        # An effect that seemed large enough was not: at least one more.
        return None if units is None else max(units, min(self.case.n_a, self.case.n_b) + 1)


def _adjusted(drafts: Sequence[_Draft]) -> tuple[Case, ...]:
    tested = [draft.case.p for draft in drafts if draft.case.p is not None]
    adjusted = iter(holm(tested))
    return tuple(
        draft.judged(None if draft.case.p is None else next(adjusted), len(tested))
        for draft in drafts
    )


def _drafts(
    model: str, a: Measured, b: Measured, floor: Floor, *, same_items: bool
) -> Iterator[_Draft]:
    for case, metric in sorted(a.medians.keys() | b.medians.keys()):
        mine, theirs = a.medians.get((case, metric)), b.medians.get((case, metric))
        plain = Case(
            model=model, case=case, metric=metric, n_a=len(mine or ()), n_b=len(theirs or ())
        )
        if not (mine and theirs):
            yield _Draft(replace(plain, reason="missing_case"))
        elif min(*mine, *theirs) <= 0:
            yield _Draft(replace(plain, reason="not_positive"))
        else:
            yield _timed(plain, np.log(mine), np.log(theirs), floor)
    yield from _answered(model, a.answers, b.answers, same_items=same_items)


def _timed(plain: Case, a: Floats, b: Floats, floor: Floor) -> _Draft:
    smallest = floor.of(plain.metric, math.exp((a.mean() + b.mean()) / 2))
    effect = round_significant(quiet(float(b.mean() - a.mean())))
    made = replace(
        plain,
        a=round_significant(math.exp(a.mean())),
        b=round_significant(math.exp(b.mean())),
        change=round_significant(math.exp(effect)),
        floor=round_significant(math.expm1(smallest)),
        needed=LEAST_PROCESSES,
    )
    if min(a.size, b.size) < 2:
        return _Draft(made)
    _, lo, hi, p = (round_significant(quiet(float(part[0]))) for part in welch(a, b))
    spread = float(a.var(ddof=1) + b.var(ddof=1))
    bounds = [round_significant(math.exp(bound)) for bound in (lo, hi)]
    case = replace(made, lo=bounds[0], hi=bounds[1], p=p, needed=None)
    return _Draft(case, effect, lo, hi, round_significant(smallest), min(a.size, b.size), spread)


def _answered(
    model: str, a: Mapping[str, Answers], b: Mapping[str, Answers], *, same_items: bool
) -> Iterator[_Draft]:
    """All items that both were asked, and each task that cannot be among them."""
    plain = Case(model=model, case=ALL_TASKS, metric=ACCURACY, floor=ACCURACY_FLOOR)
    if a and b and not same_items:
        n_a, n_b = (sum(len(found.outcomes) for found in side.values()) for side in (a, b))
        yield _Draft(replace(plain, n_a=n_a, n_b=n_b, reason="other_items"))
        return
    paired = []
    for task in sorted(a.keys() | b.keys()):
        mine, theirs = a.get(task, _NOT_ASKED), b.get(task, _NOT_ASKED)
        if mine.questions == theirs.questions:
            paired.append(task)
            continue
        reason = "other_items" if mine.outcomes and theirs.outcomes else "missing_case"
        n_a, n_b = len(mine.outcomes), len(theirs.outcomes)
        yield _Draft(replace(plain, case=task, n_a=n_a, n_b=n_b, reason=reason))
    changes: dict[tuple[str, int], list[int]] = {}
    right = Counter[str]()
    for task in paired:
        asked = zip(a[task].outcomes, b[task].outcomes, a[task].clusters, strict=True)
        for before, after, cluster in asked:
            # Who skips an item did not answer it: leaving hard ones out must not pay.
            if (before, after) != ("-", "-"):
                was, is_now = before == "1", after == "1"
                changes.setdefault((task, cluster), []).append(is_now - was)
                right.update(a=was, b=is_now)
    if changes:
        yield _paired(plain, list(changes.values()), right)


def _paired(plain: Case, changes: Sequence[Sequence[int]], right: Mapping[str, int]) -> _Draft:
    """McNemar's test on items, and an interval of the difference of shares whose unit is the
    template: items of one template go right or wrong together.

    Args:
        changes: -1, 0 or 1 of each item, by template. right: items right on side `a` and `b`.
    """
    every = [change for group in changes for change in group]
    n = len(every)
    effect = round_significant(sum(every) / n)
    before, after = (round_significant(right[name] / n) for name in ("a", "b"))
    made = replace(plain, a=before, b=after, n_a=n, n_b=n, change=effect)
    if len(changes) < 2:
        return _Draft(made)  # one template says nothing about the next
    # Variance of a ratio of cluster totals (Cochran 1977, section 9.3), from exact counts.
    total = math.fsum((sum(group) - effect * len(group)) ** 2 for group in changes)
    variance = total * len(changes) / (len(changes) - 1) / n**2
    half = student_t(len(changes) - 1) * math.sqrt(variance)
    lo, hi = round_significant(effect - half), round_significant(effect + half)
    p = round_significant(mcnemar(every.count(-1), every.count(1)))
    case = replace(made, lo=lo, hi=hi, p=p)
    return _Draft(case, effect, lo, hi, ACCURACY_FLOOR, LEAST_PROCESSES, n * variance)
