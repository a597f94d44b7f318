"""`harness run --resume`, and a plain `harness run` that finds an interrupted one."""

from __future__ import annotations

import json
import os
import pty
import re
import sys
import time
from pathlib import Path

import pytest

from harness import resume, runs, session
from tests.conftest import Harness, tree
from tests.fuzz import run_kills as kills
from tests.stopped import SHORT, WORDS, planned, stop_after


def test_the_command_goes_on(begun: Path, run_harness: Harness) -> None:
    left = run_harness("run", "--resume", "latest", "--dry-run")
    assert "jobs are on record" in left.stderr
    assert len(left.stdout.splitlines()) >= 2
    done = run_harness("run", "--resume", begun.name, "--json")
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "done"
    assert (begun / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--resume", "latest", "--profile", "quick"], "without --profile"),
        (["--resume", "latest", "--model", "x.gguf"], "without --model"),
        (["--retry-failed"], "needs --resume"),
    ],
)
def test_nothing_else_can_be_asked_of_it(
    begun: Path, run_harness: Harness, words: list[str], said: str
) -> None:
    assert said in run_harness("run", *words, check=2).stderr


def test_no_run_to_go_on_with(tmp_path: Path, run_harness: Harness) -> None:
    (tmp_path / "results" / "20260101T000000Z-abcdef").mkdir(parents=True)
    (tmp_path / "results" / "20260101T000000Z-abcdef" / "records.jsonl").write_bytes(b"1234")
    done = run_harness("run", "--resume", "latest", check=2)
    assert "no run with records here" in done.stderr


def test_a_plain_run_names_the_one_that_was_interrupted(tmp_path: Path, run_harness) -> None:
    first = session.run(planned(tmp_path, **SHORT), tmp_path / "results", stop_after(1))
    done = run_harness(*WORDS)
    assert f"next: harness run --resume results/{first.folder.name}" in done.stderr
    # The new one is finished, so that there is nothing to go on with any more.
    assert resume.unfinished(tmp_path / "results", resume.examine(first.folder).plan) is None


def test_its_bundle_says_that_it_is_unfinished(begun: Path, run_harness: Harness) -> None:
    done = run_harness("bundle", "create", "latest", "--to", "mine")
    assert "the run is unfinished: " in done.stderr
    assert f"next: harness run --resume results/{begun.name}, then a new bundle" in done.stderr
    said = json.loads(run_harness("bundle", "create", "latest", "--to", "it", "--json").stdout)
    assert said["unfinished"] is True
    refused = run_harness("baseline", "save", "latest", "--name", "main", check=4)
    assert f"next: harness run --resume results/{begun.name}" in refused.stderr


def test_one_that_is_being_measured_is_not_called_interrupted(begun: Path, run_harness) -> None:
    kills.fill(begun.parent.parent)
    before = tree(begun)
    with runs.alone(begun.parent):
        done = run_harness("run", "--profile", "kills.yaml", check=3)
    assert "another harness is measuring into this folder" in done.stderr
    assert "interrupted" not in done.stderr
    assert tree(begun) == before


def test_an_announced_run_is_found_behind_others(tmp_path: Path) -> None:
    """Somebody practised after the announced run was interrupted."""
    plan, results = planned(tmp_path), tmp_path / "results"
    session.announce(plan, results, 2)
    first = session.run(plan, results, stop_after(3), announced=True)
    other = session.run(plan, results, stop_after(3))
    assert resume.unfinished(results, plan).folder == other.folder
    assert resume.unfinished(results, plan, announced=True).folder == first.folder


def test_what_is_left_can_be_read_by_programs(begun: Path, run_harness: Harness) -> None:
    words = ("run", "--resume", "latest", "--dry-run")
    (line,) = run_harness(*words, "--json").stdout.splitlines()
    found = json.loads(line)
    assert (found["run"], found["ended"]) == (begun.name, 3)
    needed = [text for text in run_harness(*words).stdout.splitlines() if "if needed" not in text]
    assert [job["id"] for job in found["left"]] == [text.split()[0] for text in needed]
    session.resume(begun)
    assert "none is left to be measured" in run_harness(*words).stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo terminals")
def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    first = session.run(planned(tmp_path, **SHORT), tmp_path / "results", stop_after(1))
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(tmp_path)
        os.execv(sys.executable, [sys.executable, "-m", "harness", *WORDS, "--lang", "ko"])
    said = b""
    deadline = time.monotonic() + 120
    answered = False
    while time.monotonic() < deadline:
        try:
            said += os.read(terminal, 65536)
        except OSError:
            break  # the other end is closed
        if not answered and "이어서".encode() in said:
            os.write(terminal, b"\n")
            answered = True
    os.close(terminal)  # whoever still waits for an answer is told that nobody is there
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, said.decode()
    assert answered, said.decode()
    asked, counted = re.findall(r"(\d+)개가 남았습니다", said.decode())
    assert asked == counted, "the question counts as the answer does"
    assert "컴퓨터를 쓰지 마세요" not in said.decode(), "no new run is announced"
    assert [path.parent for path in (tmp_path / "results").glob("*/records.jsonl")] == [
        first.folder
    ]
    assert resume.examine(first.folder).closed
