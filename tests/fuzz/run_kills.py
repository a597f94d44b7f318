"""Runs that are killed at random moments, and what is left of them.

    python -m tests.fuzz.run_kills --harness 500 --worker 500

Each run measures the fake engine, on its virtual clock, so that the scorecard of a run that was
killed and resumed has to be that of a run nobody disturbed. What was acknowledged is read from
the disk at the moment of the kill: whole lines of the journal and of the part files.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from harness.execute import MARKS
from harness.records import decode_line

PROFILE = """\
id: kills
version: 1
title: Killed at random
reference: ref.f.fake
tier: unverified
tolerates_unknown: true
protocol:
  processes: {latency: 2, accuracy: 1}
  processes_max: {latency: 3}
  requests: 20
  warmup_max: 2
  grouping: suite
  job_timeout_s: 60
suites:
  latency: {prompt_tokens: [16], output_tokens: [32]}
  accuracy: {tasks: [arith], languages: [ko, en], items: 12, context: 512}
weights: {ttft_s: 0.5, decode_tok_per_s: 0.5}
"""
MODELS = """\
models:
  - id: ref.f.fake
    family: ref
    format: fake
    quantisation: f
    chat_template: plain
    source: {kind: file, path: ref.fake.json}
  - id: slow.f.fake
    family: slow
    format: fake
    quantisation: f
    chat_template: plain
    source: {kind: file, path: slow.fake.json}
sets: {default: [ref.f.fake, slow.f.fake]}
"""
_TIMES = frozenset({"run", "started_utc", "sessions", "attempt", "environment"})
"""What of a scorecard says when, and in which state of the machine, it was made."""
_MACHINE = frozenset(
    {
        *("busy_machine", "clock_stepped", "cpu_steal", "hard_faults", "low_memory", "on_battery"),
        *("process_stopped", "suspended", "swap_in_use", "swapped", "throttled"),
    }
)
"""Findings that come and go with whatever else runs."""
_GONE_S = 10.0
_ENDS_S = 120.0
_TRIES = 20


class Killed(NamedTuple):
    """What became of one run.

    Attributes:
        state: `resumed`, `restarted` (it died before its first record), `retried` (its worker
            was killed) or `missed` (it had ended before).
        acknowledged: records on disk at the moment of the kill. faults: what is wrong.
    """

    state: str
    acknowledged: int
    faults: tuple[str, ...]


def fill(folder: Path) -> None:
    """A folder with the profile and two models."""
    (folder / "kills.yaml").write_text(PROFILE, "utf-8")
    (folder / "models.yaml").write_text(MODELS, "utf-8")
    for name, step_s in (("ref", 0.01), ("slow", 0.02)):
        model = {"step_s": step_s, "prefill_s_per_token": step_s / 10}
        (folder / f"{name}.fake.json").write_text(json.dumps(model), "utf-8")


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """`harness run` with these options, in a process of its own."""
    with (folder / "said.txt").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "harness", "run", *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )


def begin(folder: Path) -> subprocess.Popen[bytes]:
    """A new run."""
    return start(folder, "--profile", "kills.yaml")


def settled(card: Any) -> Any:
    """A scorecard apart from times: when it was made, and how long real loading took."""
    if isinstance(card, dict):
        return {
            name: settled(value)
            for name, value in card.items()
            if name not in _TIMES and not name.startswith("load")
        }
    if isinstance(card, list):
        return [settled(value) for value in card if not _is_of_machine(value)]
    return card


def _is_of_machine(value: Any) -> bool:
    """A finding on what the machine and other programs were doing."""
    return isinstance(value, dict) and value.get("code") in _MACHINE


class Undisturbed(NamedTuple):
    """A run that nobody disturbs: its scorecard, how long it took, and how long of that workers
    ran, from the first one's start to the last one's end.
    """

    card: Any
    length_s: float
    workers_s: float


def undisturbed(folder: Path) -> Undisturbed:
    """What the others are held against."""
    fill(folder)
    began = time.monotonic()
    process = begin(folder)
    seen_s = []
    while process.poll() is None and time.monotonic() - began < _ENDS_S:
        if _worker(process, wait=False):
            seen_s.append(time.monotonic() - began)
        time.sleep(0.002)
    length_s = time.monotonic() - began
    process.kill()  # nothing, where it has ended
    said = (folder / "said.txt").read_text("utf-8")
    assert process.wait() == 0, said
    assert seen_s, said
    return Undisturbed(settled(_card(folder)), length_s, seen_s[-1] - seen_s[0])


def kill_harness(folder: Path, after_s: list[float], wanted: Any) -> Killed:
    """Kill a run after so many seconds, then each of its resumptions; the last one may end."""
    fill(folder)
    faults: list[str] = []
    kept: list[bytes] = []
    state = "missed"
    process = begin(folder)
    for wait_s in after_s:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
        if process.poll() is None:
            process.kill()
            process.wait()
            state = "resumed" if _runs(folder) else "restarted"
        faults += _left(folder)
        kept += acknowledged(folder)
        process = start(folder, "--resume", "latest") if _runs(folder) else begin(folder)
    faults += _ended(folder, process, kept, wanted)
    return Killed(state, len(kept), tuple(faults))


def kill_worker(folder: Path, after_s: float, wanted: Any) -> Killed:
    """Kill the worker that runs so many seconds after the first one began, or the next one."""
    fill(folder)
    process = begin(folder)
    kept: list[bytes] = []
    state = "missed"
    if _worker(process, wait=True):
        time.sleep(after_s)
        if worker := _worker(process, wait=True):
            # Stopped, it cannot adopt the part file while that is read.
            process.send_signal(signal.SIGSTOP)
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
                state = "retried"
            kept = acknowledged(folder)
            process.send_signal(signal.SIGCONT)
    faults = _ended(folder, process, kept, wanted)
    return Killed(state, len(kept), tuple(faults))


def acknowledged(folder: Path) -> list[bytes]:
    """Records that are on disk: the bodies of all whole lines, without their place in a file."""
    files = [*folder.glob("results/*/records.jsonl"), *folder.glob("results/*/parts/*.part")]
    files += folder.glob(f"results/*/parts/*{MARKS}")
    return [body for path in files for body in bodies(path)]


def bodies(path: Path) -> Iterator[bytes]:
    """What each whole line of a file says, apart from its job and its place in a chain."""
    for line in path.read_bytes().split(b"\n")[:-1]:
        record = decode_line(line)
        if record.get("kind") == "done" or record.get("kind") == "failed":
            continue  # the worker's word for its end, which the parent's record replaces
        for name in ("seq", "prev", "job", "model", "suite", "process", "retry"):
            record.pop(name, None)
        for name in ("backend", "options"):
            if record["type"] == "engine":
                record.pop(name, None)
        yield json.dumps(record, sort_keys=True).encode()


def _ended(
    folder: Path, process: subprocess.Popen[bytes], kept: list[bytes], wanted: Any
) -> Iterator[str]:
    """What is wrong with a run that was left alone in the end."""
    try:
        code = process.wait(_ENDS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        yield f"no end after {_ENDS_S:.0f} s"
        return
    if code:
        yield f"exit code {code}: {(folder / 'said.txt').read_text('utf-8')[-2000:]}"
        return
    yield from _left(folder)
    found = Counter(
        body for path in folder.glob("results/*/records.jsonl") for body in bodies(path)
    )
    lost = [body for body in set(kept) if body not in found]
    if lost:
        yield f"{len(lost)} acknowledged records lost, such as {lost[0][:300]!r}"
    if (found_card := settled(_card(folder))) != wanted:
        texts = [json.dumps(x, indent=1, sort_keys=True).split("\n") for x in (wanted, found_card)]
        yield "\n".join(["another scorecard", *difflib.unified_diff(*texts, n=1)])


def _card(folder: Path) -> Any:
    newest = max(folder.glob("results/*/scorecard.json"))
    return json.loads(newest.read_bytes())


def _runs(folder: Path) -> list[Path]:
    """Runs with a whole first record."""
    return [p for p in folder.glob("results/*/records.jsonl") if b"\n" in p.read_bytes()]


def _worker(process: subprocess.Popen[bytes], *, wait: bool) -> int:
    """The process of the running worker; 0 = the run has ended."""
    while process.poll() is None:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            for pid in map(int, children.split()):
                if b"harness.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        if not wait:
            break
        time.sleep(0.002)
    return 0


def _left(folder: Path) -> Iterator[str]:
    """Processes of a run that outlive it."""
    deadline = time.monotonic() + _GONE_S
    while found := list(_processes(folder)):
        if time.monotonic() > deadline:
            yield f"{len(found)} processes left: {found}"
            return
        time.sleep(0.02)


def _processes(folder: Path) -> Iterator[int]:
    """Workers and resumptions of this folder: they have it as their working folder."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "cwd").readlink() == folder and path.name != str(os.getpid()):
                state = (path / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    yield int(path.name)


def _series(
    kind: str, count: int, asked: argparse.Namespace, usual: Undisturbed
) -> Iterator[Killed]:
    """So many runs that were killed, some at a time; of one that ended before, another is tried."""

    def once(chance: random.Random) -> Killed:
        with tempfile.TemporaryDirectory(prefix="harness-kills-") as temporary:
            folder = Path(temporary).resolve()
            if kind == "worker":
                return kill_worker(folder, chance.uniform(0, usual.workers_s), usual.card)
            # One in three is killed again while it goes on.
            times = 2 if chance.random() < 1 / 3 else 1
            after_s = [chance.uniform(0, usual.length_s) for _ in range(times)]
            return kill_harness(folder, after_s, usual.card)

    def one(number: int) -> Killed:
        chance = random.Random(f"{asked.seed}/{kind}/{number}")
        for _ in range(_TRIES):
            killed = once(chance)
            if killed.state != "missed" or killed.faults:
                return killed
        return Killed("missed", 0, (f"it ended before the kill {_TRIES} times",))

    with ThreadPoolExecutor(asked.jobs) as pool:
        yield from pool.map(one, range(count))


def main() -> None:
    """Both series, and what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--harness", type=int, default=500)
    parser.add_argument("--worker", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="harness-kills-") as temporary:
        usual = undisturbed(Path(temporary).resolve())
    faults = 0
    for kind in ("harness", "worker"):
        states: Counter[str] = Counter()
        kept = 0
        for number, killed in enumerate(_series(kind, getattr(asked, kind), asked, usual)):
            states[killed.state] += 1
            kept += killed.acknowledged
            faults += bool(killed.faults)
            for fault in killed.faults:
                print(f"{kind} {number}: {fault}", flush=True)
            if number % 50 == 49:
                print(f"{kind}: {number + 1} kills, {dict(states)}", flush=True)
        print(f"{kind}: {dict(states)}, {kept} acknowledged records, all checked", flush=True)
    print(f"{faults} runs with faults")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
