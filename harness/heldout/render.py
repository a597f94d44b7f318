"""Jinja strings of a task file, rendered for every line of its data in a child.

A template is a program. It runs in Jinja's immutable sandbox, in a process of its own
with limits on time, memory and output, set up as lm-evaluation-harness sets it up:
undefined names are errors and a final line break is kept. What renders to a Python
list is read as one there, too, because reading hostile text can end an interpreter.
"""

from __future__ import annotations

import ast
import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from harness.heldout.lines import Report, Row, printable

TIMEOUT_S: Final = 30.0
_MEMORY_BYTES: Final = 512 << 20
_LINES_PER_S: Final = 500
_TEXT_CHARS_MAX: Final = 1 << 20
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
    request = {
        "templates": templates._asdict(),
        "docs": [row.data for row in rows],
        "cpu_s": math.ceil(limit_s) + 1,  # the parent ends it first, unless it was killed
    }
    answer = _answer_of_child(request, limit_s, report, where["text"])
    if "error" in answer:
        _fail(answer, rows, report, where)
    return [Rendered(*row) for row in answer["rows"]]


def _answer_of_child(
    request: Mapping[str, Any], limit_s: float, report: Report, line: int
) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "harness.heldout.render"],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        report.fail(
            f"rendering takes more than {limit_s:.0f} s",
            reason="template_timeout",
            line=line,
            allowed="templates without long loops",
        )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        words = printable(done.stderr.decode("utf-8", "replace").strip()[-200:])
        report.fail(
            f"rendering ended with {done.returncode} {words if report.printable else ''}".strip(),
            reason="template_failed",
            line=line,
            allowed="templates that take less than 512 MiB",
        )
    return answer


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


def _limit(cpu_s: int) -> None:
    """Have the system end this process where it takes too much; Windows has only the timeout."""
    if sys.platform == "win32":
        return
    import resource

    for kind, most in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_DATA, _MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


class _TemplateFailedError(Exception):
    def __init__(self, field: str, place: int | None, error: BaseException) -> None:
        super().__init__(f"{type(error).__name__}: {str(error)[:300]}")
        self.field = field
        self.place = place


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True
    )
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
                    text = _rendered(template, doc, min(left, _TEXT_CHARS_MAX))
                    row.append(_READERS[field](text))
                except Exception as error:
                    raise _TemplateFailedError(field, place, error) from error
                left -= len(text)
            rows.append(row)
    except _TemplateFailedError as failed:
        return {"error": str(failed), "field": failed.field, "place": failed.place}
    return {"rows": rows}


def _rendered(template: Any, doc: Mapping[str, Any], most_chars: int) -> str:
    parts: list[str] = []
    length = 0
    for part in template.generate(doc):
        parts.append(part)
        length += len(part)
        if length > most_chars:
            raise ValueError(f"more than {most_chars} characters")
    text = "".join(parts)
    text.encode()  # a lone surrogate is no text
    return text


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


def main() -> None:
    """Answer one request on standard input: templates and data in, texts out."""
    request = json.load(sys.stdin)
    _limit(request["cpu_s"])
    json.dump(_answer(request), sys.stdout)


if __name__ == "__main__":
    main()
