"""Small puzzles: orders, rows, who has what, liars, and what follows from rules.

Orders are told by neighbours, and the clues of the others are tried on every
arrangement, liar, culprit or truth value: each puzzle has one solution. Level 1 needs
one or two clues, level 2 reorders, turns round or chains them, level 3 has more people,
negations and rules that do not matter.

The solution spells out the arrangement first: `Tom>Ann>Ben;Ann`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, Final

from harness.spec import Form, Language
from harness.suites.tasks.base import Grade, Item, Setting, data
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.fill import fill, sampled
from harness.suites.tasks.short_answer import VERDICTS, Ask, build
from harness.suites.tasks.short_answer import mark as mark_short
from harness.suites.tasks.worlds import Clue, culprits, enough, odd_ones, verdict

NAME: Final = "logic"
VERSION: Final = 1
CHANCE: Final[Mapping[Form, float]] = {"choice": 1 / 3, "free": 0.06}

_DATA: Final = data("logic")

Entry = Mapping[str, Any]


def templates(language: Language) -> Mapping[str, tuple[int, ...]]:
    """Levels of each template."""
    return {entry["id"]: tuple(entry["levels"]) for entry in _DATA[language]["templates"]}


def generate(setting: Setting, draw: Draw) -> Item:
    """Build one item; see the module."""
    level = draw.between(1, 3)
    listed = _DATA[setting.language]["templates"]
    entry = draw.pick([each for each in listed if level in each["levels"]])
    return build(setting, draw, _PUZZLES[entry["kind"]](draw, setting.language, entry, level))


def mark(text: str, item: Item) -> Grade:
    """Mark a free answer."""
    return mark_short(text, item)


def _words(draw: Draw, language: Language, kind: str, count: int) -> list[str]:
    return sampled(draw, _DATA[language]["words"][kind], count)


def _joined(language: Language, words: Sequence[str]) -> str:
    if language == "ko":
        return ", ".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _ask_word(
    draw: Draw, entry: Entry, level: int, told: Sequence[str], *, answer: str, words: Sequence[str]
) -> Ask:
    """Clues and question, whose wrong choices are other words of the text.

    Who is named in the question ("next to Ann") is no choice; verdicts are named there too.
    """
    others = [word for word in words if word != answer]
    others = [word for word in others if word not in told[-1]] or others
    return Ask(
        template=entry["id"],
        level=level,
        question=" ".join(told),
        answer=answer,
        wrong=sampled(draw, others, 2),
        words=words,
    )


# Orders and rows


def _order(draw: Draw, language: Language, entry: Entry, level: int) -> Ask:
    """Comparisons of neighbours: downwards, upwards, or from level 2 on in any order."""
    line = _words(draw, language, entry["words"], level + 2)
    down = [(entry["more"], above, below) for above, below in pairwise(line)]
    up = [(entry["less"], below, above) for above, below in pairwise(line)]
    if level == 1:
        told = draw.pick((down, up[::-1]))
    else:
        told = [draw.pick(both) for both in draw.shuffled(list(zip(down, up, strict=True)))]
    place = draw.below(len(line))
    asked = entry["ask"][0 if place == 0 else 2 if place == len(line) - 1 else 1]
    question = fill(asked, n=_DATA[language]["ordinals"][place])
    clues = [fill(text, a=a, b=b) for text, a, b in told]
    ask = _ask_word(draw, entry, level, [*clues, question], answer=line[place], words=line)
    return ask._replace(steps=">".join(line))


def _clues(draw: Draw, given: list[Clue], true: Sequence[Clue], size: int) -> list[Clue]:
    """The given clue and others that are enough; no more than there are people."""
    while True:
        used = enough([*given, *draw.shuffled(true)], size)
        if len(used) <= size:
            return used


def _line(draw: Draw, language: Language, entry: Entry, level: int) -> Ask:
    """People in a row, the first at place 0, told by ends, neighbours and gaps."""
    size = level + 2
    line = _words(draw, language, "who", size)
    true: list[Clue] = [("start", 0, 0), ("end", size - 1, 0)]
    true += [("after", place + 1, place) for place in range(size - 1)]
    true += [("before", place, place + 1) for place in range(size - 1)]
    if level > 1:
        true += [("inner", place, 0) for place in range(1, size - 1)]
    if level > 2:
        true += [("gap", place, place + 2) for place in range(size - 2)]
    used = _clues(draw, [], true, size)
    # What a clue says outright is not asked, if there is anything else.
    if entry["asked"] == "next":
        known = {min(a, b) for kind, a, b in used if kind in {"after", "before"}}
        place = draw.pick([p for p in range(size - 1) if p not in known] or range(size - 1))
        answer = line[place + 1]
    else:
        known = {a for kind, a, _ in used if kind in {"start", "end"}}
        place = draw.pick([p for p in range(size) if p not in known])
        answer = line[place]
    scene = _DATA[language]["scenes"][entry["scene"]]
    shown = draw.shuffled(line)
    told = [fill(scene["intro"], all=_joined(language, shown), n=size)]
    told += [fill(scene[kind], a=line[a], b=line[b]) for kind, a, b in used]
    ordinal = _DATA[language]["ordinals"][place]
    told.append(fill(entry["ask"], n=ordinal, a=line[place], floor=place + 1))
    ask = _ask_word(draw, entry, level, told, answer=answer, words=line)._replace(
        steps="-".join(line)
    )
    if entry["asked"] != "place":
        return ask
    floors = [str(floor + 1) for floor in range(size) if floor != place]
    return ask._replace(answer=str(place + 1), wrong=sampled(draw, floors, 2), words=())


def _share(draw: Draw, language: Language, entry: Entry, level: int) -> Ask:
    """Each person has another thing: one is told, the others by what they have not."""
    size = level + 1
    people = _words(draw, language, "who", size)
    things = _words(draw, language, entry["scene"], size)
    pairs = [(a, b) for a in range(1, size) for b in range(1, size) if a != b]
    denied: list[Clue] = [("not", a, b) for a, b in pairs]
    used = draw.shuffled(_clues(draw, [("has", 0, 0)], denied, size))
    scene = _DATA[language]["scenes"][entry["scene"]]
    items = [word for word in _DATA[language]["words"][entry["scene"]] if word in things]
    names = _joined(language, draw.shuffled(people))
    told = [fill(scene["intro"], all=names, items=", ".join(items))]
    told += [fill(scene[kind], a=people[a], b=things[b]) for kind, a, b in used]
    place = draw.between(1, size - 1)
    told.append(fill(entry["ask"], a=people[place], b=things[place]))
    words = people if entry["asked"] == "who" else things
    ask = _ask_word(draw, entry, level, told, answer=words[place], words=words)
    pairs_told = (f"{who}={thing}" for who, thing in zip(people, things, strict=True))
    return ask._replace(steps=",".join(pairs_told))


# Liars


def _liar(draw: Draw, language: Language, entry: Entry, level: int) -> Ask:
    """Three people speak about each other; one is the odd one out."""
    people = _words(draw, language, "who", 3)
    odd: list[int] = []
    while len(odd) != 1:
        said = [(who, (who + 1 + draw.below(2)) % 3, draw.below(2) == 0) for who in range(3)]
        odd = odd_ones(said, odd_lies=entry["liars"] == 1)
    scene = _DATA[language]["scenes"][entry["scene"]]
    told = [fill(entry["tell"], all=_joined(language, people))]
    told += [
        fill(scene["true" if honest else "false"], a=people[who], b=people[about])
        for who, about, honest in said
    ]
    return _ask_word(draw, entry, level, [*told, entry["ask"]], answer=people[odd[0]], words=people)


def _culprit(draw: Draw, language: Language, entry: Entry, level: int) -> Ask:
    """One of three did it; so many of what they say about it is false."""
    people = _words(draw, language, "who", 3)
    guilty: list[int] = []
    while len(guilty) != 1:
        kinds = [draw.pick(("did", "not", "self")) for _ in people]
        about = [
            who if kind == "self" else (who + 1 + draw.below(2)) % 3
            for who, kind in enumerate(kinds)
        ]
        said = [(whom, kind == "did") for whom, kind in zip(about, kinds, strict=True)]
        guilty = culprits(said, entry["liars"])
    scene = _DATA[language]["scenes"][entry["scene"]]
    told = [fill(entry["tell"], all=_joined(language, people)), entry["rule"]]
    told += [
        fill(scene[kind], a=who, b=people[whom])
        for kind, who, whom in zip(kinds, people, about, strict=True)
    ]
    return _ask_word(
        draw, entry, level, [*told, entry["ask"]], answer=people[guilty[0]], words=people
    )


# What follows


def _parsed(pattern: str) -> tuple[list[str], list[str], str]:
    rules, facts, asked = pattern.split("; ")
    return rules.split(", "), facts.split(", "), asked


@cache
def _patterns(level: int, *, negated: bool) -> tuple[tuple[str, ...], ...]:
    """Patterns of each verdict; those with "if not" only where a language can say it."""
    groups: tuple[list[str], ...] = ([], [], [])
    for pattern in _DATA["patterns"][str(level)]:
        rules, facts, asked = _parsed(pattern)
        if negated or not any(rule.startswith("-") for rule in rules):
            groups[verdict(rules, facts[0], asked)].append(pattern)
    return tuple(map(tuple, groups))


def _told_rules(scene: Entry, rules: Sequence[str], words: Mapping[str, str]) -> list[str]:
    told = []
    for rule in rules:
        left, right = rule.split(">")
        signs = "".join("-" if side.startswith("-") else "+" for side in (left, right))
        told.append(fill(scene["rules"][signs], x=words[left[-1]], y=words[right[-1]]))
    return told


def _told_fact(scene: Entry, fact: str, words: Mapping[str, str], name: str) -> str:
    sign = "-" if fact.startswith("-") else "+"
    return fill(scene["facts"][sign], x=words[fact[-1]], k=name)


def _verdict(draw: Draw, language: Language, entry: Entry, level: int) -> Ask:
    """Rules, a fact and a question whose answer is yes, no or unknown as often."""
    scene = _DATA[language]["scenes"][entry["scene"]]
    which = draw.below(3)
    pattern = draw.pick(_patterns(level, negated="-+" in scene["rules"])[which])
    rules, (fact,), asked = _parsed(pattern)
    words = dict(zip("ABCD", _words(draw, language, entry["words"], 4), strict=True))
    (name,) = _words(draw, language, "who", 1)
    told = [*_told_rules(scene, draw.shuffled(rules), words), _told_fact(scene, fact, words, name)]
    told += [fill(scene["ask"], x=words[asked], k=name), entry["hint"]]
    verdicts = VERDICTS[language]
    return _ask_word(draw, entry, level, told, answer=verdicts[which], words=verdicts)


def _which(draw: Draw, language: Language, entry: Entry, level: int) -> Ask:
    """Three facts about three people, of which the first of the pattern alone decides."""
    scene = _DATA[language]["scenes"][entry["scene"]]
    rules, facts, asked = _parsed(draw.pick(_DATA["which"][entry["asked"]][str(level)]))
    words = dict(zip("ABCDE", _words(draw, language, "made", 5), strict=True))
    people = _words(draw, language, "who", 3)
    told = _told_rules(scene, draw.shuffled(rules), words)
    told += draw.shuffled(
        [_told_fact(scene, fact, words, who) for fact, who in zip(facts, people, strict=True)]
    )
    told.append(fill(entry["ask"], x=words[asked]))
    return _ask_word(draw, entry, level, told, answer=people[0], words=people)


_PUZZLES: Final = {
    "order": _order,
    "line": _line,
    "share": _share,
    "liar": _liar,
    "culprit": _culprit,
    "verdict": _verdict,
    "which": _which,
}
