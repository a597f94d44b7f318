"""Greedy answers to many requests, with every shared beginning of a context evaluated once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from harness.backends.base import Backend, Logits, Node
from harness.errors import BackendError
from harness.interop.token_trie import Ids, walk


class Request(NamedTuple):
    """What is asked for.

    Attributes:
        context: ids, at least one.
        stops: texts that end an answer and are no part of it.
        most: tokens of the answer.
    """

    context: Ids
    stops: tuple[str, ...]
    most: int


def generate(backend: Backend, requests: Sequence[Request]) -> list[str]:
    """Answers in the order of the requests; equal requests are computed once.

    An answer ends before the first stop string, at an end token, or at its limit.

    Raises:
        BackendError: a context does not fit, or the engine failed.
    """
    asked: dict[Ids, list[Request]] = {}
    for request in dict.fromkeys(requests):
        if not request.context:
            raise BackendError("no tokens to evaluate", reason="empty_prompt")
        asked.setdefault(request.context, []).append(request)
    answers: dict[Request, str] = {}
    for leaf in walk(backend, list(asked)):
        for request in asked[leaf.context]:
            node = backend.fork(leaf.node)
            answers[request] = _answer(backend, node, leaf.row, request)
            backend.drop(node)
    return [answers[request] for request in requests]


def _answer(backend: Backend, node: Node, row: Logits, request: Request) -> str:
    ids: list[int] = []
    text = ""
    while len(ids) < request.most:
        token = int(row.argmax())
        if not math.isfinite(row[token]):
            raise BackendError(
                "the engine returned logits that are not finite", reason="not_finite"
            )
        if token in backend.end_ids:
            break
        ids.append(token)
        text = backend.decode(ids)
        if any(stop in text for stop in request.stops if stop):
            break
        if len(ids) < request.most:
            row = backend.extend(node, [token], [0])[0]
    for stop in request.stops:
        if stop:
            text = text.split(stop, 1)[0]
    return text
