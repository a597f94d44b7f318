"""Particles by final consonant; in English a/an and subject-verb agreement.

Two continuations are compared by log-likelihood. They are one ending attached with the
right and the wrong form, so that nothing but the form differs. In Korean the form turns
on the last sound before it (`hangul`); level 1 uses everyday nouns, level 2 places,
people and names, invented ones among them, level 3 numbers, abbreviations and the
ㄹ exception of 으로/로. In English levels 2 and 3 use invented words, adjectives between
article and noun, spellings that mislead, and nouns between subject and verb.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from harness.suites.tasks import words
from harness.suites.tasks.base import Item, Language
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.hangul import PARTICLES, syllable, takes_first

NAME: Final = "josa"
VERSION: Final = 1
CHANCE: Final = 0.5


class Template(NamedTuple):
    """A sentence around the drawn word: `before`, the word, then the form and `after`."""

    name: str
    level: int
    kind: str
    pair: str
    before: str
    after: str


KO_TEMPLATES: Final = (
    Template("thing-topic", 1, "thing", "은/는", "이 ", " 아주 좋습니다."),
    Template("thing-subject", 1, "thing", "이/가", "탁자 위에 ", " 있습니다."),
    Template("thing-object", 1, "thing", "을/를", "어제 시장에서 ", " 샀습니다."),
    Template("thing-with", 1, "thing", "과/와", "사진 속에 ", " 꽃병이 보입니다."),
    Template("thing-object-find", 1, "thing", "을/를", "동생이 방에서 ", " 찾았습니다."),
    Template("thing-subject-need", 1, "thing", "이/가", "지금 저에게는 ", " 필요합니다."),
    Template("person-topic", 1, "person", "은/는", "그 ", " 노래를 잘합니다."),
    Template("person-object", 1, "person", "을/를", "어제 길에서 ", " 만났습니다."),
    Template("place-topic", 2, "place", "은/는", "제가 본 ", " 아름다웠습니다."),
    Template("place-subject", 2, "place", "이/가", "여기서는 ", " 가깝습니다."),
    Template("place-toward", 2, "place", "으로/로", "우리는 버스를 타고 ", " 갔습니다."),
    Template("town-object", 2, "town", "을/를", "지난여름에 ", " 여행했습니다."),
    Template("town-toward", 2, "town", "으로/로", "이 기차는 ", " 갑니다."),
    Template("name-subject", 2, "name", "이/가", "아까 ", " 전화했습니다."),
    Template("name-with", 2, "name", "과/와", "저는 ", " 함께 공부했습니다."),
    Template("name-call", 2, "name", "아/야", "", ", 같이 가자."),
    Template("number-subject", 3, "number", "이/가", "이 문제의 답은 ", " 아닙니다."),
    Template("number-object", 3, "number", "을/를", "이 수에 ", " 더하세요."),
    Template("number-by", 3, "number", "으로/로", "이 수를 ", " 나누세요."),
    Template("acronym-topic", 3, "acronym", "은/는", "신문에 나온 ", " 무엇입니까?"),
    Template("acronym-toward", 3, "acronym", "으로/로", "이 단어를 줄이면 ", " 씁니다."),
    Template("coined-quote", 3, "coined", "이라고/라고", "이 마을의 옛 이름은 ", " 합니다."),
    Template("coined-copula", 3, "coined", "이에요/예요", "새 강아지의 이름은 ", "."),
    Template("coined-toward", 3, "coined", "으로/로", "다음 달에 ", " 이사합니다."),
)

_INITIALS: Final = (0, 2, 3, 5, 6, 7, 9, 11, 12, 14, 15, 16, 17, 18)
_VOWELS: Final = (0, 1, 4, 5, 8, 13, 18, 20)
_OTHER_FINALS: Final = (1, 4, 16, 17, 19, 21)
_RIEUL: Final = 8
_GROUPS: Final = {
    "thing": words.by_final(words.KO_THINGS),
    "person": words.by_final(words.KO_PEOPLE),
    "place": words.by_final(words.KO_PLACES),
    "name": words.by_final(words.KO_NAMES),
    "acronym": words.by_final(words.KO_ACRONYMS),
}
_LAST_DIGITS: Final = {"none": (2, 4, 5, 9), "rieul": (1, 7, 8), "other": (0, 3, 6)}


def coined_syllables() -> tuple[str, ...]:
    """Every syllable that an invented word may contain, for the tokeniser."""
    finals = (0, _RIEUL, *_OTHER_FINALS)
    return tuple(syllable(i, v, f) for i in _INITIALS for v in _VOWELS for f in finals)


def _coin(draw: Draw, group: str) -> str:
    length = draw.between(2, 3)
    open_or_closed = (0, 0, _RIEUL, *_OTHER_FINALS)
    out = ""
    for position in range(length):
        if position < length - 1:
            final = draw.pick(open_or_closed)
        else:
            final = {"none": 0, "rieul": _RIEUL}.get(group, draw.pick(_OTHER_FINALS))
        out += syllable(draw.pick(_INITIALS), draw.pick(_VOWELS), final)
    return out


def _korean_word(draw: Draw, template: Template) -> str:
    """A word whose right form is each of the two equally often."""
    if template.pair == "으로/로":
        group = draw.pick(("other", "other", "none", "rieul"))
    else:
        group = draw.pick(("none", "none", "other", "rieul"))
    if template.kind == "number":
        leading = draw.below(100)
        digit = draw.pick(_LAST_DIGITS[group])
        return str(10 * leading + digit) if leading or digit > 1 else str(10 + digit)
    if template.kind == "coined" or (template.kind in {"town", "name"} and draw.below(2)):
        return _coin(draw, group)
    kind = "place" if template.kind == "town" else template.kind
    if template.kind == "town" or (kind == "person" and group == "rieul"):
        # A town is invented or foreign; of people only two words end in ㄹ.
        return _coin(draw, group) if template.kind == "town" else draw.pick(_GROUPS[kind]["other"])
    return draw.pick(_GROUPS[kind][group])


def _korean(draw: Draw) -> Item:
    level = draw.between(1, 3)
    template = draw.pick([each for each in KO_TEMPLATES if each.level == level])
    word = _korean_word(draw, template)
    forms = PARTICLES[template.pair]
    right = forms[0] if takes_first(word, template.pair) else forms[1]
    choices = draw.shuffled([form + template.after for form in forms])
    return _item(template, template.before + word, choices, right + template.after)


EN_TEMPLATES: Final = (
    Template("article-see", 1, "noun", "a/an", "In the picture I see", ""),
    Template("article-this", 1, "noun", "a/an", "This is", ""),
    Template("article-want", 1, "noun", "a/an", "My brother wants", ""),
    Template("verb-subject", 1, "subject", "agreement", "The", ""),
    Template("verb-these", 1, "determiner", "agreement", "I think", ""),
    Template("article-coined", 2, "coined-noun", "a/an", "In that language it is called", ""),
    Template("article-adjective", 2, "adjective", "a/an", "Yesterday we found", ""),
    Template("verb-coined", 2, "coined-subject", "agreement", "The", ""),
    Template("verb-adjective", 2, "adjective-subject", "agreement", "The", ""),
    Template("article-sound", 3, "sound", "a/an", "They were talking about", ""),
    Template("article-sound-need", 3, "sound", "a/an", "It was not about", ""),
    Template("verb-attractor", 3, "attractor", "agreement", "The", ""),
    Template("verb-irregular", 3, "irregular", "agreement", "The", ""),
    Template("verb-each", 3, "each", "agreement", "", ""),
)

_ADJECTIVES: Final = {
    True: ("old", "ugly", "empty", "open", "orange", "expensive", "ancient", "easy", "odd"),
    False: ("new", "small", "red", "big", "cheap", "clean", "heavy", "long", "broken"),
}
_VERBS: Final = (
    *(("is", "are"), ("was", "were"), ("has", "have"), ("looks", "look"), ("seems", "seem")),
)
_ACTIONS: Final = (
    *(("runs", "run"), ("sings", "sing"), ("sleeps", "sleep"), ("works", "work")),
    *(("smiles", "smile"), ("waits", "wait"), ("reads", "read"), ("laughs", "laugh")),
)
_TAILS: Final = {"is": " here.", "was": " here.", "has": " changed.", "looks": " old."}
_ONSETS: Final = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "st")
_NUCLEI: Final = ("a", "e", "i", "o")


def _coin_english(draw: Draw, *, vowel_first: bool) -> str:
    # No u at the start: "a" or "an" would depend on a reading that nobody can know.
    head = draw.pick(_NUCLEI) if vowel_first else ""
    body = "".join(draw.pick(_ONSETS) + draw.pick(_NUCLEI) for _ in range(draw.between(1, 2)))
    return head + body + draw.pick(("b", "g", "k", "m", "n", "p", "t"))


def _article(draw: Draw, template: Template) -> Item:
    vowel = draw.below(2) == 1
    plain = words.EN_VOWEL_NOUNS if vowel else words.EN_CONSONANT_NOUNS
    if template.kind == "coined-noun":
        phrase = _coin_english(draw, vowel_first=vowel)
    elif template.kind == "adjective":
        # The noun begins the other way, so that only the adjective decides.
        other = words.EN_CONSONANT_NOUNS if vowel else words.EN_VOWEL_NOUNS
        phrase = f"{draw.pick(_ADJECTIVES[vowel])} {draw.pick(other)}"
    elif template.kind == "sound":
        phrase = draw.pick(words.EN_VOWEL_SOUNDS if vowel else words.EN_CONSONANT_SOUNDS)
    else:
        phrase = draw.pick(plain)
    forms = draw.shuffled([f" an {phrase}.", f" a {phrase}."])
    return _item(template, template.before, forms, f" {'an' if vowel else 'a'} {phrase}.")


def _subject(draw: Draw, template: Template, *, plural: bool) -> tuple[str, bool]:
    """A subject phrase and whether it is a person."""
    ending = "s" if plural else ""
    if template.kind == "irregular":
        pair = draw.pick(words.EN_IRREGULAR)
        return f"The {pair[plural]}", False
    if template.kind == "coined-subject":
        return f"The {_coin_english(draw, vowel_first=False)}{ending}", True
    if template.kind == "determiner":
        which = draw.pick(("these", "those") if plural else ("this", "that"))
        return f"I think {which} {draw.pick(words.EN_THINGS)}{ending}", False
    if template.kind == "attractor":
        # The nearer noun has the other number.
        near = draw.pick(words.EN_PERSONS) + ("" if plural else "s")
        link = draw.pick(("of", "near", "behind", "for"))
        return f"The {draw.pick(words.EN_THINGS)}{ending} {link} the {near}", False
    if template.kind == "each":
        head = draw.pick(("All", "Many", "Both") if plural else ("Each", "One", "Every one"))
        return f"{head} of the {draw.pick(words.EN_PERSONS)}s", True
    adjective = ""
    if template.kind == "adjective-subject":
        adjective = draw.pick(("tall ", "kind ", "young ", "busy ", "quiet ", "old "))
    return f"The {adjective}{draw.pick(words.EN_PERSONS)}{ending}", True


def _agreement(draw: Draw, template: Template) -> Item:
    plural = draw.below(2) == 1
    context, person = _subject(draw, template, plural=plural)
    forms = draw.pick(_ACTIONS if person and draw.below(2) else _VERBS)
    tail = _TAILS.get(forms[0], " well." if forms in _ACTIONS else " new.")
    choices = draw.shuffled([f" {form}{tail}" for form in forms])
    return _item(template, context, choices, f" {forms[plural]}{tail}")


def _english(draw: Draw) -> Item:
    level = draw.between(1, 3)
    template = draw.pick([each for each in EN_TEMPLATES if each.level == level])
    return (_article if template.pair == "a/an" else _agreement)(draw, template)


def _item(template: Template, context: str, choices: list[str], right: str) -> Item:
    return Item(
        template=template.name,
        level=template.level,
        context=context,
        choices=tuple(choices),
        answer=right,
        solution=right,
    )


def generate(language: Language, draw: Draw) -> Item:
    """Build one item; see the module."""
    return _korean(draw) if language == "ko" else _english(draw)


def parse(text: str) -> str | None:
    """The continuation itself without surrounding space; choices need no more."""
    return text.strip() or None
