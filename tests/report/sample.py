"""Scorecards made for the report's tests: any number of models, any strings."""

from __future__ import annotations

import itertools
import math
from typing import Any

WEIGHTS = {
    "accuracy": 0.40,
    "ttft_s": 0.20,
    "decode_tok_per_s": 0.20,
    "peak_resident_bytes": 0.20,
}
PAYLOADS = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)//",
    '"><img src=x onerror=alert(3)>',
    "'><svg/onload=alert(4)>",
    "</style><style>*{display:none}",
    "\x1b[31mred\x1b[0m\x1b]8;;https://evil.example\x07link",
    "\u202egpj.exe\u2066x\u2069",
    "nul\x00byte\x9b2J",
    "a | b `c` **d** [e](https://evil.example) www.evil.example <b>",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(5)",
    "=cmd|' /C calc'!A0",
    "[bold red]markup[/bold red]",
)
TASKS = ("ko-arith", "ko-josa", "ko-count", "en-arith", "en-copy")


def estimate(value: float, spread: float, unit: str, n: int = 50) -> dict[str, Any]:
    """A metric value whose interval is `spread` of it either way."""
    return {
        "value": value,
        "lo": value * (1 - spread),
        "hi": value * (1 + spread),
        "n": n,
        "unit": unit,
    }


def entry(model: str, *, rank: int | None, speed: float, skill: float) -> dict[str, Any]:
    """One model: `speed` and `skill` are its ratios to the reference."""
    ratios = {
        "accuracy": skill,
        "ttft_s": speed,
        "decode_tok_per_s": speed,
        "peak_resident_bytes": 1 / speed,
    }
    score = 1000 * math.exp(sum(WEIGHTS[m] * math.log(r) for m, r in ratios.items()))
    accuracy = 0.31 * skill
    memory = 2.1 * 2**30 * speed
    return {
        "model": model,
        "list": "real",
        "family": "-".join(model.split("-")[:2]),
        "format": "gguf",
        "quantisation": "q4_k_m",
        "backend": "llama_cpp",
        "licence": "apache-2.0",
        "size_bytes": round(memory * 0.8),
        "rank": rank,
        "rank_range": None if rank is None else [max(1, rank - 1), rank + 1],
        "score": None if rank is None else score,
        "interval": None if rank is None else [score * 0.97, score * 1.03],
        "tied_with": [],
        "reason": "" if rank is not None else "at_chance",
        "detail": "" if rank is not None else "the interval of accuracy includes 0",
        "gates": [
            {
                "id": "memory",
                "metric": "peak_resident_bytes",
                "passed": memory < 4 * 2**30,
                "value": memory,
                "limit": 4 * 2**30,
                "reason": "",
            }
        ],
        "ratios": {
            k: {"value": v, "lo": v * 0.97, "hi": v * 1.03, "capped": v >= 2}
            for k, v in ratios.items()
        },
        "metrics": {
            "load_s": estimate(1.2 / speed, 0.05, "s"),
            "ttft_s": estimate(0.84 / speed, 0.03, "s"),
            "prefill_tok_per_s": estimate(304 * speed, 0.02, "tok/s"),
            "decode_tok_per_s": estimate(21.5 * speed, 0.02, "tok/s"),
            "itl_s_p50": estimate(0.046 / speed, 0.02, "s"),
            "itl_s_p90": estimate(0.051 / speed, 0.04, "s"),
            "peak_resident_bytes": estimate(memory, 0.004, "B"),
            "accuracy": estimate(accuracy, 0.06, "1", 400),
            "accuracy_raw": estimate(0.2 + 0.8 * accuracy, 0.05, "1", 400),
        },
        "cases": {
            f"p{p}n128": {
                "ttft_s": estimate(p / 304 / speed, 0.03, "s"),
                "prefill_tok_per_s": estimate(304 * speed, 0.02, "tok/s"),
                "decode_tok_per_s": estimate((22 - p / 512) * speed, 0.02, "tok/s"),
                "itl_s_p90": estimate(0.05 / speed, 0.02, "s"),
            }
            for p in (64, 256, 1024)
        },
        "tasks": {
            task: {
                "value": 0.25 + 0.75 * accuracy * (1 - i * 0.22),
                "lo": 0.25 + 0.6 * accuracy * (1 - i * 0.22),
                "hi": 0.25 + 0.9 * accuracy * (1 - i * 0.22),
                "n": 80,
                "chance": 0.25,
                "adjusted": accuracy * (1 - i * 0.22),
                "unanswered": 0.0125 * i,
                "at_chance": i == len(TASKS) - 1,
                "levels": {"1": {"value": 0.7, "n": 40}, "2": {"value": 0.4, "n": 40}},
            }
            for i, task in enumerate(TASKS)
        },
        "jobs": [
            {"suite": "latency", "process": 0, "outcome": "ok", "reason": "", "detail": ""},
            {
                "suite": "memory",
                "process": 0,
                "outcome": "ok" if rank is not None else "out_of_memory",
                "reason": "",
                "detail": "",
            },
        ],
        "engine": {"name": "llama.cpp", "build": "b6837", "isa": ["avx2", "fma"]},
    }


def card(entries: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """A scorecard around these entries."""
    scorecard: dict[str, Any] = {
        "schema": 1,
        "kind": "scorecard",
        "run": "20261123T081500Z-a1b2c3",
        "profile": {
            "id": "quick",
            "version": 1,
            "title": "Quick self-test",
            "sha256": "5f" * 32,
            "note": "Weights are this project's proposal.",
        },
        "tier": "unverified",
        "reference": entries[0]["model"] if entries else "ref-4m.f16.gguf",
        "harness": "0.1.0",
        "started_utc": "2026-11-23T08:15:00Z",
        "device": {"id": "lg-gram-16-2025", "name": "LG gram 16 (2025)"},
        "environment": {
            "before": {
                "os": "Windows 11 24H2",
                "cpu": "Intel(R) Core(TM) Ultra 7 255H",
                "isa": ["avx2", "avx_vnni", "fma"],
                "physical_cores": 16,
                "memory_bytes": 34_000_000_000,
                "memory_available_bytes": 25_000_000_000,
                "power_source": "ac",
                "power_mode": "best performance",
                "temperature_c": "unknown",
                "virtual_machine": False,
            },
            "after": {
                "memory_available_bytes": 24_000_000_000,
                "power_source": "ac",
                "power_mode": "balanced",
            },
        },
        "verdict": {
            "state": "warn",
            "findings": [
                {
                    "code": "few_repetitions",
                    "severity": "warn",
                    "detail": "2 processes a suite; a challenge run needs 10",
                }
            ],
        },
        "attempt": {"number": 3, "of": 7},
        "weights": WEIGHTS,
        "entries": entries,
        "skipped": [
            {
                "model": "byeol-2.4b.q4_k_m.gguf",
                "reason": "not_pulled",
                "detail": "file is not on this machine",
                "hint": "harness models pull byeol-2.4b.q4_k_m.gguf",
            }
        ],
        "pareto": {
            "front": [e["model"] for e in entries[:3]],
            "dominated": {e["model"]: [entries[0]["model"]] for e in entries[3:]},
        },
        "pairs": [
            {
                "a": a["model"],
                "b": b["model"],
                "gap": abs(a["score"] / b["score"] - 1),
                "p": 0.01,
                "p_adjusted": 0.04 if a["rank"] != b["rank"] else 0.6,
                "beats": a["rank"] != b["rank"],
            }
            for a, b in itertools.combinations((e for e in entries if e["score"]), 2)
        ],
    }
    return scorecard | changes


def laptop() -> dict[str, Any]:
    """Five plausible models: two share the first rank and one has no score."""
    entries = [
        entry("ref-1.5b.q4_k_m.gguf", rank=2, speed=1.0, skill=1.0),
        entry("hanul-2.1b.q4_k_m.gguf", rank=1, speed=0.82, skill=1.52),
        entry("mirae-2.0b.q4_k_m.gguf", rank=1, speed=0.8, skill=1.50),
        entry("narae-1b.q8_0.gguf", rank=4, speed=1.1, skill=0.71),
        entry("sol-360m.q8_0.gguf", rank=None, speed=2.4, skill=0.05),
    ]
    entries[1]["tied_with"] = [entries[2]["model"]]
    entries[2]["tied_with"] = [entries[1]["model"]]
    entries[0]["rank"] = 3
    return card(entries)


def crowd(count: int) -> dict[str, Any]:
    """Many models, for sizes and label placement."""
    return card(
        [
            entry(
                f"startup-{i:02d}-model.q4_k_m.gguf",
                rank=i + 1,
                speed=0.6 + 0.07 * ((i * 7) % count),
                skill=2 - 0.05 * i,
            )
            for i in range(count)
        ]
    )


def hostile() -> dict[str, Any]:
    """Every payload in every place that a model or an engine can write to."""
    entries = []
    for i, payload in enumerate(PAYLOADS):
        made = entry("x", rank=i + 1 if i % 3 else None, speed=1 + i / 10, skill=1.0)
        made |= dict.fromkeys(
            ("model", "family", "quantisation", "format", "backend", "licence"), payload
        )
        made |= {"reason": payload, "detail": payload, "tied_with": [payload]}
        made["tasks"][payload] = made["tasks"].pop("ko-arith")
        made["cases"][payload] = made["cases"].pop("p64n128")
        made["metrics"][payload] = estimate(1, 0.1, payload)
        made["gates"][0] |= {"id": payload, "reason": payload}
        made["jobs"][1] |= {"outcome": "failed", "reason": payload, "detail": payload}
        made["engine"] = {payload: payload, "build": [payload]}
        entries.append(made)
    everything = " ".join(PAYLOADS)
    return card(
        entries,
        tier=everything,
        run=PAYLOADS[0],
        started_utc=PAYLOADS[2],
        harness=PAYLOADS[1],
        device={"id": everything, "name": PAYLOADS[2], PAYLOADS[0]: PAYLOADS[0]},
        environment={"before": {p: p for p in PAYLOADS}, "after": dict.fromkeys(PAYLOADS, "x")},
        profile={"id": PAYLOADS[0], "version": 1, "title": PAYLOADS[4], "note": everything},
        verdict={
            "state": PAYLOADS[0],
            "findings": [{"code": p, "severity": p, "detail": p} for p in PAYLOADS],
        },
        skipped=[{"model": p, "reason": p, "detail": p, "hint": p} for p in PAYLOADS],
    )
