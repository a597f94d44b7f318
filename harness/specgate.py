"""How a profile judges: its gates and the formula of its score. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Scoring = Literal["geometric", "aimers", "gate"]
"""`geometric`: weighted geometric mean of ratios. `aimers`: weighted sum of the accuracy ratio
and of gains. `gate`: the geometric mean of speed, among those whose accuracy holds."""
Fact = Literal["run_valid", "artefact_safe", "licence_declared"]
"""What a gate can ask beside figures: the run counts and this model's jobs do; its files kept the
rules of docs/preflight.md; the models file names its licence."""
FACTS: tuple[Fact, ...] = get_args(Fact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A requirement of a profile.

    Attributes:
        metric: a registered metric id, `accuracy_ratio` to the reference, or a `Fact`, which
            has no limit.
        limit: the worst passing value, in the metric's unit; None takes the
            device's memory budget (only for `peak_resident_bytes`).
        case: the case it is read from; empty = the metric's summary.
        required: who misses it has no score; others are only listed.
        min_items: fewer accuracy items leave the gate open, neither passed nor failed.
    """

    id: str
    metric: str
    limit: float | None = None
    case: str = ""
    required: bool = True
    min_items: int = 0


def scoring_fault(scoring: Scoring, weighed: Iterable[str], gates: Iterable[Gate]) -> str:
    """Why weights and gates do not make sense to a formula; empty where they do."""
    metrics = set(weighed)
    if scoring == "aimers" and not {"accuracy"} < metrics:
        return "scoring 'aimers' needs a weight for 'accuracy' and one for what is to be gained"
    if scoring == "gate":
        if any(metric.startswith("accuracy") for metric in metrics):
            return "scoring 'gate' takes accuracy as a gate: it cannot have a weight as well"
        if not any(gate.metric == "accuracy_ratio" and gate.required for gate in gates):
            return "scoring 'gate' needs a required gate on 'accuracy_ratio'"
    return ""
