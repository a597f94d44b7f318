"""The ledger in a bundle: that the run is the attempt that it says, and what came after it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness import ledger, records
from harness.errors import RecordError

NAME = ledger.NAME


class Attempts(NamedTuple):
    """What a ledger tells of a run, beside what the run says itself.

    Attributes:
        later: runs of its plan that were started after it.
        elsewhere: runs of other plans that measured one of its models, the reference apart.
    """

    later: int
    elsewhere: int


def beside(folder: Path, run: Mapping[str, Any]) -> bytes:
    """The ledger of the results folder that a run lies in, up to its last whole line.

    Raises:
        RecordError: it is not there (`ledger_missing`), damaged, or another one; or the run's
            records were cut short since it noted them.
    """
    path = folder.resolve().parent / NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(
            f"the ledger that the run was counted in cannot be read: {error.strerror}",
            where=str(path),
            allowed="the run folder where it was made, beside its ledger",
            hint="harness bundle create RUN --results FOLDER --to NEW_FOLDER",
            reason="ledger_missing",
        ) from error
    whole = data[: ledger.parse(data, path).size]
    try:
        check(whole, run)
    except ValueError as error:
        raise RecordError(
            f"the ledger is not the one that the run was counted in: {error}",
            where=str(path),
            hint="put an untouched copy of it back",
            reason="ledger_differs",
        ) from error
    journal = folder / "records.jsonl"
    require_all(whole, run, records.load(journal), str(journal))
    return whole


def require_all(data: bytes, run: Mapping[str, Any], journal: bytes, where: str) -> None:
    """Hold a ledger against the bytes of a run's records.

    Raises:
        HarnessError: it is damaged, or has noted more records (`records_cut`).
    """
    ledger.require_whole(ledger.parse(data, Path(NAME)), str(run["run"]), journal, where)


def check(data: bytes, run: Mapping[str, Any]) -> Attempts:
    """Hold a ledger against the run that names a line of it.

    Raises:
        ValueError: it has no such line, or tells otherwise; says what.
        HarnessError: it is damaged, or of a newer schema.
    """
    found = ledger.parse(data, Path(NAME))
    if found.torn:
        raise ValueError("its last line is unfinished")
    own = next((line for line in found.runs if line.sha256 == ledger.named(run)), None)
    if own is None:
        raise ValueError("it has not the line that the run was started by")
    place = found.place(own)
    told = {
        "number": (place.number, run["attempt"]["number"]),
        "of": (place.of, run["attempt"]["of"]),
        "announced": (place.announced, run["attempt"]["announced"]),
        "earlier": (
            [(other.run, other.started_utc, other.announced) for other in place.earlier],
            [
                (other["run"], other["started_utc"], other["announced"])
                for other in run["attempt"]["earlier"]
            ],
        ),
    }
    others = ledger.differing(own, run)
    others += [name for name, (there, here) in told.items() if there != here]
    if others:
        raise ValueError(f"it tells otherwise than the run: {', '.join(others)}")
    reference = run["profile"]["reference"]
    compared = {
        ledger.models_digest(model["sha256"]) for model in run["models"] if model["id"] != reference
    }
    return Attempts(
        later=sum(line.plan == own.plan for line in found.runs) - len(place.earlier) - 1,
        elsewhere=sum(
            line.plan != own.plan and bool(compared & set(line.models)) for line in found.runs
        ),
    )
