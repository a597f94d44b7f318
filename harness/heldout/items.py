"""Items out of lines: `question, choices, answer`, or `prompt, answer, checker`.

A line with choices is compared by log-likelihood; one with a prompt is answered freely
and marked by a program. A file holds items of one form.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from harness.errors import did_you_mean, printable
from harness.heldout.fields import (
    FREE_EXAMPLE,
    LETTERS,
    MAX_NAME_CHARS,
    answer_index,
    check_answers,
    check_choices,
    item_name,
    kind,
    text_of,
)
from harness.heldout.lines import EXAMPLE, Report, Row, Wrong
from harness.heldout.marking import CHECKERS
from harness.spec import ChoiceForm, Form, Language
from harness.suites.tasks.base import FRAMES, Item

FREE_TOKENS: Final = 256
"""Cap of a free answer, lm-evaluation-harness's."""

_COMMON: Final = ("id", "level", "template", "group", "language")
_FIELDS: Final[Mapping[Form, tuple[str, ...]]] = {
    "choice": ("question", "choices", "answer", *_COMMON),
    "free": ("prompt", "answer", "checker", *_COMMON),
}
_EXAMPLES: Final[Mapping[Form, str]] = {"choice": EXAMPLE, "free": FREE_EXAMPLE}


class Built(NamedTuple):
    """Items of a file, all of one form, in its order.

    Attributes:
        ids: of the items, each once.
        notes: how many items something remarkable is true of, by code.
    """

    form: Form
    items: list[Item]
    ids: list[str]
    notes: Counter[str]


class Loaded(NamedTuple):
    """What a file asks.

    Attributes:
        built: the items that are asked.
        shots: solved items before each. prefix: the text that is made of them.
        delimiter: begins every choice.
        sha256: of the data files that it names, by path.
    """

    built: Built
    shots: list[Item]
    prefix: str
    delimiter: str
    sha256: dict[str, str]


def build(rows: Sequence[Row], choices: ChoiceForm, name: str, report: Report) -> Built:
    """Items of JSONL lines; what is wrong goes to the report.

    Args:
        name: of the data; items without an id are called by it and their line.
    """
    first = next((found for row in rows if (found := _form(row.data))), "choice")
    form: Form = "free" if first == "free" else "choice"

    def one(row: Row) -> tuple[str, Item]:
        if not (found := _form(row.data)):
            raise Wrong("missing_field", _neither(row.data), allowed=f"{EXAMPLE} or {FREE_EXAMPLE}")
        if found != form:
            other = "choices" if found == "choice" else "a free answer"
            raise Wrong(
                "mixed_forms",
                f"an item with {other} in a file that begins with the other form",
                allowed=f"lines such as {_EXAMPLES[form]}; put the others into a file of their own",
            )
        _check_fields(row.data, form)
        item_id = item_name(row.data.get("id"), "id", f"{name}-{row.line}")
        if form == "choice":
            return item_id, _choice_line(row.data, item_id, choices, report)
        return item_id, _free_line(row.data, item_id, report)

    return collect(rows, form, one, report, whole=choices == "cloze")


def collect(
    rows: Sequence[Row],
    form: Form,
    one: Callable[[Row], tuple[str, Item]],
    report: Report,
    *,
    whole: bool,
) -> Built:
    """Every row's id and item, with faults and notes of all of them.

    Args:
        whole: options are compared as they are, not by their letters.
    """
    built = Built(form, [], [], Counter())
    first_line: dict[str, int] = {}
    asked: set[tuple[str, frozenset[str]]] = set()
    for row in rows:
        try:
            name, item = one(row)
            _refuse_repeated(name, first_line)
        except Wrong as wrong:
            report.add(row.line, wrong)
            continue
        first_line[name] = row.line
        built.items.append(item)
        built.ids.append(name)
        question = (item.context, frozenset(item.choices))
        if question in asked:
            built.notes["repeated_question"] += 1
        if whole and _has_prefix(item.choices):
            built.notes["prefix_choice"] += 1
        asked.add(question)
    return built


def _refuse_repeated(name: str, first_line: Mapping[str, int]) -> None:
    if name in first_line:
        raise Wrong(
            "equal_ids",
            f"id '{name}' is used twice, first in line {first_line[name]}",
            allowed="ids that differ, or none",
        )


def _form(data: Mapping[str, Any]) -> Form | None:
    """What a line holds, judged by its question."""
    if "question" in data or "choices" in data:
        return "choice"
    return "free" if "prompt" in data or "checker" in data else None


def _neither(data: Mapping[str, Any]) -> str:
    meant = next((hint for key in data if (hint := did_you_mean(key, ["question", "prompt"]))), "")
    return f"the line has neither 'question' nor 'prompt'{meant}"


def _check_fields(data: Mapping[str, Any], form: Form) -> None:
    known = _FIELDS[form]
    for name in data:
        if name not in known:
            shown = printable(name[:MAX_NAME_CHARS])
            raise Wrong(
                "unknown_field",
                f"unknown field '{shown}'{did_you_mean(name, known)}",
                allowed=", ".join(known),
            )
    needed = ("question", "choices", "answer") if form == "choice" else ("prompt", "answer")
    for name in needed:
        if name not in data:
            raise Wrong("missing_field", f"field '{name}' is missing", allowed=_EXAMPLES[form])
    if "template" in data and "group" in data:
        raise Wrong(
            "unknown_field", "'template' and 'group' mean the same", allowed="one of the two"
        )


# --- the two kinds of line ------------------------------------------------------------


def _choice_line(
    data: Mapping[str, Any], item_id: str, choices: ChoiceForm, report: Report
) -> Item:
    question = text_of(data["question"], "question")
    options = check_choices(data["choices"], report)
    right = answer_index(data["answer"], options, report)
    if choices == "letter":
        if len(options) > len(LETTERS):
            raise Wrong(
                "too_many_letters",
                f"{len(options)} choices, but A to Z are {len(LETTERS)} letters",
                allowed="at most 26 choices, or `choices: cloze` in the profile",
            )
        listed = [f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False)]
        question = "\n".join([question, *listed])
        options = list(LETTERS[: len(options)])
    language = _language(data, question)
    return choice_item(
        FRAMES[language, "choice"].format(question),
        [f" {option}" for option in options],
        right,
        template=item_name(data.get("template", data.get("group")), "template", item_id),
        level=_level(data),
    )


def _free_line(data: Mapping[str, Any], item_id: str, report: Report) -> Item:
    prompt = text_of(data["prompt"], "prompt", example=FREE_EXAMPLE)
    checker = data.get("checker", "exact")
    if not isinstance(checker, str):
        raise Wrong(
            "wrong_type", f"checker is {kind(checker)}, not text", allowed=", ".join(CHECKERS)
        )
    if checker not in CHECKERS:
        raise Wrong(
            "unknown_checker",
            f"unknown checker {report.quote(checker)}{did_you_mean(checker, CHECKERS)}",
            allowed=", ".join(CHECKERS),
        )
    return free_item(
        FRAMES[_language(data, prompt), "free"].format(prompt),
        prompt,
        check_answers(data["answer"], checker, report),
        checker,
        template=item_name(data.get("template", data.get("group")), "template", item_id),
        level=_level(data),
    )


def choice_item(
    context: str, options: Sequence[str], right: int, *, template: str, level: int = 1
) -> Item:
    """An item whose options, each with what stands before it, are continuations."""
    return Item(
        template=template,
        level=level,
        context=context,
        answer=options[right],
        choices=tuple(options),
        solution=options[right],
    )


def free_item(
    context: str,
    question: str,
    answers: Sequence[str],
    checker: str,
    *,
    template: str,
    level: int = 1,
    delimiter: str = " ",
    stops: Sequence[str] = ("\n",),
    max_tokens: int = FREE_TOKENS,
) -> Item:
    """An item that is answered freely.

    Args:
        stops: generation ends at the first; an answer is cut at any of them.
    """
    check: dict[str, Any] = {"checker": checker, "answers": list(answers)}
    if len(stops) > 1:
        check["until"] = list(stops)
    return Item(
        template=template,
        level=level,
        context=context,
        answer=answers[0],
        solution=delimiter + answers[0],
        question=question,
        max_tokens=max_tokens,
        stop=stops[0],
        check=check,
    )


def _level(data: Mapping[str, Any]) -> int:
    value = data.get("level", 1)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 3:
        raise Wrong("wrong_type", f"level is {kind(value)} that is not a level", allowed="1, 2, 3")
    return value


def _language(data: Mapping[str, Any], text: str) -> Language:
    """What the frame around a question is written in: Korean where the question is."""
    value = data.get("language")
    if value is None:
        return "ko" if any("가" <= char <= "힣" for char in text) else "en"
    if value == "ko":
        return "ko"
    if value == "en":
        return "en"
    raise Wrong("wrong_type", f"language is {kind(value)} that is not one", allowed="ko, en")


def _has_prefix(options: Sequence[str]) -> bool:
    """Whether an option is the beginning of another one, which sorting puts behind it."""
    ordered = sorted(options)
    return any(after.startswith(before) for before, after in itertools.pairwise(ordered))
