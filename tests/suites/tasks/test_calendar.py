"""Calendar answers agree with the standard library, and lenient marks where one may be."""

import calendar as stdlib_calendar
import datetime as dt
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.suites.tasks import calendar, item_at
from harness.suites.tasks.base import Item, Setting
from harness.suites.tasks.dates import (
    clock_text,
    date_text,
    is_leap,
    month_length,
    read,
    read_whole,
)
from harness.suites.tasks.hangul import particle

SEED = hashlib.sha256(b"tests of calendar").digest()
LANGUAGES = ("ko", "en")
KO_DAYS = "월화수목금토일"
EN_DAYS = tuple(stdlib_calendar.day_name)
MONTHS = tuple(stdlib_calendar.month_name)[1:]
SPANS = {
    "하루": 1,
    "이틀": 2,
    "사흘": 3,
    "나흘": 4,
    "닷새": 5,
    "엿새": 6,
    "이레": 7,
    "여드레": 8,
    "아흐레": 9,
    "열흘": 10,
    "보름": 15,
    "one day": 1,
    "one week": 7,
    "two weeks": 14,
    "two days": 2,
    "three days": 3,
    "four days": 4,
    "five days": 5,
    "six days": 6,
    "eight days": 8,
    "nine days": 9,
    "ten days": 10,
}
NEAR = {
    "내일": 1,
    "모레": 2,
    "어제": 1,
    "그저께": 2,
    "the day after tomorrow": 2,
    "the day before yesterday": 2,
    "tomorrow": 1,
    "yesterday": 1,
}
NATIVE_HOURS = {
    "한": 1,
    "두": 2,
    "세": 3,
    "네": 4,
    "다섯": 5,
    "여섯": 6,
    "일곱": 7,
    "여덟": 8,
    "아홉": 9,
    "열": 10,
    "열한": 11,
    "열두": 12,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
}
NTH = {"첫째": 0, "둘째": 1, "셋째": 2, "넷째": 3, "first": 0, "second": 1, "third": 2, "fourth": 3}


def items(language, form="free", count=2500):
    setting = Setting(language=language, form=form)
    return [item_at("calendar", setting, index, SEED) for index in range(count)]


def question_of(item):
    return re.sub(r"^(질문|Question): |\n[^\n]*$", "", item.context)


def named(table, pattern, text):
    """The value of the first word of a table that a text has where the pattern says."""
    return next((table[word] for word in table if re.search(pattern.format(word), text)), None)


class Facts:
    """What a question says, found without the modules under test."""

    def __init__(self, text: str) -> None:
        names, months = "|".join(EN_DAYS), "|".join(MONTHS)
        self.text = text
        self.days = [
            KO_DAYS.index(ko) if ko else EN_DAYS.index(en)
            for ko, en in re.findall(rf"([{KO_DAYS}])요일|({names})", text)
        ]
        self.dates = [(int(m), int(d)) for m, d in re.findall(r"(\d+)월 (\d+)일", text)]
        english = re.findall(rf"({months}) (\d+)", text)
        self.dates += [(MONTHS.index(name) + 1, int(day)) for name, day in english]
        self.months = [int(m) for m in re.findall(r"(\d+)월", text)]
        self.months += [MONTHS.index(name) + 1 for name in re.findall(months, text)]
        self.years = [int(y) for y in re.findall(r"\b((?:1[5-9]|2\d)\d\d)(?:년|\b)", text)]
        self.clocks = [
            60 * int(h) + int(m or 0) for h, m in re.findall(r"(\d+)시(?!간)(?: (\d+)분)?", text)
        ]
        self.clocks += [60 * int(h) + int(m) for h, m in re.findall(r"(\d+):(\d\d)", text)]
        rest = re.sub(r"\d+:\d\d|\d+시(?!간)(?: \d+분)?|\d+월 \d+일|\d{4}년?", " ", text)
        rest = re.sub(rf"(?:{months}) \d+|Lesson 1|1교시", " ", rest)
        self.numbers = [int(found) for found in re.findall(r"\d+", rest)]
        self.span = named(SPANS, r"{}\b", text)
        self.near = named(NEAR, "{}", text)
        self.hours = named(NATIVE_HOURS, r"\b{} (?:시간|hours)", text)
        self.nth = named(NTH, "{}", text)

    def start(self):
        return dt.date(self.years[0] if self.years else 2001, *self.dates[0])


def next_year(f):
    assert f.start().weekday() == f.days[0]
    return f.start().replace(year=f.start().year + 1).weekday()


def nth_weekday(f):
    return [day for day in range(1, 32) if (f.days[0] + day - 1) % 7 == f.days[1]][f.nth]


def timetable(f):
    subject = re.search(r"다음 (\S+) 수업|next (\S+) lesson", f.text)
    pairs = re.findall(r"(\S)요일에 (\S+?)[, ]", f.text)
    pairs += re.findall(rf"({'|'.join(EN_DAYS)}) ([A-Za-z]+)", f.text)
    days = dict(zip((what for _, what in pairs), f.days, strict=False))
    assert len(days) == 3
    assert f.days[3] in days.values()
    return (days[subject[1] or subject[2]] - f.days[3]) % 7


def date(f, sign):
    end = f.start() + dt.timedelta(days=sign * f.numbers[0])
    return 100 * end.month + end.day


def until(f):
    return (dt.date(f.start().year, *f.dates[1]) - f.start()).days


SOLVE = {
    "weekday-date": ("day", lambda f: (f.days[0] + f.dates[1][1] - f.dates[0][1]) % 7),
    "weekday-month-end": (
        "day",
        lambda f: (f.days[0] + stdlib_calendar.monthrange(2001, f.dates[0][0])[1] - 1) % 7,
    ),
    "weekday-next-year": ("day", next_year),
    "nth-weekday": ("number", nth_weekday),
    "timetable": ("number", timetable),
    "month-after": ("month", lambda f: (f.months[0] - 1 + f.numbers[-1]) % 12 + 1),
    "month-before": ("month", lambda f: (f.months[0] - 1 - f.numbers[-1]) % 12 + 1),
    "date-after": ("date", lambda f: date(f, 1)),
    "date-before": ("date", lambda f: date(f, -1)),
    "leap-after": ("date", lambda f: date(f, 1)),
    "leap-before": ("date", lambda f: date(f, -1)),
    "days-until": ("number", until),
    "leap-until": ("number", until),
    "leap-next": (
        "number",
        lambda f: next(y for y in range(f.years[0] + 1, 3000) if stdlib_calendar.isleap(y)),
    ),
    "leap-count": ("number", lambda f: stdlib_calendar.leapdays(f.years[0], f.years[1] + 1)),
    "clock-hours": ("clock", lambda f: f.clocks[0] + 60 * f.numbers[0]),
    "clock-minutes": ("clock", lambda f: f.clocks[0] + f.numbers[0]),
    "clock-before": ("clock", lambda f: f.clocks[0] - f.numbers[0]),
    "train": ("clock", lambda f: f.clocks[0] + 60 * f.numbers[0] + f.numbers[1]),
    "bus": (
        "clock",
        lambda f: next(t for t in range(f.clocks[0], 999, f.numbers[0]) if t > f.clocks[1]),
    ),
    "lessons": (
        "clock",
        lambda f: f.clocks[0] + (f.numbers[2] - 1) * (f.numbers[0] + f.numbers[1]),
    ),
    "duration-hours": ("number", lambda f: (f.clocks[1] - f.clocks[0]) // 60),
    "duration-minutes": ("number", lambda f: f.clocks[1] - f.clocks[0]),
    "weeks": ("number", lambda f: 7 * f.numbers[0]),
    "weeks-days": ("number", lambda f: 7 * f.numbers[0] + f.numbers[1]),
    "hours-native": ("number", lambda f: 60 * f.hours),
    "hours-minutes": ("number", lambda f: 60 * f.numbers[0] + f.numbers[1]),
    "days-native": ("number", lambda f: 24 * f.span),
}


def solved(item: Item, language: str) -> str:
    """The answer by the standard library, as it should be written."""
    facts = Facts(question_of(item))
    if item.template in SOLVE:
        kind, solve = SOLVE[item.template]
        value = solve(facts)
    else:
        days = facts.near or facts.span or facts.numbers[0]
        sign = -1 if item.template in {"weekday-yesterday", "weekday-before"} else 1
        kind, value = "day", (facts.days[0] + sign * days) % 7
    korean = language == "ko"
    high, low = divmod(value, 60 if kind == "clock" else 100)
    if kind == "clock":
        assert 1 <= high <= 12
        if korean:
            return f"{high}시 {low}분" if low else f"{high}시"
        return f"{high}:{low:02}"
    return {
        "day": lambda: f"{KO_DAYS[value]}요일" if korean else EN_DAYS[value],
        "month": lambda: f"{value}월" if korean else MONTHS[value - 1],
        "date": lambda: f"{high}월 {low}일" if korean else f"{MONTHS[high - 1]} {low}",
        "number": lambda: str(value),
    }[kind]()


@pytest.mark.parametrize("form", ["choice", "free"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_agree_with_the_standard_library(language, form):
    for item in items(language, form):
        assert item.answer.strip() == solved(item, language), item


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_step_is_right(language):
    for item in items(language):
        steps = item.solution.rpartition(";")[0]
        for a, operator, b, result in re.findall(r"(\d+)([-+*])(\d+)=(\d+)", steps):
            right = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[operator]
            assert right == int(result), item
        last = re.search(r"=(\d+)$", steps)
        if last and item.answer.isdigit():
            assert last[1] == item.answer, item


def test_korean_questions_are_grammatical():
    for form in ("choice", "free"):
        for item in items("ko", form):
            text = question_of(item)
            for part in re.split(r"(?<=[.?]) ", text):
                assert part.endswith(("니다.", "니까?")), text
            for word, written in re.findall(r"([가-힣\d]+?)([은는]|[이가])(?= )", text):
                if word[-1] in "일시분회험풍연식강접임영련제초새틀흘날" and written in "은는이가":
                    pair = "은/는" if written in "은는" else "이/가"
                    assert written == particle(word, pair), (word, text)
            assert not re.search(r"\d(?:두|세|네) |[하둘셋넷]나? 시간", text)
            past = re.search(r"어제|그저께|일 전이|전에 있었", text)
            if past:
                assert re.search(r"이었습니까\?$|있었습니까\?$", text), text


def test_native_hours_and_days_are_words():
    hours, spans = set(), set()
    for item in items("ko"):
        text = question_of(item)
        if item.template == "hours-native":
            hours.add(re.search(r"(\S+) 시간", text)[1])
        elif item.template == "days-native":
            spans.add(re.search(r"(\S+) 동안", text)[1])
    assert hours <= set(NATIVE_HOURS)
    assert len(hours) > 8
    assert spans <= set(SPANS)


def test_english_plurals():
    for form in ("choice", "free"):
        for item in items("en", form):
            text = question_of(item)
            assert not re.search(r"(?<!\d)1 (?:days|months|hours|minutes|weeks)", text), text
            assert not re.search(
                r"(?<![\d:])(?:[2-9]|\d\d) (?:day|month|hour|minute|week)\b", text
            ), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_stay_short(language):
    most = 150 if language == "ko" else 350
    for form in ("choice", "free"):
        assert all(len(item.context + item.solution) <= most for item in items(language, form, 900))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("rank", range(4))
def test_no_place_in_the_order_of_choices_is_right_more_often(language, rank):
    right = total = 0
    for item in items(language, "choice"):
        found = [read_whole(choice.strip()) for choice in item.choices]
        assert len({each.kind for each in found}) == 1
        if found[0].kind == "day":
            continue
        ordered = sorted(range(4), key=lambda i: found[i].value)
        right += item.choices[ordered[rank]] == item.answer
        total += 1
    assert abs(right / total - 0.25) < 0.06


def test_wrong_dates_exist():
    for language in LANGUAGES:
        for item in items(language, "choice"):
            for choice in item.choices:
                found = read_whole(choice.strip())
                if found.kind == "date" and found.value % 100:
                    month, day = divmod(found.value, 100)
                    assert day <= month_length(month, 2000)


@given(st.integers(1, 4000))
def test_leap_years_agree_with_the_standard_library(year):
    assert is_leap(year) == stdlib_calendar.isleap(year)
    for month in range(1, 13):
        assert month_length(month, year) == stdlib_calendar.monthrange(year, month)[1]


@given(st.sampled_from(LANGUAGES), st.integers(0, 24 * 60 - 1), st.integers(1, 12))
def test_what_is_written_is_read(language, minutes, month):
    assert read_whole(clock_text(language, minutes))[:2] == ("clock", minutes)
    day = month_length(month)
    assert read_whole(date_text(language, month, day))[:2] == ("date", 100 * month + day)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("화+3;금요일", ("day", 4)),
        ("오늘이 화요일이므로 3일 뒤는 금요일", ("day", 4)),
        ("a friday", ("day", 4)),
        ("March 5 is a Friday", ("day", 4)),
        ("2월03일", ("date", 203)),
        ("11월", ("date", 1100)),
        ("February 3rd", ("date", 203)),
        ("the 3rd of February", ("date", 203)),
        ("3 February", ("date", 203)),
        ("february", ("date", 200)),
        ("February 3, 2024", ("date", 203)),
        ("2024년 2월 3일", ("date", 203)),
        ("15시 5분", ("clock", 905)),
        ("오후 3시 5분", ("clock", 905)),
        ("오후 12시", ("clock", 720)),
        ("오전 9시", ("clock", 540)),
        ("7시", ("clock", 420)),
        ("15:05", ("clock", 905)),
        ("3:05 p.m.", ("clock", 905)),
        ("7 o'clock", ("clock", 420)),
        ("4시간", ("number", 4)),
        ("2시간 35분", ("number", 155)),
        ("2 hours and 35 minutes", ("number", 155)),
        ("35 minutes", ("number", 35)),
        ("2024년", ("number", 2024)),
    ],
)
def test_the_last_thing_read(text, expected):
    assert read(text)[-1][:2] == expected


@pytest.mark.parametrize("text", ["", "모르겠습니다", "a", "12.5", "요일"])
def test_nothing_to_read(text):
    assert read(text) == []


@pytest.mark.parametrize(
    ("answer", "text", "strict", "loose"),
    [
        ("금요일", " 화+3;금요일", True, True),
        ("금요일", "금요일", True, True),
        ("금요일", " 금요일입니다.", False, True),
        ("금요일", "오늘이 화요일이므로 3일 뒤는 금요일입니다.", False, True),
        ("금요일", "**금요일**", False, True),
        ("금요일", "금요일\n(화요일에서 3일 뒤)", False, False),
        ("금요일", "금요일\n3일 뒤이기 때문입니다.", False, True),
        ("금요일", "목요일", False, False),
        ("금요일", "목요일 또는 금요일", False, False),
        ("금요일", "금", False, False),
        ("Friday", "friday", True, True),
        ("Friday", "It is Friday.", False, True),
        ("Friday", "Thursday or Friday", False, False),
        ("2월 3일", " 28+6=34,34-31=3;2월 3일", True, True),
        ("2월 3일", "2월3일", True, True),
        ("2월 3일", "2024년 2월 3일입니다.", False, True),
        ("2월 3일", "2월", False, False),
        ("2월 3일", "3월 2일", False, False),
        ("2월", "2월", True, True),
        ("2월", "2월입니다", False, True),
        ("2월", "2월 3일", False, False),
        ("February 3", "February 3rd", True, True),
        ("February 3", "3 February", True, True),
        ("February 3", "It is February 3, 2024.", False, True),
        ("February 3", "February 4", False, False),
        ("3시 5분", "3시 5분", True, True),
        ("3시 5분", "3:05", True, True),
        ("3시 5분", "3시 5분입니다.", False, True),
        ("3시 5분", "오후 3시 5분", False, True),
        ("3:05", "3:05 a.m.", True, True),
        ("3:05", "At 3:05.", False, True),
        ("3:05", "3:05 p.m.", False, True),
        ("4시", "4시", True, True),
        ("4시", "4", False, False),
        ("155", "155", True, True),
        ("155", "155분", False, True),
        ("155", "2시간 35분", False, True),
        ("155", "155 minutes", False, True),
        ("35", "2시간 35분", False, False),
        ("4", "4시간입니다.\n5시간", False, False),
        ("17", "17일입니다.", False, True),
        ("2024", "2024년입니다.", False, True),
        ("2024", "", False, False),
        ("2024", "모르겠습니다", False, False),
    ],
)
def test_marks_by_hand(answer, text, strict, loose):
    item = Item(template="", level=1, context="", answer=answer)
    found = calendar.mark(text, item)
    assert (found.strict, found.loose) == (strict, loose)


def test_questions_say_how_to_answer():
    for language, how in (("ko", "쓰세요."), ("en", "Write only")):
        for item in items(language, count=100):
            assert item.question.startswith(question_of(item))
            assert how in item.question
