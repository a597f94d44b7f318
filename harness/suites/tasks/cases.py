"""What a template hands to its task before the form of the item is decided."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from harness.suites.tasks.draw import Draw

_OPTIONS: Final = re.compile(r"\(([^()]*\|[^()]*)\)")


class Case(NamedTuple):
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


def picked(draw: Draw, text: str) -> str:
    """`text` with one option of each `(a|b|c)`."""
    return _OPTIONS.sub(lambda found: draw.pick(found[1].split("|")), text)
