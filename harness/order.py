"""In which order jobs run, and roughly how long each takes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.cases import Case
from harness.job import Job
from harness.spec import sha256


def interleaved(jobs: Sequence[Job], key: str) -> list[Job]:
    """In rounds, each shuffled; before all, every model's longest job.

    What does not fit into memory then shows before the hour is spent. Jobs that need what
    another one leaves end their round.
    """
    longest: dict[str, Job] = {}
    for job in jobs:
        if _length(job) > _length(longest.setdefault(job.model, job)):
            longest[job.model] = job

    def place(job: Job) -> tuple[int, bool, bool, str]:
        first = job is longest[job.model]
        needy = any(case.reference not in {"", job.model} for case in job.cases)
        return job.process, needy, not first, sha256(f"{key}/{job.id}".encode())

    return sorted(jobs, key=place)


def slowest_first(jobs: Sequence[Job], suite: str) -> list[Job]:
    """The jobs of a suite in each other's places, the one that takes longest before all.

    What a time budget holds is decided by the first: a fast model would leave the others
    with more than they have time for.
    """
    places = [place for place, job in enumerate(jobs) if job.suite == suite]
    ordered = list(jobs)
    slowest = sorted((jobs[p] for p in places), key=lambda job: (job.process, -job.estimate_s))
    for place, job in zip(places, slowest, strict=True):
        ordered[place] = job
    return ordered


def _length(job: Job) -> tuple[int, int]:
    """Tokens of its cache, and of its longest request."""
    return job.options.context, max((case.tokens for case in job.cases), default=0)


def estimate_s(
    size_bytes: int,
    *,
    cases: Sequence[Case],
    requests: int,
    warmup_max: int,
    suite: str,
    **_: Any,
) -> float:
    """Rough duration of a job on a laptop: weights stream at 10 GB/s for each output
    token, and a prompt token costs a twentieth of an output token.
    """
    token_s = 0.3e-3 + size_bytes / 10e9
    once = {"memory": 1, "accuracy": 1, "sustained": 1, "task": 2, "language": 1, "fidelity": 1}
    repeats = once.get(suite, requests + min(warmup_max, 2))
    if suite in {"language", "fidelity"}:
        # Windows overlap by half, and every row passes the head.
        tokens = sum(case.items * 3 / 20 for case in cases)
    elif suite == "task":
        tokens = sum(float(case.items * case.output_tokens) for case in cases)
    else:
        tokens = sum(
            case.output_tokens + (case.prompt_tokens + case.depth_tokens) / 20 + case.items * 8
            for case in cases
        )
    return 1.0 + size_bytes / 1e9 + repeats * tokens * token_s + sum(c.duration_s for c in cases)
