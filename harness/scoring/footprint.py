"""Where a model's memory goes: peaks by phase, by context, and the peak in parts. Pure.

The parts are an estimate that adds up to the measured peak: the process with its engine
imported is measured, weights and cache are what the engine and the architecture say, and
the rest is what is left. A part is cut where less is left than it should take: mapped
weights that were never read are not resident.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.scoring.observe import Observed
from harness.scoring.rules import Rules
from harness.scoring.summary import Summaries
from harness.stats import median

Json = dict[str, Any]
_PEAK = "peak_resident_bytes"


def footprint(seen: Observed, summaries: Summaries, rules: Rules) -> Json:
    """Everything about one model's memory that no score rests on, in bytes."""
    growth = summaries.metrics.get("kv_growth_bytes_per_tok")
    load = seen.engine.get("load") or {}
    phases = {
        case: {phase: float(median(peaks)) for phase, peaks in found.items()}
        for case, found in seen.phases.items()
    }
    return {
        "phases": phases,
        "kv_bytes_per_tok": {
            "fitted": growth.value if growth else None,
            "computed": load.get("kv_bytes_per_token"),
        },
        "contexts": _contexts(summaries, rules),
        "split": _split(seen, phases, summaries, rules),
    }


def _contexts(summaries: Summaries, rules: Rules) -> list[Json]:
    """Peak by tokens of context; mapped weights are left out, as in the growth."""
    found = [
        {"context": case.context, "peak_bytes": summaries.cases[case.id][_PEAK].value}
        for case in rules.cases["memory"].values()
        if not case.mmap and _PEAK in summaries.cases.get(case.id, {})
    ]
    return sorted(found, key=lambda point: point["context"])


def _split(
    seen: Observed, phases: Mapping[str, Mapping[str, float]], summaries: Summaries, rules: Rules
) -> Json | None:
    """The peak of the scored case in parts; None where the start or the weights are unknown."""
    load = seen.engine.get("load") or {}
    weights = load.get("model_bytes") or seen.model.get("size_bytes")
    for name in rules.scored("memory"):
        own, peak = phases.get(name, {}), summaries.cases.get(name, {}).get(_PEAK)
        start = own.get("import") or own.get("runtime")
        if peak and start and weights:
            context = rules.cases["memory"][name].context
            cache = (load.get("kv_bytes_per_token") or 0) * context
            parts, left = {}, peak.value
            for part, size in (("runtime", start), ("weights", weights), ("kv", cache)):
                parts[part] = min(float(size), left)
                left -= parts[part]
            return {"context": context, **parts, "rest": left}
    return None
