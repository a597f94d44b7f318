"""Many token sequences over one engine, every shared prefix evaluated once.

Contexts are sorted, so that those with a common beginning follow each other, and are
walked depth first; what stands behind each of them is left to the scorer of the suites.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from harness.backends.base import Backend, Logits, Node
from harness.errors import BackendError
from harness.suites.scorer import Option, Scorer, common_prefix

Ids: TypeAlias = tuple[int, ...]


class Leaf(NamedTuple):
    """A context that has just been evaluated.

    Attributes:
        context: its ids.
        node: its end; children may be forked and dropped, and it may be extended.
        row: logits of the token behind it.
    """

    context: Ids
    node: Node
    row: Logits


def score(backend: Backend, requests: Sequence[tuple[Ids, Ids]]) -> list[Option]:
    """Score continuations of contexts, both as token ids and neither empty.

    Raises:
        BackendError: a sequence does not fit the context, or the engine failed.
    """
    scorer = Scorer(backend)
    behind: dict[Ids, list[Ids]] = {}
    for context, ids in dict.fromkeys(requests):
        if not context or not ids:
            raise BackendError("no tokens to evaluate", reason="empty_prompt")
        behind.setdefault(context, []).append(ids)
    found: dict[tuple[Ids, Ids], Option] = {}
    for leaf in walk(backend, list(behind)):
        paths = [leaf.context + ids for ids in behind[leaf.context]]
        scored = scorer.behind(leaf.node, leaf.row, paths, len(leaf.context))
        found |= zip(((leaf.context, ids) for ids in behind[leaf.context]), scored, strict=True)
    return [found[request] for request in requests]


def walk(backend: Backend, contexts: Sequence[Ids]) -> Iterator[Leaf]:
    """Evaluate contexts in an order that shares most; each once, however often it is given."""
    ordered = sorted(set(contexts))
    shared = [common_prefix(pair) for pair in pairwise(ordered)] + [0]
    path = [backend.root()]
    for index, context in enumerate(ordered):
        kept = shared[index - 1] if index else 0
        while path[-1].length > kept:
            backend.drop(path.pop())
        for mark in _marks(shared, index, path[-1].length, len(context) - 1):
            node = backend.fork(path[-1])
            backend.extend(node, context[node.length : mark], [])
            path.append(node)
        leaf = backend.fork(path[-1])
        rest = context[leaf.length :]
        yield Leaf(context, leaf, backend.extend(leaf, rest, [len(rest) - 1])[0])
        backend.drop(leaf)


def _marks(shared: Sequence[int], index: int, reached: int, most: int) -> list[int]:
    """Lengths of this context that later ones come back to, ascending, behind `reached`."""
    marks: list[int] = []
    least = most
    for length in shared[index:]:
        least = min(least, length)
        if least <= reached:
            break
        if not marks or least < marks[-1]:
            marks.append(least)
    return marks[::-1]
