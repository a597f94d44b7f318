"""Each instruction against texts that keep it and texts that miss it by a little."""

import hashlib
import json
import re
import time
from collections import Counter

import pytest

from harness.suites.tasks import ifeval, item_at
from harness.suites.tasks.base import Setting
from harness.suites.tasks.hangul import final_consonant
from harness.suites.tasks.instructions import (
    CHECKS,
    LONGEST,
    MEASURES,
    loosened,
    paragraphs,
    satisfies,
    sentence_marks,
    sentences,
    words,
)
from harness.suites.tasks.outlines import DATA, SET

SEED = hashlib.sha256(b"tests of ifeval").digest()

# Kind, parameters, texts that satisfy it, texts that do not.
CASES = [
    (
        "chars",
        {"n": 8},
        ["바다를 보았어요.", "바다를\n보았어요.", "12345678"],
        ["바다를 보았다.", "바다를 보았어요"],
    ),
    ("chars", {"n": 10}, ["I saw the sea"], ["I saw the sea.", "I saw the se"]),
    ("chars-max", {"n": 9}, ["바다를 보았어요.", "바다"], ["바다를 또 보았어요."]),
    (
        "chars-min",
        {"n": 9},
        ["바다를 보았어요.", "바다를 또 보았어요."],
        ["바다를 보았다.", "바다"],
    ),
    (
        "words",
        {"n": 3},
        ["오늘 바다를 보았다.", "오늘 - 바다를 보았다"],
        ["바다를 보았다.", "오늘 또 바다를 보았다."],
    ),
    ("words", {"n": 4}, ["I don't like it.", "one two === three four"], ["I like it.", "one, two"]),
    ("words-max", {"n": 2}, ["바다를 보았다.", "바다"], ["오늘 바다를 보았다."]),
    ("words-min", {"n": 2}, ["바다를 보았다.", "a b c"], ["바다", "===  바다"]),
    (
        "sentences",
        {"n": 2},
        [
            "바다를 보았다. 좋았다.",
            "정말? 좋아!",
            "하나.\n둘",
            "3.5를 보았다. 좋았다.",
            '"하나." 둘.',
        ],
        ["바다를 보았다.", "하나. 둘. 셋.", "바다를 보았다. 좋았다. #바다 산"],
    ),
    (
        "sentences",
        {"n": 2},
        [
            "We met. It was fun... ",
            "Wait!! Why?",
            "1. We met.\n2. It was fun.",
            "We met. So. #sea #sky",
        ],
        ["We met", "A. B. C."],
    ),
    (
        "paragraphs",
        {"n": 2},
        ["가다.\n\n오다.", "가다.\n \n\n오다.\n하다."],
        ["가다.\n오다.", "가다.\n\n오다.\n\n하다.", "가다."],
    ),
    (
        "include",
        {"word": "바다"},
        ["바다를 보았다.", "봄바다"],
        ["바 다를 보았다.", "산을 보았다."],
    ),
    (
        "include",
        {"word": "sea"},
        ["The sea is blue.", "SEA!", "the sea's edge"],
        ["The seas are blue.", "We search.", "se a"],
    ),
    ("forbid", {"word": "가방"}, ["모자를 샀다.", "가 방"], ["가방을 샀다.", "책가방"]),
    ("forbid", {"word": "hat"}, ["What is that?", "the hats"], ["A Hat.", "my hat, too"]),
    (
        "frequency",
        {"word": "바다", "n": 2},
        ["바다와 바다.", "바다바다"],
        ["바다.", "바다 바다 바다"],
    ),
    (
        "frequency",
        {"word": "sea", "n": 2},
        ["Sea and sea.", "The sea, the SEA; seas."],
        ["sea", "sea sea sea"],
    ),
    (
        "bullets",
        {"n": 2},
        ["- 하나\n- 둘", "- 하나\n\n-  둘"],
        [
            "- 하나",
            "- 하나\n- 둘\n- 셋",
            "* 하나\n* 둘",
            "-하나\n-둘",
            "- 하나\n둘",
            "제목\n- 하나\n- 둘",
            "- \n- 둘",
        ],
    ),
    (
        "numbers",
        {"n": 2},
        ["1. 하나\n2. 둘", "1.  하나\n\n2. 둘"],
        [
            "1. 하나",
            "1. 하나\n1. 둘",
            "1) 하나\n2) 둘",
            "2. 하나\n3. 둘",
            "1. 하나\n2. 둘\n3. 셋",
            "1.하나\n2.둘",
        ],
    ),
    (
        "json",
        {"keys": ["이름", "색"]},
        [
            '{"이름": "바다", "색": "파랑"}',
            '{"색":"파랑",\n"이름":"바다"}',
            '{"이름": "바다", "색": 3}',
        ],
        [
            '{"이름": "바다"}',
            '{"이름": "바다", "색": ""}',
            "{'이름': '바다', '색': '파랑'}",
            '{"이름": "바다", "색": "파랑"',
            '["이름", "색"]',
            '{"이름": "바다", "색": "파랑", "값": "1"}',
            '{"이름": "바다", "색": ["파랑"]}',
            '{"이름": "바다", "색": null}',
            "3",
            "NaN",
        ],
    ),
    (
        "csv",
        {"n": 3},
        ["바다,산,강", "바다, 산, 강"],
        ["바다,산", "바다,산,강,들", "바다;산;강", "바다,,강", "바다,산\n강", "바다,산,"],
    ),
    (
        "opening",
        {"text": "사실"},
        ["사실 바다가 좋다.", "사실은 그렇다."],
        ["그건 사실이다.", "“사실 좋다.”"],
    ),
    (
        "opening",
        {"text": "In fact"},
        ["In fact it is.", "In fact, it is."],
        ["in fact it is.", "It is, in fact."],
    ),
    (
        "closing",
        {"text": "고맙습니다."},
        ["바다에 갔다. 고맙습니다."],
        ["고맙습니다. 바다에 갔다.", "바다에 갔다. 고맙습니다"],
    ),
    (
        "closing",
        {"text": "Thank you."},
        ["I went. Thank you."],
        ["Thank you. I went.", "I went. Thank you!"],
    ),
    (
        "hangul",
        {},
        ["바다를 보았다.", "ㅋㅋ, 좋다!"],
        ["TV를 보았다.", "3월에 갔다.", "３월", "海가 좋다", "...", "ｔｖ"],
    ),
    ("no-digits", {}, ["three times"], ["3 times", "٣", "at 7 o'clock"]),
    ("no-letter", {"letter": "w"}, ["I like the sea."], ["We like it.", "now", "I SAW IT"]),
    ("upper", {}, ["I SAW IT.", "3 TIMES"], ["I saw it.", "I SAW iT.", "123", "바다"]),
    ("lower", {}, ["i saw it.", "3 times"], ["I saw it.", "i saw It.", "123"]),
    (
        "no-comma",
        {},
        ["사실 바다가 좋다.", "In fact it is."],
        ["사실, 바다가 좋다.", "a，b", "a、b"],
    ),
    (
        "yo",
        {},
        ["좋아요. 갔어요!", "정말요?", "- 갔어요.\n- 왔어요", '"좋아요."'],
        ["좋아요. 갔다.", "갔습니다.", "요리", "...", "좋아요. 네"],
    ),
    (
        "nida",
        {},
        ["갔습니다. 봅니다!", "《바다》 갔습니다."],
        ["갔습니다. 봤어요.", "갔다.", "아니다 봐요.", "..."],
    ),
    (
        "no-repeat",
        {},
        ["바다를 보고 바다에 갔다.", "We saw the sea."],
        [
            "정말 정말 좋다.",
            "바다를 보고, 바다를 그렸다.",
            "The sea and the sky.",
            "...",
            "Sea, sea!",
        ],
    ),
    (
        "title",
        {"marks": ["《", "》"]},
        ["《바다》 바다에 갔다.", "《바다》\n바다에 갔다."],
        ["바다에 갔다. 《바다》", "<바다> 갔다.", "《바다》", "《》 갔다.", "《바다 갔다."],
    ),
    (
        "title",
        {"marks": ["<<", ">>"]},
        ["<<Sea>> I went."],
        ["<Sea> I went.", "<<Sea I went.", "I went. <<Sea>>"],
    ),
    (
        "postscript",
        {"mark": "추신:"},
        ["갔어요. 추신: 또 쓸게요.", "갔어요.\n추신: 또"],
        ["추신: 갔어요.", "갔어요. 추신:", "갔어요. 추신 또", "갔어요."],
    ),
    (
        "postscript",
        {"mark": "P.S."},
        ["I went. P.S. Write back."],
        ["P.S. I went.", "I went. P.S.", "I went. PS: Write."],
    ),
    (
        "quoted",
        {},
        ['"갔다. 왔다."', "“갔다.”"],
        ['"갔다." 왔다.', '"갔다." "왔다."', "'갔다.'", '"', '""', '"갔다.', "“갔다.“"],
    ),
    (
        "question",
        {},
        ["갔어요? 왔나요?", "정말?", "Did you?"],
        ["갔어요? 왔어요.", "갔어요.", "?", "갔어요? 왔나요"],
    ),
    ("exclaims", {"n": 2}, ["와! 좋다! 갔다.", "와!!"], ["와! 좋다.", "와! 와! 와!"]),
    (
        "brackets",
        {"n": 2},
        ["[이름] 씨, [날짜]에 봐요.", "[a][b]"],
        ["[이름] 씨", "(이름) 씨 (날짜)", "[] []", "[a] [b] [c]"],
    ),
    (
        "hashtags",
        {"n": 2},
        ["갔다. #바다 #산", "I went. #sea #sky"],
        [
            "갔다. #바다",
            "#바다 #산",
            "#바다 갔다. #산",
            "갔다. #바다 #산 #강",
            "갔다. # #",
            "갔다. @바다 @산",
        ],
    ),
    (
        "divider",
        {"mark": "==="},
        ["갔다. === 왔다.", "갔다.\n===\n왔다."],
        ["갔다. 왔다. ===", "갔다. == 왔다.", "갔다. === 왔다. === 좋다.", "=== 왔다."],
    ),
    (
        "order",
        {"words": ["모자", "가방"]},
        ["모자와 가방", "모자, 가방, 모자"],
        ["가방과 모자", "모자", "가방, 모자, 가방"],
    ),
    ("order", {"words": ["hat", "bag"]}, ["A hat and a bag."], ["That bag and a hat.", "a bag"]),
]


@pytest.mark.parametrize(("kind", "params", "kept", "broken"), CASES)
def test_instructions_accept_and_reject(kind, params, kept, broken):
    for text in kept:
        assert satisfies(text, [(kind, params)]), text
    for text in broken:
        assert not satisfies(text, [(kind, params)]), text


def test_every_instruction_has_a_case_a_question_and_a_way_to_be_drafted():
    assert {case[0] for case in CASES} == set(CHECKS) == set(SET)
    assert set(MEASURES) <= set(CHECKS)
    for its in DATA.values():
        used = {kind for _, kinds in its["templates"] for kind in kinds}
        assert used == set(its["ask"])
        assert len(used) >= 25
    assert set(DATA["ko"]["ask"]) | set(DATA["en"]["ask"]) == set(CHECKS)


def test_blank_and_endless_texts_satisfy_nothing():
    for text in ("", " ", "\n\n", "\u3000", "가 " * LONGEST):
        assert not satisfies(text, [("no-comma", {})])
        assert not satisfies(text, [])
    assert satisfies("가", [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("하나. 둘! 셋?", ["하나", "둘", "셋"]),
        ("끝이 없는 문장", ["끝이 없는 문장"]),
        ("- 하나\n- 둘.", ["하나", "둘"]),
        ("1. 하나.\n2. 둘.", ["하나", "둘"]),
        ("값은 3.5다. 끝.", ["값은 3.5다", "끝"]),
        ("말줄임... 끝", ["말줄임", "끝"]),
        ("... !!!", []),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_small_readings():
    assert sentence_marks("하나. 둘! 셋? 3.5") == [".", "!", "?"]
    assert words("가 - 나, === 다.") == ["가", "나,", "다."]
    assert paragraphs("\n\n가\n나\n\n \n다\n") == ["가\n나", "다"]
    assert paragraphs("") == []


def test_loose_readings():
    assert "둘" in loosened("하나\n둘\n셋")
    assert "하나\n둘" in loosened("하나\n둘\n셋")
    assert "굵게" in loosened("**굵게**")


def items(language, form, count=1500):
    setting = Setting(language=language, form=form)
    return [item_at("ifeval", setting, index, SEED) for index in range(count)]


@pytest.mark.parametrize("language", ["ko", "en"])
def test_one_choice_keeps_the_rules_and_the_others_keep_the_word(language):
    for item in items(language, "choice"):
        rules = item.check["rules"]
        kept = [choice for choice in item.choices if satisfies(choice, rules)]
        assert kept == [item.answer], item
        for choice in item.choices:
            assert satisfies(choice, rules[:1]), item
        lengths = [len(choice) for choice in item.choices]
        assert max(lengths) <= 4 * min(lengths), item


@pytest.mark.parametrize("language", ["ko", "en"])
def test_solutions_are_short_and_on_one_line_where_they_can_be(language):
    for item in items(language, "free"):
        lined = {"paragraphs", "bullets", "numbers"} & set(item.template.split("+"))
        assert ("\n" in item.solution) == bool(lined), item
        assert (item.stop == "\n") != bool(lined)
        assert 32 <= item.max_tokens <= 160
        assert item.max_tokens >= min(160, 2 * len(item.answer))
        length = len(item.context) + len(item.solution)
        assert length <= (190 if language == "ko" else 350), item
        if language == "ko":
            hangul = len(re.findall("[가-힣]", item.context + item.solution))
            assert hangul <= 150, item


@pytest.mark.parametrize("language", ["ko", "en"])
def test_rules_survive_json_and_every_template_is_satisfiable(language):
    seen = Counter()
    for item in items(language, "free"):
        again = json.loads(json.dumps(item.check))
        assert satisfies(item.answer, again["rules"])
        assert [kind for kind, _ in again["rules"]][-1] == item.template.split("+")[-1]
        seen[item.template] += 1
    assert set(seen) == set(ifeval.templates(language))


def test_korean_is_well_formed():
    pairs = {"을": "을를", "를": "을를", "과": "과와", "와": "과와", "은": "은는", "는": "은는"}
    known = "|".join(sorted([*DATA["ko"]["topics"], *DATA["ko"]["extras"]], key=len, reverse=True))
    seen = 0
    for item in items("ko", "choice"):
        for text in (item.context, *item.choices):
            assert "  " not in text
            for noun, particle in re.findall(rf"({known})'?([을를과와은는])(?= )", text):
                assert particle == pairs[particle][not final_consonant(noun)], text
                seen += 1
    assert seen > 3000


def test_the_words_of_an_item_do_not_hide_in_each_other():
    for its in DATA.values():
        nouns = [*its["topics"], *its["extras"]]
        assert len(set(nouns)) == len(nouns)
        assert not [(a, b) for a in nouns for b in nouns if a != b and a in b and its is DATA["ko"]]
    frames = json.dumps(DATA["ko"]["frames"], ensure_ascii=False)
    assert not [noun for noun in (*DATA["ko"]["topics"], *DATA["ko"]["extras"]) if noun in frames]


def first(language, name):
    return next(item for item in items(language, "free") if item.template == name)


def test_marking_is_strict_and_loose():
    item = first("ko", "quoted")
    for text, strict, loose in (
        (item.answer, True, True),
        (f" {item.answer}\n", True, True),
        (f"네, 알겠습니다.\n{item.answer}", False, True),
        (f"{item.answer}\n도움이 되었기를 바랍니다.", False, True),
        (f"**{item.answer}**", False, True),
        (item.answer.strip('"'), False, False),
        ("", False, False),
        ("  \n", False, False),
    ):
        found = ifeval.mark(text, item)
        assert (found.strict, found.loose) == (strict, loose), text
        assert found.answered == bool(text.strip())


@pytest.mark.parametrize("language", ["ko", "en"])
def test_an_echo_or_the_word_alone_is_no_answer(language):
    for item in items(language, "free", 600):
        topic = item.check["rules"][0][1]["word"]
        for text in (topic, f"{topic}.", item.question, item.context):
            found = ifeval.mark(text, item)
            assert not found.loose, (item, text)


def test_json_in_a_fence_is_loosely_right():
    item = first("en", "json")
    found = ifeval.mark(f"```json\n{item.answer}\n```", item)
    assert (found.strict, found.loose) == (False, True)


def test_hostile_texts_are_marked_quickly():
    some = {item.template: item for item in items("ko", "free", 600) + items("en", "free", 600)}
    hostile = [
        *("." * 100_000, "[" * 100_000, '{"a":' * 20_000, "\n" * 100_000, "- \n" * 30_000),
        *("." * LONGEST, "[" * LONGEST, '{"a":' * 700, "[" * 900, "\n " * 2000, '."' * 1900),
        *("1" * LONGEST, "# " * 1900, "바다" * 1900, "sea " * 900, "*" * LONGEST, "\x00" * 100),
    ]
    start = time.process_time()
    for item in some.values():
        for text in hostile:
            ifeval.mark(text, item)
    assert time.process_time() - start < 60
