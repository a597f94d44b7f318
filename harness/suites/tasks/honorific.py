"""Speech levels and honorifics by rule; in English, registers.

Korean asks for 해라체, 해체, 해요체 and 하십시오체 of one sentence, for the -시- and the
humble words that a person of respect takes, and for mistakes in them. Level 1 has regular
predicates and names each level with an example, level 2 irregular ones, auxiliaries and
situations, level 3 who is raised and several sentences. English asks for slang, casual,
plain and formal English. Sentences are conjugated by rule (`conjugate`), so that a free
answer is marked against every accepted form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from harness.spec import Form, Language
from harness.suites.tasks import honorific_en, honorific_ko
from harness.suites.tasks.base import Grade, Item, Setting, grade, make_item
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.exercise import Exercise

NAME: Final = "honorific"
VERSION: Final = 1
CHANCE: Final[Mapping[Form, float]] = {"choice": 0.25, "free": 0.0}

_MODULES: Final = {"ko": honorific_ko, "en": honorific_en}
_HOW: Final = {"ko": "답만 쓰세요.", "en": "Write only the answer."}
# An apostrophe belongs to an English word; in Korean it is a quotation mark.
_WORD: Final = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*|[0-9]+|[가-힣]+")
_READ: Final = 2000
"""Characters that are searched for an answer with an explanation around it."""


def templates(language: Language) -> Mapping[str, tuple[int, ...]]:
    """Levels of each template."""
    return {name: (level,) for name, level in _MODULES[language].TEMPLATES.items()}


def generate(setting: Setting, draw: Draw) -> Item:
    """Build one item; see the module."""
    level = draw.between(1, 3)
    module = _MODULES[setting.language]
    name = draw.pick([each for each, its in module.TEMPLATES.items() if its == level])
    exercise = module.exercise(name, draw, setting.form)
    return make_item(
        setting,
        draw,
        template=name,
        level=level,
        question=exercise.question,
        answer=exercise.accept[0],
        wrong=exercise.wrong,
        asked=f"{exercise.question} {_HOW[setting.language]}",
        max_tokens=max(32, 2 * len(exercise.accept[0])),
        check=_check(exercise) if setting.form == "free" else {},
    )


def _check(exercise: Exercise) -> dict[str, list[str]]:
    return {
        "accept": list(exercise.accept),
        "also": list(exercise.also),
        "reject": list(dict.fromkeys(exercise.wrong)),
        "given": list(exercise.given),
    }


def _words(text: str) -> str:
    """The words of a text with single spaces around each, without case or punctuation."""
    found = _WORD.findall(text.replace("’", "'").casefold())
    return f" {' '.join(found)} "


def _holds_only_right(text: str, check: Mapping[str, list[str]]) -> bool:
    """Whether a right answer stands in the text and no wrong one does.

    The longest forms are taken out first, since one may be a part of another. What the
    question gave is neither right nor wrong: an explanation may repeat it.
    """
    right = {_words(form) for form in (*check["accept"], *check["also"])}
    given = {_words(form) for form in check["given"]}
    wrong = {_words(form) for form in check["reject"]}
    rest = _words(text[:_READ])
    found = set()
    for form in sorted(right | given | wrong, key=lambda each: (-len(each), each)):
        if form in rest:
            rest = rest.replace(form, " | ")
            found.add(form)
    return bool(found & right) and not found & (wrong - given - right)


def mark(text: str, item: Item) -> Grade:
    """Mark a free answer: strictly one of the accepted forms and nothing else."""
    check = item.check
    return grade(
        answered=bool(_WORD.search(text[:_READ])),
        strict=text.strip() in check["accept"],
        loose=_holds_only_right(text, check),
    )
