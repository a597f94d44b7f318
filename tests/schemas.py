"""Validators of the published schemas, for tests that have made a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from harness import schema
from harness.records import decode_line

Json = dict[str, Any]
TAGS = ("type", "kind", "form", "source")
"""Fields that tell kinds of records apart."""
RECORD, CARD = schema.record_schema(), schema.scorecard_schema()
RECORDS, CARDS = Draft202012Validator(RECORD), Draft202012Validator(CARD)


def tags(part: Json) -> dict[str, str]:
    """What tells a part of the schema of records apart."""
    known = part.get("properties", {})
    return {tag: known[tag]["const"] for tag in TAGS if "const" in known.get(tag, {})}


KINDS = [
    (tags(part), Draft202012Validator({**part, "$defs": RECORD["$defs"]}))
    for part in RECORD["$defs"].values()
    if "type" in tags(part)
]


def part_of(record: Json) -> Draft202012Validator:
    """The part of the schema that describes a record: asking all takes twenty times as long."""
    (own,) = (found for wanted, found in KINDS if wanted.items() <= record.items())
    return own


def on_disk(path: Path) -> list[Json]:
    """Records as they stand in a file, `seq` and `prev` included."""
    return [decode_line(line) for line in path.read_bytes().splitlines()]


def record_faults(path: Path) -> list[str]:
    """What the schema of records has against those of a file, once a kind."""
    found = {
        kind(record): f"{list(error.path)}: {error.message[:200]}"
        for record in on_disk(path)
        for error in part_of(record).iter_errors(record)
    }
    return [f"{name}: {fault}" for name, fault in found.items()]


def kind(record: Mapping[str, Any]) -> str:
    """Which part of the schema describes a record."""
    return " ".join(str(record[k]) for k in TAGS if k in record)
