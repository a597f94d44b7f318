"""A run folder into a bundle: what proves the result, a manifest, and nothing private."""

from __future__ import annotations

import io
import os
import shutil
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness import ledger, privacy, runs, score
from harness.bundle import attempts
from harness.bundle.sbom import write_sbom
from harness.durable import make_folder, publish, unwritable, write_whole
from harness.errors import (
    IncomparableError,
    PrerequisiteError,
    RecordError,
    SpecError,
    printable,
    quoted,
)
from harness.kit import manifest
from harness.records import SCHEMA, Journal, run_record
from harness.scoring.validity import unfinished

KIND = "bundle"
EVIDENCE = ("records.jsonl", "scorecard.json")
"""What a bundle cannot be without. The plan is not among it: it has this machine's paths, and the
run record says all that it was made of."""
PARTS = (*EVIDENCE, attempts.NAME, "sbom.cdx.json")
"""All that a manifest may list."""
_MOST_LEAKS = 5


class Made(NamedTuple):
    """A bundle that was written, and why its run is unfinished; empty where it is not."""

    path: Path
    unfinished: str


def create(folder: Path, target: Path) -> Made:
    """Write the bundle of a run into a new folder, or into one file that ends in .zip.

    Raises:
        PrerequisiteError: `target` is there already.
        RecordError: the run's records are damaged or torn, or a file cannot be written.
        IncomparableError: they are of an older schema.
        SpecError: a file tells the user's name, the machine's or a path; `private_data`.
    """
    if os.path.lexists(target):
        raise PrerequisiteError(
            "this is there already",
            where=printable(str(target)),
            allowed="a new folder",
            hint=f"harness bundle create {quoted(folder)} --to NEW_FOLDER",
            reason="target_exists",
        )
    journal, card = runs.scored(folder / "records.jsonl")
    require_present(journal, str(folder))
    if journal.torn:
        raise RecordError(
            "the last line of the records is unfinished: the run was interrupted",
            where=printable(str(folder / "records.jsonl")),
            hint=runs.resume_command(folder),
            reason="records_torn",
        )
    run = run_record(journal.records)
    counted = attempts.beside(folder, run) if ledger.named(run) else None
    made = target.with_name(f".{target.name}.making")
    try:
        shutil.rmtree(made, ignore_errors=True)
        make_folder(made)
        # As far as was scored: the run may be going on.
        data = (folder / "records.jsonl").read_bytes()[: journal.size]
        (made / "records.jsonl").write_bytes(data)
        (made / "scorecard.json").write_bytes(score.dump(card))
        if counted is not None:
            (made / attempts.NAME).write_bytes(counted)
        write_sbom(made / "sbom.cdx.json")
        refuse_private(made)
        manifest.write(made, about(run, card))
        if target.suffix.lower() == ".zip":
            write_whole(target, zipped({path.name: path.read_bytes() for path in made.iterdir()}))
        else:
            publish(made, target)
    except OSError as error:
        raise unwritable(
            target, error, "choose a folder that you may write to with --to"
        ) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return Made(target, unfinished(card))


def require_present(journal: Journal, where: str) -> None:
    """Refuse records of an older schema: their scorecard is another one today.

    Raises:
        IncomparableError: `schema_older`.
    """
    if journal.schema < SCHEMA:
        wrote = next(r for r in journal.records if r["type"] == "run").get("harness", "")
        raise IncomparableError(
            f"records of schema {journal.schema}: this harness builds another scorecard of them",
            where=printable(where),
            allowed=f"records of schema {SCHEMA}",
            hint=f"install the harness that wrote them: {printable(str(wrote))}",
            reason="schema_older",
        )


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A .zip of these files, in order; dates and modes of this machine are not in it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, data)
    return made.getvalue()


def about(run: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest claims of its run: all of it is in the records, and compared with them."""
    return {
        "kind": KIND,
        "run": run["run"],
        "harness": run["harness"],
        "harness_sha256": run.get("harness_sha256", ""),
        "started_utc": run["started_utc"],
        "nonce": run.get("nonce", ""),
        "attempt": run["attempt"],
        "device": run["device"]["id"],
        "profile": {name: card["profile"][name] for name in ("id", "version", "sha256")},
        "tier": card["tier"],
        "verdict": card["verdict"]["state"],
        "models": {model["id"]: model["sha256"] for model in run["models"]},
        "scored": sorted(e["model"] for e in card["entries"] if e["score"] is not None),
    }


def refuse_private(folder: Path) -> None:
    """Refuse a folder whose files tell who sits at the machine.

    Raises:
        SpecError: `private_data`, with the first lines that do.
    """
    known = privacy.secrets()
    found = [
        f"{path.name}:{number}: a {kind}"
        for path in sorted(folder.iterdir())
        for number, kind in privacy.leaks(path.read_bytes(), known)
    ]
    if found:
        more = f"\n    and {len(found) - _MOST_LEAKS} more" if len(found) > _MOST_LEAKS else ""
        raise SpecError(
            "the run tells more than its result:\n    " + "\n    ".join(found[:_MOST_LEAKS]) + more,
            where=printable(str(folder.parent)),
            allowed="records without names of users and machines and without paths",
            hint="name models by a models.yaml with relative paths, then `harness run` again",
            reason="private_data",
        )
