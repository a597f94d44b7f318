"""Metrics of one model: value, 95 % interval and joint bootstrap draws.

A case's value is the median over processes of each process's median, because the
process is the independent unit; a model's value is the geometric mean over cases.
All metrics of one suite take the same processes in a resample, so that what varies
together in the machine varies together in the draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness.metrics import ITL_PERCENTILES, METRICS, TAIL_SAMPLES, Floats, suite_of
from harness.scoring.accuracy import LANGUAGES, Accuracy, Task, summarise, summarise_task
from harness.scoring.divergence import Divergence
from harness.scoring.efficiency import Roof, utilisation
from harness.scoring.fidelity import figures
from harness.scoring.observe import Observed
from harness.scoring.reader import Series
from harness.scoring.rules import LOAD_CASE, Rules
from harness.stats import (
    RESAMPLES,
    Counts,
    Interval,
    drawn_counts,
    hierarchical_medians,
    median,
    medians,
    outliers,
    percentile_interval,
    process_medians,
    resample_units,
    stream,
)

_ALIKE = frozenset({"latency", "kernel", "energy"})
"""Suites whose requests are alike, so that one far from the others is odd."""


class Spread(NamedTuple):
    """Variation of one metric in one case, relative to its value; None = nothing to compare.

    Attributes:
        processes: standard deviation of the processes' medians.
        requests: median over processes of the standard deviation inside one.
        mad: median absolute deviation of all observations, not scaled.
    """

    processes: float | None
    requests: float | None
    mad: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One metric of one case or model.

    Attributes:
        interval: None where a single observation says nothing about spread.
        n: observations. outliers: of them, far out but kept.
        spread: how far they vary, where a case has several.
        processes: independent units that the value rests on; 0 for accuracy.
        draws: value in each resample, `[B]`; None for metrics that are only shown.
    """

    value: float
    interval: Interval | None
    n: int
    outliers: int = 0
    spread: Spread | None = None
    processes: int = 0
    draws: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summaries:
    """Everything that is computed about one model before it is judged."""

    metrics: Mapping[str, Summary]
    cases: Mapping[str, Mapping[str, Summary]]
    tasks: Mapping[str, Task]
    accuracy: Accuracy | None


def summaries(observed: Observed, rules: Rules, roof: Roof) -> Summaries:
    """All metrics of one model; only scored cases enter its `metrics`."""
    resampler = _Resampler(observed.id, by_case=rules.profile.protocol.grouping == "case")
    cases: dict[str, dict[str, Summary]] = {}
    every = {**observed.series, **utilisation(observed, rules.cases["latency"], roof)}
    for (case, metric), series in sorted(every.items()):
        cases.setdefault(case, {})[metric] = resampler.summarise(case, metric, series)
        if metric == "itl_s":
            cases[case] |= resampler.percentiles(case, series)
    for case, found in observed.divergences.items():
        cases.setdefault(case, {}).update(_figures([found], case))
    known = rules.cases["accuracy"]
    tasks = {
        task: summarise_task(
            task, items, case=known.get(task), geometry=observed.geometry.get(task)
        )
        for task, items in sorted(observed.items.items())
    }
    # A task that the profile does not score, or does not know, is shown only.
    counted = {task: tasks[task] for task in rules.scored("accuracy") if task in tasks}
    accuracy = summarise(counted) if counted else None
    scored = {LOAD_CASE}.union(*(rules.scored(suite) for suite in rules.cases))
    scored |= rules.cases["language"].keys()  # shown as one figure even where nobody weighs it
    metrics = _over_cases({case: found for case, found in cases.items() if case in scored})
    if growth := _kv_growth(cases, rules):
        metrics["kv_growth_bytes_per_tok"] = growth
    metrics |= _figures(list(observed.divergences.values()), "all")
    if accuracy:
        metrics["accuracy"] = Summary(
            value=accuracy.value, interval=accuracy.interval, n=accuracy.n, draws=accuracy.draws
        )
        metrics["accuracy_raw"] = Summary(
            value=accuracy.raw, interval=accuracy.raw_interval, n=accuracy.n
        )
    for language in LANGUAGES:
        if own := {name: task for name, task in counted.items() if task.language == language}:
            mean = summarise(own)
            metrics[f"accuracy_{language}"] = Summary(
                value=mean.value, interval=mean.interval, n=mean.n, draws=mean.draws
            )
    return Summaries(metrics=metrics, cases=cases, tasks=tasks, accuracy=accuracy)


def _figures(found: Sequence[Divergence], name: str) -> dict[str, Summary]:
    """How far an artefact is from its family's reference."""
    shown = figures(found, name) if found else {}
    return {
        metric: Summary(value=one.value, interval=one.interval, n=one.n)
        for metric, one in shown.items()
    }


def length_ratio(seen: Observed, reference: Observed) -> Summary | None:
    """Mean characters of a chat answer over the reference's, on prompts that both answered.

    Greedy answers do not vary, and the few prompts are no sample of all: no interval.
    """
    mine, theirs = seen.answer_chars, reference.answer_chars
    shared = sorted(mine.keys() & theirs.keys())
    length = sum(theirs[place] for place in shared)
    if not length:
        return None
    value = sum(mine[place] for place in shared) / length
    return Summary(value=value, interval=None, n=len(shared))


def _kv_growth(cases: Mapping[str, Mapping[str, Summary]], rules: Rules) -> Summary | None:
    """Least-squares slope of the peak over the context, in B/tok; needs two contexts.

    Contexts with mapped weights are left out: their pages are shared and evictable.
    """
    parts = [
        (case.context, cases[case.id]["peak_resident_bytes"])
        for case in rules.cases["memory"].values()
        if not case.mmap and "peak_resident_bytes" in cases.get(case.id, {})
    ]
    contexts = np.array([context for context, _ in parts], dtype=np.float64)
    if np.unique(contexts).size < 2:
        return None
    centred = contexts - contexts.mean()
    slopes = centred / (centred @ centred)
    value = float(slopes @ np.array([part.value for _, part in parts]))
    drawn = [part.draws for _, part in parts if part.draws is not None]
    draws: Floats = slopes @ np.stack(drawn)
    known = all(part.interval is not None for _, part in parts)
    return Summary(
        value=value,
        interval=percentile_interval(draws, value) if known else None,
        n=sum(part.n for _, part in parts),
        processes=min(part.processes for _, part in parts),
    )


class _Resampler:
    """Summarises series of one model; equal process counts share their draws."""

    def __init__(self, model: str, *, by_case: bool) -> None:
        self._model = model
        self._by_case = by_case
        self._drawn: dict[tuple[str, str, int], Counts] = {}

    def summarise(self, case: str, metric: str, series: Series) -> Summary:
        middles = medians(series.processes)
        value = median(middles)
        n = series.n
        if n == 1:
            alone = np.full(RESAMPLES, value)
            return Summary(value=value, interval=None, n=1, processes=1, draws=alone)
        draws = self._draws(case, series, middles)
        return Summary(
            value=value,
            interval=percentile_interval(draws, value),
            n=n,
            outliers=outliers(np.hstack(series.processes)) if suite_of(metric) in _ALIKE else 0,
            spread=_spread(series, middles) if suite_of(metric) in _ALIKE else None,
            processes=middles.size,
            draws=draws,
        )

    def percentiles(self, case: str, series: Series) -> dict[str, Summary]:
        """Pooled over requests, never a mean of means; the tail needs 100 values to show.

        The draws are those of the processes' own percentiles, moved onto the pooled one.
        """
        pooled = np.hstack(series.processes)
        shown = [q for q in ITL_PERCENTILES if q <= 50 or pooled.size >= TAIL_SAMPLES]
        owns = _percentiles(series.processes, shown)
        out = {}
        for q, value, own in zip(shown, np.percentile(pooled, shown), owns, strict=True):
            draws = self._draws(case, series, own) * (value / median(own))
            out[f"itl_s_p{q}"] = Summary(
                value=float(value),
                interval=percentile_interval(draws, float(value)) if own.size > 1 else None,
                n=pooled.size,
                processes=own.size,
                draws=draws,
            )
        return out

    def _draws(self, case: str, series: Series, medians: Floats) -> Floats:
        group = case if self._by_case else ""
        if medians.size == 1:
            # All metrics of a request share its draws.
            seed = stream("request", self._model, series.suite, case)
            return hierarchical_medians(series.processes, seed)
        key = (series.suite, group, medians.size)
        if key not in self._drawn:
            seed = stream("process", self._model, series.suite, group)
            drawn = resample_units(seed, medians.size)
            self._drawn[key] = drawn_counts(drawn, medians.size)
        return process_medians(medians, self._drawn[key])


def _percentiles(processes: Sequence[Floats], shown: Sequence[int]) -> Floats:
    """All percentiles of each process, `[percentiles, processes]`; those of one size at once."""
    if len({values.size for values in processes}) == 1:
        out: Floats = np.percentile(np.stack(processes), shown, axis=1)
        return out
    return np.stack([np.percentile(values, shown) for values in processes], axis=1)


def _deviations(processes: Sequence[Floats]) -> Floats:
    """Standard deviation in each process of more than one value, `[processes]`."""
    several = [values for values in processes if values.size > 1]
    if len({values.size for values in several}) == 1:
        out: Floats = np.stack(several).std(axis=1, ddof=1)
        return out
    return np.array([float(values.std(ddof=1)) for values in several])


def _spread(series: Series, medians: Floats) -> Spread | None:
    value = median(medians)
    if value <= 0:
        return None
    inside = _deviations(series.processes)
    pooled = np.hstack(series.processes)
    return Spread(
        processes=float(medians.std(ddof=1)) / value if medians.size > 1 else None,
        requests=median(inside) / value if inside.size else None,
        mad=median(np.abs(pooled - median(pooled))) / value,
    )


def _over_cases(cases: Mapping[str, Mapping[str, Summary]]) -> dict[str, Summary]:
    """Geometric mean of each metric over its cases, in the registry's order."""
    by_metric: dict[str, list[Summary]] = {}
    for case in sorted(cases):
        for metric, summary in cases[case].items():
            by_metric.setdefault(metric, []).append(summary)
    return {metric: _geometric(by_metric[metric]) for metric in METRICS if metric in by_metric}


def _geometric(parts: Sequence[Summary]) -> Summary:
    if len(parts) == 1 or min(part.value for part in parts) <= 0:
        # A part of memory can be 0; such metrics come from a single case.
        return parts[0]
    value = math.exp(math.fsum(math.log(part.value) for part in parts) / len(parts))
    stacked = np.log([part.draws for part in parts if part.draws is not None])
    draws: Floats = np.exp(stacked.mean(axis=0))
    known = all(part.interval is not None for part in parts)
    return Summary(
        value=value,
        interval=percentile_interval(draws, value) if known else None,
        n=sum(part.n for part in parts),
        outliers=sum(part.outliers for part in parts),
        processes=min(part.processes for part in parts),
        draws=draws,
    )
