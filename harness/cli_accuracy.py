"""`harness accuracy`: secret seeds, an evaluator's own data, and the public–secret gap."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import click

from harness import cli_shared
from harness.messages.commands import Group, echo

_seed_file = click.option(
    "--seed-file",
    type=click.Path(path_type=Path),
    required=True,
    help="File of the secret seed.",
)
_challenge = click.option(
    "--profile", default="challenge", show_default=True, help="A name or a YAML file."
)


@click.group(cls=Group)
def accuracy() -> None:
    """Secret items, data of your own, and lm-evaluation-harness.

    \b
    commit   before submissions close: draw a secret seed, publish its hash
    reveal   after scoring: publish the seed
    verify   anybody: does the seed match, and which items were they
    gap      are models better on the public items than on the secret ones
    check    is a file of your own items right
    lm-eval  any task of lm-evaluation-harness on our engines
    export   a run's items in lm-evaluation-harness's files
    """  # noqa: D301 - Click wants the control character itself


@accuracy.command()
@_seed_file
@_challenge
@click.option(
    "--statement",
    type=click.Path(path_type=Path),
    help="Also write the statement to publish into this new file.",
)
@cli_shared.as_json
def commit(*, seed_file: Path, profile: str, statement: Path | None, as_json: bool) -> None:
    """Draw a secret seed into a new file, and print the hash to publish.

    Put the line that is printed into the profile, and change nothing else of it afterwards.
    """
    from harness import seeds, specfile

    chosen = specfile.resolve_profile(profile)
    found = seeds.commit(chosen, seed_file, statement)
    if as_json:
        cli_shared.emit(found | {"seed_file": str(seed_file)})
        return
    echo(f"wrote {seed_file}: keep it secret, and keep a copy", err=True)
    echo(
        f"under suites: accuracy: of {specfile.profile_path(profile)} write this line, and publish "
        "it before submissions close:",
        err=True,
    )
    echo(f"    commitment: {found['commitment']}")
    echo(f"next: harness run --profile {profile} --seed-file {seed_file}", err=True)


@accuracy.command()
@_seed_file
@_challenge
@cli_shared.as_json
def reveal(*, seed_file: Path, profile: str, as_json: bool) -> None:
    """Print the seed with its commitment, to publish once everything is scored."""
    from harness import seeds, specfile
    from harness.seeds import proof

    found = proof.reveal(seeds.read_seed(seed_file), specfile.resolve_profile(profile))
    if as_json:
        cli_shared.emit(found)
    else:
        click.echo(json.dumps(found, indent=2))


@accuracy.command()
@click.argument("seed", metavar="REVEALED")
@_challenge
@click.option(
    "--commitment",
    metavar="HEX_OR_FILE",
    help="The published hash or statement [default: the profile's line].",
)
@click.option("--items", type=click.Path(path_type=Path), help="Write every item into this folder.")
@click.option("--run", "run_folder", metavar="RUN", help="Compare the items that a run recorded.")
@cli_shared.results
@cli_shared.as_json
def verify(
    *,
    seed: str,
    profile: str,
    commitment: str | None,
    items: Path | None,
    run_folder: str | None,
    results: Path,
    as_json: bool,
) -> None:
    """Check a revealed seed (64 hex digits, or a file) against what was published.

    Exit code 0: it matches. 1: it does not, or the run asked other items.
    """
    from harness import runs, specfile
    from harness.seeds import proof

    kept = runs.records_of(runs.find_run(run_folder, results)) if run_folder else None
    found = proof.examine(
        seed, specfile.resolve_profile(profile), published=commitment, items=items, records=kept
    )
    if as_json:
        cli_shared.emit(found)
    else:
        echo(proof.text(found))
    raise SystemExit(proof.exit_code(found))


@accuracy.command()
@click.argument("public_run", metavar="PUBLIC_RUN")
@click.argument("secret_run", metavar="SECRET_RUN")
@cli_shared.results
@cli_shared.as_json
def gap(*, public_run: str, secret_run: str, results: Path, as_json: bool) -> None:
    """How much better each model is on the public items than on the secret ones."""
    from harness import runs
    from harness.scoring import gap as gaps

    public, secret = (
        runs.records_of(runs.find_run(name, results)) for name in (public_run, secret_run)
    )
    found = gaps.between(public, secret)
    if as_json:
        cli_shared.emit(found)
    else:
        echo(gaps.text(found))


@accuracy.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--choices",
    type=click.Choice(["cloze", "letter"]),
    default="cloze",
    show_default=True,
    help="Compare the choices themselves, or their letters.",
)
@click.option("--shots", type=click.IntRange(0, 25), default=0, help="Solved items before each.")
@click.option("--licence", default="", help="SPDX id; texts under ND or NC are never shown.")
@cli_shared.as_json
def check(
    *, path: Path, choices: Literal["cloze", "letter"], shots: int, licence: str, as_json: bool
) -> None:
    """Check a file of your own items, and print its entry for a profile.

    FILE is JSONL, or a YAML task of lm-evaluation-harness: docs/held-out.md.
    """
    from harness import heldout

    found = heldout.examine(path, choices=choices, shots=shots, licence=licence)
    if as_json:
        cli_shared.emit(found)
    else:
        echo(heldout.text(found))


_output = click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for results and samples in lm-evaluation-harness's form.",
)


@accuracy.command("lm-eval")
@click.option("--model", required=True, help="An id of models.yaml or a path.")
@click.option("--tasks", required=True, help="Names of its tasks, groups or tags, with commas.")
@click.option(
    "--include-path",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder with tasks of your own.",
)
@click.option("--num-fewshot", type=click.IntRange(0), help="Solved items before each.")
@click.option("--limit", type=click.FloatRange(0), help="Documents a task, or a share below 1.")
@click.option("--apply-chat-template", is_flag=True, help="Ask in the model's chat template.")
@click.option("--backend", default="", help="Instead of the one that runs the format.")
@_output
@cli_shared.as_json
def lm_eval(
    *,
    model: str,
    tasks: str,
    include_path: Path | None,
    num_fewshot: int | None,
    limit: float | None,
    apply_chat_template: bool,
    backend: str,
    output: Path,
    as_json: bool,
) -> None:
    """Run any task of lm-evaluation-harness on our engines and scorer.

    Its data are fetched by you, under their licences; public items never enter a score.
    """
    from harness.interop import lm_eval as theirs
    from harness.interop import lm_eval_files

    found = theirs.evaluate(
        model,
        [name.strip() for name in tasks.split(",") if name.strip()],
        backend=backend,
        include_path=include_path,
        num_fewshot=num_fewshot,
        limit=limit,
        apply_chat_template=apply_chat_template,
    )
    _show_files(lm_eval_files.save(found, output), found["results"], as_json=as_json)


@accuracy.command()
@click.argument("run", default="latest")
@_output
@cli_shared.results
@cli_shared.as_json
def export(*, run: str, output: Path, results: Path, as_json: bool) -> None:
    """Write a run's items as lm-evaluation-harness would have written them."""
    from harness import records, runs
    from harness.errors import SpecError
    from harness.interop import lm_eval_files

    folder = runs.find_run(run, results)
    found = lm_eval_files.export(records.current(runs.records_of(folder)))
    if not found:
        raise SpecError(
            "the run asked no accuracy items",
            where=str(folder),
            hint="harness run --suite accuracy",
            reason="no_accuracy_suite",
        )
    paths = [path for one in found.values() for path in lm_eval_files.save(one, output)]
    shown = {model: one["results"] for model, one in found.items()}
    _show_files(paths, shown, as_json=as_json)


def _show_files(paths: list[Path], found: Mapping[str, object], *, as_json: bool) -> None:
    if as_json:
        cli_shared.emit({"files": [str(path) for path in paths], "results": found})
        return
    for path in paths:
        click.echo(str(path))
