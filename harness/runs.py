"""Run folders: finding them, making them, and what is derived from their records."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import score, shares
from harness.durable import make_folder, unwritable, write_whole
from harness.errors import Exit, HarnessError, PrerequisiteError, RecordError, SpecError, quoted
from harness.records import (
    SCHEMA,
    STRANGE,
    Journal,
    Record,
    decode_line,
    load,
    parse,
    read,
    run_record,
)

RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
WORDS = {"latest": 1, "previous": 2}
"""Words for a run, and which from the end it is."""
_MIN_FREE_BYTES = 64 << 20


def write_scorecard(folder: Path) -> dict[str, Any]:
    """Rebuild `scorecard.json` of a run folder from its records, and return it.

    Raises:
        RecordError: the records cannot be read, or say what no run says.
    """
    card = card_of(folder / "records.jsonl")
    keep_scorecard(folder, card)
    return card


def card_of(path: Path) -> dict[str, Any]:
    """The scorecard of a record file; a large one is read by several processes.

    Raises:
        RecordError: the records cannot be read, or say what no run says.
    """
    with _naming(path), collector_at_rest(), shares.Helpers.for_file(path) as helpers:
        data = load(path)
        if found := shares.score(data, helpers):
            return found.card
        journal = parse(data, path)
        return score.scorecard(journal.records, torn=journal.torn)


def keep_scorecard(folder: Path, card: Mapping[str, Any]) -> None:
    """Write a scorecard into its run folder; the one of a bundle stays as it was handed in.

    Raises:
        RecordError: it cannot be written.
    """
    if not (folder / "MANIFEST.json").is_file():
        write_whole(folder / "scorecard.json", score.dump(card))


def scored(path: Path) -> tuple[Journal, dict[str, Any]]:
    """A record file and its scorecard; nothing is written.

    Raises:
        RecordError: the records cannot be read, or say what no run says.
    """
    with _naming(path), collector_at_rest():
        journal = read(path)
        return journal, score.scorecard(journal.records, torn=journal.torn)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of records name their file.

    Raises:
        RecordError: also where records are of no form that scoring knows.
    """
    try:
        yield
    except RecordError as error:
        error.where = error.where or str(path)
        raise
    except HarnessError:
        raise
    except STRANGE as error:
        raise RecordError(
            f"a record does not have the form of schema {SCHEMA}: {type(error).__name__}: {error}",
            where=str(path),
            hint="use an untouched copy, or measure again with `harness run`",
            reason="records_damaged",
        ) from error


def records_of(folder: Path) -> list[Record]:
    """The records of one whole run.

    Raises:
        RecordError: they cannot be read, or are not those of one run.
    """
    path = folder / "records.jsonl"
    try:
        records = read(path).records
        run_record(records)
    except RecordError as error:
        error.where = error.where or str(path)
        raise
    return records


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """Records are millions of small objects without cycles: looking for some takes a quarter
    of the time.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def exit_code(card: Mapping[str, Any]) -> Exit:
    """How scoring ended: a card that can hold no score at all is no success."""
    found = score.blocked(card)
    if found is None:
        return Exit.DONE
    return Exit.FAILED if found.code == "nothing_measured" else Exit.INCOMPARABLE


def find_run(text: str, results: Path) -> Path:
    """The folder of a run given by path or id; `latest` is the newest, `previous` the one before.

    Raises:
        SpecError: there is no such run. RecordError: it is there without its records.
    """
    path = Path(text)
    runs = [folder.name for folder in run_folders(results)]
    place = WORDS.get(text, 0)
    if 0 < place <= len(runs):
        return results / runs[-place]
    is_file = os.path.isfile  # which never raises
    # A name with a point in it, `latest:a.gguf`, is not the folder that one stands in.
    inside = is_file(path) or (path.suffix and path.parent != Path())
    for candidate in (path.parent if inside else path, results / text):
        if is_file(candidate / "records.jsonl"):
            return candidate
        if any(is_file(candidate / name) for name in ("plan.json", "scorecard.json")):
            raise RecordError(
                "this run has lost its records, and nothing else can stand for them",
                where=str(candidate / "records.jsonl"),
                hint="put an untouched copy back, or measure again with `harness run`",
                reason="part_missing",
            )
    raise SpecError(
        "no run with records here",
        where=text,
        allowed="a run folder, its id, latest or previous"
        + (f" (newest: {runs[-1]})" if runs else ""),
        hint="harness run",
        reason="run_missing",
    )


def resume_command(folder: Path) -> str:
    """What finishes a run, wherever its results folder is."""
    return f"harness run --resume {quoted(folder)}"


def runs_of(results: Path, plan_hash: str) -> list[Path]:
    """Folders of the runs of this very plan that are still there, oldest first."""
    return [path for path in run_folders(results) if first_record(path).get("plan") == plan_hash]


def new_run_folder(results: Path) -> Path:
    """A fresh folder named by UTC time and 6 hex, which put runs of one second in their order.

    Raises:
        RecordError: it cannot be made. PrerequisiteError: the disk is full.
    """
    now = datetime.now(UTC)
    # Microseconds and a digit by chance: two harnesses that start together do not meet.
    name = f"{now:%Y%m%dT%H%M%SZ}-{now.microsecond:05x}{secrets.token_hex(1)[0]}"
    folder = results / name
    try:
        make_folder(folder)
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        raise unwritable(results, error) from error
    if free_bytes < _MIN_FREE_BYTES:
        folder.rmdir()
        raise PrerequisiteError(
            f"only {free_bytes >> 20} MiB are free, a run needs {_MIN_FREE_BYTES >> 20} MiB",
            where=str(results),
            hint="free space, or choose another folder with --out",
            reason="disk_full",
        )
    return folder


def run_folders(results: Path) -> list[Path]:
    """Folders of earlier runs that hold records, oldest first.

    One that died before its first record was whole has nothing that could be scored.
    """
    return sorted(
        path.parent
        for path in results.glob("*/records.jsonl")
        if RUN_ID.fullmatch(path.parent.name) and _first_line(path).endswith(b"\n")
    )


def _first_line(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.readline()
    except OSError:
        return b"\n"  # it is there: whoever opens it is told what is wrong


def first_record(folder: Path) -> dict[str, Any]:
    """The run record of an earlier run, whose other records may be many; empty without one."""
    try:
        record = decode_line(_first_line(folder / "records.jsonl").rstrip(b"\n"))
    except ValueError:
        return {}
    return record if record["type"] == "run" else {}


@contextlib.contextmanager
def alone(results: Path) -> Iterator[None]:
    """Keep a second harness from measuring into the same folder meanwhile.

    The lock is the operating system's: whoever dies leaves it open.

    Raises:
        PrerequisiteError: another harness has it. RecordError: it cannot be made.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(results / ".lock")
    try:
        make_folder(results)
        lock.acquire(timeout=0)
    except Timeout:
        raise PrerequisiteError(
            "another harness is measuring into this folder: both would disturb each other",
            where=str(results),
            allowed="one at a time on a machine",
            hint="wait for it, then the same command again",
            reason="results_locked",
        ) from None
    except OSError as error:
        raise unwritable(results / ".lock" if results.is_dir() else results, error) from error
    try:
        yield
    finally:
        lock.release()
