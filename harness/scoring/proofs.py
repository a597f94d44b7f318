"""Proofs that a worker made beside its timed requests: no cache, no early return. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from harness.metrics import SampleRefusedError, show_seconds, whole

_REPEAT_TOLERANCE = 0.9
_EARLY_SHARE = 0.5
"""A call that returns in less than this share of an honest one has only begun its work."""
_READING_NS = 250_000
"""What handing logits over may cost beside a step, which takes as little in tiny models."""


def require_available(sample: Mapping[str, Any], *, ttft_s: float | None = None) -> None:
    """Check the proof that a returned token was available and the model's own.

    An adapter that answers before its work is done is far faster than the same work with
    its logits read; one that answers something else disagrees with their argmax.

    Args:
        ttft_s: median of the timed requests. An early first token is early in all of
            them, whereas a busy machine slows down whichever call it hits.

    Raises:
        SampleRefusedError: `token_not_available`, `wrong_token` or `bad_times`.
    """
    prefill, extend, step, extend_step = (
        whole(sample, name, least=1)
        for name in ("prefill_ns", "extend_ns", "step_ns", "extend_step_ns")
    )
    always = ttft_s is None or ttft_s * 1e9 < _EARLY_SHARE * extend
    if prefill < _EARLY_SHARE * extend and always:
        raise _early("first token", prefill, extend)
    if step < _EARLY_SHARE * extend_step and extend_step - step > _READING_NS:
        raise _early("token", step, extend_step)
    if sample.get("same_token") is not True:
        raise SampleRefusedError(
            "the returned token is not the most likely one of its logits", reason="wrong_token"
        )


def _early(what: str, early_ns: int, honest_ns: int) -> SampleRefusedError:
    return SampleRefusedError(
        f"a {what} came after {show_seconds(early_ns / 1e9)}, "
        f"its logits take {show_seconds(honest_ns / 1e9)}",
        reason="token_not_available",
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
