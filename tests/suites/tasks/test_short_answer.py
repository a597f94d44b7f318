"""Short answers: what is accepted strictly, what loosely, and what is not an answer."""

import itertools
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.suites.tasks.base import Item, Setting
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.fill import fill, near_numbers, sampled
from harness.suites.tasks.hangul import Word
from harness.suites.tasks.short_answer import VERDICTS, Ask, build, mark

NAMES = ("민수", "지수", "하준", "은별")
ENGLISH = ("Tom", "Ann", "Ben", "tea house")


def item(answer, words=()):
    check = {"words": list(words)} if words else {}
    return Item(template="t", level=1, context="c", answer=answer, check=check)


def graded(text, answer, words=()):
    found = mark(text, item(answer, words))
    return "strict" if found.strict else "loose" if found.loose else "wrong"


NUMBERS = [
    ("8", "strict"),
    (" 8\n", "strict"),
    ("8.", "strict"),
    ("3+5=8;8", "strict"),
    ("3+5=8; 8.", "strict"),
    ("8개", "loose"),
    ("8 개입니다.", "loose"),
    ("정답은 8명입니다.", "loose"),
    ("**8**", "loose"),
    ("3과 5를 더하면 8이다", "loose"),
    ("네, 답은 8번째입니다!", "loose"),
    ("8.0", "loose"),
    ("08", "loose"),
    ("답: 8\n", "loose"),
    ("8;", "loose"),
    ("The answer is 8.", "loose"),
    ("8 apples", "loose"),
    ("\\boxed{8}", "loose"),
    ("10 - 2 = 8", "loose"),
    ("8. 하지만 9일 수도 있습니다.", "wrong"),
    ("9", "wrong"),
    ("-8", "wrong"),
    ("8.5", "wrong"),
    ("18", "wrong"),
    ("8만", "wrong"),
    ("7 또는 8", "wrong"),
    ("7 or 8", "wrong"),
    ("8천 원", "wrong"),
    ("8,000", "wrong"),
    ("8, 9", "wrong"),
    ("3+5=8;9", "wrong"),
    ("여덟", "wrong"),
    ("", "wrong"),
    (";", "wrong"),
    ("모르겠습니다.", "wrong"),
]


@pytest.mark.parametrize(("text", "expected"), NUMBERS)
def test_a_number(text, expected):
    assert graded(text, "8") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3500", "strict"),
        ("3,500", "strict"),
        ("7*500=3500;3,500", "strict"),
        ("3,500원", "loose"),
        ("3,500.00원입니다.", "loose"),
        ("총 3500 원", "loose"),
        ("3,5,0,0", "wrong"),
        ("35,00", "wrong"),
        ("350", "wrong"),
        ("13,500", "wrong"),
        ("3,500,000", "wrong"),
    ],
)
def test_thousands_are_separated_or_not(text, expected):
    assert graded(text, "3500") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("지수", "strict"),
        ("지수.", "strict"),
        ("지수>민수>하준;지수", "strict"),
        ("지수입니다.", "loose"),
        ("정답은 지수입니다", "loose"),
        ("**지수**", "loose"),
        ("'지수'", "loose"),
        ("지수예요!", "loose"),
        ("지수가 가장 큽니다.", "loose"),
        ("지수 씨", "loose"),
        ("민수보다 큰 사람은 지수", "loose"),
        ("민수가 아니라 지수입니다.", "loose"),
        ("민수>하준>지수", "loose"),
        ("답:지수", "loose"),
        ("민수", "wrong"),
        ("지수 또는 민수", "wrong"),
        ("지수입니다. 민수는 두 번째입니다.", "wrong"),
        ("지수가 아닙니다", "wrong"),
        ("지수는 아니다.", "wrong"),
        ("지수보다 하준", "wrong"),
        ("김지수", "wrong"),
        ("지수함수", "wrong"),
        ("세 번째 사람", "wrong"),
        ("", "wrong"),
    ],
)
def test_a_korean_name(text, expected):
    assert graded(text, "지수", NAMES) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ann", "strict"),
        ("Tom>Ann>Ben;Ann", "strict"),
        ("ann", "loose"),
        ("Ann's", "loose"),
        ("It is Ann.", "loose"),
        ("Not Tom but Ann", "loose"),
        ("The answer is **Ann**", "loose"),
        ("Tom", "wrong"),
        ("Ann or Tom", "wrong"),
        ("Ann, because she is taller than Ben.", "wrong"),
        ("It is not Ann", "wrong"),
        ("It isn't Ann", "wrong"),
        ("Annie", "wrong"),
        ("Joann", "wrong"),
    ],
)
def test_an_english_name(text, expected):
    assert graded(text, "Ann", ENGLISH) == expected


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("예", "예", "strict"),
        ("예.", "예", "strict"),
        ("네", "예", "loose"),
        ("네, 지수도 왔습니다.", "예", "loose"),
        ("예입니다.", "예", "loose"),
        ("답은 '예'입니다", "예", "loose"),
        ("예를 들어 보겠습니다", "예", "wrong"),
        ("네 명이 왔습니다", "예", "wrong"),
        ("예린입니다", "예", "wrong"),
        ("예, 아니요", "예", "wrong"),
        ("아니요", "아니요", "strict"),
        ("아니오", "아니요", "loose"),
        ("아니요, 지수는 오지 않았습니다.", "아니요", "loose"),
        ("예가 아니요", "아니요", "loose"),
        ("알 수 없음", "알 수 없음", "strict"),
        ("알  수 없음.", "알 수 없음", "strict"),
        ("알 수 없습니다.", "알 수 없음", "loose"),
        ("지수가 왔는지는 알 수가 없다", "알 수 없음", "loose"),
        ("모릅니다", "알 수 없음", "loose"),
        ("예", "알 수 없음", "wrong"),
        ("알 수 없음", "아니요", "wrong"),
    ],
)
def test_a_korean_verdict(text, answer, expected):
    assert graded(text, answer, VERDICTS["ko"]) == expected


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("yes", "yes", "strict"),
        ("Yes.", "yes", "loose"),
        ("Yes, Ann came.", "yes", "loose"),
        ("no", "no", "strict"),
        ("No, no jund is a blim.", "no", "loose"),
        ("Yes. No jund is a blim", "yes", "loose"),
        ("nothing", "no", "wrong"),
        ("unknown", "unknown", "strict"),
        ("It cannot be determined.", "unknown", "loose"),
        ("We can't tell", "unknown", "loose"),
        ("yes or no", "yes", "wrong"),
        ("yes/no/unknown", "yes", "wrong"),
    ],
)
def test_an_english_verdict(text, answer, expected):
    assert graded(text, answer, VERDICTS["en"]) == expected


def test_decomposed_hangul_is_composed_first():
    assert graded("\u110c\u1175\u1109\u116e", "지수", NAMES) == "strict"


@pytest.mark.parametrize(
    "text",
    [
        "9" * 100_000,
        "1," * 50_000,
        "1.1" * 40_000,
        "- " * 50_000,
        "예 " * 50_000,
        "yes " * 25_000,
        " " * 100_000,
        ";" * 100_000,
        "지수가 아" * 20_000,
        "\u0301\u0316" * 50_000,
        "\u1100\u1161" * 50_000,
        "\x00\ud800" * 1000,
    ],
)
@pytest.mark.parametrize("words", [(), NAMES, VERDICTS["ko"], VERDICTS["en"]])
def test_hostile_text_costs_little_and_is_wrong(text, words):
    started = time.process_time()
    found = mark(text, item(words[0] if words else "8", words))
    assert time.process_time() - started < 0.5
    assert not found.strict


@given(st.text(max_size=400), st.sampled_from([(), NAMES, ENGLISH, VERDICTS["ko"]]))
def test_any_text_is_marked_without_an_error(text, words):
    found = mark(text, item(words[0] if words else "8", words))
    assert found.credit in {0.0, 1.0}
    assert found.loose or not found.strict


@given(st.integers(0, 10**9))
def test_any_number_is_read_back(number):
    for text in (f"{number}", f"답은 {number:,}개입니다.", f"1, 2, {number}."):
        assert graded(text, str(number)) != "wrong"


def test_a_long_explanation_may_be_loosely_right_and_is_not_strict():
    found = mark("생각해 보면 " * 1000 + "8", item("8"))
    assert found.loose
    assert not found.strict


@pytest.mark.parametrize(("form", "language"), [("choice", "ko"), ("free", "ko"), ("free", "en")])
def test_an_item_of_either_form(form, language):
    ask = Ask("t", 2, "몇 개입니까?", "8", ["6", "7", "9"], steps="3+5=8", check={"size": 1})
    made = build(Setting(language=language, form=form), Draw(b"1", "x", 0), ask)
    assert (made.template, made.level, made.check) == ("t", 2, {"size": 1})
    if form == "choice":
        assert sorted(made.choices) == [" 6", " 7", " 8", " 9"]
        assert made.answer == made.solution == " 8"
        assert made.context == "질문: 몇 개입니까?\n정답:"
    else:
        how = {"ko": "숫자만 쓰세요.", "en": "Write only the number."}[language]
        assert made.question == f"몇 개입니까? {how}"
        assert (made.answer, made.solution, made.max_tokens) == ("8", " 3+5=8;8", 24)


def test_how_an_answer_is_to_be_written():
    assert Ask("t", 1, "", "민수", [], ["민수"]).how("ko") == "답만 쓰세요."
    verdict = Ask("t", 1, "", "예", [], VERDICTS["ko"])
    assert verdict.how("ko") == "예, 아니요, 알 수 없음 가운데 하나만 쓰세요."
    assert Ask("t", 1, "", "no", [], VERDICTS["en"]).how("en") == "Write only yes, no or unknown."
    assert Ask("t", 1, "", "1", [], steps="x" * 40).max_tokens == 86


def test_slots_bring_their_particle():
    filled = fill("{who:은/는} {n:이라고/라고} 썼다.", who="은별", n=3)
    assert filled == "은별은 3이라고 썼다."
    assert (
        fill("{who:은/는} {city:으로/로} 갔다.", who="지수", city="서울") == "지수는 서울로 갔다."
    )
    assert fill("the {x} is old.", x="hat") == "The hat is old."
    assert f"{Word('물'):을/를}" == "물을"


def test_samples_are_different_and_even():
    seen = [sampled(Draw(b"1", "x", index), "abcd", 2) for index in range(1200)]
    assert all(first != second for first, second in seen)
    assert all(abs(sum(pair[0] == letter for pair in seen) - 300) < 60 for letter in "abcd")


def test_near_numbers_surround_the_answer_in_every_place():
    places = set()
    for index in range(200):
        answer = random.Random(index).randrange(3, 50)
        wrong = near_numbers(Draw(b"1", "x", index), answer, step=2, low=1)
        four = sorted([answer, *map(int, wrong)])
        assert [b - a for a, b in itertools.pairwise(four)] == [2, 2, 2]
        assert four[0] >= 1
        places.add(four.index(answer))
    assert places == {0, 1, 2, 3}
