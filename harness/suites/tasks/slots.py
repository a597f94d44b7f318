"""Words, numbers and dates that fill the templates of `extract` and `tools`.

A template names its slots by kind and number, as in `{person1}` or `{count2}`; slots of
one kind get different words. `{goods1:은/는}` adds the particle, `{goods1:unit}` shows the
counter of a thing instead, `{count1:words}` a number in words, and both may be joined:
`{goods1:unit 을/를}`. `{total1}` is always `count1` times `price1`. Words are in
`slots.json`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from harness.spec import Language
from harness.suites.tasks.base import data
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.hangul import with_particle


@dataclass(frozen=True, slots=True)
class Word:
    """What stands in a slot.

    Attributes:
        value: what a program would store: a whole number or the word itself.
        shown: how the text writes it; a number of thousands has commas.
        other: a counter, or a number in words.
    """

    value: int | str
    shown: str
    other: str = ""

    def __format__(self, spec: str) -> str:
        text = self.shown
        for part in spec.split():
            text = with_particle(text, part) if "/" in part else self.other
        return text


class Field(NamedTuple):
    """What is asked for, the slot of its value, and a slot that could be taken for it (or none)."""

    name: str
    slot: str
    other: str


def read_fields(written: str) -> tuple[Field, ...]:
    """`수량=count1/count2, 이름=person1` in parts."""
    found = []
    for each in written.split(", "):
        name, _, slots = each.partition("=")
        slot, _, other = slots.partition("/")
        found.append(Field(name, slot, other))
    return tuple(found)


_DATA: Final = data("slots")
_SLOT: Final = re.compile(r"\{([a-z]+)(\d)")


def _words(options: list[str | list[str | int]]) -> tuple[Word, ...]:
    pairs = [(each, "") if isinstance(each, str) else each for each in options]
    return tuple(Word(value, str(value), str(other)) for value, other in pairs)


def _in_words(language: Language, number: int) -> str:
    """A small number as it is counted, thousands of won as they are read."""
    numerals: list[str] = _DATA[language]["numerals"]
    if number < len(numerals):
        return numerals[number]
    if language == "ko" and number >= 10_000:
        thousands = number % 10_000 // 1000
        return f"{number // 10_000}만 {thousands}천" if thousands else f"{number // 10_000}만"
    return ""


def _kinds(language: Language) -> dict[str, tuple[Word, ...]]:
    listed = _DATA[language]
    kinds = {kind: _words(options) for kind, options in listed["words"].items()}
    for kind, (low, high, step) in _DATA["numbers"].items():
        kinds[kind] = tuple(
            Word(number, f"{number:,}", _in_words(language, number))
            for number in range(low, high + 1, step)
        )
    # Days that every month has.
    dates = [
        f"{month}{' ' if language == 'ko' else ''}{day}{listed['day']}"
        for month in listed["months"]
        for day in range(1, 29)
    ]
    kinds["date"] = tuple(Word(date, date) for date in dates)
    codes = [f"{letter}-{number}" for letter in "ABCDEK" for number in range(104, 1000, 7)]
    kinds["code"] = tuple(Word(code, code) for code in codes)
    return kinds


KINDS: Final[Mapping[Language, Mapping[str, tuple[Word, ...]]]] = {
    "ko": _kinds("ko"),
    "en": _kinds("en"),
}


def _several(draw: Draw, kind: str, options: tuple[Word, ...], count: int) -> list[Word]:
    """Different words of one kind; dates lie close together, and time runs forward."""
    if kind == "date":
        first = draw.below(len(options) - _DATA["span"])
        options = options[first : first + _DATA["span"]]
    chosen: list[Word] = []
    while len(chosen) < count:
        word = draw.pick(options)
        if word not in chosen:
            chosen.append(word)
    return sorted(chosen, key=options.index) if kind in _DATA["ordered"] else chosen


def fill(draw: Draw, language: Language, template: str) -> dict[str, Word]:
    """A word for each slot that a template names."""
    numbers: dict[str, set[str]] = {}
    for kind, number in _SLOT.findall(template):
        if kind != "total":
            numbers.setdefault(kind, set()).add(number)
    slots: dict[str, Word] = {}
    for kind, used in numbers.items():
        words = _several(draw, kind, KINDS[language][kind], len(used))
        slots |= {f"{kind}{number}": word for number, word in zip(sorted(used), words, strict=True)}
    if "{total1}" in template:
        total = int(slots["count1"].value) * int(slots["price1"].value)
        slots["total1"] = Word(total, f"{total:,}")
    return slots
