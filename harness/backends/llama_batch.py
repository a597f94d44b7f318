"""A `llama_batch`, written through NumPy views; and branches grouped into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

ROWS_MAX = 64
"""Logits rows in one call: the engine holds them all, 600 kB each at 152 k tokens."""


class Batch:
    """Preallocated arrays of tokens; each token belongs to one sequence, at first to 0."""

    def __init__(self, engine: Any, size: int) -> None:
        self._free = engine.llama_batch_free
        self.struct = engine.llama_batch_init(size, 0, 1)
        view = np.ctypeslib.as_array
        self.tokens: npt.NDArray[np.int32] = view(self.struct.token, (size,))
        self.positions: npt.NDArray[np.int32] = view(self.struct.pos, (size,))
        self.wanted: npt.NDArray[np.int8] = view(self.struct.logits, (size,))
        view(self.struct.n_seq_id, (size,))[:] = 1
        for index in range(size):
            self.struct.seq_id[index][0] = 0
        self.wanted[:] = 0

    def fill(self, start: int, ids: Sequence[int], position: int, rows: Sequence[int]) -> None:
        """Write tokens from index `start` on; the first one stands at `position`."""
        end = start + len(ids)
        self.tokens[start:end] = ids
        self.positions[start:end] = np.arange(position, position + len(ids))
        self.wanted[start:end] = 0
        self.wanted[[start + row for row in rows]] = 1
        self.struct.n_tokens = end

    def assign(self, start: int, count: int, sequence: int) -> None:
        """Say which sequence `count` tokens belong to."""
        for index in range(start, start + count):
            self.struct.seq_id[index][0] = sequence

    def free(self) -> None:
        """Give the arrays back; the views must not be used again."""
        self._free(self.struct)


def grouped(
    paths: Sequence[Sequence[int]], rows: Sequence[Sequence[int]], *, sequences: int, tokens: int
) -> Iterator[list[int]]:
    """Indices of neighbouring branches that fit into one call.

    Args:
        sequences: most branches. tokens: most tokens of all branches together.
    """
    group: list[int] = []
    used = held = 0
    for index, (path, wanted) in enumerate(zip(paths, rows, strict=True)):
        full = len(group) == sequences or used + len(path) > tokens
        if group and (full or held + len(wanted) > ROWS_MAX):
            yield group
            group, used, held = [], 0, 0
        group.append(index)
        used += len(path)
        held += len(wanted)
    if group:
        yield group
