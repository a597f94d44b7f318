"""What a worker proves before its timed requests: no early return, no answer from a cache.

Made once a case, by the first process. Raw times go to the records, and
`harness.scoring.proofs` judges them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from harness.backends.base import Backend, Logits
from harness.cases import Case
from harness.records import Record
from harness.suites.base import request

_REPEATS = 3
_PROOFS = 3
_PROOFS_MAX = 20
_STEPS = 4
"""Tokens that a proof evaluates behind its prompt."""
_T = TypeVar("_T")


def availability(case: Case, backend: Backend, prompt: Sequence[int]) -> Record:
    """Times of prefill and step, of `extend`, which has to hand logits over, and of the call
    after each: what returns before its token is available is paid for in that call.

    An adapter that returns another token than the most likely one is wrong. Each time is
    the best of at least three, and of more while it looks early: a busy machine delays an
    honest adapter here and there, an early one never takes its time.
    """
    prompt = prompt[: max(1, backend.context - _STEPS)]
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
    first = _greedy(rows)
    # Engines prepare anew for single tokens behind a prompt: the first one is not compared.
    second = _greedy(backend.extend(node, [first], [0]))
    rows, extend_step_ns = _timed(backend, lambda: backend.extend(node, [second], [0]))
    third = _greedy(rows)
    step_ns = _timed(backend, lambda: backend.step(third))[1]
    after_step_ns = _timed(backend, lambda: backend.extend(node, [third], [0]))[1]
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


def _greedy(rows: Logits) -> int:
    return int(rows[0].argmax())


def _timed(backend: Backend, call: Callable[[], _T]) -> tuple[_T, int]:
    start = backend.now_ns()
    result = call()
    return result, backend.now_ns() - start


def repeats(
    case: Case,
    backend: Backend,
    prompts: Callable[[str], tuple[Sequence[int], Sequence[int]]],
) -> Record:
    """Times and counts of new prompts, and of a prompt right after the same one, in turn.

    An engine that counts evaluated tokens must have evaluated them all each time; one
    without a counter may answer a repeated prompt at most 10 % faster.

    Args:
        prompts: depth and prompt for a salt.
    """
    times: dict[str, list[int]] = {"new_ns": [], "repeated_ns": []}
    counts = {"submitted": 0, "evaluated": 0}
    for check in range(_REPEATS):
        depth, prompt = prompts(f"repeat {check}")
        for taken in times.values():
            found = request(backend, prompt, 1, depth)
            taken.append(found["token_ns"][0])
            counts = {count: total + found[count] for count, total in counts.items()}
    return {"case": case.id, "kind": "repeat"} | times | counts
