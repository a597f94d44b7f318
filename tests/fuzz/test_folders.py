"""A bounded number of mutated tokenisers and safetensors; see `tests.fuzz.folders`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.models.reference import materialise
from harness.models.safetensors_file import read_header
from harness.preflight import documents, tokenizer
from tests.fuzz import campaign, folders

pytest.importorskip("onnx")
pytest.importorskip("tokenizers")


def test_the_harness_stands_every_folder() -> None:
    found = campaign.summary(campaign.campaign(folders.make, 5, range(10), 2))
    assert found["failures"] == []
    assert found["outcomes"]["refused"] > 2


def test_fifty_headers_are_read_or_refused(tmp_path: Path) -> None:
    base = materialise("ref-2m.f32.safetensors")
    passed, reasons = 0, set()
    for index in range(50):
        shutil.copy(base / "model.safetensors", tmp_path)
        folders.safetensors(campaign.seeded(1, index), tmp_path)
        try:
            read_header(tmp_path / "model.safetensors")
            passed += 1
        except SpecError as error:
            reasons.add(error.reason.partition("_")[0])
    assert 3 < passed < 40
    assert reasons == {"safetensors"}


def test_fifty_tokenisers_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what they say, in this process: patterns are tried in the child."""
    monkeypatch.setattr(tokenizer, "_try", documents.read)
    base = materialise("ref-2m.int8.onnx")
    passed, reasons = 0, set()
    for index in range(50):
        shutil.copy(base / "tokenizer.json", tmp_path)
        folders.tokenizer(campaign.seeded(1, index), tmp_path)
        try:
            tokenizer.check(tmp_path / "tokenizer.json")
            passed += 1
        except SpecError as error:
            reasons.add(error.reason.partition("_")[0])
    assert 3 < passed < 45
    assert reasons <= {"tokenizer", "json"}
