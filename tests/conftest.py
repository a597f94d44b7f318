"""What all tests share: a fake model, and a folder of one's own for caches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FakeModel = Callable[..., Path]
Harness = Callable[..., subprocess.CompletedProcess[str]]


def interruptible() -> None:
    """In a child before it starts: what a script puts in the background ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def fake_model(tmp_path: Path) -> FakeModel:
    """Write a `*.fake.json` model with the given fields and return its path."""

    def write(name: str = "toy", **fields: object) -> Path:
        path = tmp_path / f"{name}.fake.json"
        path.write_text(json.dumps(fields), "utf-8")
        return path

    return write


@pytest.fixture
def run_harness(tmp_path: Path) -> Harness:
    """Run the `harness` command in a child, as a user does."""

    def run(
        *arguments: object, cwd: Path = tmp_path, check: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "harness", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
        )
        if check is not None:
            assert done.returncode == check, done.stderr + done.stdout
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run
