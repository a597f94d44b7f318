"""Fields out of texts: read by hand, in correct Korean, marked as a person would."""

import hashlib
import json
import re
import time
import unicodedata
from functools import cache
from itertools import combinations

import pytest

from harness.suites.tasks import extract, item_at, jsontext, slots
from harness.suites.tasks.base import Grade, Item, Setting
from harness.suites.tasks.slots import Word
from tests.suites.tasks.slotted import by_hand, misjoined

SEED = hashlib.sha256(b"tests of extract").digest()

WORDS, ROWS = by_hand("extract")


def _template(language, name):
    return next(each for each in extract.TEMPLATES[language] if each.name == name)


@pytest.mark.parametrize(
    ("language", "name", "number", "text", "expected"),
    ROWS,
)
def test_texts_and_fields_written_by_hand(language, name, number, text, expected):
    words = WORDS[language]
    template = _template(language, name)
    view = template.views[number]
    if text is not None:
        assert template.text.format(**words) == text
    assert json.loads(extract._object(view, words)) == expected
    assert view.about.format(**words)


def test_every_template_was_read_by_hand():
    assert {row[1] for row in ROWS if row[0] == "ko"} == set(extract.templates("ko"))


@pytest.mark.parametrize("language", ["ko", "en"])
def test_levels_have_so_many_fields(language):
    for template in extract.TEMPLATES[language]:
        for view in template.views:
            assert len(view.fields) == template.level + 1
            assert sum(bool(field.other) for field in view.fields) >= 2
            asked = {field.slot for field in view.fields}
            # Else two fields could hold one value.
            assert not asked & {field.other for field in view.fields}


@cache
def many(language, form):
    setting = Setting(language=language, form=form)
    return tuple(item_at("extract", setting, index, SEED) for index in range(1500))


NATIVE = {
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
    "이틀": 2,
    "사흘": 3,
    "나흘": 4,
    "닷새": 5,
    "엿새": 6,
    "열흘": 10,
}
ENGLISH = {
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
}


def numbers_in(text):
    """Every number that a text names, by other means than the generator's."""
    found = {int(each.replace(",", "")) for each in re.findall(r"\d[\d,]*(?<!,)", text)}
    for tens, thousands in re.findall(r"(\d+)만(?: (\d)천)?", text):
        found.add(int(tens) * 10_000 + int(thousands or 0) * 1000)
    for word in re.findall(r"[가-힣]+|[a-z]+", text):
        found |= {table[word] for table in (NATIVE, ENGLISH) if word in table}
    return found


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("form", ["choice", "free"])
def test_every_value_stands_in_the_text(language, form):
    for item in many(language, form):
        text = item.context.partition("\n")[2]
        for written in item.choices or (item.answer,):
            for value in json.loads(written).values():
                assert value in text if isinstance(value, str) else value in numbers_in(text)


@pytest.mark.parametrize("language", ["ko", "en"])
def test_choices_differ_in_two_fields_without_a_majority(language):
    for item in many(language, "choice"):
        read = [json.loads(choice) for choice in item.choices]
        differing = [key for key in read[0] if len({each[key] for each in read}) > 1]
        assert len(differing) == 2
        for key in differing:
            values = [each[key] for each in read]
            assert sorted(values.count(value) for value in values) == [2, 2, 2, 2]
        assert all(list(a) == list(b) for a, b in combinations(read, 2))


@pytest.mark.parametrize("language", ["ko", "en"])
def test_only_the_right_choice_is_marked_right(language):
    for item in many(language, "choice"):
        asked = Item(template="", level=1, context="", answer=item.answer.strip())
        for choice in item.choices:
            found = extract.mark(choice, asked)
            assert found.strict == found.loose == (choice == item.answer)
            assert (found.credit == 1.0) == (choice == item.answer)
            assert found.answered


@pytest.mark.parametrize(("language", "characters"), [("ko", 230), ("en", 330)])
def test_texts_are_short(language, characters):
    for item in many(language, "free"):
        written = item.context + item.solution
        assert len(written) <= characters
        assert sum("가" <= char <= "힣" for char in written) <= 150
        assert item.max_tokens >= min(200, 2 * len(item.solution))


def test_korean_particles_agree():
    wrong = misjoined(
        *("주문", "정보", "예약", "약속", "물건", "근무", "여행", "내용", "안내", "문의")
    )
    seen = set()
    for item in many("ko", "free"):
        eojeols = re.split(r"[\s.,:()]+", item.context)
        seen.update(eojeols)
        assert not wrong.intersection(eojeols), item.context
    assert {"김민수를", "김민수는"} & seen


def test_korean_sentences_end_politely():
    for item in many("ko", "free"):
        body = item.context.partition("\n")[2].rpartition("\n")[0]
        for sentence in re.findall(r"[^.\n]+(?=\.)", body):
            if ":" not in sentence:
                assert sentence.endswith(("니다", "세요", "게요", "드려요")), sentence


def test_prices_multiply_to_the_total():
    for item in many("ko", "free"):
        if item.template == "invoice":
            price, count, total = (
                int(number.replace(",", ""))
                for number in re.findall(r"(?:단가|수량|합계): ([\d,]+)", item.context)
            )
            assert price * count == total


ITEM = Item(template="", level=2, context="", answer='{"품목": "사과", "수량": 3, "값": 12000}')
RIGHT = '{"품목": "사과", "수량": 3, "값": 12000}'
ACCEPTED = [
    # text, strict
    (RIGHT, True),
    (f"  {RIGHT}\n\n", True),
    ('{"값":12000,"수량":3,"품목":"사과"}', True),
    ('{\n  "품목": "사과",\n  "수량": 3,\n  "값": 12000\n}', True),
    ('{"품목": " 사과 ", "수량": 3, "값": 12000}', True),
    (unicodedata.normalize("NFD", RIGHT), True),
    (f"```json\n{RIGHT}\n```", False),
    (f"정답은 다음과 같습니다.\n{RIGHT}\n도움이 되었기를 바랍니다.", False),
    (f"{{표}}를 보면 {RIGHT}", False),
    ("} }{ " + RIGHT, False),
    (f"{RIGHT} {{}}", False),
    ('{"품목": "사과", "수량": "3개", "값": "12,000원"}', False),
    ('{"품목": "사과", "수량": "3", "값": "₩12,000"}', False),
    ('{"품목": "사과", "수량": 3.0, "값": 1.2e4}', False),
    ('{"품목": "사과", "수량": 3, "값": "12000.00"}', False),
    ('{"품목": "사과", "수량": 3, "값": 12000, "비고": "}"}', False),
    (f"[{RIGHT}]", False),
]
REJECTED = [
    # text, credit
    ('{"품목": "사과", "수량": 3}', 2 * 2 / 5),
    ('{"품목": "배", "수량": 3, "값": 12000}', 2 / 3),
    ('{"품목": "사과", "수량": 4, "값": 12000}', 2 / 3),
    ('{"품목": "사과", "수량": true, "값": 12000}', 2 / 3),
    ('{"품목": "사과", "수량": 3, "값": "1만 2천 원"}', 2 / 3),
    ('{"품목": "사과", "수량": 3, "값": "12만"}', 2 / 3),
    ('{"품목": "사과", "수량": "3이나 4", "값": 12000}', 2 / 3),
    ('{"품목": "사과", "수량": null, "값": 12000}', 2 / 3),
    ('{"품목": "사과", "수량": [3], "값": 12000}', 2 / 3),
    ('{"품목": "사과", "수량": 3.5, "값": 1e999}', 1 / 3),
    ('{"품목": ["사과"], "수량": {"값": 3}, "값": 12000}', 1 / 3),
    ('{"품목": "사과", "수량": 3, "수량": 5, "값": 12000}', 2 / 3),
    ('{"품목": "사과", "품목": "사과", "수량": 3, "값": 12000}', 2 / 3),
    ('{"답": {"품목": "사과", "수량": 3, "값": 12000}}', 0.0),
    (f"{{}} {RIGHT}", 0.0),
    ("{}", 0.0),
]
UNREAD = [
    "",
    "사과 3개, 12,000원입니다.",
    '{"품목": "사과", "수량": 3, "값": 12000',
    "{'품목': '사과', '수량': 3, '값': 12000}",
    '{"품목": "사과", "수량": NaN, "값": 12000}',
    '{"품목": "사과", "수량": 3, "값": -Infinity}',
    '"품목": "사과", "수량": 3, "값": 12000',
    '["사과", 3, 12000]',
    "12000",
    "null",
]


@pytest.mark.parametrize(("text", "strict"), ACCEPTED)
def test_right_answers_are_accepted(text, strict):
    found = extract.mark(text, ITEM)
    assert found.answered
    assert found.loose
    assert found.strict == strict
    assert found.credit == (6 / 7 if "비고" in text else 1.0)


@pytest.mark.parametrize(("text", "credit"), REJECTED)
def test_wrong_answers_earn_their_right_fields(text, credit):
    found = extract.mark(text, ITEM)
    assert found.answered
    assert not found.strict
    assert not found.loose
    assert found.credit == pytest.approx(credit)


@pytest.mark.parametrize("text", UNREAD)
def test_what_holds_no_object_is_no_answer(text):
    assert extract.mark(text, ITEM) == Grade(answered=False, strict=False, loose=False, credit=0.0)


HOSTILE = [
    *("{" * 100_000, "[" * 100_000, '{"a":' * 100_000, '{"a":[' * 100_000, "}" * 100_000),
    *('{"' * 100_000, '"' * 100_000, "{}" * 100_000, '{"a": "' + "\\" * 100_000, "가" * 100_000),
    '{"수량": ' + "9" * 1_000_000 + "}",
    '{"수량": ' + "9" * 3900 + "}",
    '{"수량": -1e99999, "값": 1e999}',
    '{"수량": "' + "1," * 1000 + '"}',
    '{"수량": "' + "9" * 3900 + '"}',
    '{"품목": "\\ud800", "수량": "\\u0000"}',
    " " * 100_000 + RIGHT,
    RIGHT + " " * 100_000,
    "\x00\ud800\uffff{",
    "{" + '"a": 1, ' * 400 + '"b": 2}',
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_marked_fast(text):
    started = time.process_time()
    found = extract.mark(text, ITEM)
    assert time.process_time() - started < 0.5
    assert not found.strict


def test_only_the_first_characters_are_read():
    assert extract.mark(" " * (jsontext.LONGEST - len(RIGHT)) + RIGHT, ITEM).loose
    assert not extract.mark(" " * jsontext.LONGEST + RIGHT, ITEM).answered
    assert not extract.mark("{" * jsontext.MOST_STARTS + RIGHT, ITEM).answered
    assert extract.mark("{" * (jsontext.MOST_STARTS - 1) + RIGHT, ITEM).loose


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', [{"a": 1}]),
        ('x {"a": {"b": 1}} {"c": 2}', [{"a": {"b": 1}}, {"c": 2}]),
        ('{"a": "}{"}', [{"a": "}{"}]),
        ('{"a": "\\"}"} y', [{"a": '"}'}]),
        ('{bad} {"a": 1', []),
        ('{bad {"a": 1}}', [{"a": 1}]),
    ],
)
def test_objects_are_found_in_order(text, expected):
    assert list(jsontext.objects(text)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3),
        (3.0, 3),
        ("3", 3),
        (" 3 ", 3),
        ("-3", -3),
        ("12,000", 12000),
        ("1,234,567원", 1234567),
        ("$1,250", 1250),
        ("12,000 원", 12000),
        ("3.00", 3),
        ("3.5", None),
        ("12,00", None),
        ("1,2", None),
        ("3만", None),
        ("3만 원", None),
        ("셋", None),
        ("3 4", None),
        ("3명", None),
        ("", None),
        (True, None),
        (None, None),
        (float("inf"), None),
        (float("nan"), None),
        ([3], None),
        ("9" * 50, None),
    ],
)
def test_numbers_are_read_only_where_they_are_plain(value, expected):
    assert jsontext.whole_number(value, {"원"}) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{a}", "사과"),
        ("{a:은/는}", "사과는"),
        ("{a:unit}", "개"),
        ("{a:unit 을/를}", "개를"),
        ("{b:unit 으로/로}", "자루로"),
        ("{b:을/를}", "연필을"),
        ("{c}원, {c:words} 원", "12,000원, 1만 2천 원"),
    ],
)
def test_slots_carry_their_particles(spec, expected):
    a, b = Word("사과", "사과", "개"), Word("연필", "연필", "자루")
    assert spec.format(a=a, b=b, c=Word(12000, "12,000", "1만 2천")) == expected


def test_amounts_are_read_as_koreans_read_them():
    won = {word.value: word.other for word in slots.KINDS["ko"]["won"]}
    assert won[12000] == "1만 2천"
    assert won[30000] == "3만"
    assert won[99000] == "9만 9천"
    counts = [word.other for word in slots.KINDS["ko"]["count"]]
    assert counts == ["두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉", "열"]
    days = {word.value: word.other for word in slots.KINDS["ko"]["days"]}
    assert days == {2: "이틀", 3: "사흘", 4: "나흘", 5: "닷새", 6: "엿새", 10: "열흘"}


def test_words_of_a_kind_are_distinct():
    for kinds in slots.KINDS.values():
        for options in kinds.values():
            assert len({word.value for word in options}) == len(options)
