"""Kernel mode, as llama-bench defines it: fixed ids, no tokeniser, no sampler.

`ppN` evaluates N prompt tokens from an empty cache; `tgN` evaluates N single tokens
one after the other from an empty cache. With a depth (`tg128@d1024`) the cache first
gets that many tokens, untimed. Never mixed with request latencies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.backends.base import Backend
from harness.cases import Case
from harness.job import Job
from harness.records import Record
from harness.suites.base import fixed_prompt, no_collector, salted_prompts, telemetry, warm_up
from harness.suites.proofs import repeats


def measure(case: Case, backend: Backend, job: Job) -> Iterator[Record]:
    """Warm up, then `job.requests` timed passes, each over ids of its own."""
    timed = _prompt_processing if case.prompt_tokens else _token_generation
    count = case.prompt_tokens or case.output_tokens

    def prompts(salt: str) -> tuple[list[int], list[int]]:
        depth, ids = salted_prompts(case, backend, job, salt)
        return depth, ids or fixed_prompt(backend, count, f"{job.seed}/{case.id}/{salt}")

    def once(salt: str) -> tuple[int, int]:
        depth, ids = prompts(salt)
        backend.reset()
        if depth:
            backend.prefill(depth, sample=False)
        return timed(backend, ids)

    with no_collector():
        yield warm_up(case, lambda salt: once(salt)[0], job.warmup_max)
        if job.process == 0:
            yield repeats(case, backend, prompts)
        yield telemetry(case.id, 0)
        for index in range(job.requests):
            elapsed_ns, evaluated = once(str(index))
            yield {
                "case": case.id,
                "kind": "kernel",
                "index": index,
                "tokens": count,
                "evaluated": evaluated,
                "elapsed_ns": elapsed_ns,
            }
            yield telemetry(case.id, index + 1)


def _prompt_processing(backend: Backend, ids: Sequence[int]) -> tuple[int, int]:
    """Duration in ns, and tokens that the engine evaluated."""
    start = backend.now_ns()
    evaluated = backend.prefill(ids, sample=False).evaluated
    return backend.now_ns() - start, evaluated


def _token_generation(backend: Backend, ids: Sequence[int]) -> tuple[int, int]:
    step = backend.step
    evaluated = 0
    start = backend.now_ns()
    for token in ids:
        evaluated += step(token, sample=False).evaluated
    return backend.now_ns() - start, evaluated
