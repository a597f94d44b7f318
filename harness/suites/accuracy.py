"""Accuracy on generated items, on the artefact and engine settings that are timed.

Choices are compared by log-likelihood over a small token trie: the tokens that all
options share are evaluated once. Free answers are generated greedily and parsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from harness.backends.base import Backend, Logits
from harness.errors import BackendError, CapabilityError
from harness.plan import Case, Job
from harness.records import Record
from harness.suites.base import telemetry
from harness.suites.tasks import item_at, load_task
from harness.suites.tasks.base import Item, Language

_TELEMETRY_ITEMS = 25


def measure(case: Case, backend: Backend, job: Job) -> Iterator[Record]:
    """Score the items of one task in one language."""
    if not backend.capabilities.logits:
        raise CapabilityError("this backend returns no logits", reason="no_logits")
    task = load_task(case.task)
    language: Language = "ko" if case.language == "ko" else "en"
    seed = bytes.fromhex(job.seed)
    yield telemetry(case.id, 0)
    for index in range(case.items):
        item = item_at(case.task, language, index, seed)
        record: Record = {
            "case": case.id,
            "kind": "item",
            "index": index,
            "template": item.template,
            "level": item.level,
            "chance": task.CHANCE,
        }
        if item.choices:
            yield record | _choose(item, backend)
        else:
            text, truncated = generate(backend, item.context, item.max_tokens)
            answer = task.parse(text)
            yield record | {
                "correct": answer == item.answer,
                "answered": answer is not None,
                "truncated": truncated,
                "output": text,
            }
        if index % _TELEMETRY_ITEMS == _TELEMETRY_ITEMS - 1:
            yield telemetry(case.id, index + 1)
    yield telemetry(case.id, case.items)


def _choose(item: Item, backend: Backend) -> Record:
    scores = log_likelihoods(backend, item.context, item.choices)
    best = int(np.argmax(scores))
    others = [score for i, score in enumerate(scores) if i != best]
    return {
        "correct": item.choices[best] == item.answer,
        "answered": True,
        "log_likelihoods": [round(score, 6) for score in scores],
        "margin": round(scores[best] - max(others), 6),
    }


def log_likelihoods(backend: Backend, context: str, options: Sequence[str]) -> list[float]:
    """Log-likelihood ln p(option | context) of each option, in nats.

    The definition of lm-evaluation-harness: trailing spaces of the context belong to the
    option, and the tokens behind the first `len(encode(context))` of the joint encoding
    are scored, also when a merge crosses the boundary. An empty context is replaced by
    an end-of-sequence token.
    """
    kept = context.rstrip(" ")
    options = [context[len(kept) :] + option for option in options]
    lead = [] if kept else [_start_id(backend)]
    paths = [lead + backend.encode(kept + option) for option in options]
    scored_from = len(backend.encode(kept)) if kept else 1
    # The last token of an option is only predicted, never evaluated.
    shared = min(_common_prefix(paths), min(len(path) for path in paths) - 1)
    first = min(scored_from, shared)
    root = backend.root()
    # Nothing is shared when a merge reaches from the context's only token into an option.
    head = backend.extend(root, paths[0][:shared], range(first - 1, shared)) if shared else None
    head_scores = _log_softmax(head) if head is not None else None
    totals = []
    for path in paths:
        total = 0.0
        if head_scores is not None:
            total += sum(
                float(head_scores[position - first, path[position]])
                for position in range(scored_from, shared + 1)
            )
        rest = path[shared:]
        if len(rest) > 1:
            child = backend.fork(root)
            rows = _log_softmax(backend.extend(child, rest[:-1], range(len(rest) - 1)))
            backend.drop(child)
            total += sum(
                float(rows[i, token])
                for i, token in enumerate(rest[1:])
                if shared + 1 + i >= scored_from
            )
        totals.append(total)
    return totals


def generate(backend: Backend, context: str, max_tokens: int) -> tuple[str, bool]:
    """Greedy continuation up to an end token, a line break or the cap.

    Returns:
        The text before the stop, and whether the cap cut it.
    """
    backend.reset()
    token = backend.prefill(backend.encode(context)).next_id
    ids: list[int] = []
    while len(ids) < max_tokens:
        if token in backend.end_ids:
            return backend.decode(ids), False
        ids.append(token)
        text = backend.decode(ids)
        if "\n" in text:
            return text.split("\n", 1)[0], False
        token = backend.step(token).next_id
    return backend.decode(ids), True


def _start_id(backend: Backend) -> int:
    if not backend.end_ids:
        raise BackendError("the model names no end-of-sequence token", reason="no_end_token")
    return min(backend.end_ids)


def _common_prefix(paths: Sequence[Sequence[int]]) -> int:
    length = 0
    for tokens in zip(*paths, strict=False):
        if len(set(tokens)) > 1:
            break
        length += 1
    return length


def _log_softmax(logits: Logits) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Row by row in float64; `[rows, vocabulary]` → the same shape."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return wide
