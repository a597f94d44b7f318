"""`harness profiles`: what can be run and how it is judged; checking a profile of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness import cli_shared
from harness.errors import Exit, SpecError, quoted
from harness.messages.commands import Group, echo

if TYPE_CHECKING:
    from harness.spec import Profile


@click.group(cls=Group)
def profiles() -> None:
    """How a run is measured and judged: docs/profiles.md explains every field.

    \b
    list     the profiles that come with it, and those in ./profiles
    show     one profile as it is understood, with its hash
    check    read a profile file and say what is wrong with it
    schema   the JSON Schema of profile files, for editors
    """  # noqa: D301 - Click wants the control character itself


@profiles.command("list")
@cli_shared.as_json
def profiles_list(*, as_json: bool) -> None:
    """List the profiles that can be named: those of the program, then those in ./profiles."""
    from harness import specfile
    from harness.specprofile import load_profile

    found: dict[str, Profile] = {}
    broken: list[Path] = []
    for name, path in specfile.profile_files().items():
        try:
            found[name] = load_profile(path)
        except SpecError:
            broken.append(path)
    if as_json:
        listed = [_facts(profile) for profile in found.values()]
        cli_shared.emit({"profiles": listed, "broken": [str(path) for path in broken]})
    else:
        width = max(map(len, found), default=0)
        for name, profile in found.items():
            facts = f"v{profile.version}  {profile.scoring:<9}  {profile.tier:<10}"
            click.echo(f"{name:<{width}}  {facts}  {profile.title}")
    for path in broken:
        where = quoted(path)
        echo(f"{where}: cannot be read\n  next: harness profiles check {where}", err=True)
    raise SystemExit(Exit.SPECIFICATION if broken else Exit.DONE)


@profiles.command()
@click.argument("name")
@cli_shared.as_json
def show(*, name: str, as_json: bool) -> None:
    """Show the profile NAME (a name or a YAML file): what it asks, and what decides."""
    from harness import specfile

    _print(specfile.resolve_profile(name), as_json=as_json)


@profiles.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@cli_shared.as_json
def check(*, path: Path, as_json: bool) -> None:
    """Read a profile FILE as a run would, and show it; exit code 2 where something is wrong.

    The message names the line, what is allowed there, and a reason code.
    """
    from harness.specprofile import load_profile

    _print(load_profile(path), as_json=as_json)


@profiles.command()
def schema() -> None:
    """Print the JSON Schema of a profile, for editors that check while you type."""
    from harness import specschema

    click.echo(specschema.profile_text(), nl=False)


def _facts(profile: Profile) -> dict[str, Any]:
    from harness.spec import digest

    names = ("id", "version", "title", "scoring", "tier", "reference", "fixed_family")
    return {name: getattr(profile, name) for name in names} | {"sha256": digest(profile)}


def _print(profile: Profile, *, as_json: bool) -> None:
    from harness.spec import to_json

    facts = _facts(profile)
    if as_json:
        cli_shared.emit({"profile": to_json(profile), "sha256": facts["sha256"]})
        return
    for name, value in facts.items():
        if value:
            click.echo(f"{name:<12}  {value}")
    for metric, weight in profile.weights.items():
        click.echo(f"{'weight':<12}  {weight:.2f}  {metric}")
    for gate in profile.gates:
        limit = "" if gate.limit is None else f"  {gate.limit:g}"
        kind = "required" if gate.required else "listed"
        click.echo(f"{'gate':<12}  {gate.id}  {gate.metric}{limit}  {kind}")
