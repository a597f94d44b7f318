"""A sample of `python -m tests.faults.sweep`, and the library that makes the faults."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tests.faults import inject, sweep
from tests.faults.inject import Call
from tests.faults.sweep import COMMANDS, KINDS, Sweep, Tally

pytestmark = pytest.mark.skipif(not inject.POSSIBLE, reason=inject.WHY_NOT)

MOMENTS = {
    "the plan": ("rename", "plan.json"),
    "the journal": ("open", "records.jsonl"),
    "its first record": ("fsync", "records.jsonl"),
    "a worker's record": ("write", ".part"),
    "a mark of the parent's": ("write", ".marks"),
    "what is cleared": ("unlink", ".part"),
    "the scorecard": ("rename", "scorecard.json"),
    "the report": ("write", ".report.html"),
}


@pytest.fixture(scope="module")
def swept() -> Iterator[Sweep]:
    with sweep.swept() as found:
        yield found


@pytest.fixture(scope="module")
def calls(swept: Sweep) -> list[Call]:
    """All calls of a run that meets no fault."""
    swept.reset()
    swept.server.page.arm()
    return swept.server.run(*COMMANDS["run"]).calls


def number(calls: list[Call], moment: str, without: Collection[str] = ()) -> int:
    """Which call of a run is the first of a moment's, where some are not counted."""
    counted = [call for call in calls if call.name not in without]
    name, part = MOMENTS[moment]
    return next(
        at
        for at, call in enumerate(counted, 1)
        if call.name == name and part in Path(call.path).name
    )


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_survives_a_disk_that_fails_once(
    swept: Sweep, calls: list[Call], moment: str
) -> None:
    tally = Tally()
    assert swept.one("run", KINDS["broken"], number(calls, moment), tally)
    assert tally.wrong == []
    # What could not be removed is no reason to end a run.
    assert tally.unharmed == (moment == "what is cleared")


def test_a_run_survives_a_full_disk(swept: Sweep, calls: list[Call]) -> None:
    tally = Tally()
    at = number(calls, "a worker's record", without={"unlink", "rmdir", "ftruncate"})
    assert swept.one("run", KINDS["full"], at, tally)
    assert (tally.wrong, tally.unharmed) == ([], 0)


@pytest.mark.parametrize("kind", ["signal", "short-on"])
def test_nobody_sees_that_a_call_was_interrupted_or_short(swept: Sweep, kind: str) -> None:
    tally = Tally()
    assert swept.one("run", KINDS[kind], 1, tally)
    assert (tally.wrong, tally.unharmed) == ([], 1)


@pytest.mark.parametrize("name", ["score", "sign", "create", "keygen"])
def test_each_call_of_a_command_that_writes_may_fail(swept: Sweep, name: str) -> None:
    tally = swept.every(name, KINDS["broken"], step=4 if name == "create" else 1)
    assert tally.wrong == []
    assert tally.tried >= 5


def test_a_fault_is_met_by_the_call_that_was_named(tmp_path: Path) -> None:
    """Open, write, fsync and the rest are counted, in children too, and nothing else is."""
    folder = tmp_path / "watched"
    folder.mkdir()
    library = inject.build(tmp_path)
    page = inject.Page(tmp_path / "page")
    script = (
        "import os, subprocess, sys\n"
        "print(open('elsewhere', 'w').write('x'))\n"
        "os.chdir('watched')\n"
        "d = os.open('a', os.O_WRONLY | os.O_CREAT)\n"
        "print(os.write(d, b'1234'), os.ftruncate(d, 2), os.fsync(d))\n"
        "os.close(d); open('a').read(); os.mkdir('b'); os.rename('a', 'b/a')\n"
        "subprocess.run(['rm', 'b/a'], check=True); os.rmdir('b')\n"
    )

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env=os.environ | inject.environment(library, folder, tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )

    names = ["open", "write", "ftruncate", "fsync", "mkdir", "rename", "unlink", "rmdir"]
    for at in range(len(names) + 2):
        page.arm(at, errno.EIO)
        done = run()
        calls = inject.read_log(tmp_path / "log")
        (tmp_path / "log").unlink()
        subprocess.run(["rm", "-rf", folder / "a", folder / "b"], check=True)
        if 0 < at <= len(names):
            assert "Input/output error" in done.stderr
            assert [call.name for call in calls][:at] == names[:at]
            assert page.fired == 1
        else:
            assert done.returncode == 0, done.stderr
            assert [call.name for call in calls] == names
            assert len({call.process for call in calls}) == 2
            assert done.stdout == "1\n4 None None\n"
    page.arm(2, 0, kinds=inject.WRITE | inject.OPEN)
    done = run()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n2 None None\n"
