"""Weekdays, dates across months and leap days, clock times, timetables and durations.

A model trained on the task writes the calculation first, then `;` and the answer:
` 28+6=34,34-31=3;2월 3일`. Wrong choices are corners of a rectangle of slips (`near`): off
by a day and a week, by some minutes and an hour. `days` and `clock` draw the questions,
`dates` writes and reads answers, `calendar.json` holds the sentences.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from harness.spec import Form, Language
from harness.suites.tasks import clock, days
from harness.suites.tasks.base import Grade, Item, Setting, data, grade, make_item
from harness.suites.tasks.dates import (
    Brief,
    Question,
    Slips,
    clock_text,
    date_text,
    day_name,
    month_name,
    read,
    read_whole,
)
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.hangul import Word
from harness.suites.tasks.marking import is_hedge, last_part, lines_from_last
from harness.suites.tasks.near import corners

NAME: Final = "calendar"
VERSION: Final = 2
CHANCE: Final[Mapping[Form, float]] = {"choice": 0.25, "free": 0.04}
"""A fourth of the items ask for a weekday, and one constant is right in a seventh."""

MAX_TOKENS: Final = 64

_DATA: Final = data("calendar")
_TEMPLATES: Final[Mapping[str, Mapping[str, Any]]] = _DATA["templates"]
_BUILDERS: Final = {**days.BUILDERS, **clock.BUILDERS}
_SLIPS: Final[Mapping[str, Slips]] = {
    "day": ((1, -1), (2, -2, 3, -3)),
    "month": ((1, -1), (2, -2, 3, -3)),
    "date": ((1, -1), (7, -7, 10, -10, 30, -30)),
    "clock": clock.MINUTES,
    "number": ((1, -1), (2, -2, 3, -3)),
}


def _written(language: Language, kind: str, value: int) -> str:
    if kind == "day":
        return day_name(language, value)
    if kind == "month":
        return month_name(language, value)
    if kind == "date":
        return date_text(language, *divmod(value, 100))
    return clock_text(language, value) if kind == "clock" else str(value)


def _wrong(draw: Draw, question: Question) -> list[int]:
    """Three wrong values of the question's kind."""
    kind, value = question.kind, question.value
    small, large = question.slips or _SLIPS[kind]
    if kind == "day":
        return corners(draw, value, small, large, wrap=7)
    if kind == "month":
        return [month + 1 for month in corners(draw, value - 1, small, large, wrap=12)]
    if kind == "date":
        right = dt.date(int(str(question.values["year"])), *divmod(value, 100)).toordinal()
        wrong = [dt.date.fromordinal(day) for day in corners(draw, right, small, large)]
        return [100 * day.month + day.day for day in wrong]
    low, high = (60, 779) if kind == "clock" else (1, question.most)
    return corners(draw, value, small, large, allowed=lambda n: low <= n <= high)


def templates(language: Language) -> Mapping[str, tuple[int, ...]]:
    """Levels of each template."""
    del language
    return {name: tuple(template["levels"]) for name, template in _TEMPLATES.items()}


def generate(setting: Setting, draw: Draw) -> Item:
    """Build one item; see the module."""
    language = setting.language
    level = draw.between(1, 3)
    name = draw.pick([each for each, template in _TEMPLATES.items() if level in template["levels"]])
    template = _TEMPLATES[name]
    question = _BUILDERS[template["build"]](Brief(draw, language, level, template))
    event, other = map(Word, draw.shuffled(_DATA["events"][language])[:2])
    text = template[language].format(event=event, other=other, **question.values)
    kind = question.kind
    answer = _written(language, kind, question.value)
    others = _wrong(draw, question) if setting.form == "choice" else []
    return make_item(
        setting,
        draw,
        template=name,
        level=level,
        question=text,
        answer=answer,
        wrong=[_written(language, kind, value) for value in others],
        asked=f"{text} {_DATA['how'][language][kind]}",
        max_tokens=MAX_TOKENS,
        steps=f"{question.steps};",
    )


def mark(text: str, item: Item) -> Grade:
    """Strict: the answer alone behind the last `;`, in any spelling but without a unit.

    Loose: the last weekday, date, time or number, whichever is asked for, of the last
    line that holds one.
    """
    right, whole = read_whole(item.answer), read_whole(last_part(text))
    if right is None:  # pragma: no cover - a template that cannot be marked
        raise AssertionError(f"{item.template}: {item.answer!r} cannot be read")
    answered = loose = False
    for line in lines_from_last(text):
        everything = read(line)
        answered = answered or bool(everything)
        if found := [each for each in everything if each.kind == right.kind]:
            # No question says which half of the day it is, so an answer may.
            day = 720 if right.kind == "clock" else 10**9
            alike = found[-1].value % day == right.value % day
            hedged = len(found) > 1 and is_hedge(line[-1000:][found[-2].end : found[-1].start])
            loose = alike and not hedged
            break
    strict = whole is not None and whole[:2] == right[:2]
    return grade(answered=answered, strict=strict, loose=loose)
