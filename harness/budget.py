"""How many items of each case fit a time budget and tell the most. Pure.

    pilot items ─ variance, seconds an item ─▶ Stratum ─ allocate ─▶ items a case

The figure that is to be precise is the weighted mean of the cases' shares. Its variance
Σ w²σ²/n is smallest for a given time where n is proportional to w σ / √c (Neyman 1934,
with costs: Cochran 1977, section 5.5).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

from harness.stats import CONFIDENCE

FLOOR = 8
"""Items that every case gets, whatever the budget: a mean needs all of its parts."""

SHARED = 32.0
"""Items that the share of all cases is worth beside a case's own pilot. A case whose pilot
happened to be all right would else be believed, get few more items and keep its luck: the
mean of answers at 90 % was 1 percentage point too high at 12 items a case (simulated), and no
more certain than with equal counts."""


class Stratum(NamedTuple):
    """One case.

    Attributes:
        weight: of its share in the mean; only proportions count.
        seconds_per_item: what one more item takes, above 0.
        variance: of one item's outcome, as `item_variance` estimates it.
        done: items that are answered already. most: items that there are.
    """

    case: str
    weight: float
    seconds_per_item: float
    variance: float
    done: int
    most: int


def item_variance(
    right: int, items: int, *, chance: float = 0.0, share: float = 0.5, strength: float = 0.0
) -> float:
    """Variance of one chance-adjusted outcome, expected after a pilot.

    E[p(1 - p)] = ab / ((a + b)(a + b + 1)) with a = right + 1, b = wrong + 1 under Beta(1, 1),
    over (1 - chance)²: never 0, and 1/6 of a plain share where nothing is known.

    Args:
        share: right answers that were expected before. strength: items that this is worth.
    """
    a, b = right + strength * share + 1, items - right + strength * (1 - share) + 1
    return a * b / ((a + b) * (a + b + 1)) / (1 - chance) ** 2


def allocate(budget_s: float, strata: Sequence[Stratum], *, floor: int = FLOOR) -> dict[str, int]:
    """Items of each case, those done included.

    One item at a time goes where it lowers the variance most for its seconds, until the
    next one no longer fits. As the gains of a case fall from item to item, no allocation
    that takes as long has a smaller variance; and a larger budget only adds items.

    Args:
        budget_s: for items that are not done yet. Items up to the floor are asked for even
            where they exceed it.
        floor: least items of a case that has as many.

    Raises:
        ValueError: an item that takes no time, or two strata of one case.
    """
    if len({stratum.case for stratum in strata}) != len(strata):
        raise ValueError("two strata of one case")
    if any(stratum.seconds_per_item <= 0 for stratum in strata):
        raise ValueError("an item takes time")
    items = {s.case: max(s.done, min(floor, s.most)) for s in strata}
    left_s = budget_s - math.fsum((items[s.case] - s.done) * s.seconds_per_item for s in strata)
    queue = [
        (-_gain(s, items[s.case]), s.case, s) for s in strata if s.weight and items[s.case] < s.most
    ]
    heapq.heapify(queue)
    while queue:
        _, case, stratum = queue[0]
        left_s -= stratum.seconds_per_item
        if left_s < 0:
            break
        items[case] += 1
        if items[case] < stratum.most:
            heapq.heapreplace(queue, (-_gain(stratum, items[case]), case, stratum))
        else:
            heapq.heappop(queue)
    return items


def reached(strata: Sequence[Stratum], items: Mapping[str, int]) -> float:
    """Half-width of the 95 % interval of the weighted mean with so many items; normal.

    Infinite where a weighted case has none.
    """
    total = math.fsum(s.weight for s in strata)
    if any(s.weight and not items[s.case] for s in strata):
        return math.inf
    parts = ((s.weight / total) ** 2 * s.variance / items[s.case] for s in strata if s.weight)
    return NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(math.fsum(parts))


def _gain(stratum: Stratum, items: int) -> float:
    """By how much one more item lowers the variance, a second: w²σ²(1/n - 1/(n + 1))/c."""
    if not items:
        return math.inf
    lowered = stratum.weight**2 * stratum.variance / (items * (items + 1))
    return lowered / stratum.seconds_per_item
