"""Calculations for arithmetic questions, and how they are worked on paper.

Level 1 stays within the tables of one digit, level 2 has two digits, level 3 three digits,
two by one in products, or several steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from harness.spec import Language
from harness.suites.tasks.draw import Draw

Step = tuple[int, str, int]
"""First number, one of `+-*/`, second number."""


class Problem(NamedTuple):
    """Numbers of a question, and how they give the answer.

    Attributes:
        steps: the calculation; the last one's result is the answer.
        slips: what someone who slips might answer.
        scale: all that is near the answer is a multiple of it.
    """

    numbers: Mapping[str, int]
    steps: tuple[Step, ...]
    slips: tuple[int, ...] = ()
    scale: int = 1


def result(a: int, operator: str, b: int) -> int:
    """The result of one step; divisions leave no rest."""
    return {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[operator]


def columns(a: int, operator: str, b: int) -> list[int]:
    """Column results from the right, with the carry in: `57+68` gives `[15, 12]`.

    A difference borrows, so its columns are the digits of the result; a product takes
    the digits of `a` by the whole of `b`. A quotient goes from the left: what is divided
    at each of its digits.
    """
    out: list[int] = []
    carry = 0
    if operator == "/":
        for digit in str(a):
            carry = 10 * carry + int(digit)
            if out or carry >= b:
                out.append(carry)
            carry %= b
        return out
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


def worked(steps: tuple[Step, ...]) -> str:
    """The whole calculation; a step that begins with the result before goes on from it."""
    out = ""
    before = None
    for a, operator, b in steps:
        head = "" if a == before else f",{a}" if out else str(a)
        before = result(a, operator, b)
        written = ",".join(map(str, columns(a, operator, b)))
        out += f"{head}{operator}{b}={written};{before}"
    return out


def _pair(draw: Draw, level: int) -> tuple[int, int]:
    low, high = ((2, 19), (11, 99), (101, 999))[level - 1]
    first = draw.between(low, high)
    return first, draw.between(2, 9) if level == 1 else draw.between(low, high)


def _factors(draw: Draw, level: int) -> tuple[int, int]:
    """One digit by one digit, then two digits by one."""
    low, high = ((2, 9), (11, 49), (50, 99))[level - 1]
    return draw.between(low, high), draw.between(2, 5 if level == 2 else 9)


def _spare(draw: Draw, *used: int) -> int:
    """A number that plays no part."""
    return draw.pick([each for each in range(8, 20) if each not in used])


def _sum(draw: Draw, level: int) -> Problem:
    a, b = _pair(draw, level)
    if draw.below(2):
        a, b = b, a
    c = _spare(draw, a, b)
    return Problem({"a": a, "b": b, "c": c}, ((a, "+", b),), (abs(a - b), a + c, b + c, a + b + c))


def _difference(draw: Draw, level: int) -> Problem:
    a, b = sorted(_pair(draw, level), reverse=True)
    a += a == b
    c = _spare(draw, a, b)
    return Problem({"a": a, "b": b, "c": c}, ((a, "-", b),), (b, a, a + b, abs(a - c)))


def _product(draw: Draw, level: int) -> Problem:
    a, b = _factors(draw, level)
    c = _spare(draw, a, b)
    slips = (a + b, a * b + a, a * b - a, a * b + b, a * b - b, a * c)
    return Problem({"a": a, "b": b, "c": c}, ((a, "*", b),), slips)


def _price(draw: Draw, level: int) -> Problem:
    count, b = _factors(draw, level)
    a = 100 * count
    return Problem({"a": a, "b": b}, ((a, "*", b),), (a * b + a, a * b - a), 100)


def _change(draw: Draw, level: int) -> Problem:
    count, b = _factors(draw, level - 1)
    a = 100 * count
    cost = a * b
    c = next(paid for paid in (1000, 5000, 10000, 50000) if paid > cost)
    return Problem({"a": a, "b": b, "c": c}, ((a, "*", b), (c, "-", cost)), (cost, c - a), 100)


def _spend(draw: Draw, level: int) -> Problem:
    a = 1000 * (draw.between(21, 99) if level == 2 else draw.between(101, 999))
    b = 1000 * draw.between(2, a // 1000 - 2)
    return Problem({"a": a, "b": b}, ((a, "-", b),), (b, a + b), 1000)


def _discount(draw: Draw, level: int) -> Problem:
    count, tenths = _factors(draw, level - 1)[0], draw.between(1, 5)
    a, tenth = 1000 * count, 100 * count
    slips = (tenth * tenths, tenth * (9 - tenths), tenth * (11 - tenths))
    return Problem({"a": a, "b": 10 * tenths}, ((tenth, "*", 10 - tenths),), slips, 100)


def _percent(draw: Draw, level: int) -> Problem:
    tenth, tenths = _factors(draw, level - 1)[0], draw.between(1, 9)
    slips = (tenth * (10 - tenths), tenth * (tenths + 1), tenth * (tenths - 1))
    return Problem({"a": 10 * tenth, "b": 10 * tenths}, ((tenth, "*", tenths),), slips)


def _ratio(draw: Draw, level: int) -> Problem:
    a, b = draw.pick(
        [(a, b) for a in range(1, 6) for b in range(1, 5) if math.gcd(a, b) == 1 < a + b - 1]
    )
    part = draw.between(2, 9) if level == 2 else draw.between(11, 19)
    whole = part * (a + b)
    steps = ((a, "+", b), (whole, "/", a + b), (part, "*", a))
    return Problem({"a": a, "b": b, "c": whole}, steps, (part * b, part, whole // (a + 1)))


def _share(draw: Draw, level: int) -> Problem:
    low, high = ((2, 9), (11, 24), (21, 99))[level - 1]
    each, b = draw.between(low, high), draw.between(2, 4 if level == 2 else 9)
    a = each * b
    return Problem({"a": a, "b": b}, ((a, "/", b),), (b, a - b))


def _on_off(draw: Draw, level: int) -> Problem:
    a, b = _pair(draw, level) if level == 2 else (draw.between(51, 199), draw.between(11, 99))
    c = draw.between(3, a - 1)
    steps = ((a, "+", b), (a + b, "-", c))
    return Problem({"a": a, "b": b, "c": c}, steps, (a + b, a - b + c, a + b + c, a - c))


def _boxes_and(draw: Draw, level: int) -> Problem:
    a, b = _factors(draw, level - 1)
    c = draw.between(2, 9) if level == 2 else draw.between(11, 49)
    slips = (a * b, a + b + c, a * b - c, a * (b + 1) + c)
    return Problem({"a": a, "b": b, "c": c}, ((a, "*", b), (a * b, "+", c)), slips)


def _times(draw: Draw, level: int) -> Problem:
    a, b = _factors(draw, level - 1)
    slips = (a * b, a * b + b, a * b - a, a * (b + 2))
    return Problem({"a": a, "b": b}, ((a, "*", b), (a * b, "+", a)), slips)


def units(draw: Draw, language: Language) -> Problem:
    """How many 만 an amount in 억 and 만 has; thousands in English."""
    size = 10000 if language == "ko" else 1000
    a, b = draw.between(2, 9), 100 * draw.between(2, size // 100 - 1)
    return Problem({"a": a, "b": b}, ((a * size, "+", b),), (a * size // 10 + b,), 100)


KINDS: Final[Mapping[str, Callable[[Draw, int], Problem]]] = {
    "sum": _sum,
    "difference": _difference,
    "product": _product,
    "price": _price,
    "change": _change,
    "spend": _spend,
    "discount": _discount,
    "percent": _percent,
    "ratio": _ratio,
    "share": _share,
    "on-off": _on_off,
    "boxes-and": _boxes_and,
    "times": _times,
}
