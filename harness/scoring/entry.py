"""One entry of a scorecard as JSON data: what a model shows alone, and what comparing it gave."""

from __future__ import annotations

from collections.abc import Sequence

from harness.metrics import suite_of
from harness.scoring.formulas import FORMULAS
from harness.scoring.gates import GateResult
from harness.scoring.judge import Judged, Ratio
from harness.scoring.observe import Observed
from harness.scoring.rank import Ranking
from harness.scoring.rules import Rules
from harness.scoring.shown import Json, estimate
from harness.scoring.summary import Summary
from harness.stats import Interval, round_all

LEAST_LENGTH_RATIO = 0.9
"""Of chat answers to the reference's: who says less is not faster."""


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
    lengths = {"length_ratio": estimate("length_ratio", length)} if length else {}
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


def _ratio(ratio: Ratio) -> Json:
    lo, hi = ratio.interval or (None, None)
    return {"value": ratio.value, "lo": lo, "hi": hi, "capped": ratio.capped}


def _bounds(interval: Interval | None) -> list[float] | None:
    return list(interval) if interval else None
