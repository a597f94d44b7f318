"""A whole run of text and fidelity on trained weights in both engines."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.models import reference
from harness.models.export_gguf import export_gguf
from harness.records import read
from tests.models.toys import toy_network
from tests.suites.test_fidelity import damaged

PROFILE = """\
id: text
version: 1
title: text in seconds
reference: ref-2m.f16.gguf
tier: unverified
protocol:
  processes: {latency: 1, language: 1, fidelity: 1}
  requests: 1
  warmup_max: 1
  grouping: suite
  job_timeout_s: 120
suites:
  latency: {prompt_tokens: [16], output_tokens: [4]}
  language: {tokens: 400, languages: [ko, en]}
  fidelity: {tokens: 300, languages: [ko, en], agreement_min: 0.9}
weights: {ttft_s: 1}
"""
# One thread, because those of llama.cpp wait for each other in loops on a busy machine.
ENTRY = (
    "  - {{id: {id}, family: {family}, format: gguf, quantisation: {quant}, "
    "options: {{threads: 1}}, source: {source}}}\n"
)
MODELS = {
    "ref-2m.f16.gguf": ("ref-2m", "f16", "embedded"),
    "ref-2m.q8_0.gguf": ("ref-2m", "q8_0", "embedded"),
    "stale.q8_0.gguf": ("ref-2m", "q8_0", "{kind: file, path: stale.gguf}"),
    "noise.f32.gguf": ("ref-2m", "f32", "{kind: file, path: noise.gguf}"),
    "ref-4m.f16.gguf": ("ref-4m", "f16", "embedded"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family of two, one of its own with a damaged tokeniser, random weights, and a stranger."""
    home = tmp_path_factory.mktemp("fidelity")
    path = home / "tokenizer.json"
    path.write_text(json.dumps(dict(damaged())["two merges swapped"]), "utf-8")
    network = dataclasses.replace(reference.network("ref-2m"), tokenizer=path)
    export_gguf(network, home / "stale.gguf", "q8_0")
    noise = dataclasses.replace(toy_network(home, max_position_embeddings=64), synthetic=True)
    export_gguf(noise, home / "noise.gguf", "f16")
    lines = [
        ENTRY.format(id=name, family=family, quant=quant, source=source)
        for name, (family, quant, source) in MODELS.items()
    ]
    (home / "models.yaml").write_text("models:\n" + "".join(lines))
    (home / "text.yaml").write_text(PROFILE)
    command = [sys.executable, "-m", "harness", "run", "--profile", "text.yaml", "--json"]
    for name in MODELS:
        command += ["--model", name]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return home / str(json.loads(done.stdout.splitlines()[-1])["run"])


@pytest.fixture(scope="module")
def entries(folder: Path) -> dict[str, dict[str, Any]]:
    card = json.loads((folder / "scorecard.json").read_text("utf-8"))
    return {entry["model"]: entry for entry in card["entries"]}


def test_the_reference_left_a_file_a_text(folder: Path) -> None:
    left = sorted(path.name for path in (folder / "fidelity").iterdir())
    assert left == [f"ref-2m.f16.gguf.fidelity-{text}.npz" for text in ("en", "ko")]
    ran = [
        record["model"]
        for record in read(folder / "records.jsonl").records
        if record["type"] == "job" and record["suite"] == "fidelity"
    ]
    assert ran[0] == "ref-2m.f16.gguf"
    assert sorted(ran[1:]) == ["ref-2m.q8_0.gguf", "stale.q8_0.gguf"]


def test_each_artefact_is_what_it_is(entries: dict[str, dict[str, Any]]) -> None:
    reasons = {model: (entry["fidelity"] or {}).get("reason") for model, entry in entries.items()}
    assert reasons == {
        "ref-2m.f16.gguf": "is_reference",
        "ref-2m.q8_0.gguf": "",
        "stale.q8_0.gguf": "tokeniser_differs",
        "noise.f32.gguf": "synthetic_weights",
        "ref-4m.f16.gguf": "no_reference",
    }
    near = entries["ref-2m.q8_0.gguf"]
    assert 0 < near["metrics"]["kld_nat"]["value"] < 0.02
    assert {gate["passed"] for gate in near["fidelity"]["gates"]} == {True}
    stale = entries["stale.q8_0.gguf"]
    assert "kld_nat" not in stale["metrics"]
    assert stale["fidelity"]["gates"][0]["passed"] is False


def test_random_weights_are_stamped_and_asked_nothing(entries: dict[str, dict[str, Any]]) -> None:
    noise = entries["noise.f32.gguf"]
    assert noise["list"] == "synthetic"
    assert noise["metrics"]["ttft_s"]["value"] > 0
    for metric in ("bits_per_byte", "perplexity", "kld_nat", "accuracy"):
        assert metric not in noise["metrics"]


def test_text_is_predicted_by_all_others(entries: dict[str, dict[str, Any]]) -> None:
    for model, entry in entries.items():
        if model != "noise.f32.gguf":
            assert set(entry["cases"]) >= {"text-ko", "text-en"}
            assert 0 < entry["metrics"]["bits_per_byte"]["value"] < 12
    near = entries["ref-2m.q8_0.gguf"]["metrics"]["bits_per_byte"]["value"]
    assert near == pytest.approx(
        entries["ref-2m.f16.gguf"]["metrics"]["bits_per_byte"]["value"], rel=0.01
    )


def test_the_report_tells_of_it(folder: Path) -> None:
    page = (folder / "report.html").read_text("utf-8")
    for part in (
        "양자화 충실도",
        "Fidelity of quantisation",
        "fidelity-tokeniser",
        "바이트당 비트",
    ):
        assert part in page
