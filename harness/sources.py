"""Where the items of accuracy cases come from: a generator and a seed, or an evaluator's file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from harness import heldout
from harness.cases import Case
from harness.heldout import HeldOutTask
from harness.spec import Form
from harness.suites.tasks import case_item, load_task
from harness.suites.tasks.base import Grade, Item


class Source(Protocol):
    """Where the items of a case come from: a generator, or an evaluator's file."""

    def items(self, form: Form) -> Iterator[Item]:
        """Items in the order of their index."""
        ...

    @property
    def delimiter(self) -> str:
        """Begins every choice, and is no part of its length."""
        ...

    def shots(self, form: Form) -> str:
        """Solved items before each question, as text; empty for none."""
        ...

    def chance(self, item: Item) -> float:
        """Expected score of a guesser."""
        ...

    def mark(self, text: str, item: Item) -> Grade:
        """Mark a free answer."""
        ...


class Generated:
    """Items of a generated task under a seed."""

    delimiter = " "

    def __init__(self, case: Case, seed: bytes) -> None:
        self._case = case
        self._seed = seed
        self._task = load_task(case.task)

    def items(self, form: Form) -> Iterator[Item]:
        """As many as the case has of this form."""
        for index in range(self._case.items_of(form)):
            yield case_item(self._case, form, index, self._seed)

    def shots(self, form: Form) -> str:
        """Items of negative index, which are never asked, each with its answer."""
        indices = range(-1, -1 - self._case.shots, -1)
        solved = [case_item(self._case, form, index, self._seed) for index in indices]
        return "".join(f"{item.context} {item.answer.lstrip()}\n\n" for item in solved)

    def chance(self, item: Item) -> float:
        """One in so many choices, or what the task states for free answers."""
        return self._task.CHANCE["choice" if item.choices else "free"]

    def mark(self, text: str, item: Item) -> Grade:
        """Mark by the task's own rules."""
        return self._task.mark(text, item)


class Own:
    """An evaluator's own items, asked in their file's order."""

    def __init__(self, task: HeldOutTask) -> None:
        self._task = task
        self.delimiter = task.delimiter

    def items(self, form: Form) -> Iterator[Item]:
        """All of them; a file has one form."""
        return iter(self._task.items if form == self._task.form else ())

    def shots(self, form: Form) -> str:
        """What the file, or its task, says should stand before every question."""
        del form
        return self._task.prefix

    def chance(self, item: Item) -> float:
        """One in so many choices; 0 for free answers."""
        return 1 / len(item.choices) if item.choices else 0.0

    def mark(self, text: str, item: Item) -> Grade:
        """Mark by the item's own checker."""
        return heldout.mark(text, item)


def source_of(case: Case, seed: bytes, own: Mapping[str, HeldOutTask]) -> Source:
    """Where the items of a case come from."""
    return Own(own[case.task]) if case.data_sha256 else Generated(case, seed)
