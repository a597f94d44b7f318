"""Named fields out of short notes, orders, bills and messages, as one JSON object.

A text names two people, amounts or dates where only one of each is asked for; at level 3
a value is corrected later or written in words (`세 개`, `1만 2천 원`). Level 1 asks for two
fields, level 2 for three, level 3 for four.

The wrong choices put what the text says elsewhere in one of two fields or in both. Each
value then stands in two of the four choices, so that a vote among them tells nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from harness.spec import Form, Language
from harness.suites.tasks import jsontext
from harness.suites.tasks.base import Grade, Item, Setting, data, make_item
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.hangul import with_particle
from harness.suites.tasks.slots import Field, Word, fill, read_fields

NAME: Final = "extract"
VERSION: Final = 1
CHANCE: Final[Mapping[Form, float]] = {"choice": 0.25, "free": 0.0}


class View(NamedTuple):
    """What is asked about a text."""

    about: str
    fields: tuple[Field, ...]


class Template(NamedTuple):
    """A text with slots (see `slots`) and the questions that it can be asked."""

    name: str
    level: int
    text: str
    views: tuple[View, ...]


def _templates(language: Language) -> tuple[Template, ...]:
    return tuple(
        Template(
            row["name"],
            row["level"],
            row["text"],
            tuple(View(about, read_fields(fields)) for about, fields in row["views"]),
        )
        for row in _DATA[language]["templates"]
    )


_DATA: Final = data("extract")
_UNITS: Final = frozenset((*_DATA["ko"]["units"], *_DATA["en"]["units"]))
TEMPLATES: Final = {"ko": _templates("ko"), "en": _templates("en")}


def templates(language: Language) -> Mapping[str, tuple[int, ...]]:
    """Each template has one level."""
    return {template.name: (template.level,) for template in TEMPLATES[language]}


def _question(language: Language, text: str, view: View, slots: Mapping[str, Word]) -> str:
    integer = _DATA[language]["integer"]
    about = view.about.format(**slots)
    fields = (
        field.name + (integer if isinstance(slots[field.slot].value, int) else "")
        for field in view.fields
    )
    if language == "ko":
        about = with_particle(about, "을/를")
    return str(_DATA[language]["question"]).format(about, ", ".join(fields), text)


def _object(view: View, slots: Mapping[str, Word], mistaken: tuple[Field, ...] = ()) -> str:
    """The fields as JSON, with the other value in each mistaken one."""
    values = {
        field.name: slots[field.other if field in mistaken else field.slot].value
        for field in view.fields
    }
    return json.dumps(values, ensure_ascii=False)


def generate(setting: Setting, draw: Draw) -> Item:
    """Build one item; see the module."""
    level = draw.between(1, 3)
    template = draw.pick([each for each in TEMPLATES[setting.language] if each.level == level])
    view = draw.pick(template.views)
    slots = fill(draw, setting.language, template.text)
    question = _question(setting.language, template.text.format(**slots), view, slots)
    answer = _object(view, slots)
    first, second = draw.shuffled([field for field in view.fields if field.other])[:2]
    mistakes = ((first,), (second,), (first, second))
    return make_item(
        setting,
        draw,
        template=template.name,
        level=level,
        question=question,
        answer=answer,
        wrong=[_object(view, slots, mistaken) for mistaken in mistakes],
        asked=f"{question}\n\n{_DATA[setting.language]['how']}",
        max_tokens=min(200, 2 * len(answer) + 2),
    )


def mark(text: str, item: Item) -> Grade:
    """Compare the fields; the credit is their F1.

    Strict: the text is one JSON object with these fields, values of the right type and
    no more. Loose: the first object in the text has all of them right.
    """
    expected: dict[str, Any] = json.loads(item.answer)
    whole = jsontext.whole_object(text)
    found = next(jsontext.objects(text), None) if whole is None else whole
    if found is None:
        return Grade(answered=False, strict=False, loose=False, credit=0.0)
    right = sum(jsontext.same(value, found.get(name), _UNITS) for name, value in expected.items())
    strict = (
        whole is not None
        and whole.keys() == expected.keys()
        and all(jsontext.exactly(value, whole[name]) for name, value in expected.items())
    )
    return Grade(
        answered=True,
        strict=strict,
        loose=right == len(expected),
        credit=2 * right / (len(found) + len(expected)),
    )
