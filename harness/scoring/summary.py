"""Metrics of one model: value, 95 % interval and joint bootstrap draws.

A case's value is the median over processes of each process's median, because the
process is the independent unit; a model's value is the geometric mean over cases.
All metrics of one suite take the same processes in a resample, so that what varies
together in the machine varies together in the draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from harness.metrics import ITL_PERCENTILES, METRICS, TAIL_SAMPLES, Floats
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
    middle,
    outliers,
    percentile_interval,
    percentile_intervals,
    process_medians,
    quantiles,
    request_medians,
    resample_units,
    stream,
)

Place = tuple[str, str]
"""Case and metric."""
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
    every = {**observed.series, **utilisation(observed, rules.cases["latency"], roof)}
    cases = resampler.summarise(every)
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
    return Summaries(
        metrics=_shown(metrics, kept=rules.compared),
        cases={case: _shown(found) for case, found in cases.items()},
        tasks=tasks,
        accuracy=accuracy,
    )


def _shown(found: Mapping[str, Summary], kept: Collection[str] = ()) -> dict[str, Summary]:
    """Without the draws that nobody needs again, which are most of the memory."""
    return {
        metric: one if metric in kept else replace(one, draws=None) for metric, one in found.items()
    }


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


class _Alike:
    """Series of one suite whose processes hold equally many values: `S` series of `k` processes.

    Attributes:
        places: case and metric of each, `[S]`. pooled: all values of each, `[S, n]`.
        processes: one array `[S, k, m]`, or `k` arrays `[S, m]` where `m` varies.
        middles: median of each process, `[S, k]`.
    """

    def __init__(self, places: Sequence[Place], series: Sequence[Series]) -> None:
        self.places, self.suite = places, series[0].suite
        sizes = [values.size for values in series[0].processes]
        flat = np.concatenate([values for one in series for values in one.processes])
        self.pooled: Floats = flat.reshape(len(series), -1)
        ends = np.cumsum(sizes).tolist()
        self.processes = [
            self.pooled[:, end - size : end] for size, end in zip(sizes, ends, strict=True)
        ]
        if len(set(sizes)) == 1:  # all in one go
            self.processes = [self.pooled.reshape(len(series), len(sizes), -1)]
        self.middles = self.by_process(middle)

    def by_process(self, reduce: Callable[[Floats], Floats], least: int = 1) -> Floats:
        """Figures of each process with at least so many values, `[…, S, k]`.

        Args:
            reduce: along the last axis, to one figure or to several that come first.
        """
        found = [reduce(values) for values in self.processes if values.shape[-1] >= least]
        if not found:
            return np.empty((len(self.places), 0))
        return found[0] if self.processes[0].ndim > 2 else np.stack(found, axis=-1)

    def spreads(self, values: Sequence[float]) -> tuple[list[int], list[Spread | None]]:
        """Outliers and variation of each series, whose medians are these."""
        odd, mads = outliers(self.pooled)
        inside = self.by_process(lambda found: found.std(axis=-1, ddof=1), least=2)
        requests = middle(inside).tolist() if inside.shape[1] else [None] * len(values)
        alone = self.middles.shape[1] == 1
        apart = [None] * len(values) if alone else self.middles.std(axis=1, ddof=1).tolist()
        rows = zip(values, apart, requests, mads.tolist(), strict=True)
        return odd.tolist(), [
            Spread(
                processes=None if between is None else between / value,
                requests=None if within is None else within / value,
                mad=mad / value,
            )
            if value > 0
            else None
            for value, between, within, mad in rows
        ]


class _Resampler:
    """Summarises series of one model; equal process counts share their draws."""

    def __init__(self, model: str, *, by_case: bool) -> None:
        self._model = model
        self._by_case = by_case
        self._drawn: dict[tuple[str, str, int], Counts] = {}

    def summarise(self, every: Mapping[Place, Series]) -> dict[str, dict[str, Summary]]:
        """By case and metric. Series of one shape are taken together."""
        alike: dict[tuple[str, tuple[int, ...]], list[Place]] = {}
        for place, series in sorted(every.items()):
            sizes = tuple(values.size for values in series.processes)
            alike.setdefault((series.suite, sizes), []).append(place)
        found: dict[Place, Summary] = {}
        for places in alike.values():
            stack = _Alike(places, [every[place] for place in places])
            found |= self._whole(stack)
            if gaps := [place for place in places if place[1] == "itl_s"]:
                found |= self._percentiles(_Alike(gaps, [every[place] for place in gaps]))
        cases: dict[str, dict[str, Summary]] = {}
        for case, metric in sorted(found):
            cases.setdefault(case, {})[metric] = found[case, metric]
        return cases

    def _whole(self, stack: _Alike) -> dict[Place, Summary]:
        values = middle(stack.middles).tolist()
        n, count = stack.pooled.shape[1], len(values)
        draws = self._draws(stack, stack.middles[:, None])[:, 0]
        intervals = percentile_intervals(draws, values) if n > 1 else [None] * count
        odd: list[int] = [0] * count
        spreads: list[Spread | None] = [None] * count
        if n > 1 and stack.suite in _ALIKE:
            odd, spreads = stack.spreads(values)
        return {
            place: Summary(
                value=values[at],
                interval=intervals[at],
                n=n,
                outliers=odd[at],
                spread=spreads[at],
                processes=stack.middles.shape[1],
                draws=draws[at],
            )
            for at, place in enumerate(stack.places)
        }

    def _percentiles(self, stack: _Alike) -> dict[Place, Summary]:
        """Pooled over requests, never a mean of means; the tail needs 100 values to show.

        The draws are those of the processes' own percentiles, moved onto the pooled one.
        """
        n, processes = stack.pooled.shape[1], stack.middles.shape[1]
        shown = [q for q in ITL_PERCENTILES if q <= 50 or n >= TAIL_SAMPLES]
        shares = [q / 100 for q in shown]
        values = quantiles(stack.pooled, shares)
        own = stack.by_process(partial(quantiles, shares=shares))
        moved = (values / middle(own)).T[:, :, None]
        draws = self._draws(stack, own.swapaxes(0, 1)) * moved
        found = {}
        for at, (case, _) in enumerate(stack.places):
            listed = values[:, at].tolist()
            intervals = percentile_intervals(draws[at], listed) if processes > 1 else None
            for row, q in enumerate(shown):
                found[case, f"itl_s_p{q}"] = Summary(
                    value=listed[row],
                    interval=intervals[row] if intervals else None,
                    n=n,
                    processes=processes,
                    draws=draws[at, row],
                )
        return found

    def _draws(self, stack: _Alike, figures: Floats) -> Floats:
        """Median over processes in each resample of figures of the processes: `[S, f, k]` →
        `[S, f, B]`.
        """
        if stack.pooled.shape[1] == 1:
            return np.repeat(figures, RESAMPLES, axis=-1)
        if figures.shape[-1] == 1:
            # All metrics of a request share its draws.
            seeds = [stream("request", self._model, stack.suite, case) for case, _ in stack.places]
            pairs = zip(stack.pooled, seeds, strict=True)
            drawn = np.stack([request_medians(values, seed) for values, seed in pairs])
            return np.broadcast_to(drawn[:, None], (*figures.shape[:-1], RESAMPLES))
        found, start = [], 0
        for case, places in groupby(stack.places, itemgetter(0)):
            end = start + len(list(places))
            rows = figures[start:end].reshape(-1, figures.shape[-1])
            found.append(process_medians(rows, self._counts(stack, case)))
            start = end
        return np.concatenate(found).reshape(*figures.shape[:-1], -1)

    def _counts(self, stack: _Alike, case: str) -> Counts:
        """How often each process is drawn: once for all metrics, or all metrics of a case."""
        group = case if self._by_case else ""
        key = (stack.suite, group, stack.middles.shape[1])
        if key not in self._drawn:
            seed = stream("process", self._model, stack.suite, group)
            self._drawn[key] = drawn_counts(resample_units(seed, key[2]), key[2])
        return self._drawn[key]


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
