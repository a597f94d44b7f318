"""Records: append-only lines that survive a crash and show every edit.

A line is `<crc32 in 8 hex> <strict JSON>` and a line feed. The measured child appends to a part
file of its own with one `write` a line; the parent adopts finished parts into
`records.jsonl`, adding `seq` and `prev` (sha256 of the line before), and syncs all records of a
job to disk at once before it goes on. Reading drops what a power cut tore off and says so;
anything else that does not check out is an error with its line, never a smaller result.

Schema history
  1  first version
  2  jobs may be begun again within a run (`retry`, events of kind `resumed`); `attempt` comes
     from a ledger (`announced`, `ledger`); `plan_sha256`
Older records are brought up to date as they are read (`migrate`); the file stays as it is.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from harness.durable import BINARY, Appends, sync_folder, unwritable
from harness.errors import HarnessError, RecordError
from harness.migrate import known, migrated
from harness.spec import canonical, sha256

SCHEMA = 2
Record = dict[str, Any]
"""JSON object with a `type`: run, environment, engine, job, sample, telemetry or event."""
STRANGE = (
    HarnessError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What scoring the records of a stranger may come to."""
_AnyRecord = TypeVar("_AnyRecord", bound=Mapping[str, Any])


class Journal(NamedTuple):
    """What a record file held.

    Attributes:
        records: in file order, without `seq` and `prev`, as the newest schema has them.
        torn: True when an unfinished last line was dropped.
        tip: sha256 of the last whole line, in hex ("" for an empty file).
        size: bytes up to the end of the last whole line.
        schema: in which the file was written.
    """

    records: list[Record]
    torn: bool
    tip: str
    size: int
    schema: int = SCHEMA


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
"""One for all lines, as the decoder below."""


def encode_line(record: Mapping[str, Any], hidden: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """One line, newline included. NaN and infinity are refused."""
    body = _ENCODER.encode(record).encode()
    for text, name in hidden:
        body = body.replace(text, name)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _inside(text: str) -> bytes:
    """A text as it stands within a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()


def decode_line(line: bytes) -> Record:
    """The record of a line without its newline.

    Raises:
        ValueError: the checksum or the JSON is wrong.
    """
    return next(decode_lines((line,)))


def decode_lines(lines: Iterable[bytes], *, narrow: bool = False) -> Iterator[Record]:
    """The record of each line, as `decode_line`.

    Args:
        narrow: no integer has more than 64 bits (`may_be_wide`): need not be asked again.

    Raises:
        ValueError: of a line; nothing comes behind it.
    """
    read, crc32 = _json_reader(narrow=narrow), zlib.crc32
    for line in lines:
        body = line[9:]
        if line[:9] != b"%08x " % crc32(body):
            raise ValueError("checksum does not match")
        record = read(body)
        if not isinstance(record, dict) or "type" not in record:
            raise ValueError("not a record")
        yield record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
"""One for all lines: making one takes as long as reading a short line."""


def strict_json(text: str) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it is none, is nested too deeply, or holds a NaN or an infinity.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


_FIRST = b" \t\r\n:,["
"""What stands before a number in JSON, if not its minus: within strings, such as hashes, there are
long runs of digits, too.
"""
_ZEROS = b"0" * 20
_PLAIN = bytes.maketrans(b"123456789" + _FIRST, b"0" * 9 + b":" * len(_FIRST))
_WIDE = (b":" + _ZEROS, b"-" + _ZEROS[:19])
_NOT_FIRST = bytes(set(range(256)) - set(_FIRST))
_CHUNK_BYTES = 1 << 16
_SHORT_BYTES = 4096
"""Up to here translating is faster, beyond it an array."""


def may_be_wide(text: bytes) -> bool:
    """Whether JSON may hold an integer beyond 64 bits, of which orjson would make a float: one of
    20 digits, or of 19 behind a minus.
    """
    if len(text) > _SHORT_BYTES:
        return _has_wide(text)
    plain = text.translate(_PLAIN)
    return _WIDE[0] in plain or _WIDE[1] in plain or plain.startswith(_ZEROS)


def _has_wide(text: bytes) -> bool:
    """As `may_be_wide`: in half of the time for a long text, in several times as long for a short
    one.
    """
    import numpy as np  # not at the top: a measured child never reads

    for start in range(0, len(text), _CHUNK_BYTES):
        before = text[start - 1 : start] or b":"
        chunk = before + text[start : start + _CHUNK_BYTES + 19] + b"}"
        found = np.frombuffer(chunk, dtype=np.uint8)
        digit = found - np.uint8(ord("0")) < 10
        run = digit
        for step in (1, 2, 4, 8, 3):  # of 2, 4, 8, 16 and, in the end, 19 digits
            run = run[:-step] & run[step:]
        at = np.flatnonzero(run[1:])  # places less one, which is the place before
        if (found[at] == ord("-")).any():
            return True
        if found[at[digit[at + 20]]].tobytes().strip(_NOT_FIRST):
            return True
    return False


def _json_reader(*, narrow: bool) -> Callable[[bytes], Any]:
    """As `strict_json`, in a third of the time: orjson, where it is known to read the same.

    It makes floats of wide integers, and refuses half characters and deep nesting that the
    standard library reads: those texts are left to the latter.
    """
    import orjson  # not at the top: a measured child never reads

    quick, refused = orjson.loads, orjson.JSONDecodeError

    def read(body: bytes) -> Any:
        if narrow or not may_be_wide(body):
            try:
                return quick(body)
            except refused:
                pass
        return strict_json(body.decode())

    return read


class PartWriter:
    """The child's end: unbuffered appends to one part file.

    A line is handed to the kernel in one `write`: once `write` has returned, it outlives every
    process. A killed child loses at most the line that it was writing.

    Raises:
        RecordError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | BINARY, 0o644)
            self._file = Appends(descriptor, os.lseek(descriptor, 0, os.SEEK_END))
        except OSError as error:
            raise unwritable(path, error) from error

    def write(self, *records: Mapping[str, Any]) -> None:
        """Append records; when this returns, they survive the death of any process.

        Raises:
            RecordError: the disk is full or the file cannot be written.
        """
        lines = b"".join(map(encode_line, records))
        try:
            self._file.add(lines, synced=False)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JournalWriter:
    """The parent's end: hash-chained, synced appends to `records.jsonl`.

    Opening an existing file continues its chain and cuts off what a power cut tore.

    Args:
        hidden: texts that no record may hold, such as folders, and what is written instead,
            in the order in which they are looked for.

    Raises:
        RecordError: the folder cannot be written, or the file is damaged.
    """

    def __init__(self, path: Path, *, hidden: Mapping[str, str] | None = None) -> None:
        self.path = path
        self._hidden = [(_inside(text), _inside(name)) for text, name in (hidden or {}).items()]
        journal = read(path) if path.exists() else Journal([], torn=False, tip="", size=0)
        self._seq, self._tip = len(journal.records), journal.tip
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | BINARY, 0o644)
            self._file = Appends(descriptor, journal.size)
            sync_folder(path.parent)
        except OSError as error:
            raise unwritable(path, error) from error

    def append(self, *records: Mapping[str, Any]) -> None:
        """Add records; when this returns, all of them are on disk.

        Raises:
            RecordError: the disk is full or the file cannot be written.
        """
        lines, tip = [], self._tip
        for seq, record in enumerate(records, self._seq):
            lines.append(encode_line({**record, "seq": seq, "prev": tip}, self._hidden))
            tip = sha256(lines[-1])
        try:
            self._file.add(b"".join(lines), synced=True)
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._seq, self._tip = self._seq + len(lines), tip

    @property
    def end(self) -> tuple[int, str]:
        """How many lines there are, and the sha256 of the last one."""
        return self._seq, self._tip

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path) -> Journal:
    """Read and verify a journal.

    Raises:
        RecordError: missing, or damaged (with the line's number).
        SchemaError: of a newer schema.
    """
    return parse(load(path), path)


def load(path: Path) -> bytes:
    """The bytes of a journal, unverified.

    Raises:
        RecordError: it is missing, or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(
            f"cannot read records: {error.strerror}",
            where=str(path),
            hint="harness run",
            reason="records_missing",
        ) from error


def parse(data: bytes, path: Path) -> Journal:
    """The journal that the bytes of a file are.

    Raises:
        RecordError: of a newer schema, or damaged (with the line's number).
    """
    records: list[Record] = []
    tip, size, schema = "", 0, SCHEMA
    lines = data.split(b"\n")
    torn = bool(lines.pop())
    found = decode_lines(lines, narrow=not may_be_wide(data))
    for number, line in enumerate(lines, 1):
        try:
            record = next(found)
        except ValueError as error:
            if _torn_off(records[-1] if records else None, lines[number - 1 :]):
                torn = True
                break
            raise _damaged(path, number, str(error)) from error
        seq = record.pop("seq", None)
        if seq != number - 1:
            raise _damaged(path, number, _misplaced(seq, number, lines[number:]))
        if record.pop("prev", None) != tip:
            raise _damaged(path, max(number - 1, 1), "the hash chain is broken behind this line")
        if record["type"] == "run":
            schema = known("record", record.get("schema"), SCHEMA, str(path))
        tip = sha256(line + b"\n")
        size += len(line) + 1
        records.append(record)
    try:
        return Journal(migrated(records, schema), torn, tip, size, schema)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, 1, f"not of the form of schema {schema}") from error


def _torn_off(before: Record | None, lines: Sequence[bytes]) -> bool:
    """Whether these, the first of them damaged, are what a power cut left of one append.

    Blocks that did not reach the disk read as zeros, whatever reached it behind them: it was
    never acknowledged, and is not believed. If a later append stands behind, it was: one append
    holds records of one job at most, and its `job` record is the last of them.

    Args:
        before: the record before them.
    """
    found: list[Record] = []
    for line in lines:
        try:
            found.append(decode_line(line))
        except ValueError:
            if b"\0" not in line:
                return False
            found.append({"type": "torn"})
    jobs = {record.get("job") for record in found if record["type"] != "torn"}
    if before and before["type"] != "job" and "job" in before:
        jobs.add(before["job"])
    one = len(jobs) <= 1 and None not in jobs
    return one and all(record["type"] != "job" for record in found[:-1])


def _misplaced(seq: object, number: int, behind: Sequence[bytes]) -> str:
    """What was done to lines when the one with number `seq` stands as line `number`.

    Args:
        behind: lines behind it.
    """
    if not isinstance(seq, int) or seq < 0:
        return "the hash chain is broken: this line has no number"
    if seq < number - 1:
        return f"the hash chain is broken: this is line {seq + 1} again"
    moved = b'"seq":%d,' % (number - 1)
    if any(moved in line for line in behind):
        return f"the hash chain is broken: this is line {seq + 1}, lines were moved"
    if seq == number:
        return f"the hash chain is broken: line {number} was taken out"
    return f"the hash chain is broken: lines {number} to {seq} were taken out"


def current(records: Iterable[_AnyRecord]) -> list[_AnyRecord]:
    """The records that count: of a job that was begun again, those of its last start.

    What an interrupted start has left stays in the file and is evidence; two starts mixed
    would be a job that nobody has run.
    """
    kept = list(records)
    last: dict[str, int] = {}
    for record in kept:
        if "retry" in record:
            name = str(record.get("job", ""))
            last[name] = max(last.get(name, 0), int(record["retry"]))
    if not last:
        return kept
    return [
        record
        for record in kept
        if "job" not in record or record.get("retry", 0) == last.get(str(record["job"]), 0)
    ]


def run_record(records: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The run record; a resumed run may have repeated it with a later start.

    Raises:
        RecordError: there is none, it lacks a part, or records of several runs are mixed.
    """
    found = sorted((r for r in records if r["type"] == "run"), key=_started)
    if not found:
        raise RecordError(
            "no run record: this is not a whole record file",
            hint="harness run",
            reason="no_run_record",
        )
    first = found[0]
    for name in ("run", "profile", "device", "models"):
        if name not in first:
            raise RecordError(
                f"the run record has no {name!r}",
                hint="use an untouched copy, or measure again with `harness run`",
                reason="bad_run_record",
            )
        if any(canonical(other.get(name)) != canonical(first[name]) for other in found):
            raise RecordError(
                f"records of different runs: their {name!r} differs",
                hint="score one results folder at a time",
                reason="several_runs",
            )
    return first


def _started(run: Mapping[str, Any]) -> tuple[str, bytes]:
    return str(run.get("started_utc", "")), canonical(run)


def _damaged(path: Path, number: int, why: str) -> RecordError:
    return RecordError(
        f"the file was edited or damaged: {why}",
        where=f"{path}:{number}",
        hint="use an untouched copy, or measure again with `harness run`",
        reason="records_damaged",
    )
