"""Gates: what an entry has to meet, by figures and by facts, each with its reason.

An outcome is passed, failed or open. What cannot be read fails; what is too little to tell, or
was not recorded, is open: it is shown so and takes no score, except under `scoring: gate`,
where nothing else would speak for a model's accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.metrics import METRICS
from harness.scoring.observe import Observed
from harness.scoring.rules import Rules
from harness.scoring.summary import Summaries
from harness.specgate import FACTS, Gate
from harness.stats import round_significant


class Reason(NamedTuple):
    """Why an entry has no score: a code and a sentence."""

    code: str
    detail: str


class GateResult(NamedTuple):
    """A gate's outcome; `passed` is None where it is open."""

    gate: Gate
    passed: bool | None
    value: float | None
    limit: float | None
    reason: str


def examine_gates(
    seen: Observed,
    summary: Summaries,
    accuracy_ratio: float | None,
    rules: Rules,
    *,
    memory_budget: float | None,
    invalid: str,
) -> tuple[GateResult, ...]:
    """Outcomes of all gates of the profile, in its order.

    Args:
        accuracy_ratio: lower bound of its 95 % interval: non-inferiority has to be shown.
        memory_budget: limit of gates on memory that name none, in bytes.
        invalid: code of why the run, or this model's jobs, do not count; empty = they do.
    """
    items = summary.accuracy.n if summary.accuracy else 0
    return tuple(
        _fact(gate, seen, invalid)
        if gate.metric in FACTS
        else _figure(gate, _value(gate, summary, accuracy_ratio), items, memory_budget)
        for gate in rules.profile.gates
    )


def _fact(gate: Gate, seen: Observed, invalid: str) -> GateResult:
    passed: bool | None
    match gate.metric:
        case "run_valid":
            passed, reason = not invalid, invalid
        case "licence_declared":
            passed = bool(str(seen.model.get("licence") or "").strip())
            reason = "" if passed else "no_licence"
        case _:
            # Nothing that breaks a rule gets as far as a run; runs before 2026-12 do not say.
            passed = True if seen.model.get("preflight") == "passed" else None
            reason = "" if passed else "not_recorded"
    return GateResult(gate, passed, None, None, reason)


def _figure(gate: Gate, value: float | None, items: int, memory_budget: float | None) -> GateResult:
    """A gate on rounded figures."""
    limit = gate.limit if gate.limit is not None else memory_budget
    if limit is None:
        return GateResult(gate, None, value, None, "no_budget")
    if value is None:
        return GateResult(gate, passed=False, value=None, limit=limit, reason="not_measured")
    if items < gate.min_items:
        return GateResult(gate, None, value, limit, "too_few_items")
    metric = METRICS.get(gate.metric)
    higher = metric is None or metric.direction == "higher"
    found, asked = round_significant(value), round_significant(limit)
    passed = found >= asked if higher else found <= asked
    return GateResult(gate, passed, value, limit, "" if passed else "beyond_limit")


def _value(gate: Gate, summary: Summaries, accuracy_ratio: float | None) -> float | None:
    if gate.metric == "accuracy_ratio":
        return accuracy_ratio
    source = summary.cases.get(gate.case, {}) if gate.case else summary.metrics
    found = source.get(gate.metric)
    return found.value if found else None


def gate_reason(results: Sequence[GateResult], rules: Rules) -> Reason | None:
    """The first required gate that keeps an entry from a score."""
    for result in results:
        gate = result.gate
        if not gate.required:
            continue
        if result.passed is False:
            return Reason("gate_failed", f"gate {gate.id}: {_missed(result)}")
        if result.passed is None and gate is rules.deciding_gate:
            return Reason("gate_open", f"gate {gate.id} cannot be decided: {_open(result)}")
    return None


def _missed(result: GateResult) -> str:
    metric = result.gate.metric
    if metric == "licence_declared":
        return "no licence is declared; name it in the models file"
    if metric == "run_valid":
        return "the run, or a job of this model, does not count"
    if result.value is None or result.limit is None:
        return f"{metric} not measured"
    return f"{metric} is {round_significant(result.value):g}, the limit is {result.limit:g}"


def _open(result: GateResult) -> str:
    if result.reason == "too_few_items":
        return f"fewer than {result.gate.min_items} items were answered; ask more of them"
    return result.reason
