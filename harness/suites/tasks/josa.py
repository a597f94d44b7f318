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
from harness.suites.tasks.base import Item, Language, data
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


TEMPLATES: Final = {
    language: tuple(Template(*fields) for fields in rows) for language, rows in data("josa").items()
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
    template = draw.pick([each for each in TEMPLATES["ko"] if each.level == level])
    word = _korean_word(draw, template)
    forms = PARTICLES[template.pair]
    right = forms[0] if takes_first(word, template.pair) else forms[1]
    choices = draw.shuffled([form + template.after for form in forms])
    return _item(template, template.before + word, choices, right + template.after)


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
    template = draw.pick([each for each in TEMPLATES["en"] if each.level == level])
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
