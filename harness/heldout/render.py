"""Jinja strings of a task file, rendered for every line of its data in a child.

The child has limits (`sandbox`) and is set up as lm-evaluation-harness sets Jinja up:
undefined names are errors and a final line break is kept. What renders to a Python
list is read as one there, too, because reading hostile text can end an interpreter.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from harness import sandbox
from harness.errors import printable
from harness.heldout.lines import Report, Row

TIMEOUT_S: Final = 30.0
_LINES_PER_S: Final = 500
_ALL_CHARS_MAX: Final = 64 << 20


class Templates(NamedTuple):
    """What is rendered for every line; an empty string is not.

    Attributes:
        choice: has to give a list of texts.
    """

    text: str
    choice: str
    target: str


class Rendered(NamedTuple):
    """What one line gives."""

    text: str
    choices: list[str]
    target: str | list[str]


def render(
    templates: Templates,
    rows: Sequence[Row],
    report: Report,
    *,
    where: Mapping[str, int],
    timeout_s: float = TIMEOUT_S,
) -> list[Rendered]:
    """Every line, rendered.

    Args:
        where: line of each template in the task file, by its key.
        timeout_s: for up to 500 lines; more get more.

    Raises:
        SpecError: `template_failed` or `template_timeout`, at the template's line.
    """
    limit_s = timeout_s + len(rows) / _LINES_PER_S
    request = {"templates": templates._asdict(), "docs": [row.data for row in rows]}
    answer = _answer_of_child(request, limit_s, report, where["text"])
    if "error" in answer:
        _fail(answer, rows, report, where)
    return [Rendered(*row) for row in answer["rows"]]


def _answer_of_child(
    request: Mapping[str, Any], limit_s: float, report: Report, line: int
) -> dict[str, Any]:
    try:
        return sandbox.ask("harness.heldout.render", request, timeout_s=limit_s)
    except TimeoutError:
        report.fail(
            f"rendering takes more than {limit_s:.0f} s",
            reason="template_timeout",
            line=line,
            allowed="templates without long loops",
        )
    except ChildProcessError as error:
        status, words = error.args
        report.fail(
            f"rendering ended with {status} {printable(words) if report.printable else ''}".strip(),
            reason="template_failed",
            line=line,
            allowed="templates that take less than 512 MiB",
        )


def _fail(
    answer: Mapping[str, Any], rows: Sequence[Row], report: Report, where: Mapping[str, int]
) -> NoReturn:
    """Say which template failed on which line of the data."""
    field, place = answer["field"], answer["place"]
    kind, _, detail = answer["error"].partition(": ")
    # What a template complains about may quote the data.
    words = f"{kind}: {printable(detail)}" if report.printable or place is None else kind
    on_line = "" if place is None else f" for line {rows[place].line} of the data"
    known = sorted(rows[place].data) if place is not None else []
    report.fail(
        f"doc_to_{field} failed{on_line}: {words}",
        reason="template_failed",
        line=where[field],
        allowed=f"{{{{field}}}} with the data's fields: {printable(', '.join(known)[:200])}"
        if known
        else '"{{question}}\\nAnswer:"',
    )


# --- the child ----------------------------------------------------------------------


class _TemplateFailedError(Exception):
    def __init__(self, field: str, place: int | None, error: Exception) -> None:
        super().__init__(sandbox.words_of(error))
        self.field = field
        self.place = place


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Templates and data in, texts out."""
    from jinja2 import StrictUndefined

    from harness.templating import StrictSandbox

    environment = StrictSandbox(undefined=StrictUndefined, keep_trailing_newline=True)
    texts: Mapping[str, str] = request["templates"]
    compiled = {}
    try:
        for field, text in texts.items():
            try:
                compiled[field] = environment.from_string(text)
            except Exception as error:
                raise _TemplateFailedError(field, None, error) from error
        rows = []
        left = _ALL_CHARS_MAX
        for place, doc in enumerate(request["docs"]):
            row: list[str | list[str]] = []
            for field, template in compiled.items():
                try:
                    most = min(left, sandbox.TEXT_CHARS_MAX)
                    text = sandbox.joined(template.generate(doc), most)
                    row.append(_READERS[field](text))
                except Exception as error:
                    raise _TemplateFailedError(field, place, error) from error
                left -= len(text)
            rows.append(row)
    except _TemplateFailedError as failed:
        return {"error": str(failed), "field": failed.field, "place": failed.place}
    return {"rows": rows}


def _choices(text: str) -> list[str]:
    """The list that a rendered `doc_to_choice` spells; nothing was asked where it is empty."""
    return _texts(ast.literal_eval(text)) if text else []


def _target(text: str) -> str | list[str]:
    """Several answers where a list is spelled, as lm-evaluation-harness takes it."""
    if not (text.startswith("[") and text.endswith("]")):
        return text
    try:
        return _texts(ast.literal_eval(text))
    except (SyntaxError, TypeError, ValueError):
        return text


def _texts(value: object) -> list[str]:
    if not isinstance(value, list | tuple):
        raise TypeError("it does not give a list")
    for item in value:
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise TypeError(f"its list holds a {type(item).__name__}")
    return [str(item) for item in value]


_READERS: Final[Mapping[str, Callable[[str], str | list[str]]]] = {
    "text": str,
    "choice": _choices,
    "target": _target,
}


if __name__ == "__main__":
    sandbox.serve(_answer)
