"""Bits per byte and perplexity of one pass over a text. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from harness.times import SampleRefusedError, whole


def text_metrics(sample: Mapping[str, Any]) -> dict[str, float]:
    """`bits_per_byte` = sum of -log2 p / UTF-8 bytes, and `perplexity` where a chunk was whole.

    Args:
        sample: `bytes` of the text, `nats` of stretches of it, `chunk_nats` of the chunks that
            llama-perplexity scores, with `chunk_tokens` tokens each.

    Raises:
        SampleRefusedError: `bad_sample` or `bad_times`.
    """
    size = whole(sample, "bytes", least=1)
    out = {"bits_per_byte": _total(sample, "nats") / math.log(2) / size}
    if chunks := sample.get("chunk_nats"):
        tokens = whole(sample, "chunk_tokens", least=1) * len(chunks)
        out["perplexity"] = math.exp(min(_total(sample, "chunk_nats") / tokens, 700.0))
    return out


def guesses(sample: Mapping[str, Any]) -> bool:
    """Whether the text was predicted no better than by giving all tokens the same chance."""
    tokens, vocabulary = (whole(sample, name, least=1) for name in ("tokens", "vocabulary"))
    return _total(sample, "nats") >= tokens * math.log(vocabulary)


def _total(sample: Mapping[str, Any], name: str) -> float:
    found = sample.get(name)
    if not isinstance(found, list) or not found or not all(map(is_amount, found)):
        raise SampleRefusedError(f"{name} must be a list of amounts", reason="bad_sample")
    return math.fsum(found)


def is_amount(value: object) -> bool:
    """Whether a field is a finite number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= 0
