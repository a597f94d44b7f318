"""Scorecards made for the report's tests: any number of models, any strings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.records import JournalWriter
from tests import strategies
from tests.report.sample_parts import PAYLOADS, cases, chat, estimate

WEIGHTS = {
    "accuracy": 0.40,
    "ttft_s": 0.20,
    "decode_tok_per_s": 0.20,
    "peak_resident_bytes": 0.20,
}
RECORDS = strategies.records([strategies.Candidate(id="ref")])
SUITES = (
    *("arith", "josa", "calendar", "honorific", "ifeval", "extract", "tools", "longctx"),
    *("logic", "table", "pairs"),
)
"""Of the profile `challenge`."""
AT_CHANCE = "not better than guessing: the 95 % interval of accuracy 0.016 reaches down to -0.004"
TASKS = ("ko-arith", "ko-josa", "ko-count", "en-arith", "en-copy")


def folder(home: Path, records: Sequence[dict[str, Any]] = RECORDS) -> Path:
    """A run's folder with these records, for the forms that hold raw samples."""
    writer = JournalWriter(home / "records.jsonl")
    writer.append(*records)
    writer.close()
    return home


def details(speed: float, memory: float) -> dict[str, Any]:
    """The parts of an entry that no score rests on."""
    return {
        "findings": [],
        "compat": {
            "llama_bench": [
                {"test": "pp512", "tok_per_s": 310.4 * speed, "stddev": 2.31, "n": 15},
                {"test": "tg128", "tok_per_s": 22.38 * speed, "stddev": 0.21, "n": 15},
                {"test": "tg128 @ d1024", "tok_per_s": 20.07 * speed, "stddev": 0.0, "n": 15},
            ],
            "mlperf_client": {"ttft_s": 0.85 / speed, "tok_per_s": 21.2 * speed, "n": 150},
            "aiperf": {
                "ttft_s": {"avg": 1.47 / speed, "p50": 0.84 / speed, "p90": 3.4, "p99": 3.5},
                "itl_s": {"avg": 0.047 / speed, "p50": 0.046, "p90": 0.05, "p99": 0.06},
                "request_latency_s": {"avg": 7.4 / speed, "p50": 6.8, "p90": None, "p99": None},
                "output_tok_per_s_per_user": 21.1 * speed,
            },
        },
        "memory": {
            "phases": {
                case: {
                    "runtime": 34_000_000,
                    "import": 96_000_000,
                    "load": round(memory * part * 0.88),
                    "prefill": round(memory * part),
                    "decode": round(memory * part),
                }
                for case, part in (
                    ("c512", 0.96),
                    ("c2048", 1.0),
                    ("c2048-mmap", 1.04),
                    ("c8192", 1.16),
                )
            },
            "kv_bytes_per_tok": {"fitted": 29_400.0, "computed": 28_672},
            "contexts": [
                {"context": context, "peak_bytes": memory * part}
                for context, part in ((512, 0.96), (2048, 1.0), (8192, 1.16))
            ],
            "split": {
                "context": 2048,
                "runtime": 96e6,
                "weights": memory * 0.8,
                "kv": 2048 * 28_672,
                "rest": memory * 0.2 - 96e6 - 2048 * 28_672,
            },
        },
        "gaps": {
            "n": 6350,
            "min": 0.041 / speed,
            "max": 0.19 / speed,
            "quantiles": {
                str(q): (0.042 + 0.009 * (q / 100) ** 3 + 0.014 * (q > 98)) / speed
                for q in (1, 5, 10, 25, 50, 75, 90, 95, 99)
            },
        },
        "sustained": {"minutes": [21 * speed * (1 - 0.02 * min(m, 5)) for m in range(9)] + [None]},
        "energy": {"methods": ["rapl"]},
        "fidelity": {
            "reference": "ref-1.5b.f16.gguf",
            "reason": "",
            "detail": "",
            "gates": [
                {
                    "id": "fidelity-kld",
                    "metric": "kld_nat",
                    "passed": speed < 1.5,
                    "value": 0.004 * speed**4,
                    "limit": 0.02,
                    "reason": "" if speed < 1.5 else "beyond_limit",
                }
            ],
            "flips": {"to_wrong": 9, "to_right": 2, "n": 400, "p": 0.065},
        },
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
        "chat_template": {"policy": "own", "sha256": "c4" * 32},
        "size_bytes": round(memory * 0.8),
        "rank": rank,
        "rank_range": None if rank is None else [max(1, rank - 1), rank + 1],
        "score": None if rank is None else score,
        "interval": None if rank is None else [score * 0.97, score * 1.03],
        "tied_with": [],
        "reason": "" if rank is not None else "at_chance",
        "detail": "" if rank is not None else AT_CHANCE,
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
            "tpot_s": estimate(0.0465 / speed, 0.02, "s"),
            "itl_s_p50": estimate(0.046 / speed, 0.02, "s"),
            "itl_s_p90": estimate(0.051 / speed, 0.04, "s"),
            "itl_s_p95": estimate(0.055 / speed, 0.05, "s"),
            "itl_s_p99": estimate(0.064 / speed, 0.08, "s"),
            "peak_resident_bytes": estimate(memory, 0.004, "B"),
            **chat(speed, 2.45, 1.6),
            "length_ratio": {"value": 0.97, "lo": None, "hi": None, "n": 20, "unit": "1"},
            "runtime_resident_bytes": estimate(34e6, 0.004, "B"),
            "mbu": estimate(0.71, 0.02, "1"),
            "mfu": estimate(0.43, 0.02, "1"),
            "energy_j": estimate(96 / speed, 0.03, "J", 10),
            "energy_j_per_tok": estimate(0.75 / speed, 0.03, "J/tok", 10),
            "sustained_ratio": estimate(0.9, 0.01, "1", 1),
            "sustained_above_90_s": estimate(598, 0.0, "s", 1),
            "accuracy": estimate(accuracy, 0.06, "1", 400),
            "accuracy_ko": estimate(accuracy * 1.1, 0.08, "1", 240),
            "accuracy_en": estimate(accuracy * 0.9, 0.08, "1", 160),
            "accuracy_raw": estimate(0.2 + 0.8 * accuracy, 0.05, "1", 400),
        },
        "cases": cases(speed, memory),
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
                **answered(i),
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
        **details(speed, memory),
    }


def answered(i: int) -> dict[str, Any]:
    """The details of a task: the last one has only choice items, and its geometry is unknown."""
    last = i == len(TASKS) - 1
    found = {"lowest": 0.0, "median": 0.4, "highest": 1.0, "overdispersion": 1.7 + i}
    return {
        "forms": {
            "choice": {"value": 0.6, "n": 40, "chance": 0.5},
            **({} if last else {"free": {"value": 0.4, "n": 40, "chance": 0.0}}),
        },
        "skipped": {"context_exceeded": 2} if i == 1 else {},
        "templates": {"n": 20, **found},
        "choices": {
            "acc_norm": 0.61,
            "acc_norm_bytes": 0.59,
            "acc_norm_tokens": 0.58,
            "brier": 0.412,
            "calibration_error": 0.083,
            "margin_nat": 0.42,
            "near_ties": None if last else 3 * i,
        },
        "written": None if last else {"strict": 0.3, "credit": 0.45, "truncated": i},
        "geometry": {} if last else {"1": 0.011, "12": 0.072},
    }


def compared(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Answers of the ranked models of an accuracy section, pair by pair."""
    ranked = by_score(entries)
    return {
        "items": 400 if len(ranked) > 1 else None,
        "discordance": 0.21,
        "minimum_detectable_difference": 0.0632,
        "pairs": [
            {"a": first["model"], "b": second["model"], "only_a": 51, "only_b": 33, "both": 200}
            | {"neither": 116, "p": 0.0627, "p_holm": 0.188}
            | {"difference": 0.041, "lo": -0.012, "hi": 0.094}
            for first, second in itertools.combinations(ranked, 2)
        ],
    }


def by_score(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that have a score, the highest first."""
    return sorted((e for e in entries if e["score"]), key=lambda e: -e["score"])


def calibration(read_bytes_per_s: float) -> dict[str, Any]:
    """What a laptop's calibration kernel finds."""
    return {
        "read_bytes_per_s": read_bytes_per_s,
        "copy_bytes_per_s": 36.1e9,
        "fp32_flop_per_s": 812e9,
        "threads": 8,
        "method": "numpy",
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
                    "detail": "2 processes of 5 requests a case; a full run has 10 of 5",
                }
            ],
        },
        "calibration": {
            "before": calibration(41.2e9),
            "after": calibration(40.9e9),
        },
        "attempt": {
            "number": 2,
            "of": 3,
            "announced": True,
            "earlier": [
                {
                    "run": "20261122T070000Z-0a1b2c",
                    "started_utc": "2026-11-22T07:00:00Z",
                    "announced": False,
                    "gone": True,
                },
                {
                    "run": "20261122T091000Z-3d4e5f",
                    "started_utc": "2026-11-22T09:10:00Z",
                    "announced": True,
                    "gone": False,
                },
            ],
            "ledger": "7e" * 32,
        },
        "weights": WEIGHTS,
        "entries": entries,
        "skipped": [
            {
                "model": "byeol-2.4b.q4_k_m.gguf",
                "reason": "not_pulled",
                "detail": "byeol-2.4b.q4_k_m.gguf is not on this machine: "
                "byeol-2.4b.q4_k_m.gguf missing",
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
            for a, b in itertools.combinations(by_score(entries), 2)
        ],
        "accuracy": compared(entries),
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
    entries[3]["findings"] = [
        {
            "code": "slowed_down",
            "severity": "invalid",
            "detail": "the last third of requests decoded at 91.0% of the rate of the first",
        },
        {"code": "not_converged", "severity": "warn", "detail": "3 of 30 warm-ups did not settle"},
    ]
    without_energy(entries[4])
    made = card(entries)
    made["skipped"].append(
        {
            "model": entries[4]["model"],
            "case": "energy-p256-n128",
            "reason": "energy_too_coarse",
            "detail": "3 energy readings inside the request; 5 are needed",
            "hint": "",
        }
    )
    return made


def without_energy(made: dict[str, Any]) -> None:
    """Take a model's energy, its sustained run and its roof away."""
    made |= {"sustained": None, "energy": {"methods": []}}
    gone = ("energy_j", "energy_j_per_tok", "mbu", "mfu", "sustained_ratio", "sustained_above_90_s")
    for metric in gone:
        del made["metrics"][metric]


def crowd(count: int) -> dict[str, Any]:
    """Many models, for sizes and label placement."""
    made = [
        entry(
            f"startup-{i:02d}-model.q4_k_m.gguf",
            rank=1,
            speed=0.6 + 0.07 * ((i * 7) % count),
            skill=2 - 0.05 * i,
        )
        for i in range(count)
    ]
    ranked = by_score(made)
    for place, one in enumerate(ranked, 1):
        one |= {"rank": place, "rank_range": [max(1, place - 1), place + 1]}
    return card(ranked)


def challenge(count: int) -> dict[str, Any]:
    """As many models with all that the profile `challenge` measures: 22 tasks, 9 latency cases."""
    made = crowd(count)
    for found in made["entries"]:
        shape = dict(found["tasks"]["ko-josa"])
        found["tasks"] = {
            f"{language}-{suite}": shape | {"adjusted": shape["adjusted"] * (1 - 0.03 * i)}
            for i, suite in enumerate(SUITES)
            for language in ("ko", "en")
        }
        for case in [case for case in found["cases"] if case.endswith("@d512")]:
            found["cases"][case.replace("@d512", "@d4096")] = found["cases"][case]
        found["jobs"] = [
            {"suite": suite, "process": process, "outcome": "ok", "reason": "", "detail": ""}
            for suite in ("latency", "task", "kernel", "memory", "accuracy", "sustained")
            for process in range(20)
        ]
    return made


def hostile(payloads: Sequence[str] = PAYLOADS) -> dict[str, Any]:
    """Every payload in every place that a model or an engine can write to."""
    entries = []
    for i, payload in enumerate(payloads):
        made = entry("x", rank=i + 1 if i % 3 else None, speed=1 + i / 10, skill=1.0)
        made |= dict.fromkeys(
            ("model", "family", "quantisation", "format", "backend", "licence"), payload
        )
        made |= {"reason": payload, "detail": payload, "tied_with": [payload]}
        made["chat_template"] = {"policy": payload, "sha256": payload}
        made["tasks"][payload] = made["tasks"].pop("ko-arith") | {
            "suite": payload,
            "language": payload,
            "skipped": {payload: 1},
        }
        made["cases"][payload] = made["cases"].pop("fixed-p64-n128")
        made["metrics"][payload] = estimate(1, 0.1, payload)
        made["gates"][0] |= {"id": payload, "reason": payload}
        made["jobs"][1] |= {"outcome": "failed", "reason": payload, "detail": payload}
        made["engine"] = {payload: payload, "build": [payload]}
        made["findings"] = [{"code": payload, "severity": payload, "detail": payload}]
        made["memory"]["phases"][payload] = {payload: 1, "decode": 1}
        made["compat"]["llama_bench"][0]["test"] = payload
        made["fidelity"] |= {"reference": payload, "detail": payload}
        made["fidelity"]["gates"][0] |= {"id": payload, "reason": payload}
        entries.append(made)
    everything = " ".join(payloads)
    return card(
        entries,
        tier=everything,
        run=payloads[0],
        started_utc=payloads[2],
        harness=payloads[1],
        device={"id": everything, "name": payloads[2], payloads[0]: payloads[0]},
        environment={"before": {p: p for p in payloads}, "after": dict.fromkeys(payloads, "x")},
        profile={"id": payloads[0], "version": 1, "title": payloads[4], "note": everything},
        verdict={
            "state": payloads[0],
            "findings": [{"code": p, "severity": p, "detail": p} for p in payloads],
        },
        skipped=[
            {"model": p, "reason": p, "detail": p, "hint": p, "case": case}
            for p in payloads
            for case in ("", p)
        ],
        calibration={"before": calibration(1e9) | {"method": everything}, "after": None},
    )
