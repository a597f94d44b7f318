"""One worker from its start to its end: watched, asked, and ended with all that it started.

Whatever a worker does, `run` returns within its time limit and a few seconds, and nothing of it
is left. How it ended is told from what it recorded, its exit status and the system's counters.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from harness.interrupts import held
from harness.parts import Part
from harness.records import Record
from harness.sandbox.children import end, wait
from harness.sandbox.environment import clean
from harness.sandbox.standing import restore, standing

_STDERR_LIMIT_BYTES = 64 * 1024
_PIPES_END_S = 1.0
"""Where there is no keeper, a process that left the worker's group can hold its pipes open."""
ENVIRONMENT = {
    "GGML_NO_BACKTRACE": "1",  # an abort would otherwise start a debugger
    "HF_HUB_OFFLINE": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


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

    def keep_in(self, path: Path) -> None:
        """Append each record to this file as well, as soon as there is one."""

    def serve(self, questions: IO[bytes], answers: IO[bytes]) -> None:
        """Ask and read until the worker ends; it must not raise because the worker did."""
        ...


class Watch(NamedTuple):
    """How a suite is watched: the kind of the sample record, and a new sampler a job."""

    kind: str
    sampler: Callable[[], Sampler]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What is known of a worker that has ended.

    Attributes:
        status: its exit status; None where it could not be started, or would not end.
    """

    status: int | None
    wall_s: float
    stderr: str = ""
    timed_out: bool = False
    interrupted: bool = False
    oom_kills: int = 0
    watched: Mapping[str, object] | None = None
    fed: Sequence[Record] = ()
    broken: str = ""
    tampered: str = ""


def run(
    job_file: Path, part: Path, timeout_s: float, watch: Watch | None, feed: Feed | None
) -> Ended:
    """Start a worker, wait for it, and make sure that nothing of it is left.

    An interrupt ends the worker, and is told by what is returned (`harness.interrupts`).

    Args:
        job_file: what it reads. part: what it appends its records to.
    """
    oom_before = _oom_kills()
    sampler = watch.sampler() if watch else None
    tail = _Tail()
    before = standing()
    with held() as hold:
        started_ns = time.perf_counter_ns()
        try:
            child = _start(job_file, part, started_ns, asked=feed is not None)
        except OSError as error:
            return Ended(status=None, wall_s=0.0, stderr=f"{error.strerror}: {error.filename}")
        asking = None
        in_time: bool | None = None
        try:
            assert child.stderr is not None
            tail.follow(child.stderr)
            asking = _Asking(feed, child) if feed else None
            if sampler:
                sampler.start(child.pid)
            in_time = hold.wait(lambda: wait(child, timeout_s))
        finally:
            status = end(child)
            tampered = restore(before)
            watched = sampler.stop() if sampler else None
            if asking:
                asking.end()
    return Ended(
        status=status,
        wall_s=(time.perf_counter_ns() - started_ns) / 1e9,
        stderr=tail.text(),
        timed_out=in_time is False,
        interrupted=in_time is None,
        oom_kills=_oom_kills() - oom_before,
        watched={"kind": watch.kind, **watched} if watch and watched else None,
        fed=feed.records if feed else (),
        broken=feed.broken if feed else "",
        tampered=tampered,
    )


def _start(job_file: Path, part: Path, started_ns: int, *, asked: bool) -> subprocess.Popen[bytes]:
    """A worker in a session of its own, which this process can end whole."""
    orders = (job_file, part, started_ns, os.getpid())
    return _popen()(
        [sys.executable, "-P", "-m", "harness.worker", *map(str, orders)],
        stdin=subprocess.PIPE if asked else subprocess.DEVNULL,
        stdout=subprocess.PIPE if asked else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=clean(ENVIRONMENT, str(part.absolute().with_suffix(".scratch"))),
        start_new_session=True,
    )


def _popen() -> type[subprocess.Popen[bytes]]:
    if sys.platform == "win32":
        from harness.sandbox.windows import Contained

        return Contained
    return subprocess.Popen


def classify(found: Part, ended: Ended) -> tuple[str, str, str]:
    """State, reason code and detail of an ended worker."""
    records = found.records
    if ended.interrupted:
        return "interrupted", "interrupted", "stopped by the user"
    if ended.timed_out:
        stuck = ", and the system does not let it end" if ended.status is None else ""
        return "timeout", "timeout", f"no end after {ended.wall_s:.0f} s{stuck}"
    if wrong := ended.tampered or found.wrong:
        return "failed", "tampered", wrong
    if ended.status is None:
        return "failed", "not_started", ended.stderr
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
    return _by_status(ended.status, ended)


def _by_status(status: int, ended: Ended) -> tuple[str, str, str]:
    """What became of a worker that did not say how it ended."""
    last = ended.stderr.strip().splitlines()[-1:] or ["the engine said nothing"]
    if ended.oom_kills > 0 and status == -9:
        return "out_of_memory", "killed_by_kernel", "the system ran out of memory"
    if status == -9:
        return "crashed", "worker_killed", "somebody killed it (SIGKILL)"
    if status == -6 and "std::bad_alloc" in ended.stderr:
        return "out_of_memory", "out_of_memory", "an allocation in native code failed"
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
        self._thread.join(_PIPES_END_S)
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
            self._thread.join(_PIPES_END_S)
        return self._kept.decode("utf-8", "replace")


def _oom_kills() -> int:
    """Processes that this kernel has killed for memory; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
