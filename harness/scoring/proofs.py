"""Proofs that a worker made beside its timed requests: no cache, no early return. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from harness.metrics import SampleRefusedError, show_seconds, whole

_REPEAT_TOLERANCE = 0.9
_EARLY_SHARE = 0.5
"""A call that returns in less than this share of an honest one has only begun its work."""


def require_available(sample: Mapping[str, Any]) -> None:
    """Check the proof that a returned token was available and the model's own.

    An adapter that answers before its work is done is far faster than the same work with
    its logits read; one that answers something else disagrees with their argmax.

    Raises:
        SampleRefusedError: `token_not_available`, `wrong_token` or `bad_times`.
    """
    for quick, full, what in (
        ("prefill_ns", "extend_ns", "first token"),
        ("step_ns", "extend_step_ns", "token"),
    ):
        early, honest = whole(sample, quick, least=1), whole(sample, full, least=1)
        if early < _EARLY_SHARE * honest:
            raise SampleRefusedError(
                f"a {what} came after {show_seconds(early / 1e9)}, "
                f"its logits take {show_seconds(honest / 1e9)}",
                reason="token_not_available",
            )
    if sample.get("same_token") is not True:
        raise SampleRefusedError(
            "the returned token is not the most likely one of its logits", reason="wrong_token"
        )


def repeats_were_cached(sample: Mapping[str, Any]) -> bool:
    """Whether a repeated prompt was answered from a cache.

    An engine without a counter of evaluated tokens may answer a repeated prompt at most
    10 % faster. Every repetition must be faster than the fastest new prompt by more than
    that, so that noise on a prefill of a few ms does not accuse an honest engine; a real
    cache hit is faster many times over.

    Raises:
        SampleRefusedError: `bad_times`.
    """
    new, repeated = sample.get("new_ns"), sample.get("repeated_ns")
    if not _are_times(new) or not _are_times(repeated):
        raise SampleRefusedError("no times of the repeated prompt", reason="bad_times")
    return max(repeated) < _REPEAT_TOLERANCE * min(new)


def _are_times(values: Any) -> TypeGuard[list[int]]:
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(value, int) and value > 0 for value in values)
    )
