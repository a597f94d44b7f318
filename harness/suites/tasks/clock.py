"""Calendar questions about clocks, timetables and lengths of time.

Answers on a clock stay within 1:00 and 12:59, where a 12-hour and a 24-hour clock agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from harness.suites.tasks.base import data
from harness.suites.tasks.dates import Brief, Question, Slips, clock_text, day_name, short_day
from harness.suites.tasks.hangul import Word
from harness.suites.tasks.numerals import Number

_DATA: Final = data("calendar")
_HOURS: Final[Slips] = ((60, -60), (120, -120, 180, -180))
MINUTES: Final[Slips] = ((5, -5, 10, -10), (60, -60, 30, -30))
"""Slips of a time or a length of time in minutes."""


def _timetable(brief: Brief) -> Question:
    """Three lessons on three weekdays; today's and the one asked for are among them."""
    draw, language = brief.draw, brief.language
    subjects = draw.shuffled(_DATA["subjects"][language])[:3]
    days = sorted(draw.shuffled(range(5))[:3])
    first, then = sorted(draw.shuffled(range(3))[:2])
    if brief.level == 2:
        first, then = then, first
    today, other = days[first], days[then]
    values = {
        "lessons": ", ".join(
            f"{day_name(language, day)}{'에' if language == 'ko' else ''} {subject}"
            for day, subject in zip(days, subjects, strict=True)
        ),
        "day": day_name(language, today),
        "subject": subjects[then],
    }
    wrap = "+7" if other < today else ""
    steps = f"{short_day(language, other)}{wrap}-{short_day(language, today)}"
    return Question(values, steps, "number", (other - today) % 7, most=7)


def _clock_hours(brief: Brief) -> Question:
    hours = brief.draw.between(1, 5)
    hour = brief.draw.between(1, 12 - hours)
    values = {"start": clock_text(brief.language, 60 * hour), "hours": Number(hours)}
    return Question(values, f"{hour}+{hours}={hour + hours}", "clock", 60 * (hour + hours), _HOURS)


def _later(start: int, added: int) -> str:
    """Steps of a clock that goes on: minutes first, then the hours that they carry."""
    hour, minute = divmod(start, 60)
    hours, minutes = divmod(added, 60)
    total = minute + minutes
    steps = f"{minute}+{minutes}={total}"
    if total >= 60:
        steps += f",{total}-60={total - 60}"
        hours += 1
    return f"{steps},{hour}+{hours}={hour + hours}"


def _clock(brief: Brief) -> Question:
    """Minutes that may pass the hour, then more than an hour; or some minutes earlier."""
    draw = brief.draw
    if brief.template["sign"] < 0:
        hour, minute, back = draw.between(2, 12), 5 * draw.between(0, 11), 5 * draw.between(1, 11)
        steps = f"{minute}-{back}={minute - back}"
        if back > minute:
            steps = f"{minute}+60={minute + 60},{minute + 60}-{back}={minute + 60 - back}"
            steps += f",{hour}-1={hour - 1}"
        start, added = 60 * hour + minute, -back
    else:
        hour = draw.between(1, 11 if brief.level == 2 else 9)
        start = 60 * hour + 5 * draw.between(1, 11)
        added = 5 * (draw.between(1, 11) if brief.level == 2 else draw.between(13, 27))
        total = start % 60 + added
        steps = f"{start % 60}+{added}={total}"
        if total >= 60:
            whole = total - total % 60
            steps += f",{total}-{whole}={total % 60},{hour}+{total // 60}={hour + total // 60}"
    values = {"start": clock_text(brief.language, start), "minutes": Number(abs(added))}
    return Question(values, steps, "clock", start + added)


def _train(brief: Brief) -> Question:
    """Hours and minutes on; at level 3 the minutes pass the hour."""
    draw = brief.draw
    hours, minute = draw.between(1, 3), 5 * draw.between(1, 10)
    low, high = (1, 11 - minute // 5) if brief.level == 2 else (12 - minute // 5, 11)
    minutes = 5 * draw.between(low, high)
    start = 60 * draw.between(1, 8) + minute
    values = {
        "start": clock_text(brief.language, start),
        "hours": Number(hours),
        "minutes": Number(minutes),
    }
    added = 60 * hours + minutes
    return Question(values, _later(start, added), "clock", start + added)


def _bus(brief: Brief) -> Question:
    """The first bus after a time; at level 3 in the next hour."""
    draw, language = brief.draw, brief.language
    hour, first, gap = draw.between(1, 10), 5 * draw.between(1, 4), draw.pick((10, 12, 15, 20, 25))
    buses = [first]
    while buses[-1] + gap < (60 if brief.level == 2 else 100):
        buses.append(buses[-1] + gap)
    rides = [n for n in range(1, len(buses)) if (buses[n] >= 60) == (brief.level == 3)]
    chosen = draw.pick(rides)
    now = buses[chosen - 1] + draw.between(1, gap - 1)
    steps = ",".join(map(str, buses[: chosen + 1]))
    if buses[chosen] >= 60:
        steps += f",{buses[chosen]}-60={buses[chosen] - 60},{hour}+1={hour + 1}"
    values = {
        "start": clock_text(language, 60 * hour + first),
        "gap": gap,
        "now": Word(clock_text(language, 60 * hour + now)),
    }
    return Question(
        values, steps, "clock", 60 * hour + buses[chosen], ((gap, -gap), (5, -5, 60, -60))
    )


def _lessons(brief: Brief) -> Question:
    draw = brief.draw
    start = 60 * draw.between(8, 9) + 10 * draw.below(6)
    long, rest = draw.pick((30, 35, 40, 45, 50)), draw.pick((5, 10, 15))
    n = 2 if brief.level == 2 else 3
    added = (n - 1) * (long + rest)
    steps = f"{long}+{rest}={long + rest}," + (f"{n - 1}*{long + rest}={added}," if n > 2 else "")
    hour, minute = divmod(start, 60)
    hours, minutes = divmod(minute + added, 60)
    steps += f"{minute}+{added}={minute + added}"
    if hours:
        steps += f",{minute + added}-{60 * hours}={minutes},{hour}+{hours}={hour + hours}"
    values = {"start": clock_text(brief.language, start), "long": long, "rest": rest, "n": n}
    slips = ((rest, -rest, 10, -10), (long, -long, 60, -60))
    return Question(values, steps, "clock", start + added, slips)


def _duration_hours(brief: Brief) -> Question:
    hour, hours = brief.draw.between(1, 12), brief.draw.between(1, 9)
    values = {
        "start": clock_text(brief.language, 60 * hour),
        "end": clock_text(brief.language, 60 * (hour + hours)),
    }
    return Question(values, f"{hour + hours}-{hour}={hours}", "number", hours)


def _duration(brief: Brief) -> Question:
    draw = brief.draw
    hour, begin, end = draw.between(1, 12), 5 * draw.between(1, 11), 5 * draw.between(1, 11)
    hours = 1 if brief.level == 2 else draw.between(2, 3)
    total = 60 * hours + end
    values = {
        "start": clock_text(brief.language, 60 * hour + begin),
        "end": clock_text(brief.language, 60 * (hour + hours) + end),
    }
    steps = (
        f"{hour + hours}-{hour}={hours},{60 * hours}+{end}={total},{total}-{begin}={total - begin}"
    )
    return Question(values, steps, "number", total - begin, MINUTES)


def _weeks(brief: Brief) -> Question:
    weeks, days = brief.draw.between(2, 12), brief.draw.between(1, 6) if brief.level == 2 else 0
    total = 7 * weeks + days
    steps = f"{weeks}*7={7 * weeks}" + (f",{7 * weeks}+{days}={total}" if days else "")
    values = {"weeks": weeks, "days": Number(days)}
    return Question(values, steps, "number", total, ((1, -1), (7, -7, 10, -10)))


def _minutes(brief: Brief) -> Question:
    draw = brief.draw
    hours = draw.between(2, 12 if brief.level == 1 else 6)
    minutes = 5 * draw.between(1, 11) if brief.level == 2 else 0
    total = 60 * hours + minutes
    steps = f"{hours}*60={60 * hours}" + (f",{60 * hours}+{minutes}={total}" if minutes else "")
    values = {"hours": Number(hours), "minutes": Number(minutes)}
    return Question(values, steps, "number", total, ((10, -10, 20, -20), (60, -60, 30, -30)))


def _hours(brief: Brief) -> Question:
    spans = [each for each in _DATA["native"][brief.language] if 1 < each[0] <= 10]
    days, when = brief.draw.pick(spans)
    steps = f"{days}*24={24 * days}"
    machine = Word(brief.draw.pick(_DATA["machines"][brief.language]))
    values = {"when": when, "machine": machine}
    return Question(values, steps, "number", 24 * days, ((4, -4, 10, -10), (24, -24)))


BUILDERS: Final[Mapping[str, Callable[[Brief], Question]]] = {
    "timetable": _timetable,
    "clock_hours": _clock_hours,
    "clock": _clock,
    "train": _train,
    "bus": _bus,
    "lessons": _lessons,
    "duration_hours": _duration_hours,
    "duration": _duration,
    "weeks": _weeks,
    "minutes": _minutes,
    "hours": _hours,
}
