"""Models files and profiles as JSON Schemas, for editors: derived from the dataclasses that
read them.

They say what single values may be; what `specfile` and `specprofile` check across values (names
used twice, sets of unknown models, weights that do not add up) is beyond them.
"""

from __future__ import annotations

import json
import re
import typing
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from harness.metrics import METRICS, suite_of
from harness.spec import (
    MODEL_ID,
    SUITE_TYPES,
    BackendOptions,
    HeldOut,
    Model,
    Profile,
    Protocol,
    Source,
    SourceKind,
)
from harness.specfile import HUB_FILE_TYPES, SOURCE_FIELDS, CatalogueFile
from harness.specgate import FACTS, Gate
from harness.specprofile import NUMBERS
from harness.spectext import TextFile
from harness.specyaml import MAX_ID_LENGTH

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_LIST = ", ".join


def text() -> str:
    """The schema as it lies in `docs/models.schema.json`."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """The schema as JSON data."""
    adapter = TypeAdapter(list[CatalogueFile], config=ConfigDict(extra="forbid", strict=True))
    found = plain(adapter.json_schema())
    parts = found["$defs"]
    for kind in (Model, BackendOptions):
        describe(parts[kind.__name__], kind.__doc__ or "")
    name = {"pattern": f"^{MODEL_ID.pattern}$", "maxLength": MAX_ID_LENGTH}
    for key in ("id", "family"):
        parts["Model"]["properties"][key] |= name
    parts["Source"] = _source(parts["Source"]["properties"])
    top = parts.pop("CatalogueFile")
    return {"$schema": DIALECT, "title": "harness models file", **top, "$defs": parts}


_PROFILE_KEYS = {
    "id": "what the scorecard calls it; another one than those of the program",
    "version": "to be raised with every change: the scorecard carries it beside the hash",
    "title": "one line for people",
    "tier": "what its scorecards claim; only `verified` makes findings invalidate a run",
    "protocol": "how often and in which order",
    "suites": "what is run; a suite that is not named is not run",
    "weights": "by metric, above 0, in sum 1; empty = nothing is ranked",
    "gates": "what an entry has to meet",
    "note": "for people; shown in reports",
}


def profile_text() -> str:
    """The schema as it lies in `docs/profile.schema.json`."""
    return json.dumps(profile_schema(), indent=2, ensure_ascii=False) + "\n"


def profile_schema() -> dict[str, Any]:
    """The schema of a profile as JSON data."""
    adapter = TypeAdapter(list[Profile], config=ConfigDict(extra="forbid", strict=True))
    found = plain(adapter.json_schema())
    parts = found["$defs"]
    for kind in (Profile, Protocol, Gate, HeldOut, TextFile, *SUITE_TYPES.values()):
        describe(parts[kind.__name__], kind.__doc__ or "")
    top = parts.pop("Profile")
    for key, text in _PROFILE_KEYS.items():
        top["properties"][key].setdefault("description", text)
    for suite, field, least, most in NUMBERS:
        value = parts[SUITE_TYPES[suite].__name__]["properties"][field]
        value.get("items", value).update(minimum=least, maximum=most)
    share = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    weighed = [metric for metric in METRICS if suite_of(metric) != "fidelity"]
    top["properties"]["weights"] |= {
        "properties": {metric: share for metric in weighed if metric != "accuracy_ratio"},
        "additionalProperties": False,
    }
    parts["Gate"]["properties"]["metric"] |= {"enum": [*FACTS, *weighed]}
    name = {"pattern": f"^{MODEL_ID.pattern}$", "maxLength": MAX_ID_LENGTH}
    for key in ("id", "reference"):
        top["properties"][key] |= name
    return {"$schema": DIALECT, "title": "harness profile", **top, "$defs": parts}


def plain(value: Any) -> Any:
    """Without the titles that only repeat the keys; patterns and keys stay as they are."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: {name: plain(item) for name, item in found.items()}
        if key in {"properties", "$defs"}
        else plain(found)
        for key, found in value.items()
        if key != "title"
    }


def describe(part: dict[str, Any], doc: str, *bases: str) -> None:
    """Move what docstrings say of attributes to the attributes; the first is the part's own."""
    part["description"] = " ".join(doc.partition("Attributes:")[0].split())
    for text in (doc, *bases):
        # An entry is indented by eight columns, what goes on by twelve.
        rest = text.partition("Attributes:")[2]
        for found in re.finditer(r"^ {8}([a-z0-9_, ]+): (.*(?:\n {12}.*)*)", rest, re.MULTILINE):
            for key in found[1].split(", "):
                part["properties"][key].setdefault("description", " ".join(found[2].split()))


def _source(fields: dict[str, Any]) -> dict[str, Any]:
    """One shape for each kind of source, so that an editor offers what fits."""
    types = "|".join(re.escape(ending) for ending in HUB_FILE_TYPES)
    fields["repo"] |= {"pattern": "^[^/]+/[^/]+$", "description": "owner/name"}
    fields["revision"] |= {
        "pattern": "^([0-9a-f]{40})?$",
        "description": "the full commit, 40 hex digits; `harness models pin` writes it",
    }
    fields["files"] |= {
        "items": {"type": "string", "pattern": f"({types}|\\.onnx_data_\\d+)$"},
        "description": "names in the repository: " + _LIST(HUB_FILE_TYPES),
    }
    fields["sha256"] |= {
        "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "description": "expected hash of each file; `harness models pin` writes it",
    }
    fields["path"] |= {"description": "a file or folder, relative to the models file"}
    shapes: list[dict[str, Any]] = []
    for kind in typing.get_args(SourceKind):
        needed, possible = SOURCE_FIELDS[kind]
        keys = [key for key in fields if key in needed | possible]
        shapes.append(
            {
                "type": "object",
                "properties": {"kind": {"const": kind}} | {key: fields[key] for key in keys},
                "required": ["kind", *(key for key in keys if key in needed)],
                "additionalProperties": False,
            }
        )
    doc = " ".join((Source.__doc__ or "").partition("Attributes:")[0].split())
    return {"description": doc, "oneOf": [{"const": "embedded"}, *shapes]}
