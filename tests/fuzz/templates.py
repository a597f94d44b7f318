"""Mutants of chat templates through the real child: each renders or is refused with a reason.

`python -m tests.fuzz.templates --count 1000` counts how they ended; the seed is the number.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from harness.errors import HarnessError
from harness.models import chat
from harness.models.template_files import Template
from tests.chat_templates import TEMPLATES, TOKENS
from tests.hostile_templates import BOMBS, CHAT_ESCAPES, ESCAPES

LONGEST_S = 10.0
MESSAGES = ["1 + 1 = ?", "서울의 강은?\n두 단어로 답하세요."]
_SNIPPETS = [
    *(hostile.text for hostile in (ESCAPES | CHAT_ESCAPES).values()),
    *(bomb for bomb in BOMBS.values() if len(bomb) < 1000),
    "\0",
    "\ud800",
    "\u202e",
    "{#",
    "{% raw %}",
    "{{ messages }}",
    "{{ messages[0].content * 99999 }}",
    "{% set messages = [] %}",
    "{% set add_generation_prompt = not add_generation_prompt %}",
    "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
    "{% filter upper %}{{ self }}{% endfilter %}",
]
_WORDS = re.compile(r"\w+|[^\w\s]+|\s+")
_BETWEEN = re.compile(r"(?<=[%}]})|\A")


def _place(draw: random.Random, text: str) -> int:
    """Mostly between two tags, where what follows still is a template."""
    if draw.random() < 0.2:
        return draw.randrange(len(text) + 1)
    return draw.choice([found.start() for found in _BETWEEN.finditer(text)])


def _cut(draw: random.Random, text: str) -> str:
    start = _place(draw, text)
    end = _BETWEEN.search(text, start + 1)
    return text[:start] + text[end.start() if end else start + draw.choice([1, 5, 50]) :]


def _twice(draw: random.Random, text: str) -> str:
    start = _place(draw, text)
    part = text[start : start + draw.choice([5, 50, 500])]
    return text[:start] + part * draw.choice([2, 2, 30]) + text[start:]


def _insert(draw: random.Random, text: str) -> str:
    start = _place(draw, text)
    return text[:start] + draw.choice(_SNIPPETS) + text[start:]


def _splice(draw: random.Random, text: str) -> str:
    other = draw.choice(list(TEMPLATES.values()))
    return text[: _place(draw, text)] + other[_place(draw, other) :]


def _swap(draw: random.Random, text: str) -> str:
    words = _WORDS.findall(text)
    for _ in range(draw.randint(1, 4)):
        words[draw.randrange(len(words))] = draw.choice(words)
    return "".join(words)


def _number(draw: random.Random, text: str) -> str:
    huge = draw.choice(["0", "-1", "99999", str(10**9), str(10**30), "1e308"])
    return re.sub(r"\d+", lambda _: huge, text, count=draw.randint(1, 3))


_MUTATIONS: list[Callable[[random.Random, str], str]] = [
    _cut,
    _twice,
    _insert,
    _splice,
    _swap,
    _number,
]


def mutant(seed: int) -> str:
    """A template that differs in a few places from one that models have."""
    draw = random.Random(seed)
    text = draw.choice(list(TEMPLATES.values()))
    for _ in range(draw.choice([1, 1, 2, 3])):
        text = draw.choice(_MUTATIONS)(draw, text or " ")
    return text


def classified(text: str, timeout_s: float = chat.TIMEOUT_S) -> str:
    """How rendering ended: `rendered`, or the reason of the refusal."""
    try:
        texts = chat.render(Template(text, TOKENS), MESSAGES, Path("m.gguf"), timeout_s=timeout_s)
    except HarnessError as error:
        return error.reason
    return "rendered" if len(texts) == len(MESSAGES) else "wrong count"


def main() -> None:
    """Classify mutants and print how many ended which way, and the slowest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    ends: Counter[str] = Counter()
    slowest = 0.0
    for seed in range(options.first, options.first + options.count):
        begun = time.perf_counter()
        ends[classified(mutant(seed))] += 1
        slowest = max(slowest, time.perf_counter() - begun)
    sys.stdout.write(f"{dict(ends.most_common())}, slowest {slowest:.2f} s\n")
    if slowest > LONGEST_S:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
