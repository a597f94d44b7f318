"""Versions of files: which ones this program reads, and how old records are brought up to date.

What lies on disk never changes: each step is a pure function from a record of one version to
one of the next, and reading applies those that are needed. Standard library only: the
measured child imports this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from harness.errors import RecordError, SchemaError

Record = dict[str, Any]


def known(what: str, schema: object, newest: int, where: str) -> int:
    """The version of a file, if it is one that this program reads.

    Args:
        what: kind of file, for the message. where: the file.

    Raises:
        SchemaError: `schema_too_new`.
        RecordError: `schema_unknown`: it is no version at all.
    """
    if type(schema) is not int or schema < 1:
        raise RecordError(
            f"{what} schema {str(schema)[:40]!r} is no version",
            where=where,
            allowed=f"1 to {newest}",
            hint="use an untouched copy, or measure again with `harness run`",
            reason="schema_unknown",
        )
    if schema > newest:
        raise SchemaError(
            f"{what} schema {schema} is newer than {newest}",
            where=where,
            allowed=f"1 to {newest}",
            hint="install the harness version that wrote it, or a newer one",
        )
    return schema


def migrated(records: Iterable[Record], schema: int) -> list[Record]:
    """Records of a version as the newest one has them."""
    kept = list(records)
    for version in range(schema, max(STEPS) + 1):
        kept = [STEPS[version](record) for record in kept]
    return kept


def _to_2(record: Record) -> Record:
    """Nothing was announced, and runs were found by their folders: what was gone was not seen."""
    if record["type"] != "run":
        return record
    attempt: Mapping[str, Any] = record.get("attempt") or {"number": 1, "of": 1}
    earlier = [run | {"announced": False, "gone": False} for run in attempt.get("earlier", ())]
    unannounced = {"announced": False, "ledger": ""}
    return record | {"schema": 2, "attempt": {**attempt, **unannounced, "earlier": earlier}}


STEPS: Final[Mapping[int, Callable[[Record], Record]]] = {1: _to_2}
"""From each version to the next."""
