"""Inter-token latency (ITL) as a distribution: a fixed set of quantiles a model. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.metrics import TAIL_SAMPLES
from harness.scoring.observe import Observed
from harness.scoring.rules import Rules
from harness.stats import quantiles

INNER = (5, 10, 25, 50, 75, 90, 95)
OUTER = (1, 99)
"""Percent; the outer ones need as many values as a tail needs everywhere."""


def itl_distribution(seen: Observed, rules: Rules) -> dict[str, Any] | None:
    """Quantiles in s of all gaps of the scored latency cases together.

    Returns:
        `n` gaps, their `min` and `max` in s, and `quantiles` by percent; None without gaps.
    """
    found = [
        np.hstack(seen.series[case, "itl_s"].processes)
        for case in rules.scored("latency")
        if (case, "itl_s") in seen.series
    ]
    if not found:
        return None
    pooled = np.hstack(found)
    shown = sorted((*INNER, *OUTER)) if pooled.size >= TAIL_SAMPLES else INNER
    values = quantiles(pooled, [q / 100 for q in shown]).tolist()
    return {
        "n": int(pooled.size),
        "min": float(pooled.min()),
        "max": float(pooled.max()),
        "quantiles": dict(zip(map(str, shown), values, strict=True)),
    }
