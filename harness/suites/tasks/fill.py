"""Filling templates: options, words that bring their particle, samples and near numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeVar

from harness.suites.tasks.draw import Draw
from harness.suites.tasks.hangul import Word

T = TypeVar("T")
_OPTIONS: Final = re.compile(r"\(([^()]*\|[^()]*)\)")


def picked(draw: Draw, text: str) -> str:
    """`text` with one option of each `(a|b|c)`."""
    return _OPTIONS.sub(lambda found: draw.pick(found[1].split("|")), text)


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
