"""`harness schema`: what records and scorecards look like, for programs that read them."""

from __future__ import annotations

from typing import Literal

import click

from harness.messages.commands import Command


@click.command(cls=Command)
@click.argument("kind", type=click.Choice(["record", "scorecard"]))
def schema(*, kind: Literal["record", "scorecard"]) -> None:
    """Print the JSON Schema of a record (a line of records.jsonl) or of scorecard.json.

    docs/records.md explains how a line is read and checked.
    """
    from harness import schema as schemas

    text = schemas.record_text() if kind == "record" else schemas.scorecard_text()
    click.echo(text, nl=False)
