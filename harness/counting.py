"""Counting runs: what a results folder's ledger lacks, and the lines that are written into it.

Whoever writes is `alone` in the folder (`runs.alone`). What a ledger says is told by `ledger`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import harness
from harness.errors import PrerequisiteError, RecordError, SpecError
from harness.ledger import (
    MEND,
    NAME,
    SCHEMA,
    Ledger,
    load,
    models_digests,
    named,
    nonce_digest,
    profile_digest,
)
from harness.plan import Plan
from harness.records import JournalWriter, Record
from harness.runs import first_record, run_folders


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
        run, line = str(first.get("run", "")), named(first)
        kept.add(run)
        if run not in known:
            unwritten.append(_found(first, run, lost=bool(line)))
        elif line and not known[run].found and line != known[run].sha256:
            raise RecordError(
                f"run {run} was started by another line than the one that stands here: the "
                "ledger was written anew",
                where=str(path),
                hint=MEND,
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
    if found := book.ledger.find_series(plan.hash, nonce_digest(nonce)):
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
    series = book.ledger.find_series(plan.hash, nonce_digest(nonce))
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _head() -> Record:
    return {"type": "ledger", "schema": SCHEMA, "begun_utc": _now(), "harness": harness.__version__}


def _identity(plan: Plan, nonce: str) -> Record:
    return {
        "plan": plan.hash,
        "profile": profile_digest(plan.profile),
        "nonce": nonce_digest(nonce),
        "models": models_digests(found.sha256 for found in plan.artefacts),
        "harness": harness.__version__,
    }


def _models(first: Mapping[str, Any]) -> list[str]:
    """Of a run record that may have any form: whoever edited it does not stop other runs."""
    try:
        return models_digests(model["sha256"] for model in first["models"])
    except (AttributeError, KeyError, TypeError):
        return []


def _found(first: Mapping[str, Any], run: str, *, lost: bool) -> Record:
    """The line of a run whose folder is there, and which the ledger does not know."""
    return {
        "type": "attempt",
        "run": run,
        "plan": str(first.get("plan", "")),
        "profile": profile_digest(first.get("profile")),
        "nonce": nonce_digest(str(first.get("nonce", ""))),
        "models": _models(first),
        "harness": str(first.get("harness", "")),
        "started_utc": str(first.get("started_utc", "")),
        "announced": False,
        "found": "lost" if lost else "unlisted",
    }


def _append(book: Book, line: Record) -> None:
    """Add a line, and before it what the ledger lacks."""
    with contextlib.closing(JournalWriter(book.path)) as journal:
        journal.append(*book.unwritten, line)
