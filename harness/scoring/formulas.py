"""What ratios to the reference are worth: one small table of formulas.

capped ratio ─ term ─▶ weighted sum ─ total ─▶ points

Every formula is a weighted sum of one term a metric, so ranks, intervals, ties and the
sensitivity to weights are computed from terms and never ask which formula it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from harness.metrics import Floats, suite_of
from harness.specgate import Scoring

SCALE = 1000.0
_LEAST_EFFECT = 1e-3


class Formula(NamedTuple):
    """A score as a weighted sum.

    Attributes:
        term: of a metric and its ratios (1 = as the reference, above is better).
        least: a smaller sum counts as this one.
        logarithmic: the sum is ln of the score; otherwise the score itself.
    """

    term: Callable[[str, Floats], Floats]
    least: float
    logarithmic: bool

    def total(self, sums: Floats) -> Floats:
        """Weighted sums on the scale on which entries are compared."""
        out: Floats = np.maximum(sums, self.least)
        return out

    def points(self, total: float) -> float:
        """The score that a report shows."""
        return SCALE * (math.exp(total) if self.logarithmic else total)

    def gap(self, difference: float) -> float:
        """A difference of totals as a share: of the lower score, else of 1000 points."""
        return math.expm1(difference) if self.logarithmic else difference

    def effects(
        self, ratios: Mapping[str, float], weights: Mapping[str, float]
    ) -> dict[str, float]:
        """What the reference's score would be multiplied by if it had this one ratio."""
        one = {metric: self._alone(metric, 1.0) for metric in weights}
        before = math.fsum(weights[metric] * term for metric, term in one.items())
        out = {}
        for metric in weights.keys() & ratios.keys():
            change = weights[metric] * (self._alone(metric, ratios[metric]) - one[metric])
            after = self.points(max(before + change, self.least))
            out[metric] = max(after / self.points(before), _LEAST_EFFECT)
        return out

    def part(self, metric: str, ratio: float, weight: float) -> float:
        """Under a formula of sums: the points that a ratio adds to the reference's score."""
        return SCALE * weight * (self._alone(metric, ratio) - self._alone(metric, 1.0))

    def _alone(self, metric: str, ratio: float) -> float:
        return float(self.term(metric, np.array(ratio)))


def _log(_metric: str, ratios: Floats) -> Floats:
    out: Floats = np.log(ratios)
    return out


def _gain(metric: str, ratios: Floats) -> Floats:
    """Accuracy counts as its ratio, all else by what it saves: 1 - x / x_ref for a time x."""
    return ratios if suite_of(metric) == "accuracy" else 1 - 1 / ratios


FORMULAS: Mapping[Scoring, Formula] = {
    "geometric": Formula(_log, -math.inf, logarithmic=True),
    # LG Aimers 8 as usually stated: max(accuracy ratio / 2 + speed gain / 2, 0).
    "aimers": Formula(_gain, 0.0, logarithmic=False),
    # The gate on accuracy decides who is ranked; `specprofile` keeps it out of the weights.
    "gate": Formula(_log, -math.inf, logarithmic=True),
}
