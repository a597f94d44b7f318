"""Templates shaped like real families' render as `transformers` does it, and no mutant of
theirs does anything but render or be refused.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from harness.models import chat
from harness.models.template_files import Template
from tests.chat_templates import TEMPLATES, TOKENS
from tests.fuzz.templates import LONGEST_S, classified, mutant

HERE = Path("m.gguf")
REASONS = {
    "rendered",
    "chat_template_failed",
    "chat_template_escape",
    "chat_template_limit",
    "chat_template_timeout",
    "chat_template_varies",
}


class Tracker(Extension):
    """As in transformers: an assistant's turn is rendered inside a block."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def as_transformers(template: str, turns: list[dict[str, str]], *, ask: bool) -> str:
    """`apply_chat_template(turns, tokenize=False, add_generation_prompt=ask)`, by its settings."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Tracker, loopcontrols]
    )
    environment.filters["tojson"] = lambda x, **kw: json.dumps(x, ensure_ascii=False, **kw)
    environment.globals["raise_exception"] = lambda message: 1 / 0
    environment.globals["strftime_now"] = datetime(2026, 1, 1, tzinfo=UTC).strftime
    return environment.from_string(template).render(
        messages=turns, tools=None, documents=None, add_generation_prompt=ask, **TOKENS
    )


@pytest.mark.parametrize("text", TEMPLATES.values(), ids=TEMPLATES)
def test_prompts_are_those_of_transformers(text: str) -> None:
    messages = ["1 + 1 = ?", "한강은 몇 km?\n\n표로: | a | b |", "<think> & 'quotes' \"too\""]
    rendered = chat.render(Template(text, TOKENS), messages, HERE)
    assert rendered == [
        as_transformers(text, [{"role": "user", "content": message}], ask=True)
        for message in messages
    ]
    turns = [
        {"role": "system", "content": "짧게 답하세요."},
        {"role": "user", "content": "안녕?"},
        {"role": "assistant", "content": "<think>\n음\n</think>\n\n네."},
        {"role": "user", "content": "2 * 3?"},
    ]
    several = chat.render_turns(Template(text, TOKENS), turns, HERE)
    assert several == as_transformers(text, turns, ask=True)
    assert "2 * 3?" in several


@pytest.mark.parametrize("seed", range(30))
def test_a_mutant_renders_or_is_refused(seed: int) -> None:
    begun = time.perf_counter()
    assert classified(mutant(seed), timeout_s=2.0) in REASONS
    assert time.perf_counter() - begun <= LONGEST_S


def test_mutants_end_in_many_ways() -> None:
    """Or they would test nothing; each is the same whenever it is made."""
    assert len({mutant(seed) for seed in range(30)}) > 27
    assert mutant(7) == mutant(7)
