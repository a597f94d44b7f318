"""Kernel mode, as llama-bench defines it: fixed ids, no tokeniser, no sampler.

`ppN` evaluates N prompt tokens from an empty cache; `tgN` evaluates N single tokens
one after the other from an empty cache. With a depth (`tg128@d1024`) the cache first
gets that many tokens, untimed. Never mixed with request latencies.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.backends.base import Backend
from harness.plan import Case, Job
from harness.records import Record
from harness.suites.base import fixed_prompt, no_collector


def measure(case: Case, backend: Backend, job: Job) -> Iterator[Record]:
    """One untimed pass, then `job.requests` timed ones."""
    ids = fixed_prompt(backend, case.prompt_tokens + case.output_tokens, f"{job.seed}/{case.id}")
    depth = fixed_prompt(backend, case.depth_tokens, f"{job.seed}/{case.id}/depth")
    timed = _prompt_processing if case.prompt_tokens else _token_generation
    with no_collector():
        _fill(backend, depth)
        timed(backend, ids)
        for index in range(job.requests):
            _fill(backend, depth)
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


def _fill(backend: Backend, depth: list[int]) -> None:
    """Empty the cache, then put the depth in."""
    backend.reset()
    if depth:
        backend.prefill(depth, sample=False)


def _prompt_processing(backend: Backend, ids: list[int]) -> tuple[int, int]:
    start = backend.now_ns()
    evaluated = backend.prefill(ids, sample=False).evaluated
    return backend.now_ns() - start, evaluated


def _token_generation(backend: Backend, ids: list[int]) -> tuple[int, int]:
    step = backend.step
    evaluated = 0
    start = backend.now_ns()
    for token in ids:
        evaluated += step(token, sample=False).evaluated
    return backend.now_ns() - start, evaluated
