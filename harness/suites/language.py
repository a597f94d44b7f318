"""How well a model predicts running text: bits for each UTF-8 byte of it.

Perplexity does not compare across tokenisers, bits per byte do. Every token of the text is
predicted once, in windows of `context` tokens that overlap by half, so that all but the
first window's have half a window before them. Where the model's tokeniser begins texts
with a token (BOS), that token stands before the text and in place of the first token of
later windows, as llama-perplexity has it; elsewhere the first token of the text is
predicted from the end-of-text token alone.

The second half of every other window is what llama-perplexity scores: its figure comes
from the same rows, as a cross-check.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from harness.backends.base import Backend, Logits
from harness.cases import Case
from harness.errors import CapabilityError
from harness.job import Job
from harness.records import Record
from harness.spec import sha256
from harness.suites.base import telemetry
from harness.suites.rows import ROWS, Floats, log_probability
from harness.suites.texts import case_text

Visit = Callable[[int, Logits, Sequence[int]], None]
"""Place of the first token in the text, rows `[n, V]` that predict it and the next, their ids."""


def measure(case: Case, backend: Backend, job: Job) -> Iterator[Record]:
    """One pass over one text."""
    text = case_text(case, job)
    ids = text_ids(backend, text)
    size = case.prompt_tokens
    nats = np.empty(len(ids))

    def visit(first: int, rows: Logits, targets: Sequence[int]) -> None:
        nats[first : first + len(targets)] = -log_probability(rows, targets)

    yield telemetry(case.id, 0)
    walk(backend, ids, size, visit)
    chunks = chunk_sums(nats, size, len(backend.begin_ids))
    yield {
        "case": case.id,
        "kind": "text",
        "index": 0,
        "text_sha256": sha256(text.encode()),
        "bytes": len(text.encode()),
        "tokens": len(ids),
        "vocabulary": backend.vocabulary,
        "nats": block_sums(nats, size // 2),
        "chunk_nats": chunks,
        "chunk_tokens": size // 2 - 1,
    }
    yield telemetry(case.id, 1)


def text_ids(backend: Backend, text: str) -> list[int]:
    """Token ids of a text that is to be predicted.

    Raises:
        CapabilityError: `no_logits`, `no_end_token` or `no_output`: it cannot be.
    """
    if not backend.capabilities.logits:
        raise CapabilityError("this backend returns no logits", reason="no_logits")
    if not backend.begin_ids and not backend.end_ids:
        raise CapabilityError("the model names no end-of-text token", reason="no_end_token")
    ids = backend.encode(text)
    if not ids:
        raise CapabilityError("the text has no tokens", reason="no_output")
    return ids


def walk(backend: Backend, ids: Sequence[int], size: int, visit: Visit) -> None:
    """Predict every token once, in order, in windows of `size` tokens (even).

    `visit` must not keep the rows: only one block of them exists at a time.
    """
    start = backend.begin_ids
    stream, done = [*start, *ids], len(start)
    if not start:
        visit(0, backend.extend(backend.root(), [min(backend.end_ids)], [0]), ids[:1])
        done = 1
    for begin in range(0, len(stream), size // 2):
        window = stream[begin : begin + size]
        window[: len(start)] = start
        node = backend.root()
        # A row predicts the next token: the last one of a window is never evaluated.
        for at in range(0, len(window) - 1, ROWS):
            part = window[at : min(at + ROWS, len(window) - 1)]
            new = max(0, done - 1 - begin - at)
            rows = range(new, len(part))
            logits = backend.extend(node, part, rows)
            if rows:
                visit(done - len(start), logits, stream[done : done + len(rows)])
                done += len(rows)
            del logits
        if done == len(stream):
            break


def chunk_sums(nats: Floats, size: int, start: int) -> list[float]:
    """Nats of each chunk that llama-perplexity scores: `start` tokens stand before the text.

    Chunks of `size` tokens do not overlap, an unfinished last one is left out, and of each
    the second half is scored but for its first token (tools/perplexity/perplexity.cpp).
    """
    out = []
    for begin in range(0, len(nats) + start - size + 1, size):
        scored = nats[begin + size // 2 + 1 - start : begin + size - start]
        out.append(round(math.fsum(scored), 6))
    return out


def block_sums(values: Floats, size: int) -> list[float]:
    """Sums of blocks of `size` values; the last one may be shorter."""
    return [round(math.fsum(values[at : at + size]), 6) for at in range(0, len(values), size)]
