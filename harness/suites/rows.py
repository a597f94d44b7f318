"""Arithmetic on rows of logits, one row at a time: a vocabulary of 152 k is 600 kB a row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.backends.base import Logits, require_finite

Doubles = npt.NDArray[np.float64]


class Norms(NamedTuple):
    """Of each row: its largest logit, and ln of the sum of all exponentials; `[n]`."""

    top: Doubles
    log_sum: Doubles


def norms(rows: Logits) -> Norms:
    """What turns logits `[n, vocabulary]` into log-probabilities: ln p = logit - log_sum.

    Exponentials in float32, their sum in float64: within 1e-6 nat of float64 throughout,
    at a third of its time.

    Raises:
        BackendError: `not_finite`: they overflowed, and nothing can be said.
    """
    top, log_sum = np.empty(len(rows)), np.empty(len(rows))
    scratch = np.empty(rows.shape[1], np.float32)
    for i, row in enumerate(rows):
        highest = row.max()
        np.subtract(row, highest, out=scratch)
        np.exp(scratch, out=scratch)
        top[i] = highest
        log_sum[i] = float(highest) + np.log(scratch.sum(dtype=np.float64))
        require_finite(log_sum[i])
    return Norms(top, log_sum)
