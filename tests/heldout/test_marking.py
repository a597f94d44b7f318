"""Free answers to an evaluator's items: strict is the answer alone, loose is right all the same."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.heldout import mark
from harness.heldout.items import free_item
from harness.heldout.marking import CHECKERS
from harness.suites.tasks.base import Item

STRICT, LOOSE, WRONG, SILENT = "strict", "loose", "wrong", "unanswered"


def asked(checker: str, *answers: str, stops: tuple[str, ...] = ("\n",)) -> Item:
    return free_item("?", "?", answers, checker, template="t", stops=stops)


def verdict(text: str, item: Item) -> str:
    found = mark(text, item)
    assert found.credit == float(found.loose)
    assert found.loose or not found.strict
    assert found.answered or not found.loose
    if found.strict:
        return STRICT
    return LOOSE if found.loose else WRONG if found.answered else SILENT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("서울", STRICT),
        (" 서울\n", STRICT),
        ("\u1109\u1165\u110b\u116e\u11af", STRICT),  # decomposed Hangul
        ("서울입니다", LOOSE),
        ("서울이에요.", LOOSE),
        ("**서울**", LOOSE),
        ("정답: 서울", LOOSE),
        ("정답은 서울입니다.", LOOSE),
        ("답: '서울'", LOOSE),
        ("서울\n한국의 수도는 서울이다.", LOOSE),
        ("서울입니다. 조선 때부터 수도였다.", LOOSE),
        ("서울시", WRONG),
        ("부산", WRONG),
        ("서울이 아니라 부산", WRONG),
        ("", SILENT),
        (" \n\t", SILENT),
    ],
)
def test_exact_in_korean(text: str, expected: str) -> None:
    assert verdict(text, asked("exact", "서울")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("New York", STRICT),
        ("NYC", STRICT),
        ("New  York", STRICT),
        ("new york", LOOSE),
        ("The answer is New York.", LOOSE),
        ("Answer: *New York*", LOOSE),
        ("final answer: nyc", LOOSE),
        ("New York City", WRONG),
        ("York", WRONG),
    ],
)
def test_exact_in_english_with_several_answers(text: str, expected: str) -> None:
    assert verdict(text, asked("exact", "New York", "NYC")) == expected


def test_an_ending_of_the_answer_itself_is_kept() -> None:
    assert verdict("대", asked("exact", "대야")) == WRONG
    assert verdict("대야", asked("exact", "대야")) == STRICT
    assert verdict("...", asked("exact", "?")) == WRONG


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1250", STRICT),
        ("1,250", STRICT),
        ("1250.0", STRICT),
        ("１２５０", STRICT),
        ("1,250원", LOOSE),
        ("1000+250=1250", LOOSE),
        ("먼저 1000, 그리고 250을 더하면 1250입니다.", LOOSE),
        ("답은 1,250.", LOOSE),
        ("1250 and then 3", WRONG),
        ("-1250", WRONG),
        ("1,250,000", WRONG),
        ("1250.5", WRONG),
        ("천이백오십", SILENT),
        ("", SILENT),
        ("9" * 5000, WRONG),
        ("١٢٥٠", WRONG),
    ],
)
def test_number(text: str, expected: str) -> None:
    assert verdict(text, asked("number", "1250")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("-7", STRICT), ("−7", STRICT), ("5-12=-7", LOOSE), ("답은-7", LOOSE), ("5-7", WRONG)],
)
def test_a_minus_is_a_sign_unless_it_joins(text: str, expected: str) -> None:
    assert verdict(text, asked("number", "-7")) == expected
    assert verdict("5-7", asked("number", "7")) == LOOSE


@pytest.mark.parametrize(
    ("answer", "text", "expected"),
    [
        ("서울", "서울", STRICT),
        ("서울", "한국의 수도는 서울이다", LOOSE),
        ("산", "부산", WRONG),
        ("10", "100", WRONG),
        ("10", "10개", LOOSE),
        ("no", "I know", WRONG),
        ("no", "No, never", LOOSE),
        ("no", "know no more", LOOSE),
        ("C++", "It is C++.", LOOSE),
        ("서울", "", SILENT),
    ],
)
def test_contains(answer: str, text: str, expected: str) -> None:
    assert verdict(text, asked("contains", answer)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B", STRICT),
        (" B\n", STRICT),
        ("B.", LOOSE),
        ("(B)", LOOSE),
        ("B. 부산", LOOSE),
        ("**B**", LOOSE),
        ("B\nA is wrong because C", LOOSE),
        ("정답은 B입니다", LOOSE),
        ("The answer is B.", LOOSE),
        ("A or C? The answer is B", LOOSE),
        ("A good guess is B", LOOSE),
        ("B입니다", LOOSE),
        ("b", SILENT),
        ("A", WRONG),
        ("A. B는 아니다", WRONG),
        ("정답: C, not B", WRONG),
        ("A or B", SILENT),
        ("부산", SILENT),
        ("Busan", SILENT),
        ("", SILENT),
    ],
)
def test_letter(text: str, expected: str) -> None:
    assert verdict(text, asked("letter", "B")) == expected


def test_an_answer_ends_at_the_first_of_several_stops() -> None:
    item = asked("exact", "Paris", stops=("\n\n", "Question:"))
    assert item.stop == "\n\n"
    assert verdict("Paris Question: and so on\n\nmore", item) == STRICT
    assert verdict("Paris", item) == STRICT


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(max_size=200),
    checker=st.sampled_from(sorted(CHECKERS)),
    answer=st.sampled_from(["서울", "42", "A", "?", "a b"]),
)
def test_whatever_was_written_gets_a_mark(text: str, checker: str, answer: str) -> None:
    if checker in {"number", "letter"}:
        answer = {"number": "42", "letter": "A"}[checker]
    verdict(text, asked(checker, answer))
    assert verdict(answer, asked(checker, answer)) == STRICT


@pytest.mark.parametrize("checker", sorted(CHECKERS))
@pytest.mark.parametrize(
    "text",
    [
        "answer" + " " * 10**6 + "x",
        "the " * 10**5,
        "1," * 10**6,
        "111," * 10**5 + "1111",
        "aA" * 10**6,
        "e\u0301\u0323" * 10**5,
        "가나" * 10**6,
        "((((((" * 10**5,
    ],
    ids=range(8),
)
def test_hostile_text_takes_no_time(checker: str, text: str) -> None:
    start = time.process_time()
    mark(text, asked(checker, {"number": "42", "letter": "A"}.get(checker, "aa")))
    assert time.process_time() - start < 2
