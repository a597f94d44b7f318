"""What the harness itself costs: `uv run pytest tests/perf --benchmark-enable`.

In an ordinary test run each of these is called once, as a test that it works.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.backends.base import Backend
from harness.backends.fake import FakeBackend
from harness.backends.llama_cpp import LlamaCppBackend
from harness.backends.onnxruntime import OnnxRuntimeBackend
from harness.models.reference import materialise
from harness.records import decode_line, encode_line
from harness.score import dump, scorecard
from harness.spec import BackendOptions
from harness.suites.base import fixed_prompt, request
from harness.suites.scorer import Scorer
from tests.golden_run import golden_records

OPTIONS = BackendOptions(threads=1, context=512)


def opened(backend: Backend, path: Path) -> Backend:
    """A loaded backend."""
    backend.load(path, OPTIONS)
    return backend


def test_a_request_of_the_fake_engine(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """64 decode steps without an engine: the loop and its clock readings."""
    path = tmp_path / "toy.fake.json"
    path.write_text('{"step_s": 0.001}')
    backend = opened(FakeBackend(), path)
    prompt = fixed_prompt(backend, 8, "overhead")
    record = benchmark(request, backend, prompt, 64)
    assert len(record["token_ns"]) == 64


@pytest.mark.parametrize("model", ["ref-2m.q8_0.gguf", "ref-2m.int8.onnx"])
def test_a_request_of_a_real_engine(benchmark: BenchmarkFixture, model: str) -> None:
    backend = opened(
        LlamaCppBackend() if model.endswith("gguf") else OnnxRuntimeBackend(), materialise(model)
    )
    prompt = fixed_prompt(backend, 64, "overhead")
    record = benchmark(request, backend, prompt, 64)
    assert record["evaluated"] == 64
    backend.close()


@pytest.mark.parametrize("model", ["ref-2m.q8_0.gguf", "ref-2m.int8.onnx"])
def test_options_scored_over_a_shared_prefix(benchmark: BenchmarkFixture, model: str) -> None:
    backend = opened(
        LlamaCppBackend() if model.endswith("gguf") else OnnxRuntimeBackend(), materialise(model)
    )
    options = ("은 아주 좋습니다.", "는 아주 좋습니다.")
    scorer = Scorer(backend)
    scores = benchmark(lambda: scorer.paths(*scorer.encode("이 책상", options)))
    assert scores[0].log_likelihood > scores[1].log_likelihood
    backend.close()


def test_a_record_line(benchmark: BenchmarkFixture) -> None:
    record = {"type": "sample", "token_ns": list(range(1_000_000, 1_000_128))}
    assert benchmark(lambda: decode_line(encode_line(record)[:-1])) == record


def test_scoring_a_run(benchmark: BenchmarkFixture) -> None:
    records = golden_records()
    assert benchmark(lambda: dump(scorecard(records)))
