"""How far an artefact's predictions of a text are from its reference's, as recorded. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from harness.metrics import Floats
from harness.scoring.language import is_amount
from harness.times import SampleRefusedError, whole


class Divergence(NamedTuple):
    """One text of one artefact against its family's reference.

    Attributes:
        kld: a token, in nats. same_top: tokens with the same most likely one.
        squares: sum of squared changes of the true token's probability.
        nats, reference_nats: -ln p of the compared tokens. bytes: of the text, in UTF-8.
    """

    reference: str
    kld: Floats
    same_top: int
    squares: float
    nats: float
    reference_nats: float
    bytes: int


def read_divergence(sample: Mapping[str, Any]) -> Divergence:
    """Check a `divergence` sample.

    Raises:
        SampleRefusedError: `bad_sample` or `bad_times`.
    """
    kld = sample.get("kld_nat")
    sums: list[Any] = [sample.get(name) for name in ("delta_p_squares", "nats", "reference_nats")]
    numbers = [*kld, *sums] if isinstance(kld, list) and kld else [None]
    if not all(map(is_amount, numbers)):
        raise SampleRefusedError("its sums are not usable", reason="bad_sample")
    same = whole(sample, "same_top", least=0)
    values = np.asarray(kld, dtype=np.float64)
    if same > values.size:
        raise SampleRefusedError(f"{same} of {values.size} agree", reason="bad_sample")
    squares, nats, reference_nats = (float(number) for number in sums)
    reference, size = str(sample.get("reference", "")), whole(sample, "bytes", least=1)
    return Divergence(reference, values, same, squares, nats, reference_nats, size)
