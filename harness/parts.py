"""What a worker left in its part file, read as what a stranger wrote.

A file that has taken an engine over writes what it likes: gigabytes, JSON that no parser
likes, records in the parent's name. Whatever it is, reading it ends, in bounded memory, and
the journal gets nothing that it could not hold. What stands behind the first bad line is not
trusted. Whether the figures are plausible is asked later (`scoring`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from harness.durable import open_plain
from harness.records import Record, decode_line, encode_line

_BYTES_MAX: Final = 128 << 20
_VALUES_MAX: Final = 1 << 22
"""An empty list takes two bytes in the file and some sixty in memory."""
_PARENTS: Final = frozenset({"memory_split", "energy_trace", "item", "item_skipped", "geometry"})
"""Kinds of samples that the parent records: a worker that wrote one would judge itself."""
_KINDS_OF_EVENTS: Final = frozenset({"done", "failed", "skipped"})
_TEXTS: Final = {"skipped": ("case", "reason", "detail"), "failed": ("reason", "detail")}
_INTEGERS_END: Final = 1 << 64


class Part(NamedTuple):
    """What a part file held.

    Attributes:
        torn: something behind the records was not read.
        wrong: why, where it is more than an unfinished last line.
    """

    records: list[Record]
    torn: bool
    wrong: str = ""


def read_part(path: Path) -> Part:
    """Whole records of a part file; never raises on what is in it."""
    try:
        data = _bytes(path)
    except FileNotFoundError:
        return Part([], torn=False)
    except OSError as error:
        return Part([], torn=True, wrong=f"its records cannot be read: {error.strerror}")
    except ValueError as error:
        return Part([], torn=True, wrong=f"its records are {error}")
    lines = data.split(b"\n")
    torn = bool(lines.pop())
    records: list[Record] = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(_record(line))
        except (ValueError, RecursionError) as error:
            wrong = f"line {number} of its records: {str(error)[:200]}"
            return Part(records, torn=True, wrong=wrong)
    return Part(records, torn)


def read_own(path: Path) -> list[Record]:
    """Whole records of a part file that the parent wrote itself; none where there is no file."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    records = []
    for line in lines:
        try:
            records.append(decode_line(line))
        except ValueError:
            break  # a disk that lost power may have kept later lines only
    return records


def _bytes(path: Path) -> bytes:
    """All of a regular file that is not too large.

    Raises:
        ValueError: it is none. OSError: it cannot be opened.
    """
    with open_plain(path) as file:
        if os.fstat(file.fileno()).st_size > _BYTES_MAX:
            raise ValueError(f"larger than {_BYTES_MAX >> 20} MiB")
        data = file.read(_BYTES_MAX)
    if sum(map(data.count, (b",", b"[", b"{"))) > _VALUES_MAX:
        raise ValueError(f"of more than {_VALUES_MAX} values")
    return data


def _record(line: bytes) -> Record:
    """A record that a worker may write.

    Raises:
        ValueError, RecursionError: the line holds none.
    """
    record = decode_line(line)
    encode_line(record)  # an infinite number, or half a character, would end the journal
    _bound(record)
    if "retry" in record:
        raise ValueError("a count of its job's starts, which is the parent's")
    if wrong := _WRONG.get(str(record["type"]), _foreign)(record):
        raise ValueError(wrong)
    return record


def _foreign(record: Record) -> str:
    return f"a record of type {record['type']!r:.60}, which is not a worker's"


def _sample(record: Record) -> str:
    kind = record.get("kind")
    if not isinstance(kind, str) or kind in _PARENTS:
        return f"a sample of kind {kind!r:.60}, which a worker cannot take"
    return "" if isinstance(record.get("case"), str) else "a sample without a case"


def _telemetry(record: Record) -> str:
    right = record.get("source") == "worker" and _objects(record, "counters")
    return "" if right else "telemetry of another source, or without counters"


def _engine(record: Record) -> str:
    if not _objects(record, "facts", "load", "sandbox"):
        return "an engine whose facts are no objects"
    level = (record.get("sandbox") or {}).get("level", 0)
    return "" if type(level) is int else "an engine whose level is no number"


def _event(record: Record) -> str:
    kind = str(record.get("kind"))
    texts = [record.get(name) for name in _TEXTS.get(kind, ())]
    if kind in _KINDS_OF_EVENTS and all(isinstance(text, str) for text in texts):
        return ""
    return f"an event {kind!r:.60}, or one without its words"


_WRONG: Final = {"sample": _sample, "telemetry": _telemetry, "engine": _engine, "event": _event}
"""What is wrong with a record of a type, empty for nothing."""


def _objects(record: Record, *names: str) -> bool:
    return all(isinstance(record.get(name) or {}, dict) for name in names)


def _bound(value: object) -> None:
    """Refuse integers that no number of a scorecard can hold.

    Raises:
        ValueError: there is one.
    """
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list):
            left += one
        elif isinstance(one, int) and not -_INTEGERS_END < one < _INTEGERS_END:
            raise ValueError("an integer of more than 64 bits")
