"""Minimal pairs differ in one place, follow the final consonant and are marked to the letter."""

import hashlib
import re
from collections import defaultdict
from statistics import fmean

import pytest

from harness.suites.tasks import item_at, pairs
from harness.suites.tasks.base import Item, Setting, data
from harness.suites.tasks.hangul import takes_first

SEED = hashlib.sha256(b"tests of pairs").digest()
LANGUAGES = ("ko", "en")
FORMS = ("choice", "free")
WORDS = data("pairs")


def items(language, form, count=2000):
    setting = Setting(language=language, form=form)
    return [item_at("pairs", setting, index, SEED) for index in range(count)]


def sentences(item: Item) -> tuple[str, str]:
    """The right sentence and the wrong one."""
    if not item.choices:
        return item.answer, item.check["wrong"]
    wrong = next(choice for choice in item.choices if choice != item.answer)
    return item.answer.strip(), wrong.strip()


def every(language):
    """Every case of every rule, its slots filled with their first words and their last."""
    for rule in pairs.RULES[language]:
        for case in rule.contrasts:
            for place in (0, -1):
                filled = {name: values[place] for name, values in WORDS[language]["slots"].items()}
                both = (form.format(**filled) for form in (case.right, case.wrong))
                yield rule, tuple(case.frame.format(form, **filled) for form in both)


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_are_whole(language):
    for rule, both in every(language):
        for text in both:
            assert text.endswith((".", "?", "!")), text
            assert "  " not in text
            if language == "en":
                assert text[0].isupper(), (rule.name, text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_two_differ_in_one_place(language):
    for rule, (right, wrong) in every(language):
        assert right != wrong
        one, other = right.split(), wrong.split()
        start = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
        end = next(
            i for i, (a, b) in enumerate(zip(one[::-1], other[::-1], strict=False)) if a != b
        )
        assert len(one) - start - end <= 3, (rule.name, right)


@pytest.mark.parametrize("language", LANGUAGES)
def test_neither_sentence_holds_the_other(language):
    for _, (right, wrong) in every(language):
        one, other = (f" {pairs._plain(text)} " for text in (right, wrong))
        assert one not in other
        assert other not in one


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sentence_is_right_here_and_wrong_there(language):
    right, wrong = set(), set()
    for _, (one, other) in every(language):
        right.add(one)
        wrong.add(other)
    assert not right & wrong


SLOT_PARTICLE = re.compile(r"\{(\w+)\}(?:(을|를|은|는|이|가|께서|께|에서|에|까지|부터)(?= )|\{\})")


def test_korean_particles_follow_every_word_of_a_slot():
    slots = WORDS["ko"]["slots"]
    pair_of = {
        "을": "을/를",
        "를": "을/를",
        "은": "은/는",
        "는": "은/는",
        "이": "이/가",
        "가": "이/가",
    }
    seen = 0
    for rule in pairs.RULES["ko"]:
        for case in rule.contrasts:
            for slot, after in SLOT_PARTICLE.findall(case.frame):
                form = after or case.right
                if form in pair_of and slot != "num":
                    first = form in "을은이"
                    for word in slots[slot]:
                        assert takes_first(word, pair_of[form]) == first, (case, word)
                    seen += 1
    assert seen > 60


def test_korean_particles_of_fixed_words():
    for rule in pairs.RULES["ko"]:
        if rule.name == "irregular":
            continue
        for case in rule.contrasts:
            text = case.frame.format(case.right, **dict.fromkeys(WORDS["ko"]["slots"], "{}"))
            for word, form in re.findall(r"([가-힣]+)([을를])(?= )", text):
                assert takes_first(word, "을/를") == (form == "을"), text


def test_counters_take_native_numerals():
    for form in FORMS:
        for item in items("ko", form):
            right, wrong = sentences(item)
            if item.template == "counter":
                noun, count, counter = re.search(r"가? (\S+) (\S+) (\S+?)[을를] ", right).groups()
                assert count in WORDS["ko"]["slots"]["num"]
                assert [noun, counter] in [each[:2] for each in WORDS["counted"]]
                other = re.search(r" (\S+?)[을를] (?:보|그)", wrong)[1]
                assert other != counter
                assert other not in {"장", "벌", "자루"}
            elif item.template == "clock-numerals":
                hour = re.search(r"(\S+) 시 ", right)[1]
                assert hour in {"한", "두", "세", "네", "다섯", "여섯"}
                assert re.search(r"(삼십|이십|십|오) 분", right)


def test_honorific_endings_go_with_their_subject():
    for form in FORMS:
        for item in items("ko", form):
            right, wrong = sentences(item)
            if item.template == "honorific":
                raised = re.compile(r"(?:셨습니다|십니다)\.$")
                assert bool(raised.search(right)) == ("께서" in right), right
                assert bool(raised.search(wrong)) != ("께서" in wrong), wrong
            elif item.template == "give-honorific":
                assert right.endswith(("주셨습니다.", "물으셨습니다.")) == ("께서" in right)


def test_tenses_go_with_their_adverbs():
    future = re.compile(r"내일|모레|다음 주|다음 달|내년")
    for form in FORMS:
        for item in items("ko", form):
            right, _ = sentences(item)
            if item.template == "tense":
                assert bool(future.search(right)) == right.endswith("것입니다."), right
            elif item.template == "relative-tense":
                assert bool(future.search(right)) == bool(
                    re.search(r"[읽먹입]을 |[만볼쓸]날? |만날 |쓸 ", right)
                )


def test_korean_sentences_end_as_their_mood_asks():
    ends = ("니다.", "구나!", "세요.", "시다.", "시오.")
    for form in FORMS:
        assert all(sentences(item)[0].endswith(ends) for item in items("ko", form))


def test_english_articles_fit():
    for _, (right, wrong) in every("en"):
        for text in (right, wrong):
            assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text), text


def test_english_rules_are_decided_by_their_subject():
    for form in FORMS:
        for item in items("en", form):
            right, _ = sentences(item)
            words = right.split()
            if item.template in {"agreement", "attractor"}:
                at = 2 if words[1] in WORDS["en"]["slots"]["adj"] else 1
                plural = words[at].endswith("s") or words[at] == "children"
                verb = next(
                    word for word in words[at + 1 :] if word in {"is", "are", "has", "have"}
                )
                assert (verb in {"are", "have"}) == plural, right
            elif item.template == "reflexive":
                male = words[1] in {"king", "uncle", "man", "brother"}
                assert ("himself" in right) == male


@pytest.mark.parametrize("language", LANGUAGES)
def test_length_does_not_give_a_rule_away(language):
    longer = defaultdict(list)
    for rule, (right, wrong) in every(language):
        if len(right) != len(wrong):
            longer[rule.name].append(len(right) > len(wrong))
    shares = {name: fmean(values) for name, values in longer.items() if len(values) > 7}
    assert abs(fmean(shares.values()) - 0.5) < 0.12
    assert sum(0.2 <= share <= 0.8 for share in shares.values()) >= 0.7 * len(shares)


@pytest.mark.parametrize("language", LANGUAGES)
def test_free_questions_show_both_sentences(language):
    first = 0
    for item in items(language, "free"):
        right, wrong = sentences(item)
        assert f'"{right}"' in item.context
        assert f'"{wrong}"' in item.context
        first += item.context.index(f'"{right}"') < item.context.index(f'"{wrong}"')
        most = 150 if language == "ko" else 350
        assert len(item.context + item.solution) <= most
    assert abs(first / 2000 - 0.5) < 0.04


KO = Item(
    template="",
    level=1,
    context="",
    answer="동생이 어제 빵을 먹었습니다.",
    check={"wrong": "동생이 어제 빵이 먹었습니다."},
)
EN = Item(
    template="",
    level=1,
    context="",
    answer="Where is Tom going with the bag?",
    check={"wrong": "Where Tom is going with the bag?"},
)


@pytest.mark.parametrize(
    ("item", "text", "strict", "loose"),
    [
        (KO, "동생이 어제 빵을 먹었습니다.", True, True),
        (KO, " 동생이 어제 빵을 먹었습니다.\n", True, True),
        (KO, "동생이 어제 빵을 먹었습니다", False, True),
        (KO, '"동생이 어제 빵을 먹었습니다."', False, True),
        (KO, "「동생이 어제 빵을 먹었습니다.」", False, True),
        (KO, "**동생이 어제 빵을 먹었습니다.**", False, True),
        (KO, "정답: 동생이 어제 빵을 먹었습니다.", False, True),
        (KO, "올바른 문장은 '동생이 어제 빵을 먹었습니다.'입니다.", False, True),
        (KO, "1. 동생이 어제 빵을 먹었습니다.", False, True),
        (KO, "동생이  어제 빵을 먹었습니다.", False, True),
        (KO, "올바른 문장은 다음과 같습니다.\n\n동생이 어제 빵을 먹었습니다.", False, True),
        (KO, "동생이 어제 빵을 먹었습니다.\n\n목적어에는 '을'을 씁니다.", False, True),
        (KO, "'빵이'가 틀렸습니다.\n동생이 어제 빵을 먹었습니다.", False, True),
        (KO, "동생이 어제 빵이 먹었습니다.", False, False),
        (KO, '"동생이 어제 빵을 먹었습니다." "동생이 어제 빵이 먹었습니다."', False, False),
        (KO, "동생이 어제 빵이 먹었습니다.\n동생이 어제 빵을 먹었습니다.", False, False),
        (KO, "동생이 어제 빵을 먹었습니다.\n동생이 어제 빵이 먹었습니다.", False, False),
        (KO, "동생이 어제 빵을 먹었다.", False, False),
        (KO, "동생이 빵을 먹었습니다.", False, False),
        (KO, "빵을", False, False),
        (KO, "첫 번째 문장", False, False),
        (KO, "모르겠습니다.", False, False),
        (KO, "", False, False),
        (EN, "Where is Tom going with the bag?", True, True),
        (EN, "where is tom going with the bag", False, True),
        (EN, '"Where is Tom going with the bag?"', False, True),
        (EN, "Answer: Where is Tom going with the bag?", False, True),
        (EN, 'The correct sentence is "Where is Tom going with the bag?"', False, True),
        (EN, "Where is Tom going with the bag? is correct.", False, True),
        (EN, "Where Tom is going with the bag?", False, False),
        (EN, "Where is Tom going with the bags?", False, False),
        (EN, "The first one.", False, False),
        (EN, "Where is Tom going?", False, False),
    ],
)
def test_marks_by_hand(item, text, strict, loose):
    found = pairs.mark(text, item)
    assert (found.strict, found.loose) == (strict, loose)


@pytest.mark.parametrize(
    ("text", "answered"),
    [("동생이 어제 빵이 먹었습니다.", True), ("첫 번째 문장", False), ("", False)],
)
def test_answered(text, answered):
    assert pairs.mark(text, KO).answered == answered
