"""Generated runs: records as a worker would have written them, and Hypothesis strategies.

`records(...)` is deterministic: the same arguments give the same records everywhere.
"""

import hashlib
import random
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from harness.spec import (
    AccuracySuite,
    Gate,
    LatencySuite,
    MemorySuite,
    Model,
    Profile,
    Protocol,
    Source,
    Suites,
    to_json,
)

MIB = 2**20
WEIGHTS = {
    "accuracy": 0.40,
    "ttft_s": 0.20,
    "decode_tok_per_s": 0.20,
    "peak_resident_bytes": 0.20,
}
CHANCE = {"arith": 0.0, "calendar": 0.25, "josa": 0.5, "pairs": 0.5}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model as the generated run measures it.

    Attributes:
        speed: times are those of a plain model divided by this.
        skill: share of items known; the rest is guessed.
        noise: standard deviation of ln(time) between processes; requests have half.
        seed: of its noise; candidates with equal seeds measure alike.
        fails: suite → outcome of its jobs, which then leave no samples.
    """

    id: str
    speed: float = 1.0
    memory_mib: float = 400.0
    skill: float = 0.5
    noise: float = 0.01
    seed: int = 0
    kind: str = "file"
    format: str = "gguf"
    fails: tuple[tuple[str, str], ...] = ()


def profile(**changes: Any) -> Profile:
    """A small profile in the manner of `quick`."""
    made = Profile(
        id="quick",
        version=1,
        title="Quick self-test",
        reference="ref",
        tier="unverified",
        protocol=Protocol(
            processes={"latency": 3, "memory": 1, "accuracy": 1},
            requests=3,
            warmup_max=3,
            grouping="suite",
            job_timeout_s=120.0,
        ),
        suites=Suites(
            latency=LatencySuite(prompt_tokens=(64, 256), output_tokens=(32,)),
            memory=MemorySuite(prompt_tokens=256, output_tokens=32),
            accuracy=AccuracySuite(tasks=("arith", "josa"), languages=("ko", "en"), items=60),
        ),
        weights=WEIGHTS,
        note="Weights are this project's proposal.",
    )
    return replace(made, **changes)


def gate(**changes: Any) -> Gate:
    return Gate(**({"id": "memory", "metric": "peak_resident_bytes", "limit": None} | changes))


def records(
    candidates: list[Candidate],
    used: Profile | None = None,
    *,
    budget: int | None = None,
    time_unit: float = 1.0,
) -> list[dict[str, Any]]:
    """All records of a run, in the order of a journal."""
    used = used or profile()
    out = [_run(candidates, used, budget)]
    out += [
        {"type": "environment", "when": "before", "facts": {"cpu": "Core 7"}, "findings": []},
        {"type": "environment", "when": "after", "facts": {"cpu": "Core 7"}, "findings": []},
    ]
    for candidate in candidates:
        failing = dict(candidate.fails)
        for suite in ("latency", "memory", "accuracy"):
            if getattr(used.suites, suite) is None:
                continue
            for process in range(used.protocol.processes.get(suite, 1)):
                outcome = failing.get(suite, "ok")
                out += job(candidate, used, suite, process, outcome=outcome, time_unit=time_unit)
    return out


def job(candidate, used, suite, process, *, outcome="ok", time_unit=1.0):
    """Samples of one worker, then its job record."""
    place = {
        "job": hashlib.sha256(f"{candidate.id}/{suite}/{process}".encode()).hexdigest()[:16],
        "model": candidate.id,
    }
    out = [
        {"type": "engine", **place, "backend": "llama_cpp"}
        | {"facts": {"build": "b6837"}, "options": {"threads": 8, "context": 512}}
    ]
    if outcome == "ok":
        make = {"latency": _latency, "memory": _memory, "accuracy": _accuracy}[suite]
        where = place | {"suite": suite, "process": process}
        out += [
            {"type": "sample"} | sample | where
            for sample in make(candidate, used, process, time_unit)
        ]
    return [
        *out,
        {"type": "job", **place, "suite": suite, "process": process, "outcome": outcome}
        | {"reason": "" if outcome == "ok" else outcome, "detail": "", "wall_s": 1.5},
    ]


def _run(candidates, used, budget):
    return {
        "type": "run",
        "schema": 1,
        "run": "20261123T081500Z-a1b2c3",
        "plan": "5f" * 32,
        "profile": to_json(used),
        "device": {"id": "laptop", "name": "A laptop", "memory_budget_bytes": budget},
        "models": [_model(candidate) for candidate in candidates],
        "skipped": [],
        "harness": "0.1.0",
        "started_utc": "2026-11-23T08:15:00Z",
        "attempt": {"number": 1, "of": 1},
    }


def _model(candidate):
    return to_json(
        Model(
            id=candidate.id,
            family=candidate.id.split(".", maxsplit=1)[0],
            format=candidate.format,
            quantisation=[*candidate.id.split("."), "f16"][1],
            source=Source(kind=candidate.kind),
            licence="apache-2.0",
        )
    ) | {"sha256": {"model.gguf": "0a" * 32}, "size_bytes": round(candidate.memory_mib * 0.8 * MIB)}


def _latency(candidate, used, process, time_unit):
    draw = random.Random(f"{candidate.seed}/{process}")
    slow = draw.lognormvariate(0, candidate.noise) / candidate.speed * time_unit
    yield {"case": "load", "kind": "load", "ready_ns": round(9e8 * slow), "cache": "unknown"}
    for p in used.suites.latency.prompt_tokens:
        for n in used.suites.latency.output_tokens:
            for index in range(used.protocol.requests):
                noise = draw.lognormvariate(0, candidate.noise / 2)
                first = 4e6 * slow * p * noise
                gap = 4e7 * slow * noise
                times = [round(first + i * gap) for i in range(n)]
                yield {
                    "case": f"fixed-p{p}-n{n}",
                    "kind": "request",
                    "index": index,
                    "submitted": p,
                    "evaluated": p,
                    "ids_ns": 0,
                    "token_ns": times,
                    "end_ns": times[-1] + 1000,
                    "output_sha256": hashlib.sha256(f"{p}/{n}/{index}".encode()).hexdigest(),
                }


def _memory(candidate, used, process, time_unit):
    suite = used.suites.memory
    case = f"p{suite.prompt_tokens}-n{suite.output_tokens}"
    peak = round(candidate.memory_mib * MIB)
    phases = {"runtime": peak // 16, "load": peak // 2, "prefill": peak - 1, "decode": peak}
    for phase, size in phases.items():
        yield {"case": case, "kind": "memory", "phase": phase, "peak_resident_bytes": size}
    split = {"anon_bytes": peak - peak // 20, "file_bytes": peak // 20, "shmem_bytes": 0}
    yield {"case": case, "kind": "memory_split", "method": "sampled"} | split


def _accuracy(candidate, used, process, time_unit):
    suite = used.suites.accuracy
    for language in suite.languages:
        for task in suite.tasks:
            case = f"{language}-{task}"
            draw = random.Random(f"{candidate.seed}/{case}")
            for index in range(suite.items):
                known, guess = draw.random(), draw.random()
                # Hard items are hard for every model: what makes paired draws worth it.
                hard = random.Random(f"{case}/{index}").random()
                right = (known + hard) / 2 < candidate.skill or guess < CHANCE[task]
                yield {
                    "case": case,
                    "kind": "item",
                    "index": index,
                    "template": f"t{index % 12:02d}",
                    "level": 1 + index % 3,
                    "chance": CHANCE[task],
                    "correct": right,
                    "answered": right or guess > 0.1,
                }


candidates = st.builds(
    Candidate,
    id=st.just("x"),
    speed=st.floats(0.55, 1.8),
    memory_mib=st.floats(220, 700),
    skill=st.floats(0.3, 0.95),
    noise=st.floats(0.0, 0.05),
    seed=st.integers(0, 10_000),
)
"""One plausible model that does better than guessing, within the caps of speed."""


@st.composite
def fields(draw, least=2, most=4):
    """The reference and some other models with ids of their own."""
    drawn = draw(st.lists(candidates, min_size=least - 1, max_size=most - 1))
    return [Candidate(id="ref", skill=0.6)] + [
        replace(candidate, id=f"m{i}") for i, candidate in enumerate(drawn)
    ]
