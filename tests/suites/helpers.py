"""Jobs for suites that are driven without a worker."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.backends.fake import FakeBackend
from harness.cases import Case
from harness.job import Job
from harness.spec import BackendOptions


def job(
    suite: str, *cases: Case, requests: int = 3, warmup_max: int = 4, seed: str = "00" * 32
) -> Job:
    """A job of one suite."""
    return Job(
        id="0" * 16,
        model="toy",
        path="toy.fake.json",
        backend="fake",
        options=BackendOptions(threads=1),
        suite=suite,
        suite_version=1,
        cases=cases,
        process=0,
        requests=requests,
        warmup_max=warmup_max,
        seed=seed,
        timeout_s=60,
        estimate_s=1,
    )


def fake(folder: Path, **fields: object) -> FakeBackend:
    """A loaded fake backend."""
    path = folder / "toy.fake.json"
    path.write_text(json.dumps(fields), "utf-8")
    backend = FakeBackend()
    backend.load(path, BackendOptions(threads=1))
    return backend


def of_kind(records: Iterable[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The samples of one kind."""
    return [record for record in records if record.get("kind") == kind]
