"""Items of a task file of lm-evaluation-harness, as that program would ask them.

Context: description, shots and `doc_to_text`; continuations: `target_delimiter` and a
choice. The one difference: lines that are shown as shots are not asked as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from harness.errors import did_you_mean
from harness.heldout.fields import (
    answer_index,
    check_answers,
    check_choices,
    item_name,
    text_of,
)
from harness.heldout.items import FREE_TOKENS, Built, Loaded, choice_item, collect, free_item
from harness.heldout.lines import Report, Row, Wrong, check_sha256, may_print, read_bytes, rows
from harness.heldout.render import Rendered, Templates, render
from harness.heldout.taskfile import TaskFile, read
from harness.spec import Form, HeldOut, sha256
from harness.specyaml import Document, listed
from harness.suites.tasks.base import Item

_MARKS: Final = ("{{", "{%", "{#")


def load_task(raw: bytes, path: Path, entry: HeldOut) -> Loaded:
    """Items of a task file's bytes and of the data that it names.

    Raises:
        SpecError: something is wrong with either, or not taken.
    """
    task, document = read(raw, path, entry)
    hashes: dict[str, str] = {}
    asked, shown = task.splits
    built = _built(task, document, asked, entry, hashes)
    shots: list[Item] = []
    if task.num_fewshot:
        same = asked == shown
        source = built if same else _built(task, document, shown, entry, hashes)
        lines = len(source.items)
        if lines < task.num_fewshot + same:
            left = " leave nothing to ask" if same else f", but '{shown}' has too few lines"
            document.fail(
                ("num_fewshot",),
                f"{task.num_fewshot} shots{left} ({lines} lines)",
                allowed="fewer shots",
            )
        shots = source.items[: task.num_fewshot]
        if same:
            built = built._replace(
                items=built.items[task.num_fewshot :], ids=built.ids[task.num_fewshot :]
            )
    solved = (item.context + item.solution + task.fewshot_delimiter for item in shots)
    prefix = task.description + "".join(solved)
    return Loaded(built, shots, prefix, task.target_delimiter, hashes)


def _built(
    task: TaskFile, document: Document, name: str, entry: HeldOut, hashes: dict[str, str]
) -> Built:
    """All items of one data file, whose hash the task file has to name."""
    path = document.path.parent / name
    data = Report(path, printable=may_print(entry.licence))
    raw = read_bytes(path, data)
    expected = task.metadata.sha256.get(name)
    if expected is None:
        document.fail(
            ("metadata", "sha256"),
            f"the hash of '{name[:80]}' is missing: the data could change unseen",
            allowed=f"metadata: {{sha256: {sha256(raw)}}}",
        )
    hashes[str(path)] = check_sha256(raw, expected, data, named_in=document.path.name)
    lines = rows(raw, data)
    data.refuse()
    asked = _Asked(task, document, lines, data)
    form: Form = "choice" if task.output_type == "multiple_choice" else "free"
    make = asked.choice if form == "choice" else asked.free
    numbers = {row.line: place for place, row in enumerate(lines)}

    def one(row: Row) -> tuple[str, Item]:
        item_id = _name(row, "id", f"{entry.id}-{row.line}")
        return item_id, make(numbers[row.line], item_id)

    built = collect(lines, form, one, data, whole=True)
    data.refuse()
    return built


class _Asked:
    """What a task file makes of each line of its data."""

    def __init__(
        self, task: TaskFile, document: Document, lines: Sequence[Row], report: Report
    ) -> None:
        self._task = task
        self._lines = lines
        self._report = report
        fields = set.intersection(*(set(row.data) for row in lines)) if lines else set()
        self._fields: dict[str, str] = {}
        templates = Templates(
            text=self._template(document, "text", task.doc_to_text, fields),
            choice=self._template(document, "choice", task.doc_to_choice, fields),
            target=self._template(document, "target", task.doc_to_target, fields),
        )
        where = {key: document.line((f"doc_to_{key}",)) for key in templates._asdict()}
        of_task = Report(document.path, printable=report.printable)
        self._rendered = (
            render(templates, lines, of_task, where=where)
            if any(templates)
            else [Rendered("", [], "")] * len(lines)
        )

    def _template(self, document: Document, key: str, given: object, fields: set[str]) -> str:
        """The Jinja string of a key; a field is read as it is, and a constant is none."""
        if not isinstance(given, str):
            return ""
        if any(mark in given for mark in _MARKS):
            return given
        if given not in fields:
            document.fail(
                (f"doc_to_{key}",),
                f"doc_to_{key} is '{given[:80]}', which is neither a Jinja string nor a field of "
                f"every line{did_you_mean(given, fields)}",
                allowed=f"a field ({listed(fields)}) or text with {{{{field}}}}",
            )
        self._fields[key] = given
        return ""

    def _value(self, place: int, key: str) -> Any:
        """What a key gives for a line: the field itself, or what was rendered."""
        if key in self._fields:
            return self._lines[place].data[self._fields[key]]
        return self._rendered[place]._asdict()[{"choice": "choices"}.get(key, key)]

    def _context(self, place: int) -> str:
        context = self._value(place, "text")
        text_of(context, "what doc_to_text gives", code="empty_question", example=_WRITTEN)
        return str(context)

    def choice(self, place: int, item_id: str) -> Item:
        """An item of `multiple_choice`."""
        given = self._task.doc_to_choice
        if isinstance(given, str):
            options = self._value(place, "choice")
        else:
            options = list(given.values()) if isinstance(given, Mapping) else given
        texts = check_choices(options, self._report)
        right = self._right(place, texts)
        delimiter = self._task.target_delimiter
        row = self._lines[place]
        return choice_item(
            self._context(place),
            [delimiter + option for option in options],
            right,
            template=_name(row, "template", item_id),
            level=_level(row),
        )

    def _right(self, place: int, options: Sequence[str]) -> int:
        target = self._task.doc_to_target
        if isinstance(target, int):
            return answer_index(target, options, self._report)
        value = self._value(place, "target")
        if "target" not in self._fields and isinstance(value, str) and value.isdecimal():
            value = int(value[:9])
        return answer_index(value, options, self._report, letters=False)

    def free(self, place: int, item_id: str) -> Item:
        """An item of `generate_until`."""
        task = self._task
        generation = task.generation_kwargs
        stops = (generation.until if generation else ()) or (task.fewshot_delimiter,)
        target = task.doc_to_target
        value = str(target) if isinstance(target, int) else self._value(place, "target")
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        context, row = self._context(place), self._lines[place]
        return free_item(
            context,
            context,
            check_answers(value, task.metadata.checker, self._report, stops),
            task.metadata.checker,
            template=_name(row, "template", item_id),
            level=_level(row),
            delimiter=task.target_delimiter,
            stops=stops,
            max_tokens=generation.max_gen_toks if generation else FREE_TOKENS,
        )


_WRITTEN: Final = '"{{question}}\\nAnswer:"'


def _name(row: Row, key: str, default: str) -> str:
    """The data's own id or template where it holds what can be one; fields are free here."""
    try:
        return item_name(row.data.get(key), key, default)
    except Wrong:
        return default


def _level(row: Row) -> int:
    level: object = row.data.get("level")
    if isinstance(level, int) and not isinstance(level, bool) and 1 <= level <= 3:
        return level
    return 1
