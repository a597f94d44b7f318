"""A bounded number of mutated GGUF files; the full count is `python -m tests.fuzz.gguf`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz import campaign, gguf

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")


def test_a_file_depends_on_seed_and_index_alone(tmp_path: Path) -> None:
    def made(name: str, seed: int, index: int) -> bytes:
        (tmp_path / name).mkdir()
        return gguf.make(campaign.seeded(seed, index), tmp_path / name).read_bytes()

    assert made("a", 1, 7) == made("b", 1, 7)
    assert made("c", 1, 8) != made("d", 2, 8)


def test_a_base_is_put_together_as_it_was() -> None:
    for name in gguf.BASES:
        content, entries, tensors, data = gguf._base(name)
        parts = gguf.Parts([list(e) for e in entries], [list(t) for t in tensors], list(data))
        assert parts.whole() == content


def test_every_change_changes_something() -> None:
    content, entries, tensors, data = gguf._base(gguf.BASES[0])
    for change in set(gguf.CHANGES):
        made = set()
        for seed in range(4):
            parts = gguf.Parts([list(e) for e in entries], [list(t) for t in tensors], list(data))
            change(random.Random(seed), parts)
            made.add(parts.whole() != content)
        assert True in made, change.__name__


def test_the_harness_stands_every_file_and_the_engine_most() -> None:
    verdicts = campaign.campaign(gguf.make, 20261126, range(16), 2)
    found = campaign.summary(verdicts)
    assert found["files"] == 16
    assert found["failures"] == []
    assert {"refused", "loaded"} <= found["outcomes"].keys()
    assert "timeout" not in found["outcomes"]


def test_preflight_alone_on_many_files(tmp_path: Path) -> None:
    """In this process: thousands a minute, and no exception but a refusal."""
    from harness.errors import SpecError
    from harness.preflight import gguf as preflight

    passed, reasons = 0, set()
    for index in range(150):
        path = gguf.make(campaign.seeded(3, index), tmp_path)
        try:
            preflight.check(path)
            passed += 1
        except SpecError as error:
            reasons.add(error.reason.partition("_")[0])
    assert 20 < passed < 130
    assert reasons <= {"gguf", "template"}
