"""Records and scorecards as JSON Schemas (draft 2020-12), for whoever reads them elsewhere.

typed descriptions (`record`, `sample`, `scorecard`) ─ pydantic ─▶ docs/*.schema.json

They describe what this version writes. Fields that they do not know are allowed: within a
version fields may be added. What was written by an earlier version fits once it is read, for
`records.read` brings it up to date.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict, is_typeddict

from harness import score, spec, specgate, spectext
from harness.environment.base import FACTS
from harness.metrics import METRICS
from harness.records import SCHEMA
from harness.schema import answers, entry, fields, record, sample, scorecard
from harness.specschema import DIALECT, describe, plain


class _Records(TypedDict):
    """All that a schema of records refers to; a model's entry stands in a dataclass."""

    record: record.AnyRecord
    model: spec.Model


def record_text() -> str:
    """The schema as it lies in `docs/record.schema.json`."""
    return json.dumps(record_schema(), indent=2, ensure_ascii=False) + "\n"


def scorecard_text() -> str:
    """The schema as it lies in `docs/scorecard.schema.json`."""
    return json.dumps(scorecard_schema(), indent=2, ensure_ascii=False) + "\n"


def record_schema() -> dict[str, Any]:
    """One record: the JSON behind the checksum of a line of `records.jsonl`."""
    parts = _parts(_Records, spec, specgate, spectext, fields, sample, answers, record)
    found = parts.pop("_Records")["properties"]["record"]
    parts["ModelFiles"]["allOf"] = [{"$ref": "#/$defs/Model"}]
    parts["Run"]["properties"]["schema"] |= {"const": SCHEMA}
    facts = {name: {"description": text} for name, text in FACTS.items()}
    parts["Environment"]["properties"]["facts"]["properties"] = facts
    return {
        "$schema": DIALECT,
        "title": f"harness record, schema {SCHEMA}",
        "description": "What stands behind the checksum of a line of records.jsonl.",
        "oneOf": found["anyOf"],
        "$defs": parts,
    }


def scorecard_schema() -> dict[str, Any]:
    """A whole `scorecard.json`."""
    parts = _parts(scorecard.Scorecard, spec, fields, entry, scorecard)
    top = parts.pop("Scorecard")
    top["properties"]["schema"] |= {"const": score.SCHEMA}
    estimate = {"$ref": "#/$defs/Estimate"}
    parts["Entry"]["properties"]["metrics"]["properties"] = {
        name: estimate | {"description": f"{metric.definition}, in {metric.unit}"}
        for name, metric in METRICS.items()
    }
    title = f"harness scorecard, schema {score.SCHEMA}"
    return {"$schema": DIALECT, "title": title, **top, "$defs": parts}


def _parts(kind: Any, *modules: ModuleType) -> dict[str, dict[str, Any]]:
    """Every part that a type is made of by its name, with the words of its docstring.

    Args:
        modules: where the parts are defined.
    """
    adapter = TypeAdapter(list[kind], config=ConfigDict(strict=True))
    parts: dict[str, dict[str, Any]] = plain(adapter.json_schema())["$defs"]
    kinds = {name: found for module in modules for name, found in vars(module).items()}
    for name, part in parts.items():
        if (found := kinds.get(name)) and "properties" in part:
            describe(part, *_docs(found))
    return parts


def _docs(kind: Any) -> Iterator[str]:
    """The docstring of a type, then those of the types that it is made from."""
    yield kind.__doc__ or ""
    for base in getattr(kind, "__orig_bases__", ()):
        if is_typeddict(base):
            yield from _docs(base)
