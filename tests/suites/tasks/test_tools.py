"""Calls of tools: read by hand, in correct Korean, compared as syntax trees."""

import hashlib
import json
import re
import time
import unicodedata
from collections import Counter
from functools import cache

import pytest

from harness.suites.tasks import item_at, tools
from harness.suites.tasks.base import Grade, Item, Setting
from tests.suites.tasks.slotted import by_hand, misjoined

SEED = hashlib.sha256(b"tests of tools").digest()

WORDS, ROWS = by_hand("tools")


@pytest.mark.parametrize(
    ("language", "name", "said", "tool", "arguments"),
    ROWS,
)
def test_requests_and_calls_written_by_hand(language, name, said, tool, arguments):
    words = WORDS[language]
    template = next(each for each in tools.TEMPLATES[language] if each.name == name)
    assert f"{template.text} {template.sets}".strip().format(**words) == said
    assert template.tool == tool
    assert {each.name: words[each.slot].value for each in template.arguments} == arguments
    signature = tools._FAMILY[tool].parameters
    assert [each.partition(":")[0].rstrip("?") for each in signature] == list(arguments)
    kinds = {"int": int, "str": str}
    for parameter, value in zip(signature, arguments.values(), strict=True):
        assert type(value) is kinds[parameter.partition(":")[2]]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("room-book", "지난주에는 오전 7시부터 썼어."),
        ("room-cancel", "지난주에는 오전 7시에 썼어."),
        ("food-order", "어제는 시청에서 먹었어."),
        ("food-cancel", "나는 시청에서 먹고 왔어."),
        ("taxi-call", "어제는 오전 7시에 탔어."),
        ("taxi-cancel", "어제는 오전 7시에 탔어."),
        ("lent", "지난번에는 사흘 동안 빌려줬어."),
        ("borrowed", "지난번에는 사흘 동안 빌렸어."),
        ("bike-rent", "어제는 오전 7시부터 탔어."),
        ("bike-return", "어제는 오전 7시에 반납했어."),
    ],
)
def test_other_times_written_by_hand(name, said):
    template = next(each for each in tools.TEMPLATES["ko"] if each.name == name)
    assert template.recalls.format(**WORDS["ko"]) == said


def test_every_template_was_read_by_hand():
    assert {row[1] for row in ROWS if row[0] == "ko"} == set(tools.templates("ko"))


def test_tools_are_named_once():
    names = [tool for family in tools.FAMILIES for tool in family.tools]
    assert len(names) == len(set(names)) == 38
    for language in ("ko", "en"):
        assert Counter(each.tool for each in tools.TEMPLATES[language]) == Counter(names)
        for template in tools.TEMPLATES[language]:
            family = tools._FAMILY[template.tool]
            assert len(family.parameters) == len(template.arguments)
            assert family.parameters[-1].count("?") == bool(template.sets) == bool(template.recalls)


@cache
def many(language, form):
    setting = Setting(language=language, form=form)
    return tuple(item_at("tools", setting, index, SEED) for index in range(1500))


def listed(item):
    """Names of the tools, with their parameters and types."""
    found = re.findall(r"^(\w+)\((.*)\)$", item.context, re.MULTILINE)
    return {name: dict(each.split(":") for each in inside.split(", ")) for name, inside in found}


def fits(call, offered):
    """Whether a call agrees with the listed signatures, read off the question."""
    if call["name"] not in offered:
        return False
    parameters = offered[call["name"]]
    needed = {name for name in parameters if not name.endswith("?")}
    types = {name.rstrip("?"): kind for name, kind in parameters.items()}
    given = call["arguments"]
    return (
        needed <= given.keys() <= types.keys()
        and list(given) == [name for name in types if name in given]
        and all(type(value).__name__ == types[name] for name, value in given.items())
    )


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("form", ["choice", "free"])
def test_calls_agree_with_the_listed_tools(language, form):
    refusals = Counter()
    for item in many(language, form):
        offered = listed(item)
        assert len(offered) == item.level
        tool = next(e.tool for e in tools.TEMPLATES[language] if e.name == item.template)
        refused = item.answer.strip() == "none"
        refusals[item.level] += refused
        if refused:
            assert tool not in offered
            assert tools._FAMILY[tool].twin(tool) in offered
        else:
            call = json.loads(item.answer)
            assert call["name"] == tool
            assert fits(call, offered)
        topics = Counter(tools._FAMILY[name].topic for name in offered)
        pairs = Counter(tools._FAMILY[name] for name in offered)
        # A pair and a third tool of another topic, whether the call is refused or not.
        assert sorted(pairs.values()) == [[1], [2], [1, 2]][item.level - 1]
        assert len(topics) == len(pairs)
    assert set(refusals.elements()) == {3}
    assert refusals[3] / len(many(language, form)) == pytest.approx(1 / 12, abs=0.025)


@pytest.mark.parametrize("language", ["ko", "en"])
def test_only_the_right_choice_is_marked_right(language):
    for item in many(language, "choice"):
        assert (" none" in item.choices) == (item.level == 3)
        asked = Item(template="", level=1, context="", answer=item.answer.strip())
        for choice in item.choices:
            found = tools.mark(choice, asked)
            right = choice == item.answer
            assert found == Grade(answered=True, strict=right, loose=right, credit=float(right))


def test_choices_do_not_tell_a_refusal():
    """At level 3 the twin's and the right tool's calls are as many, refused or not."""
    shares = {True: Counter(), False: Counter()}
    for language in ("ko", "en"):
        for item in many(language, "choice"):
            if item.level == 3:
                names = Counter(json.loads(c)["name"] for c in item.choices if c != " none")
                shares[item.answer == " none"][tuple(sorted(names.values()))] += 1
    assert set(shares[True]) == set(shares[False]) == {(1, 2)}


def test_optional_arguments_are_set_by_half_of_the_users():
    for language in ("ko", "en"):
        given = [
            "?" in item.context and len(json.loads(item.answer)["arguments"]) == 3
            for item in many(language, "free")
            if item.level == 3 and item.answer != "none"
        ]
        assert sum(given) / len(given) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("form", ["choice", "free"])
def test_words_stand_in_what_is_said(language, form):
    for item in many(language, form):
        said = item.context.splitlines()[-3]
        for written in item.choices or (item.answer,):
            if written.strip() != "none":
                for value in json.loads(written)["arguments"].values():
                    assert isinstance(value, int) or value in said


@pytest.mark.parametrize("language", ["ko", "en"])
def test_texts_are_short(language):
    for item in many(language, "free"):
        written = item.context + item.solution
        assert len(written) <= 400
        assert sum("가" <= char <= "힣" for char in written) <= 150
        assert item.max_tokens >= min(200, 2 * len(item.solution))


def test_korean_particles_agree():
    wrong = misjoined()
    for item in many("ko", "free"):
        eojeols = re.split(r"[\s.,:?']+", item.context.splitlines()[-3])
        assert not wrong.intersection(eojeols), item.context


def test_korean_requests_are_in_one_style():
    for item in many("ko", "free"):
        said = item.context.splitlines()[-3].removeprefix("사용자: ")
        for sentence in re.findall(r"[^.?]+", said):
            assert sentence.endswith(("줘", "둬", "어", "야", "게", "보내", "때", "해")), sentence
            assert not sentence.endswith(("요", "니다")), sentence


ANSWER = '{"name": "set_alarm", "arguments": {"hour": 7, "text": "일어나"}}'
CALL = Item(template="", level=3, context="", answer=ANSWER)
NONE = Item(template="", level=3, context="", answer="none")
ACCEPTED = [
    # text, strict
    (ANSWER, True),
    (f"\n {ANSWER} \n", True),
    ('{"arguments":{"text":"일어나","hour":7},"name":"set_alarm"}', True),
    ('{"name": "set_alarm", "arguments": {"hour": 7, "text": " 일어나 "}}', True),
    (unicodedata.normalize("NFD", ANSWER), True),
    (f"```json\n{ANSWER}\n```", False),
    (f"알맞은 호출은 {ANSWER}입니다.", False),
    (f"{{생각}} {ANSWER}", False),
    (f'{{"plan": "alarm"}} {ANSWER}', False),
    (f"[{ANSWER}]", False),
    ('{"name": "set_alarm", "arguments": {"hour": "7", "text": "일어나"}}', False),
    ('{"name": "set_alarm", "arguments": {"hour": 7.0, "text": "일어나"}}', False),
    ('{"name": "set_alarm", "arguments": {"hour": 7, "text": "일어나"}, "id": 1}', False),
    ('set_alarm(hour=7, text="일어나")', False),
    ("set_alarm(text='일어나', hour=7)", False),
    ("`set_alarm(hour=7, text='일어나')`입니다.", False),
    ("print(set_alarm(hour='7', text='일어나'))", False),
    ("set_alarm(hour:int, text:str)에서 set_alarm(hour=7, text='일어나')", False),
]
REJECTED = [
    '{"name": "drop_alarm", "arguments": {"hour": 7, "text": "일어나"}}',
    '{"name": "Set_Alarm", "arguments": {"hour": 7, "text": "일어나"}}',
    '{"name": "set_alarm", "arguments": {"hour": 8, "text": "일어나"}}',
    '{"name": "set_alarm", "arguments": {"hour": true, "text": "일어나"}}',
    '{"name": "set_alarm", "arguments": {"hour": "일곱", "text": "일어나"}}',
    '{"name": "set_alarm", "arguments": {"hour": 7}}',
    '{"name": "set_alarm", "arguments": {"hour": 7, "text": "일어나", "day": "월"}}',
    '{"name": "set_alarm", "arguments": {"hour": 7, "text": 7}}',
    '{"name": "set_alarm", "arguments": {"hour": 7, "hour": 7, "text": "일어나"}}',
    '{"name": "set_alarm", "arguments": {}}',
    '{"name": "set_alarm"}',
    'set_alarm(hour=8, text="일어나")',
    'set_alarm(hour=7, text="일어나", **{})'.replace("{}", "x"),
    "set_alarm(hour=7, text=일어나)",
    "none",
    f"none\n{ANSWER.replace('7', '8')}",
]
UNREAD = [
    "",
    "알람을 맞추겠습니다.",
    "set_alarm",
    "set_alarm(7, '일어나')",
    "set_alarm(hour:int, text:str)",
    "set_alarm(hour=7, hour=7, text='일어나')",
    '{"name": 3, "arguments": {"hour": 7}}',
    '{"name": "set_alarm", "arguments": [7]}',
    '{"name": "set_alarm", "arguments": {"hour": 7',
    '{"hour": 7, "text": "일어나"}',
    '{"name": "set_alarm", "arguments": {"hour": NaN}}',
    "nonetheless",
]


@pytest.mark.parametrize(("text", "strict"), ACCEPTED)
def test_right_calls_are_accepted(text, strict):
    assert tools.mark(text, CALL) == Grade(answered=True, strict=strict, loose=True, credit=1.0)


@pytest.mark.parametrize("text", REJECTED)
def test_wrong_calls_are_rejected(text):
    assert tools.mark(text, CALL) == Grade(answered=True, strict=False, loose=False, credit=0.0)


@pytest.mark.parametrize("text", UNREAD)
def test_what_holds_no_call_is_no_answer(text):
    for item in (CALL, NONE):
        assert tools.mark(text, item) == Grade(
            answered=False, strict=False, loose=False, credit=0.0
        )


@pytest.mark.parametrize(
    ("text", "strict", "loose"),
    [
        ("none", True, True),
        (" none\n", True, True),
        ("None", False, True),
        ("none.", False, True),
        ('"none"', False, True),
        ("**none**", False, True),
        ("답: none", False, True),
        ("정답은 none입니다.", False, True),
        ("none입니다. 맞는 도구가 없습니다.", False, True),
        ("none: 맞는 도구가 없습니다.", False, True),
        ("The answer is none.", False, True),
        ("None of the tools fit.", False, True),
        ("알맞은 도구가 없네요.\nnone", False, True),
        ('{"name": "none"}', False, True),
        ('{"name": "none", "arguments": {}}', False, True),
        ("```\nnone\n```", False, True),
        ("맞는 도구가 없으면 none을 쓰세요.", False, False),
        ("Write nothing but the JSON or none.", False, False),
        ("nonempty", False, False),
        ("none_of(x=1)", False, False),
        (ANSWER, False, False),
        (f"none\n{ANSWER}", False, False),
        ("set_alarm(hour=7)", False, False),
        ("null", False, False),
        ("", False, False),
    ],
)
def test_refusals(text, strict, loose):
    found = tools.mark(text, NONE)
    assert (found.strict, found.loose) == (strict, loose)
    assert not found.loose or found.answered


HOSTILE = [
    *("{" * 100_000, "[" * 100_000, '{"a":' * 100_000, '{"name":{' * 100_000, "(" * 100_000),
    *("a(" * 100_000, "a" * 100_000, "a('" * 100_000, 'a("' * 100_000, "none(" * 50_000),
    *("\n" * 100_000, ":" * 100_000, "* " * 100_000, "a b " * 50_000, "no" * 50_000),
    "set_alarm(hour=" + "-" * 350 + "7)",
    "set_alarm(hour=" + "1+" * 190 + "7)",
    "set_alarm(hour=" + "9" * 380 + ")",
    "set_alarm(hour=9**9**9**9)",
    "set_alarm(hour=1e999, text=f'{x}')",
    "set_alarm(hour=0777, text='\x00')",
    "set_alarm(hour=1if 2else 3)",
    "set_alarm(hour=7 is 7)",
    "set_alarm(hour='\ud800')",
    'set_alarm(hour="' + "\\d" * 100 + '")',
    "a(b=1) " * 10_000,
    '{"name": "set_alarm", "arguments": {"hour": ' + "9" * 1_000_000 + "}}",
    '{"name": "set_alarm", "arguments": {"hour": 1e999, "text": "\\ud800"}}',
    ANSWER + " " * 100_000 + "x",
    " " * 100_000 + ANSWER,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_marked_fast(text):
    for item in (CALL, NONE):
        started = time.process_time()
        found = tools.mark(text, item)
        assert time.process_time() - started < 0.5
        assert not found.strict
