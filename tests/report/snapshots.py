"""What the reports of `tests/golden/scorecard.json` look like, kept beside this file.

`python -m tests.report.snapshots` writes them again after a deliberate change.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.report import console, junit, markdown
from harness.report.formats import Material
from harness.report.words import Lang

HERE = Path(__file__).parent / "snapshots"
GOLDEN = HERE.parents[1] / "golden" / "scorecard.json"
FILES = ("results/20261123T081500Z-a1b2c3/report.html",)


def golden() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(GOLDEN.read_text("utf-8"))
    return loaded


def printed(
    card: Mapping[str, Any],
    *,
    lang: Lang = "en",
    terminal: bool = False,
    environ: Mapping[str, str] | None = None,
    width: int = 100,
) -> str:
    """What a console shows, of 100 columns or so many."""
    stream = io.StringIO()
    made = Console(
        file=stream, width=width, force_terminal=terminal, _environ=environ or {"TERM": "xterm"}
    )
    console.show(card, made, files=FILES, lang=lang)
    return stream.getvalue()


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def junit_of(card: Mapping[str, Any]) -> str:
    """The JUnit document of a scorecard."""
    (document,) = junit.files(Material(card=card, folder=HERE, lang="en")).values()
    return document.decode()


SNAPSHOTS: dict[str, Callable[[], str]] = {
    "console.en.txt": lambda: _trimmed(printed(golden())),
    "console.ko.txt": lambda: _trimmed(printed(golden(), lang="ko")),
    "junit.en.xml": lambda: junit_of(golden()),
    "scorecard.en.md": lambda: markdown.render(golden()),
    "scorecard.ko.md": lambda: markdown.render(golden(), lang="ko"),
}

if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for name, make in SNAPSHOTS.items():
        (HERE / name).write_text(make(), "utf-8")
