"""The attempt ledger: every run that was started in a results folder, in a file that only grows.

session ─ begin ─▶ ledger.jsonl ─ load ─▶ Ledger ─▶ the scorecard's `attempt`, `harness ledger`

A line is written and synced before a run measures anything, so that a run whose folder is
deleted stays counted. An announcement says beforehand how many runs of a plan make its
official result. Lines are those of records.jsonl (checksum, JSON, hash of the line before) and
hold digests only: neither a model's name nor anything of the machine. docs/ledger.md says
what this proves.

Schema history
  1  first version
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import harness
from harness import records
from harness.errors import PrerequisiteError, RecordError, SpecError
from harness.migrate import known
from harness.plan import Plan
from harness.records import JournalWriter, Record
from harness.runs import first_record, run_folders
from harness.spec import digest, sha256

NAME = "ledger.jsonl"
SCHEMA = 1
MOST_ATTEMPTS = 99
_SHORT = 16
_MEND = (
    "put an untouched copy of the ledger back, or measure into a new folder with --out: this "
    "one cannot count its runs any more"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """So many runs of a plan are to make its official result.

    Attributes:
        plan: hash of the plan.
        nonce: digest of the evaluator's word for these runs, empty for none.
        sha256: of the line.
    """

    plan: str
    nonce: str
    of: int
    announced_utc: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """One run that was started.

    Attributes:
        plan: hash of its plan; profile and nonce: digests, the latter empty for none.
        models: digests of each model's files, whatever these are called.
        announced: it was started as one of an announced series.
        found: how a run came in that has no line from before it started: `unlisted`, made by a
            harness that kept no ledger, or `lost`, whose record names a line that is not here.
        sha256: of the line.
    """

    run: str
    plan: str
    profile: str
    nonce: str
    models: tuple[str, ...]
    started_utc: str
    announced: bool
    found: Literal["", "unlisted", "lost"]
    sha256: str


class Series(NamedTuple):
    """An announcement, and the runs that were started for it so far."""

    announced: Announced
    runs: tuple[Started, ...]

    @property
    def left(self) -> int:
        """How many of its runs were not started yet."""
        return self.announced.of - len(self.runs)


class Place(NamedTuple):
    """Which run a run is.

    Attributes:
        number, of: within its announced series, else among the runs of its plan up to it.
        earlier: the runs of its plan before it.
    """

    number: int
    of: int
    announced: bool
    earlier: tuple[Started, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What a ledger says.

    Attributes:
        begun: it has its first line.
        lines: what followed, in the order in which it was written.
        torn: an unfinished last line was dropped: a run that had not begun to measure.
        size: bytes up to the end of the last whole line.
        ends: how far the records of each run had come when that was last noted: lines, and the
            sha256 of the last one.
    """

    begun: bool = False
    lines: tuple[Announced | Started, ...] = ()
    torn: bool = False
    size: int = 0
    ends: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def runs(self) -> tuple[Started, ...]:
        """Every started run."""
        return tuple(line for line in self.lines if isinstance(line, Started))

    @property
    def series(self) -> tuple[Series, ...]:
        """The announced series, oldest first: one for a plan and a nonce, the first."""
        out: dict[tuple[str, str], Series] = {}
        for line in self.lines:
            key = (line.plan, line.nonce)
            if isinstance(line, Announced):
                out.setdefault(key, Series(line, ()))
            elif line.announced and key in out and out[key].left > 0:
                out[key] = out[key]._replace(runs=(*out[key].runs, line))
        return tuple(out.values())

    def find_series(self, plan: str, nonce: str) -> Series | None:
        """The series of a plan for a nonce, both as digests."""
        wanted = (plan, nonce)
        found = (s for s in self.series if (s.announced.plan, s.announced.nonce) == wanted)
        return next(found, None)

    def place(self, run: Started) -> Place:
        """Which run one of these is; what came after it changes nothing."""
        before = Ledger(lines=self.lines[: self.lines.index(run)])
        earlier = tuple(other for other in before.runs if other.plan == run.plan)
        series = self.find_series(run.plan, run.nonce)
        if series and run in series.runs:
            number = series.runs.index(run) + 1
            return Place(number, series.announced.of, announced=True, earlier=earlier)
        number = len(earlier) + 1
        return Place(number, number, announced=False, earlier=earlier)


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """A results folder's ledger, held against the runs that the folder still has.

    Attributes:
        kept: ids of the runs whose records are there.
        unwritten: what has to be in the ledger before the next line.
    """

    path: Path
    ledger: Ledger
    kept: frozenset[str]
    unwritten: tuple[Record, ...]


def load(path: Path) -> Ledger:
    """Read and verify a ledger; one that is not there is empty.

    Raises:
        RecordError: `ledger_damaged` with the line, or `ledger_unreadable`.
        SchemaError: it is of a newer schema.
    """
    if not path.exists():
        return Ledger()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(
            f"the ledger cannot be read: {error.strerror}",
            where=str(path),
            hint=_MEND,
            reason="ledger_unreadable",
        ) from error
    return parse(data, path)


def parse(data: bytes, path: Path) -> Ledger:
    """The ledger that the bytes of a file are.

    Raises:
        RecordError: `ledger_damaged` with the line.
        SchemaError: it is of a newer schema.
    """
    try:
        journal = records.parse(data, path)
    except RecordError as error:
        raise RecordError(
            error.message, where=error.where, hint=_MEND, reason="ledger_damaged"
        ) from error
    lines: list[Announced | Started] = []
    ends: dict[str, tuple[int, str]] = {}
    for number, (record, line) in enumerate(
        zip(journal.records, data.split(b"\n"), strict=False), 1
    ):
        try:
            lines += _line(record, sha256(line + b"\n"), first=number == 1)
            if record["type"] == "records":
                ends[_text(record["run"])] = int(record["lines"]), _text(record["tip"])
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(
                "this is not a line of a ledger",
                where=f"{path}:{number}",
                hint=_MEND,
                reason="ledger_damaged",
            ) from error
    return Ledger(
        begun=bool(journal.records),
        lines=tuple(lines),
        torn=journal.torn,
        size=journal.size,
        ends=ends,
    )


def examine(results: Path) -> Book:
    """A folder's ledger and runs, before anything is written.

    Raises:
        RecordError: as `load`, and `ledger_differs`: a run was started by another line than the
            one that stands here.
    """
    path = results / NAME
    ledger = load(path)
    known = {run.run: run for run in ledger.runs}
    unwritten = [] if ledger.begun else [_head()]
    kept = set()
    for folder in run_folders(results):
        first = first_record(folder)
        if not first:
            continue
        run, named = str(first.get("run", "")), _named(first)
        kept.add(run)
        if run not in known:
            unwritten.append(_found(first, run, lost=bool(named)))
        elif named and not known[run].found and named != known[run].sha256:
            raise RecordError(
                f"run {run} was started by another line than the one that stands here: the "
                "ledger was written anew",
                where=str(path),
                hint=_MEND,
                reason="ledger_differs",
            )
    return Book(path=path, ledger=ledger, kept=frozenset(kept), unwritten=tuple(unwritten))


def note(results: Path, run: str, end: tuple[int, str]) -> None:
    """Put on record how far a run's records have come, so that they cannot be cut off there.

    The caller is `alone` in the folder.

    Args:
        end: lines, and the sha256 of the last one.

    Raises:
        RecordError: as `examine`, or the ledger cannot be written.
    """
    line = {"type": "records", "run": run, "lines": end[0], "tip": end[1], "noted_utc": _now()}
    _append(examine(results), line)


def require_whole(ledger: Ledger, run: str, data: bytes, where: str) -> None:
    """Refuse records that end before, or go another way than, what the ledger has noted.

    Args:
        data: of `records.jsonl`.

    Raises:
        RecordError: `records_cut`.
    """
    count, tip = ledger.ends.get(run, (0, ""))
    lines = data.split(b"\n")[:-1]
    if count and (len(lines) < count or sha256(lines[count - 1] + b"\n") != tip):
        raise RecordError(
            f"these are not all of the run's records: the ledger has noted {count} lines, and "
            "the last of them is not here",
            where=where,
            hint="put an untouched copy back, or measure again with `harness run`",
            reason="records_cut",
        )


def later(folder: Path, run: str) -> int:
    """How many runs of its plan were started after a run, by the ledger beside its folder; 0
    where there is none that can be read.
    """
    try:
        runs = load(folder.resolve().parent / NAME).runs
    except RecordError:
        return 0
    for place, own in enumerate(runs):
        if own.run == run:
            return sum(other.plan == own.plan for other in runs[place + 1 :])
    return 0


def announce(results: Path, plan: Plan, of: int, *, nonce: str = "") -> int:
    """Say how many runs of a plan make its official result, unless that is said already.

    The caller is `alone` in the folder.

    Returns:
        How many of the runs were not started yet.

    Raises:
        SpecError: another number is announced.
        RecordError: as `examine`, or the ledger cannot be written.
    """
    book = examine(results)
    if found := book.ledger.find_series(plan.hash, _short(nonce)):
        if found.announced.of != of:
            raise SpecError(
                f"{found.announced.of} runs of this plan are announced, {len(found.runs)} of them "
                "were started",
                where=f"--attempts {of}",
                allowed=f"--attempts {found.announced.of}; an evaluator's --nonce has a series of "
                "its own",
                hint="harness ledger list",
                reason="announced_already",
            )
        return found.left
    line = {"type": "announcement", **_identity(plan, nonce), "of": of, "announced_utc": _now()}
    _append(book, line)
    return of


def begin(
    book: Book, plan: Plan, *, run: str, nonce: str = "", announced: bool = False
) -> dict[str, Any]:
    """Count a run that is about to start: its line is on disk when this returns.

    The caller is `alone` in the folder.

    Returns:
        `attempt` of the run record: `number`, `of`, `announced`, `earlier`, `ledger`.

    Raises:
        PrerequisiteError: no announced run of this plan is left to be made.
        RecordError: the ledger cannot be written.
    """
    series = book.ledger.find_series(plan.hash, _short(nonce))
    if announced and not (series and series.left):
        raise PrerequisiteError(
            "all announced runs of this plan were started meanwhile",
            where=str(book.path),
            hint="harness ledger official",
            reason="series_complete",
        )
    line = {"type": "attempt", "run": run, **_identity(plan, nonce), "announced": announced}
    _append(book, {**line, "started_utc": _now()})
    ledger = load(book.path)
    own = ledger.runs[-1]
    place = ledger.place(own)
    return {
        "number": place.number,
        "of": place.of,
        "announced": place.announced,
        "earlier": [
            {
                "run": other.run,
                "started_utc": other.started_utc,
                "announced": other.announced,
                "gone": other.run not in book.kept,
            }
            for other in place.earlier
        ],
        "ledger": own.sha256,
    }


def nonce_digest(nonce: str) -> str:
    """What a ledger holds of a nonce: what an evaluator gave out is nobody else's business."""
    return _short(nonce)


def differing(line: Started, run: Mapping[str, Any]) -> list[str]:
    """What a run record says otherwise than the line that it was started by.

    Raises:
        AttributeError, KeyError, TypeError: it is no run record.
    """
    told = {
        "run": (line.run, run["run"]),
        "plan": (line.plan, run["plan"]),
        "profile": (line.profile, digest(run["profile"])[:_SHORT]),
        "nonce": (line.nonce, _short(run.get("nonce", ""))),
        "models": (list(line.models), _digests(model["sha256"] for model in run["models"])),
    }
    return [name for name, (there, here) in told.items() if there != here]


def models_digest(files: Mapping[str, str]) -> str:
    """One short digest of a model's files by their hashes: another name changes nothing."""
    return digest(sorted(files.values()))[:_SHORT]


def _short(text: str) -> str:
    return sha256(text.encode())[:_SHORT] if text else ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _head() -> Record:
    return {"type": "ledger", "schema": SCHEMA, "begun_utc": _now(), "harness": harness.__version__}


def _identity(plan: Plan, nonce: str) -> Record:
    return {
        "plan": plan.hash,
        "profile": digest(plan.profile)[:_SHORT],
        "nonce": _short(nonce),
        "models": _digests(found.sha256 for found in plan.artefacts),
        "harness": harness.__version__,
    }


def _digests(models: Iterable[Mapping[str, str]]) -> list[str]:
    return sorted({models_digest(files) for files in models})


def _models(first: Mapping[str, Any]) -> list[str]:
    """Of a run record that may have any form: whoever edited it does not stop other runs."""
    try:
        return _digests(model["sha256"] for model in first["models"])
    except (AttributeError, KeyError, TypeError):
        return []


def _named(first: Mapping[str, Any]) -> str:
    """The line that a run record says it was started by; empty for an older harness."""
    attempt = first.get("attempt")
    return str(attempt.get("ledger", "")) if isinstance(attempt, dict) else ""


def _found(first: Mapping[str, Any], run: str, *, lost: bool) -> Record:
    """The line of a run whose folder is there, and which the ledger does not know."""
    return {
        "type": "attempt",
        "run": run,
        "plan": str(first.get("plan", "")),
        "profile": digest(first.get("profile"))[:_SHORT],
        "nonce": _short(str(first.get("nonce", ""))),
        "models": _models(first),
        "harness": str(first.get("harness", "")),
        "started_utc": str(first.get("started_utc", "")),
        "announced": False,
        "found": "lost" if lost else "unlisted",
    }


def _line(
    record: Mapping[str, Any], line_sha256: str, *, first: bool
) -> Iterator[Announced | Started]:
    """The line of a record; the first one is the ledger's own.

    Raises:
        KeyError, TypeError, ValueError: it has another form.
        SchemaError: it is of a newer schema.
    """
    if first != (record["type"] == "ledger"):
        raise ValueError
    if first:
        known("ledger", record["schema"], SCHEMA, NAME)
    if record["type"] not in {"announcement", "attempt"}:
        return
    both = {**{name: _text(record[name]) for name in ("plan", "nonce")}, "sha256": line_sha256}
    if record["type"] == "announcement":
        if type(record["of"]) is not int or not 0 < record["of"] <= MOST_ATTEMPTS:
            raise ValueError
        yield Announced(**both, of=record["of"], announced_utc=_text(record["announced_utc"]))
    else:
        yield Started(
            **both,
            **{name: _text(record[name]) for name in ("run", "profile", "started_utc")},
            models=tuple(map(_text, record["models"])),
            announced=record["announced"] is True,
            found=record.get("found", ""),
        )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _append(book: Book, line: Record) -> None:
    """Add a line, and before it what the ledger lacks."""
    with contextlib.closing(JournalWriter(book.path)) as journal:
        journal.append(*book.unwritten, line)
