"""Ratios to the reference, scores, gates, and the reason where there is no score.

A model is scored only when all that its profile demands was measured; anything that
is missing, refused or not better than guessing is a reason, never a number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from harness.metrics import METRICS, Floats, suite_of
from harness.scoring.formulas import FORMULAS
from harness.scoring.gates import GateResult, Reason, examine_gates, gate_reason
from harness.scoring.itemtable import Items
from harness.scoring.observe import Observed
from harness.scoring.reader import Problem
from harness.scoring.rules import LOAD_CASE, LOAD_CASES, Rules
from harness.scoring.summary import Summaries, Summary
from harness.stats import RESAMPLES, Interval, percentile_interval, round_significant

Division = Literal["fixed-model", "open"]

CAP = 2.0
_EVIDENCE = {
    "latency": ("ttft_s", "requests"),
    "task": ("task_ttft_s", "items"),
    "kernel": ("kernel_{}_tok_per_s", "requests"),
    "sustained": ("sustained_ratio", ""),
    "memory": ("peak_resident_bytes", ""),
    "energy": ("energy_j", "requests"),
    "language": ("bits_per_byte", ""),
}
"""The metric whose values tell that a case was measured, and how many a process gives."""


_KNOWING = frozenset({"accuracy", "language"})
"""Suites that ask what a network knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """One metric against the reference; above 1 is better.

    Attributes:
        value, interval: capped to [1/2, 2]; the interval is None where spread is unknown.
        raw_lo: lower bound before capping, for gates.
        draws: the capped ratio in each resample, `[B]`.
    """

    value: float
    interval: Interval | None
    capped: bool
    raw_lo: float | None
    draws: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One model with everything that is said about it.

    Attributes:
        division: `fixed-model` for artefacts of the network that the profile prescribes.
        score: unrounded; None with a reason.
    """

    observed: Observed
    summaries: Summaries
    ratios: Mapping[str, Ratio]
    gates: tuple[GateResult, ...]
    reason: Reason | None
    division: Division
    score: float | None = None
    interval: Interval | None = None

    @property
    def id(self) -> str:
        """The model's id."""
        return self.observed.id

    @property
    def is_synthetic(self) -> bool:
        """What the fake engine or random weights make up must never stand beside a real model."""
        model = self.observed.model
        return model["format"] == "fake" or bool(model.get("synthetic"))

    @property
    def list_name(self) -> str:
        """Divisions, and real, embedded and synthetic models, never share a ranked list."""
        model = self.observed.model
        name = "embedded" if model["source"]["kind"] == "embedded" else "real"
        # Chosen threads are an advantage that default settings do not have.
        if model.get("tuned") or (model.get("options") or {}).get("threads"):
            name += "-tuned"
        if self.is_synthetic:
            name = "synthetic"
        return f"fixed-{name}" if self.division == "fixed-model" else name

    @property
    def resolved(self) -> bool:
        """Whether the spread of its times is known, so that it can be told from others.

        Requests of one process are not independent: one process says nothing about how
        far the next one would be off. Memory hardly varies between processes.
        """
        return all(
            self.summaries.metrics[metric].processes > 1
            for metric in self.ratios
            if suite_of(metric) not in {"accuracy", "memory"}
        )


def judge(
    observed: list[Observed],
    measured: list[Summaries],
    rules: Rules,
    *,
    memory_budget: float | None,
    run_invalid: str,
    jobs_invalid: Mapping[str, str],
) -> list[Judged]:
    """Judge all models of a run against its reference.

    Args:
        memory_budget: of the device, in bytes, for gates without a limit.
        run_invalid: why the whole run does not count; empty = it does.
        jobs_invalid: why a model's own jobs do not count, by its id.
    """
    reference = next(
        (
            (seen, summary)
            for seen, summary in zip(observed, measured, strict=True)
            if seen.id == rules.profile.reference
        ),
        None,
    )
    against = _reference_reason(reference, rules, jobs_invalid)
    judged = []
    for seen, summary in zip(observed, measured, strict=True):
        ratios: dict[str, Ratio] = {}
        if reference and against is None:
            ratios = _ratios(summary, reference[1], rules)
        accuracy = ratios.get("accuracy")
        gates = examine_gates(
            seen,
            summary,
            accuracy.raw_lo if accuracy else None,
            rules,
            memory_budget=memory_budget,
            invalid="run_invalid" if run_invalid else "invalid_job" * (seen.id in jobs_invalid),
        )
        reason = (
            (Reason("run_invalid", run_invalid) if run_invalid else None)
            or _own_reason(seen, summary, rules, jobs_invalid)
            or against
            or _different_items(seen, reference[0] if reference else seen, rules)
            or gate_reason(gates, rules)
        )
        fixed = rules.profile.fixed_family
        entry = Judged(
            observed=seen,
            summaries=summary,
            ratios=ratios,
            gates=gates,
            reason=reason,
            division="fixed-model" if fixed and seen.model.get("family") == fixed else "open",
        )
        judged.append(entry if reason else _scored(entry, rules))
    return judged


def _scored(entry: Judged, rules: Rules) -> Judged:
    """The score of the profile's formula, with its interval (docs/metrics.md)."""
    if not rules.weights:
        return replace(entry, reason=Reason("no_weights", "the profile weighs no metric"))
    formula = FORMULAS[rules.profile.scoring]
    weighed = [(metric, w, entry.ratios[metric]) for metric, w in rules.weights.items()]
    terms = [w * float(formula.term(m, np.array(ratio.value))) for m, w, ratio in weighed]
    total = float(formula.total(np.array(math.fsum(terms))))
    draws = formula.total(np.sum([w * formula.term(m, r.draws) for m, w, r in weighed], axis=0))
    interval = percentile_interval(draws, total)
    return replace(
        entry,
        score=formula.points(total),
        interval=Interval(formula.points(interval.lo), formula.points(interval.hi)),
    )


def _ratios(summary: Summaries, reference: Summaries, rules: Rules) -> dict[str, Ratio]:
    """Ratios of all metrics that weights or gates ask for and both sides have."""
    out = {}
    for metric in rules.compared:
        mine, theirs = summary.metrics.get(metric), reference.metrics.get(metric)
        if mine and theirs and mine.value > 0 and theirs.value > 0:
            out[metric] = _ratio(metric, mine, theirs)
    return out


def _ratio(metric: str, mine: Summary, theirs: Summary) -> Ratio:
    higher = METRICS[metric].direction == "higher"
    better, worse = (mine, theirs) if higher else (theirs, mine)
    value = better.value / worse.value
    # The reference against itself is 1 in every resample.
    draws = np.ones(1) if mine is theirs else _divided(_draws_of(better), _draws_of(worse))
    draws = np.broadcast_to(draws, RESAMPLES)
    capped: Floats = np.clip(draws, 1 / CAP, CAP)
    known = mine.interval is not None and theirs.interval is not None
    raw = percentile_interval(draws, value)
    bounded = min(CAP, max(1 / CAP, value))
    return Ratio(
        value=bounded,
        interval=percentile_interval(capped, bounded) if known else None,
        capped=not 1 / CAP <= round_significant(value) <= CAP,
        raw_lo=raw.lo if known else None,
        draws=capped,
    )


def _draws_of(summary: Summary) -> Floats:
    return summary.draws if summary.draws is not None else np.array([summary.value])


def _divided(better: Floats, worse: Floats) -> Floats:
    """Draws of a ratio of two positive quantities.

    Chance-adjusted accuracy can fall to 0 or below in a resample: then the ratio is
    as bad, or against such a reference as good, as the caps allow.
    """
    better, worse = np.broadcast_arrays(better, worse)
    out: Floats = np.full(better.shape, CAP * CAP)
    np.divide(better, worse, out=out, where=worse > 0)
    return np.where(better > 0, np.minimum(out, CAP * CAP), 1 / (CAP * CAP))


def _reference_reason(
    reference: tuple[Observed, Summaries] | None, rules: Rules, jobs_invalid: Mapping[str, str]
) -> Reason | None:
    """Why nothing can be scored against the reference."""
    if reference is None:
        return Reason("no_reference", f"the reference {rules.profile.reference} was not measured")
    own = _own_reason(*reference, rules, jobs_invalid)
    if own is None:
        return None
    if own.code == "at_chance":
        return Reason(
            "reference_at_chance",
            f"the reference {rules.profile.reference} is not better than guessing, "
            "so nothing can be divided by its accuracy; name a stronger reference in the "
            "profile, or ask more items",
        )
    return Reason(
        "no_reference", f"the reference {rules.profile.reference} has no score: {own.detail}"
    )


def _own_reason(
    seen: Observed, summary: Summaries, rules: Rules, jobs_invalid: Mapping[str, str]
) -> Reason | None:
    """The first thing that keeps a model from being scored whatever the others did."""
    if invalid := jobs_invalid.get(seen.id):
        return Reason("invalid_job", invalid)
    suites = sorted({suite_of(metric) for metric in rules.judged})
    if seen.model.get("synthetic") and not _KNOWING.isdisjoint(suites):
        return Reason("synthetic_weights", "random weights know nothing: no score of knowledge")
    if broken := next(_broken(seen, rules, suites), None):
        return broken
    for metric in rules.judged:
        found = summary.metrics.get(metric)
        if found is None:
            return Reason("not_measured", f"{metric} was not measured")
        if found.value <= 0 and suite_of(metric) != "accuracy":
            return Reason("not_positive", f"{metric} is {found.value:g}")
    accuracy = summary.accuracy
    if rules.judges_accuracy and accuracy and accuracy.at_chance:
        return Reason(
            "at_chance",
            f"not better than guessing: the 95 % interval of accuracy {accuracy.value:.3f} "
            f"reaches down to {accuracy.interval.lo:.3f}",
        )
    return None


def _broken(seen: Observed, rules: Rules, suites: list[str]) -> Iterator[Reason]:
    """Refused, missing and incomplete cases of the weighted suites, worst first."""
    demanded = {suite: rules.scored(suite) for suite in suites}
    if "load_s" in rules.weights:
        demanded["latency"] = sorted([*demanded["latency"], LOAD_CASE])
    wanted = {case for cases in demanded.values() for case in cases}
    refused = [problem for problem in seen.problems if problem.case in wanted]
    for problem in sorted(refused, key=_severity):
        yield Reason(problem.reason, f"{problem.case}: {problem.detail}")
    for suite, cases in demanded.items():
        for case in cases:
            have, want = _volume(seen, rules, suite, case)
            if have < want:
                yield _missing(seen, suite, case, have, want)


def _severity(problem: Problem) -> tuple[bool, Problem]:
    return problem.reason != "conflicting_samples", problem


def _volume(seen: Observed, rules: Rules, suite: str, case: str) -> tuple[int, int]:
    """Observations of a case that are there and that the profile demands."""
    protocol = rules.profile.protocol
    processes = protocol.processes.get(suite, 1)
    if suite == "accuracy":
        accuracy = rules.profile.suites.accuracy
        # With a time budget there are as many as fitted, the same for every model.
        want = 1 if accuracy and accuracy.budget_s else rules.cases[suite][case].items
        return len(seen.items.get(case, ())), want
    if case == LOAD_CASE:
        # A job starts with a cold cache, a warm one, or one that nobody could look into.
        places = [(name, "load_s") for name in LOAD_CASES.values()]
        return sum(len(seen.counts.get(place, ())) for place in places), processes
    metric, each = _EVIDENCE[suite]
    wanted = {"requests": protocol.requests, "items": rules.cases[suite][case].items}.get(each, 1)
    counts = [min(n, wanted) for n in seen.counts.get((case, metric.format(case[:2])), ())]
    # A process with more requests than asked does not stand in for a missing process.
    return sum(sorted(counts)[-processes:]), processes * wanted


def _missing(seen: Observed, suite: str, case: str, have: int, want: int) -> Reason:
    bad = [job for job in seen.jobs if job.outcome != "ok"]
    # A model that does not load leaves suites without a job: their cases are not the cause.
    failed = [job for job in bad if job.suite == suite] or bad
    amount = f"{case}: {have} of {want} observations"
    if failed:
        job = failed[0]
        end = f"{job.suite} process {job.process} ended {job.outcome}"
        return Reason(
            job.reason or job.outcome, f"{amount}; {end}{': ' if job.detail else ''}{job.detail}"
        )
    return Reason("incomplete_case" if have else "missing_case", amount)


def _different_items(seen: Observed, reference: Observed, rules: Rules) -> Reason | None:
    """Shares are comparable only over the very same items."""
    if not rules.judges_accuracy:
        return None
    for task in rules.scored("accuracy"):
        if not _same_items(seen.items[task], reference.items[task]):
            return Reason("different_items", f"{task}: not the items that the reference answered")
    return None


def _same_items(mine: Items, theirs: Items) -> bool:
    """A skipped item need not say what it would have asked."""
    if mine.asks_as(theirs):
        return True
    if mine.places != theirs.places:
        return False
    both = zip(mine.questions, theirs.questions, mine.skipped, theirs.skipped, strict=True)
    return all(one == other or gone or lost for one, other, gone, lost in both)
