"""Click in the reader's language: help pages, usage errors, and `echo`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import click

from harness.messages import language, pad, tr, width


class Formatter(click.HelpFormatter):
    """Help pages; Hangul takes two columns a letter."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """The line of usage, behind its word for it."""
        super().write_usage(prog, args, prefix or f"{tr('Usage:')} ")

    def write_heading(self, heading: str) -> None:
        """The title of a section."""
        super().write_heading(tr(heading))

    def write_text(self, text: str) -> None:
        """Paragraphs, wrapped."""
        if language() == "en":
            super().write_text(text)
            return
        indent = " " * self.current_indent
        for number, paragraph in enumerate(tr(text).split("\n\n")):
            self.write("\n" if number else "")
            first, _, rest = paragraph.partition("\n")
            if first.strip() == "\b":  # Click's mark: the lines of this paragraph are kept
                self.write("".join(f"{indent}{line}\n" for line in rest.split("\n")))
                continue
            lines = wrapped(" ".join(paragraph.split()), self.width - self.current_indent)
            self.write("".join(f"{indent}{line}\n" for line in lines))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Options or commands, and what each is for."""
        if language() == "en":
            super().write_dl(rows, col_max, col_spacing)
            return
        rows = [(name, _option_help(about)) for name, about in rows]
        column = min(max(width(name) for name, _ in rows), col_max) + col_spacing
        indent = " " * self.current_indent
        for name, about in rows:
            first, *more = wrapped(about, max(self.width - column - 2, 20)) or [""]
            if width(name) > column - col_spacing:
                self.write(f"{indent}{name}\n")
                more, first = [first, *more], ""
            else:
                self.write(f"{indent}{pad(name, column)}{first}".rstrip() + "\n")
            self.write("".join(f"{indent}{' ' * column}{line}\n" for line in more if line))


def _option_help(about: str) -> str:
    """Click puts `  [default: x; x>=1]` behind an option's own words."""
    words, found, extra = about.partition("  [")
    if not found:
        return tr(about)
    extras = "; ".join(map(tr, extra.removesuffix("]").split("; ")))
    return f"{tr(words)}  [{extras}]"


def wrapped(text: str, columns: int) -> list[str]:
    """Lines of at most so many columns, broken between words."""
    if width(text) == len(text):
        return textwrap.wrap(text, columns, break_long_words=False)
    lines: list[str] = []
    for word in text.split():
        if lines and width(lines[-1]) + 1 + width(word) <= columns:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


class Context(click.Context):
    """A context whose help pages are in the reader's language."""

    formatter_class = Formatter


class Command(click.Command):
    """A command whose help is in the reader's language."""

    context_class = Context

    def get_short_help_str(self, limit: int = 45) -> str:
        """Its first sentence; Korean is short enough to be wrapped instead of cut."""
        if language() == "en" or not self.help:
            return super().get_short_help_str(limit)
        return first_sentence(self.help)


class Group(click.Group):
    """A group whose help is in the reader's language."""

    context_class = Context
    command_class = Command

    def get_short_help_str(self, limit: int = 45) -> str:
        """As that of a command."""
        if language() == "en" or not self.help:
            return super().get_short_help_str(limit)
        return first_sentence(self.help)


Group.group_class = Group


def first_sentence(text: str) -> str:
    """What a translated help text begins with, without its full stop."""
    import inspect

    paragraph = tr(inspect.cleandoc(text)).partition("\n\n")[0]
    return " ".join(paragraph.split()).partition(". ")[0].removesuffix(".")


def show(error: click.ClickException) -> None:
    """Click's own way to show an error, in the reader's language."""
    if language() == "en" or isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return
    if isinstance(error, click.UsageError) and error.ctx is not None:
        command = error.ctx.command_path
        click.echo(error.ctx.get_usage(), err=True)
        click.echo(tr(f"Try '{command} --help' for help.") + "\n", err=True)
    click.echo(tr(f"Error: {tr(_said(error))}"), err=True)


def _said(error: click.ClickException) -> str:
    """Click puts this one message together from pieces."""
    if not isinstance(error, click.MissingParameter) or error.param is None:
        return error.format_message()
    name = error.param.get_error_hint(error.ctx)
    option = error.param.param_type_name == "option"
    missing = f"Missing option {name}." if option else f"Missing argument {name}."
    more = error.param.type.get_missing_message(param=error.param, ctx=error.ctx)
    return " ".join(map(tr, filter(None, (missing, more))))


def echo(text: str, *, err: bool = False, **others: Any) -> None:
    """`click.echo` of words; data that other programs read go out by `click.echo` itself."""
    click.echo(tr(text), err=err, **others)
