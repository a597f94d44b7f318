"""Korean sentences that can be said in each speech level, drawn from phrases and frames."""

from __future__ import annotations

import re
from itertools import product
from typing import Final, NamedTuple

from harness.suites.tasks.base import data
from harness.suites.tasks.conjugate import Kind, Level, Mode, Predicate, conjugate, joined, note
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.fill import picked
from harness.suites.tasks.hangul import with_particle

_DATA: Final = data("honorific")["ko"]


class Speech(NamedTuple):
    """A sentence that can be said in each level; `{}` of its frame is the predicate."""

    frame: str
    words: tuple[Predicate, ...]
    mode: Mode

    def at(self, level: Level) -> tuple[str, ...]:
        """All accepted sentences of one level."""
        end = "?" if self.mode.startswith("asked") else "."
        forms = [form for word in self.words for form in conjugate(word, self.mode, level)]
        return tuple(dict.fromkeys(self.frame.format(form) + end for form in forms))

    def memo(self) -> str:
        """The sentence without a level and without a mark at its end."""
        return self.frame.format(note(self.words[0], self.mode))


def _banks(names: list[str]) -> tuple[tuple[str, Predicate], ...]:
    """Phrases with their predicates: `밥을 먹다` gives `밥을` and the stem 먹."""
    found: list[tuple[str, Predicate]] = []
    for name in names:
        if name == "nouns":
            for subjects, nouns in _DATA["nouns"]:
                found += [(s, Predicate(n, "noun")) for s, n in product(subjects, nouns)]
            continue
        kind: Kind = "adjective" if name.endswith("adjectives") else "verb"
        for change, sentences in _DATA["banks"][name].items():
            split = [sentence.removesuffix("다").rpartition(" ") for sentence in sentences]
            found += [(phrase, Predicate(stem, kind, change)) for phrase, _, stem in split]
    return tuple(found)


class Row(NamedTuple):
    """A template about speech levels alone: what is conjugated, how, and in which frame."""

    level: int
    bank: tuple[tuple[str, Predicate], ...]
    pattern: str
    mode: Mode
    frame: str


ROWS: Final = {
    name: Row(level, _banks(banks), pattern, mode, frame)
    for name, level, banks, pattern, mode, frame in _DATA["speech"]
}


def predicate(text: str, kind: Kind = "verb") -> Predicate:
    """A predicate from `stem/change`."""
    stem, _, change = text.partition("/")
    return Predicate(stem, kind, change)


def drawn(draw: Draw, row: Row) -> Speech:
    """A sentence of one template."""
    phrase, word = draw.pick(row.bank)
    who = draw.pick(_DATA["who"])
    slots = {
        "who": with_particle(who, "이/가"),
        "topic": with_particle(who, "은/는"),
        "old": draw.pick(_DATA["old"]),
        "phrase": phrase,
    }
    frame = re.sub(r"\{(\w+)\}", lambda found: slots[found[1]], picked(draw, row.frame))
    if row.pattern == "{not}":
        stem = with_particle(word.stem, "이/가") + " 아니"
        return Speech(frame, (Predicate(stem, "noun", "아니"),), row.mode)
    if row.pattern == "{inf} 주":
        frame += picked(draw, "( 좀|) {}")
    return Speech(frame, joined(word, row.pattern), row.mode)
