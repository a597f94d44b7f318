"""JSON objects in what a model wrote, and values read the way a person would.

The text is hostile: only its first `LONGEST` characters are read, and only `MOST_STARTS`
braces are tried, so that no text takes long. Numbers outside JSON (`NaN`) make an object
unreadable; a repeated key has the value `REPEATED`, which equals nothing else.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Iterator
from typing import Any, Final, NoReturn

LONGEST: Final = 4000
MOST_STARTS: Final = 40
REPEATED: Final = object()

_NUMBER: Final = re.compile(
    r"(?:US)?[$₩]?\s?(-?(?:\d{1,3}(?:,\d{3}){1,3}|\d{1,12}))(?:\.0{1,2})?\s?(\D{0,12})"
)


def tidy(text: str) -> str:
    """Text in one Unicode form (NFC) without space around it."""
    return unicodedata.normalize("NFC", text).strip()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        name = tidy(key)
        out[name] = REPEATED if name in out else value
    return out


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse)


def _decode(text: str, start: int) -> tuple[Any, int] | None:
    """The value that starts here and where it ends, or None."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):  # bad JSON, too many digits, too deep
        return None


def objects(text: str) -> Iterator[dict[str, Any]]:
    """Each JSON object in a text, outermost only, in order."""
    text = text[:LONGEST]
    start = text.find("{")
    for _ in range(MOST_STARTS):
        if start < 0:
            return
        found = _decode(text, start)
        if found is not None:
            yield found[0]
        start = text.find("{", found[1] if found else start + 1)


def whole_object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text consists of, space around it aside, or None."""
    if len(text) > LONGEST:
        return None
    text = text.strip()
    found = _decode(text, 0) if text.startswith("{") else None
    return found[0] if found and found[1] == len(text) else None


def whole_number(value: object, units: Collection[str] = ()) -> int | None:
    """The number that a person would read: `3`, `3.0`, `"12,000원"`; else None.

    Args:
        value: a value out of JSON.
        units: what may follow the digits of a string.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1e15 else None
    if not isinstance(value, str) or len(value) > 40:
        return None
    match = _NUMBER.fullmatch(tidy(value))
    if match is None or (match[2] and match[2].strip().lower() not in units):
        return None
    return int(match[1].replace(",", ""))


def same(expected: int | str, found: object, units: Collection[str] = ()) -> bool:
    """Whether a value is the expected one, its type and spelling forgiven."""
    if isinstance(expected, int):
        return whole_number(found, units) == expected
    return isinstance(found, str) and tidy(found) == expected


def exactly(expected: int | str, found: object) -> bool:
    """Whether a value is the expected one and of its type (`True` is not 1)."""
    return type(found) is type(expected) and same(expected, found)
