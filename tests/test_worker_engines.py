"""The measured child with engines that are odd: slow to import, missing, or with a child."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from harness.backends import BACKENDS
from harness.cases import Case
from harness.job import Job
from harness.parts import read_part
from harness.records import Record
from harness.spec import to_json
from harness.worker import FAILED_EXIT
from tests.suites.helpers import job

LINUX = sys.platform == "linux"
LATENCY = Case(id="fixed-p8-n4", prompt_tokens=8, output_tokens=4)
ENGINE = """
import time
from dataclasses import replace
import numpy as np
from harness.backends.fake import FakeBackend
from harness.errors import PrerequisiteError

{at_import}

class Backend(FakeBackend):
    imports = 0

    def _import(self):
        {imports}
        self.imports += 1

    def load(self, path, options):
        self.import_engine()
        report = super().load(path, options)
        return replace(report, import_s=self._import_s, compile_s=0.2)

    def describe(self):
        return super().describe() | {{"imports": str(self.imports)}}
"""


class Work:
    """One worker in a folder of its own, started as the parent does it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.part = folder / "job.part"

    def engine(self, *, at_import: str = "", imports: str = "pass") -> str:
        """Target of a fake engine with code of its own at import and in `_import`."""
        code = ENGINE.format(at_import=at_import, imports=imports)
        (self.folder / "odd_engine.py").write_text(code, "utf-8")
        return "odd_engine:Backend"

    def start(self, planned: Job, target: str, **fields: object) -> subprocess.Popen[bytes]:
        """A worker under way, on a fake model with these fields."""
        model, job_file = self.folder / "toy.fake.json", self.folder / "job.json"
        model.write_text(json.dumps(fields), "utf-8")
        content = to_json(planned) | {"path": str(model), "target": target, "cache": "unknown"}
        job_file.write_text(json.dumps(content), "utf-8")
        command = [sys.executable, "-P", "-m", "harness.worker", str(job_file), str(self.part)]
        return subprocess.Popen(
            [*command, str(time.perf_counter_ns()), str(os.getpid())],
            env={**os.environ, "PYTHONPATH": str(self.folder)},
        )

    def run(self, planned: Job, target: str, *, status: int = 0, **fields: object) -> list[Record]:
        """Records of a worker that ended with this status."""
        assert self.start(planned, target, **fields).wait(60) == status
        return read_part(self.part).records

    def await_request(self) -> None:
        """Wait until a timed request has been recorded."""
        wait_for(lambda: self.part.exists() and b'"request"' in self.part.read_bytes())


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def load_of(records: list[Record]) -> Record:
    (load,) = (record for record in records if record.get("kind") == "load")
    return load


def test_phases_that_an_engine_can_tell_apart_add_up(work: Work) -> None:
    target = work.engine(imports="time.sleep(0.1)")
    records = work.run(job("latency", LATENCY), target, load_s=0.5)
    load = load_of(records)
    assert (load["weights_ns"], load["compile_ns"]) == (300_000_000, 200_000_000)
    assert load["import_ns"] >= 100_000_000
    parts = ("start_ns", "import_ns", "weights_ns", "compile_ns", "first_ns")
    assert load["ready_ns"] == sum(load[part] for part in parts)
    assert records[0]["facts"]["imports"] == "1", "it is imported once"


def test_an_engine_that_is_imported_with_its_adapter_counts_too(work: Work) -> None:
    target = work.engine(at_import="time.sleep(0.4)")
    assert load_of(work.run(job("latency", LATENCY), target))["start_ns"] > 400_000_000


def test_an_engine_that_is_missing_ends_the_job_before_loading(work: Work) -> None:
    target = work.engine(imports='raise PrerequisiteError("not here", reason="engine_missing")')
    records = work.run(
        job("latency", LATENCY), target, status=FAILED_EXIT, fail_on_load="came as far as this"
    )
    failed = {"type": "event", "kind": "failed", "reason": "engine_missing", "detail": "not here"}
    assert records == [failed]


@pytest.mark.skipif(not LINUX, reason="only Linux sets the high-water mark back")
@pytest.mark.parametrize("phase", ["import", "load"])
def test_memory_is_seen_in_the_phase_that_took_it(work: Work, phase: str) -> None:
    size = 64 << 20
    held, fields = ("pass", {"allocate_bytes": size}) if phase == "load" else ("", {})
    target = work.engine(imports=held or f"self.held = np.ones({size}, np.uint8)")
    records = work.run(job("memory", LATENCY), target, **fields)
    found = [record for record in records if record.get("kind") == "memory"]
    phases = ["runtime", "import", "load", "prefill", "decode"]
    assert [record["phase"] for record in found] == phases
    for (before, after), name in zip(pairwise(found), phases[1:], strict=True):
        grown = after["peak_resident_bytes"] - before["resident_bytes"]
        assert abs(grown - size * (name == phase)) < 12 << 20, name


# --- an engine with a process of its own ----------------------------------------------


def wait_for(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not found():
        assert time.monotonic() < deadline, "waited for 30 s"
        time.sleep(0.01)


def status_of(pid: int) -> Mapping[str, str]:
    """Fields of `/proc/PID/status`; empty once the process is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return {}
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def only_child(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return int(child)


@pytest.mark.skipif(not LINUX, reason="reads /proc")
@pytest.mark.parametrize("end", ["done", "failed", "SIGKILL", "SIGSEGV"])
def test_the_engines_child_ends_with_the_worker(
    work: Work, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_SANDBOX", "off")  # where there is one, nothing is started
    # A worker that fails meets a case that exceeds its context behind one that it can do.
    too_long = (Case(id="long", prompt_tokens=301, output_tokens=1),) if end == "failed" else ()
    fields = {"clock": "real", "step_s": 0.02, "context": 300}
    taken = {"allocate_kind": "child", "allocate_bytes": 64 << 20}
    planned = job("latency", LATENCY, *too_long, requests=10)
    worker = work.start(planned, BACKENDS["fake"], **fields, **taken)
    work.await_request()
    kept = only_child(worker.pid)  # what was started is its keeper
    child = only_child(kept)
    assert int(status_of(child)["VmRSS"].split()[0]) >= 64 << 10
    if end.startswith("SIG"):
        os.kill(kept, signal.Signals[end])
    expected = {"done": 0, "failed": FAILED_EXIT}
    assert worker.wait(60) == expected.get(end, -getattr(signal, end, 0))
    wait_for(lambda: status_of(child).get("State", "Z")[0] in "ZX")
