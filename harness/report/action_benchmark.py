"""Two files for the action github-action-benchmark, which draws a project's figures over time.

It takes one direction a file: `customSmallerIsBetter` and `customBiggerIsBetter`. Each line of
its charts is one metric of one model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.metrics import METRICS, Direction
from harness.report import reading, words
from harness.report.formats import Material, json_file
from harness.report.view import Estimate, Row, View

FILES: dict[Direction, str] = {
    "lower": "benchmark-smaller-is-better.json",
    "higher": "benchmark-bigger-is-better.json",
}
FIGURES = (
    "accuracy",
    "bits_per_byte",
    "load_s",
    "ttft_s",
    "prefill_tok_per_s",
    "decode_tok_per_s",
    "itl_s_p90",
    "task_ttft_s",
    "task_char_per_s",
    "kernel_pp_tok_per_s",
    "kernel_tg_tok_per_s",
    "peak_resident_bytes",
    "energy_j_per_tok",
)
"""Drawn where a run has them, beside what its profile weighs."""


def files(material: Material) -> dict[str, bytes]:
    """Both files; one of them may be an empty list."""
    view = reading.read(material.card)
    wanted = [metric for metric in METRICS if metric in FIGURES or metric in view.weights]
    out = {}
    for direction, name in FILES.items():
        metrics = [metric for metric in wanted if METRICS[metric].direction == direction]
        figures = [figure for row in view.rows for figure in _figures(row, metrics, view)]
        out[name] = json_file(figures)
    return out


def _figures(row: Row, metrics: Iterable[str], view: View) -> Iterable[dict[str, Any]]:
    for metric in metrics:
        estimate = row.metric(metric)
        if estimate.value is not None:
            figure = {
                "name": f"{row.model} {metric}",
                "unit": METRICS[metric].unit,
                "value": estimate.value,
                "extra": "\n".join(_about(estimate, view)),
            }
            yield figure | (_range(estimate))


def _range(estimate: Estimate) -> dict[str, str]:
    if estimate.lo is None or estimate.hi is None:
        return {}
    return {"range": f"{estimate.lo:g} to {estimate.hi:g}"}


def _about(estimate: Estimate, view: View) -> Iterable[str]:
    """What a point of the chart shows beside its value."""
    yield f"95 % interval of {estimate.n} values" if estimate.lo is not None else "no interval"
    yield f"profile {view.profile.get('id', '')} v{view.profile.get('version', '')}, {view.tier}"
    yield words.machine_line(view, "en")
    yield f"run {view.run}, harness {view.harness}"
