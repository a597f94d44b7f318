"""`harness kit`: a folder that installs and runs on a laptop with no network."""

from __future__ import annotations

from pathlib import Path

import click

from harness import cli_shared
from harness.messages.commands import Group, echo


class _Kit(Group):
    """`harness kit OUT` is short for `harness kit build OUT`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `build` in front of what is neither a command nor a call for help."""
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args.insert(0, "build")
        return super().parse_args(ctx, args)


@click.group(cls=_Kit)
def kit() -> None:
    """A folder that installs and runs on a laptop with no network.

    \b
    harness kit OUT            make one; short for harness kit build OUT
    harness kit verify FOLDER  is every file as it was packed
    """  # noqa: D301 - Click wants the control character itself


@kit.command()
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--set", "set_name", help="A named set [default: default, without --model].")
@click.option("--model", "models", multiple=True, metavar="PATH_OR_ID", help="A model; repeatable.")
@click.option("--profile", default="quick", show_default=True, help="A name or a YAML file.")
@click.option("--device", "devices", multiple=True, help="A declared laptop [default: all].")
@click.option(
    "--platform",
    type=click.Choice(["win_amd64", "win_arm64", "linux_x86_64", "linux_aarch64", "macosx_arm64"]),
    help="The laptop's system [default: this one's]; pip downloads wheels for another.",
)
@click.option(
    "--python",
    type=click.Choice(["3.11", "3.12", "3.13", "3.14"]),
    help="The laptop's Python [default: this one's]; pip downloads wheels for another.",
)
@cli_shared.models_file
@cli_shared.as_json
def build(
    *,
    out: Path,
    set_name: str | None,
    models: tuple[str, ...],
    profile: str,
    devices: tuple[str, ...],
    platform: str | None,
    python: str | None,
    models_file: Path | None,
    as_json: bool,
) -> None:
    """Pack wheels, models, profile and devices into the folder OUT, with a manifest.

    What is installed here is packed as it is, engines included, and nothing is downloaded.
    Called again, what is right in OUT is kept. docs/offline-kit.md has the steps.
    """
    from harness.kit import building as kits

    made = kits.build(
        out,
        models=models,
        set_name=set_name or ("" if models else "default"),
        profile=profile,
        devices=devices,
        platform=platform,
        python=python,
        catalogue_path=models_file,
        progress=lambda line: echo(line, err=True),
    )
    for warning in made.warnings:
        echo(f"warning: {warning}", err=True)
    if as_json:
        shown = {"kit": str(made.folder), "files": made.files, "size_bytes": made.size_bytes}
        cli_shared.emit({**shown, "about": made.about, "warnings": made.warnings})
        return
    echo(f"{made.folder}: {made.files} files, {made.size_bytes / 1e9:.2f} GB")
    echo("next: copy the folder to the laptop and follow its README.txt")


@kit.command()
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@cli_shared.as_json
def verify(*, folder: Path, as_json: bool) -> None:
    """Check every file of the kit FOLDER: exit code 2 names the first that is wrong."""
    from harness.kit import building as kits

    about = kits.verify(folder)
    if as_json:
        cli_shared.emit({"kit": str(folder), "about": about})
    else:
        echo(f"{folder}: every file is as it was packed")
