"""Calendar questions about weekdays, months, dates and leap years."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Final

from harness.spec import Language
from harness.suites.tasks.base import data
from harness.suites.tasks.dates import (
    Brief,
    Question,
    date_text,
    day_name,
    is_leap,
    month_length,
    month_name,
    short_day,
)
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.hangul import Word
from harness.suites.tasks.numerals import Number

_DATA: Final = data("calendar")


def _weekday_steps(language: Language, today: int, days: int, sign: int) -> str:
    """Whole weeks away first, then the rest counted from today."""
    weeks = f"{days}-{days - days % 7}={days % 7}," if days >= 7 else ""
    return f"{weeks}{short_day(language, today)}{'+' if sign > 0 else '-'}{days % 7}"


def _weekday(brief: Brief) -> Question:
    draw, language, sign = brief.draw, brief.language, brief.template["sign"]
    today = draw.below(7)
    values: dict[str, object] = {"day": day_name(language, today)}
    how = brief.template.get("days")
    if how == "near":
        days = draw.between(1, 2)
        values["when"] = _DATA["near"][language][str(sign)][days - 1]
    elif how == "native":
        span = [each for each in _DATA["native"][language] if (each[0] > 6) == (brief.level == 2)]
        days, values["when"] = draw.pick(span)
    else:
        days = draw.between(*((2, 6), (7, 30), (31, 99))[brief.level - 1])
        values["days"] = Number(days)
    steps = _weekday_steps(language, today, days, sign)
    return Question(values, steps, "day", (today + sign * days) % 7)


def _weekday_date(brief: Brief) -> Question:
    draw, language = brief.draw, brief.language
    month, first, today = draw.between(1, 12), draw.between(1, 7), draw.below(7)
    days = draw.between(1, 6) if brief.level == 2 else draw.between(7, 21)
    values = {
        "start": Word(date_text(language, month, first)),
        "end": Word(date_text(language, month, first + days)),
        "day": day_name(language, today),
    }
    steps = f"{first + days}-{first}={days},{_weekday_steps(language, today, days, 1)}"
    return Question(values, steps, "day", (today + days) % 7)


def _month_end(brief: Brief) -> Question:
    draw, language = brief.draw, brief.language
    # February is left to the questions that name a year.
    month, today = draw.pick((1, *range(3, 13))), draw.below(7)
    days = month_length(month) - 1
    values = {
        "start": Word(date_text(language, month, 1)),
        "month": month_name(language, month),
        "day": day_name(language, today),
    }
    steps = f"{days + 1}-1={days},{_weekday_steps(language, today, days, 1)}"
    return Question(values, steps, "day", (today + days) % 7)


def _next_year(brief: Brief) -> Question:
    """From March on, so that the leap day between the two dates is the later year's."""
    draw, language = brief.draw, brief.language
    month = draw.between(3, 12)
    start = dt.date(draw.between(1987, 2035), month, draw.between(1, month_length(month)))
    values = {
        "year": start.year,
        "start": Word(date_text(language, month, start.day)),
        "day": day_name(language, start.weekday()),
    }
    days = 365 + is_leap(start.year + 1)
    steps = _weekday_steps(language, start.weekday(), days, 1)
    return Question(values, steps, "day", (start.weekday() + days) % 7)


def _nth_weekday(brief: Brief) -> Question:
    draw, language = brief.draw, brief.language
    today, ahead = draw.below(7), draw.below(7)
    nth = draw.below(2) + 2 * (brief.level == 3)
    values = {
        "day": day_name(language, today),
        "target": Word(day_name(language, today + ahead)),
        "nth": _DATA["nth"][language][nth],
    }
    steps = f"1+{ahead}={1 + ahead}" + (
        f",{1 + ahead}+{7 * nth}={1 + ahead + 7 * nth}" if nth else ""
    )
    return Question(values, steps, "number", 1 + ahead + 7 * nth, ((1, -1), (7, -7, 2, -2)), 31)


def _month(brief: Brief) -> Question:
    draw, language, sign = brief.draw, brief.language, brief.template["sign"]
    if brief.level == 1:
        months = draw.between(1, 9)
        month = draw.between(1, 12 - months) + (months if sign < 0 else 0)
    else:
        month = draw.between(7, 12) if sign > 0 else draw.between(1, 6)
        months = draw.between(13 - month if sign > 0 else month, 11)
    total = month + sign * months
    steps = f"{month}{'+' if sign > 0 else '-'}{months}={total}"
    if total > 12:
        steps += f",{total}-12={total - 12}"
    if total < 1:
        steps = f"{month}+12={month + 12},{month + 12}-{months}={total + 12}"
    values = {"month": month_name(language, month), "months": Number(months)}
    return Question(values, steps, "month", (total - 1) % 12 + 1)


def _walk(start: dt.date, days: int) -> tuple[str, dt.date]:
    """Steps from a date to another some days later, or earlier by less than a month."""
    end = start + dt.timedelta(days=days)
    if days < 0:
        total, steps = start.day, ""
        if end.month != start.month:
            length = month_length(end.month, end.year)
            total += length
            steps = f"{length}+{start.day}={total},"
        return f"{steps}{total}-{-days}={total + days}", end
    total, month = start.day + days, start.month
    steps = f"{start.day}+{days}={total}"
    while total > (length := month_length(month, start.year)):
        steps += f",{total}-{length}={total - length}"
        total, month = total - length, month + 1
    return steps, end


def _dated(brief: Brief, start: dt.date, days: int) -> Question:
    steps, end = _walk(start, days)
    values = {
        "year": start.year,
        "start": date_text(brief.language, start.month, start.day),
        "days": Number(abs(days)),
    }
    return Question(values, steps, "date", 100 * end.month + end.day)


def _date(brief: Brief) -> Question:
    """Within a month, across its end, or over two month ends; February stays out."""
    draw, level = brief.draw, brief.level
    if brief.template["sign"] < 0:
        month = draw.between(4, 12)
        day = draw.between(11, 28) if level == 1 else draw.between(1, 15)
        days = -draw.between(1, 9) if level == 1 else -draw.between(day, 28)
        return _dated(brief, dt.date(2001, month, day), days)
    month = draw.between(3, 10 if level == 3 else 11)
    length = month_length(month)
    day = draw.between(1, 19) if level == 1 else draw.between(15, length)
    if level == 1:
        days = draw.between(1, 9)
    elif level == 2:
        days = draw.between(length - day + 1, 28)
    else:
        days = length + month_length(month + 1) - day + draw.between(1, 20)
    return _dated(brief, dt.date(2001, month, day), days)


def _year(draw: Draw) -> int:
    """A year; half of them are leap years, and a sixth end a century."""
    kind = draw.below(6)
    if kind == 0:
        return draw.pick((1600, 2000, 2400, 1700, 1800, 1900, 2100, 2200))
    return 4 * draw.between(476, 524) + (draw.between(1, 3) if kind % 2 else 0)


def _leap_date(brief: Brief) -> Question:
    """Across the end of February of a named year."""
    draw, year = brief.draw, _year(brief.draw)
    if brief.template["sign"] < 0:
        day = draw.between(1, 9)
        return _dated(brief, dt.date(year, 3, day), -draw.between(day, 15))
    day = draw.between(20, 28)
    days = draw.between(month_length(2, year) - day + 1, 15)
    return _dated(brief, dt.date(year, 2, day), days)


def _until(brief: Brief) -> Question:
    """Days to a later date: within a month, in the next one, or over a leap day."""
    draw, language = brief.draw, brief.language
    if brief.level == 3:
        start = dt.date(_year(draw), 2, draw.between(15, 28))
        end = dt.date(start.year, 3, draw.between(1, 15))
    else:
        month = draw.between(3, 11)
        start = dt.date(
            2001, month, draw.between(1, 19) if brief.level == 1 else draw.between(15, 29)
        )
        end = (
            start + dt.timedelta(days=draw.between(2, 11))
            if brief.level == 1
            else dt.date(2001, month + 1, draw.between(1, 15))
        )
    days = (end - start).days
    steps = f"{end.day}-{start.day}={days}"
    if end.month != start.month:
        length = month_length(start.month, start.year)
        rest = length - start.day
        steps = f"{length}-{start.day}={rest},{rest}+{end.day}={days}"
    values = {
        "year": start.year,
        "start": date_text(language, start.month, start.day),
        "end": date_text(language, end.month, end.day),
    }
    return Question(values, steps, "number", days, ((1, -1), (2, -2, 3, -3, 10, -10)))


def _leap_next(brief: Brief) -> Question:
    """At level 3 near the end of a century, where four out of five are skipped."""
    draw = brief.draw
    if brief.level == 2:
        year = draw.between(1905, 2091)
    else:
        year = draw.pick((1600, 1700, 1800, 1900, 2000, 2100, 2200)) - draw.between(1, 4)
    found = year + 4 - year % 4
    steps = f"{year}+{found - year}={found}"
    if not is_leap(found):
        steps += f",{found}+4={found + 4}"
        found += 4
    return Question({"year": year}, steps, "number", found, ((1, -1, 2, -2), (4, -4)))


def _leap_count(brief: Brief) -> Question:
    first = brief.draw.between(1905, 2070)
    last = first + brief.draw.between(8, 21)
    leap = [year for year in range(first, last + 1) if is_leap(year)]
    steps = ",".join(map(str, leap))
    return Question({"year": first, "last": last}, steps, "number", len(leap))


BUILDERS: Final[Mapping[str, Callable[[Brief], Question]]] = {
    "weekday": _weekday,
    "weekday_date": _weekday_date,
    "month_end": _month_end,
    "next_year": _next_year,
    "nth_weekday": _nth_weekday,
    "month": _month,
    "date": _date,
    "leap_date": _leap_date,
    "until": _until,
    "leap_next": _leap_next,
    "leap_count": _leap_count,
}
