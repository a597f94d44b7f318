"""Reading a free answer: its last part, its lines from the last, its courtesy dropped.

Every function bounds what it reads, since the text comes from a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from harness.suites.tasks.numerals import plain_digits

SYLLABLE: Final = "(?-i:[가-힣])"
"""In a pattern that ignores case: `re` would ask of each of the 11,172 whether it has one."""

_READ: Final = 4000
"""Characters of the end of a text that a lenient marker reads."""

_QUOTES: Final = " \t\"'“”‘’「」『』*_`#>()[]<:"
_LABEL: Final = re.compile(
    r"(?:(?:최종\s?|final\s|correct\s|the\s){0,3}(?:정답|답변|답|빈칸|answer|sentence)"
    r"(?:은|는|이|\sis)?\s*[:：은는]?(?=[\s\"'“‘*「]|$)|올바른 문장(?:은|:)"
    r"|\(?[1-9가나abAB]\)|[1-9]\.(?!\d)|[-•])",
    re.IGNORECASE,
)
_COURTESY: Final = re.compile(r"(?:입니다|이에요|예요|이다|이야|이요|요)$")
_HEDGE: Final = re.compile(r"[\s\"'”’)]*(?:또는|혹은|아니면|이거나|이나|/|\bor\b)[\s\"'“‘(]*")


def last_part(text: str) -> str:
    """What stands behind the last `;`: the steps before it are not the answer."""
    return text.rpartition(";")[2].strip()


def lines_from_last(text: str) -> Iterator[str]:
    """Lines that hold something, the last one first, each from behind its last `;`."""
    for line in reversed(text[-_READ:].splitlines()):
        if part := last_part(line):
            yield part


def bare(line: str, *, courtesy: bool = True) -> str:
    """A line without quotation marks, markdown, a label such as `정답:` and courtesy.

    Args:
        courtesy: whether 입니다 and the like at the end are dropped too.
    """
    text = line.strip(_QUOTES)
    if label := _LABEL.match(text):
        text = text[label.end() :]
    text = text.strip(_QUOTES).rstrip(".!。").strip(_QUOTES)
    if courtesy:
        text = _COURTESY.sub("", text).strip(_QUOTES)
    return text


def is_hedge(between: str) -> bool:
    """Whether what stands between two answers offers both of them."""
    return len(between) < 24 and _HEDGE.fullmatch(between) is not None


NUMBER: Final = re.compile(
    r"(?<![\d.,])-?\d{1,3}(?:,\d{3}){1,4}(?![\d,])(?:\.0+)?|-?\d{1,40}(?:\.\d+)?"
)
"""Digits with a sign, separators of thousands and decimals."""


def number_in(line: str) -> str | None:
    """The last number of a line as plain digits, with its sign and decimals.

    Thousands separators and a decimal part of zero are dropped, so that `1,250.0` equals
    `1250`; a minus sign counts only where it does not join two numbers. Amounts in 만 and
    thousands count whole; of two numbers offered as alternatives neither counts.
    """
    line = plain_digits(line[-1000:])
    found = list(NUMBER.finditer(line))
    if not found:
        return None
    last = found[-1]
    if len(found) > 1 and is_hedge(line[found[-2].end() : last.start()]):
        return "?"
    number = last.group()
    if number.startswith("-") and line[: last.start()].rstrip()[-1:].isdigit():
        number = number[1:]
    return plain_number(number)


def plain_number(number: str) -> str:
    """A number without separators, leading zeros and decimals of zero."""
    number = number.replace(",", "")
    whole, _, fraction = number.partition(".")
    if fraction.strip("0"):
        return number
    sign = "-" if whole.startswith("-") and whole.strip("-0") else ""
    return sign + (whole.lstrip("-0") or "0")
