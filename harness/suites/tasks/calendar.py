"""Weekdays, dates across months and leap days, clock times and durations.

The answer is free. A model trained on the task writes the calculation first, then `;`
and the answer: ` 28+6=34,34-31=3;2월 3일`. Without `;` the last date, weekday, time or
number of the first line counts, so that an answer in words can be right too.

Answers are compared in one form a kind: `금요일` or `Friday`, `2월 3일` or `February 3`,
`2월` or `February`, `15:05` in both languages, and a bare number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from harness.suites.tasks.base import Item, Language
from harness.suites.tasks.draw import Draw

NAME: Final = "calendar"
VERSION: Final = 1
CHANCE: Final = 0.05
"""About a third of the items ask for a weekday, and one constant is right in a seventh."""

MAX_TOKENS: Final = 56

_KO_DAYS: Final = "월화수목금토일"
_EN_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_EN_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July", "August"),
    *("September", "October", "November", "December"),
)
_LENGTHS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


# Each Korean event ends in a consonant, so 은 is right for all of them.
_EVENTS: Final = (
    *(("시험", "exam"), ("소풍", "picnic"), ("공연", "concert"), ("결혼식", "wedding")),
    *(("강연", "lecture"), ("상영", "show"), ("졸업식", "graduation"), ("면접", "interview")),
    *(("수업", "class"), ("모임", "meeting"), ("촬영", "shoot"), ("훈련", "training")),
)


class Question(NamedTuple):
    """A drawn question: its text, the steps and the answer as it is written."""

    text: str
    steps: str
    answer: str


def is_leap(year: int) -> bool:
    """Whether the Gregorian year has a 29 February."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def month_length(month: int, year: int = 2001) -> int:
    """Days of a month (1–12), by default in a common year."""
    return 29 if month == 2 and is_leap(year) else _LENGTHS[month - 1]


def _day(language: Language, day: int) -> str:
    return f"{_KO_DAYS[day % 7]}요일" if language == "ko" else _EN_DAYS[day % 7]


def _short(language: Language, day: int) -> str:
    return _KO_DAYS[day] if language == "ko" else _EN_DAYS[day][:3]


def _month(language: Language, month: int) -> str:
    return f"{month}월" if language == "ko" else _EN_MONTHS[month - 1]


def _date(language: Language, month: int, day: int) -> str:
    return f"{month}월 {day}일" if language == "ko" else f"{_EN_MONTHS[month - 1]} {day}"


def _clock(language: Language, minutes: int) -> str:
    hour, minute = divmod(minutes, 60)
    if language == "en":
        return f"{hour}:{minute:02}"
    return f"{hour}시 {minute}분" if minute else f"{hour}시"


def _weekday_steps(language: Language, today: int, days: int, sign: str, prefix: str = "") -> str:
    """Whole weeks away first, then the rest counted from today."""
    if days >= 7:
        prefix += f"{days}-{days - days % 7}={days % 7},"
    return f"{prefix}{_short(language, today)}{sign}{days % 7}"


def _days_of(draw: Draw, level: int) -> int:
    low, high = ((1, 6), (7, 30), (31, 99))[level - 1]
    return draw.between(low, high)


def _weekday_after(draw: Draw, language: Language, level: int) -> Question:
    today, days = draw.below(7), _days_of(draw, level)
    ko_event, en_event = draw.pick(_EVENTS)
    name = _day(language, today)
    text = (
        f"오늘은 {name}이고 {ko_event}은 {days}일 뒤입니다. 무슨 요일입니까?"
        if language == "ko"
        else f"Today is {name}. The {en_event} is in {days} day{'s'[: days > 1]}. What day is that?"
    )
    return Question(text, _weekday_steps(language, today, days, "+"), _day(language, today + days))


def _weekday_before(draw: Draw, language: Language, level: int) -> Question:
    today, days = draw.below(7), _days_of(draw, level)
    ko_event, en_event = draw.pick(_EVENTS)
    name = _day(language, today)
    text = (
        f"오늘은 {name}입니다. {days}일 전 {ko_event}은 무슨 요일이었습니까?"
        if language == "ko"
        else f"Today is {name}. The {en_event} was {days} day{'s'[: days > 1]} ago. "
        "What day was that?"
    )
    return Question(text, _weekday_steps(language, today, days, "-"), _day(language, today - days))


_NEAR: Final = (
    ("내일", "tomorrow", 1),
    ("모레", "the day after tomorrow", 2),
    ("어제", "yesterday", -1),
    ("그저께", "the day before yesterday", -2),
)


def _weekday_near(draw: Draw, language: Language, level: int) -> Question:
    del level
    today = draw.below(7)
    korean, english, shift = draw.pick(_NEAR)
    ko_event, en_event = draw.pick(_EVENTS)
    name = _day(language, today)
    if language == "ko":
        end = ("있었습니다", "이었습니까") if shift < 0 else ("있습니다", "입니까")
        text = f"오늘은 {name}입니다. {korean} {ko_event}이 {end[0]}. 무슨 요일{end[1]}?"
    else:
        verb = "was" if shift < 0 else "is"
        text = f"Today is {name}. The {en_event} {verb} {english}. What day {verb} that?"
    return Question(text, f"{_short(language, today)}{shift:+}", _day(language, today + shift))


def _weekday_event(draw: Draw, language: Language, level: int) -> Question:
    today, days = draw.below(7), _days_of(draw, level)
    (ko_first, en_first), (ko_then, en_then) = draw.shuffled(_EVENTS)[:2]
    name = _day(language, today)
    text = (
        f"{ko_first}은 {name}이고 {ko_then}은 그 {days}일 뒤입니다. {ko_then}은 무슨 요일입니까?"
        if language == "ko"
        else f"The {en_first} is on {name}, the {en_then} {days} days later. "
        f"What day is the {en_then}?"
    )
    return Question(text, _weekday_steps(language, today, days, "+"), _day(language, today + days))


def _weekday_date(draw: Draw, language: Language, level: int) -> Question:
    month, first, today = draw.between(1, 12), draw.between(1, 7), draw.below(7)
    days = draw.between(1, 6) if level == 2 else draw.between(7, 21)
    start, end = _date(language, month, first), _date(language, month, first + days)
    name = _day(language, today)
    text = (
        f"{start}은 {name}입니다. {end}은 무슨 요일입니까?"
        if language == "ko"
        else f"{start} is a {name}. What day is {end}?"
    )
    steps = _weekday_steps(language, today, days, "+", f"{first + days}-{first}={days},")
    return Question(text, steps, _day(language, today + days))


def _month_after(draw: Draw, language: Language, level: int) -> Question:
    month = draw.between(1, 10) if level == 1 else draw.between(7, 12)
    low, high = (1, min(9, 12 - month)) if level == 1 else (13 - month, 11)
    months = draw.between(low, high)
    total = month + months
    steps = f"{month}+{months}={total}"
    if total > 12:
        steps += f",{total}-12={total - 12}"
    name = _month(language, month)
    ko_event, en_event = draw.pick(_EVENTS)
    text = (
        f"지금은 {name}이고 {ko_event}은 {months}개월 뒤입니다. 몇 월입니까?"
        if language == "ko"
        else f"The {en_event} is {months} month{'s'[: months > 1]} after {name}. What month?"
    )
    return Question(text, steps, _month(language, (total - 1) % 12 + 1))


def _ask_date(language: Language, start: str, days: int, *, later: bool) -> str:
    if language == "ko":
        return f"{start}에서 {days}일 {'뒤는' if later else '전은'} 몇 월 며칠입니까?"
    plural = "s"[: days > 1]
    return f"What date is {days} day{plural} {'after' if later else 'before'} {start}?"


def _date_after(draw: Draw, language: Language, level: int) -> Question:
    """Within a month, into the next one, or over two month ends."""
    # February is left to the questions that name a year.
    month = draw.pick((3, 4, 5, 6, 7, 8, 9, 10) if level == 3 else (3, 4, 5, 6, 7, 8, 9, 10, 11))
    length = month_length(month)
    if level == 1:
        day = draw.between(1, 19)
        days = draw.between(1, 9)
    elif level == 2:
        day = draw.between(15, length)
        days = draw.between(length - day + 1, 28)
    else:
        day = draw.between(15, length)
        beyond = length + month_length(month + 1) - day
        days = beyond + draw.between(1, 20)
    text = _ask_date(language, _date(language, month, day), days, later=True)
    total = day + days
    steps = f"{day}+{days}={total}"
    while total > month_length(month):
        rest = total - month_length(month)
        steps += f",{total}-{month_length(month)}={rest}"
        month, total = month + 1, rest
    return Question(text, steps, _date(language, month, total))


def _date_before(draw: Draw, language: Language, level: int) -> Question:
    month = draw.pick((4, 5, 6, 7, 8, 9, 10, 11, 12))
    if level == 1:
        day = draw.between(11, 28)
        days = draw.between(1, 9)
        steps, answer = f"{day}-{days}={day - days}", _date(language, month, day - days)
    else:
        day = draw.between(1, 15)
        days = draw.between(day, 28)
        length = month_length(month - 1)
        total = length + day
        steps = f"{length}+{day}={total},{total}-{days}={total - days}"
        answer = _date(language, month - 1, total - days)
    text = _ask_date(language, _date(language, month, day), days, later=False)
    return Question(text, steps, answer)


def _leap_date(draw: Draw, language: Language, level: int) -> Question:
    """Across the end of February of a named year; half the years are leap years."""
    del level
    kind = draw.below(6)
    if kind == 0:
        year = draw.pick((1600, 2000, 2400, 1700, 1800, 1900, 2100, 2200))
    else:
        year = 4 * draw.between(476, 524) + (draw.between(1, 3) if kind % 2 else 0)
    length = month_length(2, year)
    later = draw.below(2) == 1
    if later:
        day = draw.between(20, 28)
        days = draw.between(length - day + 1, 15)
        total = day + days
        steps = f"{day}+{days}={total},{total}-{length}={total - length}"
        month, answer = 2, _date(language, 3, total - length)
    else:
        day = draw.between(1, 9)
        days = draw.between(day, 15)
        total = length + day
        steps = f"{length}+{day}={total},{total}-{days}={total - days}"
        month, answer = 3, _date(language, 2, total - days)
    start = _date(language, month, day)
    start = f"{year}년 {start}" if language == "ko" else f"{start}, {year}"
    return Question(_ask_date(language, start, days, later=later), steps, answer)


def _clock_after(draw: Draw, language: Language, level: int) -> Question:
    """Whole hours, then minutes that may pass the hour, then more than an hour."""
    # No answer passes 12:59, where a 12-hour and a 24-hour clock part.
    hour = draw.between(1, (11, 11, 9)[level - 1])
    ko_event, en_event = draw.pick(_EVENTS)
    if level == 1:
        hours = draw.between(1, 12 - hour)
        text = (
            f"{ko_event}은 {hour}시에 시작해 {hours}시간 걸립니다. 몇 시에 끝납니까?"
            if language == "ko"
            else f"The {en_event} starts at {hour}:00 and takes {hours} "
            f"hour{'s'[: hours > 1]}. When does it end?"
        )
        return Question(
            text, f"{hour}+{hours}={hour + hours}", _clock(language, (hour + hours) * 60)
        )
    minute = draw.between(1, 11) * 5
    added = (draw.between(1, 11) if level == 2 else draw.between(13, 27)) * 5
    total = minute + added
    steps = f"{minute}+{added}={total}"
    rest = total
    if total >= 60:
        rest = total % 60
        steps += f",{total}-{total - rest}={rest},{hour}+{total // 60}={hour + total // 60}"
    start = _clock(language, hour * 60 + minute)
    text = (
        f"{start}에서 {added}분 뒤는 몇 시 몇 분입니까?"
        if language == "ko"
        else f"What time is {added} minutes after {start}?"
    )
    return Question(text, steps, _clock(language, hour * 60 + total))


def _duration(draw: Draw, language: Language, level: int) -> Question:
    hour = draw.between(1, 12)
    ko_event, en_event = draw.pick(_EVENTS)
    if level == 1:
        hours = draw.between(1, 11)
        text = (
            f"{ko_event}은 {hour}시부터 {hour + hours}시까지입니다. 몇 시간입니까?"
            if language == "ko"
            else f"The {en_event} is from {hour}:00 to {hour + hours}:00. How many hours?"
        )
        return Question(text, f"{hour + hours}-{hour}={hours}", str(hours))
    begin, end = draw.between(1, 11) * 5, draw.between(1, 11) * 5
    hours = 1 if level == 2 else draw.between(2, 3)
    total = 60 * hours + end
    first = _clock(language, hour * 60 + begin)
    last = _clock(language, (hour + hours) * 60 + end)
    text = (
        f"{first}부터 {last}까지는 몇 분입니까?"
        if language == "ko"
        else f"How many minutes are there from {first} to {last}?"
    )
    steps = (
        f"{hour + hours}-{hour}={hours},{60 * hours}+{end}={total},{total}-{begin}={total - begin}"
    )
    return Question(text, steps, str(total - begin))


def _weeks(draw: Draw, language: Language, level: int) -> Question:
    weeks = draw.between(2, 12)
    ko_event, en_event = draw.pick(_EVENTS)
    days = 0 if level == 1 else draw.between(1, 6)
    steps = f"{weeks}*7={weeks * 7}" + (f",{weeks * 7}+{days}={weeks * 7 + days}" if days else "")
    if language == "ko":
        rest = f"와 {days}일이" if days else "가"
        text = f"{ko_event}까지 {weeks}주{rest} 남았습니다. 모두 며칠입니까?"
    else:
        rest = f" and {days} day{'s'[: days > 1]}" if days else ""
        text = f"The {en_event} is in {weeks} weeks{rest}. How many days?"
    return Question(text, steps, str(weeks * 7 + days))


class Template(NamedTuple):
    """A kind of question and the levels it exists at."""

    name: str
    levels: tuple[int, ...]
    build: Callable[[Draw, Language, int], Question]


TEMPLATES: Final = (
    Template("weekday-near", (1,), _weekday_near),
    Template("weekday-after", (1, 2, 3), _weekday_after),
    Template("weekday-before", (1, 2), _weekday_before),
    Template("weekday-event", (2,), _weekday_event),
    Template("weekday-date", (3,), _weekday_date),
    Template("month-after", (1, 2), _month_after),
    Template("date-after", (1, 2, 3), _date_after),
    Template("date-before", (1, 2), _date_before),
    Template("leap-date", (3,), _leap_date),
    Template("clock-after", (1, 2, 3), _clock_after),
    Template("duration", (1, 2, 3), _duration),
    Template("weeks", (1, 2), _weeks),
)


def generate(language: Language, draw: Draw) -> Item:
    """Build one item; see the module."""
    level = draw.between(1, 3)
    template = draw.pick([each for each in TEMPLATES if level in each.levels])
    question = template.build(draw, language, level)
    frame = "질문: {}\n답:" if language == "ko" else "Question: {}\nAnswer:"
    answer = parse(question.answer)
    if answer is None:  # pragma: no cover - a template that cannot be marked
        raise AssertionError(f"{template.name}: {question.answer!r} cannot be parsed")
    return Item(
        template=template.name,
        level=level,
        context=frame.format(question.text),
        answer=answer,
        solution=f" {question.steps};{question.answer}",
        max_tokens=MAX_TOKENS,
    )


_NAMES: Final = "|".join(_EN_MONTHS)
_ANSWER: Final = re.compile(
    rf"""
    (?P<ko_day>[월화수목금토일])요일
    | (?P<ko_half>오전|오후)?\s*(?P<ko_hour>\d+)\s*시(?!간)(?:\s*(?P<ko_minute>\d+)\s*분)?
    | (?P<ko_month>\d+)\s*월(?:\s*(?P<ko_date>\d+)\s*일)?
    | (?P<en_day>{"|".join(_EN_DAYS)})
    | (?P<date_first>\d+)(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month_last>{_NAMES})
    | (?P<month>{_NAMES})(?:\s+(?P<date>\d{{1,2}})(?!\d)(?:st|nd|rd|th)?(?:,?\s+\d{{4}})?)?
    | (?P<hour>\d+):(?P<minute>\d\d)\s*(?P<half>[ap]\.?m\b)?
    | (?P<o_clock>\d+)\s*o['’]clock
    | (?P<number>\d+)
    """,
    re.VERBOSE | re.IGNORECASE,
)


def parse(text: str) -> str | None:
    """The date, weekday, time or number that answers; see the module for its form.

    It is the last one after the last `;` of the first written line, or of the whole line.
    """
    stripped = text.strip()
    if not stripped:
        return None
    found = list(_ANSWER.finditer(stripped.splitlines()[0].rpartition(";")[2]))
    return _canonical(found[-1]) if found else None


def _canonical(match: re.Match[str]) -> str:
    part = match.groupdict()
    if part["ko_day"]:
        return f"{part['ko_day']}요일"
    if part["en_day"]:
        return part["en_day"].capitalize()
    if part["ko_month"]:
        month = str(int(part["ko_month"])) + "월"
        return f"{month} {int(part['ko_date'])}일" if part["ko_date"] else month
    if part["month"] or part["month_last"]:
        date = part["date"] or part["date_first"]
        name = (part["month"] or part["month_last"]).capitalize()
        return f"{name} {int(date)}" if date else name
    hour = part["ko_hour"] or part["hour"] or part["o_clock"]
    if hour is None:
        return str(int(part["number"]))
    afternoon = part["ko_half"] == "오후" or (part["half"] or "").lower().startswith("p")
    shifted = int(hour) + (12 if afternoon and int(hour) < 12 else 0)
    return f"{shifted}:{int(part['ko_minute'] or part['minute'] or 0):02}"
