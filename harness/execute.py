"""Run a plan's jobs, each in a child of its own, and adopt what they recorded.

The parent sleeps in one blocking wait while a child measures. Nothing a child does
ends the run: a crash, a hang or a refused model becomes a `job` record and the next
job starts. Records reach the disk before the next job begins.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness import supervise
from harness.durable import unwritable
from harness.interrupts import held
from harness.job import Job
from harness.parts import read_own, read_part
from harness.probes.memory import tree_sampler
from harness.records import JournalWriter, Record, read
from harness.sandbox.environment import clean
from harness.spec import canonical, to_json
from harness.supervise import ENVIRONMENT, Feed, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one job ended.

    Attributes:
        state: ok, skipped, failed, crashed, timeout, out_of_memory or interrupted.
        reason: reason code, empty when ok.
        samples: its sample records, as they stand in the journal.
        waited_s: time before it that went into arranging its conditions.
    """

    job: Job
    state: str
    reason: str
    detail: str
    wall_s: float
    samples: tuple[Record, ...] = ()
    waited_s: float = 0.0


class Conditions(NamedTuple):
    """What was arranged just before a job."""

    cache: str
    """Whether the model's files are in the page cache: cold, warm or unknown."""
    waited_s: float
    telemetry: Mapping[str, object]
    """Fields of a telemetry record about the machine at that moment."""


_UNKNOWN = Conditions("unknown", 0.0, {})
MARKS = ".marks"
"""Suffix of the file in which the parent keeps what it marks while a worker answers."""
WATCHES: Mapping[str, Watch] = {"memory": Watch("memory_split", tree_sampler)}


def execute(
    jobs: Iterable[Job],
    targets: Mapping[str, str],
    parts: Path,
    journal: JournalWriter,
    *,
    watches: Mapping[str, Watch] = WATCHES,
    feeds: Mapping[str, Callable[[Job], Feed]] | None = None,
    arrange: Callable[[Job], Conditions] | None = None,
) -> Iterator[Outcome]:
    """Run jobs in order; yields after each one, when its records are on disk.

    Args:
        jobs: the next one is asked for when the one before has been yielded, so that
            what it brought may decide about the next.
        targets: `module:class` of each backend name.
        parts: folder for files of running jobs; made here, emptied as jobs end.
        watches: samplers of suites that are not timed, by suite.
        feeds: who asks the workers of a suite, by suite.
        arrange: called before each job, to wait and to look at the machine.

    Raises:
        RecordError: the results folder cannot be written.
        KeyboardInterrupt: passed on after the running job's records were adopted.
    """
    for job in jobs:
        conditions = arrange(job) if arrange else _UNKNOWN
        part = _part_file(parts, job)
        scratch = part.with_suffix(".scratch")
        shared = parts.parent / "fidelity"
        orders = {
            "target": targets[job.backend],
            "cache": conditions.cache,
            "shared": str(shared.absolute()),
            "scratch": str(scratch.absolute()),
            "home": str(Path.home()),
        }
        folders = (parts, scratch, *([shared] if job.suite == "fidelity" else []))
        job_file = _job_file(part.with_suffix(".json"), job, orders, folders)
        feed = feeds[job.suite](job) if feeds and job.suite in feeds else None
        if feed:
            feed.keep_in(part.with_suffix(MARKS))
        with held() as hold:
            ended = supervise.run(job_file, part, job.timeout_s, watches.get(job.suite), feed)
            shutil.rmtree(scratch, ignore_errors=True)  # first: it may have filled the disk
            outcome = _adopt(job, part, ended, journal, conditions)
            _clear(part, job_file)
        yield outcome
        if hold.came:
            raise KeyboardInterrupt
    # All of it is on record; on Windows a scanner may have held a file before.
    shutil.rmtree(parts, ignore_errors=True)


def adopt_interrupted(jobs: Iterable[Job], parts: Path, journal: JournalWriter) -> None:
    """Put on record what was left by jobs that were running when the whole run died.

    Args:
        jobs: as they were begun then.
    """
    for job in jobs:
        part = _part_file(parts, job)
        fed = read_own(part.with_suffix(MARKS))
        died = supervise.Ended(status=None, wall_s=0.0, interrupted=True, fed=fed)
        _adopt(job, part, died, journal)
    shutil.rmtree(parts, ignore_errors=True)


def _part_file(parts: Path, job: Job) -> Path:
    return parts / f"{job.id}-{job.retry}.part"


def _clear(part: Path, job_file: Path) -> None:
    for path in (part, part.with_suffix(MARKS), job_file):
        # Without Landlock it may have become a folder; a scanner may hold it.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        part.parent.rmdir()


def _job_file(path: Path, job: Job, orders: Mapping[str, str], folders: Iterable[Path]) -> Path:
    """What the worker reads: its job, and what the parent has arranged for it."""
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(canonical(to_json(job) | orders))
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def execute_apart(
    jobs: Sequence[Job], targets: Mapping[str, str]
) -> tuple[list[Outcome], list[Record]]:
    """Run jobs apart from any run; nothing is kept.

    Returns:
        Outcomes up to the first job that failed, and all their records.
    """
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="harness-") as temporary:
        folder = Path(temporary)
        path = folder / "records.jsonl"
        with contextlib.closing(JournalWriter(path)) as journal:
            for outcome in execute(jobs, targets, folder / "parts", journal):
                outcomes.append(outcome)
                if outcome.state != "ok":
                    break
        return outcomes, read(path).records


def next_step(outcome: Outcome) -> str:
    """What to do about a job that failed."""
    if outcome.reason in {"load_failed", "model_unreadable", "graph_unknown"}:
        return f"fetch or export {outcome.job.path} again: a whole GGUF file or ONNX folder loads"
    if outcome.reason == "context_exceeded":
        return "ask for fewer tokens: what is in the cache, the prompt and the output must fit"
    return "harness doctor"


def prime(modules: Iterable[str]) -> None:
    """Import what the workers will import once, in a child that is not measured.

    Installers leave modules uncompiled: whoever imports them first pays for it in time
    and in memory, and that must not be the first model.
    """
    script = (
        "import contextlib, importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    with contextlib.suppress(ImportError):\n"
        "        importlib.import_module(name)\n"
    )
    subprocess.run(
        [sys.executable, "-P", "-c", script, *modules],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=clean(ENVIRONMENT),
        check=False,
    )


def place(job: Job) -> Record:
    """The fields that say which job a record belongs to, and which start of it."""
    again = {"retry": job.retry} if job.retry else {}
    return {"job": job.id, "model": job.model, "suite": job.suite, "process": job.process, **again}


def _adopt(
    job: Job,
    part: Path,
    ended: supervise.Ended,
    journal: JournalWriter,
    before: Conditions = _UNKNOWN,
) -> Outcome:
    """Copy a part file's records into the journal, then the job's own record.

    In one append, which ends with that record: where it was torn nothing of it was acknowledged.
    """
    found = read_part(part)
    state, reason, detail = supervise.classify(found, ended)
    adopted = [*_arranged(job, before), *_of_worker(job, found.records), *_of_parent(job, ended)]
    ended_as = {
        "outcome": state,
        "reason": reason,
        "detail": detail,
        "exit_status": ended.status,
        "wall_s": round(ended.wall_s, 6),
        "torn": found.torn,
        "stderr": "" if state == "ok" else ended.stderr,
    }
    # At once: an exam has thousands of records, and each wait for the disk takes milliseconds.
    journal.append(*adopted, _job_record(job) | ended_as)
    return Outcome(
        job=job,
        state=state,
        reason=reason,
        detail=detail,
        wall_s=ended.wall_s,
        samples=tuple(record for record in adopted if record["type"] == "sample"),
        waited_s=before.waited_s,
    )


def _arranged(job: Job, before: Conditions) -> Iterator[Record]:
    if before.telemetry:
        telemetry = {"type": "telemetry", "source": "parent", **before.telemetry}
        yield telemetry | {"waited_s": round(before.waited_s, 3)} | place(job)


def _of_worker(job: Job, records: Iterable[Record]) -> Iterator[Record]:
    """What a worker recorded, apart from how it ended, which its `job` record says."""
    placed = place(job)
    common = {name: value for name, value in placed.items() if name not in {"suite", "process"}}
    common |= {"backend": job.backend, "options": to_json(job.options)}
    for record in records:
        if record["type"] == "engine":
            yield record | common
        elif record["type"] != "event" or record["kind"] == "skipped":
            yield record | placed


def _of_parent(job: Job, ended: supervise.Ended) -> Iterator[Record]:
    for record in ended.fed:
        yield record | place(job)
    if ended.watched:
        yield {"type": "sample", "case": job.cases[0].id, **ended.watched} | place(job)


def skipped(job: Job, reason: str, detail: str) -> Record:
    """The record of a job that is not started, because it could not bring anything."""
    return _job_record(job) | {"outcome": "skipped", "reason": reason, "detail": detail}


def _job_record(job: Job) -> Record:
    """A `job` record with empty defaults; the caller fills in how it ended."""
    return {
        "type": "job",
        **place(job),
        "suite_version": job.suite_version,
        "outcome": "",
        "reason": "",
        "detail": "",
        "exit_status": None,
        "wall_s": 0.0,
        "torn": False,
        "stderr": "",
    }
