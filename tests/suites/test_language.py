"""Bits per byte and perplexity against naive implementations on the fake engine."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.backends.base import Backend, Capabilities
from harness.backends.fake import FakeBackend
from harness.cases import Case
from harness.errors import CapabilityError
from harness.scoring.language import guesses, text_metrics
from harness.spec import BackendOptions
from harness.suites import language
from harness.suites.language import chunk_sums, walk
from harness.suites.rows import ROWS, log_probability
from harness.suites.texts import generated
from harness.times import SampleRefusedError
from tests.suites.helpers import fake, job, of_kind

BOS = 255


class WithBos(FakeBackend):
    """Its tokeniser begins every text with a token of its own."""

    begin_ids = (BOS,)


def with_bos(folder: Path) -> WithBos:
    path = folder / "bos.fake.json"
    path.write_text(json.dumps({"seed": 3}), "utf-8")
    backend = WithBos()
    backend.load(path, BackendOptions(threads=1))
    return backend


def nats_of(backend: Backend, ids: Sequence[int], size: int) -> np.ndarray:
    """By the suite's walk."""
    nats = np.full(len(ids), np.nan)

    def visit(first, rows, targets):
        assert list(targets) == list(ids[first : first + len(targets)])
        assert np.isnan(nats[first : first + len(targets)]).all(), "each token once"
        assert len(rows) == len(targets) <= ROWS
        nats[first : first + len(targets)] = -log_probability(rows, targets)

    walk(backend, ids, size, visit)
    assert not np.isnan(nats).any()
    return nats


def nats_after(backend: Backend, context: Sequence[int], token: int) -> float:
    """-ln p of one token by one full forward pass in float64."""
    row = backend.extend(backend.root(), list(context), [len(context) - 1])[0].astype(np.float64)
    return float(np.log(np.exp(row - row.max()).sum()) - (row[token] - row.max()))


def naive(backend: Backend, ids: Sequence[int], size: int) -> list[float]:
    """The definition: each token behind the window that first reaches it."""
    start = list(backend.begin_ids)
    stream = [*start, *ids]
    out = []
    for place in range(len(start), len(stream)):
        begin = 0
        while place >= begin + size:
            begin += size // 2
        context = stream[begin:place]
        context[: len(start)] = start
        out.append(nats_after(backend, context or [min(backend.end_ids)], stream[place]))
    return out


def llama_perplexity(backend: Backend, ids: Sequence[int], n_ctx: int) -> float:
    """tools/perplexity/perplexity.cpp, line by line."""
    tokens = [*backend.begin_ids, *ids]
    first, nll, count = n_ctx // 2, 0.0, 0
    for i in range(len(tokens) // n_ctx):
        start = i * n_ctx
        batch = tokens[start : start + n_ctx]
        if backend.begin_ids:
            batch[0] = backend.begin_ids[0]
        for j in range(first, n_ctx - 1):
            nll += nats_after(backend, batch[: j + 1], tokens[start + j + 1])
            count += 1
    return math.exp(nll / count)


@pytest.mark.parametrize("size", [8, 64, 200])
@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 63, 64, 65, 128, 129, 260])
@pytest.mark.parametrize("bos", [False, True])
def test_every_token_is_predicted_once_behind_its_window(
    tmp_path: Path, size: int, length: int, *, bos: bool
) -> None:
    backend = with_bos(tmp_path) if bos else fake(tmp_path, seed=3)
    ids = np.random.default_rng(length).integers(0, 256, length).tolist()
    found = nats_of(backend, ids, size)
    np.testing.assert_allclose(found, naive(backend, ids, size), atol=1e-5)


@pytest.mark.parametrize("length", [16, 33, 64, 127, 128, 131])
@pytest.mark.parametrize("bos", [False, True])
def test_perplexity_is_that_of_llama_cpp(tmp_path: Path, length: int, *, bos: bool) -> None:
    backend = with_bos(tmp_path) if bos else fake(tmp_path, seed=3)
    ids = np.random.default_rng(length).integers(0, 256, length).tolist()
    for n_ctx in (8, 16):
        sums = chunk_sums(nats_of(backend, ids, n_ctx), n_ctx, len(backend.begin_ids))
        assert len(sums) == (length + bos) // n_ctx
        found = math.exp(sum(sums) / len(sums) / (n_ctx // 2 - 1))
        assert found == pytest.approx(llama_perplexity(backend, ids, n_ctx), rel=1e-5)


def case(**changes: object) -> Case:
    plain = Case(id="text-ko", language="ko", prompt_tokens=512, items=200)
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def test_bits_per_byte_by_hand(tmp_path: Path) -> None:
    """The fake engine's tokens are bytes, so bits a byte are bits a token."""
    backend = fake(tmp_path)
    (sample,) = of_kind(language.measure(case(), backend, job("language", case())), "text")
    text = generated("ko", 600).encode()
    assert sample["bytes"] == sample["tokens"] == len(text)
    nats = naive(backend, list(text), 512)
    metrics = text_metrics(sample)
    assert metrics["bits_per_byte"] == pytest.approx(sum(nats) / math.log(2) / len(text), rel=1e-6)
    assert metrics["perplexity"] == pytest.approx(math.exp(np.mean(nats[257:512])), rel=1e-6)
    assert guesses(sample), "a hash knows no text"
    assert not guesses(sample | {"nats": [1.0]})


def test_a_text_shorter_than_a_window_has_no_perplexity(tmp_path: Path) -> None:
    short = case(items=100)
    found = of_kind(language.measure(short, fake(tmp_path), job("language", short)), "text")
    assert set(text_metrics(found[0])) == {"bits_per_byte"}


@pytest.mark.parametrize(
    "changes",
    [
        {"bytes": 0},
        {"bytes": None},
        {"nats": []},
        {"nats": [math.nan]},
        {"nats": [-1.0]},
        {"nats": [True]},
        {"nats": "1"},
        {"chunk_nats": [1.0], "chunk_tokens": 0},
    ],
)
def test_an_odd_sample_is_refused(changes: dict[str, object]) -> None:
    sample = {"bytes": 10, "nats": [1.0], "chunk_nats": [], "chunk_tokens": 255}
    assert text_metrics(sample)
    with pytest.raises(SampleRefusedError):
        text_metrics(sample | changes)


def test_what_cannot_be_predicted_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reason(asked: Case = case()) -> str:  # noqa: B008 - frozen
        folder = dataclasses.replace(job("language", asked), folder=str(tmp_path))
        with pytest.raises(CapabilityError) as caught:
            list(language.measure(asked, backend, folder))
        return caught.value.reason

    backend = fake(tmp_path)
    (tmp_path / "empty.txt").write_text("")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert reason(case(text="empty.txt", text_sha256=empty)) == "no_output"
    monkeypatch.setattr(type(backend), "end_ids", frozenset())
    assert reason() == "no_end_token"
    monkeypatch.setattr(type(backend), "capabilities", Capabilities(logits=False))
    assert reason() == "no_logits"


def test_only_one_block_of_rows_exists_at_a_time(tmp_path: Path) -> None:
    """A block of a vocabulary of 152 thousand is 39 MB; two of them would be the limit."""
    import gc
    import tracemalloc

    class Wide(FakeBackend):
        vocabulary = 152_064

        def _evaluate(self, ids, rows):
            return np.zeros((len(rows), self.vocabulary), np.float32)

    path = tmp_path / "wide.fake.json"
    path.write_text("{}")
    backend = Wide()
    backend.load(path, BackendOptions(threads=1))
    gc.collect()
    tracemalloc.start()
    try:
        nats = nats_of(backend, [5] * 400, 256)
        assert tracemalloc.get_traced_memory()[1] < 64 * 152_064 * 4 + (8 << 20)
    finally:
        tracemalloc.stop()
    assert nats == pytest.approx(np.log(152_064), rel=1e-6)
