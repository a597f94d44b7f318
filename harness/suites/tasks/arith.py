"""Calculations: bare, and in short stories with counters, money, ratios and spare numbers.

A model trained on the task writes each step as its columns with carries, then `;` and the
result, which begins the next step: ` 57+68=15,12;125` and ` 7*3=21;21+5=6,2;26`. What
stands behind the last `;` is the answer. Choices are the corners of a rectangle of slips:
one digit or carry missed, an operand or a half-way result taken for the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from harness.spec import Form, Language
from harness.suites.tasks.base import Grade, Item, Setting, data, grade, make_item
from harness.suites.tasks.calculations import KINDS, Problem, result, units, worked
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
_TEMPLATES: Final[Mapping[str, Mapping[str, Any]]] = _DATA["templates"]


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


def _shown(language: Language, numbers: Mapping[str, int]) -> dict[str, object]:
    """Each number in digits and, by its name with `_words`, in thousands."""
    shown: dict[str, object] = {key: Number(value) for key, value in numbers.items()}
    for key, value in numbers.items():
        thousands = mixed(value) if language == "ko" else f"{value // 1000} thousand"
        shown[f"{key}_words"] = thousands
    return shown


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
    if kind in {"read", "write"}:
        first, second, at, then = _places(draw, level)
        number = first[at] + second[then]
        others = [x + y for x in first for y in second if x + y != number]
        values |= {"a": Number(number), "words": Word(_in_words(language, number))}
        steps = f"{first[at]}+{second[then]};"
    else:
        problem = units(draw, language) if kind == "units" else KINDS[kind](draw, level)
        number = result(*problem.steps[-1])
        others = _wrong(draw, number, problem) if setting.form == "choice" else []
        values |= _shown(language, problem.numbers)
        steps = worked(problem.steps).removesuffix(str(number))
    how = "words" if kind == "write" else "digits"
    answer, *wrong = (
        _in_words(language, each) if how == "words" else str(each) for each in (number, *others)
    )
    question = text.format(**values)
    return make_item(
        setting,
        draw,
        template=name,
        level=level,
        question=question,
        answer=answer,
        wrong=wrong,
        asked=f"{question} {_DATA['how'][language][how]}",
        max_tokens=MAX_TOKENS,
        steps=steps,
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
