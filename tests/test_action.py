"""action.yml: its form, and its steps run as a runner would run them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from harness import specfile
from harness.cli import cli
from harness.report.formats import FORMATS

ROOT = Path(__file__).parents[1]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
SCRIPTS = {step["name"]: step for step in STEPS if "run" in step}
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
NETWORK = {"Install harness and its engines"}
"""Not run here: `.ci/run` installs a wheel into a fresh environment."""

PROFILE = """\
id: tiny
version: 1
title: one suite on a virtual clock
reference: ref.f.fake
tier: ci
tolerates_unknown: true
protocol:
  processes: {latency: 10}
  requests: 3
  warmup_max: 1
  grouping: suite
  job_timeout_s: 30
suites:
  latency: {prompt_tokens: [16], output_tokens: [8]}
weights: {ttft_s: 0.5, decode_tok_per_s: 0.5}
"""


def expressions() -> list[str]:
    """All that GitHub evaluates, conditions included."""
    text = (ROOT / "action.yml").read_text("utf-8")
    return EXPRESSION.findall(text) + [step["if"] for step in STEPS if "if" in step]


def test_inputs_are_documented_used_and_declared() -> None:
    inputs = ACTION["inputs"]
    assert all(entry["description"] and "default" in entry for entry in inputs.values())
    assert all(isinstance(entry["default"], str) for entry in inputs.values())
    used = {name for text in expressions() for name in re.findall(r"inputs\.([a-z-]+)", text)}
    assert used == set(inputs)
    page = (ROOT / "docs" / "ci.md").read_text("utf-8")
    assert {name for name in inputs if f"`{name}`" not in page} == set()
    assert {name for name in ACTION["outputs"] if f"`{name}`" not in page} == set()


def test_steps_and_outputs_refer_to_what_exists() -> None:
    """An unknown step or output would silently be empty."""
    written = {
        step["id"]: set(re.findall(r"\b([a-z]+)=", step["run"])) for step in STEPS if "id" in step
    }
    for text in expressions():
        for step, output in re.findall(r"steps\.([a-z]+)\.outputs\.([a-z]+)", text):
            assert output in written[step], text
    assert set(ACTION) >= {"name", "description", "inputs", "outputs", "runs"}
    assert ACTION["runs"]["using"] == "composite"


def test_no_expression_is_pasted_into_a_script() -> None:
    for step in SCRIPTS.values():
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], step["name"]
        declared = set(step.get("env", {}))
        declared |= {"GITHUB_ACTION_PATH", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY"}
        declared |= {"RUNNER_TEMP", *re.findall(r"^\s*([a-z]+)=", step["run"], re.MULTILINE)}
        declared |= set(re.findall(r"\bfor ([a-z]+) in", step["run"]))
        declared |= set(re.findall(r"read -r ([a-z]+)", step["run"]))
        found = re.findall(r"(?:^|[^\\])\$\{?([A-Za-z_]+)", step["run"])
        assert set(found) <= declared | {"verdict", "found"}, step["name"]


def test_only_actions_of_github_are_used_and_each_is_pinned() -> None:
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@(v\d+|[0-9a-f]{40})", name) for name in used)


def test_workflows_use_inputs_that_exist() -> None:
    """Our own, and the ones that docs/ci.md and the README show."""
    shown = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    for page in ("docs/ci.md", "README.md"):
        blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
        shown += "\n".join(blocks)
    step = r"- uses: (?:\./|OWNER/\S+).*\n(?:\s+id: .*\n)?\s+with:(.*(?:\n {10}.*)*)"
    uses = re.findall(step, shown)
    assert len(uses) >= 5
    for given in uses:
        loaded = yaml.safe_load(textwrap.dedent(given))
        assert set(loaded) <= set(ACTION["inputs"]), given
    ours = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    assert ours["permissions"] == {"contents": "read"}
    assert (ROOT / ours["jobs"]["checks"]["steps"][-1]["run"]).exists()


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_reads_the_script(name: str) -> None:
    checked = subprocess.run(
        ["bash", "-n"], input=SCRIPTS[name]["run"], text=True, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


@dataclass
class Runner:
    """As much of GitHub's runner as a composite action's scripts need."""

    workspace: Path
    temp: Path
    inputs: Mapping[str, str]
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    log: str = ""
    failed: int = 0

    def run(self) -> dict[str, str]:
        """Run all scripts in order; the action's outputs."""
        for step in STEPS:
            if "run" in step and step["name"] not in NETWORK:
                condition = step.get("if", "success()")
                if (
                    self._value(condition)
                    if "always()" in condition
                    else (not self.failed and self._value(condition))
                ):
                    self.script(step)
        return {name: self._text(output["value"]) for name, output in ACTION["outputs"].items()}

    @property
    def summary(self) -> str:
        return (self.temp / "summary").read_text("utf-8")

    def script(self, step: Mapping[str, Any]) -> None:
        """Run one script, with its inputs in its environment."""
        output = self.temp / "output"
        output.write_text("")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.workspace,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "GITHUB_ACTION_PATH": str(ROOT),
                "GITHUB_OUTPUT": str(output),
                "GITHUB_PATH": str(self.temp / "path"),
                "GITHUB_STEP_SUMMARY": str(self.temp / "summary"),
                "RUNNER_TEMP": str(self.temp),
                **{name: self._text(value) for name, value in step.get("env", {}).items()},
            },
            capture_output=True,
            text=True,
            check=False,
        )
        self.log += done.stdout + done.stderr
        self.failed = self.failed or done.returncode
        if "id" in step:
            lines = output.read_text().splitlines()
            self.outputs[step["id"]] = dict(line.split("=", 1) for line in lines)

    def _text(self, text: str) -> str:
        return EXPRESSION.sub(lambda found: str(self._value(found[1])), text)

    def _value(self, expression: str) -> object:
        """The few forms of expression that the action uses, read as Python."""
        known = {"always()": "True", "success()": "True", "&&": "and", "||": "or"}
        code = " ".join(known.get(word, word) for word in expression.split())
        code = re.sub(
            r"steps\.(\w+)\.outputs\.(\w+)",
            lambda found: repr(self.outputs.get(found[1], {}).get(found[2], "")),
            code,
        )
        code = re.sub(r"inputs\.([a-z-]+)", lambda found: repr(self.inputs[found[1]]), code)
        code = re.sub(r"runner\.temp", repr(str(self.temp)), code)
        return eval(code, {"__builtins__": {}})


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A repository with two fake models and a profile."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    entries = []
    for name, fields in {
        "ref": {"step_s": 0.01, "prefill_s_per_token": 0.001},
        "candidate": {"step_s": 0.02, "prefill_s_per_token": 0.001},
        "crash": {"crash_signal": {"at": "step", "signal": "SIGSEGV"}},
    }.items():
        (folder / f"{name}.fake.json").write_text(json.dumps(fields))
        entries.append(
            f"  - {{id: {name}.f.fake, family: {name}, format: fake, quantisation: f, "
            f"source: {{kind: file, path: {name}.fake.json}}, licence: Apache-2.0}}"
        )
    sets = "sets:\n  default: [ref.f.fake, candidate.f.fake]\n"
    (folder / "models.yaml").write_text("models:\n" + "\n".join(entries) + "\n" + sets)
    (folder / "tiny.yaml").write_text(PROFILE)
    return folder


def runner(workspace: Path, **inputs: str) -> Runner:
    temp = workspace.parent / "temp"
    temp.mkdir(exist_ok=True)
    (temp / "summary").write_text("")
    given = {name.replace("_", "-"): value for name, value in inputs.items()}
    defaults = {name: entry["default"] for name, entry in ACTION["inputs"].items()}
    assert set(given) <= set(defaults)
    return Runner(workspace, temp, {**defaults, "profile": "tiny.yaml", **given})


def test_a_run_passes_with_its_summary_and_files(workspace: Path) -> None:
    job = runner(workspace, models="candidate.f.fake\n", formats="junit\nhtml\n")
    outputs = job.run()
    assert job.failed == 0, job.log
    assert (outputs["exit-code"], outputs["verdict"]) == ("0", "passed")
    run = workspace / outputs["run"]
    assert ET.parse(run / "junit.xml").getroot().get("errors") == "0"
    assert job.summary == (run / "scorecard.md").read_text("utf-8")
    assert "candidate.f.fake" in job.summary
    assert re.search(r"::stop-commands::(\w{32})\n.*::\1::", job.log, re.DOTALL)


def test_a_failed_job_is_red_and_still_reported(workspace: Path) -> None:
    job = runner(workspace, models="crash.f.fake")
    outputs = job.run()
    assert (job.failed, outputs["exit-code"], outputs["verdict"]) == (4, "4", "failed")
    assert "crash.f.fake" in job.summary
    assert "::error title=harness::failed (exit code 4)" in job.log


def test_what_is_missing_is_named(workspace: Path) -> None:
    (workspace / "candidate.fake.json").unlink()
    job = runner(workspace, models="candidate.f.fake", baseline="main")
    outputs = job.run()
    assert (job.failed, outputs["verdict"], outputs["run"]) == (3, "missing", "")
    assert "model file is missing" in job.log
    assert "gate" not in job.outputs
    assert "harness: missing (exit code 3)" in job.summary


@pytest.mark.parametrize(
    "evil", ["$(touch pwned)", "`touch pwned`", "'; touch pwned; '", '"; touch pwned; "', "--help"]
)
def test_inputs_are_words_and_never_commands(evil: str, workspace: Path) -> None:
    job = runner(workspace, models=evil, suites=evil, device=evil, baseline=evil, lang="en")
    outputs = job.run()
    assert (job.failed, outputs["verdict"]) == (2, "bad_input"), job.log
    assert not list(workspace.parent.rglob("pwned"))


def test_an_installation_is_cached_by_all_it_depends_on(workspace: Path) -> None:
    keys = []
    for cmake in ("-DGGML_NATIVE=OFF", "-DGGML_NATIVE=ON"):
        job = runner(workspace, models="--help", cmake_args=cmake)
        job.run()
        keys.append(job.outputs["key"]["key"])
    assert len(set(keys)) == 2
    pins = (job.temp / "constraints.txt").read_text().splitlines()
    assert any(pin.startswith("llama-cpp-python==") for pin in pins)
    assert all("==" in pin for pin in pins)


NOT_YET = pytest.mark.skipif("gate" not in cli.commands, reason="no command gate yet")


@NOT_YET
def test_defaults_are_things_that_exist() -> None:
    defaults = {name: entry["default"] for name, entry in ACTION["inputs"].items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(defaults["engines"].split(",")) <= set(project["optional-dependencies"])
    assert defaults["profile"] in specfile.profile_files()
    assert defaults["device"] in specfile.device_files()
    assert set(defaults["formats"].split()) <= set(FORMATS)


@NOT_YET
def test_a_slower_model_turns_the_job_red(workspace: Path) -> None:
    first = runner(workspace, models="ref.f.fake", save_baseline="main")
    assert first.run()["verdict"] == "passed", first.log
    same = runner(workspace, models="ref.f.fake", baseline="main", across="")
    assert same.run()["verdict"] == "passed", same.log
    slow = '{"step_s": 0.015, "prefill_s_per_token": 0.001}'
    (workspace / "ref.fake.json").write_text(slow)
    slower = runner(workspace, models="ref.f.fake", baseline="main", save_baseline="main")
    outputs = slower.run()
    run = workspace / outputs["run"]
    assert (slower.failed, outputs["verdict"]) == (1, "regressed"), slower.log
    assert slower.summary == (run / "gate.md").read_text("utf-8")
    assert ET.parse(run / "gate.xml").getroot().get("failures") != "0"
    assert "save" not in slower.outputs, "a regressed run must not become the baseline"
    # The same run where nobody said that the file would change.
    slower.inputs = {**slower.inputs, "across": ""}
    slower.script(SCRIPTS["Compare with the baseline"])
    assert slower.outputs["gate"]["code"] == "5", slower.log


@NOT_YET
def test_a_baseline_that_does_not_exist_is_missing(workspace: Path) -> None:
    job = runner(workspace, models="ref.f.fake", baseline="nope")
    assert job.run()["verdict"] == "missing", job.log
