"""The measured child: `python -m harness.worker JOB.json PART STARTED_NS PARENT`.

The only place where a backend meets a suite. It imports the standard library, numpy
and its engine, appends raw observations to its part file, and decides nothing: the
parent classifies how it ended. A file that `execute` wrote names the job; the clock
reading taken just before the process was started makes load time honest.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from harness.backends.base import Backend, LoadReport
    from harness.job import Job
    from harness.records import PartWriter

FAILED_EXIT = 4
"""Exit status of a worker that recorded why it failed."""


class _Given(NamedTuple):
    """What the parent has arranged for a job: see `execute`."""

    target: str
    started_ns: int
    cache: str
    home: str


def main(job_path: str, part_path: str, started_ns: int, parent: int) -> int:
    """Run one job and return the process's exit status.

    Args:
        parent: the harness's process, which this one does not outlive.
    """
    from harness.sandbox.keeper import attend
    from harness.sandbox.policy import confine, limits, of_job

    attend(parent)
    from harness.errors import HarnessError
    from harness.job import job_from_json
    from harness.records import PartWriter

    writer = PartWriter(Path(part_path))
    data = json.loads(Path(job_path).read_text("utf-8"))
    target, cache = data.pop("target"), data.pop("cache")
    home, scratch = data.pop("home", str(Path.home())), data.pop("scratch", "")
    given = _Given(target, started_ns, cache, home)
    job = job_from_json(data)
    if job.suite == "accuracy":
        from harness.suites import exchange

        exchange.open_pipes()
    try:
        limits()
        # Before numpy and the engine: it binds this thread and those that it starts.
        reached = confine(of_job(data, target, scratch, home))
        _run(job, given, writer, reached)
    except HarnessError as error:
        _fail(writer, error.reason, str(error))
        return FAILED_EXIT
    except MemoryError as error:
        _fail(writer, "out_of_memory", str(error) or "an allocation failed")
        return FAILED_EXIT
    except Exception as error:  # noqa: BLE001 - any failure becomes a record
        traceback.print_exc()
        _fail(writer, "unexpected_error", f"{type(error).__name__}: {error}")
        return FAILED_EXIT
    writer.write({"type": "event", "kind": "done"})
    writer.close()
    return 0


def _run(job: Job, given: _Given, writer: PartWriter, reached: Mapping[str, Any]) -> None:
    from harness.errors import CapabilityError
    from harness.suites import SUITES

    suite = importlib.import_module(SUITES[job.suite])
    backend = _load(job, given, writer, reached)
    for case in job.cases:
        try:
            for record in suite.measure(case, backend, job):
                writer.write({"type": "sample"} | record)
        except CapabilityError as error:
            skip = {"case": case.id, "reason": error.reason, "detail": error.message}
            writer.write({"type": "event", "kind": "skipped"} | skip)
    backend.close()


def _load(job: Job, given: _Given, writer: PartWriter, reached: Mapping[str, Any]) -> Backend:
    """Import the engine and open the model; each phase leaves its time or its memory."""
    from harness.extensions import load
    from harness.probes import counters

    memory = [*_memory_reading(job, "runtime")]
    counters.watch_stops()
    backend: Backend = load(given.target)()
    base = time.perf_counter_ns() - given.started_ns
    backend.import_engine()
    memory += _memory_reading(job, "import")
    report = backend.load(Path(job.path), job.options)
    first = backend.now_ns()
    # One token: what engines put off until the first call belongs to loading.
    backend.prefill([0])
    backend.reset()
    first_ns = backend.now_ns() - first
    memory += _memory_reading(job, "load")
    # Records are handed on: a home folder would name its owner.
    facts = {name: value.replace(given.home, "~") for name, value in backend.describe().items()}
    loaded = {"facts": facts, "load": _load_facts(report), "sandbox": reached}
    writer.write({"type": "engine", **loaded})
    for record in memory:
        writer.write({"type": "sample"} | record)
    if job.suite == "latency":
        writer.write({"type": "sample"} | _load_sample(report, base, first_ns, given.cache))
    return backend


def _load_sample(report: LoadReport, start_ns: int, first_ns: int, cache: str) -> dict[str, Any]:
    """Start of the process to ready, by phase. What lies between the phases, memory
    readings above all, is not part of it.
    """
    import_ns, weights_ns = round(report.import_s * 1e9), round(report.weights_s * 1e9)
    compiled = {}
    if report.compile_s is not None:
        compiled = {"compile_ns": round(report.compile_s * 1e9)}
    return {
        "case": {"warm": "load"}.get(cache, f"load-{cache}"),
        "kind": "load",
        "ready_ns": start_ns + import_ns + weights_ns + first_ns,
        "start_ns": start_ns,
        "import_ns": import_ns,
        "weights_ns": weights_ns - compiled.get("compile_ns", 0),
        **compiled,
        "first_ns": first_ns,
        "cache": cache,
    }


def _memory_reading(job: Job, phase: str) -> list[dict[str, Any]]:
    if job.suite != "memory":
        return []
    from harness.errors import CapabilityError
    from harness.suites.memory import reading

    try:
        return [reading(job.cases[0].id, phase)]
    except CapabilityError:
        return []  # the suite meets it again, and its case is recorded as skipped


def _load_facts(report: LoadReport) -> dict[str, int]:
    return {
        "model_bytes": report.model_bytes,
        "kv_bytes_per_token": report.kv_bytes_per_token,
    }


def _fail(writer: PartWriter, reason: str, detail: str) -> None:
    writer.write({"type": "event", "kind": "failed", "reason": reason, "detail": detail[:4000]})
    writer.close()


if __name__ == "__main__":
    from harness.errors import RecordError

    try:
        status = main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    except RecordError as error:
        # Not even that it failed can be recorded: the parent has the last line of this.
        sys.stderr.write(f"{error.message}\n")
        status = FAILED_EXIT
    sys.stdout.flush()
    sys.stderr.flush()
    # Engines' global destructors have crashed after good measurements; everything is
    # on disk by now. Coverage, where it runs, has to write its data first.
    if "COVERAGE_PROCESS_CONFIG" in os.environ or "COVERAGE_PROCESS_START" in os.environ:
        sys.exit(status)
    os._exit(status)
