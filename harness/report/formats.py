"""Every form in which a run can be handed on: a name, a file name, and who writes it.

scorecard (+ records where a form needs raw samples) ─ render ─▶ bytes ─▶ one file, replaced whole

A new form is one function and one line in `FORMATS`; packages of others add theirs in the
entry-point group `harness.reporters`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.durable import write_whole
from harness.errors import SpecError, did_you_mean
from harness.extensions import targets
from harness.report.words import Lang


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a form is made of.

    Attributes:
        card: contents of scorecard.json. folder: the run's, for its `records.jsonl`.
        lang: of headings and sentences, where a form has any.
    """

    card: Mapping[str, Any]
    folder: Path
    lang: Lang


Render = Callable[[Material], Mapping[str, bytes]]
"""File names within the run's folder, and what they hold."""

DEFAULT = ("markdown", "html")
FORMATS: Mapping[str, str] = {
    "csv": "harness.report.csv:files",
    "github-action-benchmark": "harness.report.action_benchmark:files",
    "html": "harness.report.html:files",
    "junit": "harness.report.junit:files",
    "markdown": "harness.report.markdown:files",
    "parquet": "harness.report.parquet:files",
    "pytest-benchmark": "harness.report.pytest_benchmark:files",
}
"""Name → `module:function`, imported on use."""


def write(
    material: Material, formats: Sequence[str] = DEFAULT, target: Path | None = None
) -> list[Path]:
    """Write the run in each of these forms: all or, where one cannot be made, none.

    Args:
        target: folder of the reports; None = the run's own.

    Raises:
        SpecError: a form is not known.
        RecordError: the scorecard cannot be read, or a file not be written.
    """
    known = targets(FORMATS, "harness.reporters")
    for name in formats:
        if name not in known:
            raise SpecError(
                f"unknown format '{name}'{did_you_mean(name, known)}",
                allowed=", ".join(sorted(known)),
                hint="harness report latest --format html",
                reason="unknown_name",
            )
    files: dict[str, bytes] = {}
    for name in dict.fromkeys(formats):
        files |= _render(known[name])(material)
    folder = target or material.folder
    for file, data in files.items():
        write_whole(folder / file, data)
    return [folder / file for file in files]


def json_file(value: Any) -> bytes:
    """What a JSON file holds that other programs read.

    Raises:
        ValueError: a NaN or an infinity is inside.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1)
    return text.encode() + b"\n"


def _render(target: str) -> Render:
    module, _, function = target.partition(":")
    found: Render = getattr(importlib.import_module(module), function)
    return found
