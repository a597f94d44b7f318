"""`harness models`: what can be measured, fetching it, fixing it and checking it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness import cli_shared
from harness.errors import Exit, HarnessError, printable
from harness.messages import pad, tr
from harness.messages.commands import Group, echo

if TYPE_CHECKING:
    from harness.models.inventory import Checked, Presence
    from harness.spec import Catalogue, Model

_ids = click.argument("ids", nargs=-1, metavar="[ID]...")
_set = click.option("--set", "set_name", default="", help="All models of one set.")


@click.group(cls=Group)
def models() -> None:
    """What can be measured, and its files.

    \b
    check    judge submitted files before anything loads them
    list     what is there, from where, under which licence
    pull     fetch the files of models from their repositories
    pin      write commits and hashes into the models file
    verify   hash what is here against the models file
    schema   the models file's JSON Schema, for editors
    unpack   open a submitted archive safely
    synth    write random weights in the shape of a real network
    """  # noqa: D301 - Click wants the control character itself


@models.command("list")
@click.option("--set", "set_name", default="", help="Only the models of one set.")
@cli_shared.commercial
@cli_shared.models_file
@cli_shared.as_json
def models_list(
    *, set_name: str, commercial: bool, models_file: Path | None, as_json: bool
) -> None:
    """List the models file: where models come from, what is here, licences and sets."""
    from harness import specfile
    from harness.models.inventory import presence
    from harness.spec import to_json

    catalogue = _catalogue(models_file)
    found = specfile.find_set(catalogue, set_name) if set_name else catalogue.models.values()
    chosen = [model for model in found if model.commercial or not commercial]
    base = Path(catalogue.path).parent
    rows = [(model, presence(model, base), _sets_of(catalogue, model.id)) for model in chosen]
    if as_json:
        listed = [{**to_json(model), **here._asdict(), "sets": sets} for model, here, sets in rows]
        cli_shared.emit({"models": listed, "sets": to_json(catalogue.sets)})
        return
    _show_table([_row(*row) for row in rows])


@models.command()
@_ids
@_set
@cli_shared.models_file
@cli_shared.as_json
def pull(*, ids: tuple[str, ...], set_name: str, models_file: Path | None, as_json: bool) -> None:
    """Fetch the files of models into the hub's cache, and hash every one.

    What was fetched before is hashed again and kept; what broke off is resumed. HF_HOME,
    HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE count. `harness run` never fetches.
    """
    from harness.models import hub

    def fetch(model: Model) -> dict[str, Any]:
        done = hub.pull(model, _say)
        pinned = hub.is_pinned(model.source)
        if not as_json:
            echo(f"{model.id}  {done.commit}  {done.folder}")
        if not pinned:
            _say(f"{model.id} is not pinned: another day may bring other files")
            _say(f"  next: harness models pin {model.id}")
        return {
            "commit": done.commit, "path": str(done.folder), "pinned": pinned,
            "sha256": done.sha256,
        }  # fmt: skip

    _for_each(_from_hub(_catalogue(models_file), ids, set_name), fetch, as_json=as_json)


@models.command()
@_ids
@_set
@click.option("--dry-run", is_flag=True, help="Show the change; write nothing.")
@cli_shared.models_file
@cli_shared.as_json
def pin(
    *,
    ids: tuple[str, ...],
    set_name: str,
    dry_run: bool,
    models_file: Path | None,
    as_json: bool,
) -> None:
    """Write each model's commit and the sha256 of its files into the models file.

    Nothing else of the file changes. A model with a revision keeps it: remove the line to
    move to what the repository has now.
    """
    from harness.models import hub, pinning

    catalogue = _catalogue(models_file)
    pins = {}

    def ask(model: Model) -> dict[str, Any]:
        found = hub.pin(model, _say)
        pins[model.id] = pinning.Pin(found.commit, found.sha256)
        return {"revision": found.commit, "sha256": found.sha256}

    def finish() -> dict[str, Any]:
        before, after = pinning.pin(catalogue, pins)
        if dry_run and not as_json:
            click.echo(_difference(before, after, catalogue.path), nl=False)
        elif before != after and not dry_run:
            pinning.write(catalogue, after)
        if not as_json and not dry_run:
            done = "changed" if before != after else "was pinned already"
            echo(f"{catalogue.path}: {len(pins)} models, {done}")
        return {"file": catalogue.path, "changed": before != after, "written": not dry_run}

    _for_each(_from_hub(catalogue, ids, set_name), ask, as_json=as_json, finish=finish)


@models.command()
@_ids
@_set
@cli_shared.models_file
@cli_shared.as_json
def verify(*, ids: tuple[str, ...], set_name: str, models_file: Path | None, as_json: bool) -> None:
    """Hash what is here against the models file; without a name, all that is here.

    Ends with code 3 unless every file is as pinned.
    """
    from harness.models import inventory

    catalogue = _catalogue(models_file)
    base = Path(catalogue.path).parent
    if ids or set_name:
        chosen = _chosen(catalogue, ids, set_name)
    else:
        found = catalogue.models.values()
        chosen = [model for model in found if inventory.to_verify(model, base)]
        if not chosen:
            _say(f"no model of {catalogue.path} is here: nothing was hashed")
            _say("  next: harness models list")
    bad: list[str] = []

    def check(model: Model) -> dict[str, Any]:
        with _progress() as digest:
            files = inventory.verify(model, base, digest)
        for file in files:
            if file.state != "ok":
                bad.append(model.id)
            if not as_json:
                state = pad(tr(file.state.replace("_", " ")), 10)
                click.echo(f"{state} {model.id}  {file.name}")
            if file.state == "changed":
                _say(f"  sha256 is {file.sha256}, the models file says {file.expected}")
        if model.id in bad:
            _say(f"  next: {_mend(model, files)}")
        return {"files": [file._asdict() for file in files]}

    _for_each(
        chosen,
        check,
        as_json=as_json,
        finish=lambda: {"status": "error", "reason": "not_as_pinned"} if bad else {},
        code=lambda: Exit.PREREQUISITE if bad else Exit.DONE,
    )


def _mend(model: Model, files: Sequence[Checked]) -> str:
    """What to do about a model that is not as pinned."""
    unpinned = {file.state for file in files} <= {"ok", "not_pinned"}
    if model.source.kind == "hub":
        return f"harness models {'pin' if unpinned else 'pull'} {model.id}"
    if unpinned:
        hashes = ", ".join(f"{file.name}: {file.sha256}" for file in files)
        return f"write into the source of {model.id}: sha256: {{{hashes}}}"
    return f"put the right files of {model.id} at {model.source.path}, or correct its entry"


@models.command()
def schema() -> None:
    """Print the JSON Schema of a models file, for editors that check while you type."""
    from harness import specschema

    click.echo(specschema.text(), nl=False)


def _catalogue(models_file: Path | None) -> Catalogue:
    from harness import specfile

    return specfile.load_catalogue(models_file or specfile.default_catalogue_path())


def _chosen(catalogue: Catalogue, ids: Sequence[str], set_name: str) -> list[Model]:
    from harness import specfile

    if bool(ids) == bool(set_name):
        raise click.UsageError(
            "Name models, or a set with --set.\n"
            f"  allowed: ids, or --set with one of {', '.join(catalogue.sets) or 'no sets here'}\n"
            "  next: harness models list"
        )
    if set_name:
        return list(specfile.find_set(catalogue, set_name))
    return [specfile.find_model(catalogue, model_id) for model_id in dict.fromkeys(ids)]


def _from_hub(catalogue: Catalogue, ids: Sequence[str], set_name: str) -> list[Model]:
    """Those of the chosen models that come from a repository; the others need no fetching."""
    chosen = _chosen(catalogue, ids, set_name)
    for model in chosen:
        if model.source.kind != "hub":
            _say(f"{model.id} comes from no repository ({model.source.kind}): nothing to do")
        if model.source.kind == "synthetic":
            from harness.models import synth

            _say(f"  to make it: {synth.recipe_of(model).command()}")
    return [model for model in chosen if model.source.kind == "hub"]


def _for_each(
    chosen: Sequence[Model],
    work: Callable[[Model], dict[str, Any]],
    *,
    as_json: bool,
    finish: Callable[[], dict[str, Any]] = dict,
    code: Callable[[], Exit] = lambda: Exit.DONE,
) -> None:
    """Do the work for each model; one that fails does not keep the others from theirs."""
    done: list[dict[str, Any]] = []
    failed: list[tuple[Model, HarnessError]] = []
    for model in chosen:
        try:
            done.append({"id": model.id, **work(model)})
        except HarnessError as error:
            if len(chosen) == 1:
                raise
            failed.append((model, error))
            click.echo(f"harness: {error.text(tr)}", err=True)
    rest = finish() if done else {}
    if as_json:
        faults = [
            {"id": model.id, "reason": error.reason, "message": str(error)}
            for model, error in failed
        ]
        status = {"status": "error" if faults else "ok"}
        cli_shared.emit({**status, "models": done, "failed": faults, **rest})
    raise SystemExit(int(failed[0][1].exit_code if failed else code()))


def _say(line: str) -> None:
    echo(line, err=True)


@contextmanager
def _progress() -> Iterator[Callable[[Path], str]]:
    """Hashes a file; how far it is stands on the terminal, if there is one."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:

        def digest(path: Path) -> str:
            with shown.open(path, "rb", description=path.name) as file:
                # rich's reader has readinto; its type does not say so.
                return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]

        yield digest


def _difference(before: str, after: str, name: str) -> str:
    import difflib

    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), name, name
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _sets_of(catalogue: Catalogue, model_id: str) -> list[str]:
    return [name for name, members in catalogue.sets.items() if model_id in members]


_HEAD = ("model", "source", "engine", "here", "size", "pinned", "licence", "use", "sets")
_USE = {True: "commercial", False: "NON-COMMERCIAL", None: "read the licence"}

_ABSENT = {"hub": "pull", "synthetic": "synth"}
"""The command that fetches or makes what is absent."""


def _row(model: Model, here: Presence, sets: list[str]) -> tuple[str, ...]:
    from harness.metrics import show_bytes

    return (
        model.id,
        model.source.kind,
        model.backend_name,
        "here" if here.here else _ABSENT.get(model.source.kind, "missing"),
        show_bytes(here.size_bytes) if here.size_bytes else "",
        {True: "pinned", False: "not pinned", None: ""}[here.pinned],
        model.licence or "licence unknown",
        _USE[model.commercial],
        ", ".join(sets),
    )


def _show_table(rows: Sequence[tuple[str, ...]]) -> None:
    """A table on a terminal; plain columns for other programs."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*map(tr, _HEAD), box=None, pad_edge=False)
        for row in rows:
            shown = (Text(printable(tr(cell))) for cell in row)  # a licence is no markup
            table.add_row(*shown, style="yellow" if _USE[False] in row else None)
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )
