"""Particles by final consonant; in English a/an and subject-verb agreement.

Two endings of one sentence differ in nothing but the form. As choices they continue its
beginning; asked freely, the sentence has a blank and both forms are named, so that no
third one (사과도, 사과만) is right as well. In Korean the form turns on the last sound
before it (`hangul`); level 1 uses everyday nouns, level 2 places, people and names,
invented ones among them, level 3 numbers, abbreviations and the ㄹ exception of 으로/로.
In English levels 2 and 3 use invented words, adjectives between article and noun,
spellings that mislead, and nouns between subject and verb.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from harness.spec import Form, Language
from harness.suites.tasks import words
from harness.suites.tasks.base import Grade, Item, Setting, data, framed, grade
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.hangul import PARTICLES, syllable, takes_first
from harness.suites.tasks.marking import SYLLABLE, bare, is_hedge, last_part, lines_from_last

NAME: Final = "josa"
VERSION: Final = 2
CHANCE: Final[Mapping[Form, float]] = {"choice": 0.5, "free": 0.5}
"""The question names both forms, so a guesser is right every other time in either form."""

MAX_TOKENS: Final = 48


class Template(NamedTuple):
    """A sentence around the drawn word: `before`, the word, then the form and `after`."""

    name: str
    level: int
    kind: str
    pair: str
    before: str
    after: str


class Gap(NamedTuple):
    """A sentence with a gap.

    Attributes:
        before: up to the gap, without a space before it.
        space: what stands between `before` and the form.
        right: the form that fits.
        wrong: the one that does not.
        after: from the gap to the end.
    """

    before: str
    space: str
    right: str
    wrong: str
    after: str


_DATA: Final[Mapping[str, Any]] = data("josa")
TEMPLATES: Final[Mapping[Language, tuple[Template, ...]]] = {
    "ko": tuple(Template(*fields) for fields in _DATA["ko"]),
    "en": tuple(Template(*fields) for fields in _DATA["en"]),
}

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
    kind = template.kind
    if kind == "number":
        leading = draw.below(100)
        digit = draw.pick(_LAST_DIGITS[group])
        return str(10 * leading + digit) if leading or digit > 1 else str(10 + digit)
    if kind == "coined" or (kind == "name" and draw.below(2)):
        return _coin(draw, group)
    if kind == "person" and group == "rieul":
        group = "other"  # Only two such people end in ㄹ.
    return draw.pick(_GROUPS[kind][group])


def _korean(draw: Draw, template: Template) -> Gap:
    word = _korean_word(draw, template)
    with_final, without = PARTICLES[template.pair]
    if not takes_first(word, template.pair):
        with_final, without = without, with_final
    return Gap(template.before + word, "", with_final, without, template.after)


_ONSETS: Final = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "st")
_NUCLEI: Final = ("a", "e", "i", "o")


def _coin_english(draw: Draw, *, vowel_first: bool) -> str:
    # No u at the start: "a" or "an" would depend on a reading that nobody can know.
    head = draw.pick(_NUCLEI) if vowel_first else ""
    body = "".join(draw.pick(_ONSETS) + draw.pick(_NUCLEI) for _ in range(draw.between(1, 2)))
    return head + body + draw.pick(("b", "g", "k", "m", "n", "p", "t"))


def _article(draw: Draw, template: Template) -> Gap:
    vowel = draw.below(2) == 1
    sound = "vowel" if vowel else "consonant"
    nouns = {"vowel": words.EN_VOWEL_NOUNS, "consonant": words.EN_CONSONANT_NOUNS}
    # The noun begins the other way, so that only the word before it decides.
    other = nouns["consonant" if vowel else "vowel"]
    if template.kind == "coined-noun":
        phrase = _coin_english(draw, vowel_first=vowel)
    elif template.kind == "adjective":
        phrase = f"{draw.pick(_DATA['adjectives'][sound])} {draw.pick(other)}"
    elif template.kind == "adverb":
        adjective = draw.pick(_DATA["adjectives"]["consonant" if vowel else "vowel"])
        phrase = f"{draw.pick(_DATA['adverbs'][sound])} {adjective} {draw.pick(nouns[sound])}"
    elif template.kind == "sound":
        phrase = draw.pick(words.EN_VOWEL_SOUNDS if vowel else words.EN_CONSONANT_SOUNDS)
    elif template.kind == "letter":
        phrase = f"{draw.pick(_DATA['letters'][sound])} on the {draw.pick(words.EN_THINGS)}"
    else:
        phrase = draw.pick(nouns[sound])
    right, wrong = ("an", "a") if vowel else ("a", "an")
    return Gap(template.before, " ", right, wrong, f" {phrase}.")


def _subject(draw: Draw, kind: str, *, plural: bool) -> tuple[str, bool]:
    """A subject phrase and whether it is a person."""
    lists, ending = _DATA["subjects"], "s" if plural else ""
    by_number = lists["plural" if plural else "singular"]
    person, thing = draw.pick(words.EN_PERSONS), draw.pick(words.EN_THINGS)
    if kind == "irregular":
        return f"The {draw.pick(words.EN_IRREGULAR)[plural]}", False
    if kind == "coined-subject":
        return f"The {_coin_english(draw, vowel_first=False)}{ending}", True
    if kind == "determiner":
        return f"I think {draw.pick(by_number['determiner'])} {thing}{ending}", False
    if kind == "pronoun":
        return f"I know that {draw.pick(by_number['pronoun'])}", True
    # The nearer noun of an attractor has the other number.
    if kind == "attractor":
        return f"The {thing}{ending} {draw.pick(lists['link'])} the {person}{'s'[plural:]}", False
    if kind == "relative":
        verb = draw.pick(lists["relative"])
        return f"The {thing}{ending} that the {person}{'s'[plural:]} {verb}", False
    if kind == "compound":
        other = draw.pick([each for each in words.EN_PERSONS if each != person])
        return f"The {person} {draw.pick(by_number['compound'])} the {other}", True
    if kind == "gerund":
        head = draw.pick(("These", "The", "My")) if plural else draw.pick(lists["gerund"]) + " the"
        return f"{head} {thing}s", False
    if kind == "each":
        return f"{draw.pick(by_number['each'])} of the {person}s", True
    adjective = f"{draw.pick(lists['adjective'])} " if kind == "adjective-subject" else ""
    return f"The {adjective}{person}{ending}", True


def _agreement(draw: Draw, template: Template) -> Gap:
    plural = draw.below(2) == 1
    if template.kind in {"there", "question"}:
        context, forms = template.before, draw.pick(_DATA["verbs"][:2])
        thing = draw.pick(words.EN_THINGS) + ("s" if plural else "")
        if template.kind == "question":
            tail = f" the {draw.pick(_DATA['adjectives']['consonant'])} {thing}?"
        else:
            count = draw.pick(_DATA["subjects"]["many"]) if plural else "one"
            tail = f" {count} {draw.pick(_DATA['adjectives']['consonant'])} {thing} here."
    else:
        context, person = _subject(draw, template.kind, plural=plural)
        acting = person and draw.below(2)
        forms = draw.pick(_DATA["actions"] if acting else _DATA["verbs"])
        if template.kind == "gerund":
            forms = draw.pick(_DATA["verbs"][:2])
        tail = " here." if acting else _DATA["tails"].get(forms[0], " new.")
        if template.kind == "gerund":
            tail = " fun."
    return Gap(context, " ", forms[plural], forms[not plural], tail)


def templates(language: Language) -> Mapping[str, tuple[int, ...]]:
    """Levels of each template."""
    return {template.name: (template.level,) for template in TEMPLATES[language]}


def generate(setting: Setting, draw: Draw) -> Item:
    """Build one item; see the module."""
    language = setting.language
    level = draw.between(1, 3)
    template = draw.pick([each for each in TEMPLATES[language] if each.level == level])
    if language == "ko":
        gap = _korean(draw, template)
    else:
        gap = (_article if template.pair == "a/an" else _agreement)(draw, template)
    forms = draw.shuffled([gap.right, gap.wrong])
    if setting.form == "choice":
        right = f"{gap.space}{gap.right}{gap.after}"
        return Item(
            template=template.name,
            level=level,
            context=gap.before,
            choices=tuple(f"{gap.space}{form}{gap.after}" for form in forms),
            answer=right,
            solution=right,
        )
    blank = "( )" if language == "ko" else " ___"
    question = _DATA["ask"][language].format(*forms, f"{gap.before}{blank}{gap.after}")
    return Item(
        template=template.name,
        level=level,
        context=framed(setting, question),
        answer=gap.right,
        solution=f" {gap.right}",
        question=f"{question} {_DATA['how'][language]}",
        max_tokens=MAX_TOKENS,
        check={
            "wrong": gap.wrong,
            "before": gap.before.split(" ")[-1],
            "after": gap.after.split()[0].strip(".,?") if language == "en" else "",
        },
    )


_OPEN: Final = "[\"'“‘「*`(]"
_CLOSE: Final = "[\"'”’」*`)]"


def _candidates(item: Item) -> re.Pattern[str]:
    """Where a text names a form: in quotes, joined to its neighbours, or behind a label.

    A form alone is no candidate: 이 and a are words of their own.
    """
    forms = "|".join(sorted((item.answer, item.check["wrong"]), key=len, reverse=True))
    before, after = re.escape(item.check["before"]), re.escape(item.check["after"])
    if after:
        joined = rf"\b(?:{forms})\b(?=\s{after}\b)|(?<={before}\s)(?:{forms})\b"
        label = r"(?:answer|blank|word|form)(?:\sis|:)\s?[\"'“‘*]{0,3}"
    else:
        joined = rf"(?<={before})(?:{forms})(?!{SYLLABLE})"
        label = r"(?:정답|답|빈칸|말|조사)(?:은|는|에는|:)\s?[\"'“‘*]{0,3}"
    ends = r"\b" if after else rf"(?=입니다|이다|이에요|예요|이야|(?!{SYLLABLE}))"
    return re.compile(
        rf"(?<={_OPEN})(?:{forms})(?={_CLOSE})|{joined}|{label}(?P<said>{forms}){ends}",
        re.IGNORECASE,
    )


def mark(text: str, item: Item) -> Grade:
    """Strict: the form alone. Loose: the last one that the last line with one names."""
    right, wrong = item.answer, item.check["wrong"]
    pattern = _candidates(item)
    said = ""
    for line in lines_from_last(text):
        end = line[-1000:]
        alone = {bare(end).lower(), bare(end, courtesy=False).lower()} & {right, wrong}
        found = list(pattern.finditer(end))
        if alone:
            said = alone.pop()
        elif found:
            last = found[-1]
            said = (last["said"] or last.group()).lower()
            if len(found) > 1 and is_hedge(end[found[-2].end() : last.start()]):
                said = "?"
        if said:
            break
    return grade(answered=bool(said), strict=last_part(text) == right, loose=said == right)
