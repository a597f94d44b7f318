"""One small run folder, its bundle, and keys of three people."""

import contextlib
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from harness import ledger
from harness.bundle import create, keys, trust
from harness.bundle import verify as checking
from harness.records import JournalWriter
from harness.spec import digest
from tests.answered import formed
from tests.strategies import Candidate, profile, records

TODAY = date(2026, 11, 26)


def small_run() -> list[dict[str, Any]]:
    """Of the reference and one other model, counted in no ledger: test_attempts.py has one."""
    candidates = [Candidate(id="ref", skill=0.6), Candidate(id="a.q4_k_m.gguf", speed=1.3, seed=1)]
    run, *rest = formed(records(candidates, profile(), budget=8 << 30))
    attempt = {name: value for name, value in run["attempt"].items() if name != "ledger"}
    return [run | {"attempt": attempt}, *rest]


def counted(found: list[dict[str, Any]], results: Path) -> list[dict[str, Any]]:
    """A run's records, and beside them the ledger with the line that it was started by."""
    (run,) = (record for record in found if record["type"] == "run")
    line = {
        "type": "attempt",
        **{name: run[name] for name in ("run", "plan", "started_utc")},
        "profile": digest(run["profile"])[:16],
        "nonce": ledger.nonce_digest(run.get("nonce", "")),
        "models": sorted({ledger.models_digest(model["sha256"]) for model in run["models"]}),
        "announced": False,
    }
    path = results / ledger.NAME
    with contextlib.closing(JournalWriter(path)) as journal:
        journal.append({"type": "ledger", "schema": ledger.SCHEMA}, line)
    run["attempt"] = {**run["attempt"], "ledger": ledger.load(path).runs[-1].sha256}
    return found


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be written to: a folder with `run`, `bundle` (signed) and keys."""
    home = tmp_path_factory.mktemp("bundle")
    run = home / "run"
    run.mkdir()
    journal = JournalWriter(run / "records.jsonl")
    journal.append(*counted(small_run(), home))
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
    return trust.load_trusted([made / "jury.pub", made / "startup.pub"])
