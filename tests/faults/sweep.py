"""Fail every write of every command that writes, one after the other.

python -m tests.faults.sweep [COMMAND …] [--every K] [--kinds NAME …]

For each command and each way to fail: its first call that changes something under the folder
fails, then, in a fresh copy of the folder, its second, until one run meets no fault any more. After
each: the exit code and the reason are right, every file is the old one or the new one whole, the
journal reads and holds what was acknowledged, nothing is left lying about, and the same
command then works.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from harness.records import read
from tests.faults import inject
from tests.faults.inject import ALL, OPEN, REMOVE, SYNC, TRUNCATE, WRITE, Call, Done, Server

PROFILE = """\
id: fast
version: 1
title: three jobs on a virtual clock
reference: ref.f.fake
tier: unverified
protocol:
  processes: {latency: 1, memory: 1, accuracy: 1}
  requests: 2
  warmup_max: 3
  grouping: suite
  job_timeout_s: 30
suites:
  latency: {prompt_tokens: [16], output_tokens: [4]}
  memory: {context: 24, output_tokens: 4}
  accuracy: {tasks: [arith], languages: [en], items: 3, context: 4096}
weights: {ttft_s: 0.4, decode_tok_per_s: 0.4, peak_resident_bytes: 0.2}
"""
MODELS = """\
models:
  - {id: ref.f.fake, family: ref, format: fake, quantisation: f, licence: Apache-2.0,
     source: {kind: file, path: ref.fake.json}}
sets: {default: [ref.f.fake]}
"""
TEMPORARY = re.compile(r"\..*\.(\d+|making)")


class Kind(NamedTuple):
    """A way to fail.

    Attributes:
        error: the errno; 0 = a write is carried out, but only half.
        every: 0 = one call fails, 1 = all from then on, 2 = every second one.
        calls: which are counted at all.
        last: the last first call that is tried; 0 = until there is no such call.
        visible: whether the command may show it.
    """

    error: int
    every: int = 0
    calls: int = ALL
    last: int = 0
    visible: bool = True


_GROWING = ALL & ~(REMOVE | TRUNCATE)
"""What is removed or cut off needs no space."""
KINDS = {
    "full": Kind(errno.ENOSPC, 1, _GROWING),
    "full-once": Kind(errno.ENOSPC, 0, _GROWING),
    "quota": Kind(errno.EDQUOT, 1, _GROWING),
    "broken": Kind(errno.EIO),
    "broken-on": Kind(errno.EIO, 1),
    "denied": Kind(errno.EACCES),
    "read-only": Kind(errno.EROFS, 1),
    # Each call is tried again: two commands, in which it is the odd and the even ones' turn, meet
    # what thousands would. POSIX knows EINTR for these calls alone.
    "signal": Kind(errno.EINTR, 2, OPEN | WRITE | SYNC | TRUNCATE, last=2, visible=False),
    "short": Kind(0, 2, WRITE, last=2, visible=False),
    "short-on": Kind(0, 1, WRITE, last=1, visible=False),
}
FULL = {errno.ENOSPC, errno.EDQUOT}
COMMANDS = {
    "run": ("run", "--profile", "fast.yaml"),
    "score": ("score", "latest"),
    "report": ("report", "latest"),
    "baseline": ("baseline", "save", "latest", "--name", "main"),
    "create": ("bundle", "create", "latest", "--to", "handed/in"),
    "sign": ("bundle", "sign", "made", "--key", "me.key"),
    "keygen": ("bundle", "keygen", "keys/you"),
}


@dataclass
class Tally:
    """What a sweep has found, by command and kind."""

    tried: int = 0
    unharmed: int = 0
    wrong: list[str] = field(default_factory=list)


def prepare(folder: Path, server: Server) -> None:
    """A folder in which every command has something to do."""
    (folder / "models.yaml").write_text(MODELS)
    (folder / "fast.yaml").write_text(PROFILE)
    (folder / "ref.fake.json").write_text('{"step_s": 0.01, "prefill_s_per_token": 0.001}')
    server.page.arm()
    for words in (
        COMMANDS["run"],
        ("bundle", "create", "latest", "--to", "made"),
        ("bundle", "keygen", "me"),
    ):
        done = server.run(*words)
        assert done.code == 0, done.err


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Sweep:
    """One command under one kind of fault after the other."""

    def __init__(self, server: Server, start: Path) -> None:
        self.server = server
        self._folder = server.folder
        self._start = start
        """A copy of the folder as `prepare` leaves it."""
        self._before = files(start)

    def every(self, name: str, kind: Kind, *, step: int = 1, first: int = 1) -> Tally:
        """Each call in turn, or every `step`-th, until none of them fails any more."""
        tally = Tally()
        at = first
        while at <= (kind.last or at) and self.one(name, kind, at, tally):
            at += 1 if kind.last else step
        return tally

    def one(self, name: str, kind: Kind, at: int, tally: Tally) -> bool:
        """Fail call number `at`; False if the command ended before it."""
        self.reset()
        page = self.server.page
        page.arm(at, kind.error, every=kind.every, kinds=kind.calls)
        done = self.server.run(*COMMANDS[name], "--json")
        fired = page.fired
        page.arm()
        if not fired:
            assert done.code == 0, done.err
            return False
        tally.tried += 1
        tally.unharmed += done.code == 0
        call = next(call for call in done.calls if call.number == at)
        where = f"{name} {errno.errorcode.get(kind.error, 'short')} at {at} ({_told(call)})"
        failed = [o for o in done.calls if o.number >= at and kind.every] or [call]
        tally.wrong += [f"{where}: {what}" for what in self._judge(name, kind, done, failed)]
        # A disk that goes on failing does not let what was made be taken back.
        stuck = name in {"create", "keygen"} and kind.every == 1
        again = done
        if done.code and not stuck:
            again = self.server.run(*self._again(name), "--json")
        if again.code and not stuck:
            tally.wrong.append(f"{where}: afterwards exit {again.code}: {again.err.strip()}")
        return True

    def reset(self) -> None:
        for path in self._folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self._start, self._folder, dirs_exist_ok=True)

    def _again(self, name: str) -> tuple[str, ...]:
        """The same command; where a run is on record, the one that goes on with it."""
        runs = self._runs()
        if name != "run" or not runs:
            return COMMANDS[name]
        return ("run", "--resume", runs[-1].name, "--retry-failed")

    def _runs(self) -> list[Path]:
        """Folders of runs that the command has made, and that have something on record."""
        found = sorted((self._folder / "results").glob("*/records.jsonl"))
        return [
            path.parent
            for path in found
            if path.stat().st_size and str(path.relative_to(self._folder)) not in self._before
        ]

    def _judge(self, name: str, kind: Kind, done: Done, failed: list[Call]) -> Iterator[str]:
        """What is wrong with how a command ended."""
        if "Traceback" in done.err or "a bug" in done.err:
            yield f"not a message: {done.err.strip()}"
        if not kind.visible and done.code:
            yield f"it shows: exit {done.code}: {done.err.strip()}"
        if done.code:
            yield from self._wrong_reason(name, kind, done)
        unremoved = any(call.name in {"unlink", "rmdir"} for call in failed)
        unremoved |= kind.every == 1 and bool(kind.calls & REMOVE)
        yield from self._half_files(
            name, failed=bool(done.code), unremoved=unremoved, lasting=kind.every == 1
        )
        if name == "run" and kind.visible:
            yield from self._lost(done.calls, failed)

    def _wrong_reason(self, name: str, kind: Kind, done: Done) -> Iterator[str]:
        if done.code != 4:
            yield f"exit {done.code}"
        lines = done.out.strip().splitlines()
        said = json.loads(lines[-1]) if lines else {}
        if said.get("status") == "failed" and name == "run":
            return  # a worker that could not write: a job that failed
        expected = "disk_full" if kind.error in FULL else "unwritable"
        if said.get("reason") != expected:
            yield f"reason {said.get('reason')!r}: {done.err.strip()}"

    def _half_files(
        self, name: str, *, failed: bool, unremoved: bool, lasting: bool
    ) -> Iterator[str]:
        """Files that are neither the old ones nor whole, and what is left lying about."""
        now = files(self._folder)
        yield from (f"{path} is gone" for path in self._before.keys() - now.keys())
        for path, data in now.items():
            parts = Path(path).parts
            temporary = any(TEMPORARY.fullmatch(part) for part in parts)
            if path in self._before or not (temporary or "parts" in parts):
                made = path not in self._before and name in {"create", "keygen"}
                if made and unremoved and name == "keygen":
                    continue  # it could not be removed either
                if data != self._before.get(path) and not _whole(path, data):
                    yield f"{path} is half written"
                elif made and failed and not lasting:
                    yield f"made all the same: {path}"
            elif not unremoved and (temporary or not failed):
                yield f"left behind: {path}"

    def _lost(self, calls: list[Call], failed: list[Call]) -> Iterator[str]:
        """Acknowledged records that the journal does not hold."""
        missed = {call.number for call in failed}
        for run in self._runs():
            path = run / "records.jsonl"
            acknowledged = written = 0
            for call in calls:
                if call.path != str(path) or call.number in missed:
                    continue
                written += call.size if call.name == "write" else 0
                if call.name == "fsync":
                    acknowledged = written
            held = read(path)
            if not missed & {call.number for call in calls if call.path == str(path)}:
                acknowledged = written
            if held.size < acknowledged:
                yield f"{held.size} of {acknowledged} acknowledged bytes are there"


def _whole(path: str, data: bytes) -> bool:
    """Whether a file of that name is complete."""
    if path.endswith(".html"):
        return data.rstrip().endswith(b"</html>")
    if path.endswith((".json", ".pub")):
        try:
            json.loads(data)
        except ValueError:
            return False
    return bool(data) or path.endswith((".lock", ".jsonl"))


def _told(call: Call) -> str:
    return f"{call.name} {Path(call.path).name}"


def main(words: list[str]) -> int:
    """Sweep, print a table, and say what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.sweep")
    parser.add_argument("commands", nargs="*", default=[*COMMANDS])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", default=[*KINDS], choices=[*KINDS])
    asked = parser.parse_args(words)
    wrong: list[str] = []
    with swept() as sweep:
        print("| command | fault | calls failed | exit 0 all the same | wrong |")  # noqa: T201
        for name in asked.commands:
            for kind in asked.kinds:
                found = sweep.every(name, KINDS[kind], step=asked.every)
                wrong += found.wrong
                row = (name, kind, found.tried, found.unharmed, len(found.wrong))
                print("|", " | ".join(map(str, row)), "|", flush=True)  # noqa: T201
                for line in found.wrong:
                    print("   ", line, flush=True)  # noqa: T201
    return 1 if wrong else 0


@contextlib.contextmanager
def swept() -> Iterator[Sweep]:
    """A sweep in temporary folders."""
    with tempfile.TemporaryDirectory() as work:
        scratch, folder, start = (Path(work, name) for name in ("scratch", "folder", "start"))
        scratch.mkdir()
        folder.mkdir()
        with inject.serving(scratch, folder) as server:
            prepare(folder, server)
            shutil.copytree(folder, start)
            yield Sweep(server, start)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
