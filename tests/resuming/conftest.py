"""A run that nobody disturbed, and one that was stopped behind its third job."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness import session
from tests.stopped import planned, stop_after


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> session.RunResult:
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    return session.run(planned(folder), folder / "results")


@pytest.fixture(scope="session")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped behind its third job."""
    folder = tmp_path_factory.mktemp("stopped")
    result = session.run(planned(folder), folder / "results", stop_after(3))
    assert (result.status, result.exit_code) == ("interrupted", 130)
    return result.folder


@pytest.fixture
def begun(stopped: Path, tmp_path: Path) -> Path:
    """A copy of it, results folder and all."""
    return Path(shutil.copytree(stopped.parent, tmp_path / "results")) / stopped.name
