"""What an engine adapter must offer: a token-level, synchronous interface.

The suite owns the clock, so one timing path serves every engine. An adapter turns
four primitive operations (`_evaluate`, `_rewind`, `encode`, `decode`) of its engine
into the calls that suites use; everything else is written once, here.

A sequence of evaluated tokens is a path from the root. `fork` marks a place in it,
`extend` appends behind the mark, and going back to a mark rewinds the one cache: a
depth-first walk of a token trie shares every prefix and copies nothing.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.errors import BackendError
from harness.spec import BackendOptions

Logits = npt.NDArray[np.float32]


class Step(NamedTuple):
    """Result of evaluating tokens.

    Attributes:
        next_id: greedy next token, or -1 where sampling was switched off.
        evaluated: tokens that the engine evaluated in this call, by its own count
            where it has one and by rows fed otherwise.
    """

    next_id: int
    evaluated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an adapter can do.

    Attributes:
        logits: rows of logits can be read (accuracy by log-likelihood needs them).
        counts_evaluated: `Step.evaluated` is the engine's own counter.
    """

    logits: bool = True
    counts_evaluated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """Durations of loading, in seconds on the adapter's clock.

    Attributes:
        import_s: importing the engine's libraries.
        weights_s: opening the model until it can be called.
        compile_s: of that time, making the context or compiling; None where the engine
            does both in one call.
        model_bytes: bytes of weights on disk.
        kv_bytes_per_token: computed from the architecture; 0 = unknown.
    """

    import_s: float
    weights_s: float
    model_bytes: int
    kv_bytes_per_token: int
    compile_s: float | None = None


class Node:
    """A place in the sequence: the root, or behind `length` evaluated tokens."""

    __slots__ = ("alive", "length", "parent")

    def __init__(self, parent: Node | None, length: int) -> None:
        self.parent = parent
        self.length = length
        self.alive = True


class Backend(ABC):
    """Base of all adapters. Subclasses set `name` and implement the abstract methods;
    `load` sets `_loaded` and `close` clears it.
    """

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities] = Capabilities()

    def __init__(self) -> None:
        self._loaded = False
        self._imported = False
        self._import_s = 0.0
        self._position = 0
        self._tip: Node | None = None

    # --- life cycle -----------------------------------------------------------------

    def import_engine(self) -> None:
        """Import the engine's libraries; `load` does it where nobody has done it before.

        Raises:
            PrerequisiteError: the engine is not installed.
        """
        if not self._imported:
            started = time.perf_counter()
            self._import()
            self._import_s = time.perf_counter() - started
            self._imported = True

    @abstractmethod
    def load(self, path: Path, options: BackendOptions) -> LoadReport:
        """Open a model.

        Raises:
            BackendError: the engine refused the file; the message names it.
            PrerequisiteError: the engine is not installed.
        """

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """Engine version, build, instruction set, execution provider, library path and sha256."""

    @abstractmethod
    def close(self) -> None:
        """Free the model; calling it twice is allowed."""

    def now_ns(self) -> int:
        """The clock that suites read, in nanoseconds: monotonic, never wall time."""
        return time.perf_counter_ns()

    # --- text -----------------------------------------------------------------------

    @property
    @abstractmethod
    def context(self) -> int:
        """Tokens that the allocated cache can hold."""

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """Number of token ids; valid ids are `0 … vocabulary - 1`."""

    @property
    @abstractmethod
    def end_ids(self) -> frozenset[int]:
        """Ids that end a generation."""

    @property
    def start_ids(self) -> tuple[int, ...]:
        """Ids that the model's tokeniser puts before every text (BOS); `encode` does not."""
        return ()

    @abstractmethod
    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of a text; nothing is added.

        `special` reads `<|im_start|>` and its like as the tokens that they name, which
        rendered chat prompts need; in plain text they stay text.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; invalid UTF-8 becomes U+FFFD."""

    # --- timed calls ----------------------------------------------------------------

    def prefill(self, ids: Sequence[int], *, sample: bool = True) -> Step:
        """Evaluate a prompt behind what is in the cache and pick the next token.

        `sample=False` (kernel mode) leaves the logits in the engine.
        """
        self._check(ids)
        return self._advance(ids, sample=sample)

    def step(self, token: int, *, sample: bool = True) -> Step:
        """Evaluate one token and pick the next one. The hot path: adapters override it."""
        return self._advance((token,), sample=sample)

    def reset(self) -> None:
        """Empty the cache: the next prefill evaluates every token again."""
        self._require_model()
        self._rewind(0)
        self._forget()

    # --- sequence primitives for scoring -----------------------------------------------

    def root(self) -> Node:
        """Empty the cache and return the empty sequence."""
        self.reset()
        self._tip = Node(None, 0)
        return self._tip

    def extend(self, node: Node, tokens: Sequence[int], rows: Sequence[int]) -> Logits:
        """Append tokens to a node and return the logits rows asked for.

        Args:
            node: a leaf on the current path, or a node whose forks were dropped.
            tokens: ids, at least one.
            rows: positions within `tokens`, ascending; row i predicts token i + 1.

        Returns:
            float32 array of shape `[len(rows), vocabulary]`, owned by the caller.
        """
        if not node.alive:
            raise BackendError("a dropped node was extended", reason="node_dropped")
        if self._tip is not node:
            raise BackendError("only the deepest node can be extended", reason="node_order")
        if self._position != node.length:
            self._rewind(node.length)
            self._position = node.length
        self._check(tokens)
        logits = self._evaluate(tokens, rows)
        self._position += len(tokens)
        node.length = self._position
        return logits

    def fork(self, node: Node) -> Node:
        """A child that starts where the node ends; costs nothing. Drop it before its siblings."""
        if self._tip is not node:
            raise BackendError("only the deepest node can be forked", reason="node_order")
        self._tip = Node(node, node.length)
        return self._tip

    def drop(self, node: Node) -> None:
        """Forget a node; its parent becomes the deepest one again."""
        if self._tip is not node:
            raise BackendError("only the deepest node can be dropped", reason="node_order")
        node.alive = False
        self._tip = node.parent

    # --- what adapters implement --------------------------------------------------------

    def _import(self) -> None:  # noqa: B027 - an adapter without libraries has nothing to do
        """Import the engine's libraries."""

    @abstractmethod
    def _advance(self, ids: Sequence[int], *, sample: bool) -> Step:
        """Evaluate ids at `_position`, move it on, and pick greedily if asked."""

    @abstractmethod
    def _evaluate(self, ids: Sequence[int], rows: Sequence[int]) -> Logits:
        """Evaluate ids at `_position` without moving it; return chosen logits rows."""

    @abstractmethod
    def _rewind(self, length: int) -> None:
        """Forget everything behind the first `length` tokens."""

    def _forget(self) -> None:
        """Start at the root again: after a reset, and when a model is loaded."""
        self._position = 0
        self._tip = None

    def _require_model(self) -> None:
        if not self._loaded:
            raise BackendError("no model is loaded", reason="not_loaded")

    def _require_none(self, path: Path) -> None:
        if self._loaded:
            raise BackendError(
                "a model is already loaded", where=str(path), reason="already_loaded"
            )

    def _check(self, ids: Sequence[int]) -> None:
        """Refuse what would end an engine: no tokens, ids outside the vocabulary, overflow."""
        self._require_model()
        if not ids:
            raise BackendError("no tokens to evaluate", reason="empty_prompt")
        self._check_range(ids)
        if self._position + len(ids) > self.context:
            raise BackendError(
                f"{self._position + len(ids)} tokens exceed the context of {self.context}",
                reason="context_exceeded",
            )

    def _check_range(self, ids: Sequence[int]) -> None:
        """Refuse ids that are not in the vocabulary: engines abort or wrap around."""
        if ids and (min(ids) < 0 or max(ids) >= self.vocabulary):
            raise BackendError(
                f"token ids must lie in 0..{self.vocabulary - 1}", reason="token_out_of_range"
            )


def require_pinned(path: Path, options: BackendOptions) -> None:
    """Refuse options that would leave threads or context to an engine's default.

    Raises:
        BackendError: the plan has not replaced a 0.
    """
    if options.threads < 1 or options.context < 1 or options.batch_tokens < 1:
        raise BackendError(
            f"threads={options.threads}, context={options.context}, "
            f"batch_tokens={options.batch_tokens}: the plan must pin them",
            where=str(path),
            allowed="1 or more",
            reason="options_not_pinned",
        )


def require_context(path: Path, options: BackendOptions, longest: int) -> None:
    """Refuse a cache that is longer than the network was made for; 0 = not declared.

    Raises:
        BackendError: engines would go on, and what they measure would mean nothing.
    """
    if options.context > longest > 0:
        raise BackendError(
            f"context {options.context} is longer than the network's {longest}",
            where=str(path),
            reason="context_exceeded",
        )


def require_finite(logit: float) -> None:
    """Refuse a greedy pick among logits that overflowed.

    Raises:
        BackendError: NaN or infinite.
    """
    if not math.isfinite(logit):
        raise BackendError("the engine returned logits that are not finite", reason="not_finite")
