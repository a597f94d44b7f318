"""Whatever a worker does, its job ends in time, is classified, and leaves nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pty
import random
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest

from harness import interrupts, supervise
from harness.backends import BACKENDS
from harness.cases import Case
from harness.execute import execute
from harness.parts import Part
from harness.records import JournalWriter, Record, read
from harness.sandbox import ask, children, keeper, policy
from harness.sandbox.policy import SWITCH
from tests.conftest import FakeModel, examples, interruptible
from tests.perf import hygiene
from tests.perf.hygiene import MARK, MISDEEDS, Misdeed, memory_group, processes
from tests.perf.interrupts import one_round
from tests.suites.helpers import job
from tests.test_cli import fill, under_way

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
ROOT = Path(__file__).parents[1]
CASE = Case(id="fixed-p8-n4", prompt_tokens=8, output_tokens=4)
OFTEN = {
    "aborts-open",
    "allocates-in-c-confined",
    "daemons-open",
    "exits-0-open",
    "fills-scratch-confined",
    "floods-apart-open",
    "floods-confined",
    "floods-part-confined",
    "ignores-open",
    "killed-open",
    "overflows-confined",
    "runs-away-open",
    "stops-confined",
    "takes-memory-open",
    "zombie-open",
}
"""Misdeeds that are looked at each time; the others where HARNESS_TESTS=full."""


def _id(misdeed: Misdeed) -> str:
    return f"{misdeed.name}-{misdeed.sandbox}"


def _asked() -> list[Misdeed]:
    often = [misdeed for misdeed in MISDEEDS if _id(misdeed) in OFTEN]
    return [often, list(MISDEEDS)][examples(0, 1)]


@pytest.mark.parametrize("misdeed", _asked(), ids=_id)
def test_a_misdeed_is_classified_and_leaves_nothing(misdeed: Misdeed) -> None:
    if misdeed.sandbox == "confined" and policy.starts_processes():
        pytest.skip("this kernel has no filter of system calls")
    if misdeed.name == "takes-memory":
        with memory_group() as group:
            if group is None:
                pytest.skip("may not make a control group")
    found = hygiene.run(misdeed, 1, 2.0)
    assert dict(found.outcomes) == {f"{misdeed.state} {misdeed.reason}".strip(): 1}
    assert found.clean, found


@pytest.mark.parametrize("name", ["holds-on", "floods-on"])
def test_whoever_holds_the_pipes_of_a_dead_worker_holds_nothing_up(name: str) -> None:
    """As on macOS, where what left the worker's session is found by nobody: its keeper is dead."""
    found = hygiene.run(Misdeed(name, "open", "crashed", "worker_killed"), 1, 30.0)
    assert dict(found.outcomes) == {"crashed worker_killed": 1}
    assert (found.threads, found.files, found.missed) == (0, 0, 0)


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """A word in the environment of all that this test starts."""
    token = secrets.token_hex(8)
    monkeypatch.setenv(MARK, token)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return token


def within(seconds: float, is_so: Callable[[], bool]) -> bool:
    """Whether something comes to be so in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_so():
            return True
        time.sleep(0.02)
    return is_so()


HARNESS = """
import dataclasses, os, sys
from pathlib import Path
from harness.cases import Case
from harness.execute import execute
from harness.records import JournalWriter
from tests.suites.helpers import job
folder, group, *names = sys.argv[1:]
if group:
    Path(group, "cgroup.procs").write_text(str(os.getpid()))
jobs = []
for name in names:
    model = Path(folder, f"{name}.fake.json")
    model.write_text("{}")
    planned = job("latency", Case(id="fixed-p8-n4", prompt_tokens=8, output_tokens=4))
    jobs.append(dataclasses.replace(planned, id=name, path=str(model)))
journal = JournalWriter(Path(folder, "records.jsonl"))
for outcome in execute(jobs, {"fake": "tests.misbehaving:Misbehaving"}, Path(folder, "p"), journal):
    print(outcome.state, outcome.reason, flush=True)
"""


def a_harness(
    folder: Path, *names: str, group: str = "", within: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """One in a process of its own, with these models."""
    command = [*within, sys.executable, "-c", HARNESS, str(folder), group, *names]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=interruptible)


def test_daemons_of_a_killed_harness_die_with_it(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worker and daemon have asked the kernel not to be killed with their parents."""
    monkeypatch.setenv(SWITCH, "off")
    with a_harness(tmp_path, "outlives") as harness:
        # The harness, the keeper, the worker and its daemon.
        assert within(30, lambda: processes(mark) == 4)
        harness.kill()
    assert within(5, lambda: processes(mark) == 0)


@pytest.mark.parametrize("switch", ["on", "off"])
def test_a_harness_killed_at_any_moment_leaves_no_worker(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    monkeypatch.setenv(SWITCH, switch)
    dice = random.Random(0)
    for _ in range(examples(4, 100)):
        with a_harness(tmp_path, "spins", "good") as harness:
            assert within(30, lambda: processes(mark) > 1)
            time.sleep(dice.random() * 0.1)  # a worker is a worker after some 0.05 s
            harness.kill()
        assert within(5, lambda: processes(mark) == 0)


def test_memory_that_runs_out_costs_the_worker_and_not_the_harness(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "off")
    with memory_group() as group:
        if group is None:
            pytest.skip("may not make a control group")
        monkeypatch.setenv(hygiene.GROUP, str(group))
        with a_harness(tmp_path, "takes-memory", "good", group=str(group)) as harness:
            said, _ = harness.communicate(timeout=60)
        assert said.split("\n")[:2] == ["out_of_memory killed_by_kernel", "ok "]
        assert within(5, lambda: processes(mark) == 0)


def test_a_disk_that_a_worker_fills_has_room_for_records(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "off")
    small = f'mount -t tmpfs -o size=8m none {tmp_path} && exec "$@"'
    within = ["unshare", "-rm", "sh", "-c", small, "sh"]
    if subprocess.run([*within, "true"], check=False, capture_output=True).returncode:
        pytest.skip("may not mount a file system")
    with a_harness(tmp_path, "fills-disk", "good", within=within) as harness:
        said, _ = harness.communicate(timeout=60)
    assert said.split("\n")[:2] == ["failed no_result", "ok "]
    assert processes(mark) == 0


def test_a_command_whose_starter_ignores_children_learns_how_they_end(
    fake_model: FakeModel, tmp_path: Path
) -> None:
    model = fake_model(crash_signal={"at": "load", "signal": "SIGSEGV"})
    done = subprocess.run(
        [sys.executable, "-m", "harness", "bench", model.name, "--json"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )
    assert json.loads(done.stdout)["reason"] == "signal_sigsegv"


def test_interrupts_at_any_moment_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, "")
    monkeypatch.setenv(SWITCH, "")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        dice = random.Random(1)
        for _ in range(examples(12, 300)):
            _, wrong, seconds = one_round(dice)
            assert not wrong
            assert seconds < 5
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("how", ["twice", "the terminal closes"])
def test_an_interrupted_command_keeps_its_records(tmp_path: Path, mark: str, how: str) -> None:
    fill(tmp_path)
    command = [sys.executable, "-m", "harness", "run", "--profile", "fast.yaml"]
    ours, theirs = pty.openpty()
    harness = subprocess.Popen(
        ["setsid", "-c", *command, "--set", "endless", "--suite", "latency"],
        **dict.fromkeys(("stdin", "stdout", "stderr"), theirs),  # type: ignore[arg-type]
        cwd=tmp_path,
        preexec_fn=interruptible,
    )
    os.close(theirs)
    try:
        assert within(60, lambda: under_way(tmp_path, "endless"))
        if how == "the terminal closes":
            os.close(ours)
        else:
            harness.send_signal(signal.SIGINT)
            time.sleep(0.01)
            harness.send_signal(signal.SIGINT)
        assert harness.wait(60) == 130
    finally:
        harness.kill()
        with contextlib.suppress(OSError):
            os.close(ours)
    assert within(5, lambda: processes(mark) == 0)
    (journal,) = tmp_path.glob("results/*/records.jsonl")
    jobs = [record for record in read(journal).records if record["type"] == "job"]
    assert jobs[-1]["outcome"] == "interrupted"
    assert not [*tmp_path.glob("results/*/parts/*")]
    assert json.loads(journal.with_name("scorecard.json").read_text())["entries"]


def test_what_an_interrupt_finds_is_put_back() -> None:
    def own(*_: object) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGTERM, own)
    try:
        with interrupts.held() as hold:
            with interrupts.held() as inner:
                signal.raise_signal(signal.SIGTERM)
            assert inner is hold
            assert hold.came
            assert hold.wait(lambda: 1) is None, "it came before"
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ignored_interrupts_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts.held() as hold:
            signal.raise_signal(signal.SIGHUP)
        assert not hold.came
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_the_system_does_not_let_go_of_is_said() -> None:
    """As where a driver or a file server holds a process: nothing can be killed there."""
    ended = supervise.Ended(status=None, wall_s=4.2, timed_out=True)
    assert supervise.classify(Part([], torn=False), ended) == (
        "timeout",
        "timeout",
        "no end after 4 s: the system does not let it end",
    )


@pytest.mark.parametrize("switch", ["on", "off"])
def test_a_keeper_is_not_counted_as_memory(
    fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    monkeypatch.setenv(SWITCH, switch)
    case = Case(id="c32", prompt_tokens=28, output_tokens=4, context=32)
    model = fake_model(clock="real", step_s=0.05)
    planned = dataclasses.replace(job("memory", case), path=str(model))
    journal = JournalWriter(tmp_path / "records.jsonl")
    (outcome,) = execute((planned,), BACKENDS, tmp_path / "parts", journal)
    split = outcome.samples[-1]
    assert (split["kind"], split["processes"]) == ("memory_split", 1)
    assert split["tree_peak_bytes"] is None


class GivesUp:
    """Asks nothing, and soon has enough of the answers."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.broken = ""

    def keep_in(self, path: Path) -> None:
        """Nothing to keep."""

    def serve(self, questions: IO[bytes], answers: IO[bytes]) -> None:
        """Read a little."""
        del questions
        self.broken = f"{len(answers.read(1 << 20))} bytes of nonsense"


def test_a_worker_that_nobody_reads_any_more_ends_at_once(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at its deadline: it would flood a pipe until then."""
    del mark
    model = tmp_path / "floods.fake.json"
    model.write_text("{}")
    planned = dataclasses.replace(job("latency", CASE), path=str(model))
    journal = JournalWriter(tmp_path / "records.jsonl")
    feeds = {"latency": lambda _: GivesUp()}
    targets = {"fake": "tests.misbehaving:Misbehaving"}
    (outcome,) = execute((planned,), targets, tmp_path / "parts", journal, feeds=feeds)
    assert (outcome.state, outcome.reason) == ("failed", "unexpected_error")
    assert "Broken pipe" in outcome.detail


ASKED = """
import json, sys
from harness.sandbox import serve
from tests.misbehaving import daemon
serve(lambda _: {"daemon": daemon()})
"""


def test_what_a_child_that_is_asked_starts_is_gone(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "off")
    (tmp_path / "asked_for_a_daemon.py").write_text(ASKED)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(tmp_path))))
    assert ask("asked_for_a_daemon", {}, timeout_s=30) == {"daemon": None}
    assert processes(mark) == 0


def test_a_worker_that_cannot_be_started_is_a_failed_job(
    fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where somebody has removed the environment that the harness runs in."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    planned = dataclasses.replace(job("latency", CASE), path=str(fake_model()))
    journal = JournalWriter(tmp_path / "records.jsonl")
    (outcome,) = execute((planned,), BACKENDS, tmp_path / "parts", journal)
    assert (outcome.state, outcome.reason) == ("failed", "not_started")
    assert outcome.detail == f"No such file or directory: {tmp_path / 'python'}"


def test_a_child_that_has_ended_has_its_own_status() -> None:
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"], start_new_session=True)
    assert children.wait(child, 30)
    assert children.end(child) == 3
    assert children.end(child) == 3, "once more does no harm"


def test_on_macos_a_worker_waits_for_the_end_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a recorded kqueue: the system's own is not here."""
    calls: list[object] = []
    for name in ("KQ_FILTER_PROC", "KQ_EV_ADD", "KQ_NOTE_EXIT"):
        monkeypatch.setattr(select, name, name, raising=False)
    monkeypatch.setattr(select, "kevent", lambda *what: what, raising=False)
    queue = SimpleNamespace(control=lambda *what: calls.append(what))
    monkeypatch.setattr(select, "kqueue", lambda: queue, raising=False)
    monkeypatch.setattr(os, "_exit", calls.append)
    monkeypatch.setattr(sys, "platform", "darwin")
    keeper._end_after(7)
    assert calls == [([(7, "KQ_FILTER_PROC", "KQ_EV_ADD", "KQ_NOTE_EXIT")], 1), 1]
