"""Task mode: chat prompts of real text, greedy, until the model ends its answer.

The prompts were rendered by the model's chat template before the job. The clock starts
with the text in memory, so tokenising counts; the end token is not a token of the answer.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.backends.base import Backend
from harness.cases import Case
from harness.errors import CapabilityError
from harness.job import Job
from harness.records import Record
from harness.suites.base import (
    fixed_prompt,
    no_collector,
    output_sha256,
    request,
    telemetry,
    warm_up,
)
from harness.suites.proofs import repeats

_WARMUP_TOKENS = 16


def measure(case: Case, backend: Backend, job: Job) -> Iterator[Record]:
    """Warm up on prompts of the longest one's length, then answer every prompt once.

    Raises:
        CapabilityError: `prompt_too_long`: a prompt and its answer exceed the context.
    """
    longest = max(len(backend.encode(text, special=True)) for text in case.texts)
    if longest + case.output_tokens > backend.context:
        raise CapabilityError(
            f"a prompt of {longest} tokens and an answer of {case.output_tokens} exceed the "
            f"context of {backend.context}",
            reason="prompt_too_long",
        )

    def prompt(salt: str) -> list[int]:
        # None of the timed texts: their beginnings must not have been seen before.
        return fixed_prompt(backend, longest, f"{job.seed}/{case.id}/{salt}")

    def once(salt: str) -> int:
        tokens = min(_WARMUP_TOKENS, case.output_tokens)
        end_ns: int = request(backend, prompt(salt), tokens)["end_ns"]
        return end_ns

    with no_collector():
        yield warm_up(case, once, job.warmup_max)
        if job.process == 0:
            yield repeats(case, backend, lambda salt: ([], prompt(salt)))
        yield telemetry(case.id, 0)
        for index, text in enumerate(case.texts):
            yield {"case": case.id, "kind": "chat", "index": index} | answer(
                backend, text, case.output_tokens
            )
            yield telemetry(case.id, index + 1)


def answer(backend: Backend, text: str, most: int) -> Record:
    """One timed answer of at most `most` tokens.

    Returns:
        Times in ns after the text was in memory: `ids_ns` (token ids ready), `token_ns`
        (token i of the answer available; empty where the model ended at once), `end_ns`
        (answer's text available); token counts, why it `stop`ped, and the length of the
        answer in Unicode characters and UTF-8 bytes.
    """
    now, step, ends = backend.now_ns, backend.step, backend.end_ids
    clock = [0] * most
    output = [0] * most
    counted = [0] * most
    backend.reset()
    start = now()
    ids = backend.encode(text, special=True)
    ready = now()
    token, evaluated = backend.prefill(ids)
    n = 0
    while token not in ends:
        clock[n] = now()
        output[n] = token
        n += 1
        if n == most:
            break
        token, counted[n] = step(token)
    said = backend.decode(output[:n])
    end = now()
    return {
        "ids_ns": ready - start,
        "token_ns": [moment - start for moment in clock[:n]],
        "end_ns": end - start,
        "submitted": len(ids),
        "evaluated": evaluated,
        "decoded": sum(counted),
        "stop": "length" if n == most else "end",
        "chars": len(said),
        "bytes": len(said.encode("utf-8", "replace")),
        "output_sha256": output_sha256(output[:n]),
    }
