"""The timing path against an engine whose true times are known exactly."""

from __future__ import annotations

import gc
import itertools
from pathlib import Path

import pytest

from harness import metrics
from harness.backends.base import Capabilities
from harness.plan import Case
from harness.suites import kernel, latency
from harness.suites.base import request
from tests.suites.helpers import fake, job

CASE = Case(id="fixed-p64-n8", prompt_tokens=64, output_tokens=8)


def samples(tmp_path: Path, **fields: object) -> list[dict[str, object]]:
    backend = fake(tmp_path, prefill_s_per_token=0.001, step_s=0.02, **fields)
    found = latency.measure(CASE, backend, job("latency", CASE))
    return [record for record in found if record.get("type") != "telemetry"]


def test_known_delays_come_back_exactly(tmp_path: Path) -> None:
    requests = [record for record in samples(tmp_path) if record["kind"] == "request"]
    assert len(requests) == 3
    for record in requests:
        assert record["submitted"] == record["evaluated"] == 64
        assert record["token_ns"] == [64_000_000 + 20_000_000 * i for i in range(8)]
        assert record["end_ns"] == 64_000_000 + 20_000_000 * 7


def test_a_slow_token_shows_where_it_happened(tmp_path: Path) -> None:
    record = samples(tmp_path, slow_steps={"3": 0.5})[-1]
    times = record["token_ns"]
    assert isinstance(times, list)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps == [20_000_000] * 3 + [500_000_000] + [20_000_000] * 3


def test_warm_up_stops_once_it_is_steady(tmp_path: Path) -> None:
    warm = samples(tmp_path)[0]
    assert warm["kind"] == "warmup"
    assert warm["converged"]
    assert len(warm["duration_ns"]) == 3  # type: ignore[arg-type]


def test_warm_up_that_does_not_settle_says_so(tmp_path: Path) -> None:
    backend = fake(tmp_path, step_s=0.02)
    warm = next(iter(latency.measure(CASE, backend, job("latency", CASE, warmup_max=2))))
    assert not warm["converged"]
    assert len(warm["duration_ns"]) == 2


def test_a_naive_adapter_is_caught_by_the_count(tmp_path: Path) -> None:
    """It keeps the prefix over a reset: the same prompt again evaluates less."""
    backend = fake(tmp_path, prefill_s_per_token=0.001, reuse_prefix=True)
    prompt = list(range(64))
    first = request(backend, prompt, 2)
    again = request(backend, prompt, 2)
    assert first["evaluated"] == 64
    assert again["evaluated"] < again["submitted"]
    record = {"type": "sample", **again}
    with pytest.raises(metrics.SampleRefusedError) as caught:
        metrics.request_times(record)
    assert caught.value.reason == "prompt_not_evaluated"


def test_prompts_differ_by_request_and_repeat_over_processes(tmp_path: Path) -> None:
    first, second = samples(tmp_path), samples(tmp_path)
    hashes = [record["output_sha256"] for record in first if record["kind"] == "request"]
    assert len(set(hashes)) == len(hashes)
    assert hashes == [record["output_sha256"] for record in second if record["kind"] == "request"]


def test_an_engine_without_a_counter_proves_itself_by_behaviour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = fake(tmp_path, prefill_s_per_token=0.001, reuse_prefix=True)
    monkeypatch.setattr(type(backend), "capabilities", Capabilities(counts_evaluated=False))
    (check,) = [
        record
        for record in latency.measure(CASE, backend, job("latency", CASE))
        if record.get("kind") == "repeat"
    ]
    assert max(check["new_ns"]) <= 64_000_000
    assert len(check["repeated_ns"]) == len(check["new_ns"]) == 3


def test_the_collector_is_off_while_timing_and_on_afterwards(tmp_path: Path) -> None:
    backend = fake(tmp_path)
    seen = []
    original = backend.step
    backend.step = lambda token, sample=True: seen.append(gc.isenabled()) or original(token)  # type: ignore[method-assign]
    list(latency.measure(CASE, backend, job("latency", CASE)))
    assert not any(seen)
    assert gc.isenabled()


def test_kernel_counts_and_times(tmp_path: Path) -> None:
    backend = fake(tmp_path, prefill_s_per_token=0.001, step_s=0.02)
    pp, tg = Case(id="pp32", prompt_tokens=32), Case(id="tg4", output_tokens=4)
    for case, elapsed_ns, rate in ((pp, 32_000_000, 1000.0), (tg, 80_000_000, 50.0)):
        records = list(kernel.measure(case, backend, job("kernel", case, requests=2)))
        assert [record["elapsed_ns"] for record in records] == [elapsed_ns] * 2
        assert metrics.kernel_tok_per_s({"type": "sample", **records[0]}) == pytest.approx(rate)
