"""Marks of free answers to an evaluator's own items.

| checker | strict: right, and nothing else was written | loose: right all the same |
|---|---|---|
| exact | equals an answer (NFC; runs of space count as one) | so does its first line or \
sentence, without case, quotes, markdown, a label ("Answer:", "정답은") or a copula ("입니다") |
| number | is the number and nothing else | the last number that was written is it |
| contains | as exact | an answer stands in the text, as a word |
| letter | is the letter and nothing else | the letter that was settled on |
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final

from harness.suites.tasks.base import Grade, Item, grade

MAX_CHARS: Final = 1 << 14
"""What is written behind this is not read: Unicode's normal forms take quadratic time."""

_LABEL: Final = re.compile(
    r"^(?:정답|답변|답|(?:(?:the|final|correct)\s+)*answer)(?:\s*(?:은|는|is))?(?:\s*[:：=]\s*|\s+)"
)
_COPULA: Final = re.compile(r"(?:입니다|이다|이에요|예요|이야|야)$")
_WRAPPING: Final = " \t\"'`*_~.,;:!?。、“”‘’「」『』()[]<>{}"
_NUMBER: Final = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|[-+]?\.\d+")
_MAX_DIGITS: Final = 60
_JOINS: Final = re.compile(r"[0-9A-Za-z)]")
_LETTER: Final = re.compile(r"(?<![^\W\d_가-힣])[A-Z](?![^\W\d_가-힣]|['’]\w)")
_SETTLED: Final = re.compile(
    r"(?:정답|답)(?:은|는)?\s*[:：]?\s*[(\[*\"']*([A-Z])(?![a-zA-Z])"
    r"|(?i:answer)(?:\s+(?i:is|would be))?\s*[:：]?\s*[(\[*\"']*([A-Z])(?![a-zA-Z])"
)
_LEADING: Final = re.compile(r"^[(\[*\"']*([A-Z])(?:[)\].:*\"']|$|\s*[-–—]\s)")
_ARTICLE: Final = re.compile(r"(?<![A-Za-z])A(?= (?!or |and )[a-z])")


def mark(text: str, item: Item) -> Grade:
    """Mark a free answer by the item's checker. Text is hostile: it never raises."""
    written = text[:MAX_CHARS]
    for stop in item.check.get("until", ()):
        written = written.partition(stop)[0]
    checker: str = item.check["checker"]
    return CHECKERS[checker](written, item.check["answers"])


def plain(text: str) -> str:
    """NFC, with every run of space as one."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def number(text: str) -> Decimal | None:
    """The number that a text is, with thousands separators; None where it is none."""
    found = _digits(text).strip()
    return _value(found) if _NUMBER.fullmatch(found) else None


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _bare(text: str) -> str:
    return plain(text).casefold().strip(_WRAPPING)


def _readings(text: str) -> set[str]:
    """What an answer says without courtesy, ornament, and an explanation behind it."""
    line = _first_line(text)
    found = {_bare(each) for each in (text, line, re.split(r"[.。!]\s", line, maxsplit=1)[0])}
    found |= {_LABEL.sub("", each).strip(_WRAPPING) for each in found}
    found |= {_COPULA.sub("", each).strip(_WRAPPING) for each in found}
    return found - {""}


def _exact(text: str, answers: Sequence[str]) -> Grade:
    written = plain(text)
    return grade(
        answered=bool(written),
        strict=written in {plain(answer) for answer in answers},
        loose=not _readings(text).isdisjoint({_bare(answer) for answer in answers}),
    )


def _contains(text: str, answers: Sequence[str]) -> Grade:
    written = plain(text)
    found = any(_stands_in(plain(answer).casefold(), written.casefold()) for answer in answers)
    return grade(
        answered=bool(written),
        strict=written in {plain(answer) for answer in answers},
        loose=found,
    )


def _stands_in(answer: str, text: str) -> bool:
    """As a word: Latin letters and digits must not go on at either end; before Hangul no
    Hangul may stand, behind it particles may.
    """
    start = text.find(answer)
    while start >= 0:
        end = start + len(answer)
        before, after = text[start - 1 : start], text[end : end + 1]
        if not _joined(before, answer[0]) and not (
            _joined(answer[-1], after) and not _hangul(after)
        ):
            return True
        start = text.find(answer, start + 1)
    return False


def _joined(left: str, right: str) -> bool:
    """Whether two neighbours are letters or digits of one script."""
    if not (left.isalnum() and right.isalnum()):
        return False
    return _hangul(left) == _hangul(right)


def _hangul(char: str) -> bool:
    return "가" <= char <= "힣"


def _digits(text: str) -> str:
    """Full-width digits and the typographic minus as ASCII has them."""
    return unicodedata.normalize("NFKC", text).replace("−", "-")


def _value(found: str) -> Decimal | None:
    digits = found.replace(",", "")
    return Decimal(digits) if len(digits) <= _MAX_DIGITS and digits.isascii() else None


def _number(text: str, answers: Sequence[str]) -> Grade:
    right = {number(answer) for answer in answers}
    written = _digits(text)
    last: Decimal | None = None
    found = list(_NUMBER.finditer(written))
    if found:
        digits = found[-1].group()
        # In "12-7" and "3+4" the sign joins two numbers.
        if digits[0] in "+-" and _JOINS.match(written[: found[-1].start()][-1:]):
            digits = digits[1:]
        last = _value(digits)
    only = number(text)
    return grade(
        answered=bool(found),
        strict=only is not None and only in right,
        loose=last is not None and last in right,
    )


def _letter(text: str, answers: Sequence[str]) -> Grade:
    chosen = _chosen(text)
    return grade(
        answered=chosen is not None,
        strict=plain(text) in answers,
        loose=chosen is not None and chosen in answers,
    )


def _chosen(text: str) -> str | None:
    """The letter that an answer settles on: the one it begins with, the last one that is
    called the answer, or the only one that it names.
    """
    if found := _LEADING.match(plain(_first_line(text))):
        return found[1]
    written = plain(text)
    if settled := list(_SETTLED.finditer(written)):
        return settled[-1][1] or settled[-1][2]
    named = set(_LETTER.findall(written)) - {"I"}
    if _ARTICLE.search(written):
        named.discard("A")
    return named.pop() if len(named) == 1 else None


CHECKERS: Final[Mapping[str, Callable[[str, Sequence[str]], Grade]]] = {
    "exact": _exact,
    "number": _number,
    "contains": _contains,
    "letter": _letter,
}
"""Names that a line may give as its `checker`."""
