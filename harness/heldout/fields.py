"""Single fields of a line: each is what it has to be, or `Wrong` says why not."""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Sequence
from typing import Final

from harness.errors import printable
from harness.heldout.lines import EXAMPLE, Report, Wrong
from harness.heldout.marking import number, plain

FREE_EXAMPLE: Final = '{"prompt": "…", "answer": "…", "checker": "exact"}'
"""A right line with a free answer, for messages."""
LETTERS: Final = string.ascii_uppercase
MAX_CHOICES: Final = 1000
MAX_NAME_CHARS: Final = 100


def text_of(value: object, name: str, *, code: str = "", example: str = EXAMPLE) -> str:
    """A text that is not empty, without space around it."""
    if not isinstance(value, str):
        raise Wrong("wrong_type", f"{name} is {kind(value)}, not text", allowed=example)
    for char in value:
        if unicodedata.category(char) == "Cc" and char not in "\t\n\r":
            raise Wrong(
                "bad_text",
                f"{name} holds the control character U+{ord(char):04X}",
                allowed="printable text, tabs and line breaks",
            )
    if not value.strip():
        raise Wrong(code or f"empty_{name}", f"{name} is empty", allowed=example)
    return value.strip()


def check_choices(value: object, report: Report) -> list[str]:
    """At least two texts that differ."""
    if not isinstance(value, list):
        raise Wrong("wrong_type", f"choices is {kind(value)}, not a list")
    if len(value) < 2:
        count = "one choice" if value else "no choices"
        raise Wrong("too_few_choices", f"{count}: there is nothing to choose", allowed='["…", "…"]')
    if len(value) > MAX_CHOICES:
        raise Wrong(
            "too_many_choices", f"{len(value):,} choices", allowed=f"at most {MAX_CHOICES:,}"
        )
    options = [
        text_of(option, f"choice {place}", code="empty_choice")
        for place, option in enumerate(value, 1)
    ]
    first: dict[str, int] = {}
    for place, option in enumerate(options, 1):
        if plain(option) in first:
            raise Wrong(
                "equal_choices",
                f"choices {first[plain(option)]} and {place} are equal: {report.quote(option)}",
                allowed="choices that differ in more than space",
            )
        first[plain(option)] = place
    return options


def answer_index(
    value: object, options: Sequence[str], report: Report, *, letters: bool = True
) -> int:
    """Place of the right option: given by its number from 0, its text, or its letter."""
    last = len(options) - 1
    allowed = f"0 to {last}, or the text of a choice"
    if letters:
        allowed += f", or its letter A to {LETTERS[min(last, 25)]}"
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Wrong("wrong_type", f"answer is {kind(value)}, not a number or text", allowed=allowed)
    if isinstance(value, int):
        if not 0 <= value <= last:
            raise Wrong(
                "answer_not_a_choice",
                f"answer {str(value)[:20]} is not the number of a choice, counted from 0",
                allowed=allowed,
            )
        return value
    texts = [plain(option) for option in options]
    if plain(value) in texts:
        return texts.index(plain(value))
    if letters and len(value) == 1 and value in LETTERS[: len(options)]:
        return LETTERS.index(value)
    raise Wrong(
        "answer_not_a_choice",
        f"answer {report.quote(value)} is not one of the choices",
        allowed=allowed,
    )


def check_answers(
    value: object, checker: str, report: Report, stops: Sequence[str] = ("\n",)
) -> list[str]:
    """One text or several, each of which the checker could find."""
    values = value if isinstance(value, list) else [value]
    if not values:
        raise Wrong("empty_answer", "answer is an empty list", allowed=FREE_EXAMPLE)
    answers = [
        text_of(each, "answer", code="empty_answer", example=FREE_EXAMPLE) for each in values
    ]
    for answer in answers:
        if any(stop in answer for stop in stops):
            raise Wrong(
                "answer_unreachable",
                f"answer {report.quote(answer)} holds the text at which answers end",
                allowed=f"an answer without {' and '.join(map(repr, stops))}",
            )
        if checker == "number" and number(answer) is None:
            raise Wrong(
                "answer_unreachable",
                f"answer {report.quote(answer)} is no number",
                allowed='"1250", "1,250" or "-0.5"',
            )
        if checker == "letter" and (len(answer) != 1 or answer not in LETTERS):
            raise Wrong(
                "answer_unreachable",
                f"answer {report.quote(answer)} is no letter",
                allowed='"A" to "Z"',
            )
    return answers


def item_name(value: object, field: str, default: str) -> str:
    """An id or the name of a template: printable, and short enough for a record."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Wrong("wrong_type", f"{field} is {kind(value)}", allowed="text or a whole number")
    name = str(value)
    if not (name.strip() and name.isprintable() and len(name) <= MAX_NAME_CHARS):
        raise Wrong(
            "bad_text",
            f"{field} '{printable(name[:MAX_NAME_CHARS])}' cannot be used as a name",
            allowed=f"printable text of at most {MAX_NAME_CHARS} characters",
        )
    return name


def kind(value: object) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a number", float: "a decimal number", list: "a list"}
    if isinstance(value, dict):
        return "an object"
    return names.get(type(value), "null")
