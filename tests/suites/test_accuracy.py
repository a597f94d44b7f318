"""Log-likelihoods over a shared prefix equal one full evaluation an option."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.backends.base import Backend, Capabilities
from harness.backends.fake import FakeBackend
from harness.errors import CapabilityError
from harness.plan import Case
from harness.spec import BackendOptions
from harness.suites import accuracy
from tests.suites.helpers import fake, job, of_kind


def naive(backend: Backend, context: str, option: str) -> float:
    """One full forward pass, nothing shared: lm-evaluation-harness's definition."""
    kept = context.rstrip(" ")
    ids = backend.encode(context + option)
    start = len(backend.encode(kept))
    if not kept:
        ids, start = [min(backend.end_ids), *ids], 1
    logits = backend.extend(backend.root(), ids, range(len(ids))).astype(np.float64)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(sum(logits[i - 1, ids[i]] for i in range(start, len(ids))))


@pytest.mark.parametrize(
    ("context", "options"),
    [
        ("책상", ("은 아주 좋습니다.", "는 아주 좋습니다.")),
        ("the ", ("a", "b", "c")),
        ("", ("문을 열었다", "문이 열었다")),
        ("x", ("same start A", "same start BB", "same start A and more")),
        ("prefix of another", (" ab", " abc")),
        ("one", ("only",)),
        ("", ("z", "y")),
    ],
)
def test_shared_prefixes_change_nothing(
    tmp_path: Path, context: str, options: tuple[str, ...]
) -> None:
    backend = fake(tmp_path, seed=7)
    found = accuracy.log_likelihoods(backend, context, options)
    assert found == pytest.approx([naive(backend, context, option) for option in options], abs=1e-9)


class MergingBackend(FakeBackend):
    """A tokeniser that merges `ab` into one token, across the boundary as well."""

    def encode(self, text: str) -> list[int]:
        """Bytes, with `ab` as 255."""
        return list(text.encode().replace(b"ab", b"\xff"))


def test_a_merge_across_the_boundary_is_scored_by_the_joint_encoding(tmp_path: Path) -> None:
    path = tmp_path / "toy.fake.json"
    path.write_text("{}")
    backend = MergingBackend()
    backend.load(path, BackendOptions(threads=1))
    for context, options in (("xa", ("b", "c")), ("a", ("b!", "c!")), ("a", ("b", "c"))):
        found = accuracy.log_likelihoods(backend, context, options)
        assert found == pytest.approx([naive(backend, context, option) for option in options])


def test_generation_stops_at_line_end_cap_and_end_token(tmp_path: Path) -> None:
    class Scripted(FakeBackend):
        script = ""

        def _greedy(self) -> int:
            text = self.script.encode()
            position = self._position - 1
            return text[position] if position < len(text) else 256

    path = tmp_path / "toy.fake.json"
    path.write_text("{}")
    backend = Scripted()
    backend.load(path, BackendOptions(threads=1))
    backend.script = " 1+1=2;2\nmore"
    assert accuracy.generate(backend, "?", 40) == (" 1+1=2;2", False)
    backend.script = " 12"
    assert accuracy.generate(backend, "?", 40) == (" 12", False)
    backend.script = "no end in sight"
    assert accuracy.generate(backend, "?", 5) == ("no en", True)


@pytest.mark.parametrize("case", ["ko-josa", "en-pairs", "ko-arith", "en-calendar"])
def test_items_are_scored_and_never_silently_dropped(tmp_path: Path, case: str) -> None:
    language, task = case.split("-")
    spec = Case(id=case, task=task, language=language, items=12)
    backend = fake(tmp_path)
    records = of_kind(accuracy.measure(spec, backend, job("accuracy", spec)), "item")
    assert [record["index"] for record in records] == list(range(12))
    for record in records:
        assert record["case"] == case
        assert isinstance(record["correct"], bool)
        assert 1 <= record["level"] <= 3
        if not record["answered"]:
            assert not record["correct"]


def test_another_seed_gives_other_items(tmp_path: Path) -> None:
    spec = Case(id="ko-arith", task="arith", language="ko", items=8)
    backend = fake(tmp_path)
    public = of_kind(accuracy.measure(spec, backend, job("accuracy", spec)), "item")
    secret_job = job("accuracy", spec, seed="ab" * 32)
    secret = of_kind(accuracy.measure(spec, backend, secret_job), "item")
    assert [r["template"] for r in public] != [r["template"] for r in secret]


def test_a_backend_without_logits_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = fake(tmp_path)
    monkeypatch.setattr(type(backend), "capabilities", Capabilities(logits=False))
    spec = Case(id="ko-josa", task="josa", language="ko", items=2)
    with pytest.raises(CapabilityError) as caught:
        list(accuracy.measure(spec, backend, job("accuracy", spec)))
    assert caught.value.reason == "no_logits"
