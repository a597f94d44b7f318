"""Baselines and noise floors: small files in `results/baselines/`, made to be committed.

A baseline is one side of a comparison, condensed from a run; a floor is what runs of the same
thing on one machine differed by. Either is JSON with sorted keys, holds no time of its own, so
that saving again gives the same bytes, and carries the hash of its content: an edit shows.

Schema history
  1  first version
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness import gate, runs
from harness.compare import LEAST_PROCESSES
from harness.comparing import sides
from harness.comparing.noise import NO_FLOOR, Floor, measured_floor
from harness.comparing.sides import Side
from harness.durable import make_folder, unwritable, write_whole
from harness.errors import PrerequisiteError, RecordError, SpecError, did_you_mean, printable
from harness.migrate import known
from harness.records import run_record, strict_json
from harness.spec import digest

SCHEMA = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_LIST = re.compile(r"\[\n([^\[\]{}\"]*)\]")
"""A list of numbers over several lines; quotes are left alone, for text may hold anything."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
"""Windows takes a file of such a name for a device."""
_NOISE = "noise-"
_MOST_BYTES = 32 << 20

Json = dict[str, Any]


def find(text: str, results: Path) -> tuple[Side, str]:
    """The side that a user means, and the model of it, empty for all of them.

    Args:
        text: a run (folder, id, latest, previous) or a baseline (name, file), each with or
            without `:MODEL`.

    Raises:
        SpecError: there is neither. RecordError: it cannot be read.
    """
    if (side := _known(text, results)) is not None:
        return side, ""
    name, colon, model = text.rpartition(":")
    if colon and (side := _known(name, results)) is not None:
        side.only(model)  # a wrong name is known before anything is compared
        return side, model
    names = [found["name"] for found in listing(results)]
    raise SpecError(
        f"no run and no baseline of this name{did_you_mean(name or text, names)}",
        where=printable(text),
        allowed="a run folder, its id, latest, previous, or a baseline "
        f"({', '.join(names) or 'none is saved yet'}), with :MODEL for one model",
        hint="harness baseline list",
        reason="run_missing",
    )


def _known(text: str, results: Path) -> Side | None:
    if text not in runs.WORDS and (path := _path(text, results)) is not None:
        return read(path, name=text)
    try:
        return find_run(text, results).side
    except SpecError:
        return None


class Judged(NamedTuple):
    """A run as a gate needs it: its side, its scorecard, and its profile's optional gates."""

    side: Side
    card: Json
    optional: tuple[str, ...]


def find_run(text: str, results: Path) -> Judged:
    """A run by folder, id, latest or previous.

    Raises:
        SpecError: it is not there. RecordError: it cannot be read.
    """
    journal, card = runs.scored(runs.find_run(text, results) / "records.jsonl")
    side = sides.side(journal.records, card, name=text)
    run = run_record(journal.records)
    gates = run["profile"].get("gates", ())
    optional = tuple(gate["id"] for gate in gates if not gate.get("required", True))
    return Judged(side, card, optional)


def find_baseline(text: str, results: Path) -> Side:
    """A baseline by its name or file; with `:MODEL` that model of it alone.

    Raises:
        PrerequisiteError: it is not there. RecordError: it cannot be read.
        SpecError: it has no such model.
    """
    path = _path(text, results)
    name, colon, model = text.rpartition(":")
    if path is None and colon and (found := _path(name, results)) is not None:
        return read(found, name=name).only(model)
    if path is None:
        names = [found["name"] for found in listing(results)]
        raise PrerequisiteError(
            f"no baseline '{printable(text)}'{did_you_mean(text, names)}",
            where=str(_folder(results)),
            allowed=", ".join(names) or "none is saved yet",
            hint=f"harness baseline save latest --name {text if _NAME.fullmatch(text) else 'main'}",
            reason="baseline_missing",
        )
    return read(path, name=text)


def _path(text: str, results: Path) -> Path | None:
    """The file of a baseline, if there is one."""
    found = [_folder(results) / f"{text}.json"] if _NAME.fullmatch(text) else []
    found += [Path(text)] if text.endswith(".json") else []
    return next((path for path in found if path.is_file()), None)


class Saved(NamedTuple):
    """Where a baseline lies, and what it cannot be used for."""

    path: Path
    warnings: tuple[str, ...]


def save(run: Judged, name: str, results: Path) -> Saved:
    """Write a run as a baseline; one of the same name is replaced.

    Raises:
        SpecError: the name cannot be used. RecordError: the run measured nothing that counts
            or did not come to its end, or the file cannot be written.
    """
    taken = name in runs.WORDS or name.startswith(_NOISE) or runs.RUN_ID.fullmatch(name)
    if taken or _RESERVED.fullmatch(name) or not _NAME.fullmatch(name):
        raise SpecError(
            f"'{printable(name)}' cannot be the name of a baseline",
            allowed="small letters, digits, '.', '_' and '-', such as main; not latest, previous "
            f"or {_NOISE}…",
            hint="harness baseline save latest --name main",
            reason="bad_name",
        )
    side = run.side
    if side.is_empty:
        raise _unusable(side, "nothing_measured", "nothing was measured that could be compared")
    broken = [rule for rule in gate.of_run(run.card) if rule.outcome == "failed"]
    for rule in broken:
        if rule.model == gate.RUN:
            # What a weak baseline lacks, no later run could be worse in.
            error = _unusable(side, rule.reason, f"nothing may be held against it: {rule.detail}")
            if rule.reason == "run_unfinished" and (folder := results / side.run).is_dir():
                error.hint = runs.resume_command(folder)
            raise error
    content = {"kind": "baseline", "schema": SCHEMA, "name": name, **sides.to_json(side)}
    path = _write(_folder(results) / f"{name}.json", content)
    return Saved(
        path, (*(f"{rule.model} is not whole: {rule.detail}" for rule in broken), *_few(side))
    )


def _unusable(side: Side, reason: str, why: str) -> RecordError:
    hint = "harness run --profile regression"
    return RecordError(f"no baseline: {why}", where=side.name, hint=hint, reason=reason)


def _few(side: Side) -> Iterator[str]:
    counts = [len(values) for model in side.models.values() for values in model.medians.values()]
    if counts and max(counts) < LEAST_PROCESSES:
        yield (
            f"no case has {LEAST_PROCESSES} processes, so that a gate could find nothing worse; "
            "profile regression has them"
        )


def read(path: Path, *, name: str = "") -> Side:
    """The side in a baseline file.

    Raises:
        RecordError: unreadable, edited, or of a newer schema.
    """
    content = _read(path, "baseline")
    try:
        return sides.from_json(content, name=name or path.stem)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def listing(results: Path) -> list[Json]:
    """What is known of every baseline, by name; one that cannot be read says why."""
    out: list[Json] = []
    for path in sorted(_folder(results).glob("*.json")):
        if path.name.startswith(_NOISE):
            continue
        try:
            side = read(path)
        except RecordError as error:
            out.append({"name": path.stem, "path": str(path), "error": error.reason})
            continue
        out.append(
            {
                "name": path.stem,
                "path": str(path),
                "run": side.run,
                "profile": side.profile,
                "machine": side.machine,
                "cpu": side.device.get("cpu", ""),
                "models": sorted(side.models),
            }
        )
    return out


# --- noise ------------------------------------------------------------------------------


def save_floor(texts: tuple[str, ...], results: Path) -> tuple[Floor, Path]:
    """Measure the floor of this machine from runs of the same thing, and keep it.

    Raises:
        SpecError, IncomparableError, RecordError: as `noise.measured_floor` and `find`.
    """
    found = [find_run(text, results).side for text in texts]
    floor = measured_floor(found)
    content = {
        "kind": "noise",
        "schema": SCHEMA,
        "machine": floor.machine,
        "device": dict(found[0].device),
        "profile": found[0].profile,
        "runs": [side.run for side in found],
        "metrics": dict(floor.metrics),
    }
    return floor, _write(_folder(results) / f"{_NOISE}{floor.machine}.json", content)


def floor_of(side: Side, results: Path) -> Floor:
    """The stored floor of the machine that a side was measured on; the default without one.

    Raises:
        RecordError: the file was edited or is of another form.
    """
    path = _folder(results) / f"{_NOISE}{side.machine}.json"
    if not path.is_file():
        return NO_FLOOR
    content = _read(path, "noise")
    try:
        if content["machine"] != side.machine:
            raise ValueError("another machine's")  # noqa: TRY301
        metrics = {str(metric): float(value) for metric, value in content["metrics"].items()}
        return Floor(machine=side.machine, runs=len(content["runs"]), metrics=metrics)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def floor_of_both(a: Side, b: Side, results: Path) -> Floor:
    """The larger of the stored floors, where two machines are compared on purpose."""
    return floor_of(a, results).joined(floor_of(b, results))


# --- files ------------------------------------------------------------------------------


def _folder(results: Path) -> Path:
    return results / "baselines"


def _write(path: Path, content: Mapping[str, Any]) -> Path:
    sealed = {**content, "sha256": digest(content)}
    text = json.dumps(sealed, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=True)
    # A list of figures on one line: what git shows as changed is then what changed.
    text = _LIST.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
    write_file(path, text.encode() + b"\n")
    return path


def write_file(path: Path, data: bytes) -> None:
    """Replace a file whole; its folder is made.

    Raises:
        RecordError: it cannot be written.
    """
    try:
        make_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    write_whole(path, data)


def append_text(path: Path, text: str) -> None:
    """Add to a file that others add to as well.

    Raises:
        RecordError: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise unwritable(path, error) from error


def _read(path: Path, kind: str) -> Json:
    """The content of a sealed file, without its seal."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _damaged(path, str(error.strerror)) from error
    if len(data) > _MOST_BYTES:
        raise _damaged(path, f"larger than {_MOST_BYTES >> 20} MiB")
    try:
        content = strict_json(data.decode())
        seal = content.pop("sha256", None) if isinstance(content, dict) else None
        found = digest(content)  # refuses what JSON can say and no figure or text is: 1e999
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(content, dict) or content.get("kind") != kind:
        raise _damaged(path, f"not a {kind} file")
    known(kind, content.get("schema"), SCHEMA, str(path))
    if seal != found:
        raise RecordError(
            "the file was edited: its hash does not fit its content",
            where=str(path),
            allowed="a file as harness wrote it",
            hint=f"git checkout {path}, or save it again with `harness baseline`",
            reason="baseline_edited",
        )
    return content


def _damaged(path: Path, why: str) -> RecordError:
    return RecordError(
        f"no usable baseline: {why}",
        where=str(path),
        allowed="a file that `harness baseline` wrote",
        hint="harness baseline save latest --name main",
        reason="baseline_damaged",
    )
