"""Log-likelihoods of continuations over a token trie: what is shared is evaluated once.

shots ── stem ─┬─ option 1
               ├─ option 2     depth first; the shots stay in the cache from item to item
               └─ option 3

The split between stem and options is the longest common prefix of their whole encodings,
so it does not matter how a tokeniser merges across the boundary. The first token of each
option is predicted by the stem's last row, and the last token of an option is predicted
but never evaluated: options of one token cost nothing. How tokens are grouped into calls
depends on the item alone, because grouping shifts logits a little.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from harness.backends.base import Backend, Logits, Node
from harness.errors import BackendError
from harness.suites.rows import ROWS, Norms, norms


class Option(NamedTuple):
    """One scored continuation.

    Attributes:
        log_likelihood: ln p(option | context), in nats. tokens: how many were scored.
        greedy: each of them was the most likely one.
    """

    log_likelihood: float
    tokens: int
    greedy: bool


class _Sum:
    """Log-likelihood of one path while its rows arrive."""

    def __init__(self, path: Sequence[int], scored_from: int) -> None:
        self.path, self.scored_from = path, scored_from
        self.total, self.greedy = 0.0, True

    def add(self, rows: Logits, found: Norms, first: int) -> None:
        """Add rows that predict the tokens from index `first` on."""
        for index in range(max(self.scored_from, first), min(len(self.path), first + len(rows))):
            row = index - first
            logit = float(rows[row, self.path[index]])
            self.total += logit - float(found.log_sum[row])
            self.greedy = self.greedy and logit >= found.top[row]

    @property
    def option(self) -> Option:
        """The finished result.

        Raises:
            BackendError: `not_finite`: the engine gives a token no probability at all.
        """
        if not math.isfinite(self.total):
            raise BackendError(
                "the engine gives an option no probability at all", reason="not_finite"
            )
        return Option(self.total, len(self.path) - self.scored_from, self.greedy)


class Scorer:
    """Scores continuations behind a prefix of text that stays evaluated.

    Args:
        backend: loaded; nobody else may use it while items of one prefix are scored.
        shots: text before every stem.
    """

    def __init__(self, backend: Backend, shots: str = "") -> None:
        self._backend = backend
        self.shots = shots
        self._begin = list(backend.begin_ids)
        self._prefix = self._begin + backend.encode(shots.rstrip(" ")) if shots else []
        self._node: Node | None = None

    # --- text -------------------------------------------------------------------------

    def encode(self, stem: str, options: Sequence[str]) -> tuple[list[list[int]], int]:
        """Whole encodings of `shots + stem` and each option, and where scoring begins in them.

        The definition of lm-evaluation-harness: trailing white space of the context belongs
        to the option, and the tokens behind the first `len(encode(context))` of the joint
        encoding are scored. Only where a merge crosses the boundary is scored from where the
        options part, as llama-perplexity does: the token that one option was merged into
        would else be free for it, while the others pay for theirs. An empty context is
        replaced by the model's first token, or an end-of-sequence token.

        Raises:
            BackendError: `empty_option`.
        """
        encode = self._backend.encode
        context = self.shots + stem
        kept = context.rstrip()
        if not all(context[len(kept) :] + option for option in options):
            raise _empty()
        paths = [encode(context + option) for option in options]
        if not all(paths):
            raise _empty()
        shortest = min(map(len, paths)) - 1
        scored_from = min(len(encode(kept)) if kept else 0, common_prefix(paths), shortest)
        # Something has to come before the first scored token.
        lead = self._begin or ([] if scored_from else [_start_id(self._backend)])
        return [lead + path for path in paths], len(lead) + scored_from

    # --- tokens -----------------------------------------------------------------------

    def paths(self, paths: Sequence[Sequence[int]], scored_from: int) -> list[Option]:
        """Score the tokens behind the first `scored_from` (at least 1) of each path.

        Raises:
            BackendError: `context_exceeded`, `empty_option`: nothing was evaluated.
        """
        self._check(paths, scored_from)
        sums = [_Sum(path, scored_from) for path in paths]
        # The last token of an option is only predicted, never evaluated.
        shared = min(common_prefix(paths), min(len(path) for path in paths) - 1)
        first = min(scored_from, shared)
        node = self._under(paths[0], first)
        self._together(node, sums, shared, first - 1 if shared else 0)
        self._branch(node, sums, shared)
        self._leave(node)
        return [each.option for each in sums]

    def behind(
        self, node: Node, row: Logits, paths: Sequence[Sequence[int]], scored_from: int
    ) -> list[Option]:
        """Score paths whose first `scored_from` tokens are what a node holds.

        Args:
            node: it may be extended. row: logits of the token behind it, `[vocabulary]`.
        """
        self._check(paths, scored_from)
        sums = [_Sum(path, scored_from) for path in paths]
        found = norms(row[None])
        for each in sums:
            each.add(row[None], found, scored_from)
        shared = min(common_prefix(paths), min(len(path) for path in paths) - 1)
        self._together(node, sums, shared, scored_from)
        self._branch(node, sums, max(shared, scored_from))
        return [each.option for each in sums]

    def naive(self, paths: Sequence[Sequence[int]], scored_from: int) -> list[float]:
        """The same by one full forward pass a path, nothing shared: what others do."""
        self._check(paths, scored_from)
        totals = []
        for path in paths:
            one = _Sum(path, scored_from)
            self._node = None
            root = self._backend.root()
            ids, wanted = path[:-1], range(scored_from - 1, len(path) - 1)
            # All rows in one call, as a plain forward has them, unless they are too many.
            if len(wanted) <= ROWS:
                rows = self._backend.extend(root, ids, wanted)
                one.add(rows, norms(rows), scored_from)
            else:
                for start, rows in self._rows(root, ids, scored_from - 1):
                    one.add(rows, norms(rows), start + 1)
            totals.append(one.option.log_likelihood)
        return totals

    def _check(self, paths: Sequence[Sequence[int]], scored_from: int) -> None:
        """Refuse what could not be scored, before anything is evaluated."""
        for path in paths:
            if len(path) <= scored_from:
                raise _empty()
            if len(path) - 1 > self._backend.context:
                raise BackendError(
                    f"{len(path)} tokens exceed the context of {self._backend.context}",
                    reason="context_exceeded",
                )

    def _under(self, path: Sequence[int], first: int) -> Node:
        """An empty child of the evaluated prefix; of the root where the path is another.

        The row that predicts token `first` must come from what is still to be evaluated.
        """
        prefix, backend = self._prefix, self._backend
        if not prefix or first <= len(prefix) or list(path[: len(prefix)]) != prefix:
            self._node = None
            return backend.root()
        if self._node is None:
            self._node = backend.root()
            backend.extend(self._node, prefix, [])
        return backend.fork(self._node)

    def _leave(self, node: Node) -> None:
        if self._node is not None:
            self._backend.drop(node)

    def _rows(self, node: Node, ids: Sequence[int], first: int) -> Iterator[tuple[int, Logits]]:
        """Append the rest of `ids` to a node; rows from index `first` on, in parts.

        Yields:
            Index of the first row, and the rows.
        """
        if len(ids) <= node.length:
            return
        if first >= len(ids):
            self._backend.extend(node, ids[node.length :], [])
            return
        # What precedes the first wanted row goes with it: one call in the usual case.
        end = min(first + ROWS, len(ids))
        while True:
            begin = node.length
            wanted = range(max(first, begin) - begin, end - begin)
            rows = self._backend.extend(node, ids[begin:end], wanted)
            yield max(first, begin), rows
            if end == len(ids):
                return
            end = min(end + ROWS, len(ids))

    def _together(self, node: Node, sums: Sequence[_Sum], shared: int, first: int) -> None:
        """Evaluate the shared tokens; rows from index `first` on count for all paths."""
        for start, rows in self._rows(node, sums[0].path[:shared], first):
            found = norms(rows)
            for each in sums:
                each.add(rows, found, start + 1)

    def _branch(self, node: Node, sums: Sequence[_Sum], shared: int) -> None:
        """Evaluate what each path has behind the shared tokens; its first one is predicted."""
        short = [each for each in sums if 1 < len(each.path) - shared <= ROWS]
        paths = [each.path[shared:-1] for each in short]
        rows = [range(len(path)) for path in paths]
        for each, found in zip(short, self._backend.branches(node, paths, rows), strict=True):
            each.add(found, norms(found), shared + 1)
        for each in sums:
            if len(each.path) - shared > ROWS:
                child = self._backend.fork(node)
                for start, found in self._rows(child, each.path[:-1], shared):
                    each.add(found, norms(found), start + 1)
                self._backend.drop(child)


def _empty() -> BackendError:
    return BackendError("an option has no tokens of its own", reason="empty_option")


def _start_id(backend: Backend) -> int:
    if not backend.end_ids:
        raise BackendError("the model names no end-of-sequence token", reason="no_end_token")
    return min(backend.end_ids)


def common_prefix(paths: Sequence[Sequence[int]]) -> int:
    """How many tokens all paths begin with alike."""
    length = 0
    for tokens in zip(*paths, strict=False):
        if len(set(tokens)) > 1:
            break
        length += 1
    return length
