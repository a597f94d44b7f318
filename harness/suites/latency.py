"""Latency, fixed workload: exact prompt and output lengths, end-of-sequence ignored.

For each request: clear the cache, prefill a salted prompt, then decode greedily. The
clock is read when a token has been picked and is available to the caller. Raw times
go to the records; TTFT, ITL, TPOT and rates are computed from them by `metrics`.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.backends.base import Backend
from harness.cases import Case
from harness.job import Job
from harness.records import Record
from harness.suites.base import no_collector, request, salted_prompts, telemetry, warm_up
from harness.suites.proofs import availability, repeats


def measure(case: Case, backend: Backend, job: Job) -> Iterator[Record]:
    """Warm up, prove that tokens are there when they are returned, then time the requests."""

    def prompts(salt: str) -> tuple[list[int], list[int]]:
        return salted_prompts(case, backend, job, salt)

    def timed(salt: str) -> Record:
        depth, prompt = prompts(salt)
        return request(backend, prompt, case.output_tokens, depth)

    with no_collector():
        yield warm_up(case, lambda salt: timed(salt)["end_ns"], job.warmup_max)
        if job.process == 0:
            yield repeats(case, backend, prompts)
            if backend.capabilities.logits:
                yield availability(case, backend, prompts("proof")[1])
        yield telemetry(case.id, 0)
        for index in range(job.requests):
            yield {"case": case.id, "kind": "request", "index": index} | timed(str(index))
            yield telemetry(case.id, index + 1)
