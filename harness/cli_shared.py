"""Options that several commands have, and how they print JSON."""

from __future__ import annotations

import json
import re
import sys
import typing
from pathlib import Path
from typing import Any

import click

from harness.messages import Lang

results = click.option(
    "--results",
    "--out",
    "results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder that holds one folder a run.",
)
models_file = click.option(
    "--models",
    "models_file",
    type=click.Path(path_type=Path),
    help="Models file [default: ./models.yaml, else the one that comes with harness].",
)
commercial = click.option(
    "--commercial", is_flag=True, help="Only models whose licence allows commercial use."
)
lang = click.option(
    "--lang",
    type=click.Choice(typing.get_args(Lang)),
    help="Language of messages, tables and reports [default: the locale's].",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def emit(value: dict[str, Any]) -> None:
    """One JSON object on the last line of stdout, in ASCII where stdout is not UTF-8."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    click.echo(json.dumps(value, ensure_ascii=plain, allow_nan=False))


class _Duration(click.ParamType[float]):
    """`90s`, `10m`, `1h` or `1h30m`, as seconds."""

    name = "duration"
    _PARTS = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds, above 0."""
        if isinstance(value, float):
            return value
        found = self._PARTS.fullmatch(str(value).strip())
        hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0,) * 3
        total = 3600 * hours + 60 * minutes + seconds
        if not total:
            self.fail(f"'{value}' is no duration; allowed: 90s, 10m, 1h, 1h30m", param, ctx)
        return float(total)


DURATION = _Duration()
