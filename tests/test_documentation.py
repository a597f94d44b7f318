"""docs/commands.md holds the commands' own help: `python -m tests.test_documentation`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from harness.cli import cli

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "commands.md"


def pages(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
    """Each command's path and help text, parents first."""
    names = cli.context_settings["help_option_names"]
    context = click.Context(
        command, info_name=path, terminal_width=88, max_content_width=88, help_option_names=names
    )
    yield path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from pages(command.commands[name], f"{path} {name}")


def rendered() -> str:
    """The whole page."""
    parts = ["# Commands\n\nWritten by `python -m tests.test_documentation`.\n"]
    parts += [f"\n## {path}\n\n```text\n{text}\n```\n" for path, text in pages(cli, "harness")]
    return "".join(parts)


def test_commands_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == rendered()


def test_readme_names_commands_and_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    known = {path for path, _ in pages(cli, "harness")}
    for command in re.findall(r"`harness ([a-z]+)", text):
        assert f"harness {command}" in known, command
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target


if __name__ == "__main__":
    PAGE.write_text(rendered(), "utf-8")
