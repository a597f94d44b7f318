"""Proofs that a worker made beside its timed requests: no cache, no early return. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from harness.metrics import show_seconds
from harness.times import SampleRefusedError, require_evaluated, whole

_REPEAT_TOLERANCE = 0.9
_EARLY_SHARE = 0.5
"""A call that returns in less than this share of an honest one has only begun its work, if
the next call takes longer by this share of what is missing."""


def require_available(sample: Mapping[str, Any]) -> None:
    """Check the proof that a returned token was available and the model's own.

    An adapter that answers before its work is done is far faster than the same work with
    its logits read, and does the rest in its next call. Both must show: reading logits
    takes time too, and a busy machine slows down whichever call it hits. One that answers
    something else disagrees with the logits' argmax.

    Raises:
        SampleRefusedError: `token_not_available`, `wrong_token` or `bad_times`.
    """
    prefill, after_prefill, extend, step, after_step, extend_step = (
        whole(sample, f"{name}_ns", least=1)
        for name in ("prefill", "after_prefill", "extend", "step", "after_step", "extend_step")
    )
    _refuse_early("first token", prefill, extend, owed=after_prefill - step)
    _refuse_early("token", step, extend_step, owed=after_step - extend_step)
    if sample.get("same_token") is not True:
        raise SampleRefusedError(
            "the returned token is not the most likely one of its logits", reason="wrong_token"
        )


def _refuse_early(what: str, taken_ns: int, honest_ns: int, *, owed: int) -> None:
    missing_ns = honest_ns - taken_ns
    if taken_ns < _EARLY_SHARE * honest_ns and owed >= _EARLY_SHARE * missing_ns:
        raise SampleRefusedError(
            f"a {what} came after {show_seconds(taken_ns / 1e9)}, its logits take "
            f"{show_seconds(honest_ns / 1e9)}, and the next call paid for it",
            reason="token_not_available",
        )


def require_repeated(sample: Mapping[str, Any]) -> None:
    """Check that a prompt was evaluated again right after the same one.

    By the engine's count, and by time where it has none: every repetition must be faster
    than the fastest new prompt by more than 10 %, so that noise on a prefill of a few ms
    does not accuse an honest engine; a real cache hit is faster many times over.

    Raises:
        SampleRefusedError: `prompt_not_evaluated` or `bad_times`.
    """
    require_evaluated(sample)
    new, repeated = sample.get("new_ns"), sample.get("repeated_ns")
    if not _are_times(new) or not _are_times(repeated):
        raise SampleRefusedError("no times of the repeated prompt", reason="bad_times")
    if max(repeated) < _REPEAT_TOLERANCE * min(new):
        raise SampleRefusedError(
            "a repeated prompt was answered from a cache", reason="prompt_not_evaluated"
        )


def _are_times(values: Any) -> TypeGuard[list[int]]:
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(value, int) and value > 0 for value in values)
    )
