"""What suites share.

A suite drives a loaded backend and yields raw observations. It computes nothing that
can be computed later: aggregates come from `score`, again and again, from the records.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from harness.backends.base import Backend
from harness.probes import counters
from harness.records import Record
from harness.spec import sha256
from harness.suites.tasks.draw import Draw


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
