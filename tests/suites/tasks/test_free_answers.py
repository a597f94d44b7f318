"""Arithmetic and calendar: right by other means, and lenient where a model may be."""

import calendar as stdlib_calendar
import datetime as dt
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.suites.tasks import arith, calendar, item_at
from harness.suites.tasks.hangul import particle

SEED = hashlib.sha256(b"tests of free answers").digest()
DAYS = ("월", "화", "수", "목", "금", "토", "일")
MONTHS = tuple(stdlib_calendar.month_name)[1:]


@pytest.mark.parametrize("language", ["ko", "en"])
def test_sums_are_right_and_steps_are_their_columns(language):
    for index in range(1500):
        item = item_at("arith", language, index, SEED)
        written, steps = item.solution.strip().split("=")
        a, operator, b = re.fullmatch(r"(\d+)([-+*])(\d+)", written).groups()
        right = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[operator]
        assert item.answer == str(right)
        columns, answer = steps.split(";")
        digits = [int(value) % 10 for value in columns.split(",")]
        top = int(columns.split(",")[-1]) // 10
        value = sum(d * 10**p for p, d in enumerate(digits)) + top * 10 ** len(digits)
        assert value == right == int(answer)
        assert {a, b} <= set(re.findall(r"\d+", item.context))


@pytest.mark.parametrize(
    ("a", "operator", "b", "expected"),
    [
        (57, "+", 68, [15, 12]),
        (83, "-", 47, [6, 3]),
        (52, "-", 47, [5, 0]),
        (37, "*", 6, [42, 22]),
        (80, "*", 7, [0, 56]),
        (999, "+", 2, [11, 10, 10]),
        (5, "-", 5, [0]),
    ],
)
def test_columns_worked_by_hand(a, operator, b, expected):
    assert arith.columns(a, operator, b) == expected


def test_korean_numbers_take_their_particle():
    seen = 0
    for index in range(1500):
        item = item_at("arith", "ko", index, SEED)
        for number, form in re.findall(r"(\d+)([은는]) 얼마", item.context):
            assert form == particle(number, "은/는")
            seen += 1
    assert seen > 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" 57+68=15,12;125", "125"),
        ("125", "125"),
        (" 125입니다.", "125"),
        (" 57 더하기 68은 125입니다.", "125"),
        ("57+68=125", "125"),
        ("\n\n125\n57", "125"),
        ("1,250원", "1250"),
        ("125.0", "125"),
        ("3.5", "3.5"),
        ("10-3", "3"),
        ("-3", "-3"),
        ("007", "7"),
        ("0", "0"),
        ("-0", "0"),
        ("15,12;", None),
        ("모릅니다", None),
        ("", None),
        ("  \n ", None),
        ("5;6;7", "7"),
    ],
)
def test_arith_parse(text, expected):
    assert arith.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" 화+3;금요일", "금요일"),
        (" 금요일입니다.", "금요일"),
        ("오늘이 화요일이므로 3일 뒤는 금요일입니다.", "금요일"),
        ("Friday", "Friday"),
        ("It is a friday.", "Friday"),
        ("March 5 is a Friday.", "Friday"),
        (" 28+6=34,34-31=3;2월 3일", "2월 3일"),
        ("2월03일", "2월 3일"),
        ("11월입니다", "11월"),
        ("February 3rd", "February 3"),
        ("the 3rd of February", "February 3"),
        ("3 February", "February 3"),
        ("february", "February"),
        ("February 3, 2024", "February 3"),
        ("15시 5분", "15:05"),
        ("오후 3시 5분입니다", "15:05"),
        ("오전 9시", "9:00"),
        ("7시", "7:00"),
        ("15:05", "15:05"),
        ("3:05 p.m.", "15:05"),
        ("7 o'clock", "7:00"),
        ("4시간", "4"),
        ("4시간입니다.\n5시간", "4"),
        ("35 minutes", "35"),
        ("모르겠습니다", None),
        ("", None),
    ],
)
def test_calendar_parse(text, expected):
    assert calendar.parse(text) == expected


@given(st.integers(1, 4000))
def test_leap_years_agree_with_the_standard_library(year):
    assert calendar.is_leap(year) == stdlib_calendar.isleap(year)
    for month in range(1, 13):
        assert calendar.month_length(month, year) == stdlib_calendar.monthrange(year, month)[1]


def _numbers(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"\d+", text)]


def test_korean_dates_agree_with_the_standard_library():
    seen = 0
    for index in range(2500):
        item = item_at("calendar", "ko", index, SEED)
        if item.template not in {"date-after", "date-before", "leap-date"}:
            continue
        *year, month, day, days = _numbers(item.context)
        start = dt.date(year[0] if year else 2001, month, day)
        later = "뒤" in item.context
        end = start + dt.timedelta(days=days if later else -days)
        assert item.answer == f"{end.month}월 {end.day}일", item
        seen += 1
    assert seen > 300


def test_english_dates_agree_with_the_standard_library():
    seen = 0
    for index in range(2500):
        item = item_at("calendar", "en", index, SEED)
        if item.template not in {"date-after", "date-before", "leap-date"}:
            continue
        days, day, *year = _numbers(item.context)
        month = next(i for i, name in enumerate(MONTHS, 1) if name in item.context)
        start = dt.date(year[0] if year else 2001, month, day)
        end = start + dt.timedelta(days=days if " after " in item.context else -days)
        assert item.answer == f"{MONTHS[end.month - 1]} {end.day}", item
        seen += 1
    assert seen > 300


def test_korean_weekdays_count_in_sevens():
    seen = 0
    for index in range(2500):
        item = item_at("calendar", "ko", index, SEED)
        if not item.template.startswith("weekday"):
            continue
        today = DAYS.index(re.search(r"([월화수목금토일])요일", item.context)[1])
        near = {"내일": 1, "모레": 2, "어제": -1, "그저께": -2}
        shift = next((near[word] for word in near if word in item.context), None)
        numbers = _numbers(item.context)
        if shift is None and item.template == "weekday-date":
            shift = numbers[3] - numbers[1]
        elif shift is None:
            shift = -numbers[0] if "전" in item.context else numbers[0]
        assert item.answer == f"{DAYS[(today + shift) % 7]}요일", item
        seen += 1
    assert seen > 500


def test_durations_and_times_agree_with_minutes():
    for index in range(2500):
        item = item_at("calendar", "en", index, SEED)
        clocks = [60 * int(h) + int(m) for h, m in re.findall(r"(\d+):(\d\d)", item.context)]
        if item.template == "duration":
            minutes = clocks[1] - clocks[0]
            assert int(item.answer) == (minutes // 60 if item.level == 1 else minutes)
        elif item.template == "clock-after":
            others = _numbers(re.sub(r"\d+:\d\d", "", item.context))
            total = clocks[0] + others[0] * (60 if item.level == 1 else 1)
            assert item.answer == f"{total // 60}:{total % 60:02}"
            assert total < 13 * 60
        elif item.template == "weeks":
            weeks, *days = _numbers(item.context)
            assert int(item.answer) == 7 * weeks + sum(days)
