"""Arithmetic on rows of logits: log-probabilities, the most likely tokens, divergence.

A vocabulary has 152 thousand tokens: 64 rows of logits are 39 MB, and a float64 copy of
them would be twice that. All work goes through one small float32 buffer, a few rows at a
time; exponentials are float32, their sums float64. Nothing here knows an engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.errors import BackendError

Rows = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

ROWS = 64
"""Most rows of logits that are held at a time."""

_BLOCK_VALUES = 1 << 18
"""Values of a block, 1 MiB of float32: what a core's cache holds."""
_LEAST_MASS = 1e-50
"""Stands for no probability at all (float32 exponentials end at 1e-45): ln must exist."""


class Coarse(NamedTuple):
    """Distributions by chosen tokens and one bucket for all others.

    Attributes:
        head: ln p of the chosen tokens, `[n, k]`.
        tail: ln of the probability of the rest, `[n]`.
    """

    head: Floats
    tail: Floats


class Norms(NamedTuple):
    """Of each row: its largest logit, and ln of the sum of all exponentials; `[n]`."""

    top: Floats
    log_sum: Floats


def norms(rows: Rows) -> Norms:
    """What turns logits `[n, V]` into log-probabilities: ln p = logit - log_sum.

    Raises:
        BackendError: `not_finite`: the engine returned NaN or infinity.
    """
    found = Norms(np.empty(len(rows)), np.empty(len(rows)))
    for part, highest, powers in _powers(rows):
        found.top[part] = highest
        found.log_sum[part] = highest + np.log(_sums(powers))
    _finite(found.log_sum)
    return found


def log_probability(rows: Rows, targets: Sequence[int] | Ids) -> Floats:
    """Natural logarithm of one token's probability a row, in nats: `[n, V]`, `[n]` → `[n]`.

    Raises:
        BackendError: `not_finite`: the engine returned NaN or infinity.
    """
    chosen: Floats = rows[np.arange(len(rows)), np.asarray(targets, np.int64)].astype(np.float64)
    return chosen - norms(rows).log_sum


def top(rows: Rows, k: int) -> Ids:
    """The `k` most likely tokens of each row, best first, equal ones by id: `[n, min(k, V)]`.

    Of equal ones that do not all fit, which are left out is open.
    """
    k = min(k, rows.shape[1])
    out = np.empty((len(rows), k), np.int64)
    # Row by row: the indices of a whole partition are 8 bytes a token of the vocabulary.
    for place, row in zip(out, rows, strict=True):
        found = np.sort(np.argpartition(row, -k)[-k:])
        place[:] = found[np.argsort(-row[found], kind="stable")]
    return out


def coarse(rows: Rows, ids: Ids) -> Coarse:
    """Chosen tokens of each row, which must differ, and the rest: `[n, V]`, `[n, k]`.

    The rest is summed by itself: one minus the chosen would be rounding error.

    Raises:
        BackendError: `not_finite`.
    """
    head, tail = np.empty(ids.shape), np.empty(len(rows))
    for part, highest, powers in _powers(rows):
        chosen = ids[part]
        logits = np.take_along_axis(rows[part], chosen, axis=1).astype(np.float64)
        mass = _sums(np.take_along_axis(powers, chosen, axis=1))
        np.put_along_axis(powers, chosen, np.float32(0), axis=1)
        rest = _sums(powers)
        total = np.log(mass + rest)
        head[part] = logits - highest[:, None] - total[:, None]
        tail[part] = np.log(np.maximum(rest, _LEAST_MASS)) - total
    _finite(head)
    return Coarse(head, _finite(tail))


def divergence(p: Coarse, q: Coarse) -> Floats:
    """Kullback-Leibler divergence KLD(p‖q) of coarse distributions, in nats, `[n]`.

    Never above that of the whole distributions (log sum inequality; Cover and Thomas,
    Elements of Information Theory, 2.7). Both are made to sum to 1 first, so that rounded
    logarithms cost only the second order, and it is never negative.
    """
    log_p, log_q = _normalised(p), _normalised(q)
    out: Floats = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    return np.maximum(out, 0.0)


def _normalised(found: Coarse) -> Floats:
    logs = np.column_stack((found.head, found.tail))
    out: Floats = logs - np.log(np.exp(logs).sum(axis=1, keepdims=True))
    return out


def _powers(rows: Rows) -> Iterator[tuple[slice, Floats, Rows]]:
    """Rows of a block, each row's highest logit, and exp(row - highest) in a reused buffer."""
    size = max(1, _BLOCK_VALUES // rows.shape[1])
    buffer = np.empty((min(size, len(rows)), rows.shape[1]), np.float32)
    for start in range(0, len(rows), size):
        part = slice(start, min(start + size, len(rows)))
        block = buffer[: part.stop - start]
        highest = rows[part].max(axis=1)
        with np.errstate(invalid="ignore"):  # infinity less infinity: `_finite` tells
            np.subtract(rows[part], highest[:, None], out=block)
        np.exp(block, out=block)
        yield part, highest.astype(np.float64), block


def _sums(values: Rows) -> Floats:
    out: Floats = values.sum(axis=1, dtype=np.float64)
    return out


def _finite(values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise BackendError("the engine returned logits that are not finite", reason="not_finite")
    return values
