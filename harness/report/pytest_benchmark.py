"""pytest-benchmark.json: a run's times as pytest-benchmark saves its own.

records ─ checked as for a score ─▶ seconds of each process ─▶ one benchmark a case and metric

`pytest-benchmark compare` reads it. A round is one process, its time the median over the
process's requests: rounds are then independent, as that program assumes. It knows only times,
so a rate stands there as seconds a token; what is better to have much of is left out.
"""

from __future__ import annotations

import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

from harness import stats
from harness.metrics import METRICS
from harness.records import read, run_record
from harness.report.formats import Material, json_file
from harness.report.reading import clean, cleaned
from harness.scoring.observe import observe
from harness.scoring.reader import Series
from harness.scoring.rules import read_rules

TIMES = ("load_s", "ttft_s", "tpot_s", "end_to_end_s", "task_ttft_s", "task_end_to_end_s")
RATES = ("kernel_pp_tok_per_s", "kernel_tg_tok_per_s", "task_decode_tok_per_s")
_FORM = "5.1.0"
"""The version of pytest-benchmark that first wrote this form."""
_TIMER = "harness worker"

Json = dict[str, Any]


def files(material: Material) -> dict[str, bytes]:
    """`pytest-benchmark.json`, from the run's records.

    Raises:
        RecordError: the records cannot be read.
    """
    records = read(material.folder / "records.jsonl").records
    run = run_record(records)
    profile = material.card["profile"]
    label = clean(f"{profile['id']} v{profile['version']}")
    found = [
        _benchmark(label, seen.id, case, metric, series)
        for seen in observe(records, run["models"], read_rules(run["profile"]))
        for (case, metric), series in seen.series.items()
        if metric in TIMES or metric in RATES
    ]
    document = {
        "machine_info": _cleaned(material.card["environment"]["before"]),
        "commit_info": {"id": "unversioned", "run": material.card["run"]},
        "benchmarks": found,
        "datetime": material.card["started_utc"],
        "version": _FORM,
    }
    return {"pytest-benchmark.json": json_file(stats.round_all(cleaned(document)))}


def _cleaned(value: Any) -> Any:
    """The same with every text cleaned: pytest-benchmark prints how two machines differ."""
    if isinstance(value, dict):
        return {clean(name): _cleaned(found) for name, found in value.items()}
    if isinstance(value, list):
        return [_cleaned(found) for found in value]
    return clean(value) if isinstance(value, str) else value


def _benchmark(profile: str, model: str, case: str, metric: str, series: Series) -> Json:
    """One benchmark; its name and its group are all that `compare` shows of it."""
    model, case = clean(model), clean(case)
    unit = "s" if metric in TIMES else "s/tok"
    requests = [
        [stats.round_significant(value) for value in _seconds(metric, process.tolist())]
        for process in series.processes
    ]
    rounds = [stats.round_significant(stats.median(values)) for values in requests]
    group = f"{case}:{metric}"
    return {
        "group": group,
        "name": f"{group}[{model}]",
        "fullname": f"{profile}::{group}[{model}]",
        "params": {"model": model},
        "param": model,
        "extra_info": {"metric": metric, "unit": unit, "requests": requests},
        "options": {"timer": _TIMER},
        "stats": {**statistics_of(rounds), "data": rounds, "iterations": 1},
    }


def _seconds(metric: str, values: Sequence[float]) -> Iterator[float]:
    lower = METRICS[metric].direction == "lower"
    return (value if lower else 1 / value for value in values)


def statistics_of(data: Sequence[float]) -> Json:
    """The figures that pytest-benchmark keeps of its rounds, by its own definitions."""
    ordered = sorted(data)
    mean, deviation = statistics.mean(data), statistics.stdev(data) if len(data) > 1 else 0.0
    q1, q3 = _quartiles(ordered)
    least, most = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    beyond = sum(abs(value - mean) > deviation for value in data)
    outside = sum(not least <= value <= most for value in data)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": deviation,
        "rounds": len(data),
        "median": statistics.median(data),
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": outside,
        "stddev_outliers": beyond,
        "outliers": f"{beyond};{outside}",
        "ld15iqr": ordered[bisect_left(ordered, least)],
        "hd15iqr": ordered[bisect_right(ordered, most) - 1],
        "ops": len(data) / sum(data),
        "total": sum(data),
    }


def _quartiles(ordered: Sequence[float]) -> tuple[float, float]:
    """Medians of the halves; of an odd number, each half has half of the middle value."""
    count = len(ordered)
    if count == 1:
        return ordered[0], ordered[0]
    if count % 2 == 0:
        return statistics.median(ordered[: count // 2]), statistics.median(ordered[count // 2 :])
    n, rest = divmod(count, 4)
    if rest == 1:
        low, high = (n - 1, 0.25), (3 * n, 0.75)
    else:
        low, high = (n, 0.75), (3 * n + 1, 0.25)
    q1, q3 = (w * ordered[i] + (1 - w) * ordered[i + 1] for i, w in (low, high))
    return q1, q3
