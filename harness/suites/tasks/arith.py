"""Calculations: bare, and in short stories with counters, money, ratios and spare numbers.

A model trained on the task writes each step as its columns with carries, then `;` and the
result, which begins the next step: ` 57+68=15,12;125` and ` 7*3=21;21+5=6,2;26`. What
stands behind the last `;` is the answer. Choices are the corners of a rectangle of slips:
one digit or carry missed, an operand or a half-way result taken for the answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from harness.suites.tasks.base import (
    Form,
    Grade,
    Item,
    Language,
    Setting,
    data,
    framed,
    grade,
    shuffled_choices,
)
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.hangul import Word
from harness.suites.tasks.marking import (
    NUMBER,
    bare,
    last_part,
    lines_from_last,
    number_in,
    plain_number,
)
from harness.suites.tasks.near import corners
from harness.suites.tasks.numerals import (
    Number,
    english,
    mixed,
    read_english,
    read_native,
    read_sino,
    sino,
    words_in,
)

NAME: Final = "arith"
VERSION: Final = 2
CHANCE: Final[Mapping[Form, float]] = {"choice": 0.25, "free": 0.0}

MAX_TOKENS: Final = 80

_DATA: Final = data("arith")
_TEMPLATES: Final = _DATA["templates"]

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


def _units(draw: Draw, language: Language) -> Problem:
    size = 10000 if language == "ko" else 1000
    a, b = draw.between(2, 9), 100 * draw.between(2, size // 100 - 1)
    return Problem({"a": a, "b": b}, ((a * size, "+", b),), (a * size // 10 + b,), 100)


_KINDS: Final[Mapping[str, Callable[[Draw, int], Problem]]] = {
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


def _wrong(draw: Draw, right: int, problem: Problem) -> list[int]:
    """Three wrong numbers; most have as many digits as the right one."""
    scale, digits = problem.scale, len(str(right))
    ones = right // scale
    small = (1, -1) if ones < 12 else (1, -1, 2, -2, 10, -10)
    jumps = (3, 4, 5) if ones < 12 else (10, 20) if ones < 100 else (10, 20, 100)
    up = draw.below(2) == 1
    slips = [n - right for n in problem.slips if (n > right) == up and len(str(n)) == digits]
    sign = scale if up else -scale
    near = [sign * jump for jump in jumps]
    # With slips alone a small answer may have no room below it, hence both directions at last.
    large = [slip for slip in slips if slip] * 3 + near + [-sign * jumps[0]]
    return corners(draw, right, [scale * slip for slip in small], large, allowed=lambda n: n > 0)


def _in_words(language: Language, number: int) -> str:
    return sino(number) if language == "ko" else english(number)


def _places(draw: Draw, level: int) -> tuple[tuple[int, int], tuple[int, int], int, int]:
    """A number of two parts, `x * 10**i + y * 10**j`, and the same parts one place off.

    Which of the two places is right is drawn, so that no choice shows that it is.

    Returns:
        The two first parts, the two second parts, and which of either is right.
    """
    x = draw.between(2, 9) if level < 3 else draw.pick([n for n in range(21, 100) if n % 10])
    y = draw.between(2, 9)
    high, low = ((2, 0), (3, draw.below(2)), (4, draw.below(3)))[level - 1]
    first = (x * 10**high, x * 10 ** (high + 1))
    second = (y * 10**low, y * 10 ** (low + 1))
    return first, second, draw.below(2), draw.below(2)


def _fill(draw: Draw, language: Language) -> dict[str, Word]:
    """People and things for a question; Korean ones come with their counters."""
    words = _DATA["words"][language]
    who, friend = draw.shuffled(words["who"])[:2]
    filled = {"who": who, "friend": friend}
    kinds = ("ware", "toy", "thing", "goods", "sold")
    filled |= {kind: draw.pick(words[kind]) for kind in kinds}
    if language == "ko":
        for kind, counter in (("thing", "unit"), ("goods", "pack"), ("sold", "set")):
            filled[kind], filled[counter] = filled[kind]
    return {name: Word(word) for name, word in filled.items()}


def templates(language: Language) -> Mapping[str, tuple[int, ...]]:
    """Levels of each template."""
    del language
    return {name: tuple(template["levels"]) for name, template in _TEMPLATES.items()}


def generate(setting: Setting, draw: Draw) -> Item:
    """Build one item; see the module."""
    language = setting.language
    level = draw.between(1, 3)
    name = draw.pick([each for each, template in _TEMPLATES.items() if level in template["levels"]])
    kind, text = _TEMPLATES[name]["kind"], _TEMPLATES[name][language]
    values: dict[str, object] = dict(_fill(draw, language))
    how = "digits"
    if kind in {"read", "write"}:
        first, second, at, then = _places(draw, level)
        number = first[at] + second[then]
        others = [x + y for x in first for y in second if x + y != number]
        values |= {"a": Number(number), "words": Word(_in_words(language, number))}
        how = "digits" if kind == "read" else "words"
        steps = f"{first[at]}+{second[then]};"
    else:
        problem = _units(draw, language) if kind == "units" else _KINDS[kind](draw, level)
        number = result(*problem.steps[-1])
        others = _wrong(draw, number, problem) if setting.form == "choice" else []
        values |= {key: Number(value) for key, value in problem.numbers.items()}
        for key, value in problem.numbers.items():
            values[f"{key}_words"] = (
                mixed(value) if language == "ko" else f"{value // 1000} thousand"
            )
        steps = worked(problem.steps).removesuffix(str(number))
    answer, *wrong = (
        _in_words(language, each) if how == "words" else str(each) for each in (number, *others)
    )
    question = text.format(**values)
    if setting.form == "choice":
        return Item(
            template=name,
            level=level,
            context=framed(setting, question),
            choices=shuffled_choices(draw, answer, wrong),
            answer=f" {answer}",
            solution=f" {answer}",
        )
    return Item(
        template=name,
        level=level,
        context=framed(setting, question),
        answer=answer,
        solution=f" {steps}{answer}",
        question=f"{question} {_DATA['how'][language][how]}",
        max_tokens=MAX_TOKENS,
    )


_COUNTER: Final = re.compile(r"\s*(?:개|원|명|쪽|점|시간|권|마리|장|자루|송이|대|켤레|그루|병)$")


def mark(text: str, item: Item) -> Grade:
    """Strict: the number alone behind the last `;`. Loose: the last number of all.

    An answer in words is read whatever its spaces; loosely, 서른다섯 answers 35 as well.
    """
    part, lines, answer = last_part(text), list(lines_from_last(text)), item.answer
    if answer.isdigit():
        found = next((number for number in map(number_in, lines) if number is not None), None)
        if found is None and lines:
            alone = _COUNTER.sub("", bare(lines[-1]))
            read = (read(alone) for read in (read_sino, read_native, read_english))
            found = next((str(number) for number in read if number is not None), None)
        strict = NUMBER.fullmatch(part) is not None and plain_number(part) == answer
        return grade(answered=found is not None, strict=strict, loose=found == answer)
    reader = read_sino if "가" <= answer[0] <= "힣" else read_english
    value = reader(answer)
    # 삼 alone is a number, but seldom one in a sentence: bare lines hold single words too.
    numbers = ([*words_in(line), *filter(None, [reader(bare(line))])] for line in lines)
    said = next((number[-1] for number in numbers if number), None)
    strict = len(part) < 2 * len(answer) + 9 and reader(part) == value
    return grade(answered=said is not None, strict=strict, loose=said == value)
