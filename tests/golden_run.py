"""The run behind `golden/scorecard.json`: plausible small models on one laptop.

`python -m tests.golden_run` writes the file again after a deliberate change.
"""

from pathlib import Path
from typing import Any

from harness.score import dump, scorecard
from harness.spec import (
    AccuracySuite,
    EnergySuite,
    KernelSuite,
    LatencySuite,
    MemorySuite,
    Protocol,
    Suites,
    SustainedSuite,
    TaskSuite,
)
from harness.spectext import FidelitySuite, LanguageSuite
from tests.answered import formed
from tests.strategies import Candidate, gate, profile, records

PATH = Path(__file__).parent / "golden" / "scorecard.json"

REF_4M, REF_1M = "ref-4m.f16.gguf", "ref-1m.f16.gguf"
PROFILE = profile(
    reference=REF_4M,
    protocol=Protocol(
        processes={"latency": 4, "kernel": 2, "memory": 2},
        requests=5,
        warmup_max=5,
        grouping="suite",
        job_timeout_s=600.0,
    ),
    suites=Suites(
        latency=LatencySuite(prompt_tokens=(64, 256), output_tokens=(32,), depths=(0, 512)),
        task=TaskSuite(languages=("ko", "en"), prompts=3, output_tokens=64),
        kernel=KernelSuite(prompt_tokens=128, output_tokens=32, depths=(0, 512)),
        sustained=SustainedSuite(duration_s=180.0, prompt_tokens=64, output_tokens=32),
        memory=MemorySuite(
            context=288, output_tokens=32, further_contexts=(1024, 4096), mapped=True
        ),
        energy=EnergySuite(prompt_tokens=64, output_tokens=32),
        accuracy=AccuracySuite(
            tasks=("arith", "calendar", "josa", "pairs"), languages=("ko", "en"), items=100
        ),
        language=LanguageSuite(tokens=2048, languages=("ko", "en")),
        fidelity=FidelitySuite(tokens=2048, languages=("ko", "en")),
    ),
    gates=(gate(required=False), gate(id="ttft", metric="ttft_s", limit=3.0, required=False)),
)

CANDIDATES = [
    Candidate(
        id=REF_4M,
        reference=REF_4M,
        skill=0.62,
        memory_mib=84,
        kind="embedded",
        noise=0.02,
    ),
    Candidate(
        id="ref-4m.q8_0.gguf",
        reference=REF_4M,
        kld=0.0004,
        skill=0.62,
        speed=1.24,
        memory_mib=80,
        kind="embedded",
        seed=1,
    ),
    Candidate(
        id="ref-4m.q4_k_m.gguf",
        reference=REF_4M,
        kld=0.0085,
        skill=0.57,
        speed=1.41,
        memory_mib=77,
        kind="embedded",
        seed=2,
    ),
    Candidate(
        id="ref-4m.int4.onnx",
        reference=REF_4M,
        kld=0.031,
        skill=0.58,
        speed=0.83,
        memory_mib=142,
        kind="embedded",
        seed=3,
        format="onnx",
    ),
    Candidate(
        id=REF_1M, reference=REF_1M, skill=0.44, speed=1.9, memory_mib=66, kind="embedded", seed=4
    ),
    Candidate(
        id="ref-1m.q8_0.gguf",
        reference=REF_1M,
        kld=0.0006,
        skill=0.44,
        speed=2.3,
        memory_mib=65,
        kind="embedded",
        seed=5,
    ),
    Candidate(id="ref-1m.q4_0.gguf", skill=0.02, speed=2.6, memory_mib=64, kind="embedded", seed=6),
    Candidate(id="startup-a.q4_k_m.gguf", skill=0.83, speed=0.61, memory_mib=162, seed=7),
    Candidate(
        id="startup-a.q4_k_m.gguf.tuned",
        skill=0.83,
        speed=0.72,
        memory_mib=162,
        seed=7,
        tuned=True,
        chatty=0.7,
    ),
    Candidate(id="startup-b.q4_k_m.gguf", skill=0.84, speed=0.58, memory_mib=166, seed=8),
    Candidate(id="startup-c.q8_0.gguf", skill=0.9, seed=9, fails=(("memory", "out_of_memory"),)),
]


def golden_records() -> list[dict[str, Any]]:
    """Records of the run, with one model that was skipped."""
    plain = records(CANDIDATES, PROFILE, budget=8 * 2**30)
    run, *rest = formed(plain, skipping="ref-1m")
    skipped = {
        "model": "startup-d.q4_k_m.gguf",
        "reason": "not_pulled",
        "detail": "its file is not on this machine",
        "hint": "harness models pull startup-d.q4_k_m.gguf",
    }
    alone = [
        {
            "model": candidate.id,
            "case": f"fidelity-{language}",
            "reason": "no_reference",
            "detail": "no other artefact of the family is measured",
            "hint": "",
        }
        for candidate in CANDIDATES
        if candidate.id.startswith("startup") and not candidate.tuned
        for language in ("ko", "en")
    ]
    stale = {
        "type": "event",
        "kind": "skipped",
        "job": "1f" * 8,
        "model": "ref-1m.q4_0.gguf",
        "suite": "fidelity",
        "process": 0,
        "case": "fidelity-ko",
        "reason": "tokeniser_differs",
        "detail": "token ids of the probe differ from the reference's",
    }
    return [run | {"skipped": [skipped, *alone]}, *map(_odd, rest), stale]


def _odd(record: dict[str, Any]) -> dict[str, Any]:
    if record["type"] == "environment" and record["when"] == "before":
        finding = {"code": "unknown_temperature_c", "severity": "unknown", "detail": "no sensor"}
        return record | {"findings": [finding]}
    return record


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_bytes(dump(scorecard(golden_records())))
