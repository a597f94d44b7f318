"""A real run of random weights on both engines: measured, listed apart, never asked anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.records import read

pytest.importorskip("llama_cpp")
pytest.importorskip("onnxruntime")

PROFILE = """\
id: small
version: 1
title: speed in seconds
reference: ref-2m.q8_0.gguf
tier: unverified
protocol:
  processes: {latency: 1, accuracy: 1}
  requests: 1
  warmup_max: 1
  grouping: suite
  job_timeout_s: 120
suites:
  latency: {prompt_tokens: [16], output_tokens: [8]}
  accuracy: {tasks: [josa], languages: [ko], items: 10}
weights: {ttft_s: 0.5, decode_tok_per_s: 0.5}
"""
# No entry says that its weights are random: the files do. One thread, because those of
# llama.cpp wait for each other in loops, for minutes on a busy machine.
ENTRY = "{id: %s, family: s, format: %s, quantisation: %s, options: {threads: 1}, source: %s}"
MODELS = f"""\
models:
  - {{id: ref-2m.q8_0.gguf, family: ref-2m, format: gguf, quantisation: q8_0, source: embedded}}
  - {ENTRY % ("s.gguf", "gguf", "q4_0", "{kind: file, path: s.gguf}")}
  - {ENTRY % ("s.onnx", "onnx", "int4", "{kind: folder, path: s.onnx}")}
  - {ENTRY % ("l.gguf", "gguf", "q4_0", "{kind: synthetic, shape: smollm2-1.7b}")}
sets:
  synthetic: [s.gguf, s.onnx, l.gguf]
"""


def harness(folder: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "harness", *arguments, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of a layer each are made and run, a third is not there."""
    folder = tmp_path_factory.mktemp("synthetic")
    (folder / "small.yaml").write_text(PROFILE)
    (folder / "models.yaml").write_text(MODELS)
    for quant, out in (("q4_0", "s.gguf"), ("int4", "s.onnx")):
        small = ["smollm2-135m", "--layers", "1", "--context", "64"]
        harness(folder, "models", "synth", *small, "--quant", quant, "--out", out)
    found = harness(folder, "run", "--set", "synthetic", "--profile", "small.yaml")
    return folder / str(found["run"])


def test_random_weights_are_ranked_in_a_list_of_their_own(run_folder: Path) -> None:
    card = json.loads((run_folder / "scorecard.json").read_text("utf-8"))
    entries = {entry["model"]: entry for entry in card["entries"]}
    assert {name: entry["list"] for name, entry in entries.items()} == {
        "ref-2m.q8_0.gguf": "embedded",
        "s.gguf": "synthetic",
        "s.onnx": "synthetic",
    }
    for entry in entries.values():
        assert entry["metrics"]["decode_tok_per_s"]["value"] > 0


def test_no_item_was_asked_and_the_card_says_why(run_folder: Path) -> None:
    records = read(run_folder / "records.jsonl").records
    asked = {record["model"] for record in records if record.get("kind") == "item"}
    assert asked == {"ref-2m.q8_0.gguf"}
    card = json.loads((run_folder / "scorecard.json").read_text("utf-8"))
    for model in ("s.gguf", "s.onnx"):
        (skip,) = [skip for skip in card["skipped"] if skip["model"] == model]
        assert (skip["case"], skip["reason"]) == ("accuracy", "synthetic_weights")


def test_what_was_not_made_is_skipped_with_its_command(run_folder: Path) -> None:
    card = json.loads((run_folder / "scorecard.json").read_text("utf-8"))
    (skip,) = [skip for skip in card["skipped"] if skip["model"] == "l.gguf"]
    assert skip["reason"] == "model_missing"
    command = "harness models synth smollm2-1.7b --quant q4_0 --format gguf --seed 0 --context 4096"
    assert skip["hint"] == command
