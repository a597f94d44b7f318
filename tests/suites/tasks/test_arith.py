"""Calculations: right by other means, in correct Korean, and lenient where a model may be."""

import hashlib
import re

import pytest

from harness.suites.tasks import arith, item_at
from harness.suites.tasks.base import Item, Setting
from harness.suites.tasks.calculations import columns, worked
from harness.suites.tasks.hangul import particle
from harness.suites.tasks.numerals import plain_digits, read_english, read_native, read_sino

SEED = hashlib.sha256(b"tests of arith").digest()
LANGUAGES = ("ko", "en")
NATIVE = {"sum-native", "product-native"}


def items(language, form="free", count=2000):
    setting = Setting(language=language, form=form)
    return [item_at("arith", setting, index, SEED) for index in range(count)]


def question_of(item):
    return re.sub(r"^(질문|Question): |\n[^\n]*$", "", item.context)


def numbers(item, language):
    """All numbers of a question in their order; native and English words where they count."""
    text = plain_digits(question_of(item))
    if item.template not in NATIVE:
        return [int(found) for found in re.findall(r"\d+", text)]
    read = read_native if language == "ko" else read_english
    found = (
        int(word) if word.isdigit() else read(word) for word in re.split(r"[\s,.]|일 동안", text)
    )
    return [number for number in found if number]


SOLVE = {
    "sum": lambda n: n[0] + n[1],
    "difference": lambda n: abs(n[0] - n[1]),
    "product": lambda n: n[0] * n[1],
    "spend-words": lambda n: n[0] - n[1],
    "price": lambda n: n[0] * n[1],
    "change": lambda n: n[2] - n[0] * n[1],
    "discount": lambda n: n[0] * (100 - n[1]) // 100,
    "percent": lambda n: n[0] * n[1] // 100,
    "ratio": lambda n: n[0] * n[1] // (n[1] + n[2]),
    "share": lambda n: max(n) // min(n),
    "fraction": lambda n: sorted(n)[2] // sorted(n)[1],
    "boarding": lambda n: n[0] + n[1] - n[2],
    "boxes-and": lambda n: n[0] * n[1] + n[2],
    "times": lambda n: n[0] * n[1] + n[0],
    "extra-sum": lambda n: n[0] + n[2],
    "extra-difference": lambda n: abs(n[1] - n[2]),
    "extra-product": lambda n: n[0] * n[2],
}


def solved(item: Item, language: str) -> int:
    text = question_of(item)
    if item.template == "units":
        high, low = (int(found) for found in re.findall(r"\d+", text)[:2])
        return high * (10_000 if language == "ko" else 1000) + low
    if item.template == "read":
        words = re.search(r"^(.+?)[을를] 숫자로|^What is (.+) in digits", text)
        return read_sino(words[1]) if words[1] else read_english(words[2])
    if item.template == "write":
        return int(re.search(r"\d+", text)[0])
    solve = SOLVE.get(item.template) or SOLVE[item.template.partition("-")[0]]
    return solve(numbers(item, language))


@pytest.mark.parametrize("form", ["choice", "free"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_agree_with_the_text(language, form):
    for item in items(language, form):
        answer = item.answer.strip()
        if item.template == "write":
            answer = read_sino(answer) if language == "ko" else read_english(answer)
        assert int(answer) == solved(item, language), item


@pytest.mark.parametrize("language", LANGUAGES)
def test_shares_and_percentages_leave_no_rest(language):
    for item in items(language):
        if item.template in {"share", "fraction", "ratio", "percent", "discount"}:
            n = sorted(numbers(item, language))
            if item.template == "ratio":
                assert n[2] % (n[0] + n[1]) == 0
            elif item.template in {"percent", "discount"}:
                assert n[0] * n[1] % 100 == 0
            else:
                assert n[-1] % n[-2] == 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_steps_are_columns_and_lead_to_the_answer(language):
    for item in items(language):
        *steps, answer = item.solution.strip().split(";")
        assert answer == item.answer
        if item.template in {"read", "write"}:
            first, second = steps[0].split("+")
            assert int(first) + int(second) == solved(item, language)
            continue
        results = [re.match(r"\d+", part)[0] for part in [*steps[1:], answer]]
        for step, result in zip(steps, results, strict=True):
            a, operator, b, written = re.search(r"(\d+)([-+*/])(\d+)=([\d,]+)$", step).groups()
            right = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}
            assert right[operator](int(a), int(b)) == int(result)
            values = [int(value) for value in written.split(",")]
            if operator == "/":
                assert "".join(str(value // int(b)) for value in values) == result
            else:
                value = sum(column % 10 * 10**place for place, column in enumerate(values))
                value += values[-1] // 10 * 10 ** len(values)
                assert value == int(result)


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
        (5000, "-", 3600, [0, 0, 4, 1]),
        (700, "*", 3, [0, 0, 21]),
        (24, "/", 4, [24]),
        (96, "/", 4, [9, 16]),
        (105, "/", 5, [10, 5]),
        (420, "/", 4, [4, 2, 20]),
    ],
)
def test_columns_worked_by_hand(a, operator, b, expected):
    assert columns(a, operator, b) == expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (((57, "+", 68),), "57+68=15,12;125"),
        (((7, "*", 3), (21, "+", 5)), "7*3=21;21+5=6,2;26"),
        (((700, "*", 3), (5000, "-", 2100)), "700*3=0,0,21;2100,5000-2100=0,0,9,2;2900"),
        (((3, "+", 2), (35, "/", 5), (7, "*", 3)), "3+2=5;5,35/5=35;7*3=21;21"),
    ],
)
def test_calculations_written_by_hand(steps, expected):
    assert worked(steps) == expected


@pytest.mark.parametrize("form", ["choice", "free"])
def test_korean_questions_are_grammatical(form):
    seen = 0
    for item in items("ko", form):
        text = question_of(item)
        assert text.endswith("니까?"), text
        for number, written in re.findall(r"(\d+)([은는을를]|으?로)(?=\s)", text):
            pair = {"은": "은/는", "는": "은/는", "을": "을/를", "를": "을/를"}.get(
                written, "으로/로"
            )
            assert written == particle(number, pair), text
            seen += 1
        for counter, written in re.findall(
            r"(개|자루|권|마리|송이|장|대|켤레|그루|병|통)([이가을를은는])(?=\s)", text
        ):
            forms = next(pair for pair in ("은/는", "이/가", "을/를") if written in pair)
            assert written == particle(counter, forms), text
        # Sentences do not mix politeness.
        assert all(part.endswith(("니다.", "니까?")) for part in re.split(r"(?<=[.?]) ", text))
    assert seen > 300


def test_counters_take_native_numerals_in_korean_words():
    seen = set()
    for item in items("ko"):
        if item.template not in NATIVE:
            continue
        text = question_of(item)
        unit = (
            "시간"
            if item.template == "product-native"
            else r"(?:개|자루|권|마리|송이|장|대|켤레|그루|병)"
        )
        words = re.findall(rf"(\S+) {unit}(?:씩|[이가])? ", text)
        words = [word for word in words if word not in {"몇", "모두"}]
        assert words, text
        for word in words:
            assert read_native(word) is not None, text
            assert not word.endswith(("하나", "둘", "셋", "넷", "스물")), text
        seen.update(words)
    assert {"세", "네"} & seen
    assert len(seen) > 40


def test_english_questions_are_grammatical():
    for form in ("choice", "free"):
        for item in items("en", form):
            text = question_of(item)
            assert text.endswith("?")
            assert not re.search(r"\b[Aa] [aeiou]|\ban [^aeiou]", text), text
            assert not re.search(r"\b1 (?!to|/)[a-z]+", text), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_stay_short(language):
    most = 150 if language == "ko" else 350
    for form in ("choice", "free"):
        for item in items(language, form, 800):
            assert len(item.context + item.solution) <= most, item


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("rank", range(4))
def test_no_place_in_the_order_of_choices_is_right_more_often(language, rank):
    right = 0
    numeric = [item for item in items(language, "choice") if item.template != "write"]
    for item in numeric:
        ordered = sorted(item.choices, key=int)
        right += ordered[rank] == item.answer
    assert abs(right / len(numeric) - 0.25) < 0.06


@pytest.mark.parametrize("language", LANGUAGES)
def test_wrong_choices_are_near(language):
    alike = 0
    numeric = [item for item in items(language, "choice") if item.template != "write"]
    for item in numeric:
        assert all(int(choice) > 0 for choice in item.choices)
        alike += len({len(choice) for choice in item.choices}) == 1
    assert alike / len(numeric) > 0.6


def free_item(answer):
    return Item(template="sum-bare", level=1, context="", answer=answer)


@pytest.mark.parametrize(
    ("answer", "text", "strict", "loose"),
    [
        ("125", " 57+68=15,12;125", True, True),
        ("125", "125", True, True),
        ("125", " 125\n", True, True),
        ("1250", "1,250", True, True),
        ("125", "125.0", True, True),
        ("125", "125.", False, True),
        ("125", "125개", False, True),
        ("125", " 125입니다.", False, True),
        ("125", "**125**", False, True),
        ("125", "정답: 125", False, True),
        ("125", "57 더하기 68은 125입니다.", False, True),
        ("125", "57+68=125", False, True),
        ("1250", "1,250원입니다.", False, True),
        ("32000", "3만 2천 원", False, True),
        ("32000", "삼만 이천 원", False, True),
        ("35", "서른다섯 개입니다.", False, True),
        ("35", "thirty-five", False, True),
        ("27000", "27 thousand yen", False, True),
        ("125", "57에 68을 더합니다.\n따라서 답은 125입니다.", False, True),
        ("125", "125\n\n도움이 되었기를 바랍니다.", False, True),
        ("125", "answer is 125 apples", False, True),
        ("125", "1250", False, False),
        ("125", "12 5", False, False),
        ("125", "-125", False, False),
        ("125", "125.5", False, False),
        ("125", "15,12;", False, False),
        ("125", "125 또는 126", False, False),
        ("126", "125 or 126", False, False),
        ("125", "125\n아니요, 126입니다.", False, False),
        ("125", "125보다 1 큰 126입니다.", False, False),
        ("125", "모릅니다", False, False),
        ("125", "", False, False),
        ("3", "10-3", False, True),
        ("7", "5;6;7", True, True),
        ("삼만 이천", "삼만 이천", True, True),
        ("삼만 이천", " 30000+2000;삼만 이천", True, True),
        ("삼만 이천", "삼만이천", True, True),
        ("삼만 이천", "삼만 이천입니다.", False, True),
        ("삼만 이천", "'삼만 이천'", False, True),
        ("삼만 이천", "32000은 삼만 이천으로 씁니다.", False, True),
        ("삼만 이천", "삼만 이백", False, False),
        ("삼만 이천", "32000", False, False),
        ("삼만 이천", "", False, False),
        ("thirty-two thousand", "thirty-two thousand", True, True),
        ("thirty-two thousand", "Thirty two thousand", True, True),
        ("three hundred five", "three hundred and five", True, True),
        ("thirty-two thousand", "It is thirty-two thousand.", False, True),
        ("thirty-two thousand", "thirty thousand two", False, False),
        ("thirty-two thousand", "32000", False, False),
    ],
)
def test_marks_by_hand(answer, text, strict, loose):
    found = arith.mark(text, free_item(answer))
    assert (found.strict, found.loose) == (strict, loose)


@pytest.mark.parametrize(
    ("text", "answered"), [("모릅니다", False), ("", False), ("7", True), (";", False)]
)
def test_answered(text, answered):
    assert arith.mark(text, free_item("125")).answered == answered


def test_questions_say_how_to_answer():
    for language, how in (("ko", "쓰세요."), ("en", "Write only")):
        for item in items(language, count=100):
            assert item.question.startswith(question_of(item))
            assert how in item.question
