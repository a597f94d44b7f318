"""The timing path against an engine whose true times are known exactly."""

from __future__ import annotations

import dataclasses
import gc
import itertools
from pathlib import Path

import pytest

from harness import times as times_of
from harness.backends.base import Capabilities
from harness.backends.fake import FakeBackend
from harness.cases import Case
from harness.scoring.proofs import require_available
from harness.suites import latency
from harness.suites.base import request, salted_prompts
from tests.suites.helpers import fake, job, of_kind

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
    with pytest.raises(times_of.SampleRefusedError) as caught:
        times_of.request_times(record)
    assert caught.value.reason == "prompt_not_evaluated"


def test_prompts_differ_by_request_and_repeat_over_processes(tmp_path: Path) -> None:
    first, second = samples(tmp_path), samples(tmp_path)
    hashes = [record["output_sha256"] for record in first if record["kind"] == "request"]
    assert len(set(hashes)) == len(hashes)
    assert hashes == [record["output_sha256"] for record in second if record["kind"] == "request"]


def test_the_collector_is_off_while_timing_and_on_afterwards(tmp_path: Path) -> None:
    backend = fake(tmp_path)
    seen = []
    original = backend.step
    backend.step = lambda token, sample=True: seen.append(gc.isenabled()) or original(token)  # type: ignore[method-assign]
    list(latency.measure(CASE, backend, job("latency", CASE)))
    assert not any(seen)
    assert gc.isenabled()


def test_counters_are_read_before_and_after_each_request(tmp_path: Path) -> None:
    backend = fake(tmp_path)
    records = list(latency.measure(CASE, backend, job("latency", CASE)))
    kinds = [record.get("kind", record.get("type")) for record in records]
    assert kinds == ["warmup", "repeat", "check", "telemetry", *["request", "telemetry"] * 3]
    read = [record for record in records if record.get("type") == "telemetry"]
    assert [record["index"] for record in read] == [0, 1, 2, 3]
    for record in read:
        assert (record["source"], record["case"]) == ("worker", CASE.id)
    clocks = [record["counters"]["clock_ns"] for record in read]
    assert clocks == sorted(clocks)


def test_a_depth_is_evaluated_before_the_clock_starts(tmp_path: Path) -> None:
    case = Case(id="fixed-p64-n8@d100", prompt_tokens=64, output_tokens=8, depth_tokens=100)
    backend = fake(tmp_path, prefill_s_per_token=0.001, step_s=0.02)
    records = list(latency.measure(case, backend, job("latency", case, warmup_max=1)))
    requests = [record for record in records if record.get("kind") == "request"]
    assert len(requests) == 3
    for record in requests:
        assert record["depth_evaluated"] == 100
        assert record["submitted"] == record["evaluated"] == 64
        assert record["decoded"] == 7
        assert record["token_ns"] == [64_000_000 + 20_000_000 * i for i in range(8)]
        sample = {"type": "sample", **record}
        times_of.request_times(sample, submitted=64, outputs=8, depth=100)
    assert len({record["output_sha256"] for record in requests}) == 3


def test_depth_and_prompt_differ_by_request(tmp_path: Path) -> None:
    """A kept prefix of either would be found by its count."""
    case = Case(id="deep", prompt_tokens=64, output_tokens=2, depth_tokens=100)
    drawn = [salted_prompts(case, fake(tmp_path), job("latency", case), s) for s in ("0", "1")]
    (depth_0, prompt_0), (depth_1, prompt_1) = drawn
    assert depth_0[:3] != depth_1[:3]
    assert prompt_0[:3] != prompt_1[:3]
    assert depth_0[:3] != prompt_0[:3]


def test_a_single_output_token_has_no_gaps(tmp_path: Path) -> None:
    case = Case(id="fixed-p64-n1", prompt_tokens=64, output_tokens=1)
    backend = fake(tmp_path, prefill_s_per_token=0.001, step_s=0.02)
    records = list(latency.measure(case, backend, job("latency", case)))
    record = next(record for record in records if record.get("kind") == "request")
    assert (record["token_ns"], record["decoded"]) == ([64_000_000], 0)
    times = times_of.request_times({"type": "sample", **record}, submitted=64, outputs=1)
    assert (times.tpot_s, times.itl_s.size) == (None, 0)


def proof(tmp_path: Path, **fields: object) -> dict[str, object]:
    backend = fake(tmp_path, **{"prefill_s_per_token": 0.001, "step_s": 0.02} | fields)
    records = latency.measure(CASE, backend, job("latency", CASE))
    (found,) = (record for record in records if record.get("kind") == "check")
    return {"type": "sample", **found}


def test_an_honest_engine_proves_that_its_tokens_are_there(tmp_path: Path) -> None:
    found = proof(tmp_path)
    assert found["prefill_ns"] == found["extend_ns"] == 64_000_000
    assert found["step_ns"] == found["extend_step_ns"] == 20_000_000
    assert found["same_token"] is True
    require_available(found)


@pytest.mark.parametrize("step_s", [0.001, 0.02, 0.064, 0.1, 5.0])
def test_an_early_return_is_exposed_however_calls_compare(tmp_path: Path, step_s: float) -> None:
    found = proof(tmp_path, early_return=True, step_s=step_s)
    with pytest.raises(times_of.SampleRefusedError) as caught:
        require_available(found)
    assert caught.value.reason == "token_not_available"
    assert found["prefill_ns"] == 6_400_000, "nothing was owed before it"
    assert found["step_ns"] == step_s * 1e8


def test_a_token_that_is_not_the_most_likely_one_is_exposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    greedy = FakeBackend._greedy
    monkeypatch.setattr(FakeBackend, "_greedy", lambda self: (greedy(self) + 1) % 256)
    with pytest.raises(times_of.SampleRefusedError) as caught:
        require_available(proof(tmp_path))
    assert caught.value.reason == "wrong_token"


def test_the_proof_is_made_once_a_case_and_only_with_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kinds(process: int) -> set[str]:
        planned = dataclasses.replace(job("latency", CASE), process=process)
        records = latency.measure(CASE, fake(tmp_path), planned)
        return {record["kind"] for record in records if "kind" in record}

    assert "check" in kinds(0)
    assert "check" not in kinds(1)
    monkeypatch.setattr(FakeBackend, "capabilities", Capabilities(logits=False))
    assert "check" not in kinds(0)


def test_the_proof_fits_into_the_tightest_context(tmp_path: Path) -> None:
    case = Case(id="fixed-p64-n1", prompt_tokens=64, output_tokens=1)
    backend = fake(tmp_path, context=65)
    records = list(latency.measure(case, backend, job("latency", case)))
    (check,) = of_kind(records, "check")
    assert check["same_token"] is True


def test_a_chunk_is_not_a_token(tmp_path: Path) -> None:
    record = next(r for r in samples(tmp_path, chunk_tokens=4) if r["kind"] == "request")
    assert record["decoded"] == 4 * 7
    with pytest.raises(times_of.SampleRefusedError) as caught:
        times_of.request_times({"type": "sample", **record})
    assert caught.value.reason == "wrong_token_count"
