"""A large record file scored by several processes, each some of the models.

    lines of some models ─▶ a process: checked, read, made into parts ─┐
    lines of others      ─▶ …                                          ├─ one chain ─▶ scorecard

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
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import harness
from harness.migrate import known
from harness.records import SCHEMA, STRANGE, Record, decode_line, decode_lines, may_be_wide
from harness.score import compare
from harness.scoring.gather import gather
from harness.scoring.part import Parts, parts_of, read_setting
from harness.spec import canonical

LEAST_BYTES = 5 << 20
"""Of records for each process: to score so many takes as long as to start one and to hear it."""
_MOST_PROCESSES = 8
"""Beyond them the rest takes most of the time, and each needs memory of its own."""
_MOST_AT_ONCE = 1024
"""Buffers that one call of a POSIX system takes."""
_LANDMARK = re.compile(rb' \{"type":"(run|environment|job|event)"')
_MODEL = b'"model":"'


class OddError(Exception):
    """Something is not as a whole run of this version has it; nobody is told."""


_LEFT_TO_ONE = (
    *STRANGE,
    OddError,
    EOFError,
    MemoryError,
    OSError,
    RuntimeError,  # no more threads
    pickle.UnpicklingError,
)
"""What is left to one process: that, and a process that died or could not be started."""


class Scored(NamedTuple):
    """A scorecard, and the records that are neither samples nor telemetry, in any order."""

    card: dict[str, Any]
    told: list[Mapping[str, Any]]


_Piece = tuple[int, int]
"""Whole lines: where they begin and end in the file."""


class _Task(NamedTuple):
    """Models, the sizes in bytes of the pieces with their lines, and the run's own records."""

    models: frozenset[str]
    sizes: list[int]
    head: list[Record]


class _Stretch(NamedTuple):
    """Lines that stand together: the first and the last one, what the first says the sha256 of
    the line before it is, and the sha256 of the last.
    """

    first: int
    before: str
    last: int
    own: str


class _Done(NamedTuple):
    """What a task came to: where its lines stand, to which jobs they belong, and the parts."""

    stretches: list[_Stretch]
    jobs: frozenset[str]
    parts: Parts


def count_for(size_bytes: int, models: int) -> int:
    """How many processes score a file of so many bytes and models: one is as good as none."""
    # Where a process is kept to some processors, the others do not count.
    kept = getattr(os, "sched_getaffinity", None)
    processors = len(kept(0)) if kept else os.cpu_count() or 1
    return min(processors, models, size_bytes // LEAST_BYTES, _MOST_PROCESSES)


def score(data: bytes, helpers: Helpers) -> Scored | None:
    """The scorecard of a record file; None where it is too small, or not whole and sound.

    Args:
        helpers: may have been started already; nobody else uses them.
    """
    try:
        models = len(decode_line(data[: data.index(b"\n")])["models"])
        count = count_for(len(data), models)
        return _score(data, count, helpers) if count > 1 else None
    except _LEFT_TO_ONE:
        return None


def _score(data: bytes, count: int, helpers: Helpers) -> Scored:
    """By so many processes.

    Raises:
        OddError, or any of `_LEFT_TO_ONE`.
    """
    if not data.endswith(b"\n"):  # torn
        raise OddError
    helpers.start(count - 1)
    of_the_run, named = _cut(data)
    head = [_unlinked(decode_line(line)) for line in of_the_run]
    schemas = [record.get("schema") for record in head if record["type"] == "run"]
    if any(known("record", schema, SCHEMA, "") != SCHEMA for schema in schemas):
        raise OddError
    setting = read_setting(head)
    # Models without a line have a part, too.
    for model in setting.run["models"]:
        named.setdefault(str(model["id"]), [])
    (models, own), *others = _dealt(named, count)
    view = memoryview(data)
    for helper_models, pieces in others:
        task = _Task(helper_models, [end - start for start, end in pieces], head)
        helpers.begin(task, [view[start:end] for start, end in pieces])
    mine = _do(models, (data[start:end] for start, end in own), head)
    done = [mine, *helpers.ended()]
    _require_chain(done)
    merged = Parts(
        told=[record for one in done for record in one.parts.told],
        counted=[record for one in done for record in one.parts.counted],
        models=sorted(
            (part for one in done for part in one.parts.models), key=lambda part: part.observed.id
        ),
        strangers=[job for one in done for job in one.parts.strangers],
    )
    # They were looked for by how their lines begin.
    found = [record for record in merged.told if record["type"] in ("run", "environment")]
    if sorted(map(canonical, found)) != sorted(map(canonical, head)):
        raise OddError
    return Scored(compare(setting, merged), merged.told)


def _unlinked(record: Record) -> Record:
    """Without its place in the file, as `records.parse` has it."""
    return {name: value for name, value in record.items() if name not in ("seq", "prev")}


def _cut(data: bytes) -> tuple[list[bytes], dict[str, list[_Piece]]]:
    """The run's own lines; and pieces of the file, of whole lines and cut behind each event and
    each job's end, by the model that they seem to be of.
    """
    of_the_run: list[bytes] = []
    named: dict[str, list[_Piece]] = defaultdict(list)
    start = end = 0
    while found := _LANDMARK.search(data, end):  # one a line: there may be millions in it
        end = data.index(b"\n", found.end()) + 1
        if found[1] in (b"job", b"event"):
            named[_model(data, start, end)].append((start, end))
            start = end
        else:
            of_the_run.append(data[data.rfind(b"\n", 0, found.start()) + 1 : end - 1])
    if start < len(data):
        named[_model(data, start, len(data))].append((start, len(data)))
    return of_the_run, named


def _model(data: bytes, start: int, end: int) -> str:
    """The model that is named last."""
    at = data.rfind(_MODEL, start, end) + len(_MODEL)
    return data[at : data.index(b'"', at)].decode() if at >= len(_MODEL) else ""


def _dealt(
    named: Mapping[str, list[_Piece]], count: int
) -> list[tuple[frozenset[str], list[_Piece]]]:
    """So many groups of models, and their pieces in the file's order. The first is for this
    process, which has nothing to start and nobody to tell: it gets more.
    """
    sizes = {name: sum(end - start for start, end in pieces) for name, pieces in named.items()}
    groups: list[list[str]] = [[] for _ in range(count)]
    filled = [0] + [LEAST_BYTES] * (count - 1)
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        least = filled.index(min(filled))
        filled[least] += sizes[name]
        groups[least].append(name)
    return [
        (frozenset(group), sorted(piece for name in group for piece in named[name]))
        for group in groups
    ]


def _do(models: frozenset[str], pieces: Iterable[bytes], head: Sequence[Record]) -> _Done:
    """Read the lines and make the parts of their models.

    Raises:
        OddError, ValueError: a line is damaged, or is not where it should be.
    """
    setting = read_setting(head)
    stretches: list[_Stretch] = []
    jobs: set[str] = set()
    found = gather(_unchained(pieces, stretches, jobs))
    if not models >= found[0].models.keys():
        raise OddError
    own = [model for model in setting.run["models"] if str(model["id"]) in models]
    return _Done(stretches, frozenset(jobs), parts_of(found, own, setting))


def _unchained(
    pieces: Iterable[bytes], stretches: list[_Stretch], jobs: set[str]
) -> Iterator[Record]:
    """The records. Where they stand, and to which jobs they belong, is added to the others.

    Raises:
        OddError, ValueError: the chain is broken.
    """
    sha256 = hashlib.sha256
    for piece in pieces:
        lines = piece.split(b"\n")[:-1]
        records = decode_lines(lines, narrow=not may_be_wide(piece))
        first: Any = None
        before = number = tip = first
        for line, record in zip(lines, records, strict=True):
            seq, said = record.pop("seq"), record.pop("prev")
            if first is None:
                first, before, number, tip = seq, said, seq, said
            if seq != number or said != tip:
                raise OddError
            number, tip = number + 1, sha256(line + b"\n").hexdigest()
            if "job" in record or "retry" in record:
                jobs.add(str(record.get("job", "")))
            yield record
        stretches.append(_Stretch(first, before, number - 1, tip))


class Helpers:
    """Other processes of this program, which end with this context."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._sent: list[Future[None]] = []
        self._pool = ThreadPoolExecutor(_MOST_PROCESSES)

    @classmethod
    def for_file(cls, path: Path) -> Helpers:
        """As many as a record file of this size may need; they start while it is read."""
        helpers = cls()
        try:
            helpers.start(count_for(path.stat().st_size, _MOST_PROCESSES) - 1)
        except _LEFT_TO_ONE:
            pass  # whoever reads it, or starts them, says why
        except BaseException:
            helpers.close()
            raise
        return helpers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End them, whatever they are doing."""
        for process in self._processes:
            process.kill()
        self._pool.shutdown()  # before the pipes are closed that its threads write to
        for process in self._processes:
            with process:  # closes its pipes, and waits
                pass

    def start(self, count: int) -> None:
        """Start what is missing of so many.

        Raises:
            OSError: a process cannot be started.
        """
        while len(self._processes) < count:
            self._processes.append(_helper())

    def begin(self, task: _Task, pieces: Sequence[memoryview]) -> None:
        """Give the next process its task."""
        to = self._processes[len(self._sent)].stdin
        assert to is not None
        header = memoryview(pickle.dumps(task, protocol=5))
        self._sent.append(self._pool.submit(_write, to, [header, *pieces]))

    def ended(self) -> Iterator[_Done]:
        """What the tasks came to, in their order.

        Raises:
            OSError, EOFError: a process died.
        """
        for sent, process in zip(self._sent, self._processes, strict=False):
            sent.result()
            assert process.stdout is not None
            yield pickle.loads(process.stdout.read())  # noqa: S301 - of this program


def _helper() -> subprocess.Popen[bytes]:
    # The same files as here, whatever is installed: two versions would score a run by halves.
    code = "import sys; sys.path.insert(0, sys.argv[1]); import harness.shares as h; h.do_one()"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(Path(harness.__file__).parents[1])],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _write(to: IO[bytes], parts: list[memoryview]) -> None:
    """In as few calls as there may be: after each one this thread waits for the interpreter."""
    if not hasattr(os, "writev"):
        parts = [memoryview(b"".join(parts))]
    at = 0
    while at < len(parts):
        several = parts[at : at + _MOST_AT_ONCE]
        done = to.write(parts[at]) if len(several) == 1 else os.writev(to.fileno(), several)
        while at < len(parts) and done >= len(parts[at]):
            done -= len(parts[at])
            at += 1
        if done:
            parts[at] = parts[at][done:]
    to.close()


def do_one() -> None:
    """Do one task from standard input."""
    gc.disable()
    source = sys.stdin.buffer
    task: _Task = pickle.load(source)  # noqa: S301 - of this program
    done = _do(task.models, map(source.read, task.sizes), task.head)
    # Whole before it is sent: nobody listens until the first share is done.
    sys.stdout.buffer.write(pickle.dumps(done, protocol=5))


def _require_chain(done: Iterable[_Done]) -> None:
    """Every line names the one before it. No job is in two shares: `records.current` looks at
    all that is on record of a job.

    Raises:
        OddError: not so.
    """
    end, tip = -1, ""
    for found in sorted(stretch for one in done for stretch in one.stretches):
        if (found.first, found.before) != (end + 1, tip):
            raise OddError
        end, tip = found.last, found.own
    jobs = [job for one in done for job in one.jobs]
    if len(set(jobs)) < len(jobs):
        raise OddError
