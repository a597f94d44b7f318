"""Instructions that a program can verify: one check each, on the text as it was written.

A rule is a kind and its parameters, plain JSON data. Words in Latin letters are found whole
and in any case, Hangul words as they stand, since a particle follows them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

Params = Mapping[str, Any]
Rule = tuple[str, Params]

LONGEST: Final = 4000
"""Characters of the longest text that is checked: far beyond the cap of an answer."""

_SENTENCE_END: Final = re.compile(r"[.!?]+[\"'”’)\]》]*(?:\s|$)|\n")
_LIST_MARK: Final = re.compile(r"^(?:-|\*|\d{1,3}\.) +")
_QUOTES: Final = (('"', '"'), ("“", "”"))


def places(text: str, word: str) -> list[int]:
    """Where a word stands in the text."""
    bounds = ("(?<![A-Za-z])", "(?![A-Za-z])") if word.isascii() else ("", "")
    found = re.finditer(re.escape(word).join(bounds), text, re.IGNORECASE)
    return [each.start() for each in found]


def words(text: str) -> list[str]:
    """What stands between spaces and holds a letter or a digit."""
    return [each for each in text.split() if any(char.isalnum() for char in each)]


def letters(text: str) -> int:
    """Characters other than white space."""
    return sum(not char.isspace() for char in text)


def sentences(text: str) -> list[str]:
    """Sentences without the marks at their ends; a line ends one, hashtags are none."""
    lines = (_LIST_MARK.sub("", line.strip()) for line in text.splitlines())
    parts = [part for line in lines for part in _SENTENCE_END.split(line)]
    return [part.strip() for part in parts if any(not each.startswith("#") for each in words(part))]


def sentence_marks(text: str) -> list[str]:
    """The mark at the end of each sentence that has one."""
    return [found[0] for found in re.findall(r"[.!?](?=[\"'”’)\]》]*(?:\s|$))", text)]


def paragraphs(text: str) -> list[str]:
    """Texts between blank lines."""
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip():
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return ["\n".join(lines) for lines in found if lines]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _bullets(text: str, p: Params) -> bool:
    lines = _lines(text)
    return len(lines) == p["n"] and all(re.match(r"- +\S", line) for line in lines)


def _numbers(text: str, p: Params) -> bool:
    lines = _lines(text)
    return len(lines) == p["n"] and all(
        re.match(rf"{number}\. +\S", line) for number, line in enumerate(lines, 1)
    )


def _json(text: str, p: Params) -> bool:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(found, dict) or set(found) != set(p["keys"]):
        return False
    return all(
        isinstance(value, str | int | float) and str(value).strip() for value in found.values()
    )


def _csv(text: str, p: Params) -> bool:
    cells = text.split(",")
    return len(_lines(text)) == 1 and len(cells) == p["n"] and all(cell.strip() for cell in cells)


def _hangul(text: str, _p: Params) -> bool:
    signs = [char for char in text if char.isalnum()]
    return bool(signs) and all("가" <= char <= "힣" or "ㄱ" <= char <= "ㆎ" for char in signs)


def _ending(text: str, ending: str) -> bool:
    found = sentences(text)
    return bool(found) and all(each.rstrip("\"'”’)]》").endswith(ending) for each in found)


def _no_repeat(text: str, _p: Params) -> bool:
    bare = ["".join(filter(str.isalnum, each)).casefold() for each in words(text)]
    return len(set(bare)) == len(bare) > 0


def _title(text: str, p: Params) -> bool:
    opened, closed = p["marks"]
    if not text.startswith(opened):
        return False
    title, mark, body = text[len(opened) :].partition(closed)
    return bool(title.strip() and mark and words(body))


def _postscript(text: str, p: Params) -> bool:
    before, mark, after = text.rpartition(p["mark"])
    return bool(words(before) and mark and words(after))


def _quoted(text: str, _p: Params) -> bool:
    for opened, closed in _QUOTES:
        if len(text) > 2 and text[0] == opened and text[-1] == closed:
            inner = text[1:-1]
            return bool(words(inner)) and opened not in inner and closed not in inner
    return False


def _question(text: str, _p: Params) -> bool:
    marks = sentence_marks(text)
    return len(marks) == len(sentences(text)) > 0 and set(marks) == {"?"}


def _hashtags(text: str, p: Params) -> bool:
    tokens = text.split()
    tags = [each.startswith("#") and len(each) > 1 for each in tokens]
    return sum(tags) == p["n"] and all(tags[-p["n"] :]) and len(tokens) > p["n"]


def _divider(text: str, p: Params) -> bool:
    parts = text.split(p["mark"])
    return len(parts) == 2 and all(words(part) for part in parts)


def _order(text: str, p: Params) -> bool:
    found = [places(text, word) for word in p["words"]]
    return all(found) and all(one[0] < two[0] for one, two in pairwise(found))


CHECKS: Final[dict[str, Callable[[str, Params], bool]]] = {
    "chars": lambda text, p: letters(text) == p["n"],
    "chars-max": lambda text, p: len(text) <= p["n"],
    "chars-min": lambda text, p: len(text) >= p["n"],
    "words": lambda text, p: len(words(text)) == p["n"],
    "words-max": lambda text, p: len(words(text)) <= p["n"],
    "words-min": lambda text, p: len(words(text)) >= p["n"],
    "sentences": lambda text, p: len(sentences(text)) == p["n"],
    "paragraphs": lambda text, p: len(paragraphs(text)) == p["n"],
    "include": lambda text, p: bool(places(text, p["word"])),
    "forbid": lambda text, p: not places(text, p["word"]),
    "frequency": lambda text, p: len(places(text, p["word"])) == p["n"],
    "bullets": _bullets,
    "numbers": _numbers,
    "json": _json,
    "csv": _csv,
    "opening": lambda text, p: text.startswith(p["text"]),
    "closing": lambda text, p: text.endswith(p["text"]),
    "hangul": _hangul,
    "no-digits": lambda text, _p: not any(char.isdigit() for char in text),
    "no-letter": lambda text, p: p["letter"] not in text.casefold(),
    "upper": lambda text, _p: text.isupper(),
    "lower": lambda text, _p: text.islower(),
    "no-comma": lambda text, _p: not any(char in text for char in ",，、"),
    "yo": lambda text, _p: _ending(text, "요"),
    "nida": lambda text, _p: _ending(text, "니다"),
    "no-repeat": _no_repeat,
    "title": _title,
    "postscript": _postscript,
    "quoted": _quoted,
    "question": _question,
    "exclaims": lambda text, p: text.count("!") == p["n"],
    "brackets": lambda text, p: len(re.findall(r"\[[^\[\]]+\]", text)) == p["n"],
    "hashtags": _hashtags,
    "divider": _divider,
    "order": _order,
}
"""Whether a text satisfies an instruction, by its kind."""

MEASURES: Final[dict[str, Callable[[str], int]]] = {
    "chars": letters,
    "chars-max": len,
    "chars-min": len,
    "words": lambda text: len(words(text)),
    "words-max": lambda text: len(words(text)),
    "words-min": lambda text: len(words(text)),
}
"""What the number of an instruction counts, where it is taken from a text."""


def satisfies(text: str, rules: Sequence[Rule]) -> bool:
    """Whether a text satisfies every rule; blank and endless texts satisfy none."""
    text = text.strip()
    if not text or len(text) > LONGEST:
        return False
    return all(CHECKS[kind](text, params) for kind, params in rules)


def loosened(text: str) -> list[str]:
    """The text, and what remains without its first line, its last line and asterisks.

    These are the loose readings of IFEval: models like to begin with "Sure, here it is".
    """
    lines = text.strip().splitlines()
    kept = [text, *("\n".join(part) for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return kept + [each.replace("*", "") for each in kept]
