"""Minimal pairs: a grammatical sentence against one that breaks a single rule.

Two whole sentences are compared by log-likelihood. Rules are tested both ways round
wherever the language allows it (`문이 열렸다` / `문을 열었다`), so that a form is right in
one item and wrong in another and neither the form nor its length gives the answer away.
Level 1 rules are decided by a neighbouring word, level 2 by the verb or its ending,
level 3 over a distance or by two words together.

A frame has `{}` where the two forms stand, and named slots that are filled from
`KO_SLOTS` or `EN_SLOTS` (`pairs_data`).
"""

from __future__ import annotations

from typing import Final

from harness.suites.tasks.base import Item, Language
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.pairs_data import EN_RULES, EN_SLOTS, KO_RULES, KO_SLOTS

NAME: Final = "pairs"
VERSION: Final = 1
CHANCE: Final = 0.5


def generate(language: Language, draw: Draw) -> Item:
    """Build one item; see the module."""
    rules, slots = (KO_RULES, KO_SLOTS) if language == "ko" else (EN_RULES, EN_SLOTS)
    level = draw.between(1, 3)
    rule = draw.pick([each for each in rules if each.level == level])
    frame, right, wrong = draw.pick(rule.cases)
    filled = {name: draw.pick(values) for name, values in slots.items()}
    sentences = [f" {frame.format(form.format(**filled), **filled)}" for form in (right, wrong)]
    return Item(
        template=rule.name,
        level=level,
        context="올바른 문장:" if language == "ko" else "Correct sentence:",
        choices=tuple(draw.shuffled(sentences)),
        answer=sentences[0],
        solution=sentences[0],
    )


def parse(text: str) -> str | None:
    """The sentence itself without surrounding space; choices need no more."""
    return text.strip() or None
