"""Runs that are stopped early, for the tests of what goes on with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness import records, session
from harness.plan import Plan
from harness.prepare import prepare
from tests.fuzz import run_kills as kills


def prepared(folder: Path, **options: Any) -> Plan:
    return prepare(
        profile=str(folder / "kills.yaml"), catalogue_path=folder / "models.yaml", **options
    )


def planned(folder: Path, **options: Any) -> Plan:
    kills.fill(folder)
    return prepared(folder, **options)


SHORT: dict[str, Any] = {"suites": ("latency",), "models": ("ref.f.fake",)}
"""What to plan where it does not matter what a run measures, and …"""
WORDS = ("run", "--profile", "kills.yaml", "--suite", "latency", "--model", "ref.f.fake")
"""… the command of the same plan."""


def stop_after(count: int) -> session.Progress:
    """Ctrl-C as the job of this number ends."""
    ended = []

    def progress(outcome, left, left_s):
        ended.append(outcome)
        if len(ended) == count:
            raise KeyboardInterrupt

    return progress


def jobs(folder: Path) -> list[dict[str, Any]]:
    return [r for r in records.read(folder / "records.jsonl").records if r["type"] == "job"]
