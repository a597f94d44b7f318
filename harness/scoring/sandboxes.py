"""How well the workers of a run were confined: docs/sandbox.md. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LEAST_OFFICIAL = 1
"""Level below which a run of an official profile is not verified."""
_NOT_RECORDED = {"level": 0, "reason": "not_recorded"}


def lowest(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By model, what the least confined of its workers recorded."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        if record["type"] == "engine" and "model" in record:
            one = dict(record.get("sandbox") or _NOT_RECORDED)
            other = found.setdefault(str(record["model"]), one)
            if _order(one) < _order(other):
                found[str(record["model"])] = one
    return found


def _order(found: Mapping[str, Any]) -> tuple[int, str]:
    return int(found.get("level", 0)), str(sorted(found.items()))


def unconfined(found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """The finding on models that an official run must not have measured like this."""
    below = [
        f"{model} at level {one['level']} ({one['reason']})"
        for model, one in sorted(found.items())
        if one.get("level", 0) < LEAST_OFFICIAL
    ]
    if not below:
        return []
    detail = ", ".join(below)
    return [{"code": "not_sandboxed", "severity": "warn", "detail": detail}]
