"""Filling templates: words that bring their Korean particle, samples and near numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from harness.suites.tasks.draw import Draw
from harness.suites.tasks.hangul import with_particle

T = TypeVar("T")


class Word(str):
    """Text whose format specification is a pair of particles: `{who:은/는}`."""

    __slots__ = ()

    def __format__(self, pair: str) -> str:
        """The word, with the particle of the pair that it takes, if there is a pair."""
        return with_particle(self, pair) if pair else str(self)


def fill(template: str, **slots: str | int) -> str:
    """The template with its slots filled, as a sentence that begins with a capital."""
    text = template.format(**{name: Word(value) for name, value in slots.items()})
    return text[:1].upper() + text[1:]


def sampled(draw: Draw, options: Sequence[T], count: int) -> list[T]:
    """So many different elements in random order, at one draw each."""
    pool = list(options)
    for place in range(count):
        other = place + draw.below(len(pool) - place)
        pool[place], pool[other] = pool[other], pool[place]
    return pool[:count]


def near_numbers(draw: Draw, answer: int, *, step: int = 1, low: int = 0) -> list[str]:
    """Three neighbours in an even row of four in which the answer has no usual place."""
    under = draw.below(min(3, (answer - low) // step) + 1)
    return [str(answer + step * (place - under)) for place in range(4) if place != under]
