"""Latency, fixed workload: exact prompt and output lengths, end-of-sequence ignored.

For each request: clear the cache, prefill a salted prompt, then decode greedily. The
clock is read when a token has been picked and is available to the caller. Raw times
go to the records; TTFT, ITL, TPOT and rates are computed from them by `metrics`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from harness.backends.base import Backend
from harness.plan import Case, Job
from harness.records import Record
from harness.suites.base import fixed_prompt, no_collector, request, telemetry

_CONVERGED_CV = 0.05
_WARMUP_WINDOW = 3
_REPEAT_CHECKS = 3
_PROOFS = 3
_PROOFS_MAX = 20
_T = TypeVar("_T")


def measure(case: Case, backend: Backend, job: Job) -> Iterator[Record]:
    """Warm up, prove that tokens are there when they are returned, then time the requests."""
    with no_collector():
        yield warm_up(case, backend, job)
        if job.process == 0 and backend.capabilities.logits:
            yield _availability(case, backend, job)
        yield telemetry(case.id, 0)
        for index in range(job.requests):
            depth, prompt = _prompts(case, backend, job, str(index))
            yield {"case": case.id, "kind": "request", "index": index} | request(
                backend, prompt, case.output_tokens, depth
            )
            yield telemetry(case.id, index + 1)
        if not backend.capabilities.counts_evaluated:
            yield _repeat_check(case, backend, job)


def warm_up(case: Case, backend: Backend, job: Job) -> Record:
    """Full-shape requests until the last three agree within 5 %, at most `warmup_max`."""
    durations: list[int] = []
    converged = False
    while len(durations) < max(1, job.warmup_max) and not converged:
        depth, prompt = _prompts(case, backend, job, f"warm-up {len(durations)}")
        durations.append(request(backend, prompt, case.output_tokens, depth)["end_ns"])
        window = durations[-_WARMUP_WINDOW:]
        converged = len(window) == _WARMUP_WINDOW and statistics.stdev(
            window
        ) < _CONVERGED_CV * statistics.fmean(window)
    return {"case": case.id, "kind": "warmup", "duration_ns": durations, "converged": converged}


def _availability(case: Case, backend: Backend, job: Job) -> Record:
    """Times of prefill and step, of `extend`, which has to hand logits over, and of the call
    after each: what returns before its token is available is paid for in that call.

    An adapter that returns another token than the most likely one is wrong. Each time is
    the best of at least three, and of more while it looks early: a busy machine delays an
    honest adapter here and there, an early one never takes its time.
    """
    prompt = _prompts(case, backend, job, "proof")[1][: backend.context - 2]
    best = _prove(backend, prompt)
    for tried in range(1, _PROOFS_MAX):
        if tried >= _PROOFS and not _looks_early(best):
            break
        proof = _prove(backend, prompt)
        best = {name: min(best[name], proof[name]) for name in best}
    return {"case": case.id, "kind": "check"} | best


def _looks_early(best: Mapping[str, int]) -> bool:
    return (
        2 * best["prefill_ns"] < best["extend_ns"] or 2 * best["step_ns"] < best["extend_step_ns"]
    )


def _prove(backend: Backend, prompt: Sequence[int]) -> dict[str, int]:
    """One round. Nothing is owed when a call in question begins: it follows an `extend`."""
    node = backend.root()
    rows, extend_ns = _timed(backend, lambda: backend.extend(node, prompt, [len(prompt) - 1]))
    first = int(rows[0].argmax())
    rows, extend_step_ns = _timed(backend, lambda: backend.extend(node, [first], [0]))
    second = int(rows[0].argmax())
    step_ns = _timed(backend, lambda: backend.step(second))[1]
    after_step_ns = _timed(backend, lambda: backend.extend(node, [second], [0]))[1]
    backend.reset()
    found, prefill_ns = _timed(backend, lambda: backend.prefill(prompt))
    then, after_prefill_ns = _timed(backend, lambda: backend.step(first))
    return {
        "prefill_ns": prefill_ns,
        "after_prefill_ns": after_prefill_ns,
        "extend_ns": extend_ns,
        "step_ns": step_ns,
        "after_step_ns": after_step_ns,
        "extend_step_ns": extend_step_ns,
        "same_token": (found.next_id, then.next_id) == (first, second),
    }


def _timed(backend: Backend, call: Callable[[], _T]) -> tuple[_T, int]:
    start = backend.now_ns()
    result = call()
    return result, backend.now_ns() - start


def _repeat_check(case: Case, backend: Backend, job: Job) -> Record:
    """Prefill times of new prompts and of one repeated prompt, in turn.

    An engine without a counter of evaluated tokens proves here that it does not answer
    from a cache: a repeated prompt may be at most 10 % faster.
    """
    new: list[int] = []
    repeated: list[int] = []
    known = _prompts(case, backend, job, "0")
    for check in range(_REPEAT_CHECKS):
        fresh = _prompts(case, backend, job, f"check {check}")
        new.append(request(backend, fresh[1], 1, fresh[0])["token_ns"][0])
        repeated.append(request(backend, known[1], 1, known[0])["token_ns"][0])
    return {"case": case.id, "kind": "repeat", "new_ns": new, "repeated_ns": repeated}


def _prompts(
    case: Case, backend: Backend, job: Job, salt: str
) -> tuple[Sequence[int], Sequence[int]]:
    """Tokens of the depth, and the prompt behind them.

    The salt depends on the request, not on the process: repetitions of one request
    must give the same output in every process.
    """
    seed = f"{job.seed}/{case.id}/{salt}"
    return (
        fixed_prompt(backend, case.depth_tokens, f"{seed}/depth"),
        fixed_prompt(backend, case.prompt_tokens, seed),
    )
