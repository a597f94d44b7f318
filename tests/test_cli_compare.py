"""`compare`, `gate` and `baseline` as their users meet them.

One test measures for real, on the fake engine's virtual clock; the others walk over run
folders with generated records.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree as ET

import pytest

from harness import cli, cli_compare
from harness.comparing import comparable
from harness.records import JournalWriter
from harness.report import words
from harness.spec import MemorySuite
from tests.conftest import Harness
from tests.strategies import Candidate, gate, profile, records

PROFILE = """\
id: gated
version: 1
title: ten processes on a virtual clock
reference: toy.f.fake
tier: ci
protocol: {processes: {latency: 10}, requests: 2, warmup_max: 2, grouping: suite, job_timeout_s: 60}
suites:
  latency: {prompt_tokens: [16], output_tokens: [8]}
weights: {ttft_s: 0.5, decode_tok_per_s: 0.5}
gates:
  - {id: first-token, metric: ttft_s, limit: 1.0}
"""
MODELS = """\
models:
  - {id: toy.f.fake, family: toy, format: fake, quantisation: f, licence: Apache-2.0,
     source: {kind: file, path: toy.fake.json}}
sets: {default: [toy.f.fake]}
"""
USED = profile(
    protocol=replace(profile().protocol, processes={"latency": 10, "memory": 10, "accuracy": 1}),
    gates=(gate(id="fast", metric="ttft_s", limit=5.0),),
)
REF = Candidate(id="ref", skill=0.6)
MINE = Candidate(id="mine", skill=0.6, seed=3)


def last_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_of(results: Path, number: int, *found: Candidate, used: Any = USED, **facts: Any) -> str:
    """A run folder with generated records; facts of the machine may differ."""
    name = f"20261126T0815{number:02d}Z-{number:06x}"
    rows = records(list(found), used)
    rows[0]["run"] = name
    for row in rows:
        if row["type"] == "environment":
            row["facts"] = row["facts"] | facts
        if row["type"] == "job":
            row["suite_version"] = 2
    (results / name).mkdir(parents=True)
    writer = JournalWriter(results / name / "records.jsonl")
    writer.append(*rows)
    writer.close()
    return name


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A run, one like it, and one with a slower model that needs more memory."""
    folder = tmp_path / "results"
    run_of(folder, 1, REF, MINE)
    run_of(folder, 2, REF, replace(MINE, noise=0.011))
    run_of(folder, 3, REF, replace(MINE, speed=0.8, memory_mib=500))
    return folder


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Harness:
    """The `harness` command in this process: fifty interpreters would take half a minute."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_settle_process", lambda: None)
    for name, value in {"COLUMNS": "100", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: object, check: int = 0) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        assert code == check, said.err + said.out
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return run


RUNS = [f"20261126T0815{n:02d}Z-{n:06x}" for n in range(4)]


def test_a_real_regression_end_to_end(tmp_path: Path, run_harness: Harness) -> None:
    """Measure, keep, measure again, slow down, measure: 0, 0 and 1."""
    (tmp_path / "models.yaml").write_text(MODELS)
    (tmp_path / "gated.yaml").write_text(PROFILE)
    model = tmp_path / "toy.fake.json"
    run = ("run", "--profile", "gated.yaml")
    model.write_text(json.dumps({"step_s": 0.01, "prefill_s_per_token": 0.001}))
    run_harness(*run)
    run_harness("baseline", "save", "latest", "--name", "main")
    run_harness(*run)
    same = last_json(run_harness("compare", "previous", "latest", "--json"))
    assert (same["verdict"], same["exit_code"]) == ("unchanged", 0)
    assert [case["change"] for case in same["cases"]] == [1.0, 1.0]
    assert "Passed: all 7 rules hold." in run_harness("gate", "latest", "--baseline", "main").stdout
    model.write_text(json.dumps({"step_s": 0.0105, "prefill_s_per_token": 0.001}))
    run_harness(*run)
    other = run_harness("gate", "--baseline", "main", check=5)
    assert "harness: other_model: toy.f.fake: " in other.stderr
    assert "next: compare the two files on purpose: --across model" in other.stderr
    slow = run_harness("gate", "--baseline", "main", "--across", "model", "--json", check=1)
    rules = {rule["id"]: rule for rule in last_json(slow)["rules"]}
    assert rules["decode_tok_per_s fixed-p16-n8"]["outcome"] == "failed"
    assert rules["decode_tok_per_s fixed-p16-n8"]["case"]["change"] == pytest.approx(1 / 1.05)
    assert rules["ttft_s fixed-p16-n8"]["outcome"] == "passed"


def test_a_run_of_which_nothing_can_be_used_has_failed(
    tmp_path: Path, run_harness: Harness
) -> None:
    """Its jobs end well: an engine that takes no time has no times."""
    (tmp_path / "models.yaml").write_text(MODELS)
    (tmp_path / "gated.yaml").write_text(PROFILE.replace("latency: 10", "latency: 1"))
    (tmp_path / "toy.fake.json").write_text("{}")
    done = run_harness("run", "--profile", "gated.yaml", check=4)
    assert "toy.f.fake: bad times: fixed-p16-n8: " in done.stdout
    assert "every job ended well: not measured" in run_harness("gate", check=1).stdout


def test_compare_says_what_is_worse(results: Path, here: Harness) -> None:
    same = here("compare", RUNS[1], RUNS[2])
    assert same.stdout.startswith("Unchanged: all 12 cases lie within the noise floor.")
    slow = here("compare", RUNS[1], "latest", check=1)
    assert slow.stdout.startswith("Regressed: ")
    assert f"A (before) {RUNS[1]} → B (after) latest ({RUNS[3]})" in slow.stdout
    rows = [line for line in slow.stdout.splitlines() if line.startswith(("mine ", "ref "))]
    assert rows[0].startswith("mine ")
    assert "regressed" in rows[0]
    back = here("compare", "latest", RUNS[1])
    assert back.stdout.startswith("Improved: ")


def test_two_models_of_one_run(results: Path, here: Harness) -> None:
    done = here("compare", f"{RUNS[3]}:ref", f"{RUNS[3]}:mine", "--json", check=1)
    found = last_json(done)
    assert {case["model"] for case in found["cases"]} == {"mine"}
    only = here("compare", f"{RUNS[1]}:ref", RUNS[3], "--json")
    assert {case["model"] for case in last_json(only)["cases"]} == {"ref"}


def test_a_gate_writes_for_ci(tmp_path: Path, results: Path, here: Harness) -> None:
    here("baseline", "save", RUNS[1], "--name", "main")
    done = here(
        *("gate", "latest", "--baseline", "main", "--lang", "ko"),
        *("--junit", "out/gate.xml", "--markdown", "out/gate.md"),
        check=1,
    )
    assert done.stdout.startswith("실패: 규칙 ")
    text = (tmp_path / "out" / "gate.md").read_text("utf-8")
    assert text.startswith("## 관문 점검\n\n**실패: 규칙 ")
    assert "| mine | 디코드 속도 fixed-p256-n32 | " in text
    suites = ET.parse(tmp_path / "out" / "gate.xml").getroot()
    cases = {(c.get("classname"), c.get("name")): c for c in suites.iter("testcase")}
    slow = cases["mine", "decode_tok_per_s fixed-p64-n32"].find("failure")
    assert slow is not None
    assert "−20" in (slow.get("message") or "")
    assert cases["ref", "decode_tok_per_s fixed-p64-n32"].find("failure") is None
    assert ("mine", "gate fast") in cases
    assert ("run", "valid") in cases


def test_the_step_summary_is_added_to(tmp_path: Path, results: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    command = [sys.executable, "-m", "harness", "compare", RUNS[1], RUNS[3], "--github"]
    environ = {key: value for key, value in os.environ.items() if key != "GITHUB_STEP_SUMMARY"}
    none = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert none.returncode == 2
    assert "GITHUB_STEP_SUMMARY is not set" in none.stderr
    assert "next: --markdown FILE" in none.stderr
    for content, whole in (("before\n", True), ("x" * (2**20 - 900), False)):
        summary.write_text(content)
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environ | {"GITHUB_STEP_SUMMARY": str(summary), "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        text = summary.read_text("utf-8")
        assert text.startswith(content + "## Comparison")
        assert ("lines are cut" in text) is not whole
        assert len(text.encode()) <= 2**20


def test_noise_of_this_machine(results: Path, here: Harness) -> None:
    for number in (4, 5, 6):
        shifted = replace(MINE, speed=1 - 0.02 * number, seed=number)
        run_of(results, number, replace(REF, seed=number), shifted)
    names = [f"20261126T0815{n:02d}Z-{n:06x}" for n in (4, 5, 6)]
    done = here("baseline", "noise", *names, "--json")
    found = last_json(done)
    assert Path(str(found["written"])).name == f"noise-{found['machine']}.json"
    assert found["metrics"]["decode_tok_per_s"] > 0.04
    assert here("baseline", "list").stdout == ""
    quiet = here("compare", names[0], names[2])
    assert "noise floor of this machine, from 3 runs" in quiet.stdout
    (results / "baselines" / Path(str(found["written"])).name).unlink()
    assert done.stderr.startswith("harness: warning: this machine varies so much that a change of ")
    loud = here("compare", names[0], names[2], check=1)
    assert "This machine's own noise is not measured yet" in " ".join(loud.stdout.split())


def test_inconclusive_fails_only_where_asked(tmp_path: Path, here: Harness) -> None:
    results = tmp_path / "results"
    for number in (1, 2):
        run_of(results, number, replace(REF, noise=0.1, seed=number))
    done = here("compare", RUNS[1], RUNS[2])
    assert done.stdout.startswith("Inconclusive: ")
    assert "processes a side would decide" in done.stdout
    here("compare", RUNS[1], RUNS[2], "--fail-on-inconclusive", check=6)
    here("baseline", "save", RUNS[1])
    assert "cannot be decided" in here("gate", "--baseline", "main").stdout
    here("gate", "--baseline", "main", "--fail-on-inconclusive", check=6)


def test_a_gate_needs_every_model_of_its_baseline(results: Path, here: Harness) -> None:
    alone = run_of(results, 4, REF)
    here("baseline", "save", RUNS[1], "--name", "main")
    gone = here("gate", alone, "--baseline", "main", check=1)
    assert "mine a model of the baseline is measured again: not in this run" in gone.stdout
    assert "--baseline NAME:MODEL" in " ".join(gone.stdout.split())
    assert here("gate", alone, "--baseline", "main:ref").stdout.startswith("Passed: ")
    wrong = here("gate", alone, "--baseline", "main:mime", "--json", check=2)
    assert last_json(wrong)["reason"] == "unknown_name"


def test_an_empty_name_is_no_baseline(results: Path, here: Harness) -> None:
    """A variable that a workflow forgot to set must not switch the comparison off."""
    done = here("gate", RUNS[1], "--baseline", "", "--json", check=3)
    assert last_json(done)["reason"] == "baseline_missing"


def test_a_gate_that_could_find_nothing_says_what_to_do(results: Path, here: Harness) -> None:
    few = replace(USED, protocol=replace(USED.protocol, processes={"latency": 3, "memory": 3}))
    run_of(results, 5, REF, MINE, used=few)
    saved = here("baseline", "save", "latest", "--name", "few")
    assert "harness: warning: no case has 10 processes" in saved.stderr
    run_of(results, 6, REF, replace(MINE, speed=0.5), used=few)
    done = here("gate", "latest", "--baseline", "few", check=5)
    assert "harness: too_few_processes: " in done.stderr
    assert "next: measure with ten processes or more" in done.stderr


def test_a_name_with_a_point_is_not_the_run_that_one_stands_in(
    results: Path, here: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(results / RUNS[1])
    done = here("compare", ".", "latest:mine.q8_0.gguf", "--results", "..", "--json", check=2)
    assert last_json(done)["reason"] == "unknown_name"
    done = here("gate", "no-such.gguf", "--results", "..", "--json", check=2)
    assert last_json(done)["reason"] == "run_missing"


# --- bad input --------------------------------------------------------------------------

LONGER = replace(
    USED, suites=replace(USED.suites, memory=MemorySuite(context=300, output_tokens=32))
)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"used": LONGER}, "other_profile"),
        ({"cpu": "Core 5"}, "other_device"),
        ({"power_source": "battery"}, "other_conditions"),
    ],
)
def test_runs_that_do_not_compare(
    results: Path, here: Harness, change: dict[str, Any], reason: str
) -> None:
    other = run_of(results, 9, REF, MINE, **change)
    done = here("compare", RUNS[1], other, "--json", check=5)
    found = last_json(done)
    assert (found["verdict"], found["exit_code"]) == ("incomparable", 5)
    assert [one["code"] for one in found["reasons"]] == [reason]
    assert f"harness: {reason}: " in done.stderr
    assert "  next: " in done.stderr
    shown = here("compare", RUNS[1], other, check=5)
    assert shown.stdout.startswith("Incomparable: ")
    here("baseline", "save", other, "--name", "elsewhere")
    gated = here("gate", RUNS[2], "--baseline", "elsewhere", check=5)
    assert f"harness: {reason}: " in gated.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "reason", "said"),
    [
        (["compare", RUNS[1], RUNS[1]], 2, "same_run", "are the same run"),
        (["compare", RUNS[1], "no-such"], 2, "run_missing", "no run and no baseline"),
        (["compare", f"{RUNS[1]}:mime", RUNS[2]], 2, "unknown_name", "did you mean 'mine'?"),
        (["compare", RUNS[1], "maim"], 2, "run_missing", "did you mean 'main'?"),
        (["gate", "latest", "--baseline", "maim"], 3, "baseline_missing", "did you mean 'main'?"),
        (["gate", "no-such"], 2, "run_missing", "no run with records here"),
        (["baseline", "save", "latest", "--name", "a b"], 2, "bad_name", "small letters"),
        (["baseline", "noise", RUNS[1], RUNS[2]], 2, "too_few_runs", "at least 3 runs"),
        (["compare", RUNS[1], "empty"], 4, "nothing_measured", "nothing to compare"),
    ],
)
def test_refusals(
    results: Path, here: Harness, arguments: list[str], code: int, reason: str, said: str
) -> None:
    here("baseline", "save", RUNS[1])
    if "empty" in arguments:
        fails = tuple((suite, "crashed") for suite in ("latency", "memory", "accuracy"))
        arguments = [*arguments[:-1], run_of(results, 8, replace(REF, fails=fails))]
    done = here(*arguments, "--json", check=code)
    assert last_json(done)["reason"] == reason
    assert said in done.stderr
    assert "  next: " in done.stderr


def test_edited_files_are_refused(results: Path, here: Harness) -> None:
    here("baseline", "save", RUNS[1])
    path = results / "baselines" / "main.json"
    path.write_text(path.read_text("utf-8").replace('"threads": 8', '"threads": 9'), "utf-8")
    done = here("gate", "--baseline", "main", "--json", check=4)
    assert last_json(done)["reason"] == "baseline_edited"
    listed = here("baseline", "list")
    assert listed.stdout == "main  cannot be used: baseline_edited\n"
    journal = results / RUNS[2] / "records.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"Core 7", b"Core 9", 1))
    done = here("compare", RUNS[1], RUNS[2], "--json", check=4)
    assert last_json(done)["reason"] == "records_damaged"


def test_every_reason_has_its_advice() -> None:
    source = Path(comparable.__file__).read_text("utf-8")
    codes = set(re.findall(r'"(other_[a-z_]+|nothing_in_common|run_invalid)"', source))
    codes |= {"other_items", "too_few_processes"}  # of a gate's rules
    assert len(codes) == 11
    assert codes == set(cli_compare.ADVICE)
    for code in codes:
        assert f"reason.{code}" in words.strings()


def test_what_may_differ_is_what_can_be_named() -> None:
    assert get_args(comparable.Axis) == cli_compare._AXES
