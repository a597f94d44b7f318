"""Accuracy of ranked models compared item by item.

The ranking stays with `rank`; this says which answers differ, and how small a difference
the items could have told. `a` is the model with the higher accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, compress
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from harness.scoring.itemtable import Bools, Items
from harness.scoring.judge import Judged
from harness.scoring.rules import Rules
from harness.stats import holm, percentile_interval, quiet, round_significant
from harness.stats_items import mcnemar, minimum_detectable_difference


class Answers(NamedTuple):
    """Of the items of a list in one order, `[items]`: which were asked, which were right."""

    asked: Bools
    right: Bools


class AccuracyPair(NamedTuple):
    """Two models of one list on the items that both were asked.

    Attributes:
        only_a, only_b, both, neither: items by who has them right.
        p: exact McNemar test over the items of all tasks. p_holm: adjusted over the list.
        difference, lo, hi: of the chance-adjusted macro means, a less b, with the 95 %
            interval of the bootstrap that draws the same templates for both.
    """

    a: str
    b: str
    only_a: int
    only_b: int
    both: int
    neither: int
    p: float
    p_holm: float
    difference: float
    lo: float
    hi: float

    @property
    def items(self) -> int:
        """Items that both answered."""
        return self.only_a + self.only_b + self.both + self.neither


def compare_accuracy(groups: Sequence[Sequence[Judged]], rules: Rules) -> dict[str, Any]:
    """Every pair within each list of ranked models, and what the items could tell.

    Returns:
        `items` that the pair with the fewest shares, mean `discordance` over pairs, the
        `minimum_detectable_difference` with both (shares right; at 80 % power and an
        unadjusted 5 %), and `pairs`. The three figures are None without a pair.
    """
    pairs = [pair for group in groups for pair in _pairs(group, rules)]
    items = min((pair.items for pair in pairs), default=None)
    if items is None:
        figures = dict.fromkeys(("items", "discordance", "minimum_detectable_difference"))
        return {**figures, "pairs": []}
    discordance = fmean((pair.only_a + pair.only_b) / pair.items for pair in pairs)
    return {
        "items": items,
        "discordance": discordance,
        "minimum_detectable_difference": minimum_detectable_difference(items, discordance),
        "pairs": [pair._asdict() for pair in pairs],
    }


def _pairs(group: Sequence[Judged], rules: Rules) -> list[AccuracyPair]:
    answers = _answers(group, rules)
    found = [
        pair
        for first, second in combinations(group, 2)
        if (pair := _compare(first, second, answers))
    ]
    adjusted = holm([pair.p for pair in found])
    return [pair._replace(p_holm=p) for pair, p in zip(found, adjusted, strict=True)]


def _answers(group: Sequence[Judged], rules: Rules) -> dict[str, Answers]:
    """Only what was asked: a skipped item says nothing about two models' answers."""
    tasks = rules.scored("accuracy")
    tables = {
        entry.id: {task: own for task in tasks if (own := entry.observed.items.get(task))}
        for entry in group
    }
    first = next(iter(tables.values()), {})
    if first and all(_asks_alike(first, own) for own in tables.values()):
        return {
            model: Answers(
                np.concatenate([~table.was_skipped for table in own.values()]),
                np.concatenate([table.correct for table in own.values()]),
            )
            for model, own in tables.items()
        }
    found = {
        entry.id: {
            (task, place, question): correct
            for task in tasks
            for place, question, correct in _asked(entry.observed.items.get(task))
        }
        for entry in group
    }
    items = list(dict.fromkeys(item for own in found.values() for item in own))
    return {
        model: Answers(
            np.array([item in own for item in items], np.bool_),
            np.array([own.get(item, False) for item in items], np.bool_),
        )
        for model, own in found.items()
    }


def _asks_alike(mine: Mapping[str, Items], theirs: Mapping[str, Items]) -> bool:
    """Whether these are the same tasks, each with the same items in the same order."""
    return mine.keys() == theirs.keys() and all(mine[task].asks_as(theirs[task]) for task in mine)


def _asked(items: Items | None) -> Iterator[tuple[Any, ...]]:
    """Place, question and whether right of each item that was not skipped."""
    if items is None:
        return
    every = zip(items.places, items.questions, items.correct.tolist(), strict=True)
    yield from compress(every, (~items.was_skipped).tolist())


def _compare(first: Judged, second: Judged, answers: Mapping[str, Answers]) -> AccuracyPair | None:
    one, other = first.summaries.accuracy, second.summaries.accuracy
    shared = answers[first.id].asked & answers[second.id].asked
    if one is None or other is None or not shared.any():
        return None
    if round_significant(other.value) > round_significant(one.value):
        first, second, one, other = second, first, other, one
    mine, theirs = answers[first.id].right[shared], answers[second.id].right[shared]
    only_a, only_b = int(np.sum(mine & ~theirs)), int(np.sum(theirs & ~mine))
    difference = one.value - other.value
    interval = percentile_interval(one.draws - other.draws, difference)
    p = mcnemar(only_a, only_b)
    return AccuracyPair(
        a=first.id,
        b=second.id,
        only_a=only_a,
        only_b=only_b,
        both=int(np.sum(mine & theirs)),
        neither=int(np.sum(~mine & ~theirs)),
        p=p,
        p_holm=p,
        difference=quiet(difference),
        lo=quiet(interval.lo),
        hi=quiet(interval.hi),
    )
