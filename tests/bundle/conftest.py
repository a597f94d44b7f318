"""One run folder of the golden records, its bundle, and keys of three people."""

import shutil
from datetime import date
from pathlib import Path

import pytest

from harness.bundle import create, keys
from harness.bundle import verify as checking
from harness.records import JournalWriter
from tests import golden_run

TODAY = date(2026, 11, 26)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be written to: a folder with `run`, `bundle` (signed) and keys."""
    home = tmp_path_factory.mktemp("bundle")
    run = home / "run"
    run.mkdir()
    journal = JournalWriter(run / "records.jsonl")
    journal.append(*golden_run.golden_records())
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
