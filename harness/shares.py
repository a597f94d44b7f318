"""A large record file scored by several processes, each some of its models.

    lines of some models ─▶ a process: checked, read, made into parts ─┐
    lines of none ─────────────────────────────────────────────────────┴─ one chain ─▶ scorecard

Whatever is not as a whole run of this version has it comes to None here, and is left to
`records.parse` and `score.scorecard`, which take one thing after another and say what it is.
"""

from __future__ import annotations

import gc
import hashlib
import os
import pickle
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, NamedTuple, Self

from harness.errors import HarnessError
from harness.records import SCHEMA, Record, decode_all, decode_line
from harness.score import compare
from harness.scoring.gather import gather
from harness.scoring.part import Share, read_setting, share_of

LEAST_BYTES = 10 << 20
"""Of records in a share: to score so many takes as long as to start a process and to hear it."""
_LANDMARK = re.compile(rb' \{"type":"(run|environment|job|event)"')
_MODEL = b'"model":"'
_STRANGE = (
    HarnessError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)
"""What records that are not as they should be, or a process that died, may come to."""


class Scored(NamedTuple):
    """A scorecard, what was said beside samples and telemetry, and how many lines there were."""

    card: dict[str, Any]
    told: list[Mapping[str, Any]]
    lines: int


class _Task(NamedTuple):
    """Pieces of the file, lines of these models and of none, and the run's own records."""

    models: frozenset[str]
    pieces: list[bytes]
    head: list[Record]


class _Run(NamedTuple):
    """Lines that stand together: the first and the last one, what the first says the sha256 of
    the line before it is, and the sha256 of the last.
    """

    first: int
    before: str
    last: int
    own: str


class _Done(NamedTuple):
    """What a task came to: where its lines stand, to which jobs they belong, and their share."""

    runs: list[_Run]
    jobs: frozenset[str]
    share: Share


def scored(data: bytes, *, processes: int | None = None) -> Scored | None:
    """The scorecard of a record file; None where it is too small, or not whole and sound.

    Args:
        processes: how many at once; None = as many as the machine has processors for it.
    """
    most = min(os.cpu_count() or 1, len(data) // LEAST_BYTES)
    count = most if processes is None else processes
    if count < 2 or not data.endswith(b"\n"):
        return None
    try:
        return _scored(data, count)
    except _STRANGE:
        return None


def _scored(data: bytes, count: int) -> Scored:
    with _Helpers(count - 1) as helpers:
        of_the_run, named = _cut(data)
        head = list(map(decode_line, of_the_run))
        setting = read_setting(head)
        # Models without a line have a part, too.
        for model in setting.run["models"]:
            named.setdefault(str(model["id"]), [])
        mine, *others = (_Task(*dealt, head) for dealt in _dealt(named, count))
        helpers.begin(others)
        done = [_do(mine), *helpers.ended()]
    lines = _require_chain(done)
    parts = [part for one in done for part in one.share.parts]
    merged = Share(
        everything=[record for one in done for record in one.share.everything],
        counted=[record for one in done for record in one.share.counted],
        parts=sorted(parts, key=lambda part: part.observed.id),
    )
    found = [record for record in merged.everything if record["type"] in ("run", "environment")]
    if len(found) != len(head):
        raise ValueError("the run's own records are not where they are looked for")
    if any(record["type"] == "run" and record.get("schema") != SCHEMA for record in head):
        raise ValueError("of another schema")
    return Scored(compare(setting, merged), merged.everything, lines)


def _cut(data: bytes) -> tuple[list[bytes], dict[str, list[bytes]]]:
    """The run's own lines; and pieces of the file, of whole lines and cut behind each event and
    each job's end, by the model that they seem to be of.
    """
    of_the_run: list[bytes] = []
    named: dict[str, list[bytes]] = defaultdict(list)
    start = 0
    for found in _LANDMARK.finditer(data):
        end = data.index(b"\n", found.end()) + 1
        if found[1] in (b"job", b"event"):
            named[_model(data, start, end)].append(data[start:end])
            start = end
        else:
            of_the_run.append(data[data.rfind(b"\n", 0, found.start()) + 1 : end - 1])
    if start < len(data):
        named[_model(data, start, len(data))].append(data[start:])
    return of_the_run, named


def _model(data: bytes, start: int, end: int) -> str:
    """The model that is named last."""
    at = data.rfind(_MODEL, start, end) + len(_MODEL)
    return data[at : data.index(b'"', at)].decode() if at >= len(_MODEL) else ""


def _dealt(
    named: Mapping[str, list[bytes]], count: int
) -> list[tuple[frozenset[str], list[bytes]]]:
    """So many groups of models, of about as many bytes, and their pieces."""
    sizes = {name: sum(map(len, pieces)) for name, pieces in named.items()}
    groups: list[list[str]] = [[] for _ in range(min(count, len(named)))]
    filled = [0] + [LEAST_BYTES] * (len(groups) - 1)
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        least = filled.index(min(filled))
        filled[least] += sizes[name]
        groups[least].append(name)
    return [(frozenset(group), [p for name in group for p in named[name]]) for group in groups]


def _do(task: _Task) -> _Done:
    """Read the lines and make the parts of their models.

    Raises:
        ValueError: a line is damaged, or is not where it should be.
    """
    setting = read_setting(task.head)
    runs: list[_Run] = []
    jobs: set[str] = set()
    found = gather(_unchained(task.pieces, runs, jobs))
    if not task.models >= found[0].models.keys():
        raise ValueError("of another share")
    own = [model for model in setting.run["models"] if str(model["id"]) in task.models]
    return _Done(runs, frozenset(jobs), share_of(found, own, setting))


def _unchained(pieces: Iterable[bytes], runs: list[_Run], jobs: set[str]) -> Iterator[Record]:
    """The records. Where they stand, and to which jobs they belong, is added to the others.

    Raises:
        ValueError: the chain is broken.
    """
    for piece in pieces:
        lines = piece.split(b"\n")[:-1]
        start = decode_line(lines[0])
        first, before = number, tip = start["seq"], start["prev"]
        for line, record in zip(lines, decode_all(lines, piece), strict=True):
            if record.pop("seq") != number or record.pop("prev") != tip:
                raise ValueError("the chain is broken")
            number, tip = number + 1, hashlib.sha256(line + b"\n").hexdigest()
            if "job" in record:
                jobs.add(str(record["job"]))
            yield record
        runs.append(_Run(first, before, number - 1, tip))


class _Helpers:
    """Other processes of this program; they end with the `with` block."""

    def __init__(self, count: int) -> None:
        self._started: list[subprocess.Popen[bytes]] = []
        self._pool = ThreadPoolExecutor(max(1, count))
        self._begun: list[tuple[Future[None], IO[bytes]]] = []
        self._count = count

    def __enter__(self) -> Self:
        try:
            self._started += (_helper() for _ in range(self._count))
        except OSError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.kill()
        self._pool.shutdown()
        for process in self._started:
            with process:
                pass

    def begin(self, tasks: Sequence[_Task]) -> None:
        """Give each task to a process; there are no more of them."""
        for task, process in zip(tasks, self._started, strict=False):
            if process.stdin and process.stdout:
                told = self._pool.submit(_write, process.stdin, pickle.dumps(task, protocol=5))
                self._begun.append((told, process.stdout))

    def ended(self) -> Iterator[_Done]:
        """What the tasks came to, in their order.

        Raises:
            OSError, EOFError: a process died.
        """
        for told, answer in self._begun:
            told.result()
            yield pickle.loads(answer.read())  # noqa: S301 - of this program


def _helper() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-c", "from harness.shares import do_one; do_one()"]
    return subprocess.Popen(
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _write(to: IO[bytes], data: bytes) -> None:
    """In as few calls as there may be: after each of them other threads have to let go."""
    left = memoryview(data)
    while left:
        left = left[to.write(left) :]
    to.close()


def do_one() -> None:
    """Do one task from standard input."""
    gc.disable()
    task = pickle.load(sys.stdin.buffer)  # noqa: S301 - of this program
    pickle.dump(_do(task), sys.stdout.buffer, protocol=5)


def _require_chain(done: Iterable[_Done]) -> int:
    """How many lines there are; each names the one before it, and no job is in two shares.

    Raises:
        ValueError: not so.
    """
    end, tip = -1, ""
    for run in sorted(run for one in done for run in one.runs):
        if (run.first, run.before) != (end + 1, tip):
            raise ValueError("the chain is broken")
        end, tip = run.last, run.own
    jobs = [job for one in done for job in one.jobs]
    if len(set(jobs)) < len(jobs):
        raise ValueError("a job in two shares")
    return end + 1
