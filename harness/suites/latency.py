"""Latency, fixed workload: exact prompt and output lengths, end-of-sequence ignored.

For each request: clear the cache, prefill a salted prompt, then decode greedily. The
clock is read when a token has been picked and is available to the caller. Raw times
go to the records; TTFT, ITL, TPOT and rates are computed from them by `metrics`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from harness.backends.base import Backend
from harness.plan import Case, Job
from harness.records import Record
from harness.spec import sha256
from harness.suites.base import fixed_prompt, no_collector

_CONVERGED_CV = 0.05
_WARMUP_WINDOW = 3
_REPEAT_CHECKS = 3


def measure(case: Case, backend: Backend, job: Job) -> Iterator[Record]:
    """Warm up, then time `job.requests` requests of one shape."""
    with no_collector():
        yield _warm_up(case, backend, job)
        for index in range(job.requests):
            yield {"case": case.id, "kind": "request", "index": index} | request(
                backend, _prompt(case, backend, job, str(index)), case.output_tokens
            )
        if not backend.capabilities.counts_evaluated:
            yield _repeat_check(case, backend, job)


def request(backend: Backend, prompt: Sequence[int], output_tokens: int) -> Record:
    """One timed request.

    Returns:
        Times in ns after the prompt was in memory: `ids_ns` (token ids ready; 0 here,
        the prompt is given as ids), `token_ns` (output token i available), `end_ns`
        (text available); `submitted` and `evaluated` prompt tokens; the output's hash.
    """
    now, step = backend.now_ns, backend.step
    clock = [0] * output_tokens
    output = [0] * output_tokens
    backend.reset()
    start = now()
    token, evaluated = backend.prefill(prompt)
    clock[0] = now()
    output[0] = token
    for i in range(1, output_tokens):
        token = step(token).next_id
        clock[i] = now()
        output[i] = token
    backend.decode(output)
    end = now()
    return {
        "submitted": len(prompt),
        "evaluated": evaluated,
        "ids_ns": 0,
        "token_ns": [moment - start for moment in clock],
        "end_ns": end - start,
        "output_sha256": sha256(repr(output).encode()),
    }


def _warm_up(case: Case, backend: Backend, job: Job) -> Record:
    """Full-shape requests until the last three agree within 5 %, at most `warmup_max`."""
    durations: list[int] = []
    converged = False
    while len(durations) < max(1, job.warmup_max) and not converged:
        prompt = _prompt(case, backend, job, f"warm-up {len(durations)}")
        durations.append(request(backend, prompt, case.output_tokens)["end_ns"])
        window = durations[-_WARMUP_WINDOW:]
        converged = len(window) == _WARMUP_WINDOW and statistics.stdev(
            window
        ) < _CONVERGED_CV * statistics.fmean(window)
    return {"case": case.id, "kind": "warmup", "duration_ns": durations, "converged": converged}


def _repeat_check(case: Case, backend: Backend, job: Job) -> Record:
    """Prefill times of new prompts and of one repeated prompt, in turn.

    An engine without a counter of evaluated tokens proves here that it does not answer
    from a cache: a repeated prompt may be at most 10 % faster.
    """
    new: list[int] = []
    repeated: list[int] = []
    known = _prompt(case, backend, job, "0")
    for check in range(_REPEAT_CHECKS):
        fresh = _prompt(case, backend, job, f"check {check}")
        new.append(request(backend, fresh, 1)["token_ns"][0])
        repeated.append(request(backend, known, 1)["token_ns"][0])
    return {"case": case.id, "kind": "repeat", "new_ns": new, "repeated_ns": repeated}


def _prompt(case: Case, backend: Backend, job: Job, salt: str) -> list[int]:
    """The salt depends on the request, not on the process: repetitions of one request
    must give the same output in every process.
    """
    return fixed_prompt(backend, case.prompt_tokens, f"{job.seed}/{case.id}/{salt}")
