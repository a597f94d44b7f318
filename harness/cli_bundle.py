"""`harness bundle`: hand a run in, sign it, and verify what others hand in."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from harness.cli_shared import as_json as _as_json
from harness.cli_shared import emit
from harness.cli_shared import results as _results
from harness.errors import quoted
from harness.messages.commands import Group, echo

_folder = click.Path(path_type=Path)
_MANY_RECORDS = 20_000


@click.group(cls=Group)
def bundle() -> None:
    """Results that prove what was run, by whom, and that nothing was touched."""


@bundle.command()
@click.argument("name", type=_folder)
@click.option(
    "--role",
    type=click.Choice(["startup", "evaluator"]),
    default="startup",
    show_default=True,
    help="An evaluator's signature verifies a result; a startup's says who measured.",
)
@click.option("--owner", help="Who it belongs to [default: the file's name].")
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=365,
    show_default=True,
    help="How long it counts.",
)
@_as_json
def keygen(
    *,
    name: Path,
    role: Literal["startup", "evaluator"],
    owner: str | None,
    days: int,
    as_json: bool,
) -> None:
    """Make a key pair: NAME.key, which stays secret, and NAME.pub, which is given away."""
    from datetime import UTC, datetime

    from harness.bundle import keys

    today = datetime.now(UTC).date()
    private, public = keys.generate(
        name, name=owner or name.name, role=role, days=days, today=today
    )
    if as_json:
        emit({"private": str(private), "public": str(public)})
        return
    echo(f"wrote {private}: keep it secret")
    echo(f"wrote {public}: give it to whoever verifies")
    echo(f"next: harness bundle sign BUNDLE --key {quoted(private)}")


@bundle.command()
@click.argument("run_folder", metavar="RUN", default="latest")
@click.option(
    "--to", "target", type=_folder, required=True, help="A new folder, or a file NAME.zip."
)
@_results
@_as_json
def create(*, run_folder: str, target: Path, results: Path, as_json: bool) -> None:
    """Write the bundle of RUN (a folder, an id, or latest) into a new folder or a .zip."""
    from harness import runs
    from harness.bundle import create as making

    folder = runs.find_run(run_folder, results)
    made, unfinished = making.create(folder, target)
    if as_json:
        emit({"bundle": str(made), "unfinished": bool(unfinished)})
        return
    echo(f"wrote {made}")
    if unfinished:
        echo(
            f"the run is unfinished: {unfinished}\n"
            f"  next: {runs.resume_command(folder)}, then a new bundle",
            err=True,
        )
        return
    echo(f"next: harness bundle sign {quoted(made)} --key NAME.key")


@bundle.command()
@click.argument("folder", metavar="BUNDLE", type=_folder)
@click.option("--key", type=_folder, required=True, help="A .key file of `harness bundle keygen`.")
@_as_json
def sign(*, folder: Path, key: Path, as_json: bool) -> None:
    """Sign BUNDLE, after everything that can be checked was checked; signatures add up."""
    from harness.bundle import verify as checking

    envelope = checking.sign(folder, key)
    if as_json:
        emit({"envelope": str(envelope)})
        return
    echo(f"wrote {envelope}")
    echo(f"next: harness bundle verify {quoted(folder)} --keys TRUSTED.pub")


@bundle.command()
@click.argument("folder", metavar="BUNDLE", type=_folder)
@click.option(
    "--keys",
    "trusted",
    type=_folder,
    multiple=True,
    help="Trusted public keys, or a list of revoked ones; repeatable.",
)
@click.option("--nonce", help="The word that this very run was started with.")
@click.option(
    "--model",
    "models",
    type=_folder,
    multiple=True,
    help="A file that has to be what was measured.",
)
@click.option(
    "--release",
    "releases",
    multiple=True,
    metavar="SHA256_OR_FILE",
    help="Hash of a harness that may have measured, or a file of them; repeatable.",
)
@_as_json
def verify(
    *,
    folder: Path,
    trusted: tuple[Path, ...],
    nonce: str | None,
    models: tuple[Path, ...],
    releases: tuple[str, ...],
    as_json: bool,
) -> None:
    """Verify BUNDLE: exit 0 verified, 5 whole but unverified, 1 broken, 2 not a bundle."""
    from datetime import UTC, datetime

    from harness.bundle import trust
    from harness.bundle import verify as checking

    known = trust.load_trusted(trusted)
    today = datetime.now(UTC).date()
    released = checking.read_released(releases) if releases else None
    found = checking.verify(
        folder,
        known,
        today=today,
        nonce=nonce,
        models=models,
        released=released,
        progress=None if as_json else _show_size,
    )
    if as_json:
        emit(checking.to_json(found))
    else:
        for line in checking.text(found).splitlines():
            echo(line)
        if step := checking.next_step(found, folder):
            echo(f"next: {step}", err=True)
    raise SystemExit(found.exit_code)


def _show_size(records: int) -> None:
    """What takes seconds is announced."""
    if records >= _MANY_RECORDS:
        echo(f"checking {records:,} records and building the scorecard again", err=True)


@bundle.command()
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@click.option("--reason", required=True, help="Why they count no longer; verifiers are told.")
@click.option("--key", type=_folder, required=True, help="The .key file of an evaluator.")
@click.option(
    "--to", "target", type=_folder, required=True, help="The list: a new file, or one to add to."
)
@_as_json
def revoke(*, keys: tuple[str, ...], reason: str, key: Path, target: Path, as_json: bool) -> None:
    """Sign a list of revoked keys: KEY is a .pub file or an id. `verify --keys` takes the list."""
    from harness.bundle import trust

    made = trust.revoke({trust.key_of(text): reason for text in keys}, key, target)
    if as_json:
        emit({"list": str(target), "revoked": made.keys, "signer": made.signer})
        return
    echo(f"wrote {target}; revoked keys: {made.keys}")
    echo(f"it counts for whoever trusts key {made.signer[:12]} as an evaluator's")
    echo(f"next: harness bundle verify BUNDLE --keys TRUSTED.pub --keys {quoted(target)}")
