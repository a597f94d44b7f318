"""What suites share.

A suite drives a loaded backend and yields raw observations. It computes nothing that
can be computed later: aggregates come from `score`, again and again, from the records.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from harness.backends.base import Backend
from harness.cases import Case
from harness.job import Job
from harness.probes import counters
from harness.records import Record
from harness.spec import sha256
from harness.suites.tasks.draw import Draw

_CONVERGED_CV = 0.05
_WARMUP_WINDOW = 3


def fixed_prompt(backend: Backend, length: int, salt: str) -> list[int]:
    """`length` token ids drawn from a salt: the same on every machine and process.

    Ids are uniform over the vocabulary without the ids that end a generation; real
    text of an exact token count does not exist for every tokeniser.
    """
    draw = Draw(salt.encode(), "prompt", 0)
    ends, vocabulary = backend.end_ids, backend.vocabulary
    ids: list[int] = []
    while len(ids) < length:
        token = draw.below(vocabulary)
        if token not in ends:
            ids.append(token)
    return ids


def salted_prompts(
    case: Case, backend: Backend, job: Job, salt: str
) -> tuple[list[int], list[int]]:
    """Tokens of a case's depth, and the prompt behind them.

    The salt depends on the request, not on the process: repetitions of one request
    must give the same output in every process.
    """
    seed = f"{job.seed}/{case.id}/{salt}"
    return (
        fixed_prompt(backend, case.depth_tokens, f"{seed}/depth"),
        fixed_prompt(backend, case.prompt_tokens, seed),
    )


def warm_up(case: Case, once: Callable[[str], int], most: int) -> Record:
    """Repeat until the last three durations agree within 5 %, at most `most` times.

    Args:
        once: does it once with a salt of its own, and returns how long it took, in ns.
    """
    durations: list[int] = []
    converged = False
    while len(durations) < max(1, most) and not converged:
        durations.append(once(f"warm-up {len(durations)}"))
        window = durations[-_WARMUP_WINDOW:]
        converged = len(window) == _WARMUP_WINDOW and bool(
            np.std(window, ddof=1) < _CONVERGED_CV * np.mean(window)
        )
    return {"case": case.id, "kind": "warmup", "duration_ns": durations, "converged": converged}


@contextmanager
def no_collector() -> Iterator[None]:
    """Keep Python's garbage collector out of a timed region."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def request(
    backend: Backend, prompt: Sequence[int], output_tokens: int, depth: Sequence[int] = ()
) -> Record:
    """One timed request behind `depth` tokens, which are evaluated before the clock starts.

    Returns:
        `clock_ns`, the moment when the prompt was in memory on the backend's clock, and
        times in ns after it: `ids_ns` (token ids ready; 0 here, they are given),
        `token_ns` (output token i available), `end_ns` (text available); `submitted` and
        `evaluated` prompt tokens, `decoded` tokens that the engine counted after them; the
        output's hash.
    """
    now, step = backend.now_ns, backend.step
    clock = [0] * output_tokens
    output = [0] * output_tokens
    counted = [0] * output_tokens
    backend.reset()
    before = backend.prefill(depth, sample=False).evaluated if depth else 0
    start = now()
    token, evaluated = backend.prefill(prompt)
    clock[0] = now()
    output[0] = token
    for i in range(1, output_tokens):
        token, counted[i] = step(token)
        clock[i] = now()
        output[i] = token
    backend.decode(output)
    end = now()
    found: Record = {
        "clock_ns": start,
        "submitted": len(prompt),
        "evaluated": evaluated,
        "decoded": sum(counted),
        "ids_ns": 0,
        "token_ns": [moment - start for moment in clock],
        "end_ns": end - start,
        "output_sha256": output_sha256(output),
    }
    return found | ({"depth": len(depth), "depth_evaluated": before} if depth else {})


def output_sha256(output: Sequence[int]) -> str:
    """One hash an output: equal requests must give equal ones."""
    return sha256(repr(list(output)).encode())


def telemetry(case: str, index: int) -> Record:
    """Counters of this process and of the machine after `index` timed requests."""
    return {
        "type": "telemetry",
        "source": "worker",
        "case": case,
        "index": index,
        "counters": counters.read(),
    }
