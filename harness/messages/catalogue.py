"""The catalogue of Korean messages, and how the template of a finished text is found.

A template is a text with holes, `cannot write {0}: {1}`. Of those that fit a text the one with
the most letters of its own wins. A hole may hold a message in turn.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Final, NamedTuple

_HOLE: Final = re.compile(r"\{(\d)\}")
_DEPTH: Final = 3
"""Messages inside of messages: an error in a job's record quotes that of an engine."""
_CERTAIN: Final = 9
"""Letters that a template has of its own, for a value in a hole to be taken for a message."""


class Template(NamedTuple):
    """A text with holes.

    Attributes:
        parts: what stands before, between and behind the holes.
        holes: the number of the hole behind each part but the last.
    """

    parts: tuple[str, ...]
    holes: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Template:
        """Read `{0}` and the like as holes; double braces stand for braces."""
        # Double braces must not be taken for the border of a hole: `{{{0}}}`.
        shielded = text.replace("{{", "\0").replace("}}", "\1")
        found = _HOLE.split(shielded)
        parts = tuple(part.replace("\0", "{").replace("\1", "}") for part in found[::2])
        return cls(parts, tuple(map(int, found[1::2])))

    @property
    def letters(self) -> int:
        """How many letters it has of its own."""
        return sum(char.isalpha() for part in self.parts for char in part)

    def match(self, text: str) -> list[str] | None:
        """The values in the holes, by number, or None. Takes time in proportion to the text."""
        first, *between = self.parts
        if not between:
            return [] if text == first else None
        last = between.pop()
        if len(text) < len(first) + len(last) or not text.startswith(first):
            return None
        if not text.endswith(last):
            return None
        at, end = len(first), len(text) - len(last)
        found = []
        for part in between:
            # The first place is as good as any: what follows has the most room then.
            if (place := text.find(part, at, end)) < 0:
                return None
            found.append(text[at:place])
            at = place + len(part)
        found.append(text[at:end])
        return [value for _, value in sorted(zip(self.holes, found, strict=True))]

    def fill(self, values: list[str]) -> str:
        """The text with values in its holes."""
        filled = [self.parts[0]]
        for number, part in zip(self.holes, self.parts[1:], strict=True):
            filled += [values[number], part]
        return "".join(filled)


class Catalogue:
    """Translations by English text.

    Args:
        entries: translated templates by English ones.
    """

    def __init__(self, entries: Mapping[str, str]) -> None:
        made = [(Template.of(text), Template.of(entries[text])) for text in entries]
        self._plain = {english.parts[0]: korean for english, korean in made if not english.holes}
        holed = [(english, korean) for english, korean in made if english.holes]
        # Many letters first; a part that must be there tells most templates away at once.
        self._holed = sorted(
            ((max(en.parts, key=len), en.letters, en, ko) for en, ko in holed),
            key=lambda entry: -entry[1],
        )

    def translate(self, text: str) -> str:
        """The translation of a text: of the whole of it, else of each line that has one."""
        if (whole := self._whole(text)) is not None:
            return whole
        if "\n" in text:
            return "\n".join(self._line(line) for line in text.split("\n"))
        return self._line(text)

    def _line(self, line: str) -> str:
        """A line, a line behind its label, or the parts of one that was put together."""
        if (whole := self._whole(line)) is not None:
            return whole
        for separator in ("; ", ": "):
            before, found, behind = line.partition(separator)
            if found and (said := self._line(behind)) != behind:
                start = self._whole(before)
                return f"{before if start is None else start}{separator}{said}"
        before, found, behind = line.partition("; ")
        if found and (start := self._whole(before)) is not None:
            return f"{start}; {behind}"
        return line

    def _whole(self, text: str, *, least: int = 1, depth: int = _DEPTH) -> str | None:
        core = text.strip()
        if not core:
            return None
        start = text.index(core)
        said = self._matched(core, least, depth)
        return None if said is None else f"{text[:start]}{said}{text[start + len(core) :]}"

    def _matched(self, text: str, least: int, depth: int) -> str | None:
        if (plain := self._plain.get(text)) and (least == 1 or " " in text):
            return plain.fill([])
        for part, letters, english, korean in self._holed:
            if letters < least:
                return None
            if part in text and (values := english.match(text)) is not None:
                return korean.fill([self._value(value, depth) for value in values])
        return None

    def _value(self, value: str, depth: int) -> str:
        """What stands in a hole: mostly a name or a number, at times a message."""
        if not depth or " " not in value:
            return value
        said = self._whole(value, least=_CERTAIN, depth=depth - 1)
        return value if said is None else said


@functools.cache
def korean() -> Catalogue:
    """The catalogue that comes with the program."""
    text = resources.files("harness.messages").joinpath("ko.json").read_text("utf-8")
    return Catalogue(json.loads(text))
