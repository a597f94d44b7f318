"""One small run folder, its bundle, and keys of three people."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from harness.bundle import create, keys
from harness.bundle import verify as checking
from harness.records import JournalWriter
from tests.answered import formed
from tests.strategies import Candidate, profile, records

TODAY = date(2026, 11, 26)


def small_run() -> list[dict[str, Any]]:
    """Of the reference and one other model."""
    candidates = [Candidate(id="ref", skill=0.6), Candidate(id="a.q4_k_m.gguf", speed=1.3, seed=1)]
    return list(formed(records(candidates, profile(), budget=8 << 30)))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be written to: a folder with `run`, `bundle` (signed) and keys."""
    home = tmp_path_factory.mktemp("bundle")
    run = home / "run"
    run.mkdir()
    journal = JournalWriter(run / "records.jsonl")
    journal.append(*small_run())
    journal.close()
    for name, role in (("jury", "evaluator"), ("startup", "startup"), ("stranger", "evaluator")):
        keys.generate(home / name, name=name, role=role, days=365, today=date(2026, 1, 1))
    create.create(run, home / "unsigned")
    shutil.copytree(home / "unsigned", home / "bundle")
    checking.sign(home / "bundle", home / "jury.key")
    return home


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made / "bundle", tmp_path / "bundle")


@pytest.fixture
def trusted(made: Path) -> dict[str, keys.PublicKey]:
    return keys.load_trusted([made / "jury.pub", made / "startup.pub"])
