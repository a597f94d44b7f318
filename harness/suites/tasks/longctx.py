"""Facts in a long text: one needle, one of several needles, and needles to be combined.

Level 1 hides one fact among sentences that name the wrong choices in passing. Level 2
hides several facts of one kind, of which one is asked. Level 3 follows a value from
sentence to sentence, counts who did something, or finds what most people did.

Around the needles stands filler out of slotted sentences. It shares no name, thing or
place with the needles, so that a question has one answer however long the text is.
`Item.check` holds the size that was drawn and the depth of the needle, both for reports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from string import Formatter
from typing import Any, Final, NamedTuple

from harness.suites.tasks.base import FRAMES, Form, Grade, Item, Language, Setting, data
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.fill import fill, near_numbers, sampled
from harness.suites.tasks.hangul import with_particle
from harness.suites.tasks.short_answer import Ask, build
from harness.suites.tasks.short_answer import mark as mark_short

NAME: Final = "longctx"
VERSION: Final = 1
CHANCE: Final[Mapping[Form, float]] = {"choice": 0.25, "free": 0.03}

SIZES: Final = (1024, 2048, 4096, 8192, 16384)
"""Tokens; those up to the longest that all models have are drawn evenly."""
SHARE: Final = 0.85
"""Of a size that is used at most: tokenisers differ, and a chat template comes on top."""

_DATA: Final = data("longctx")
_ENGLISH_WORD: Final = re.compile("[A-Za-z]+")
_OTHER_MARK: Final = re.compile("[^A-Za-z ]")
_NUMBERS: Final = range(101, 1000)

Words = list[str]
Entry = Mapping[str, Any]


class Plan(NamedTuple):
    """What is asked, and the sentences that must be in the text.

    Attributes:
        groups: sentences of one group keep their order; the first group has the answer.
        words: the words that a free answer is searched for; empty for a number.
    """

    groups: list[Words]
    question: str
    answer: str
    wrong: Sequence[str]
    words: Sequence[str] = ()
    steps: str = ""


def templates(language: Language) -> Mapping[str, tuple[int, ...]]:
    """Levels of each template."""
    facts = {entry["id"]: tuple(entry["levels"]) for entry in _DATA[language]["facts"]}
    return facts | {entry["id"]: (3,) for entry in _DATA[language]["tracks"]}


def tokens(text: str) -> float:
    """An estimate: 1.5 an English word, 1 a Hangul syllable, digit, mark or line end."""
    return 1.5 * len(_ENGLISH_WORD.findall(text)) + len(_OTHER_MARK.findall(text))


def generate(setting: Setting, draw: Draw) -> Item:
    """Build one item; see the module.

    Raises:
        ValueError: not even the needles fit into the setting's longest text.
    """
    language = setting.language
    level = draw.between(1, 3)
    size = draw.pick([s for s in SIZES if s <= setting.longest_tokens] or [setting.longest_tokens])
    kinds = _DATA[language]["tracks" if level == 3 else "facts"]
    entry = draw.pick([each for each in kinds if level in each.get("levels", (3,))])
    plan = _PLANS[entry.get("kind", f"fact-{level}")](draw, language, entry, size >= SIZES[0])
    ask = Ask(
        template=entry["id"],
        level=level,
        question=plan.question,
        answer=plan.answer,
        wrong=plan.wrong,
        words=plan.words,
        steps=plan.steps,
    )
    intro = _DATA[language]["intro"]
    around = f"{FRAMES[language, 'free']}{intro}\n{plan.question}\n{ask.how(language)}"
    budget = SHARE * size - tokens(around) - ask.max_tokens
    text, depth = _haystack(draw, language, plan.groups, budget)
    question = f"{intro}\n{text}\n{plan.question}"
    return build(setting, draw, ask._replace(question=question, check={"size": size, "depth": depth}))


def mark(text: str, item: Item) -> Grade:
    """Mark a free answer."""
    return mark_short(text, item)


# The text


def _haystack(
    draw: Draw, language: Language, groups: list[Words], budget: float
) -> tuple[str, int]:
    """The needles among as much filler as the budget of tokens allows.

    Returns:
        The text, and how far down the last sentence of the first group stands, in percent.
    """
    needles = [sentence for group in groups for sentence in group]
    budget -= sum(map(tokens, needles))
    if budget < 0:
        raise ValueError(f"the needles are {-budget} tokens longer than the longest text")
    filler: dict[str, None] = {}
    while True:
        sentence = _filler_sentence(draw, language)
        budget -= tokens(sentence) if sentence not in filler else 0
        if budget < 0:
            break
        filler[sentence] = None
    total = len(filler) + len(needles)
    free = sampled(draw, range(total), len(needles))
    placed: dict[int, str] = {}
    for group in groups:
        own, free = sorted(free[: len(group)]), free[len(group) :]
        placed.update(zip(own, group, strict=True))
    depth = 100 * list(placed)[len(groups[0]) - 1] // max(total - 1, 1)
    rest = iter(filler)
    return " ".join(placed.get(place) or next(rest) for place in range(total)), depth


@cache
def _fillers(language: Language) -> tuple[tuple[tuple[str, tuple[str, ...]], ...], ...]:
    """Each sentence as literals, each followed by a slot's words with their particle."""
    words = _DATA[language]["filler_words"]

    def slot(name: str | None, pair: str | None) -> tuple[str, ...]:
        listed = words[name] if name else ("",)
        return tuple(with_particle(word, pair) if pair else word for word in listed)

    return tuple(
        tuple((literal, slot(name, pair)) for literal, name, pair, _ in Formatter().parse(text))
        for text in _DATA[language]["filler"]
    )


def _filler_sentence(draw: Draw, language: Language) -> str:
    """One draw fills every slot: its digits are the places in the lists of words."""
    fillers = _fillers(language)
    code, which = divmod(draw.below(1 << 32), len(fillers))
    text = ""
    for literal, words in fillers[which]:
        code, place = divmod(code, len(words))
        text += literal + words[place]
    return text[:1].upper() + text[1:]


# The needles


def _values(draw: Draw, language: Language, slot: str, count: int) -> Words:
    if slot == "number":
        return [str(number) for number in sampled(draw, _NUMBERS, count)]
    return sampled(draw, _DATA[language]["words"][slot], count)


def _needle(draw: Draw, language: Language, entry: Entry, _rich: bool) -> Plan:  # noqa: FBT001
    """One fact, and the wrong choices in sentences that say nothing about it."""
    slots = [name for _, name, _, _ in Formatter().parse(entry["tell"]) if name]
    values = {slot: _values(draw, language, slot, 4) for slot in slots}
    asked = values[entry["slot"]]
    row = {slot: values[slot][0] for slot in slots}
    decoys = sampled(draw, _DATA[language]["decoys"][entry["slot"]], 3)
    others = [[fill(decoy, x=x)] for decoy, x in zip(decoys, asked[1:], strict=True)]
    return Plan(
        groups=[[fill(entry["tell"], **row)], *others],
        question=fill(entry["ask"], **row),
        answer=asked[0],
        wrong=asked[1:],
        words=() if entry["slot"] == "number" else asked,
    )


def _needles(draw: Draw, language: Language, entry: Entry, rich: bool) -> Plan:  # noqa: FBT001
    """Several facts of one kind; where two slots are asked, rivals share one of them."""
    count = 4 + (draw.below(4) if rich else 0)
    slots = [name for _, name, _, _ in Formatter().parse(entry["tell"]) if name]
    values = {slot: _values(draw, language, slot, count) for slot in slots if slot == entry["slot"]}
    for slot in slots:
        if slot in entry.get("both", ()):
            first, second, *more = _values(draw, language, slot, count - 2)
            crossed = entry["both"].index(slot)
            four = [first, second, first, second] if crossed else [first, first, second, second]
            values[slot] = four + more
        elif slot not in values:
            values[slot] = _values(draw, language, slot, count)
    rows = [{slot: values[slot][place] for slot in slots} for place in range(count)]
    asked = values[entry["slot"]]
    return Plan(
        groups=[[fill(entry["tell"], **row)] for row in rows],
        question=fill(entry["ask"], **rows[0]),
        answer=asked[0],
        wrong=asked[1:4],
        words=() if entry["slot"] == "number" else asked,
    )


def _copy(draw: Draw, language: Language, entry: Entry, rich: bool) -> Plan:  # noqa: FBT001
    """Four numbers that names hand on; the asked one is the last of its line."""
    lengths = [3, 1, 1, 1]
    if rich:
        lengths = [3 + draw.below(3), 1 + draw.below(3), 1 + draw.below(2), 1 + draw.below(2)]
    names = _values(draw, language, "who", sum(lengths))
    numbers = [str(number) for number in sampled(draw, range(3, 20), 4)]
    asked = names[: lengths[0]]
    groups = []
    for length, number in zip(lengths, numbers, strict=True):
        line, names = names[:length], names[length:]
        groups.append([fill(entry["tell"], new=line[0], n=number)])
        groups[-1] += [fill(entry["then"], old=old, new=new) for old, new in pairwise(line)]
    return Plan(
        groups=groups,
        question=fill(entry["ask"], new=asked[-1]),
        answer=numbers[0],
        wrong=numbers[1:],
        steps="=".join([*reversed(asked), numbers[0]]),
    )


def _chain(draw: Draw, language: Language, entry: Entry, rich: bool) -> Plan:  # noqa: FBT001
    """Where a thing ends up, or with whom, while another thing moves too."""
    length = 3 + (draw.below(3) if rich else 0)
    values = _values(draw, language, entry["slot"], length + (2 if rich else 1))
    groups = []
    things = _values(draw, language, "thing", 2)
    for thing, path in zip(things, (values[:length], values[length:]), strict=True):
        groups.append([fill(entry["tell"], thing=thing, new=path[0])])
        groups[-1] += [
            fill(entry["then"], thing=thing, old=old, new=new) for old, new in pairwise(path)
        ]
    return Plan(
        groups=groups,
        question=fill(entry["ask"], thing=things[0]),
        answer=values[length - 1],
        wrong=[values[length - 2], values[0], values[-1]],
        words=values,
    )


def _sum(draw: Draw, language: Language, entry: Entry, rich: bool) -> Plan:  # noqa: FBT001
    """A number that grows, beside another one."""
    names = _values(draw, language, "who", 2)
    groups, sums = [], []
    for name, times in zip(names, (2 + (draw.below(3) if rich else 0), 1), strict=True):
        numbers = [draw.between(5, 20), *(draw.between(2, 9) for _ in range(times))]
        groups.append([fill(entry["tell"], who=name, n=numbers[0])])
        groups[-1] += [fill(entry["then"], who=name, n=number) for number in numbers[1:]]
        sums.append(numbers)
    total = sum(sums[0])
    return Plan(
        groups=groups,
        question=fill(entry["ask"], who=names[0]),
        answer=str(total),
        wrong=near_numbers(draw, total),
        steps=f"{'+'.join(map(str, sums[0]))}={total}",
    )


def _count(draw: Draw, language: Language, entry: Entry, rich: bool) -> Plan:  # noqa: FBT001
    """How many people did one thing, while others did another."""
    count = draw.between(3, 9) if rich else draw.between(2, 4)
    others = draw.between(2, 5) if rich else 1
    names = _values(draw, language, "who", count + others)
    slot = entry["slot"]
    listed = entry.get("values") or _DATA[language]["words"][slot]
    asked, other = sampled(draw, listed, 2)
    groups = [[fill(entry["tell"], who=name, **{slot: asked}) for name in names[:count]]]
    groups += [[fill(entry["tell"], who=name, **{slot: other})] for name in names[count:]]
    return Plan(
        groups=groups,
        question=fill(entry["ask"], **{slot: asked}),
        answer=str(count),
        wrong=near_numbers(draw, count, low=1),
        steps=",".join(names[:count]),
    )


def _common(draw: Draw, language: Language, entry: Entry, rich: bool) -> Plan:  # noqa: FBT001
    """What most people did."""
    slot = entry["slot"]
    values = _values(draw, language, slot, 4)
    most = draw.between(4, 6) if rich else 2
    counts = [most, *(draw.between(1, most - 1) for _ in range(3))]
    told = [
        fill(entry["tell"], who=name, **{slot: value})
        for value, count in zip(values, counts, strict=True)
        for name in _values(draw, language, "who", count)
    ]
    return Plan(
        groups=[draw.shuffled(told)],
        question=entry["ask"],
        answer=values[0],
        wrong=values[1:],
        words=values,
    )


_PLANS: Final = {
    "fact-1": _needle,
    "fact-2": _needles,
    "copy": _copy,
    "chain": _chain,
    "sum": _sum,
    "count": _count,
    "common": _common,
}
