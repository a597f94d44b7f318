"""docs/commands.md holds the commands' own help: `python -m tests.test_documentation`."""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from harness import errors
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


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.stem)
def test_pages_name_files_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@functools.cache
def exits() -> dict[str, set[int]]:
    """Exit codes of every reason code that an error is raised with, by the error's class."""
    found = defaultdict(set)
    for path in (ROOT / "harness").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            kind = getattr(errors, getattr(getattr(node, "func", None), "id", ""), None)
            if isinstance(node, ast.Call) and isinstance(kind, type):
                for word in node.keywords:
                    if word.arg == "reason" and isinstance(word.value, ast.Constant):
                        found[word.value.value].add(kind.exit_code)
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.HarnessError):
            found[kind.default_reason].add(kind.exit_code)
    return found


@pytest.mark.parametrize("name", ["records", "resume"])
def test_exit_codes_of_reasons_are_those_of_the_program(name: str) -> None:
    """Of each table of what is refused: reason, exit code, what."""
    page = (ROOT / "docs" / f"{name}.md").read_text("utf-8")
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \| (\d) \|", page, re.MULTILINE)
    assert len(rows) >= 8
    known = exits()
    for reasons, code in rows:
        for reason in re.findall("[a-z_]+", reasons):
            assert int(code) in known[reason], reason


if __name__ == "__main__":
    PAGE.write_text(rendered(), "utf-8")
