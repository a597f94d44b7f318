"""What a template of `honorific` hands over before the form of the item is decided."""

from __future__ import annotations

from typing import NamedTuple


class Exercise(NamedTuple):
    """A question with what is right and what is wrong.

    Attributes:
        accept: right answers as they are written, the usual one first.
        wrong: three wrong choices in the choice form; any number in the free form.
        also: answers that are right only loosely.
        given: text of the question that an answer may repeat.
    """

    question: str
    accept: tuple[str, ...]
    wrong: tuple[str, ...]
    also: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
