"""Weekdays, dates, clock times and plain numbers: how they are written and read.

A `Found` is what a text says, in one form whatever its wording: `금요일` and `Friday` are
`("day", 4)`, `2월 3일` and `the 3rd of February` are `("date", 203)`, a month alone is
`("date", 200)`, `오후 3시 5분` and `3:05 p.m.` are `("clock", 905)` in minutes, and every
other number is `("number", n)`, two hours and five minutes being 125.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from harness.spec import Language
from harness.suites.tasks.draw import Draw

_KO_DAYS: Final = "월화수목금토일"
_EN_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_EN_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July", "August"),
    *("September", "October", "November", "December"),
)
_LENGTHS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def is_leap(year: int) -> bool:
    """Whether the Gregorian year has a 29 February."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def month_length(month: int, year: int = 2001) -> int:
    """Days of a month (1–12), by default in a common year."""
    return 29 if month == 2 and is_leap(year) else _LENGTHS[month - 1]


def day_name(language: Language, day: int) -> str:
    """A weekday; 0 and 7 are Monday."""
    return f"{_KO_DAYS[day % 7]}요일" if language == "ko" else _EN_DAYS[day % 7]


def short_day(language: Language, day: int) -> str:
    """A weekday as calculations name it."""
    return _KO_DAYS[day % 7] if language == "ko" else _EN_DAYS[day % 7][:3]


def month_name(language: Language, month: int) -> str:
    """A month (1–12)."""
    return f"{month}월" if language == "ko" else _EN_MONTHS[month - 1]


def date_text(language: Language, month: int, day: int) -> str:
    """A day of a month."""
    return f"{month}월 {day}일" if language == "ko" else f"{_EN_MONTHS[month - 1]} {day}"


def clock_text(language: Language, minutes: int) -> str:
    """A time of day, given in minutes after midnight."""
    hour, minute = divmod(minutes, 60)
    if language == "en":
        return f"{hour}:{minute:02}"
    return f"{hour}시 {minute}분" if minute else f"{hour}시"


Slips = tuple[Sequence[int], Sequence[int]]
"""Small and large signed slips, see `near`."""


class Brief(NamedTuple):
    """What a builder is asked for."""

    draw: Draw
    language: Language
    level: int
    template: Mapping[str, Any]


class Question(NamedTuple):
    """A drawn question.

    Attributes:
        values: what the template's text names.
        steps: the calculation without its answer.
        kind: `day`, `month`, `date`, `clock` or `number`.
        value: 0–6, 1–12, month and day as 203, minutes after midnight, or the number.
        slips: small and large slips for wrong choices, where the kind's own do not fit.
        most: greatest number that a wrong choice may be.
    """

    values: Mapping[str, object]
    steps: str
    kind: str
    value: int
    slips: Slips | None = None
    most: int = 10**6


class Found(NamedTuple):
    """A weekday, date, time or number in a text; see the module."""

    kind: str
    value: int
    start: int
    end: int


_NAMES: Final = "|".join(_EN_MONTHS)
# Spaces and digits are bounded: the text comes from a model.
_ANSWER: Final = re.compile(
    rf"""
    (?P<ko_day>[월화수목금토일])요일
    | (?<!\d)(?P<hours>\d{{1,4}})\s?(?:시간|hours?)\s?(?:and\s)?(?P<rest>\d{{1,4}})\s?(?:분|min)
    | (?:(?P<ko_half>오전|오후)\s?)?(?<!\d)(?P<ko_hour>\d{{1,2}})\s?시(?!간)
      (?:\s?(?P<ko_minute>\d{{1,2}})\s?분)?
    | (?<!\d)(?P<ko_month>\d{{1,2}})\s?월(?:\s?(?P<ko_date>\d{{1,2}})\s?일)?
    | (?P<en_day>{"|".join(_EN_DAYS)})
    | (?<!\d)(?P<date_first>\d{{1,2}})(?:st|nd|rd|th)?\s(?:of\s)?(?P<month_last>{_NAMES})
    | (?P<month>{_NAMES})
      (?:\s(?P<date>\d{{1,2}})(?!\d)(?:st|nd|rd|th)?(?:,?\s\d{{4}})?)?
    | (?<!\d)(?P<hour>\d{{1,2}}):(?P<minute>\d\d)(?!\d)(?:\s?(?P<half>[ap]\.?m\b\.?))?
    | (?<!\d)(?P<o_clock>\d{{1,2}})\s?o['’]clock
    | (?<![\d.])(?P<number>\d{{1,9}})(?!\d|\.\d)
    """,
    re.VERBOSE | re.IGNORECASE,
)


def read(line: str) -> list[Found]:
    """All weekdays, dates, times and numbers of the last 1,000 characters of a line."""
    return [_found(match) for match in _ANSWER.finditer(line[-1000:])]


def read_whole(text: str) -> Found | None:
    """What `text` says if it says nothing else, not even a unit."""
    match = _ANSWER.fullmatch(text) if len(text) < 100 else None
    return None if match is None or match["rest"] else _found(match)


def _found(match: re.Match[str]) -> Found:
    part = match.groupdict()
    kind, value = "number", 0
    if part["ko_day"]:
        kind, value = "day", _KO_DAYS.index(part["ko_day"])
    elif part["en_day"]:
        kind, value = "day", _EN_DAYS.index(part["en_day"].capitalize())
    elif part["ko_month"]:
        kind, value = "date", 100 * int(part["ko_month"]) + int(part["ko_date"] or 0)
    elif name := part["month"] or part["month_last"]:
        month = _EN_MONTHS.index(name.capitalize()) + 1
        kind, value = "date", 100 * month + int(part["date"] or part["date_first"] or 0)
    elif hour := part["ko_hour"] or part["hour"] or part["o_clock"]:
        later = part["ko_half"] == "오후" or (part["half"] or "").lower().startswith("p")
        minutes = int(part["ko_minute"] or part["minute"] or 0)
        kind, value = "clock", 60 * (int(hour) + 12 * (later and int(hour) < 12)) + minutes
    elif part["hours"]:
        value = 60 * int(part["hours"]) + int(part["rest"])
    else:
        value = int(part["number"])
    return Found(kind, value, match.start(), match.end())
