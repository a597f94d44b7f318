"""A generated task small enough to know by heart; tests put it in place of a real one."""

from __future__ import annotations

from harness.suites.tasks.base import Item, Setting
from harness.suites.tasks.draw import Draw


def generate(setting: Setting, draw: Draw) -> Item:
    level = draw.between(1, 3)
    first, second = draw.between(1, 99), draw.between(1, 99)
    answer = str(first + second)
    choices = (f" {answer}", f" {int(answer) + 1}") if setting.form == "choice" else ()
    return Item(
        template=f"{setting.language}-{draw.below(20):02d}",
        level=level,
        context=f"{first}+{second}=",
        answer=choices[0] if choices else answer,
        choices=choices,
        check={"longest": setting.longest_tokens},
    )
