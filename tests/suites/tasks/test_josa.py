"""Particles and agreement against Unicode's decomposition and tables checked by hand."""

import hashlib
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.suites.tasks import item_at, josa, words
from harness.suites.tasks.base import Item, Setting
from harness.suites.tasks.hangul import (
    PARTICLES,
    final_consonant,
    particle,
    syllable,
    takes_first,
    with_particle,
)

SEED = hashlib.sha256(b"tests of josa").digest()
FORMS = ("choice", "free")
PAIR_OF = {template.name: template.pair for template in josa.TEMPLATES["ko"]}
SYLLABLES = st.integers(0xAC00, 0xD7A3).map(chr)


def items(language, form, count=2000):
    setting = Setting(language=language, form=form)
    return [item_at("josa", setting, index, SEED) for index in range(count)]


def sentence(item: Item) -> tuple[str, str, str]:
    """What stands before the form, the right form, and what stands behind it."""
    if item.choices:
        ends = [choice.strip() for choice in item.choices]
        after = ends[0]
        while not all(end.endswith(after) for end in ends):
            after = after[1:]
        if " " in after:
            after = after[after.index(" ") :]  # Both forms may end alike: 으로 and 로.
        right = item.answer.strip().removesuffix(after)
        return item.context, right, after
    question = item.context.split(": ", 2)[2].rpartition("\n")[0]
    before, after = re.split(r"\( \)| ___", question)
    return before, item.answer, after


BY_HAND = """
사과는 책은 물은 바다는 선생님은 아이는 꽃은 닭은 값은 흙은
사과가 책이 물이 바다가 선생님이 아이가 꽃이 닭이 값이 흙이
사과를 책을 물을 바다를 선생님을 아이를 꽃을 닭을 값을 흙을
사과와 책과 물과 바다와 선생님과 아이와 꽃과 닭과 값과 흙과
학교로 집으로 서울로 부산으로 제주로 교실로 병원으로 호텔로 산으로 들로
민수야 민준아 지우야 하늘아 수빈아
사과라고 책이라고 물이라고 서울이라고
사과예요 책이에요 물이에요 서울이에요
0은 1은 2는 3은 4는 5는 6은 7은 8은 9는 10은 20이 100을 35와 48과
0으로 1로 2로 3으로 4로 5로 6으로 7로 8로 9로 10으로 31로 106으로
KBS는 LG는 CNN은 ATM은 HTML은 TV가 URL이 UN으로 URL로 IBM으로 TV로
"""


@pytest.mark.parametrize("whole", BY_HAND.split())
def test_particles_checked_by_hand(whole):
    matches = [
        (whole.removesuffix(form), pair)
        for pair, forms in PARTICLES.items()
        for form in forms
        if whole.endswith(form) and len(whole) > len(form)
    ]
    # The longest ending is the particle meant: 집으로 ends in 로 too.
    word, pair = min(matches, key=lambda match: len(match[0]))
    assert with_particle(word, pair) == whole


@given(SYLLABLES)
def test_finals_agree_with_unicode_decomposition(char):
    jamo = unicodedata.normalize("NFD", char)
    assert bool(final_consonant(char)) == (len(jamo) == 3)
    if len(jamo) == 3:
        # Conjoining finals and the letters shown alone share the end of their names.
        conjoining = unicodedata.name(jamo[2]).removeprefix("HANGUL JONGSEONG ")
        first = unicodedata.name(final_consonant(char)).removeprefix("HANGUL LETTER ")
        assert first.replace("SSANG", "") == conjoining.replace("SSANG", "") or "-" in conjoining


@given(SYLLABLES)
def test_only_a_consonant_other_than_rieul_takes_euro(char):
    final = unicodedata.normalize("NFD", char)[2:]
    assert (particle(char, "으로/로") == "으로") == (final not in ("", "\u11af"))
    assert (particle(char, "은/는") == "은") == (final != "")


def test_syllables_are_composed_in_unicode_order():
    assert syllable(0, 0, 0) == "가"
    assert syllable(18, 20, 27) == "힣"
    assert syllable(11, 20, 8) == "일"


@pytest.mark.parametrize("word", ["", "abc", "물!", "ㄱ", " "])
def test_words_without_a_known_sound_are_refused(word):
    with pytest.raises(ValueError, match="Latin capital"):
        final_consonant(word)


@pytest.mark.parametrize("form", FORMS)
def test_korean_items_follow_unicode(form):
    seen = 0
    for item in items("ko", form):
        before, right, _ = sentence(item)
        pair = next(
            template.pair for template in josa.TEMPLATES["ko"] if template.name == item.template
        )
        last = unicodedata.normalize("NFD", before)[-1]
        if "\u1100" <= last <= "\u11ff":
            has_final = last >= "\u11a8"
            first = has_final and not (pair == "으로/로" and last == "\u11af")
            assert item.answer.startswith(PARTICLES[pair][not first])
            seen += 1
        if form == "free":
            assert right == particle(before.split(" ")[-1], pair)
    assert seen > 1000


@pytest.mark.parametrize("form", FORMS)
def test_right_forms_are_balanced_within_each_template(form):
    first: dict[str, list[bool]] = {}
    for item in items("ko", form, 4000):
        word = sentence(item)[0].split()[-1]
        pair = next(
            template.pair for template in josa.TEMPLATES["ko"] if template.name == item.template
        )
        first.setdefault(item.template, []).append(takes_first(word, pair))
    for template, values in first.items():
        assert 0.35 < sum(values) / len(values) < 0.65, template


@pytest.mark.parametrize("language", ["ko", "en"])
def test_questions_name_both_forms_and_have_one_blank(language):
    blank = "( )" if language == "ko" else " ___ "
    for item in items(language, "free"):
        assert item.context.count(blank) == 1
        quote = "'" if language == "ko" else '"'
        for form in (item.answer, item.check["wrong"]):
            assert item.context.count(f"{quote}{form}{quote}") == 1
        assert item.question.startswith(item.context.split(": ", 1)[1].rpartition("\n")[0])


@pytest.mark.parametrize("language", ["ko", "en"])
def test_choices_differ_in_the_form_alone(language):
    for item in items(language, "choice"):
        one, other = item.choices
        start = " " if language == "en" else ""
        assert one.startswith(start)
        assert other.startswith(start)
        if language == "en":
            assert one.split()[1:] == other.split()[1:]
        else:
            ends = {re.sub(r"^[가-힣]+", "", choice) for choice in item.choices}
            assert len(ends) == 1


@pytest.mark.parametrize("language", ["ko", "en"])
def test_texts_stay_short(language):
    most = 150 if language == "ko" else 350
    for form in FORMS:
        assert all(len(item.context + item.solution) <= most for item in items(language, form, 900))


def test_word_lists_have_no_word_twice_and_all_finals():
    for name in ("KO_THINGS", "KO_PLACES", "KO_PEOPLE", "KO_NAMES", "KO_ACRONYMS"):
        listed = getattr(words, name)
        assert len(listed) == len(set(listed)), name
        assert all(words.by_final(listed).values()), name
    # R is read two ways, and km may be read as a unit.
    assert not any(word.endswith("R") or word == "KM" for word in words.KO_ACRONYMS)
    assert len(words.KO_THINGS) + len(words.KO_PLACES) >= 300


@pytest.mark.parametrize("form", FORMS)
def test_english_articles_follow_the_first_letter_where_it_does_not_mislead(form):
    misleading = {"article-sound", "article-sound-need", "article-letter"}
    seen = 0
    for item in items("en", form):
        if item.template.startswith("article") and item.template not in misleading:
            _, article, after = sentence(item)
            assert (article == "an") == (after.split()[0][0] in "aeiou"), item
            seen += 1
    assert seen > 500


@pytest.mark.parametrize("form", FORMS)
def test_letters_go_by_their_names(form):
    seen = set()
    for item in items("en", form, 4000):
        if item.template == "article-letter":
            _, article, after = sentence(item)
            letter = after.split()[0]
            seen.add(letter)
            assert (article == "an") == (letter in "AEFILMNORSX"), item
    assert len(seen) > 20
    assert "H" not in seen  # Its name is read two ways.


@pytest.mark.parametrize(
    ("vowel", "phrase"),
    [
        (True, "hour"),
        (True, "honest man"),
        (True, "MP"),
        (True, "8-page book"),
        (True, "umpire"),
        (False, "university"),
        (False, "European city"),
        (False, "one-way street"),
        (False, "UFO"),
        (False, "10-page book"),
    ],
)
def test_sounds_that_mislead(vowel, phrase):
    lists = (words.EN_CONSONANT_SOUNDS, words.EN_VOWEL_SOUNDS)
    assert phrase in lists[vowel]
    assert phrase not in lists[not vowel]


def is_plural(template: str, before: str, after: str) -> bool:
    """The number of a subject, by its words."""
    before_words, after_words = before.split(), after.split()
    if template == "verb-each":
        return before_words[0] in {"All", "Many", "Both"}
    if template == "verb-these":
        return before_words[2] in {"these", "those"}
    if template == "verb-pronoun":
        return before_words[-1] in {"they", "we", "you"}
    if template == "verb-irregular":
        return before_words[1] in {pair[1] for pair in words.EN_IRREGULAR}
    if template == "verb-compound":
        return before_words[2] == "and"
    if template == "verb-gerund":
        return not before_words[0].endswith("ing")
    if template == "verb-question":
        return after_words[-1].rstrip("?").endswith("s")
    if template == "verb-there":
        return after_words[0] != "one"
    return before_words[2 if template == "verb-adjective" else 1].endswith("s")


@pytest.mark.parametrize("form", FORMS)
def test_english_verbs_agree(form):
    singular = {"is", "was", "has", "looks", "seems"}
    seen = set()
    for item in items("en", form):
        if item.template.startswith("verb"):
            before, verb, after = sentence(item)
            plural = is_plural(item.template, before, after)
            assert (verb in singular or verb.endswith("s")) != plural, item
            seen.add((item.template, plural))
    assert len(seen) == 2 * 13


@pytest.mark.parametrize("form", FORMS)
def test_the_nearer_noun_misleads(form):
    for item in items("en", form):
        if item.template in {"verb-attractor", "verb-relative"}:
            before = sentence(item)[0].split()
            assert before[1].endswith("s") != any(word.endswith("s") for word in before[3:]), item


def free(answer, wrong, before, after=""):
    check = {"wrong": wrong, "before": before, "after": after}
    return Item(template="", level=1, context="", answer=answer, check=check)


TOPIC = free("는", "은", "사과")
TOWARD = free("로", "으로", "서울")
COPULA = free("이에요", "예요", "차탄")
CALL = free("아", "야", "민준")
AN = free("an", "a", "see", "apple")
VERB = free("is", "are", "teacher", "here")


@pytest.mark.parametrize(
    ("item", "text", "strict", "loose"),
    [
        (TOPIC, "는", True, True),
        (TOPIC, " 는\n", True, True),
        (TOPIC, "'는'", False, True),
        (TOPIC, "**는**", False, True),
        (TOPIC, "는.", False, True),
        (TOPIC, "는입니다.", False, True),
        (TOPIC, "정답: 는", False, True),
        (TOPIC, "정답은 는입니다.", False, True),
        (TOPIC, "정답은 '는'입니다.", False, True),
        (TOPIC, "사과는", False, True),
        (TOPIC, "이 사과는 처음 봅니다.", False, True),
        (TOPIC, "'사과'는 받침이 없으므로 '는'을 씁니다.", False, True),
        (TOPIC, "'은'이 아니라 '는'이 알맞습니다.", False, True),
        (TOPIC, "는\n\n받침이 없기 때문입니다.", False, True),
        (TOPIC, "은", False, False),
        (TOPIC, "이 사과은 처음 봅니다.", False, False),
        (TOPIC, "'은' 또는 '는'", False, False),
        (TOPIC, "'는' 또는 '은'", False, False),
        (TOPIC, "는\n아니요, '은'입니다.", False, False),
        (TOPIC, "도", False, False),
        (TOPIC, "받침은 없습니다.", False, False),
        (TOPIC, "", False, False),
        (TOWARD, "로", True, True),
        (TOWARD, "서울로 갑니다.", False, True),
        (TOWARD, "으로", False, False),
        (TOWARD, "서울으로", False, False),
        (COPULA, "이에요", True, True),
        (COPULA, "이에요.", False, True),
        (COPULA, "차탄이에요.", False, True),
        (COPULA, "예요", False, False),
        (COPULA, "차탄예요.", False, False),
        (CALL, "아", True, True),
        (CALL, "민준아, 같이 가자.", False, True),
        (CALL, "야", False, False),
        (CALL, "아, 모르겠습니다.", False, False),
        (AN, "an", True, True),
        (AN, "An", False, True),
        (AN, '"an"', False, True),
        (AN, "an apple", False, True),
        (AN, "In the picture I see an apple.", False, True),
        (AN, "The answer is an, because apple begins with a vowel.", False, True),
        (AN, "Answer: an", False, True),
        (AN, "a", False, False),
        (AN, "It is a word.", False, False),
        (AN, "'a' or 'an'", False, False),
        (VERB, "is", True, True),
        (VERB, "The teacher is here.", False, True),
        (VERB, "The correct word is 'is'.", False, True),
        (VERB, "are", False, False),
        (VERB, "The teacher are here.", False, False),
        (VERB, "was", False, False),
    ],
)
def test_marks_by_hand(item, text, strict, loose):
    found = josa.mark(text, item)
    assert (found.strict, found.loose) == (strict, loose)


@pytest.mark.parametrize(
    ("item", "text", "answered"),
    [(TOPIC, "은", True), (TOPIC, "모릅니다", False), (AN, "a", True), (AN, "none", False)],
)
def test_answered(item, text, answered):
    assert josa.mark(text, item).answered == answered
