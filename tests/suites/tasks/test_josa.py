"""Particles against Unicode's own decomposition and a table checked by hand."""

import hashlib
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.suites.tasks import item_at, words
from harness.suites.tasks.hangul import (
    PARTICLES,
    final_consonant,
    particle,
    syllable,
    takes_first,
    with_particle,
)

SEED = hashlib.sha256(b"tests of josa").digest()
SYLLABLES = st.integers(0xAC00, 0xD7A3).map(chr)

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


def test_korean_items_follow_unicode():
    for index in range(2000):
        item = item_at("josa", "ko", index, SEED)
        word = re.split(r"\s", item.context)[-1]
        pair = next(
            name
            for name, forms in PARTICLES.items()
            if {c.rstrip() for c in item.choices}
            == {form + item.answer.removeprefix(particle(word, name)) for form in forms}
        )
        last = unicodedata.normalize("NFD", word)[-1]
        if "\u1100" <= last <= "\u11ff":
            has_final = last >= "\u11a8"
            first = has_final and not (pair == "으로/로" and last == "\u11af")
            assert item.answer.startswith(PARTICLES[pair][not first])


def test_right_forms_are_balanced_within_each_template():
    first: dict[str, list[bool]] = {}
    for index in range(4000):
        item = item_at("josa", "ko", index, SEED)
        word = item.context.split()[-1]
        euro = any(choice.startswith("으로") for choice in item.choices)
        first.setdefault(item.template, []).append(
            takes_first(word, "으로/로" if euro else "은/는")
        )
    for template, values in first.items():
        assert 0.35 < sum(values) / len(values) < 0.65, template


def test_word_lists_have_no_word_twice_and_all_finals():
    for name in ("KO_THINGS", "KO_PLACES", "KO_PEOPLE", "KO_NAMES", "KO_ACRONYMS"):
        listed = getattr(words, name)
        assert len(listed) == len(set(listed)), name
        assert all(words.by_final(listed).values()), name
    assert not any(word.endswith("R") for word in words.KO_ACRONYMS)
    assert len(words.KO_THINGS) + len(words.KO_PLACES) >= 300


def test_english_articles_follow_the_first_letter_where_it_does_not_mislead():
    plain = {"article-see", "article-this", "article-want", "article-coined", "article-adjective"}
    seen = 0
    for index in range(2000):
        item = item_at("josa", "en", index, SEED)
        if item.template in plain:
            article, word = item.answer.split()[:2]
            assert (article == "an") == (word[0] in "aeiou"), item
            seen += 1
    assert seen > 300


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


def test_english_verbs_agree():
    singular = {"is", "was", "has", "looks", "seems"}
    for index in range(2000):
        item = item_at("josa", "en", index, SEED)
        if not item.template.startswith("verb"):
            continue
        verb = item.answer.split()[0]
        words_ = item.context.split()
        if item.template == "verb-each":
            plural = words_[0] in {"All", "Many", "Both"}
        elif item.template == "verb-these":
            plural = words_[2] in {"these", "those"}
        elif item.template == "verb-irregular":
            plural = words_[1] in {pair[1] for pair in words.EN_IRREGULAR}
        else:
            head = words_[2] if item.template == "verb-adjective" else words_[1]
            plural = head.endswith("s")
        assert (verb in singular or verb.endswith("s")) != plural, item
