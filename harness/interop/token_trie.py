"""Many token sequences over one engine, every shared prefix evaluated once.

Contexts are sorted, so that those with a common beginning follow each other, and are
walked depth first; behind each context the options form a small trie of their own.
Built on the four sequence primitives of a backend alone. Rows of logits are fetched
only for tokens that are scored, a few megabytes at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from harness.backends.base import Backend, Logits, Node
from harness.errors import BackendError

Ids: TypeAlias = tuple[int, ...]

_ROWS_BYTES = 16 << 20
"""Most bytes of logits fetched at once: 2,048 rows of a large vocabulary take 1.2 GB."""


class Option(NamedTuple):
    """How likely a continuation is.

    Attributes:
        log_likelihood: ln p(continuation | context), in nats.
        tokens: scored tokens.
        greedy: every token is the most likely one where it stands.
    """

    log_likelihood: float
    tokens: int
    greedy: bool


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

    The last token of a continuation is only predicted, never evaluated.

    Raises:
        BackendError: a sequence does not fit the context, or the engine failed.
    """
    tree = _Tree(backend, requests)
    behind: dict[Ids, list[int]] = {}
    for place, (context, ids) in enumerate(requests):
        if not context or not ids:
            raise BackendError("no tokens to evaluate", reason="empty_prompt")
        behind.setdefault(context, []).append(place)
    for leaf in walk(backend, list(behind)):
        tree.descend(leaf.node, 0, leaf.row, behind[leaf.context])
    return tree.options()


def walk(backend: Backend, contexts: Sequence[Ids]) -> Iterator[Leaf]:
    """Evaluate contexts in an order that shares most; each once, however often it is given."""
    ordered = sorted(set(contexts))
    shared = [common_length(*pair) for pair in pairwise(ordered)] + [0]
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


class _Tree:
    """Continuations as a trie behind their context, and the sums on the way down."""

    def __init__(self, backend: Backend, requests: Sequence[tuple[Ids, Ids]]) -> None:
        self._backend = backend
        self._ids = [ids for _, ids in requests]
        self._totals = [0.0] * len(requests)
        self._greedy = [True] * len(requests)
        self._chunk = max(1, _ROWS_BYTES // (4 * backend.vocabulary))

    def options(self) -> list[Option]:
        """What has been found, in the order of the requests."""
        return [
            Option(total, len(ids), greedy)
            for ids, total, greedy in zip(self._ids, self._totals, self._greedy, strict=True)
        ]

    def descend(self, node: Node, depth: int, row: Logits, places: Sequence[int]) -> None:
        """Score token `depth` and all behind it of continuations that are alike before.

        Args:
            node: behind the tokens that they share.
            row: logits of token `depth`.
        """
        for token in dict.fromkeys(self._ids[place][depth] for place in places):
            alike = [place for place in places if self._ids[place][depth] == token]
            self._add(alike, [token], row[np.newaxis])
            longer = [place for place in alike if len(self._ids[place]) > depth + 1]
            if longer:
                child = self._backend.fork(node)
                end, last = self._extend(child, depth, longer)
                self.descend(child, end, last, longer)
                self._backend.drop(child)

    def _extend(self, node: Node, depth: int, places: Sequence[int]) -> tuple[int, Logits]:
        """Evaluate what continuations share from `depth` on, but for the last token of any.

        Returns:
            The depth reached, and the logits of the token there.
        """
        every = [self._ids[place] for place in places]
        first, last = min(every), max(every)
        end = min(common_length(first, last), min(map(len, every)) - 1)
        while True:
            stop = min(depth + self._chunk, end)
            rows = self._backend.extend(node, first[depth:stop], range(stop - depth))
            known = first[depth + 1 : min(stop, end - 1) + 1]
            self._add(places, known, rows[: len(known)])
            depth = stop
            if depth == end:
                return end, rows[-1]

    def _add(self, places: Sequence[int], tokens: Sequence[int], rows: Logits) -> None:
        """Add the likelihood of tokens, one a row, to all these continuations."""
        if not tokens:
            return
        chosen = log_likelihoods(rows, tokens)
        total, greedy = float(chosen.sum()), bool((rows.argmax(axis=1) == tokens).all())
        for place in places:
            self._totals[place] += total
            self._greedy[place] &= greedy


def log_likelihoods(rows: Logits, tokens: Sequence[int]) -> npt.NDArray[np.float64]:
    """Log-probability of one token a row, in nats, by a softmax accumulated in float64.

    Raises:
        BackendError: logits that are not finite.
    """
    wide = rows.astype(np.float64)
    top = wide.max(axis=1, keepdims=True)
    scale = top[:, 0] + np.log(np.exp(wide - top).sum(axis=1))
    found: npt.NDArray[np.float64] = wide[np.arange(len(tokens)), tokens] - scale
    if not np.isfinite(scale).all():
        raise BackendError("the engine returned logits that are not finite", reason="not_finite")
    return found


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many ids two sequences begin with alike."""
    for length, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return length
    return min(len(first), len(second))
