"""Generated tasks: each a short module that turns draws into items (see `base`).

`TASKS` maps a task's name to its module, which is imported only when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import Final, cast

from harness.suites.tasks.base import Item, Language, Task
from harness.suites.tasks.draw import Draw

__all__ = ["LANGUAGES", "PUBLIC_SEED", "TASKS", "item_at", "load_task"]

TASKS: Final = {
    "arith": "harness.suites.tasks.arith",
    "calendar": "harness.suites.tasks.calendar",
    "josa": "harness.suites.tasks.josa",
    "pairs": "harness.suites.tasks.pairs",
}
LANGUAGES: Final[tuple[Language, ...]] = ("ko", "en")
PUBLIC_SEED: Final = bytes(32)
"""Seed 0: what a startup tests itself on, never what a challenge is scored with."""


def load_task(name: str) -> Task:
    """Import a task's module.

    Raises:
        KeyError: no task has this name.
    """
    return cast("Task", importlib.import_module(TASKS[name]))


def item_at(name: str, language: Language, index: int, seed: bytes = PUBLIC_SEED) -> Item:
    """Item `index` of a task under a seed, the same on every machine."""
    return load_task(name).generate(language, Draw(seed, f"{language}-{name}", index))
