"""A run folder into a bundle: what proves the result, a manifest, and nothing private."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import privacy, runs
from harness.bundle.sbom import write_sbom
from harness.durable import make_folder, publish, unwritable
from harness.errors import PrerequisiteError, SpecError, printable
from harness.kit import manifest
from harness.records import read, run_record

KIND = "bundle"
EVIDENCE = ("records.jsonl", "scorecard.json")
"""What a bundle cannot be without. The plan is not among it: it has this machine's paths, and the
run record says all that it was made of."""
_MOST_LEAKS = 5


def create(folder: Path, target: Path) -> Path:
    """Write the bundle of a run into a new folder.

    Raises:
        PrerequisiteError: `target` is there already.
        RecordError: the run's records are damaged, or a file cannot be written.
        SpecError: a file tells the user's name, the machine's or a path; `private_data`.
    """
    if target.exists():
        raise PrerequisiteError(
            "this is there already",
            where=printable(str(target)),
            allowed="a new folder",
            hint=f"harness bundle create {printable(folder.name)} --to NEW_FOLDER",
            reason="target_exists",
        )
    card = runs.write_scorecard(folder)
    run = run_record(read(folder / "records.jsonl").records)
    made = target.with_name(f".{target.name}.making")
    try:
        shutil.rmtree(made, ignore_errors=True)
        make_folder(made)
        for name in EVIDENCE:
            shutil.copyfile(folder / name, made / name)
        write_sbom(made / "sbom.cdx.json")
        refuse_private(made)
        manifest.write(made, about(run, card))
        publish(made, target)
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return target


def about(run: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest claims of its run: all of it is in the records, and compared with them."""
    return {
        "kind": KIND,
        "run": run["run"],
        "harness": run["harness"],
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
