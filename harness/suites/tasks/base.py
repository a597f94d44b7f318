"""One accuracy item, and what a task module offers.

A task is one short file that turns a language and a `Draw` into an `Item`; it knows
nothing of engines, files or scores. `harness.suites.tasks.TASKS` lists them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from harness.suites.tasks.draw import Draw

Language = Literal["ko", "en"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question.

    Attributes:
        template: id of the template, unique in its task and language; intervals are
            clustered by it.
        level: difficulty, 1 (easiest) to 3.
        context: the text that the model reads; it ends where the answer begins.
        choices: continuations compared by log-likelihood, or empty when the answer
            is generated greedily and parsed.
        answer: the right choice, or the exact final answer of a generated one.
        solution: the whole continuation that a model trained on the task writes
            (steps and answer); equal to `answer` where there are choices.
        max_tokens: cap of a generated answer, in tokens; 0 with choices.
    """

    template: str
    level: int
    context: str
    answer: str
    choices: tuple[str, ...] = ()
    solution: str = ""
    max_tokens: int = 0


def data(name: str) -> Any:
    """Templates or words: `<name>.json` of this folder. Their order is part of each item."""
    return json.loads(Path(__file__).with_name(f"{name}.json").read_text("utf-8"))


class Task(Protocol):
    """What each module of this folder provides."""

    NAME: str
    """Short name: `arith`, `josa`, …; the suite's case is `<language>-<name>`."""
    VERSION: int
    """Raised whenever an item of an existing seed would change."""
    CHANCE: float
    """Expected accuracy of a guesser, 0 for free answers."""

    def generate(self, language: Language, draw: Draw) -> Item:
        """Build one item from the draws of its index alone."""
        ...

    def parse(self, text: str) -> str | None:
        """The final answer in a generated text, or None when there is none."""
        ...
