"""The child that renders chat templates, set up as `transformers` sets Jinja up.

One thing differs on purpose: `strftime_now` always tells `DATE`, or prompts, and with
them token counts, would change from day to day.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, LoopControlExtension

from harness import sandbox
from harness.templating import StrictSandbox

DATE: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""What every template takes for now."""

_ALL_CHARS_MAX: Final = 16 << 20
"""Of all texts together: the parent holds them, too."""


class _Generation(Extension):
    """`{% generation %}` marks the answer for training; here it does nothing."""

    tags = {"generation"}  # noqa: RUF012  (the base class's type)

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 - templates may give it by place
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    # Jinja's own escapes HTML. Of json's options only these: others take functions.
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def compiled(text: str) -> Callable[..., str]:
    """A function from variables and a number of characters to a text that has no more."""
    environment = StrictSandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, LoopControlExtension]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = DATE.strftime
    template = environment.from_string(text)

    def render_one(most: int, **variables: Any) -> str:
        return sandbox.joined(template.generate(**variables), most)

    return render_one


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """A template and conversations in, texts out; or an error and its reason."""
    left = _ALL_CHARS_MAX
    texts = []
    try:
        render_one = compiled(request["template"])
        for conversation in request["conversations"]:
            text = render_one(
                min(left, sandbox.TEXT_CHARS_MAX),
                messages=conversation,
                tools=None,
                documents=None,
                add_generation_prompt=request["ask"],
                **request["tokens"],
            )
            left -= len(text)
            texts.append(text)
    except Exception as error:  # noqa: BLE001  (whatever a template raises is its failure)
        return {"error": sandbox.words_of(error), "reason": _reason(error)}
    return {"texts": texts}


def _reason(error: Exception) -> str:
    if isinstance(error, SecurityError):
        return "chat_template_escape"
    if isinstance(error, MemoryError | RecursionError | OverflowError):
        return "chat_template_limit"
    return "chat_template_failed"


if __name__ == "__main__":
    sandbox.serve(answer)
