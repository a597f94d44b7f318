"""Every figure of a scorecard as one flat row: what spreadsheets and notebooks hold.

View ─▶ Measure: model x metric (x case), with its interval and unit
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from harness.metrics import METRICS
from harness.report.figures import natural
from harness.report.view import Estimate, Row, View


class Measure(NamedTuple):
    """One figure.

    Attributes:
        row: the model. case: empty for the model's own summary; of accuracy the task.
        metric: a registered id, or `score`.
        better: `lower` or `higher`; empty for a metric that is not registered.
    """

    row: Row
    case: str
    metric: str
    estimate: Estimate
    unit: str
    better: str


def measures(view: View) -> Iterator[Measure]:
    """All figures: a model's score and summaries first, then its cases and accuracy tasks.

    In the registry's order, and that of numbers in names: never that of the file.
    """
    for row in view.rows:
        if row.score.value is not None:
            yield Measure(row, "", "score", row.score, "1", "higher")
        yield from _of(row, "", row.metrics)
        for case in sorted(row.cases, key=natural):
            yield from _of(row, case, row.cases[case])
        for task in sorted(row.tasks, key=lambda task: natural(task.id)):
            yield from _of(row, task.id, {"accuracy": task.adjusted})


def unit_of(metric: str) -> str:
    """SI base unit of a registered metric; empty for another one."""
    return METRICS[metric].unit if metric in METRICS else ""


def _of(row: Row, case: str, found: Mapping[str, Estimate]) -> Iterator[Measure]:
    known = [metric for metric in METRICS if metric in found]
    for metric in [*known, *sorted(found.keys() - METRICS.keys())]:
        better = METRICS[metric].direction if metric in METRICS else ""
        yield Measure(row, case, metric, found[metric], unit_of(metric), better)
