"""One worker from its start to its end: watched, asked, and ended with all that it started.

Whatever a worker does, `run` returns within its time limit and a few seconds, and nothing of it
is left. How it ended is told from what it recorded, its exit status and the system's counters.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from harness.interrupts import held
from harness.parts import Part
from harness.records import Record
from harness.sandbox.children import end, wait
from harness.sandbox.environment import clean
from harness.sandbox.standing import restore, standing

_STDERR_LIMIT_BYTES = 64 * 1024
_REST_BYTES = 1 << 20
"""More than a pipe holds."""
_ASKING_ENDS_S = 60.0
"""Who asks may be at work of his own, such as rendering prompts."""
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
    before = standing()
    with held() as hold:
        started_ns = time.perf_counter_ns()
        try:
            child = _start(job_file, part, started_ns, asked=feed is not None)
        except OSError as error:
            return Ended(status=None, wall_s=0.0, stderr=f"{error.strerror}: {error.filename}")
        tail = asking = None
        try:
            assert child.stderr is not None
            tail = _Tail(child.stderr)
            asking = _Asking(feed, child) if feed else None
            if sampler:
                sampler.start(child.pid)
            in_time = hold.wait(lambda: wait(child, timeout_s))
        finally:
            status = end(child)
            tampered = restore(before)
            watched = sampler.stop() if sampler else None
            said = tail.text() if tail else ""
            if asking:
                asking.end()
    return Ended(
        status=status,
        wall_s=(time.perf_counter_ns() - started_ns) / 1e9,
        stderr=said,
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
        late = f"no end after {ended.wall_s:.0f} s"
        if ended.status is None:
            late = f"{late}: the system does not let it end"
        return "timeout", "timeout", late
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


class _UntilTold(RawIOBase):
    """What comes out of a worker's pipe until it is closed, or until the worker has ended.

    A process that left the worker's session may hold the other end, and flood it, for ever.
    On Windows there is none: a job object holds a single process.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__()
        self._pipe = pipe
        self._told, self._telling = os.pipe()
        self._rest_bytes = _REST_BYTES

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Wait for some bytes; 0 at the end."""
        pipe = self._pipe.fileno()
        if sys.platform != "win32":
            poll = select.poll()
            poll.register(pipe, select.POLLIN)
            poll.register(self._told, select.POLLIN)
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self._told in ready:
                if pipe not in ready or self._rest_bytes <= 0:
                    return 0
                self._rest_bytes -= len(buffer)
        data = os.read(pipe, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def stop(self) -> None:
        """The worker has ended: what the pipe holds is the rest."""
        os.close(self._telling)

    def close(self) -> None:
        """Close the pipe."""
        if not self.closed:
            os.close(self._told)
            self._pipe.close()
        super().close()


class _Asking:
    """A thread that asks a worker questions for as long as it lives."""

    def __init__(self, feed: Feed, child: subprocess.Popen[bytes]) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        self._source = _UntilTold(child.stdout)
        self._pipes = child.stdin, BufferedReader(self._source)
        self._failure: BaseException | None = None
        self._feed = feed
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            self._feed.serve(*self._pipes)
        except BaseException as failure:  # noqa: BLE001  (raised again where it is read)
            self._failure = failure
        finally:
            # A worker that waits for a question, or for a reader, then ends.
            for pipe in self._pipes:
                with contextlib.suppress(OSError):
                    pipe.close()

    def end(self) -> None:
        """Wait for the thread; the worker is dead, so nothing should block it any more.

        Raises:
            BaseException: what the feed raised: an error of ours, not of a model.
        """
        self._source.stop()
        self._thread.join(_ASKING_ENDS_S)
        if self._thread.is_alive():
            self._feed.broken = "something that the worker started still holds its pipes"
        elif self._failure:
            raise self._failure


class _Tail:
    """Drains a pipe in a blocking thread and keeps its end: a flood cannot fill anything."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._kept = b""
        self._source = _UntilTold(pipe)
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        with self._source as source:
            while chunk := source.read(65536):
                self._kept = (self._kept + chunk)[-_STDERR_LIMIT_BYTES:]

    def text(self) -> str:
        """What is kept, decoded; the worker has ended."""
        self._source.stop()
        self._thread.join()
        return self._kept.decode("utf-8", "replace")


def _oom_kills() -> int:
    """Processes that this kernel has killed for memory; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
