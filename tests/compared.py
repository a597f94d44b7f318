"""Sides of comparisons, made of chosen process medians."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.comparing.sides import Answers, Measured, Side
from harness.stats import round_significant

DEVICE = {"cpu": "Core 7", "physical_cores": 8, "memory_bytes": 16 << 30, "os": "Linux"}
BUILD = {"engine": "llama.cpp", "library_sha256": "aa" * 32}
TTFT, DECODE = ("fixed-p64-n32", "ttft_s"), ("fixed-p64-n32", "decode_tok_per_s")
MEMORY = ("c512", "peak_resident_bytes")
Medians = Mapping[tuple[str, str], tuple[float, ...]]


def spread(centre: float, sd: float, k: int = 10, seed: int = 1) -> tuple[float, ...]:
    """k process medians whose logarithms have this mean and standard deviation, rounded as
    those of a run are.
    """
    draws = np.random.default_rng(seed).standard_normal(k)
    draws = (draws - draws.mean()) / draws.std(ddof=1)
    return tuple(round_significant(float(value)) for value in centre * np.exp(sd * draws))


def model(medians: Medians, **changes: Any) -> Measured:
    plain: dict[str, Any] = {
        "artefact": "0a" * 32,
        "backend": "llama_cpp",
        "build": BUILD,
        "options": {"threads": 8},
        "medians": medians,
        "answers": {},
    }
    return Measured(**(plain | changes))


def side(run: str, models: Mapping[str, Measured], **changes: Any) -> Side:
    plain: dict[str, Any] = {
        "name": run,
        "run": run,
        "harness": "0.1.0",
        "profile": "regression v1",
        "workload": "f0" * 32,
        "suite_versions": {"latency": 2, "memory": 2},
        "device": DEVICE,
        "conditions": {"power_source": "ac"},
        "items": "17",
        "invalid": "",
        "models": models,
    }
    return Side(**(plain | changes))


def one(run: str, medians: Medians, **changes: Any) -> Side:
    """A side with a single model `m`."""
    return side(run, {"m": model(medians)}, **changes)


def answers(outcomes: str, *, questions: str = "q", templates: int = 10) -> Answers:
    clusters = tuple(n % templates for n in range(len(outcomes)))
    return Answers(questions=questions, outcomes=outcomes, clusters=clusters)
