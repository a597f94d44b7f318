"""Facts in a long text: one needle, one of several needles, and needles to be combined.

Level 1 hides one fact among sentences that name the wrong choices in passing. Level 2
hides several facts of one kind, of which one is asked. Level 3 follows a value from
sentence to sentence, counts who did something, or finds what most people did.

Around the needles stands filler (see `haystack`) that shares no name, thing or place
with them, so that a question has one answer however long the text is.
`Item.check` holds the size that was drawn and the depth of the needle, both for reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from string import Formatter
from typing import Any, Final, NamedTuple

from harness.spec import Form, Language
from harness.suites.tasks.base import FRAMES, Grade, Item, Setting, data
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.fill import fill, near_numbers, sampled
from harness.suites.tasks.haystack import Words, haystack, tokens
from harness.suites.tasks.short_answer import Ask, build
from harness.suites.tasks.short_answer import mark as mark_short

NAME: Final = "longctx"
VERSION: Final = 1
CHANCE: Final[Mapping[Form, float]] = {"choice": 0.25, "free": 0.02}

SIZES: Final = (1024, 2048, 4096, 8192, 16384)
"""Tokens; those up to the longest that all models have are drawn evenly."""
SHARE: Final = 0.85
"""Of a size that is used at most: tokenisers differ, and a chat template comes on top."""

_DATA: Final = data("longctx")
_NUMBERS: Final = range(101, 1000)

Entry = Mapping[str, Any]


class Source(NamedTuple):
    """What a plan is made from; `rich` where there is room for many needles."""

    draw: Draw
    language: Language
    entry: Entry
    rich: bool

    def values(self, slot: str, count: int) -> Words:
        """So many different words or numbers for a slot."""
        if slot == "number":
            return [str(number) for number in sampled(self.draw, _NUMBERS, count)]
        return sampled(self.draw, _DATA[self.language]["words"][slot], count)

    def slots(self) -> Words:
        """Names of the slots of a fact."""
        return [name for _, name, _, _ in Formatter().parse(self.entry["tell"]) if name]

    def up_to(self, most: int) -> int:
        """Something more where there is room for it."""
        return self.draw.below(most + 1) if self.rich else 0


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
    source = Source(draw, language, entry, rich=size >= SIZES[0])
    plan = _PLANS[entry.get("kind", f"fact-{level}")](source)
    ask = Ask(
        template=entry["id"],
        level=level,
        question="",
        answer=plan.answer,
        wrong=plan.wrong,
        words=plan.words,
        steps=plan.steps,
    )
    intro = _DATA[language]["intro"]
    around = f"{FRAMES[language, 'free']}{intro}\n{plan.question}\n{ask.how(language)}"
    budget = SHARE * size - tokens(around) - ask.max_tokens
    text, depth = haystack(draw, language, plan.groups, budget)
    ask = ask._replace(
        question=f"{intro}\n{text}\n{plan.question}", check={"size": size, "depth": depth}
    )
    return build(setting, draw, ask)


def mark(text: str, item: Item) -> Grade:
    """Mark a free answer."""
    return mark_short(text, item)


def _one(source: Source) -> Plan:
    """One fact, and the wrong choices in sentences that say nothing about it."""
    entry = source.entry
    values = {slot: source.values(slot, 4) for slot in source.slots()}
    row = {slot: listed[0] for slot, listed in values.items()}
    asked = values[entry["slot"]]
    decoys = sampled(source.draw, _DATA[source.language]["decoys"][entry["slot"]], 3)
    others = [[fill(decoy, x=x)] for decoy, x in zip(decoys, asked[1:], strict=True)]
    return Plan(
        groups=[[fill(entry["tell"], **row)], *others],
        question=fill(entry["ask"], **row),
        answer=asked[0],
        wrong=asked[1:],
        words=() if entry["slot"] == "number" else asked,
    )


def _several(source: Source) -> Plan:
    """Facts of one kind; where two slots are asked, three rivals share one or none."""
    entry = source.entry
    count = 4 + source.up_to(3)
    values = {}
    for slot in source.slots():
        if slot in entry.get("both", ()):
            first, second, *more = source.values(slot, count - 2)
            four = [first, first, second, second]
            values[slot] = (four[::2] * 2 if slot == entry["both"][1] else four) + more
        else:
            values[slot] = source.values(slot, count)
    rows = [{slot: values[slot][place] for slot in values} for place in range(count)]
    asked = values[entry["slot"]]
    return Plan(
        groups=[[fill(entry["tell"], **row)] for row in rows],
        question=fill(entry["ask"], **rows[0]),
        answer=asked[0],
        wrong=asked[1:4],
        words=() if entry["slot"] == "number" else asked,
    )


def _copy(source: Source) -> Plan:
    """Four numbers that people share in turn; the asked one is the last of a line."""
    entry = source.entry
    lengths = [3 + source.up_to(2), *(1 + source.up_to(most) for most in (2, 1, 1))]
    numbers = [str(number) for number in sampled(source.draw, range(3, 20), 4)]
    names = iter(source.values("who", sum(lengths)))
    lines = [[next(names) for _ in range(length)] for length in lengths]
    groups = [
        [fill(entry["tell"], new=line[0], n=number)]
        + [fill(entry["then"], old=old, new=new) for old, new in pairwise(line)]
        for line, number in zip(lines, numbers, strict=True)
    ]
    return Plan(
        groups=groups,
        question=fill(entry["ask"], new=lines[0][-1]),
        answer=numbers[0],
        wrong=numbers[1:],
        steps="=".join([*reversed(lines[0]), numbers[0]]),
    )


def _chain(source: Source) -> Plan:
    """Where a thing ends up, or with whom, beside other things."""
    entry = source.entry
    longest = 3 + source.up_to(1)
    lengths = [longest] * 3 if source.rich else [3, 1]
    values = source.values(entry["slot"], sum(lengths))
    rest = iter(values)
    paths = [[next(rest) for _ in range(length)] for length in lengths]
    things = source.values("thing", len(paths))
    groups = [
        [fill(entry["tell"], thing=thing, new=path[0])]
        + [fill(entry["then"], thing=thing, old=old, new=new) for old, new in pairwise(path)]
        for thing, path in zip(things, paths, strict=True)
    ]
    return Plan(
        groups=groups,
        question=fill(entry["ask"], thing=things[0]),
        answer=paths[0][-1],
        wrong=[paths[0][-2], *(path[-1] for path in paths[1:]), paths[0][0]][:3],
        words=values,
    )


def _sum(source: Source) -> Plan:
    """A number that grows, beside another one."""
    entry, draw = source.entry, source.draw
    names = source.values("who", 2)
    groups, sums = [], []
    for name, times in zip(names, (2 + source.up_to(2), 1), strict=True):
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


def _count(source: Source) -> Plan:
    """How many people did one thing, while others did another."""
    entry, slot = source.entry, source.entry["slot"]
    count = source.draw.between(3, 9) if source.rich else source.draw.between(2, 4)
    asked, other = source.values(slot, 2)
    names = source.values("who", count + 1 + source.up_to(4))
    groups = [[fill(entry["tell"], who=name, **{slot: asked}) for name in names[:count]]]
    groups += [[fill(entry["tell"], who=name, **{slot: other})] for name in names[count:]]
    return Plan(
        groups=groups,
        question=fill(entry["ask"], **{slot: asked}),
        answer=str(count),
        wrong=near_numbers(source.draw, count, low=1),
        steps=",".join(names[:count]),
    )


def _common(source: Source) -> Plan:
    """What the most people did."""
    entry, slot = source.entry, source.entry["slot"]
    values = source.values(slot, 4)
    most = 2 + (2 + source.up_to(2) if source.rich else 0)
    counts = [most, *(source.draw.between(1, most - 1) for _ in range(3))]
    told = [
        fill(entry["tell"], who=name, **{slot: value})
        for value, count in zip(values, counts, strict=True)
        for name in source.values("who", count)
    ]
    return Plan(
        groups=[source.draw.shuffled(told)],
        question=entry["ask"],
        answer=values[0],
        wrong=values[1:],
        words=values,
    )


_PLANS: Final[Mapping[str, Callable[[Source], Plan]]] = {
    "fact-1": _one,
    "fact-2": _several,
    "copy": _copy,
    "chain": _chain,
    "sum": _sum,
    "count": _count,
    "common": _common,
}
