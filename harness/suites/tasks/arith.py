"""Sums, differences and products, bare and in short stories with Korean counters.

The answer is free. A model trained on the task writes the calculation, its columns from
the right with carries, then `;` and the result: `57+68=15,12;125`. A model that was not
may answer in words: the last number of its first line counts.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from harness.suites.tasks.base import Item, Language, data
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.hangul import with_particle

NAME: Final = "arith"
VERSION: Final = 1
CHANCE: Final = 0.0

MAX_TOKENS: Final = 40


class Template(NamedTuple):
    """A question with `{a}`, `{b}` and, in stories, `{who}`, `{thing}` and `{unit}`.

    In Korean `{b_topic}`, `{who_topic}`, `{thing_subject}` and `{thing_object}` carry the
    particle that the word takes.
    """

    name: str
    operator: str
    text: str


_DATA: Final = data("arith")
TEMPLATES: Final = {
    language: tuple(Template(*fields) for fields in _DATA[language]["templates"])
    for language in ("ko", "en")
}


def _operands(draw: Draw, operator: str, level: int) -> tuple[int, int]:
    """Two numbers, the greater first in a difference.

    Level 1 stays within the tables of one digit, level 2 has two digits, level 3 three
    digits or a product of two by one.
    """
    if operator == "*":
        low, high = ((2, 9), (11, 49), (50, 99))[level - 1]
        return draw.between(low, high), draw.between(2, 5 if level == 2 else 9)
    low, high = ((2, 19), (11, 99), (101, 999))[level - 1]
    first = draw.between(low, high)
    second = draw.between(2, 9) if level == 1 else draw.between(low, high)
    return max(first, second), min(first, second)


def columns(a: int, operator: str, b: int) -> list[int]:
    """Column results from the right, with the carry in: `57+68` gives `[15, 12]`.

    A difference borrows, so its columns are the digits of the result; a product takes
    the digits of `a` by the whole of `b`.
    """
    out: list[int] = []
    carry = 0
    while a or (b and operator != "*"):
        first, a = a % 10, a // 10
        if operator == "*":
            value = first * b + carry
        else:
            second, b = b % 10, b // 10
            value = first + second + carry if operator == "+" else first - second + carry
        if value < 0:
            out.append(value + 10)
            carry = -1
        else:
            out.append(value)
            carry = value // 10
    return out


def _result(a: int, operator: str, b: int) -> int:
    return {"+": a + b, "-": a - b, "*": a * b}[operator]


def _fill(draw: Draw, language: Language, template: Template, a: int, b: int) -> str:
    who = draw.pick(_DATA[language]["who"])
    # Animals are not sold by the box.
    left_out = _DATA["not_boxed"] if template.name == "product-boxes" else ()
    things = _DATA[language]["things"]
    if language == "en":
        thing = draw.pick([each for each in things if each not in left_out])
        return template.text.format(a=a, b=b, who=who, thing=thing)
    thing, unit = draw.pick([each for each in things if each[0] not in left_out])
    return template.text.format(
        a=a,
        b=b,
        unit=unit,
        b_topic=with_particle(str(b), "은/는"),
        who_topic=with_particle(who, "은/는"),
        thing_subject=with_particle(thing, "이/가"),
        thing_object=with_particle(thing, "을/를"),
    )


def generate(language: Language, draw: Draw) -> Item:
    """Build one item; see the module."""
    level = draw.between(1, 3)
    operator = draw.pick("++--*")
    template = draw.pick([each for each in TEMPLATES[language] if each.operator == operator])
    a, b = _operands(draw, operator, level)
    if template.operator != "-" and operator != "*" and draw.below(2):
        a, b = b, a
    question = _fill(draw, language, template, a, b)
    frame = "질문: {}\n답:" if language == "ko" else "Question: {}\nAnswer:"
    answer = str(_result(a, operator, b))
    steps = ",".join(str(value) for value in columns(a, operator, b))
    return Item(
        template=template.name,
        level=level,
        context=frame.format(question),
        answer=answer,
        solution=f" {a}{operator}{b}={steps};{answer}",
        max_tokens=MAX_TOKENS,
    )


_NUMBER: Final = re.compile(r"(?<![\d.,])-?\d{1,3}(?:,\d{3})+(?![\d,])(?:\.0+)?|-?\d+(?:\.\d+)?")


def parse(text: str) -> str | None:
    """The number after the last `;` of the first written line, else its last number.

    Thousands separators and a decimal part of zero are dropped, so that `1,250.0`
    equals `1250`; a minus sign counts only where it does not join two numbers.
    """
    stripped = text.strip()
    if not stripped:
        return None
    line = stripped.splitlines()[0]
    if ";" in line:
        line = line.rpartition(";")[2]
    found = list(_NUMBER.finditer(line))
    if not found:
        return None
    last = found[-1]
    number = last.group().replace(",", "")
    if number.startswith("-") and line[: last.start()].rstrip()[-1:].isdigit():
        number = number[1:]
    whole, _, fraction = number.partition(".")
    if fraction.strip("0"):
        return number
    sign = "-" if whole.startswith("-") and whole.strip("-0") else ""
    return sign + (whole.lstrip("-0") or "0")
