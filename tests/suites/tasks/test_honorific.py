"""Speech levels against tables checked by hand; Korean grammar of every generated sentence."""

import hashlib
import json
import re

import pytest

from harness.suites.tasks import honorific, honorific_en, item_at
from harness.suites.tasks.base import Setting
from harness.suites.tasks.conjugate import (
    LEVELS,
    Predicate,
    before_eu,
    conjugate,
    joined,
    note,
)
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.fill import picked
from harness.suites.tasks.hangul import final_consonant
from harness.suites.tasks.honorific_ko import TEMPLATES
from harness.suites.tasks.speech import ROWS, Speech

SEED = hashlib.sha256(b"tests of honorific").digest()

# Stem, change or kind, then present 해라체, 해체, 해요체, 하십시오체 and past 해요체.
PRESENT = """
먹 -    먹는다 먹어 먹어요 먹습니다 먹었어요
읽 -    읽는다 읽어 읽어요 읽습니다 읽었어요
앉 -    앉는다 앉아 앉아요 앉습니다 앉았어요
닫 -    닫는다 닫아 닫아요 닫습니다 닫았어요
벗 -    벗는다 벗어 벗어요 벗습니다 벗었어요
씻 -    씻는다 씻어 씻어요 씻습니다 씻었어요
찍 -    찍는다 찍어 찍어요 찍습니다 찍었어요
가 -    간다 가 가요 갑니다 갔어요
오 -    온다 와 와요 옵니다 왔어요
보 -    본다 봐 봐요 봅니다 봤어요
주 -    준다 줘 줘요 줍니다 줬어요
추 -    춘다 춰 춰요 춥니다 췄어요
배우 -  배운다 배워 배워요 배웁니다 배웠어요
마시 -  마신다 마셔 마셔요 마십니다 마셨어요
기다리 - 기다린다 기다려 기다려요 기다립니다 기다렸어요
보내 -  보낸다 보내 보내요 보냅니다 보냈어요
켜 -    켠다 켜 켜요 켭니다 켰어요
싸 -    싼다 싸 싸요 쌉니다 쌌어요
되 -    된다 돼 돼요 됩니다 됐어요
쉬 -    쉰다 쉬어 쉬어요 쉽니다 쉬었어요
뛰 -    뛴다 뛰어 뛰어요 뜁니다 뛰었어요
하 -    한다 해 해요 합니다 했어요
쓰 -    쓴다 써 써요 씁니다 썼어요
끄 -    끈다 꺼 꺼요 끕니다 껐어요
모으 -  모은다 모아 모아요 모읍니다 모았어요
잠그 -  잠근다 잠가 잠가요 잠급니다 잠갔어요
따르 -  따른다 따라 따라요 따릅니다 따랐어요
열 -    연다 열어 열어요 엽니다 열었어요
만들 -  만든다 만들어 만들어요 만듭니다 만들었어요
놀 -    논다 놀아 놀아요 놉니다 놀았어요
팔 -    판다 팔아 팔아요 팝니다 팔았어요
쓸 -    쓴다 쓸어 쓸어요 씁니다 쓸었어요
듣 ㄷ   듣는다 들어 들어요 듣습니다 들었어요
걷 ㄷ   걷는다 걸어 걸어요 걷습니다 걸었어요
싣 ㄷ   싣는다 실어 실어요 싣습니다 실었어요
묻 ㄷ   묻는다 물어 물어요 묻습니다 물었어요
돕 ㅂ   돕는다 도와 도와요 돕습니다 도왔어요
굽 ㅂ   굽는다 구워 구워요 굽습니다 구웠어요
줍 ㅂ   줍는다 주워 주워요 줍습니다 주웠어요
짓 ㅅ   짓는다 지어 지어요 짓습니다 지었어요
붓 ㅅ   붓는다 부어 부어요 붓습니다 부었어요
긋 ㅅ   긋는다 그어 그어요 긋습니다 그었어요
부르 르 부른다 불러 불러요 부릅니다 불렀어요
고르 르 고른다 골라 골라요 고릅니다 골랐어요
자르 르 자른다 잘라 잘라요 자릅니다 잘랐어요
누르 르 누른다 눌러 눌러요 누릅니다 눌렀어요
여쭈 어 여쭌다 여쭈어 여쭈어요 여쭙니다 여쭈었어요
좋 a    좋다 좋아 좋아요 좋습니다 좋았어요
맑 a    맑다 맑아 맑아요 맑습니다 맑았어요
맛있 a  맛있다 맛있어 맛있어요 맛있습니다 맛있었어요
세 a    세다 세 세요 셉니다 셌어요
조용하 a 조용하다 조용해 조용해요 조용합니다 조용했어요
예쁘 a  예쁘다 예뻐 예뻐요 예쁩니다 예뻤어요
바쁘 a  바쁘다 바빠 바빠요 바쁩니다 바빴어요
크 a    크다 커 커요 큽니다 컸어요
고프 a  고프다 고파 고파요 고픕니다 고팠어요
멀 a    멀다 멀어 멀어요 멉니다 멀었어요
춥 aㅂ  춥다 추워 추워요 춥습니다 추웠어요
가볍 aㅂ 가볍다 가벼워 가벼워요 가볍습니다 가벼웠어요
빠르 a르 빠르다 빨라 빨라요 빠릅니다 빨랐어요
학생 n  학생이다 학생이야 학생이에요 학생입니다 학생이었어요
의사 n  의사다 의사야 의사예요 의사입니다 의사였어요
"""

# Stem, change, then honorific 해요체, 하십시오체, past; request; future; asked; memo; 는지.
DERIVED = """
먹 -    먹으세요 먹으십니다 먹으셨어요 먹으십시오 먹을_거예요 먹니 먹음 먹는지
가 -    가세요 가십니다 가셨어요 가십시오 갈_거예요 가니 감 가는지
열 -    여세요 여십니다 여셨어요 여십시오 열_거예요 여니 엶 여는지
만들 -  만드세요 만드십니다 만드셨어요 만드십시오 만들_거예요 만드니 만듦 만드는지
듣 ㄷ   들으세요 들으십니다 들으셨어요 들으십시오 들을_거예요 듣니 들음 듣는지
돕 ㅂ   도우세요 도우십니다 도우셨어요 도우십시오 도울_거예요 돕니 도움 돕는지
짓 ㅅ   지으세요 지으십니다 지으셨어요 지으십시오 지을_거예요 짓니 지음 짓는지
부르 르 부르세요 부르십니다 부르셨어요 부르십시오 부를_거예요 부르니 부름 부르는지
쓰 -    쓰세요 쓰십니다 쓰셨어요 쓰십시오 쓸_거예요 쓰니 씀 쓰는지
하 -    하세요 하십니다 하셨어요 하십시오 할_거예요 하니 함 하는지
"""

JOINED = """
{stem}고_있 먹 - 먹고_있다 먹고_있어 먹고_있어요 먹고_있습니다
{stem}고_싶 듣 ㄷ 듣고_싶다 듣고_싶어 듣고_싶어요 듣고_싶습니다
{stem}지_않 열 - 열지_않는다 열지_않아 열지_않아요 열지_않습니다
{inf}야_하 돕 ㅂ 도와야_한다 도와야_해 도와야_해요 도와야_합니다
{inf}야_하 고르 르 골라야_한다 골라야_해 골라야_해요 골라야_합니다
{will}_수_있 굽 ㅂ 구울_수_있다 구울_수_있어 구울_수_있어요 구울_수_있습니다
{will}_수_있 만들 - 만들_수_있다 만들_수_있어 만들_수_있어요 만들_수_있습니다
안_{stem} 가 - 안_간다 안_가 안_가요 안_갑니다
"""


def rows(table):
    return [
        [field.replace("_", " ") for field in line.split()] for line in table.strip().splitlines()
    ]


def predicate(stem, mark):
    kind = {"a": "adjective", "n": "noun"}.get(mark[0], "verb")
    return Predicate(stem, kind, mark.lstrip("-an"))


@pytest.mark.parametrize("row", rows(PRESENT), ids=lambda row: row[0])
def test_speech_levels_checked_by_hand(row):
    stem, mark, *present, past = row
    word = predicate(stem, mark)
    assert [conjugate(word, "present", level)[0] for level in LEVELS] == present
    assert conjugate(word, "past", "해요체")[0] == past
    base = past.removesuffix("어요")
    assert [conjugate(word, "past", level)[0] for level in LEVELS] == [
        base + end for end in ("다", "어", "어요", "습니다")
    ]


@pytest.mark.parametrize("row", rows(DERIVED), ids=lambda row: row[0])
def test_other_forms_checked_by_hand(row):
    stem, mark, polite, formal, past, request, future, asked, memo, whether = row
    word = predicate(stem, mark)
    (raised,) = joined(word, "{honorific}")
    assert conjugate(raised, "present", "해요체")[0] == polite
    assert conjugate(raised, "present", "하십시오체") == (formal,)
    assert conjugate(raised, "past", "해요체")[0] == past
    assert conjugate(word, "request", "하십시오체") == (request,)
    assert conjugate(word, "request", "해요체")[0] == polite
    assert conjugate(word, "future", "해요체")[0] == future
    assert conjugate(word, "asked", "해라체")[0] == asked
    assert conjugate(word, "asked", "하십시오체")[0].endswith("니까")
    assert note(word, "present") == memo
    assert note(word, "asked") == whether


@pytest.mark.parametrize("row", rows(JOINED), ids=lambda row: row[0] + row[1])
def test_auxiliaries_checked_by_hand(row):
    pattern, stem, mark, *expected = row
    word = joined(predicate(stem, mark), pattern)[0]
    assert [conjugate(word, "present", level)[0] for level in LEVELS] == expected


def test_plans_copulas_and_negation():
    assert [conjugate(Predicate("먹"), "plan", level) for level in LEVELS] == [
        ("먹겠다",),
        ("먹겠어",),
        ("먹겠어요",),
        ("먹겠습니다",),
    ]
    word = Predicate("책이 아니", "noun", "아니")
    assert [conjugate(word, "present", level)[0] for level in LEVELS] == [
        "책이 아니다",
        "책이 아니야",
        "책이 아니에요",
        "책이 아닙니다",
    ]
    assert conjugate(word, "past", "해체") == ("책이 아니었어",)
    assert note(word, "present") == "책이 아님"
    assert note(Predicate("가수", "noun"), "present") == "가수임"
    assert note(Predicate("먹"), "future") == "먹을 것임"
    assert note(Predicate("먹"), "plan") == "먹겠음"
    assert note(Predicate("먹"), "asked-past") == "먹었는지"
    assert note(Predicate("맛있", "adjective"), "present") == "맛있음"
    assert before_eu(Predicate("만 원", "noun")) == "만 원이"


def test_every_standard_form_is_accepted():
    assert set(conjugate(Predicate("보"), "past", "해체")) == {"봤어", "보았어"}
    assert set(conjugate(Predicate("되"), "present", "해요체")) == {"돼요", "되어요"}
    assert set(conjugate(Predicate("학생", "noun"), "present", "해요체")) == {
        "학생이에요",
        "학생이어요",
    }
    assert {"닫으세요", "닫아요"} <= set(conjugate(Predicate("닫"), "request", "해요체"))
    asked = [
        form
        for word in joined(Predicate("열"), "{inf} 주")
        for form in conjugate(word, "request", "해요체")
    ]
    assert {"열어 주세요", "열어주세요", "열어 줘요"} <= set(asked)
    assert {"올 거야", "올 것이야"} <= set(conjugate(Predicate("오"), "future", "해체"))


def items(language, form, count=1500):
    setting = Setting(language=language, form=form)
    return [item_at("honorific", setting, index, SEED) for index in range(count)]


def sentences(item):
    given = (item.answer, *item.choices, *item.check.get("accept", ()))
    return [text.strip() for text in (*given, *item.check.get("given", ()))]


SUBJECTS = re.compile(
    r"^((?:동생|친구|아이|민수|지우|영희|형|누나|언니|조카|후배)[은는이가]|"
    r"(?:할머니|할아버지|선생님|어머니|아버지|사장님|교수님)[이가])(?= )"
)
OBJECTS = re.compile(r"([가-힣]+)([을를])(?= (?!것|거|겁|수))")


@pytest.mark.parametrize("form", ["choice", "free"])
def test_korean_sentences_are_well_formed(form):
    for item in items("ko", form):
        if item.template in {"name", "word"}:
            continue
        for text in sentences(item):
            assert text[-1] in ".?", text
            assert "  " not in text
            assert not re.search(r"[^가-힣 .?]", text), text
            for noun, particle in OBJECTS.findall(text):
                assert particle == ("을" if final_consonant(noun) else "를"), text
            if subject := SUBJECTS.match(text):
                noun, particle = subject[1][:-1], subject[1][-1]
                assert particle in ("은이" if final_consonant(noun) else "는가"), text


@pytest.mark.parametrize("form", ["choice", "free"])
def test_particles_after_quotations_agree(form):
    for item in items("ko", form):
        for quoted, particle in re.findall(r"'([^']+)'(을|를|이|가|은|는|과|와) ", item.context):
            expected = "을이은과" if final_consonant(quoted.rstrip(".?")) else "를가는와"
            assert particle in expected, item.context


ENDS = {
    "해요체": r"(요|오)[.?]$",
    "하십시오체": r"(니다\.|니까\?|십시오\.)$",
    "해라체": r"(다\.|니\?|냐\?|라\.)$",
    "해체": r"[^요][.?]$",
}


@pytest.mark.parametrize("form", ["choice", "free"])
def test_answers_end_as_the_level_asks(form):
    seen = set()
    for item in items("ko", form):
        if item.template not in ROWS:
            continue
        target = max((level for level in LEVELS if level in item.context), key=len)
        for text in item.check.get("accept", [item.answer.strip()]):
            assert re.search(ENDS[target], text), (target, text)
            if target in {"해체", "해라체"}:
                assert not text.endswith(("습니다.", "니까?", "십시오.")), text
            seen.add((item.template, target))
    assert len(seen) == 4 * len(ROWS)


def test_persons_of_respect_take_the_right_verb_and_others_do_not():
    seen = 0
    for form in ("choice", "free"):
        for item in items("ko", form):
            if item.template not in {"elder", "elder-special"}:
                continue
            answer = item.answer.strip()
            raised = bool(re.search(r"시[^킨]|[으가-힣]셨|세요|셔|신다|십니다", answer.split()[-1]))
            assert raised == ("께서" in answer), answer
            seen += 1
    assert seen > 150


def test_speech_templates_have_the_level_of_their_row():
    for item in items("ko", "choice"):
        assert item.level == TEMPLATES[item.template]
        assert item.template not in ROWS or item.level == ROWS[item.template].level


EATS = {
    "accept": ["동생이 밥을 먹어요."],
    "reject": ["동생이 밥을 먹는다.", "동생이 밥을 먹어.", "동생이 밥을 먹습니다."],
    "given": ["동생이 밥을 먹는다."],
}


@pytest.mark.parametrize(
    ("text", "strict", "loose"),
    [
        (" 동생이 밥을 먹어요.", True, True),
        ("동생이 밥을 먹어요.\n", True, True),
        ("동생이 밥을 먹어요", False, True),
        ("'동생이 밥을 먹어요.'", False, True),
        ("“동생이 밥을 먹어요.”입니다.", False, True),
        ("**동생이 밥을 먹어요.**", False, True),
        ("답: 동생이 밥을 먹어요.", False, True),
        ("동생이 밥을 먹는다. → 동생이 밥을 먹어요.", False, True),
        ("동생이 밥을 먹는다.", False, False),
        ("동생이 밥을 먹어.", False, False),
        ("동생이 밥을 먹습니다.", False, False),
        ("동생이 밥을 먹어요. 또는 동생이 밥을 먹습니다.", False, False),
        ("동생이 밥을 먹어요라고 합니다", False, False),
        ("동생이 밥을 먹었어요.", False, False),
        ("밥을 먹어요.", False, False),
        ("동생이  밥을\n먹어요.", False, True),
        ("", False, False),
        ("요", False, False),
    ],
)
def test_marking_of_korean(text, strict, loose):
    item = item_at("honorific", Setting(language="ko", form="free"), 0, SEED)
    object.__setattr__(item, "check", {"also": [], **EATS})
    found = honorific.mark(text, item)
    assert (found.strict, found.loose) == (strict, loose)
    assert found.answered == bool(text)


@pytest.mark.parametrize(
    ("text", "strict", "loose"),
    [
        ("Could you close the door, please?", True, True),
        ("could you close the door please", False, True),
        ("“Could you please close the door?”", False, True),
        ("Please close the door.", False, False),
        ("Close the door.", False, False),
        ("Close the door. -> Could you close the door, please?", False, True),
        ("Could you close the door, please? Or: Please close the door.", False, False),
        ("I’m sure", False, False),
    ],
)
def test_marking_of_english(text, strict, loose):
    item = item_at("honorific", Setting(language="en", form="free"), 0, SEED)
    check = {
        "accept": ["Could you close the door, please?", "Could you please close the door?"],
        "also": [],
        "reject": ["Close the door.", "Please close the door."],
        "given": ["Close the door."],
    }
    object.__setattr__(item, "check", check)
    found = honorific.mark(text, item)
    assert (found.strict, found.loose) == (strict, loose)


def test_typographic_apostrophes_are_read():
    item = item_at("honorific", Setting(language="en", form="free"), 0, SEED)
    object.__setattr__(
        item, "check", {"accept": ["I don't know."], "also": [], "reject": [], "given": []}
    )
    assert honorific.mark("I don’t know.", item).loose


@pytest.mark.parametrize("language", ["ko", "en"])
def test_wrong_levels_are_marked_wrong(language):
    for item in items(language, "free", 400):
        for text in item.check["reject"]:
            if text not in item.check["given"] and text not in item.check["accept"]:
                assert not honorific.mark(text, item).loose, (item, text)
        for text in item.check["given"]:
            assert not honorific.mark(text, item).loose, (item, text)
        for text in (*item.check["accept"], *item.check["also"]):
            assert honorific.mark(text, item).loose, (item, text)
            assert honorific.mark(text.rstrip(".?"), item).loose, (item, text)


def test_long_hostile_text_is_read_quickly():
    item = items("ko", "free", 1)[0]
    for text in ("가" * 100_000, "'" * 100_000, f"{item.answer} " * 5_000, "a b " * 25_000):
        assert not honorific.mark(text, item).strict


@pytest.mark.parametrize(
    ("register", "expected"),
    [
        ("slang", ("They ain't gonna buy it.",)),
        ("casual", ("They aren't going to buy it.", "They're not going to buy it.")),
        ("plain", ("They are not going to buy it.",)),
        ("formal", ("They are not going to purchase it.",)),
    ],
)
def test_english_registers_are_written_by_rule(register, expected):
    text = (
        "[They ain't|They aren't/They're not|They are not|] [gonna|going to||] [buy|||purchase] it."
    )
    assert honorific_en.written(text, register) == expected


def test_english_slang_and_contractions_stand_where_they_may():
    words = "gonna|wanna|gotta|dunno|gimme|lemme|kinda|ain't|lotta|outta|cos|yeah"
    slang = re.compile(rf"\b({words})\b")
    for item in items("en", "free"):
        if not item.question.startswith("Rewrite this in"):
            continue
        target = re.match(r"Rewrite this in (\w+)", item.question)[1]
        for text in item.check["accept"]:
            lower = text.lower()
            assert ("'" in lower) <= (target in {"slang", "casual"}), text
            assert bool(slang.search(lower)) <= (target == "slang"), text
            assert re.match("[A-Z]", text), text
            assert text[-1] in ".?!", text


def test_choices_and_context_fit_small_models():
    for language, limit in (("ko", 170), ("en", 420)):
        for item in items(language, "free"):
            assert len(item.context) + len(item.solution) < limit, item
            assert item.max_tokens >= max(32, 2 * len(item.answer))
            assert item.question.startswith(item.context.split(": ", 1)[1].rsplit("\n", 1)[0])
            json.dumps(item.check)


def test_options_are_drawn_in_place():
    draw = Draw(SEED, "options", 0)
    assert picked(draw, "(가|가) 나") == "가 나"
    assert picked(draw, "없음 (하나)") == "없음 (하나)"


def test_a_speech_knows_its_memo():
    speech = Speech("동생이 밥을 {}", (Predicate("먹"),), "past")
    assert speech.memo() == "동생이 밥을 먹었음"
    assert speech.at("해라체") == ("동생이 밥을 먹었다.",)
