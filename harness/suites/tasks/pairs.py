"""Minimal pairs: a grammatical sentence against one that breaks a single rule.

Two whole sentences are compared by log-likelihood. Rules are tested both ways round
wherever the language allows it (`문이 열렸다` / `문을 열었다`), so that a form is right in
one item and wrong in another and neither the form nor its length gives the answer away.
Level 1 rules are decided by a neighbouring word, level 2 by the verb or its ending,
level 3 over a distance or by two words together.

A frame has `{}` where the two forms stand, and named slots; both are in `pairs.json`.
Where a Korean particle follows a slot, its words all end in a consonant or all in a vowel.
The verbs of `voice` are those whose passive cannot be read as a causative with an object.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from harness.suites.tasks.base import Item, Language, data
from harness.suites.tasks.draw import Draw

NAME: Final = "pairs"
VERSION: Final = 1
CHANCE: Final = 0.5


class Case(NamedTuple):
    """A frame with the form that is right in it and one that is wrong."""

    frame: str
    right: str
    wrong: str


class Rule(NamedTuple):
    """One rule of grammar; its name is the template's id."""

    name: str
    level: int
    cases: tuple[Case, ...]


def _counters() -> Rule:
    """Each noun with its counter, and with each counter that shares no noun with it."""
    counted = _DATA["counted"]
    counters = dict.fromkeys((counter, end) for _, counter, end in counted)
    cases = tuple(
        Case(f"{{who}} {noun} {{num}} {{}} {verb}.", counter + end, other + other_end)
        for noun, counter, end in counted
        for other, other_end in counters
        if other != counter
        for verb in ("보았습니다", "그렸습니다")
    )
    return Rule("counter", 1, cases)


def _rules(language: Language) -> tuple[Rule, ...]:
    return tuple(
        Rule(rule["name"], rule["level"], tuple(Case(*case) for case in rule["cases"]))
        for rule in _DATA[language]["rules"]
    )


_DATA: Final = data("pairs")
RULES: Final = {"ko": (_counters(), *_rules("ko")), "en": _rules("en")}


def generate(language: Language, draw: Draw) -> Item:
    """Build one item; see the module."""
    level = draw.between(1, 3)
    rule = draw.pick([each for each in RULES[language] if each.level == level])
    frame, right, wrong = draw.pick(rule.cases)
    filled = {name: draw.pick(values) for name, values in _DATA[language]["slots"].items()}
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
