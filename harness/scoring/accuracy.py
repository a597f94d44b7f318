"""Tasks, chance adjustment, and accuracy draws that are paired over templates.

All models answer the same items, so every model's resample takes the same templates:
the draws depend on the task alone, and differences between models keep only what
models differ in. A suite asks in several languages, each a task (`ko-josa`): a mean is
first over the tasks of a suite, then over suites, so that each suite weighs the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from harness.cases import Case
from harness.metrics import Floats
from harness.scoring.details import Details, details
from harness.scoring.items import Geometry, Item
from harness.scoring.itemtable import Items
from harness.spec import Language
from harness.stats import (
    Interval,
    mean_interval,
    percentile_interval,
    percentile_intervals,
    resampled_counts,
    round_significant,
    stream,
    wilson,
)

LANGUAGES = get_args(Language)


class Level(NamedTuple):
    """Share right among the items of one difficulty."""

    value: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task of one model.

    Attributes:
        suite, language: what is asked, and in which language; empty = unknown.
        value, interval: share right. chance: expected of a guesser.
        adjusted, adjusted_interval: (share - chance) / (1 - chance).
        unanswered: share of items without a readable answer, skipped ones apart.
        draws, raw_draws: adjusted and plain share in each resample, `[B]`.
    """

    suite: str
    language: str
    value: float
    interval: Interval
    n: int
    chance: float
    adjusted: float
    adjusted_interval: Interval
    unanswered: float
    levels: Mapping[str, Level]
    details: Details
    draws: Floats
    raw_draws: Floats

    @property
    def at_chance(self) -> bool:
        """The interval does not exclude a guesser."""
        return round_significant(self.adjusted_interval.lo) <= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Macro means over the suites of tasks.

    Attributes:
        value, interval, draws: chance-adjusted.
        raw, raw_interval: plain shares.
    """

    value: float
    interval: Interval
    draws: Floats
    raw: float
    raw_interval: Interval
    raw_draws: Floats
    n: int

    @property
    def at_chance(self) -> bool:
        """The interval of the adjusted mean includes 0."""
        return round_significant(self.interval.lo) <= 0


@cache
def _template_counts(task: str, clusters: int) -> Floats:
    """How often each template is drawn in each resample, `[B, clusters]`, for every model."""
    return resampled_counts(stream("template", task), clusters)


def summarise_task(
    task: str, items: Iterable[Item], *, case: Case | None = None, geometry: Geometry | None = None
) -> Task:
    """Shares, intervals and draws of one task with at least one item.

    The interval is the wider of the template-clustered bootstrap and, at each end, the
    Wilson interval: resampling alone would be sure of itself at 0 and at 100 %.

    Args:
        case: the profile's; without one the task's name tells suite and language.
        geometry: errors of batched scoring, where they were measured.
    """
    suite, language = _place(task, case)
    items = Items.of(items)
    right, chance, n = _by_cluster(items)
    counts = _template_counts(task, n.size)
    drawn_n = counts @ n
    raw_draws: Floats = (counts @ right) / drawn_n
    drawn_chance = (counts @ chance) / drawn_n
    total = len(items)
    guess = math.fsum(items.chances.tolist()) / total
    correct = int(items.correct.sum())
    value = correct / total
    adjusted_draws: Floats = (raw_draws - drawn_chance) / (1 - drawn_chance)
    adjusted = _adjust(value, guess)
    own, own_adjusted = percentile_intervals(
        np.stack([raw_draws, adjusted_draws]), [value, adjusted]
    )
    interval = _widest(own, wilson(correct, total))
    return Task(
        suite=suite,
        language=language,
        value=value,
        interval=interval,
        n=total,
        chance=guess,
        adjusted=adjusted,
        adjusted_interval=_widest(
            own_adjusted,
            Interval(_adjust(interval.lo, guess), _adjust(interval.hi, guess)),
        ),
        unanswered=int((~(items.answered | items.was_skipped)).sum()) / total,
        levels=_levels(items),
        details=details(items, geometry or {}),
        draws=adjusted_draws,
        raw_draws=raw_draws,
    )


def summarise(tasks: Mapping[str, Task]) -> Accuracy:
    """Macro means over at least one task.

    Each interval is the wider of the bootstrap's and that of the parts' intervals.
    """
    by_suite: dict[str, list[Accuracy]] = {}
    for name in sorted(tasks):
        by_suite.setdefault(tasks[name].suite, []).append(_alone(tasks[name]))
    mean = _mean([_mean(by_suite[suite]) for suite in sorted(by_suite)])
    return replace(
        mean,
        interval=_widest(percentile_interval(mean.draws, mean.value), mean.interval),
        raw_interval=_widest(percentile_interval(mean.raw_draws, mean.raw), mean.raw_interval),
    )


def _alone(task: Task) -> Accuracy:
    return Accuracy(
        value=task.adjusted,
        interval=task.adjusted_interval,
        draws=task.draws,
        raw=task.value,
        raw_interval=task.interval,
        raw_draws=task.raw_draws,
        n=task.n,
    )


def _mean(parts: Sequence[Accuracy]) -> Accuracy:
    values, raws = [part.value for part in parts], [part.raw for part in parts]
    return Accuracy(
        value=math.fsum(values) / len(parts),
        interval=mean_interval(values, [part.interval for part in parts]),
        draws=np.mean([part.draws for part in parts], axis=0),
        raw=math.fsum(raws) / len(parts),
        raw_interval=mean_interval(raws, [part.raw_interval for part in parts]),
        raw_draws=np.mean([part.raw_draws for part in parts], axis=0),
        n=sum(part.n for part in parts),
    )


def _place(task: str, case: Case | None) -> tuple[str, str]:
    """Suite and language of a task."""
    language, dash, suite = task.partition("-")
    if case:
        return case.task or task, case.language
    return (suite, language) if dash and language in LANGUAGES else (task, "")


def _by_cluster(items: Items) -> tuple[Floats, Floats, Floats]:
    """Right answers, expected right guesses and items of each template, `[clusters]`.

    With one template there is nothing to resample but the items.
    """
    templates, cluster = _codes(items.templates)
    if len(templates) == 1:
        cluster = np.arange(len(items))
    right, chance, n = (
        np.bincount(cluster, weights).astype(np.float64)
        for weights in (items.correct, items.chances, np.ones(len(items)))
    )
    return right, chance, n


def _codes(values: Sequence[Any]) -> tuple[list[Any], npt.NDArray[np.int64]]:
    """The values that there are, in order, and the place of each one among them."""
    known = sorted(set(values))
    place = {value: at for at, value in enumerate(known)}
    return known, np.array([place[value] for value in values], dtype=np.int64)


def _levels(items: Items) -> dict[str, Level]:
    levels, place = _codes(items.levels)
    size = np.bincount(place).tolist()
    right = np.bincount(place[items.correct], minlength=len(levels)).tolist()
    return {
        str(level): Level(hits / n, n) for level, hits, n in zip(levels, right, size, strict=True)
    }


def _adjust(share: float, chance: float) -> float:
    return (share - chance) / (1 - chance)


def _widest(first: Interval, second: Interval) -> Interval:
    return Interval(min(first.lo, second.lo), max(first.hi, second.hi))
