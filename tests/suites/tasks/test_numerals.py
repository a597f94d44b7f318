"""Number words against tables checked by hand, and back again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.suites.tasks.hangul import Word
from harness.suites.tasks.numerals import (
    Number,
    english,
    mixed,
    native,
    plain_digits,
    read_english,
    read_native,
    read_sino,
    sino,
    words_in,
)

SINO = {
    0: "영",
    7: "칠",
    10: "십",
    11: "십일",
    20: "이십",
    99: "구십구",
    100: "백",
    105: "백오",
    216: "이백십육",
    1000: "천",
    1996: "천구백구십육",
    3005: "삼천오",
    10000: "만",
    12000: "만 이천",
    32000: "삼만 이천",
    100000: "십만",
    110000: "십일만",
    320500: "삼십이만 오백",
    20000020: "이천만 이십",
    100000000: "일억",
    350000000: "삼억 오천만",
    1234567890: "십이억 삼천사백오십육만 칠천팔백구십",
}
NATIVE = {
    1: "한",
    2: "두",
    3: "세",
    4: "네",
    5: "다섯",
    6: "여섯",
    7: "일곱",
    8: "여덟",
    9: "아홉",
    10: "열",
    11: "열한",
    12: "열두",
    19: "열아홉",
    20: "스무",
    21: "스물한",
    30: "서른",
    33: "서른세",
    44: "마흔네",
    52: "쉰두",
    60: "예순",
    71: "일흔한",
    85: "여든다섯",
    99: "아흔아홉",
}
ENGLISH = {
    0: "zero",
    13: "thirteen",
    20: "twenty",
    42: "forty-two",
    100: "one hundred",
    305: "three hundred five",
    4020: "four thousand twenty",
    32500: "thirty-two thousand five hundred",
    368000: "three hundred sixty-eight thousand",
    7800800: "seven million eight hundred thousand eight hundred",
}


@pytest.mark.parametrize(("number", "words"), SINO.items())
def test_sino_korean_by_hand(number, words):
    assert sino(number) == words
    assert read_sino(words) == read_sino(words.replace(" ", "")) == number


@pytest.mark.parametrize(("number", "words"), NATIVE.items())
def test_native_numerals_by_hand(number, words):
    assert native(number) == words
    assert read_native(words) == number


@pytest.mark.parametrize(
    ("words", "number"), [("하나", 1), ("둘", 2), ("스물", 20), ("스물셋", 23), ("서른다섯", 35)]
)
def test_native_numerals_that_stand_alone(words, number):
    assert read_native(words) == number


@pytest.mark.parametrize(("number", "words"), ENGLISH.items())
def test_english_by_hand(number, words):
    assert english(number) == words
    assert read_english(words) == number


@given(st.integers(0, 10**16 - 1))
def test_sino_korean_reads_back(number):
    assert read_sino(sino(number)) == number


@given(st.integers(0, 10**12 - 1))
def test_english_reads_back(number):
    assert read_english(english(number)) == number
    assert read_english(english(number).replace("hundred ", "hundred and ")) == number


@given(st.integers(1, 10**12 - 1))
def test_mixed_amounts_are_plain_digits_again(number):
    assert plain_digits(mixed(number)) == str(number)


@pytest.mark.parametrize("word", ["", "없음", "삼천천", "사과", "백이백", "오십사십", "만세"])
def test_what_is_no_korean_number(word):
    assert read_sino(word) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3만 2천 원", "32000 원"),
        ("3만2500원", "32500원"),
        ("2억 3000만 명", "230000000 명"),
        ("1.5만", "15000"),
        ("5천만", "50000000"),
        ("12만큼", "12만큼"),
        ("27,000원", "27,000원"),
        ("32 thousand yen", "32000 yen"),
        ("3만 개와 5개", "30000 개와 5개"),
    ],
)
def test_plain_digits(text, expected):
    assert plain_digits(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("32000은 삼만 이천입니다.", [32000]),
        ("It is three hundred and five, not three hundred fifty.", [305, 350]),
        ("이 사과는 얼마입니까", []),
        ("", []),
    ],
)
def test_words_in_a_text(text, expected):
    assert words_in(text) == expected


def test_templates_write_numbers_and_words():
    number, thing = (
        "{n} {n:은/는} {n:native} {n:word} {n:day}",
        "{w:을/를} {w:이/가} {w} {w:으로/로}",
    )
    assert number.format(n=Number(3)) == "3 3은 세 three 3 days"
    assert f"{Number(1):day}" == "1 day"
    assert thing.format(w=Word("서울")) == "서울을 서울이 서울 서울로"
