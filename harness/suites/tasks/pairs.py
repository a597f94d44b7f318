"""Minimal pairs: a grammatical sentence against one that breaks a single rule.

As choices the two whole sentences are compared by log-likelihood; asked freely, the model
writes the right one of the two. Rules are tested both ways round wherever the language
allows it (`문이 열렸다` / `문을 열었다`), so that a form is right in one item and wrong in
another and neither the form nor its length gives the answer away. Level 1 rules are
decided by the word or its neighbour, level 2 by the verb or its ending, level 3 over a
distance or by two words together.

A frame has `{}` where the two forms stand, and named slots; both are in `pairs.json`.
Where a Korean particle follows a slot, its words all end in a consonant or all in a vowel.
The verbs of `voice` are those whose passive cannot be read as a causative with an object.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from harness.spec import Form, Language
from harness.suites.tasks.base import Grade, Item, Setting, data, framed, grade
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.marking import bare, last_part, lines_from_last

NAME: Final = "pairs"
VERSION: Final = 2
CHANCE: Final[Mapping[Form, float]] = {"choice": 0.5, "free": 0.5}
"""Both sentences are shown, so a guesser is right every other time in either form."""

MAX_TOKENS: Final = 96


class Contrast(NamedTuple):
    """A frame with the form that is right in it and one that is wrong."""

    frame: str
    right: str
    wrong: str


class Rule(NamedTuple):
    """One rule of grammar; its name is the template's id."""

    name: str
    level: int
    contrasts: tuple[Contrast, ...]


_DATA: Final[Mapping[str, Any]] = data("pairs")
_LEAD: Final[Mapping[Language, str]] = {"ko": "올바른 문장:", "en": "Correct sentence:"}
_ASK: Final[Mapping[Language, str]] = {
    "ko": '두 문장 중 올바른 문장을 그대로 옮겨 쓰세요. "{}" "{}"',
    "en": 'Which of the two sentences is correct? Copy it. "{}" "{}"',
}
_HOW: Final[Mapping[Language, str]] = {
    "ko": "그 문장만 쓰고 다른 말은 쓰지 마세요.",
    "en": "Write that sentence and nothing else.",
}


def _counters() -> Rule:
    """Each noun with its counter, and with counters that it never takes.

    Sheets, sets and sacks may be of anything, so that 장, 벌 and 자루 are never wrong.
    """
    counted, never = _DATA["counted"], _DATA["not_counted"]
    counters = dict.fromkeys((counter, end) for _, counter, end in counted)
    contrasts = tuple(
        Contrast(f"{{who}} {noun} {{num}} {{}} {verb}.", counter + end, other + other_end)
        for noun, counter, end in counted
        for other, other_end in counters
        if other != counter and other not in never["vague"] and [noun, other] not in never["also"]
        for verb in ("보았습니다", "그렸습니다")
    )
    return Rule("counter", 1, contrasts)


def _rules(language: Language) -> tuple[Rule, ...]:
    return tuple(
        Rule(rule["name"], rule["level"], tuple(Contrast(*each) for each in rule["cases"]))
        for rule in _DATA[language]["rules"]
    )


RULES: Final[Mapping[Language, tuple[Rule, ...]]] = {
    "ko": (_counters(), *_rules("ko")),
    "en": _rules("en"),
}


def templates(language: Language) -> Mapping[str, tuple[int, ...]]:
    """Levels of each rule."""
    return {rule.name: (rule.level,) for rule in RULES[language]}


def generate(setting: Setting, draw: Draw) -> Item:
    """Build one item; see the module."""
    language = setting.language
    level = draw.between(1, 3)
    rule = draw.pick([each for each in RULES[language] if each.level == level])
    contrast = draw.pick(rule.contrasts)
    filled = {name: draw.pick(values) for name, values in _DATA[language]["slots"].items()}
    right, wrong = (
        contrast.frame.format(form.format(**filled), **filled)
        for form in (contrast.right, contrast.wrong)
    )
    both = draw.shuffled([right, wrong])
    if setting.form == "choice":
        return Item(
            template=rule.name,
            level=level,
            context=_LEAD[language],
            choices=tuple(f" {sentence}" for sentence in both),
            answer=f" {right}",
            solution=f" {right}",
        )
    question = _ASK[language].format(*both)
    return Item(
        template=rule.name,
        level=level,
        context=framed(setting, question),
        answer=right,
        solution=f" {right}",
        question=f"{question} {_HOW[language]}",
        max_tokens=MAX_TOKENS,
        check={"wrong": wrong},
    )


_MARKS: Final = re.compile(r"[\"'“”‘’「」『』*_`#().,!?:;]")


def _plain(text: str) -> str:
    """Words alone: no quotation marks, markdown or punctuation, one space between."""
    return " ".join(_MARKS.sub(" ", text).split()).lower()


def mark(text: str, item: Item) -> Grade:
    """Strict: the sentence alone, to the letter.

    Loose: the last line that holds one of the two sentences holds the right one alone,
    whatever its quotation marks and full stop, and no line was the wrong one.
    """
    right, wrong = _plain(item.answer), _plain(item.check["wrong"])
    said = ""
    for line in lines_from_last(text):
        words = f" {_plain(line[-1000:])} "
        held = {each for each in (right, wrong) if f" {each} " in words}
        if not said and held:
            said = "both" if len(held) > 1 else held.pop()
        elif _plain(bare(line[-1000:])) == wrong and said == right:
            said = "both"
    return grade(answered=bool(said), strict=last_part(text) == item.answer, loose=said == right)
