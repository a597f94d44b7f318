"""An evaluator's own items, read whole or not at all. Only the parent imports this.

    bytes ─▶ sha256 ─▶ lines ─────────────────────────▶ items ─▶ HeldOutTask
      └ a YAML task of lm-evaluation-harness ─▶ Jinja ─┘

`load` refuses a file that changed and a file with any fault, before anything is
measured; `mark` marks free answers. Texts under ND or NC licences stay out of every
message. docs/held-out.md shows the formats.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.heldout.items import Loaded, build
from harness.heldout.lines import Report, check_sha256, may_print, read_bytes, rows
from harness.heldout.marking import mark
from harness.spec import ChoiceForm, Form, HeldOut, Language, digest, sha256, to_json
from harness.suites.tasks.base import Item

__all__ = ["HeldOutTask", "examine", "fingerprint", "load", "mark", "may_print", "text"]

SHOT_DELIMITER = "\n\n"
_NOTES = {
    "prefix_choice": "a choice begins another one",
    "repeated_question": "a question is asked again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutTask:
    """The items of one entry.

    Attributes:
        form: of all items.
        items: to be asked, in the file's order. ids: theirs.
        shots: solved items, which are not asked. prefix: their text, to stand before every
            context; a task file's description begins it.
        delimiter: begins every choice, and is not part of its length.
        notes: how many items something remarkable is true of: `prefix_choice` (a choice
            begins another one), `repeated_question`.
        sha256: hash of every file that was read, by path.
    """

    id: str
    form: Form
    items: tuple[Item, ...]
    ids: tuple[str, ...]
    shots: tuple[Item, ...]
    prefix: str
    delimiter: str
    notes: Mapping[str, int]
    sha256: Mapping[str, str]
    licence: str

    @property
    def printable(self) -> bool:
        """Texts of the items may be shown; otherwise only ids and fingerprints."""
        return may_print(self.licence)

    @property
    def language(self) -> Language:
        """`ko` where most questions hold Hangul, else `en`."""
        korean = sum(any("가" <= char <= "힣" for char in item.context) for item in self.items)
        return "ko" if 2 * korean > len(self.items) else "en"


def load(entry: HeldOut, base: Path) -> HeldOutTask:
    """Read and check the items of an entry.

    Args:
        base: folder of the profile, which the entry's path is relative to.

    Raises:
        SpecError: `dataset_changed` where a hash differs, another reason where anything in
            the file is wrong; the message names file, line and field.
    """
    path = base / entry.path
    report = Report(path, printable=may_print(entry.licence))
    if path.suffix.lower() not in {".jsonl", ".yaml", ".yml"}:
        report.fail(
            "this is data of no known kind",
            reason="bad_data_kind",
            allowed="a .jsonl file, or a .yaml task of lm-evaluation-harness",
        )
    raw = read_bytes(path, report)
    hashes = {str(path): check_sha256(raw, entry.sha256, report, named_in="the profile")}
    if path.suffix.lower() == ".jsonl":
        loaded = _jsonl(raw, entry, report)
    else:
        # Not at the top: YAML and pydantic are needed for task files only.
        from harness.heldout.taskitems import load_task

        loaded = load_task(raw, path, entry)
    return HeldOutTask(
        id=entry.id,
        form=loaded.built.form,
        items=tuple(loaded.built.items),
        ids=tuple(loaded.built.ids),
        shots=tuple(loaded.shots),
        prefix=loaded.prefix,
        delimiter=loaded.delimiter,
        notes=dict(+loaded.built.notes),
        sha256=hashes | loaded.sha256,
        licence=entry.licence,
    )


def examine(path: Path, *, choices: ChoiceForm, shots: int, licence: str) -> dict[str, Any]:
    """What a file holds, and its entry in a profile; the file's hash is taken as it is.

    Raises:
        SpecError: anything in it is wrong.
    """
    raw = read_bytes(path, Report(path, printable=False))
    name = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._") or "data"
    entry = HeldOut(
        id=name, path=path.name, sha256=sha256(raw), choices=choices, shots=shots, licence=licence
    )
    task = load(entry, path.parent)
    return {
        "file": str(path),
        "entry": to_json(entry),
        "form": task.form,
        "language": task.language,
        "items": len(task.items),
        "shots": len(task.shots),
        "notes": dict(task.notes),
        "printable": task.printable,
    }


def text(found: Mapping[str, Any]) -> str:
    """What `examine` found, for people."""
    lines = [f"{found['file']}: {found['items']} items ({found['form']}), {found['shots']} shots"]
    lines += [f"note: {_NOTES[code]} in {count} items" for code, count in found["notes"].items()]
    if not found["printable"]:
        lines.append("note: texts of this licence, or of none, are never shown in reports")
    lines.append("its entry in a profile's suites: accuracy: data: (path: from its folder)")
    for key, value in found["entry"].items():
        if value:
            plain = isinstance(value, int) or re.fullmatch(r"[\w./-]+", value)
            mark = "  - " if key == "id" else "    "
            lines.append(f"{mark}{key}: {value if plain else json.dumps(value)}")
    return "\n".join(lines)


def fingerprint(item: Item) -> str:
    """16 hex digits that tell items apart without showing them."""
    return digest(item)[:16]


def _jsonl(raw: bytes, entry: HeldOut, report: Report) -> Loaded:
    built = build(rows(raw, report), entry.choices, entry.id, report)
    report.refuse()
    if entry.shots >= len(built.items):
        report.fail(
            f"{entry.shots} shots of {len(built.items)} items leave nothing to ask",
            reason="no_items",
            allowed=f"at most {len(built.items) - 1} shots",
        )
    shots, asked = built.items[: entry.shots], built.items[entry.shots :]
    prefix = "".join(item.context + item.solution + SHOT_DELIMITER for item in shots)
    return Loaded(built._replace(items=asked, ids=built.ids[entry.shots :]), shots, prefix, " ", {})
