"""Kernel mode, as llama-bench defines it: fixed ids, no tokeniser, no sampler.

`ppN` evaluates N prompt tokens from an empty cache; `tgN` evaluates N single tokens
one after the other from an empty cache. Never mixed with request latencies.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.backends.base import Backend
from harness.plan import Case, Job
from harness.records import Record
from harness.suites.base import fixed_prompt, no_collector


def measure(case: Case, backend: Backend, job: Job) -> Iterator[Record]:
    """One untimed pass, then `job.requests` timed ones."""
    ids = fixed_prompt(backend, case.tokens, f"{job.seed}/{case.id}")
    timed = _prompt_processing if case.prompt_tokens else _token_generation
    with no_collector():
        timed(backend, ids)
        for index in range(job.requests):
            elapsed_ns, evaluated = timed(backend, ids)
            yield {
                "case": case.id,
                "kind": "kernel",
                "index": index,
                "tokens": len(ids),
                "submitted": len(ids),
                "evaluated": evaluated,
                "elapsed_ns": elapsed_ns,
            }


def _prompt_processing(backend: Backend, ids: list[int]) -> tuple[int, int]:
    backend.reset()
    start = backend.now_ns()
    evaluated = backend.prefill(ids, sample=False).evaluated
    return backend.now_ns() - start, evaluated


def _token_generation(backend: Backend, ids: list[int]) -> tuple[int, int]:
    step = backend.step
    backend.reset()
    evaluated = 0
    start = backend.now_ns()
    for token in ids:
        evaluated += step(token, sample=False).evaluated
    return backend.now_ns() - start, evaluated
