"""What workers that misbehave come to, and what they leave: `python -m tests.perf.hygiene`.

Real workers of real jobs, each followed by a good one. Printed are, of each misdeed, the
outcomes, how many seconds its job took beyond the deadline at worst, and what was left when all
its rounds were over: processes that a worker started (they inherit a variable; and children of
this process that nobody waited for), threads and open files of this process, good jobs
that did not run.

Without level 1 of the sandbox, `open`, a worker may start processes; with it, `confined`.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import click

from harness.cases import Case
from harness.execute import execute
from harness.job import Job
from harness.records import JournalWriter
from harness.sandbox.policy import SWITCH
from tests.misbehaving import GROUP
from tests.suites.helpers import job

MARK = "HARNESS_TESTMARK"
_TARGETS = {"fake": "tests.misbehaving:Misbehaving"}
_CASE = Case(id="fixed-p8-n4", prompt_tokens=8, output_tokens=4)
_MEMORY_BYTES = 256 << 20
_ROOT = Path(__file__).parents[2]


class Misdeed(NamedTuple):
    """What an engine does, where, and how its job is to end."""

    name: str
    sandbox: str
    state: str
    reason: str


def _both(name: str, state: str, reason: str) -> list[Misdeed]:
    return [Misdeed(name, sandbox, state, reason) for sandbox in ("open", "confined")]


MISDEEDS: tuple[Misdeed, ...] = (
    *_both("sleeps", "timeout", "timeout"),
    *_both("spins", "timeout", "timeout"),
    *_both("ignores", "timeout", "timeout"),
    *_both("stops", "timeout", "timeout"),
    *_both("floods", "timeout", "timeout"),
    *_both("floods-part", "failed", "tampered"),
    *_both("fills-scratch", "failed", "unexpected_error"),
    *_both("allocates", "out_of_memory", "out_of_memory"),
    *_both("allocates-in-c", "out_of_memory", "out_of_memory"),
    *_both("aborts", "crashed", "signal_sigabrt"),
    *_both("segfaults", "crashed", "signal_sigsegv"),
    *_both("overflows", "crashed", "signal_sigsegv"),
    *_both("killed", "crashed", "worker_killed"),
    *_both("terminated", "crashed", "signal_sigterm"),
    *_both("exits-7", "failed", "no_result"),
    *_both("exits-0", "failed", "no_result"),
    Misdeed("takes-memory", "open", "out_of_memory", "killed_by_kernel"),
    Misdeed("zombie", "open", "ok", ""),
    Misdeed("daemon", "open", "ok", ""),
    Misdeed("floods-apart", "open", "ok", ""),
    Misdeed("daemons", "open", "timeout", "timeout"),
    Misdeed("forks", "open", "timeout", "timeout"),
    Misdeed("runs-away", "open", "timeout", "timeout"),
    Misdeed("outlives", "open", "timeout", "timeout"),
    Misdeed("daemon", "confined", "failed", "unexpected_error"),
)


class Found(NamedTuple):
    """What came of the rounds of a misdeed."""

    outcomes: Counter[str]
    overshoot_s: float
    processes: int
    threads: int
    files: int
    missed: int

    @property
    def clean(self) -> bool:
        """Whether nothing is left, and in time."""
        left = self.processes + self.threads + self.files + self.missed
        return not left and self.overshoot_s <= 5


def run(misdeed: Misdeed, times: int, limit_s: float) -> Found:
    """Run a misdeed, each time with a good job behind it."""
    outcomes: Counter[str] = Counter()
    overshoot_s, missed = 0.0, 0
    token = secrets.token_hex(8)
    with tempfile.TemporaryDirectory() as temporary, _variables(misdeed, token):
        folder = Path(temporary)
        jobs = _jobs(folder, misdeed.name, limit_s if misdeed.state == "timeout" else 60.0)
        before = (*opened(), _zombies())
        for number in range(times):
            journal = JournalWriter(folder / f"{number}.jsonl")
            bad, good = execute(jobs, _TARGETS, folder / "parts", journal)
            journal.close()
            outcomes[f"{bad.state} {bad.reason}".strip()] += 1
            overshoot_s = max(overshoot_s, bad.wall_s - jobs[0].timeout_s)
            missed += good.state != "ok"
        after = (*opened(), _zombies())
        threads, files, zombies = (now - then for now, then in zip(after, before, strict=True))
        left = processes(token) + zombies
        return Found(outcomes, overshoot_s, left, threads, files, missed)


def _jobs(folder: Path, name: str, limit_s: float) -> Sequence[Job]:
    jobs = []
    for each, timeout_s in ((name, limit_s), ("good", 60.0)):
        model = folder / f"{each}.fake.json"
        model.write_text("{}")
        planned = job("latency", _CASE, requests=1, warmup_max=1)
        jobs.append(dataclasses.replace(planned, id=each, path=str(model), timeout_s=timeout_s))
    return jobs


@contextmanager
def _variables(misdeed: Misdeed, token: str) -> Iterator[None]:
    with memory_group() if misdeed.name == "takes-memory" else nullcontext() as group:
        given = {
            MARK: token,
            SWITCH: "off" if misdeed.sandbox == "open" else "on",
            "PYTHONPATH": str(_ROOT),
            GROUP: str(group or ""),
        }
        with mock.patch.dict(os.environ, given):
            yield


@contextmanager
def memory_group(limit_bytes: int = _MEMORY_BYTES) -> Iterator[Path | None]:
    """A control group with little memory; None where this process may make none."""
    base = Path("/sys/fs/cgroup")
    v1 = base / "memory"
    group = (v1 if v1.is_dir() else base) / f"harness-test-{secrets.token_hex(4)}"
    try:
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        limit = "memory.limit_in_bytes" if v1.is_dir() else "memory.max"
        try:
            (group / limit).write_text(str(limit_bytes))
        except OSError:
            yield None
        else:
            yield group
    finally:
        group.rmdir()


def opened() -> tuple[int, int]:
    return threading.active_count(), len([*Path("/proc/self/fd").iterdir()])


def processes(token: str) -> int:
    """Other processes that hold a mark."""
    mark, count = f"{MARK}={token}".encode(), 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if folder.name != str(os.getpid()):
                count += mark in (folder / "environ").read_bytes()
    return count


def _zombies() -> int:
    """Children of this process that have ended, and that nobody has waited for."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            count += path.read_text().rpartition(")")[2].split()[:2] == ["Z", str(os.getpid())]
    return count


@click.command()
@click.option("--times", default=20, show_default=True, type=click.IntRange(1))
@click.option("--limit", default=2.0, show_default=True, help="Seconds that a job has.")
@click.argument("names", nargs=-1)
def main(times: int, limit: float, names: Sequence[str]) -> None:
    """Print a table; exit 1 where something ended otherwise, late, or left something."""
    wrong = False
    click.echo(
        "misdeed         sandbox   outcomes                            over_s proc thr  fd next"
    )
    for misdeed in MISDEEDS:
        if names and misdeed.name not in names:
            continue
        found = run(misdeed, times, limit)
        said = ", ".join(f"{count} {text}" for text, count in found.outcomes.items())
        expected = {f"{misdeed.state} {misdeed.reason}".strip()}
        good = found.clean and set(found.outcomes) == expected
        wrong |= not good
        click.echo(
            f"{misdeed.name:15} {misdeed.sandbox:9} {said:35} {found.overshoot_s:6.2f}"
            f" {found.processes:4} {found.threads:3} {found.files:3} {found.missed:4}"
            f"{'' if good else '  WRONG'}"
        )
    sys.exit(wrong)


if __name__ == "__main__":
    main()
