"""Options that several commands have, and how they print JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

results = click.option(
    "--results",
    "--out",
    "results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder that holds one folder a run.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def emit(value: dict[str, Any]) -> None:
    """One JSON object on the last line of stdout, in ASCII where stdout is not UTF-8."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    click.echo(json.dumps(value, ensure_ascii=plain, allow_nan=False))
