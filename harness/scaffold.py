"""A folder to start from: `harness init`. What exists is never overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from harness import specfile, specschema
from harness.errors import SpecError

RESULTS_README = """\
# Results

`harness run` makes one folder a run here. Nothing of it is committed: a run belongs to
the machine that made it. Only this file and `baselines/` are kept in the repository.

A run folder, named by its UTC time and six hex digits, holds

| file | what it is |
|---|---|
| `plan.json` | what was to be measured, before anything was |
| `records.jsonl` | every raw sample and what was observed around it; the only source of the rest |
| `scorecard.json` | aggregates, intervals, gates, ranks; `harness score` builds it again |
| `scorecard.md`, `report.html` | the scorecard for people; `harness report` writes them again |
| `parts/` | what unfinished jobs have written; empty after a complete run |

`ledger.jsonl` has a line for every run that was started here, also for one whose folder was
deleted: `harness ledger list`. Never edit or delete it.

`baselines/` holds what `harness baseline` writes: one small file a baseline, and one
`noise-….json` a machine. Commit them.

Keep `records.jsonl` and you keep everything. To free disk space, delete whole folders.
"""

_PROFILE = "my-profile"


class Written(NamedTuple):
    """What `init` did.

    Attributes:
        written: files that are new.
        kept: files that existed and were left as they are.
    """

    written: list[Path]
    kept: list[Path]


def init(folder: Path) -> Written:
    """Write a models file, a device, a profile and a results folder to start from.

    Raises:
        SpecError: the folder cannot be written.
    """
    done = Written([], [])
    for name, text in _templates().items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(path, f"its folder cannot be made ({error.strerror})") from error
        try:
            # "x" neither overwrites nor follows a link, whoever else writes here.
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except FileExistsError:
            if not path.is_file():
                raise _refused(path, "something else than a file is in its place") from None
            done.kept.append(path)
        except OSError as error:
            raise _refused(path, error.strerror or str(error)) from error
        else:
            done.written.append(path)
    return done


def _templates() -> dict[str, str]:
    """Content by path; the models file and the device are the ones of the program."""
    quick = specfile.built_in("profiles/quick.yaml").read_text("utf-8")
    profile = quick.replace("id: quick\n", f"id: {_PROFILE}\n", 1)
    profile = profile.replace("title: Quick look\n", "title: My profile\n", 1)
    _, _, profile = profile.partition("\n#\n")
    return {
        "models.yaml": specfile.built_in("models.yaml")
        .read_text("utf-8")
        .replace("$schema=docs/models.schema.json", "$schema=models.schema.json", 1),
        "models.schema.json": specschema.text(),
        "profiles/profile.schema.json": specschema.profile_text(),
        "devices/this-machine.yaml": specfile.built_in("devices/this-machine.yaml").read_text(
            "utf-8"
        ),
        f"profiles/{_PROFILE}.yaml": (
            "# yaml-language-server: $schema=profile.schema.json\n"
            "# A copy of `quick` to change: what is run, how often, and how it is weighed.\n"
            f"# Check it with:  harness profiles check profiles/{_PROFILE}.yaml\n"
            f"# Try it with:    harness run --profile {_PROFILE} --dry-run\n#\n{profile}"
        ),
        "results/README.md": RESULTS_README,
    }


def _refused(path: Path, why: str) -> SpecError:
    return SpecError(
        f"cannot write {path.name}: {why}",
        where=str(path),
        allowed="a folder in which files can be made",
        hint="harness init FOLDER",
        reason="cannot_write",
    )
