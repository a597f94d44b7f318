"""Long texts out of slotted sentences that say nothing about the needles in them."""

from __future__ import annotations

import re
from functools import cache
from string import Formatter
from typing import Final

from harness.spec import Language
from harness.suites.tasks.base import data
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.fill import sampled
from harness.suites.tasks.hangul import with_particle

Words = list[str]

_DATA: Final = data("haystack")
_ENGLISH_WORD: Final = re.compile("[A-Za-z]+")
_OTHER_MARK: Final = re.compile("[^A-Za-z ]| (?=[가-힣])")


def tokens(text: str) -> float:
    """An estimate: 1.5 an English word, 1 a Hangul syllable, the space before a Korean word, a
    digit, mark or line end. Few tokenisers need more; what exceeds the cache is skipped.
    """
    return 1.5 * len(_ENGLISH_WORD.findall(text)) + len(_OTHER_MARK.findall(text))


def haystack(draw: Draw, language: Language, groups: list[Words], budget: float) -> tuple[str, int]:
    """The needles among as much filler as the budget of tokens allows.

    Returns:
        The text, and how far down the last sentence of the first group stands, in percent.
    """
    needles = [sentence for group in groups for sentence in group]
    budget -= sum(tokens(f" {sentence}") for sentence in needles)
    if budget < 0:
        raise ValueError(f"the needles are {-budget} tokens longer than the longest text")
    filler: dict[str, None] = {}
    while True:
        sentence = _filler_sentence(draw, language)
        budget -= tokens(f" {sentence}") if sentence not in filler else 0
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
    words = _DATA[language]["words"]

    def slot(name: str | None, pair: str | None) -> tuple[str, ...]:
        listed = words[name] if name else ("",)
        return tuple(with_particle(word, pair) if pair else word for word in listed)

    return tuple(
        tuple((literal, slot(name, pair)) for literal, name, pair, _ in Formatter().parse(text))
        for text in _DATA[language]["sentences"]
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
