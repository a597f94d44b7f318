"""What an entry shows of one model alone, before models are compared. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.metrics import METRICS
from harness.scoring.accuracy import Level, Task
from harness.scoring.compat import compat
from harness.scoring.details import Share
from harness.scoring.footprint import footprint
from harness.scoring.itl import itl_distribution
from harness.scoring.observe import Observed
from harness.scoring.rules import Rules
from harness.scoring.summary import Summaries, Summary
from harness.stats import median, round_all

Json = dict[str, Any]


def shown_json(seen: Observed, found: Summaries, rules: Rules) -> Json:
    """Of a model's entry what depends on no other model, floats rounded."""
    shown: Json = round_all(
        {
            "metrics": _estimates(found.metrics),
            "cases": {case: _estimates(metrics) for case, metrics in found.cases.items()},
            "tasks": {name: _task(task) for name, task in found.tasks.items()},
            "jobs": [job._asdict() for job in seen.jobs],
            "engine": dict(seen.engine),
            "deterministic": seen.deterministic,
            "compat": compat(seen, rules),
            "memory": footprint(seen, found, rules),
            "gaps": itl_distribution(seen, rules),
            "sustained": _sustained(seen),
            "energy": {"methods": list(seen.energy_methods)},
        }
    )
    return shown


def _sustained(seen: Observed) -> Json | None:
    """Median decode rate in each whole minute, over processes."""
    minutes = [curve.minutes() for curve in seen.curves]
    if not minutes:
        return None
    columns = [
        [rate for rate in column if rate is not None] for column in zip(*minutes, strict=False)
    ]
    return {"minutes": [median(column) if column else None for column in columns]}


def _estimates(found: Mapping[str, Summary]) -> Json:
    return {metric: estimate(metric, summary) for metric, summary in found.items()}


def estimate(metric: str, summary: Summary) -> Json:
    """A metric with its interval, and how far its observations vary."""
    lo, hi = summary.interval or (None, None)
    unit = METRICS[metric].unit
    out: Json = {"value": summary.value, "lo": lo, "hi": hi, "n": summary.n, "unit": unit}
    if summary.spread:
        out["spread"] = summary.spread._asdict()
    return out | ({"outliers": summary.outliers} if summary.outliers else {})


def _task(task: Task) -> Json:
    """What a score rests on, then the details: absent parts are null."""
    found = task.details
    return {
        "suite": task.suite,
        "language": task.language,
        "value": task.value,
        "lo": task.interval.lo,
        "hi": task.interval.hi,
        "n": task.n,
        "chance": task.chance,
        "adjusted": task.adjusted,
        "unanswered": task.unanswered,
        "at_chance": task.at_chance,
        "levels": _named(task.levels),
        "forms": _named(found.forms),
        "skipped": dict(found.skipped),
        "templates": _fields(found.templates),
        "choices": _fields(found.choices),
        "written": _fields(found.written),
        "geometry": {str(tokens): nat for tokens, nat in found.geometry.items()},
    }


def _named(found: Mapping[str, Level | Share]) -> Json:
    return {name: _fields(part) for name, part in found.items()}


def _fields(part: NamedTuple | None) -> Json | None:
    return part._asdict() if part else None
