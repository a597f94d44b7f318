"""Markers read lenient answers, refuse hedges and survive what a model may write."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.suites.tasks import item_at, load_task
from harness.suites.tasks.base import Setting
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.marking import bare, is_hedge, last_part, lines_from_last, number_in
from harness.suites.tasks.near import corners

TASKS = ("arith", "calendar", "josa", "pairs")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("125", "125"),
        ('"125"', "125"),
        ("**125**", "125"),
        ("정답: 125", "125"),
        ("정답은 125입니다.", "125"),
        ("답: '는'", "는"),
        ("Answer: **an**", "an"),
        ("The answer is an.", "an"),
        ("1. 사과는 좋습니다.", "사과는 좋습니다"),
        ("(가) 사과는 좋습니다.", "사과는 좋습니다"),
        ("- 사과는 좋습니다.", "사과는 좋습니다"),
        ("1.5", "1.5"),
        ("", ""),
    ],
)
def test_bare_lines(line, expected):
    assert bare(line, courtesy=line.startswith("정답은")) == expected


def test_parts_and_lines_come_from_the_end():
    assert last_part("1+1=2;2;3") == "3"
    assert last_part(" 3 ") == "3"
    assert list(lines_from_last("a;b\n\nc\n d ; e ")) == ["e", "c", "b"]
    assert sum(map(len, lines_from_last("a\n" * 50_000))) <= 4000


@pytest.mark.parametrize("between", [" 또는 ", "/", " or ", "' 혹은 '", " 아니면 "])
def test_hedges(between):
    assert is_hedge(between)


@pytest.mark.parametrize("between", [" 더하기 ", "+", "가 아니라 ", ", ", " and ", ""])
def test_no_hedges(between):
    assert not is_hedge(between)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (" 57 더하기 68은 125입니다.", "125"),
        ("57+68=125", "125"),
        ("1,250원", "1250"),
        ("약 3만 2천 원", "32000"),
        ("125.0", "125"),
        ("3.5", "3.5"),
        ("10-3", "3"),
        ("-3", "-3"),
        ("007", "7"),
        ("-0", "0"),
        ("125 또는 126", "?"),
        ("125/126", "?"),
        ("모릅니다", None),
        ("", None),
    ],
)
def test_numbers_in_a_line(line, expected):
    assert number_in(line) == expected


HOSTILE = (
    *("\x00" * 100_000, "1" * 100_000, "a" * 100_000, "가" * 100_000, "\n" * 100_000),
    *(" " * 100_000, ";" * 100_000, "1," * 50_000, "오전 " * 30_000, "12 시 " * 20_000),
    *("3만 " * 30_000, "one hundred " * 10_000, "'는' " * 20_000, "이백" * 50_000, "/" * 100_000),
    *("２０２４", "٣٤", "\ud800", "²", "1" * 5000 + "시", "99월 99일", "99:99", "정답: " * 20_000),
)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("language", ["ko", "en"])
def test_hostile_answers_are_marked_quickly_and_wrong(name, language):
    task = load_task(name)
    setting = Setting(language=language, form="free")
    items = [item_at(name, setting, index) for index in range(12)]
    for text in HOSTILE:
        start = time.process_time()
        right = [task.mark(text, item).loose for item in items]
        assert time.process_time() - start < 3
        assert sum(right) <= 6
        assert not any(task.mark(text, item).strict for item in items)


@pytest.mark.parametrize("name", TASKS)
@given(text=st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_text_can_be_marked(name, text):
    for language in ("ko", "en"):
        item = item_at(name, Setting(language=language, form="free"), 3)
        found = load_task(name).mark(text, item)
        assert found.loose or not found.strict
        assert found.answered or not found.loose


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("language", ["ko", "en"])
def test_steps_before_the_answer_are_no_part_of_it(name, language):
    task = load_task(name)
    for index in range(60):
        item = item_at(name, Setting(language=language, form="free"), index)
        assert task.mark(f"1+1=2;{item.answer}", item).strict
        assert not task.mark(f"{item.answer};", item).strict


def test_wrong_values_are_corners():
    places = [0] * 4
    for index in range(2000):
        draw = Draw(b"corners", "test", index)
        others = corners(draw, 50, (1, -1), (10, -10))
        values = sorted([50, *others])
        assert values[3] - values[2] == values[1] - values[0] == 1
        places[values.index(50)] += 1
    assert all(abs(count / 2000 - 0.25) < 0.04 for count in places)


def test_corners_wrap_and_keep_to_what_is_allowed():
    for index in range(200):
        draw = Draw(b"corners", "wrap", index)
        assert all(0 <= value < 7 for value in corners(draw, 6, (1, -1), (2, -3), wrap=7))
        assert min(corners(draw, 2, (1, -1), (3, -3), allowed=lambda n: n > 0)) > 0
    with pytest.raises(ValueError, match="no wrong values beside 1"):
        corners(Draw(b"corners", "none", 0), 1, (-1,), (-2,), allowed=lambda n: n > 0)
