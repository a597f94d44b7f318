"""Scorecards that a page has to stand: many models, one, none, and nothing but failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from harness.score import scorecard
from tests.perf.scoring_trials import FORMULAS, REF
from tests.report import hostile, sample
from tests.report.snapshots import golden
from tests.strategies import records

FAILED_SUITES = ("latency", "memory", "accuracy")


def failed() -> dict[str, Any]:
    """Three models whose every job crashed."""
    entries = []
    for i in range(3):
        made = sample.entry(f"crash-{i}b.q4_k_m.gguf", rank=None, speed=1, skill=1)
        made |= {part: {} for part in ("cases", "compat", "metrics", "tasks", "ratios", "memory")}
        made |= {"gates": [], "sustained": None, "fidelity": None, "gaps": None}
        made |= {"reason": "missing_case", "detail": "fixed-p64-n128"}
        made["jobs"] = [
            {"suite": suite, "process": process, "outcome": "crashed"}
            | {"reason": "signal_sigsegv", "detail": "the engine ended"}
            for suite in FAILED_SUITES
            for process in range(2)
        ]
        entries.append(made)
    return sample.card(entries)


def mixed() -> dict[str, Any]:
    """Two lists, two formats and two engines, so that every filter has a choice."""
    made = sample.laptop()
    for i, entry in enumerate(made["entries"]):
        if i % 2:
            entry |= {"format": "onnx", "backend": "onnxruntime", "list": "embedded"}
    return made


def joint() -> dict[str, Any]:
    """Five models with long names that share the lead."""
    return sample.card(
        [
            sample.entry(f"a-startup-with-a-name-{i}-2.4b.q4_k_m.gguf", rank=1, speed=1, skill=1)
            for i in range(5)
        ]
    )


def divided() -> dict[str, Any]:
    """Scored by sums, in two divisions and one list of synthetic models."""
    field = [
        REF,
        replace(REF, id="ref.q4.gguf", speed=1.4, seed=1),
        replace(REF, id="other", seed=2, skill=0.7),
        replace(REF, id="slow", speed=0.4, seed=3),
        replace(REF, id="made-up", synthetic=True, seed=4),
    ]
    return scorecard(records(field, replace(FORMULAS["aimers"], fixed_family="ref")))


def attacked() -> dict[str, Any]:
    """Names that would run, were they not only text."""
    return hostile.card(hostile.BY_KIND["html"] + hostile.BY_KIND["json"])


CARDS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "twenty": lambda: sample.crowd(20),
    "golden": golden,
    "laptop": sample.laptop,
    "mixed": mixed,
    "one": lambda: sample.card(
        [sample.entry("ref-1.5b.q4_k_m.gguf", rank=1, speed=1.0, skill=1.0)]
    ),
    "joint": joint,
    "none": lambda: sample.card([]),
    "failed": failed,
    "divided": divided,
    "attacked": attacked,
}
