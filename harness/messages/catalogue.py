"""The catalogue of Korean messages, and how the template of a finished text is found.

A template is a text with holes, `cannot write {0}: {1}`. Of those that fit a text the one with
the most letters of its own wins. A hole may hold a message in turn.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Final, NamedTuple

_HOLE: Final = re.compile(r"\{(\d!?)\}")
_PIECES: Final = re.compile(r"(?<=\.)(?= )|(?=; )|(?= \()")
"""Where a text may have been put together: between sentences, before what was added."""
_DEPTH: Final = 3
"""Messages inside of messages: an error in a job's record quotes that of an engine."""
_CELLS: Final = re.compile(r"(?<=\S)( {2,})(?=\S)")
_COLUMNS: Final = 20
_LABEL: Final = re.compile(r"[;:] ")
_LABELS: Final = 6
"""Labels in front of a message that are looked behind, `path: function f: message`, and pieces
that one is taken to: a text of others cannot ask for more work."""
_ADDED: Final = re.compile(r"[,;:] | \(| of | in ")
_CERTAIN: Final = 6
"""Letters that a template has of its own, for a value in a hole to be taken for a message."""
_LEADING: Final = 6
"""What it counts, in letters, that a template does not begin with a hole: such a hole could
swallow the beginning of a longer message."""
_PARTICLE: Final = re.compile(
    r"([\"'`)’]?)(?:(을)\(를\)|(이)\(가\)|(은)\(는\)|(과)\(와\)|\((으)\)로|\((이)\)라는)"
)
_PAIRS: Final = {"을": "를", "이": "가", "은": "는", "과": "와"}
_CLOSED_DIGITS: Final = "013678"


class Template(NamedTuple):
    """A text with holes.

    Attributes:
        parts: what stands before, between and behind the holes.
        holes: the number of the hole behind each part but the last.
        words: holes whose value is always a message or a word of ours, written `{0!}`.
    """

    parts: tuple[str, ...]
    holes: tuple[int, ...]
    words: frozenset[int] = frozenset()

    @classmethod
    def of(cls, text: str) -> Template:
        """Read `{0}` and the like as holes; double braces stand for braces."""
        # Double braces must not be taken for the border of a hole: `{{{0}}}`.
        shielded = text.replace("{{", "\0").replace("}}", "\1")
        found = _HOLE.split(shielded)
        parts = tuple(part.replace("\0", "{").replace("\1", "}") for part in found[::2])
        holes = found[1::2]
        words = frozenset(int(hole[0]) for hole in holes if hole.endswith("!"))
        return cls(parts, tuple(int(hole[0]) for hole in holes), words)

    @property
    def letters(self) -> int:
        """How many letters it has of its own."""
        return sum(char.isalpha() for part in self.parts for char in part)

    @property
    def weight(self) -> tuple[int, int]:
        """How much it is preferred to others that fit."""
        leading = _LEADING * any(map(str.isalpha, self.parts[0]))
        return self.letters + leading, sum(map(len, self.parts))

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
        for number, part in enumerate(between):
            # The first place is as good as any: what follows has the most room then.
            if (place := text.find(part, at, end)) < 0:
                return None
            if not part:  # two holes side by side: the second is what was added to the first
                after = next(filter(None, between[number:]), "")
                until = text.find(after, at, end) if after else end
                added = _ADDED.search(text, at, until) if until >= 0 else None
                place = added.start() if added else max(until, at)
            found.append(text[at:place])
            at = place + len(part)
        found.append(text[at:end])
        return [value for _, value in sorted(zip(self.holes, found, strict=True))]

    def fill(self, values: list[str]) -> str:
        """The text with values in its holes."""
        filled = [self.parts[0]]
        for number, part in zip(self.holes, self.parts[1:], strict=True):
            filled += [values[number], particle(values[number], part)]
        return "".join(filled)


def particle(word: str, behind: str) -> str:
    """What stands behind a word, with its particle in the form that the word wants.

    `을(를)` becomes one of the two behind Hangul, digits and `%`; behind others, whose reading
    nobody knows, it stays.
    """
    found = _PARTICLE.match(behind)
    last = word.rstrip("\"'`)’")[-1:]
    if not found or not (last.isdecimal() or last == "%" or "가" <= last <= "힣"):
        return behind
    final = (ord(last) - ord("가")) % 28 if last >= "가" else 28 * (last in _CLOSED_DIGITS)
    form = next(filter(None, found.groups()[1:]))
    rest = behind[found.end() :]
    if found[6]:  # behind ㄹ it is 로, as behind a vowel
        return f"{found[1]}{'으' if final not in {0, 8} and last not in '178' else ''}로{rest}"
    if found[7]:
        return f"{found[1]}{'이' if final else ''}라는{rest}"
    return f"{found[1]}{form if final else _PAIRS[form]}{rest}"


class Catalogue:
    """Translations by English text.

    Args:
        entries: translated templates by English ones.
    """

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._plain = {text: said for text, said in entries.items() if "{" not in text}
        holed = []
        for text in entries.keys() - self._plain.keys():
            english, korean = Template.of(text), Template.of(entries[text])
            if english.holes:
                holed.append((english, korean))
            else:  # braces of its own
                self._plain[english.parts[0]] = korean.parts[0]
        # Many letters first; a part that must be there tells most templates away at once.
        self._holed = sorted(
            ((max(en.parts, key=len), en.letters, en, ko) for en, ko in holed),
            # The text itself last: the order must not depend on the hash of strings.
            key=lambda entry: (entry[2].weight, entry[2].parts),
            reverse=True,
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
        cells = _CELLS.split(line, _COLUMNS)
        if len(cells) > 1:  # a row of a table
            return "".join(self._value(cell, _DEPTH, least=_CERTAIN) for cell in cells)
        for found in itertools.islice(_LABEL.finditer(line), _LABELS):
            if (said := self._whole(line[found.end() :])) is not None:
                labels = re.split(r"([;:] )", line[: found.start()])
                start = "".join(self._whole(label) or label for label in labels)
                return f"{start}{found[0]}{said}"
        return "".join(self._whole(part) or part for part in _PIECES.split(line, _LABELS))

    def _whole(self, text: str, *, least: int = 1, depth: int = _DEPTH) -> str | None:
        core = text.strip()
        if not core:
            return None
        start = text.index(core)
        said = self._matched(core, least, depth)
        return None if said is None else f"{text[:start]}{said}{text[start + len(core) :]}"

    def _matched(self, text: str, least: int, depth: int) -> str | None:
        if (plain := self._plain.get(text)) and (least == 1 or " " in text):
            return plain
        swallowed = None
        for part, letters, english, korean in self._holed:
            if letters < least or part not in text or (values := english.match(text)) is None:
                continue
            begins = "" if english.parts[0] else values[english.holes[0]]
            # `{0} is {1}` speaks of a name: else it would fit half of all sentences.
            if english.letters < _CERTAIN and " " in begins:
                continue
            # A hole in front that holds a label may have swallowed a longer message's beginning.
            if not _LABEL.search(begins):
                return self._filled(korean, values, depth)
            swallowed = swallowed or (korean, values)
        return self._filled(*swallowed, depth) if swallowed else None

    def _filled(self, korean: Template, values: list[str], depth: int) -> str:
        said = [
            self._value(value, depth, least=1 if number in korean.words else _CERTAIN)
            for number, value in enumerate(values)
        ]
        return korean.fill(said)

    def _value(self, value: str, depth: int, *, least: int) -> str:
        """What stands in a hole: mostly a name or a number, at times a message."""
        if not depth or not value.strip() or (" " not in value and least > 1):
            return value
        if (whole := self._whole(value, least=least, depth=depth - 1)) is not None:
            return whole
        for found in itertools.islice(_LABEL.finditer(value), _LABELS):
            # Behind a label, as the reason of a failure, stands a message.
            behind = self._whole(value[found.end() :], least=least, depth=depth - 1)
            if behind is not None:
                label = value[: found.start()]
                said = self._whole(label, least=least, depth=depth - 1) or label
                return f"{said}{found[0]}{behind}"
        first, *added = _PIECES.split(value, _LABELS)
        if value[0] in " ,;:(":
            first, added = "", [first, *added]
        # What begins like the rest of a sentence is one: `, at most {0}`.
        rest = [self._whole(piece, depth=depth - 1) or piece for piece in added]
        return "".join([self._whole(first, least=least, depth=depth - 1) or first, *rest])


@functools.cache
def korean() -> Catalogue:
    """The catalogue that comes with the program."""
    text = resources.files("harness.messages").joinpath("ko.json").read_text("utf-8")
    return Catalogue(json.loads(text))
