"""The attempt ledger: every run that was started in a results folder, in a file that only grows.

session ─ counting ─▶ ledger.jsonl ─ load ─▶ Ledger ─▶ the scorecard's `attempt`, `harness ledger`

A line is written and synced before a run measures anything, so that a run whose folder is
deleted stays counted. An announcement says beforehand how many runs of a plan make its
official result. Lines are those of records.jsonl (checksum, JSON, hash of the line before) and
hold digests only: neither a model's name nor anything of the machine. docs/ledger.md says
what this proves.

Schema history
  1  first version
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from harness import records
from harness.errors import RecordError
from harness.migrate import known
from harness.spec import digest, sha256

NAME = "ledger.jsonl"
SCHEMA = 1
MOST_ATTEMPTS = 99
_SHORT = 16
MEND = (
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
            hint=MEND,
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
            error.message, where=error.where, hint=MEND, reason="ledger_damaged"
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
                hint=MEND,
                reason="ledger_damaged",
            ) from error
    return Ledger(
        begun=bool(journal.records),
        lines=tuple(lines),
        torn=journal.torn,
        size=journal.size,
        ends=ends,
    )


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


def named(run: Mapping[str, Any]) -> str:
    """The line that a run record says it was started by; empty for an older harness."""
    attempt = run.get("attempt")
    return str(attempt.get("ledger", "")) if isinstance(attempt, dict) else ""


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


def nonce_digest(nonce: str) -> str:
    """What a ledger holds of a nonce, which an evaluator gave out for one run; empty for none."""
    return sha256(nonce.encode())[:_SHORT] if nonce else ""


def profile_digest(profile: object) -> str:
    """What a ledger holds of a profile."""
    return digest(profile)[:_SHORT]


def differing(line: Started, run: Mapping[str, Any]) -> list[str]:
    """What a run record says otherwise than the line that it was started by.

    Raises:
        AttributeError, KeyError, TypeError: it is no run record.
    """
    told = {
        "run": (line.run, run["run"]),
        "plan": (line.plan, run["plan"]),
        "profile": (line.profile, profile_digest(run["profile"])),
        "nonce": (line.nonce, nonce_digest(run.get("nonce", ""))),
        "models": (list(line.models), models_digests(model["sha256"] for model in run["models"])),
    }
    return [name for name, (there, here) in told.items() if there != here]


def models_digest(files: Mapping[str, str]) -> str:
    """One short digest of a model's files by their hashes: another name changes nothing."""
    return digest(sorted(files.values()))[:_SHORT]


def models_digests(models: Iterable[Mapping[str, str]]) -> list[str]:
    """The digest of each of several models, in their order; equal ones once."""
    return sorted({models_digest(files) for files in models})


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
