"""Generated tasks: each a module that turns draws into items (see `base`).

`TASKS` maps a task's name to its module, which is imported only when it is asked for; its
templates and words are in `<task>.json`. What tasks are made of stands beside them:

    arith            calculations            honorific   honorific_ko, honorific_en, exercise,
    calendar         days, clock, dates                  speech, conjugate
    josa             words                   ifeval      instructions, outlines, drafts
    extract, tools   slots, jsontext         logic       worlds
    longctx          haystack                logic, longctx, table   short_answer

    every task   draw, base · grammar: hangul, numerals · templates: fill ·
                 wrong choices: near · free answers: marking
"""

from __future__ import annotations

import importlib
from typing import Final, cast, get_args

from harness.cases import Case
from harness.spec import Form, Language, TaskName
from harness.suites.tasks.base import Item, Setting, Task
from harness.suites.tasks.draw import Draw

__all__ = ["FORMS", "LANGUAGES", "PUBLIC_SEED", "TASKS", "case_item", "item_at", "load_task"]

TASKS: Final = {name: f"harness.suites.tasks.{name}" for name in get_args(TaskName)}
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
FORMS: Final[tuple[Form, ...]] = get_args(Form)
PUBLIC_SEED: Final = bytes(32)
"""Seed 0: what a startup tests itself on, never what a challenge is scored with."""


def load_task(name: str) -> Task:
    """Import a task's module.

    Raises:
        KeyError: no task has this name.
    """
    return cast("Task", importlib.import_module(TASKS[name]))


def item_at(name: str, setting: Setting, index: int, seed: bytes = PUBLIC_SEED) -> Item:
    """Item number `index` of a task: the same whoever asks, and in whatever order."""
    label = f"{setting.language}-{name}-{setting.form}"
    return load_task(name).generate(setting, Draw(seed, label, index))


def case_item(case: Case, form: Form, index: int, seed: bytes) -> Item:
    """Item number `index` of a case in one form; those of negative index are its shots."""
    language: Language = "ko" if case.language == "ko" else "en"
    setting = Setting(language=language, form=form, longest_tokens=case.context)
    return item_at(case.task, setting, index, seed)
