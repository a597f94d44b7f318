"""What a profile demands and how it weighs, read from a run record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.errors import RecordError
from harness.metrics import METRICS
from harness.spec import Gate, digest

LATENCY_METRICS = frozenset(
    {"ttft_s", "prefill_tok_per_s", "decode_tok_per_s", "tpot_s", "itl_s", "end_to_end_s"}
)
MEMORY_METRICS = frozenset({"peak_resident_bytes", "runtime_resident_bytes"})
ACCURACY_METRICS = frozenset({"accuracy", "accuracy_raw"})
LOAD_CASE = "load"


class Shape(NamedTuple):
    """Exact prompt and output tokens of a fixed workload."""

    prompt: int
    output: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A profile as far as judging needs it.

    Attributes:
        latency, memory: demanded cases and their shapes. tasks: demanded accuracy cases.
        processes: fresh processes a suite. requests: a case and process.
        items: a task. weights: by metric id.
        by_case: every case ran in processes of its own.
    """

    id: str
    sha256: str
    reference: str
    tier: str
    tolerates_unknown: bool
    weights: Mapping[str, float]
    gates: tuple[Gate, ...]
    latency: Mapping[str, Shape]
    memory: Mapping[str, Shape]
    tasks: tuple[str, ...]
    processes: Mapping[str, int]
    requests: int
    items: int
    by_case: bool


def read_rules(profile: Mapping[str, Any]) -> Rules:
    """Rules of a profile's JSON.

    Raises:
        RecordError: a field is missing, a weight's metric is not registered, or
            weights do not add up to 1.
    """
    try:
        rules = _read(profile)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RecordError(
            f"the run record's profile cannot be read: {error!r}", reason="bad_profile"
        ) from error
    for metric, weight in rules.weights.items():
        if metric not in METRICS or not 0 <= weight <= 1:
            raise RecordError(
                f"the profile weighs {metric!r} by {weight}",
                allowed=f"a share of 1 for one of {', '.join(sorted(METRICS))}",
                reason="bad_profile",
            )
    if rules.weights and abs(math.fsum(rules.weights.values()) - 1) > 1e-6:
        raise RecordError("the profile's weights do not add up to 1", reason="bad_profile")
    return rules


def _read(profile: Mapping[str, Any]) -> Rules:
    suites, protocol = profile["suites"], profile["protocol"]
    latency, memory = suites.get("latency"), suites.get("memory")
    accuracy = suites.get("accuracy")
    return Rules(
        id=profile["id"],
        sha256=digest(profile),
        reference=profile["reference"],
        tier=profile["tier"],
        tolerates_unknown=bool(profile.get("tolerates_unknown", True)),
        weights={name: float(weight) for name, weight in sorted(profile["weights"].items())},
        gates=tuple(Gate(**gate) for gate in profile.get("gates", ())),
        latency={
            f"fixed-p{p}-n{n}": Shape(p, n)
            for p in (latency or {}).get("prompt_tokens", ())
            for n in (latency or {}).get("output_tokens", ())
        },
        memory=_memory_cases(memory),
        tasks=tuple(
            f"{language}-{task}"
            for language in (accuracy or {}).get("languages", ())
            for task in (accuracy or {}).get("tasks", ())
        ),
        processes={suite: int(k) for suite, k in protocol["processes"].items()},
        requests=int(protocol["requests"]),
        items=int((accuracy or {}).get("items", 0)),
        by_case=protocol["grouping"] == "case",
    )


def _memory_cases(memory: Mapping[str, Any] | None) -> dict[str, Shape]:
    if not memory:
        return {}
    p, n = memory["prompt_tokens"], memory["output_tokens"]
    return {f"p{p}-n{n}": Shape(p, n)}


def suite_of(metric: str) -> str:
    """The suite that measures a metric; empty for those that no profile can demand."""
    if metric in LATENCY_METRICS or metric.startswith(("itl_s_p", "load_s", "tokenise_s")):
        return "latency"
    if metric in ACCURACY_METRICS:
        return "accuracy"
    return "memory" if metric.endswith("_bytes") else ""
