"""A bounded number of mutated ONNX submissions; the full count is `python -m tests.fuzz.onnx`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from harness.errors import SpecError
from harness.preflight.onnx import check
from tests.fuzz import campaign, onnx
from tests.fuzz.wire import encode


def test_a_file_depends_on_seed_and_index_alone(tmp_path: Path) -> None:
    def made(name: str, seed: int, index: int) -> bytes:
        (tmp_path / name).mkdir()
        return onnx.make(campaign.seeded(seed, index), tmp_path / name).read_bytes()

    assert made("a", 1, 7) == made("b", 1, 7)
    assert made("c", 1, 8) != made("d", 2, 8)


@pytest.mark.parametrize("name", onnx.NAMES)
def test_seeds_pass_as_they_are(tmp_path: Path, name: str) -> None:
    tree, files = onnx.seed(name)
    path = onnx.write(tmp_path, encode(tree), files)
    check(path, tmp_path)


def test_every_change_changes_something() -> None:
    tree, _ = onnx.seed("external")
    whole = encode(tree)
    for change in set(onnx.TREE):
        made = {whole}
        for number in range(4):
            other = onnx.seed("external")[0].copy()
            change(random.Random(number), other)
            made.add(encode(other))
        assert len(made) > 2, change.__name__
    assert encode(tree) == whole  # the seed itself stays as it is


def test_the_harness_stands_every_file() -> None:
    verdicts = campaign.campaign(onnx.make, 20261126, range(16), 2)
    found = campaign.summary(verdicts)
    assert found["files"] == 16
    assert found["failures"] == []
    assert {"refused"} < found["outcomes"].keys()  # some reached the engine
    assert "timeout" not in found["outcomes"]


def test_preflight_alone_on_many_files(tmp_path: Path) -> None:
    """In this process, many a second: no exception but a refusal."""
    passed, reasons = 0, set()
    for index in range(120):
        folder = tmp_path / str(index)
        folder.mkdir()
        path = onnx.make(campaign.seeded(3, index), folder)
        try:
            check(path, folder)
            passed += 1
        except SpecError as error:
            reasons.add(error.reason)
    assert 5 < passed < 60
    assert len(reasons) > 8
    assert all(reason.startswith(("onnx_", "genai_", "json_")) for reason in reasons)
