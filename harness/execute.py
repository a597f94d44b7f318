"""Run a plan's jobs, each in a child of its own, and adopt what they recorded.

The parent sleeps in one blocking wait while a child measures. Nothing a child does
ends the run: a crash, a hang or a refused model becomes a `job` record and the next
job starts. Records reach the disk before the next job begins.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from harness.parts import Part, read_part
from harness.plan import Job
from harness.probes.memory import tree_sampler
from harness.records import JournalWriter, Record, read, unwritable
from harness.sandbox.environment import clean
from harness.sandbox.standing import restore, standing
from harness.spec import canonical, to_json

_STDERR_LIMIT_BYTES = 64 * 1024
_ASKING_ENDS_S = 60.0
"""A process that the worker started and that escaped its group can hold its pipes open."""
_ENVIRONMENT = {
    "GGML_NO_BACKTRACE": "1",  # an abort would otherwise start a debugger
    "HF_HUB_OFFLINE": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


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


class Sampler(Protocol):
    """Watches a worker from the parent, in passes that are not timed."""

    def start(self, pid: int) -> None:
        """Begin to watch a running process."""

    def stop(self) -> Mapping[str, object] | None:
        """End watching; fields of a sample record, or None where nothing could be read."""


class Feed(Protocol):
    """Asks a worker questions over its pipes while it runs."""

    records: list[Record]
    """Sample records that came of it."""
    broken: str
    """Why asking ended early; empty where it did not."""

    def serve(self, questions: IO[bytes], answers: IO[bytes]) -> None:
        """Ask and read until the worker ends; it must not raise because the worker did."""
        ...


class Watch(NamedTuple):
    """How a suite is watched: the kind of the sample record, and a new sampler a job."""

    kind: str
    sampler: Callable[[], Sampler]


class Conditions(NamedTuple):
    """What was arranged just before a job."""

    cache: str
    """Whether the model's files are in the page cache: cold, warm or unknown."""
    waited_s: float
    telemetry: Mapping[str, object]
    """Fields of a telemetry record about the machine at that moment."""


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
    interrupted = False
    for job in jobs:
        conditions = arrange(job) if arrange else Conditions("unknown", 0.0, {})
        part, scratch = parts / f"{job.id}.part", parts / f"{job.id}.scratch"
        shared = parts.parent / "fidelity"
        orders = {
            "target": targets[job.backend],
            "cache": conditions.cache,
            "shared": str(shared.absolute()),
            "scratch": str(scratch.absolute()),
            "home": str(Path.home()),
        }
        folders = (parts, scratch, *([shared] if job.suite == "fidelity" else []))
        job_file = _job_file(parts, job, orders, folders)
        feed = feeds[job.suite](job) if feeds and job.suite in feeds else None
        ended = _run_child(job, job_file, part, watches.get(job.suite), feed)
        if conditions.telemetry:
            parent = {"type": "telemetry", "source": "parent", **conditions.telemetry}
            journal.append(parent | {"waited_s": round(conditions.waited_s, 3)} | place(job))
        yield replace(_adopt(job, part, ended, journal), waited_s=conditions.waited_s)
        with contextlib.suppress(OSError):  # without Landlock it may have become a folder
            part.unlink(missing_ok=True)
        job_file.unlink(missing_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        if ended.interrupted:
            interrupted = True
            break
    with contextlib.suppress(OSError):
        parts.rmdir()
    if interrupted:
        raise KeyboardInterrupt


def _job_file(parts: Path, job: Job, orders: Mapping[str, str], folders: Iterable[Path]) -> Path:
    """What the worker reads: its job, and what the parent has arranged for it."""
    path = parts / f"{job.id}.json"
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(canonical(to_json(job) | orders))
    except OSError as error:
        raise unwritable(parts, error) from error
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
        env=clean(_ENVIRONMENT),
        check=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    status: int | None
    wall_s: float
    stderr: str
    timed_out: bool
    interrupted: bool
    oom_kills: int
    watched: Mapping[str, object] | None
    fed: Sequence[Record] = ()
    broken: str = ""
    tampered: str = ""


def place(job: Job) -> Record:
    """The fields that say which job a record belongs to."""
    return {"job": job.id, "model": job.model, "suite": job.suite, "process": job.process}


def _run_child(
    job: Job, job_file: Path, part: Path, watch: Watch | None, feed: Feed | None
) -> _Ended:
    """Start the worker, wait for it, and make sure that nothing of it is left."""
    oom_before = _oom_kills()
    sampler = watch.sampler() if watch else None
    tail = _Tail()
    before = standing()
    timed_out = interrupted = False
    started_ns = time.perf_counter_ns()
    child = _popen()(
        [sys.executable, "-P", "-m", "harness.worker", str(job_file), str(part), str(started_ns)],
        stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
        stdout=subprocess.PIPE if feed else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=clean(_ENVIRONMENT, str(part.absolute().with_suffix(".scratch"))),
        start_new_session=True,
    )
    asking = _Asking(feed, child) if feed else None
    try:
        assert child.stderr is not None
        tail.follow(child.stderr)
        if sampler:
            sampler.start(child.pid)
        timed_out = not _wait(child, job.timeout_s)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        _kill_group(child)
        status = child.wait()
        tampered = restore(before)
        watched = sampler.stop() if sampler else None
        if asking:
            asking.end()
    return _Ended(
        status=status,
        wall_s=(time.perf_counter_ns() - started_ns) / 1e9,
        stderr=tail.text(),
        timed_out=timed_out,
        interrupted=interrupted,
        oom_kills=_oom_kills() - oom_before,
        watched={"kind": watch.kind, **watched} if watch and watched else None,
        fed=feed.records if feed else (),
        broken=feed.broken if feed else "",
        tampered=tampered,
    )


def _popen() -> type[subprocess.Popen[bytes]]:
    if sys.platform == "win32":
        from harness.sandbox.windows import Contained

        return Contained
    return subprocess.Popen


def _wait(child: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Block until the child ends; False when the deadline passed first.

    On Linux through a process descriptor: `Popen.wait` with a timeout polls there, and
    waking up twenty times a second beside a measurement is a disturbance.
    """
    if hasattr(os, "pidfd_open"):
        descriptor = os.pidfd_open(child.pid)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(timeout_s * 1000))
        finally:
            os.close(descriptor)
    try:
        child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """End the worker and everything that it started."""
    if hasattr(os, "killpg"):
        # The group outlives its leader for as long as one of its processes runs.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    elif child.poll() is None:
        child.kill()


def _adopt(job: Job, part: Path, ended: _Ended, journal: JournalWriter) -> Outcome:
    """Copy a part file's records into the journal, then the job's own record."""
    found = read_part(part)
    state, reason, detail = _classify(found, ended)
    placed = place(job)
    common = {"job": job.id, "model": job.model}
    samples: list[Record] = []
    adopted: list[Record] = []
    for record in found.records:
        if record["type"] == "sample":
            samples.append(record | placed)
            adopted.append(samples[-1])
        elif record["type"] == "engine":
            options = to_json(job.options)
            adopted.append(record | common | {"backend": job.backend, "options": options})
        elif record["type"] == "telemetry" or record.get("kind") == "skipped":
            adopted.append(record | placed)
    parents = [record | placed for record in ended.fed]
    if ended.watched:
        parents.append({"type": "sample", "case": job.cases[0].id, **ended.watched} | placed)
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
    journal.append(*adopted, *parents, _job_record(job) | ended_as)
    samples += parents
    return Outcome(
        job=job,
        state=state,
        reason=reason,
        detail=detail,
        wall_s=ended.wall_s,
        samples=tuple(samples),
    )


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


def _classify(found: Part, ended: _Ended) -> tuple[str, str, str]:
    """State, reason code and detail of an ended worker."""
    records = found.records
    if ended.interrupted:
        return "interrupted", "interrupted", "stopped by the user"
    if ended.timed_out:
        return "timeout", "timeout", f"no end after {ended.wall_s:.0f} s"
    if wrong := ended.tampered or found.wrong:
        return "failed", "tampered", wrong
    events = {record["kind"]: record for record in records if record["type"] == "event"}
    if failed := events.get("failed"):
        reason = failed["reason"]
        state = {"out_of_memory": "out_of_memory", "engine_missing": "skipped"}.get(
            reason, "failed"
        )
        return state, reason, failed["detail"]
    if "done" in events:
        # Fewer items than were asked for would be another exam.
        return ("failed", "exam_broken", ended.broken) if ended.broken else ("ok", "", "")
    status = ended.status or 0
    last = ended.stderr.strip().splitlines()[-1:] or ["the engine said nothing"]
    if ended.oom_kills > 0 and status == -9:
        return "out_of_memory", "killed_by_kernel", "the system ran out of memory"
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
        return "crashed", f"signal_{name.lower()}", last[0]
    if status > 255:
        return "crashed", f"ntstatus_{status:#010x}", last[0]
    return "failed", "no_result", f"exit status {status}: {last[0]}"


class _Asking:
    """A thread that asks a worker questions for as long as it lives."""

    def __init__(self, feed: Feed, child: subprocess.Popen[bytes]) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        self._pipes = child.stdin, child.stdout
        self._failure: BaseException | None = None
        self._left_alone = False
        self._feed = feed
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            self._feed.serve(*self._pipes)
        except BaseException as failure:  # noqa: BLE001  (raised again where it is read)
            self._failure = failure
        finally:
            # A worker that waits for a question then ends.
            with contextlib.suppress(OSError):
                self._pipes[0].close()
            if self._left_alone:
                self._pipes[1].close()

    def end(self) -> None:
        """Wait for the thread; the worker is dead, so nothing should block it any more.

        Raises:
            BaseException: what the feed raised: an error of ours, not of a model.
        """
        self._thread.join(_ASKING_ENDS_S)
        if self._thread.is_alive():
            # Closing a pipe that somebody reads would wait for him: he does it himself.
            self._left_alone = True
            self._feed.broken = "something that the worker started still holds its pipes"
            return
        self._pipes[1].close()
        if self._failure:
            raise self._failure


class _Tail:
    """Drains a pipe in a blocking thread and keeps its end: a flood cannot fill anything."""

    def __init__(self) -> None:
        self._kept = b""
        self._thread: threading.Thread | None = None

    def follow(self, pipe: IO[bytes]) -> None:
        """Start to drain; the pipe is closed when its other end is."""
        self._thread = threading.Thread(target=self._drain, args=(pipe,), daemon=True)
        self._thread.start()

    def _drain(self, pipe: IO[bytes]) -> None:
        with pipe:
            while chunk := os.read(pipe.fileno(), 65536):
                self._kept = (self._kept + chunk)[-_STDERR_LIMIT_BYTES:]

    def text(self) -> str:
        """What is kept, decoded; waits until the pipe is closed at the other end."""
        if self._thread:
            self._thread.join(timeout=5)
        return self._kept.decode("utf-8", "replace")


def _oom_kills() -> int:
    """Processes that this kernel has killed for memory; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
