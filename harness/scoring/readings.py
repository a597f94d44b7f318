"""Single observations as scoring takes them: every value that counts, and every refusal. Pure.

The same reader that summaries are made from is listened to, so that a notebook's medians
are the scorecard's and a refused sample stays in sight with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from harness.metrics import Floats
from harness.scoring.gather import Place
from harness.scoring.itemtable import Items
from harness.scoring.reader import Key, Reader, Sample
from harness.scoring.rules import Rules

_OF_A_PROCESS = frozenset({"memory", "sustained"})
"""Suites whose metrics are of a whole process."""


class Reading(NamedTuple):
    """One metric of one request or process, or one refused sample.

    Attributes:
        request: index within its case; None where the value is a whole process's.
        metric: empty where the sample was refused.
        values: of the metric, in its SI unit; an array where a request has several.
        reason: code of the refusal; empty where the values count.
    """

    suite: str
    case: str
    process: int
    request: int | None
    metric: str
    values: float | Floats
    reason: str = ""
    detail: str = ""


class Readings(NamedTuple):
    """What the samples of one model hold: items are by task, in order."""

    observed: list[Reading]
    items: Mapping[str, Items]


def readings(samples: Mapping[Place, list[Sample]], rules: Rules) -> Readings:
    """Observations of one model's samples by their place, refused ones among them."""
    listener = _Listener(rules)
    listener.collect(samples)
    return Readings(listener.heard, listener.items)


class _Listener(Reader):
    def __init__(self, rules: Rules) -> None:
        super().__init__(rules)
        self.heard: list[Reading] = []

    def _left(self, samples: Mapping[Place, list[Sample]]) -> Iterator[Sample]:
        return chain.from_iterable(samples.values())

    def _add(self, key: Key, metric: str, value: float | Floats, *, case: str = "") -> None:
        super()._add(key, metric, value, case=case)
        self.heard.append(
            Reading(key.suite, case or key.case, key.process, _request(key), metric, value)
        )

    def _refuse(self, key: Key, reason: str, detail: str) -> None:
        super()._refuse(key, reason, detail)
        nothing = float("nan")
        self.heard.append(
            Reading(key.suite, key.case, key.process, _request(key), "", nothing, reason, detail)
        )


def _request(key: Key) -> int | None:
    whole = key.suite in _OF_A_PROCESS or key.kind == "load"
    return None if whole else key.number
