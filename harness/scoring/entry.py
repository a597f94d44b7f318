"""One entry of a scorecard as JSON data: everything that was computed about a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from harness.metrics import METRICS, suite_of
from harness.scoring.accuracy import Level, Task
from harness.scoring.compat import compat
from harness.scoring.details import Share
from harness.scoring.footprint import footprint
from harness.scoring.formulas import FORMULAS
from harness.scoring.gates import GateResult
from harness.scoring.itl import itl_distribution
from harness.scoring.judge import Judged, Ratio
from harness.scoring.observe import Observed
from harness.scoring.rank import Ranking
from harness.scoring.rules import Rules
from harness.scoring.summary import Summaries, Summary
from harness.stats import Interval, median, round_all

LEAST_LENGTH_RATIO = 0.9
"""Of chat answers to the reference's: who says less is not faster."""

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


def entry_json(
    entry: Judged,
    shown: Json,
    ranking: Ranking,
    rules: Rules,
    *,
    findings: Sequence[Json],
    tier: str,
) -> Json:
    """The entry of a model, floats rounded.

    Args:
        shown: by `shown_json`.
        findings: on its jobs. tier: of the run; what is made up has a tier of its own.
    """
    model, reason = entry.observed.model, entry.reason
    places = ranking.ranges.get(entry.id)
    values = {metric: ratio.value for metric, ratio in entry.ratios.items()}
    effects = FORMULAS[rules.profile.scoring].effects(values, rules.weights)
    length = entry.summaries.metrics.get("length_ratio")
    lengths = {"length_ratio": _estimate("length_ratio", length)} if length else {}
    own = {
        "model": entry.id,
        "list": entry.list_name,
        "division": entry.division,
        "tier": "synthetic" if entry.is_synthetic else tier,
        **{name: model.get(name, "") for name in ("family", "format", "quantisation", "licence")},
        "backend": entry.observed.engine.get("backend") or model.get("backend", ""),
        "size_bytes": model.get("size_bytes", 0),
        "chat_template": {
            "policy": model.get("chat_template", "own"),
            "sha256": model.get("template_sha256", ""),
        },
        "rank": ranking.ranks.get(entry.id),
        "rank_range": list(places) if places else None,
        "score": entry.score,
        "interval": _bounds(entry.interval),
        "tied_with": ranking.tied.get(entry.id, []),
        "reason": reason.code if reason else "",
        "detail": reason.detail if reason else "",
        "gates": [_gate(result) for result in entry.gates],
        "ratios": {
            metric: _ratio(ratio) | {"effect": effects.get(metric)}
            for metric, ratio in entry.ratios.items()
        },
        "findings": [*findings, *_own_findings(entry.observed, rules, length)],
    }
    return {**shown, **round_all(own), "metrics": shown["metrics"] | round_all(lengths)}


def _gate(result: GateResult) -> Json:
    return {
        "id": result.gate.id,
        "metric": result.gate.metric,
        "required": result.gate.required,
        "passed": result.passed,
        "value": result.value,
        "limit": result.limit,
        "reason": result.reason,
    }


def _own_findings(seen: Observed, rules: Rules, length: Summary | None) -> list[Json]:
    """What a model's samples say themselves: why cases that no score demands have no figures
    (the others are the reason of an entry), and whether equal requests gave equal outputs.
    """
    suites = {suite_of(metric) for metric in rules.judged}
    demanded = {case for suite in suites for case in rules.scored(suite)}
    out = [
        {"code": reason, "severity": "warn", "detail": f"{case}: {detail}"}
        for case, reason, detail in seen.problems
        if case not in demanded
    ]
    out += [
        {
            "code": "samples_refused",
            "severity": "warn",
            "detail": f"{suite}: no sample can be used: {case}: {reason}: {detail}",
        }
        for suite, (case, reason, detail) in seen.unusable.items()
    ]
    if seen.deterministic is False:
        detail = "the same request gave different outputs"
        out.append({"code": "output_varies", "severity": "warn", "detail": detail})
    if length and length.value < LEAST_LENGTH_RATIO:
        detail = (
            f"its chat answers have {length.value:.0%} of the reference's length: their "
            "end-to-end times do not compare"
        )
        out.append({"code": "short_answers", "severity": "warn", "detail": detail})
    return out


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
    return {metric: _estimate(metric, summary) for metric, summary in found.items()}


def _estimate(metric: str, summary: Summary) -> Json:
    lo, hi = summary.interval or (None, None)
    unit = METRICS[metric].unit
    out: Json = {"value": summary.value, "lo": lo, "hi": hi, "n": summary.n, "unit": unit}
    if summary.spread:
        out["spread"] = summary.spread._asdict()
    return out | ({"outliers": summary.outliers} if summary.outliers else {})


def _ratio(ratio: Ratio) -> Json:
    lo, hi = ratio.interval or (None, None)
    return {"value": ratio.value, "lo": lo, "hi": hi, "capped": ratio.capped}


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


def _bounds(interval: Interval | None) -> list[float] | None:
    return list(interval) if interval else None
