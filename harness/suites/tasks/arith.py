"""Sums, differences and products, bare and in short stories with Korean counters.

The answer is free. A model trained on the task writes the calculation, its columns from
the right with carries, then `;` and the result: `57+68=15,12;125`. A model that was not
may answer in words: the last number of its first line counts.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from harness.suites.tasks.base import Item, Language
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


KO_TEMPLATES: Final = (
    Template("sum-bare", "+", "{a} 더하기 {b_topic} 얼마입니까?"),
    Template("sum-sign", "+", "{a}+{b_topic} 얼마입니까?"),
    Template(
        "sum-more", "+", "{thing_subject} {a}{unit} 있습니다. {b}{unit} 더 생기면 몇 {unit}입니까?"
    ),
    Template(
        "sum-two",
        "+",
        "{who_topic} {thing_object} 어제 {a}{unit}, 오늘 {b}{unit} 샀습니다. 모두 몇 {unit}입니까?",
    ),
    Template("sum-points", "+", "{who_topic} {a}점에서 {b}점을 더 얻었습니다. 모두 몇 점입니까?"),
    Template("difference-bare", "-", "{a} 빼기 {b_topic} 얼마입니까?"),
    Template("difference-sign", "-", "{a}-{b_topic} 얼마입니까?"),
    Template(
        "difference-left",
        "-",
        "{thing_subject} {a}{unit} 있었는데 {b}{unit} 없어졌습니다. 몇 {unit} 남았습니까?",
    ),
    Template(
        "difference-pages",
        "-",
        "{who_topic} {a}쪽짜리 책을 {b}쪽까지 읽었습니다. 몇 쪽 남았습니까?",
    ),
    Template("difference-score", "-", "청팀은 {a}점, 백팀은 {b}점입니다. 몇 점 차이입니까?"),
    Template("product-bare", "*", "{a} 곱하기 {b_topic} 얼마입니까?"),
    Template(
        "product-boxes",
        "*",
        "{thing_subject} 한 상자에 {a}{unit}씩 있습니다. {b}상자에는 몇 {unit} 있습니까?",
    ),
    Template(
        "product-days",
        "*",
        "{who_topic} 하루에 {a}쪽씩 책을 읽습니다. {b}일 동안 몇 쪽을 읽습니까?",
    ),
)
EN_TEMPLATES: Final = (
    Template("sum-bare", "+", "What is {a} plus {b}?"),
    Template("sum-sign", "+", "What is {a}+{b}?"),
    Template("sum-more", "+", "There are {a} {thing}. {b} more are added. How many now?"),
    Template("sum-two", "+", "{who} bought {a} {thing} yesterday and {b} today. How many in all?"),
    Template("sum-points", "+", "{who} had {a} points and won {b} more. How many points now?"),
    Template("difference-bare", "-", "What is {a} minus {b}?"),
    Template("difference-sign", "-", "What is {a}-{b}?"),
    Template("difference-left", "-", "There were {a} {thing}. {b} are gone. How many are left?"),
    Template("difference-pages", "-", "{who} read {b} of the {a} pages. How many are left?"),
    Template("difference-score", "-", "Red has {a} points and Blue {b}. What is the difference?"),
    Template("product-bare", "*", "What is {a} times {b}?"),
    Template("product-boxes", "*", "There are {a} {thing} in a box. How many in {b} boxes?"),
    Template("product-days", "*", "{who} reads {a} pages a day. How many pages in {b} days?"),
)

_KO_WHO: Final = ("민수", "지수", "하준", "서연", "유나", "도윤", "은별", "현우")
_EN_WHO: Final = ("Tom", "Anna", "Ben", "Mia", "Sam", "Lucy", "Max", "Emma")
_KO_THINGS: Final = (
    *(("사과", "개"), ("달걀", "개"), ("연필", "자루"), ("볼펜", "자루"), ("책", "권")),
    *(("공책", "권"), ("토끼", "마리"), ("오리", "마리"), ("장미", "송이"), ("종이", "장")),
    *(("사진", "장"), ("자전거", "대"), ("양말", "켤레"), ("나무", "그루"), ("우유", "병")),
)
_EN_THINGS: Final = (
    *("apples", "eggs", "pencils", "pens", "books", "coins", "rabbits", "ducks", "roses"),
    *("photos", "stamps", "socks", "trees", "bottles", "cards"),
)
# Animals are not sold by the box.
_NOT_BOXED: Final = ("토끼", "오리", "나무", "자전거", "rabbits", "ducks", "trees")


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
    if language == "en":
        who = draw.pick(_EN_WHO)
        boxed = template.name == "product-boxes"
        things = [each for each in _EN_THINGS if not boxed or each not in _NOT_BOXED]
        return template.text.format(a=a, b=b, who=who, thing=draw.pick(things))
    who = draw.pick(_KO_WHO)
    boxed = template.name == "product-boxes"
    pairs = [each for each in _KO_THINGS if not boxed or each[0] not in _NOT_BOXED]
    thing, unit = draw.pick(pairs)
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
    templates = KO_TEMPLATES if language == "ko" else EN_TEMPLATES
    template = draw.pick([each for each in templates if each.operator == operator])
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
