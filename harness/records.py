"""Records: append-only lines that survive a crash and show every edit.

A line is `<crc32 in 8 hex> <strict JSON>` and a line feed. The measured child appends to a part
file of its own with one `write` a line; the parent adopts finished parts into
`records.jsonl`, adding `seq` and `prev` (sha256 of the line before), and syncs each
line to disk before it goes on. Reading drops a torn last line and says so; anything
else that does not check out is an error, never a smaller result.

Schema history
  1  first version
  2  jobs may be begun again within a run (`retry`, events of kind `resumed`); `attempt` comes
     from a ledger (`announced`, `ledger`); `plan_sha256`
Older records are brought up to date as they are read (`migrate`); the file stays as it is.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from harness.errors import RecordError
from harness.migrate import known, migrated
from harness.spec import canonical, sha256

SCHEMA = 2
# Without it Windows would write two bytes for a line feed, and no checksum would hold.
_BINARY = getattr(os, "O_BINARY", 0)
_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8)
_HELD = frozenset({5, 32, 33})
"""Windows: access denied, sharing violation, lock violation."""
Record = dict[str, Any]
"""JSON object with a `type`: run, environment, engine, job, sample, telemetry or event."""
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


def encode_line(record: Mapping[str, Any], hidden: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """One line, newline included. NaN and infinity are refused."""
    body = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
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
    checksum, _, body = line.partition(b" ")
    if len(checksum) != 8 or int(checksum, 16) != zlib.crc32(body):
        raise ValueError("checksum does not match")
    record = _quick_json(body)
    if not isinstance(record, dict) or "type" not in record:
        raise ValueError("not a record")
    return record


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


_DIGITS = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
"""For `bytes.translate`: every digit becomes a 0, so that a run of them can be found."""
_WIDE = (b"0" * 20, b"-" + b"0" * 19)


def _quick_json(body: bytes) -> Any:
    """As `strict_json`, in a third of the time: orjson, where it is known to read the same.

    It makes floats of integers beyond 64 bits, and refuses half characters and deep nesting
    that the standard library reads: those texts are left to the latter.
    """
    import orjson  # not at the top: a measured child never reads

    plain = body.translate(_DIGITS)
    if _WIDE[0] not in plain and _WIDE[1] not in plain:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
    return strict_json(body.decode())


class PartWriter:
    """The child's end: unbuffered appends to one part file.

    A line is handed to the kernel in one `write`, so a killed child loses at most
    the line that it was writing.

    Raises:
        RecordError: the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _BINARY
            self._descriptor = os.open(path, flags, 0o644)
        except OSError as error:
            raise unwritable(path, error) from error

    def write(self, *records: Mapping[str, Any]) -> None:
        """Append records; when this returns, they survive the death of any process.

        Raises:
            RecordError: the disk is full or the file cannot be written.
        """
        lines = b"".join(map(encode_line, records))
        try:
            _write_all(self._descriptor, lines)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class _End(NamedTuple):
    """Where a journal ends: number of the next line, hash of the last one, bytes."""

    seq: int
    tip: str
    size: int


class JournalWriter:
    """The parent's end: hash-chained, synced appends to `records.jsonl`.

    Opening an existing file continues its chain and cuts a torn last line off.

    Args:
        hidden: texts that no record may hold, such as folders, and what is written instead,
            in the order in which they are looked for.

    Raises:
        RecordError: the folder cannot be written, or the file is damaged.
    """

    def __init__(self, path: Path, *, hidden: Mapping[str, str] | None = None) -> None:
        self.path = path
        self._hidden = [(_inside(text), _inside(name)) for text, name in (hidden or {}).items()]
        self._end = _End(0, "", 0)
        try:
            if path.exists():
                journal = read(path)
                self._end = _End(len(journal.records), journal.tip, journal.size)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | _BINARY, 0o644)
            self._cut()
        except OSError as error:
            raise unwritable(path, error) from error

    def append(self, *records: Mapping[str, Any]) -> None:
        """Add records; when this returns, all of them are on disk.

        Raises:
            RecordError: the disk is full or the file cannot be written.
        """
        lines, done = bytearray(), self._end
        for record in records:
            seq, prev, size = done
            line = encode_line({**record, "seq": seq, "prev": prev}, self._hidden)
            done = _End(seq + 1, sha256(line), size + len(line))
            lines += line
        try:
            _write_all(self._descriptor, bytes(lines))
            os.fsync(self._descriptor)
            self._end = done
        except BaseException as error:
            # Ctrl-C too: a line that was not acknowledged would break the next one's chain.
            with contextlib.suppress(OSError):
                self._cut()
            if isinstance(error, OSError):
                raise unwritable(self.path, error) from error
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _cut(self) -> None:
        """Drop what stands behind the last acknowledged line."""
        os.ftruncate(self._descriptor, self._end.size)
        os.lseek(self._descriptor, self._end.size, os.SEEK_SET)


def read(path: Path) -> Journal:
    """Read and verify a journal.

    Raises:
        RecordError: missing, or damaged (with the line's number).
        SchemaError: of a newer schema.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(
            f"cannot read records: {error.strerror}",
            where=str(path),
            hint="harness run",
            reason="records_missing",
        ) from error
    return parse(data, path)


def parse(data: bytes, path: Path) -> Journal:
    """The journal that the bytes of a file are.

    Raises:
        RecordError: of a newer schema, or damaged (with the line's number).
    """
    records: list[Record] = []
    tip, size, schema = "", 0, SCHEMA
    lines = data.split(b"\n")
    torn = bool(lines.pop())
    for number, line in enumerate(lines, 1):
        try:
            record = decode_line(line)
        except ValueError as error:
            raise _damaged(path, number, str(error)) from error
        if record.pop("seq", None) != number - 1 or record.pop("prev", None) != tip:
            raise _damaged(path, number, "the hash chain is broken")
        if record["type"] == "run":
            schema = known("record", record.get("schema"), SCHEMA, str(path))
        tip = sha256(line + b"\n")
        size += len(line) + 1
        records.append(record)
    try:
        return Journal(migrated(records, schema), torn, tip, size, schema)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, 1, f"not of the form of schema {schema}") from error


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


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file atomically: the old one stays whole until the new one is on disk.

    Raises:
        RecordError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o644)
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise unwritable(path, error) from error


def _replace(temporary: Path, path: Path) -> None:
    """Rename over a file; on Windows a scanner or a viewer may hold the old one for a moment."""
    for pause_s in _PAUSES_S:
        try:
            temporary.replace(path)
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _HELD:
                raise
            time.sleep(pause_s)
        else:
            return
    temporary.replace(path)


def unwritable(path: Path, error: OSError) -> RecordError:
    """The error for a file that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return RecordError(
        f"cannot write: {error.strerror}",
        where=str(path),
        hint="free space, then `harness score` keeps what was measured"
        if full
        else "choose a folder that you may write to with --out",
        reason="disk_full" if full else "unwritable",
    )


def _damaged(path: Path, number: int, why: str) -> RecordError:
    return RecordError(
        f"{why}: the file was edited or damaged",
        where=f"{path}:{number}",
        hint="use an untouched copy, or measure again with `harness run`",
        reason="records_damaged",
    )


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
