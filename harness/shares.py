"""A large record file scored by several processes, each some of its models.

    lines of some models ─▶ a process: checked, read, made into parts ─┐
    lines of none ─────────────────────────────────────────────────────┴─ one chain ─▶ scorecard

Whatever is not as a whole run of this version has it comes to None here, and is left to
`records.parse` and `score.scorecard`, which take one thing after another and say what it is.
"""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, NamedTuple, Self

from harness.errors import HarnessError
from harness.records import SCHEMA, Record, decode_all
from harness.score import compare
from harness.scoring.gather import gather
from harness.scoring.part import Share, read_setting, share_of
from harness.spec import sha256

LEAST_BYTES = 8 << 20
"""Of records in a share: to score so many takes longer than to start a process."""
_OF_THE_RUN = (b'{"type":"run"', b'{"type":"environment"')
_BODY = len(b"01234567 ")
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
    """Lines of some models, or of none, their numbers from 0, and the run's own records."""

    models: frozenset[str]
    numbers: list[int]
    lines: list[bytes]
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
        return _scored(data.split(b"\n")[:-1], count)
    except _STRANGE:
        return None


def _scored(lines: Sequence[bytes], count: int) -> Scored:
    with _Helpers(count - 1) as helpers:
        named = _by_model(lines)
        rest = named.pop("", [])
        head = [
            record
            for record in decode_all([lines[number] for number in rest])
            if record["type"] in ("run", "environment")
        ]
        setting = read_setting(head)
        # Models without a line have a part, too.
        for model in setting.run["models"]:
            named.setdefault(str(model["id"]), [])
        general, mine, *others = (
            _Task(frozenset(models), numbers, [lines[number] for number in numbers], head)
            for models, numbers in [([], rest), *_dealt(named, lines, count)]
        )
        helpers.begin(others)
        done = [_do(general), _do(mine), *helpers.ended()]
    _require_chain(done, len(lines))
    parts = [part for one in done for part in one.share.parts]
    merged = Share(
        everything=[record for one in done for record in one.share.everything],
        counted=[record for one in done for record in one.share.counted],
        parts=sorted(parts, key=lambda part: part.observed.id),
    )
    return Scored(compare(setting, merged), merged.everything, len(lines))


def _by_model(lines: Sequence[bytes]) -> dict[str, list[int]]:
    """Numbers of the lines that seem to be of each model; those of none under no name."""
    found: dict[bytes, list[int]] = defaultdict(list)
    for number, line in enumerate(lines):
        at = line.rfind(_MODEL) + len(_MODEL)
        if at < len(_MODEL) or line.startswith(_OF_THE_RUN, _BODY):
            found[b""].append(number)
        else:
            found[line[at : line.index(b'"', at)]].append(number)
    return {name.decode(): numbers for name, numbers in found.items()}


def _dealt(
    named: Mapping[str, list[int]], lines: Sequence[bytes], count: int
) -> list[tuple[list[str], list[int]]]:
    """So many groups of models with about as many bytes, and their lines."""
    sizes = {name: sum(len(lines[number]) for number in own) for name, own in named.items()}
    groups: list[tuple[list[str], list[int]]] = [([], []) for _ in range(min(count, len(named)))]
    filled = [0] * len(groups)
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        least = filled.index(min(filled))
        filled[least] += sizes[name]
        groups[least][0].append(name)
        groups[least][1].extend(named[name])
    return groups


def _do(task: _Task) -> _Done:
    """Read the lines and make the parts of their models.

    Raises:
        ValueError: a line is damaged, or is not where it should be.
    """
    setting = read_setting(task.head)
    runs: list[_Run] = []
    jobs: set[str] = set()
    found = gather(_unchained(task, runs, jobs))
    models = setting.run["models"]
    names = found[0].models.keys()
    if names - task.models if task.models else names & {str(model["id"]) for model in models}:
        raise ValueError("not in its share")
    own = [model for model in models if str(model["id"]) in task.models]
    return _Done(runs, frozenset(jobs), share_of(found, own, setting))


def _unchained(task: _Task, runs: list[_Run], jobs: set[str]) -> Iterator[Record]:
    """The records. Where they stand, and to which jobs they belong, is added to the others.

    Raises:
        ValueError: one is not where it should be, or the run is of another schema.
    """
    first, before, last, tip = 0, "", -2, ""
    for number, line, record in zip(task.numbers, task.lines, decode_all(task.lines), strict=True):
        said = record.pop("prev", None)
        if record.pop("seq", None) != number:
            raise ValueError("not in order")
        if record["type"] == "run" and record.get("schema") != SCHEMA:
            raise ValueError("of another schema")
        if number != last + 1:
            runs.append(_Run(first, before, last, tip))
            first, before = number, said
        elif said != tip:
            raise ValueError("the chain is broken")
        last, tip = number, sha256(line + b"\n")
        if job := record.get("job"):
            jobs.add(job)
        yield record
    runs.append(_Run(first, before, last, tip))
    del runs[0]


class _Helpers:
    """Other processes of this program; they end with the `with` block."""

    def __init__(self, count: int) -> None:
        command = [sys.executable, "-P", "-c", "from harness.shares import do_one; do_one()"]
        self._started = [
            subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(count)
        ]
        self._pool = ThreadPoolExecutor(max(1, count))
        self._begun: list[tuple[Future[None], IO[bytes]]] = []

    def __enter__(self) -> Self:
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


def _require_chain(done: Sequence[_Done], count: int) -> None:
    """Every line is there and names the one before it, and no job is in two shares.

    Raises:
        ValueError: not so.
    """
    end, tip = -1, ""
    for run in sorted(run for one in done for run in one.runs):
        if (run.first, run.before) != (end + 1, tip):
            raise ValueError("the chain is broken")
        end, tip = run.last, run.own
    jobs = [job for one in done for job in one.jobs]
    if end != count - 1 or len(set(jobs)) < len(jobs):
        raise ValueError("not one whole run")
