"""The main job on real trained models: both engines, all suites, one ranked scorecard."""

from __future__ import annotations

import html.parser
import json
from pathlib import Path
from typing import Any

import pytest

from harness.records import read
from tests.conftest import Harness
from tests.schemas import CARDS, record_faults

MODELS = (
    "ref-4m.f16.gguf",
    "ref-4m.q4_k_m.gguf",
    "ref-4m.fp32.onnx",
    "ref-4m.int4.onnx",
    "ref-2m.int8.onnx",
)
# One thread, because those of llama.cpp wait for each other in loops on a busy machine.
ENTRY = (
    "  - {{id: {0}.{1}.{2}, family: {0}, format: {2}, quantisation: {1}, "
    "chat_template: plain, options: {{threads: 1}}, source: embedded}}\n"
)
PROFILE = """\
id: small
version: 1
title: the main job in seconds
reference: ref-4m.f16.gguf
tier: unverified
protocol:
  processes: {latency: 2, memory: 1, accuracy: 1}
  requests: 2
  warmup_max: 2
  grouping: suite
  job_timeout_s: 120
suites:
  latency: {prompt_tokens: [64], output_tokens: [32]}
  memory: {context: 80, output_tokens: 16}
  accuracy: {tasks: [josa, calendar], languages: [ko, en], items: 60}
weights: {accuracy: 0.4, ttft_s: 0.2, decode_tok_per_s: 0.2, peak_resident_bytes: 0.2}
"""


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the small profile, made once."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("main-job")
    (folder / "small.yaml").write_text(PROFILE)
    entries = "".join(ENTRY.format(*model.split(".")) for model in MODELS)
    (folder / "models.yaml").write_text(f"models:\n{entries}")
    command = [sys.executable, "-m", "harness", "run", "--profile", "small.yaml", "--json"]
    for model in MODELS:
        command += ["--model", model]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["status"] == "done"
    return folder / str(found["run"])


@pytest.fixture(scope="module")
def entries(run_folder: Path) -> dict[str, dict[str, Any]]:
    """The scorecard's entries by model id."""
    card = json.loads((run_folder / "scorecard.json").read_text("utf-8"))
    return {entry["model"]: entry for entry in card["entries"]}


def test_records_and_scorecard_fit_their_schemas(run_folder: Path) -> None:
    assert record_faults(run_folder / "records.jsonl") == []
    CARDS.validate(json.loads((run_folder / "scorecard.json").read_bytes()))


def test_every_artefact_is_ranked(entries: dict[str, dict[str, Any]]) -> None:
    assert set(entries) == set(MODELS)
    for entry in entries.values():
        assert entry["rank"] is not None, (entry["model"], entry["reason"], entry["detail"])
        assert entry["interval"][0] <= entry["score"] <= entry["interval"][1]
    assert entries["ref-4m.f16.gguf"]["score"] == pytest.approx(1000)


def test_both_engines_report_sensible_figures(entries: dict[str, dict[str, Any]]) -> None:
    for entry in entries.values():
        metrics = {name: value["value"] for name, value in entry["metrics"].items()}
        assert 0 < metrics["ttft_s"] < 5
        # Medians of a quantity and of its inverse; other processes may stretch either.
        assert 0.1 < metrics["decode_tok_per_s"] * metrics["tpot_s"] < 10
        assert metrics["prefill_tok_per_s"] > metrics["decode_tok_per_s"]
        assert metrics["load_s"] < 30
        assert 24 << 20 < metrics["peak_resident_bytes"] < 1 << 30
        assert entry["engine"]


def test_what_a_suite_sets_is_not_another_engine(entries: dict[str, dict[str, Any]]) -> None:
    for entry in entries.values():
        assert "engine_changed" not in {finding["code"] for finding in entry["findings"]}


def test_the_smaller_network_knows_less(entries: dict[str, dict[str, Any]]) -> None:
    accuracy = {name: entry["metrics"]["accuracy"] for name, entry in entries.items()}
    assert accuracy["ref-4m.f16.gguf"]["lo"] > accuracy["ref-2m.int8.onnx"]["value"]


def test_engines_agree_on_the_answers_of_one_network(run_folder: Path) -> None:
    """float16 by llama.cpp and float32 by ONNX Runtime are the same network."""
    answers: dict[str, dict[tuple[str, str, int], bool]] = {}
    for record in read(run_folder / "records.jsonl").records:
        if record.get("kind") == "item":
            place = (record["case"], record["form"], record["index"])
            answers.setdefault(record["model"], {})[place] = record["correct"]
    left, right = answers["ref-4m.f16.gguf"], answers["ref-4m.fp32.onnx"]
    assert len(left) == len(right) == 240
    same = sum(left[place] == right[place] for place in left)
    assert same >= 0.98 * len(left)


def test_prompts_were_evaluated_and_outputs_repeat(run_folder: Path) -> None:
    outputs: dict[tuple[str, str, int], set[str]] = {}
    for record in read(run_folder / "records.jsonl").records:
        if record.get("kind") == "request":
            assert record["evaluated"] == record["submitted"] == 64
            assert len(record["token_ns"]) == 32
            key = (record["model"], record["case"], record["index"])
            outputs.setdefault(key, set()).add(record["output_sha256"])
    assert len(outputs) == len(MODELS) * 2
    assert all(len(hashes) == 1 for hashes in outputs.values())


def test_the_report_stands_alone(run_folder: Path) -> None:
    class References(html.parser.HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += [value for name, value in attrs if name in {"src", "href"} and value]

    page = (run_folder / "report.html").read_text("utf-8")
    parser = References()
    parser.feed(page)
    assert all(value.startswith(("#", "data:")) for value in parser.found)
    for model in MODELS:
        assert model in page


def test_bench_runs_both_formats(run_harness: Harness) -> None:
    from harness.models.reference import materialise

    for model in ("ref-2m.q8_0.gguf", "ref-2m.int8.onnx"):
        done = run_harness("bench", materialise(model), "-p", 64, "-n", 16, "-r", 2, "--json")
        tests = json.loads(done.stdout.splitlines()[-1])["tests"]
        assert [test["name"] for test in tests] == ["pp64", "tg16"]
        assert all(test["tok_per_s"]["median"] > 0 for test in tests)
