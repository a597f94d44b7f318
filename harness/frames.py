"""Results as tidy pandas frames, for notebooks: `harness.load("latest")`.

run folder / record file / scorecard ─▶ Run: frames of one observation a row

Values are in SI units; `frame.attrs["units"]` names them, by column, or by metric where
one column holds all of them. Text is cleaned as in reports: printing a frame in a
terminal obeys nothing that a model's author or an engine wrote.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.typing import NaTType

from harness import runs
from harness.errors import RecordError
from harness.metrics import METRICS
from harness.records import Record, current, run_record
from harness.report import reading
from harness.report.measures import measures, unit_of
from harness.report.view import Row, View
from harness.scoring.gather import gather
from harness.scoring.items import Item
from harness.scoring.readings import Reading, Readings, readings
from harness.scoring.rules import read_rules

_cached = lru_cache(maxsize=4096)(reading.clean)


def _columns(text: str) -> dict[str, str]:
    """Names and their type, group by group: `run model: category, value lo hi: float64`."""
    groups = (group.split(":") for group in text.split(","))
    return {name: kind.strip() for names, kind in groups for name in names.split()}


def _clean(text: object) -> str:
    return _cached(str(text))


_SAMPLES = _columns(
    "run model suite case: category, process: int64, request: Int64, position: int64,"
    "metric: category, value: float64, unit: category, used: bool, reason detail: category"
)
_ITEMS = _columns(
    "run model task form template: category, index level: int64, chance: float64,"
    "correct answered: bool, strict: boolean, credit: float64, truncated: boolean,"
    "margin_nat: float64, skipped: category"
)
_JOBS = _columns(
    "run model suite: category, process: int64, outcome reason: category, detail: object,"
    "wall_s: float64"
)
_METRICS = _columns(
    "run model case metric: category, value lo hi: float64, n: Int64, unit better: category"
)
_GATES = _columns(
    "run model gate metric: category, passed: boolean, value limit: float64, unit reason: category"
)
_SCORECARD = _columns(
    "run: category, started: UTC, model: object, list: category, rank: Int64,"
    "score score_lo score_hi: float64, reason format quantisation backend licence: category,"
    "size_bytes: float64, on_front: bool"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run.

    Attributes:
        id: of the run. started: UTC; NaT where the run does not say.
        scorecard: a row a model, a column a metric (the model's own summary).
        metrics: a row a model x metric x case with its 95 % interval; the case of a
            model's own summary is empty, and of an accuracy task its name.
        samples: a row a value: model, suite, case, process, request (missing where the
            value is a whole process's), position within the request, metric. A refused
            sample is a row without a metric: `used` is False and `reason` says why.
        items: a row an accuracy item. jobs: a row a worker process.
        gates: a row a gate of a model; `passed` is missing where it is inconclusive.
        card: contents of scorecard.json.
    """

    id: str
    started: pd.Timestamp | NaTType
    scorecard: pd.DataFrame
    metrics: pd.DataFrame
    samples: pd.DataFrame
    items: pd.DataFrame
    jobs: pd.DataFrame
    gates: pd.DataFrame
    card: Mapping[str, Any]


def load(path: str | Path = "latest", *, results: str | Path = "results") -> Run:
    """Read a run: `harness.load`, which says the rest.

    A scorecard alone has no samples, no items and no job times.
    """
    file = Path(path)
    if file.is_file() and file.suffix == ".json":
        return _alone(file)
    if not file.is_file():
        file = runs.find_run(str(path), Path(results)) / "records.jsonl"
    journal, card = runs.scored(file)
    return _run(card, journal.records)


def observations(records: Sequence[Record]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frames `samples` and `items` of a run's records.

    Raises:
        RecordError: there is no run record, or its profile cannot be read.
    """
    values: list[tuple[str, Reading]] = []
    items: list[tuple[Any, ...]] = []
    run = run_record(records) if records else None
    name = _clean(run["run"]) if run else ""
    for model, seen in _by_model(run, records) if run else ():
        values += ((model, one) for one in seen.observed)
        for task, answered in seen.items.items():
            items += ((name, model, _clean(task), *_item(item)) for item in answered)
    return _samples(name, values), _frame(_ITEMS, items, {"margin_nat": "nat"})


def _by_model(run: Mapping[str, Any], records: Iterable[Record]) -> Iterator[tuple[str, Readings]]:
    rules = read_rules(run["profile"])
    _, counted = gather(records)
    for model in sorted({str(model["id"]) for model in run["models"]}):
        yield _clean(model), readings(counted.of(model).samples, rules)


def _run(card: Mapping[str, Any], records: Sequence[Record]) -> Run:
    view = reading.read(card)
    samples, items = observations(records)
    return Run(
        id=view.run,
        started=_started(view),
        scorecard=_scorecard(view),
        metrics=_metrics(view),
        samples=samples,
        items=items,
        jobs=_jobs(view, records),
        gates=_gates(view),
        card=card,
    )


def _alone(path: Path) -> Run:
    """What a scorecard file says without its records."""
    try:
        found = json.loads(path.read_bytes())
        return _run(found if isinstance(found, dict) else {}, [])
    except RecordError as error:
        error.where = str(path)
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecordError(
            f"this is no whole scorecard: {type(error).__name__}: {error}",
            where=str(path),
            hint="harness score RUN",
            reason="scorecard_unreadable",
        ) from error


def _samples(run: str, values: Sequence[tuple[str, Reading]]) -> pd.DataFrame:
    """Arrays of a request become rows; columns are built whole, for there may be millions."""
    counts = np.array([np.size(one.values) for _, one in values], dtype=np.int64)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    plain = [
        (
            *(run, model, one.suite, _clean(one.case), one.process, one.request),
            *(one.metric or None, unit_of(one.metric) or None, not one.reason),
            *(one.reason or None, _clean(one.detail) or None),
        )
        for model, one in values
    ]
    names = [name for name in _SAMPLES if name not in {"position", "value"}]
    one_each = _frame({name: _SAMPLES[name] for name in names}, plain)
    frame = one_each.take(np.repeat(np.arange(len(values)), counts)).reset_index(drop=True)
    frame["position"] = np.arange(counts.sum()) - starts
    found = [np.atleast_1d(one.values) for _, one in values]
    frame["value"] = np.concatenate([np.empty(0), *found])
    frame = frame[list(_SAMPLES)]
    frame.attrs["units"] = _units(frame["metric"].cat.categories)
    return frame


def _item(item: Item) -> tuple[Any, ...]:
    """What is not secret of an item: neither texts nor the right option."""
    free, choice = item.free, item.choice
    return (
        *(item.form or None, _clean(item.template), item.number, item.level, item.chance),
        *(item.correct, item.answered),
        *((free.strict, free.credit, free.truncated) if free else (None, None, None)),
        *(choice.margin_nat if choice else None, item.skipped or None),
    )


def _jobs(view: View, records: Sequence[Record]) -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = [
        (
            *(view.run, _clean(job.get("model", "")), _clean(job.get("suite", ""))),
            *(
                job.get("process", 0),
                _clean(job.get("outcome", "")),
                _clean(job.get("reason", "")) or None,
            ),
            *(_clean(job.get("detail", "")), job.get("wall_s")),
        )
        for job in current(records)
        if job["type"] == "job"
    ]
    if not records:
        rows = [
            (
                *(view.run, job.model, job.suite, int(job.process)),
                *(job.outcome, job.reason or None, job.detail, None),
            )
            for row in view.rows
            for job in row.jobs
        ]
    return _frame(_JOBS, rows, {"wall_s": "s"})


def _metrics(view: View) -> pd.DataFrame:
    rows = [
        (
            *(view.run, one.row.model, one.case, one.metric),
            *(one.estimate.value, one.estimate.lo, one.estimate.hi, one.estimate.n),
            *(one.unit or None, one.better or None),
        )
        for one in measures(view)
    ]
    frame = _frame(_METRICS, rows)
    frame.attrs["units"] = _units(frame["metric"].cat.categories)
    return frame


def _gates(view: View) -> pd.DataFrame:
    rows = [
        (
            *(view.run, row.model, gate.id, gate.metric, gate.passed, gate.value, gate.limit),
            *(unit_of(gate.metric) or None, gate.reason or None),
        )
        for row in view.rows
        for gate in row.gates
    ]
    frame = _frame(_GATES, rows)
    frame.attrs["units"] = _units(frame["metric"].cat.categories)
    return frame


def _scorecard(view: View) -> pd.DataFrame:
    shown = [name for name in METRICS if any(name in row.metrics for row in view.rows)]
    columns = _SCORECARD | dict.fromkeys(shown, "float64")
    rows = [(*_entry(view, row), *(row.metric(name).value for name in shown)) for row in view.rows]
    return _frame(columns, rows, {"size_bytes": "B", "score": "1", **_units(shown)})


def _entry(view: View, row: Row) -> tuple[Any, ...]:
    return (
        *(view.run, _started(view), row.model, row.list_name, row.rank),
        *(row.score.value, row.score.lo, row.score.hi, row.reason or None),
        *(row.format, row.quantisation, row.backend, row.licence or None),
        *(row.size_bytes, row.on_front),
    )


def _started(view: View) -> pd.Timestamp | NaTType:
    return pd.to_datetime(view.started_utc, utc=True, errors="coerce")


def _units(names: Iterable[str]) -> dict[str, str]:
    return {name: unit_of(name) for name in names if name in METRICS}


def _frame(
    columns: Mapping[str, str],
    rows: Sequence[tuple[Any, ...]],
    units: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Rows under these columns, each of its type also where there is no row."""
    cells = list(zip(*rows, strict=True)) or [()] * len(columns)
    found = zip(columns.items(), cells, strict=True)
    frame = pd.DataFrame({name: _series(kind, values) for (name, kind), values in found})
    frame.attrs["units"] = dict(units or {})
    return frame


def _series(kind: str, values: Sequence[Any]) -> pd.Series[Any]:
    if kind == "category":
        # By way of objects: where all are missing pandas would think of numbers.
        return pd.Series(list(values), dtype="object").astype("category")
    if kind == "UTC":
        return pd.Series(pd.to_datetime(list(values), utc=True))
    return pd.Series(list(values), dtype=kind)
