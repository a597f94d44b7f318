"""One accuracy item, and what a task module offers.

A task is one short file that turns a `Setting` and a `Draw` into an `Item` and marks
free answers; it knows nothing of engines, files or scores. Templates and words are data
(`<name>.json`). `harness.suites.tasks.TASKS` lists the tasks.

Every task asks in two forms. In `choice`, continuations of one text are compared by
log-likelihood: the cheapest signal for small models, and none is lost to formatting. In
`free`, the model writes and a program marks what it wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from harness.spec import Form, Language
from harness.suites.tasks.draw import Draw

FRAMES: Final[Mapping[tuple[Language, Form], str]] = {
    ("ko", "free"): "질문: {}\n답:",
    ("ko", "choice"): "질문: {}\n정답:",
    ("en", "free"): "Question: {}\nAnswer:",
    ("en", "choice"): "Question: {}\nCorrect answer:",
}
"""Plain text around a question; a chat model's own template takes its place in `free`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What an item is asked for, besides its draws.

    Attributes:
        longest_tokens: cache that all models of the run are given; tasks about long texts
            stay below 85 % of it as `haystack.tokens` counts. What a tokeniser cuts finer may
            not fit, and is then skipped and counted.
    """

    language: Language
    form: Form
    longest_tokens: int = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question.

    Attributes:
        template: id of the template, unique in its task and language; intervals are
            clustered by it.
        level: difficulty, 1 (easiest) to 3.
        context: plain text that ends where the answer begins, without a final space.
        choices: continuations of `context` compared by log-likelihood, each with its
            leading space where the language needs one; empty in the free form.
        answer: the right choice, or one right answer as a person would write it.
        solution: the whole continuation that a model trained on the task writes (steps
            and answer), with its leading space; equal to `answer` where there are choices.
        question: what a chat model is asked in the free form: the question and how the
            answer is to be written.
        max_tokens: cap of a free answer, in tokens; 0 with choices.
        stop: text at which a free answer without a chat template ends.
        check: what marking needs beside `answer` (plain JSON data).
    """

    template: str
    level: int
    context: str
    answer: str
    choices: tuple[str, ...] = ()
    solution: str = ""
    question: str = ""
    max_tokens: int = 0
    stop: str = "\n"
    check: Mapping[str, Any] = field(default_factory=dict)


class Grade(NamedTuple):
    """How a free answer was marked.

    Attributes:
        answered: something was found that can be read as an answer.
        strict: right, and nothing else was written.
        loose: right once courtesy, units, markdown or an explanation around it are
            dropped; a strict answer is loose too.
        credit: share of the answer that is right (fields of a form); 0 or 1 elsewhere.
    """

    answered: bool
    strict: bool
    loose: bool
    credit: float


def grade(*, answered: bool, strict: bool, loose: bool) -> Grade:
    """A grade without part marks; whatever is strictly right is loosely right."""
    right = strict or loose
    return Grade(answered or right, strict, right, float(right))


class Task(Protocol):
    """What each module of this folder provides."""

    NAME: str
    """Short name: `arith`, `josa`, …; the suite's case is `<language>-<name>`."""
    VERSION: int
    """Raised whenever an item of an existing seed would change."""
    CHANCE: Mapping[Form, float]
    """Expected accuracy of a guesser: one in so many choices, and of a free answer."""

    def templates(self, language: Language) -> Mapping[str, tuple[int, ...]]:
        """Levels of each template; at least 20 a language, all in both forms."""
        ...

    def generate(self, setting: Setting, draw: Draw) -> Item:
        """Build one item from the draws of its index alone."""
        ...

    def mark(self, text: str, item: Item) -> Grade:
        """Mark a free answer. Text is hostile: it may be empty, long or malformed."""
        ...


def data(name: str) -> Any:
    """Templates or words: `<name>.json` of this folder. Their order is part of each item."""
    return json.loads(Path(__file__).with_name(f"{name}.json").read_text("utf-8"))


def framed(setting: Setting, question: str) -> str:
    """The plain text that a model continues with the answer."""
    return FRAMES[setting.language, setting.form].format(question)


def shuffled_choices(draw: Draw, answer: str, wrong: Sequence[str]) -> tuple[str, ...]:
    """The answer among wrong ones, in random order, each behind a space.

    Raises:
        ValueError: two of them are equal: the item would have two right answers or none.
    """
    choices = draw.shuffled([answer, *wrong])
    if len(set(choices)) != len(choices):
        raise ValueError(f"equal choices: {choices}")
    return tuple(f" {choice}" for choice in choices)


def make_item(
    setting: Setting,
    draw: Draw,
    *,
    template: str,
    level: int,
    question: str,
    answer: str,
    wrong: Sequence[str],
    asked: str,
    max_tokens: int,
    steps: str = "",
    check: Mapping[str, Any] | None = None,
) -> Item:
    """The item of a question, in the form that the setting asks for.

    Args:
        wrong: wrong choices; read in the choice form only.
        asked: `Item.question`. max_tokens: of a free answer. steps: written before it.
    """
    choice = setting.form == "choice"
    return Item(
        template=template,
        level=level,
        context=framed(setting, question),
        choices=shuffled_choices(draw, answer, wrong) if choice else (),
        answer=f" {answer}" if choice else answer,
        solution=f" {answer}" if choice else f" {steps}{answer}",
        question="" if choice else asked,
        max_tokens=0 if choice else max_tokens,
        check=check or {},
    )
