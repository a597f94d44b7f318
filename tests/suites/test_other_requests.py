"""Kernel passes, sustained runs and the energy pass, on an engine with known times."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from harness import times as times_of
from harness.backends.base import Capabilities, Step
from harness.backends.fake import FakeBackend
from harness.cases import Case
from harness.scoring.proofs import require_repeated
from harness.scoring.sustained import read_pass
from harness.suites import energy, kernel, latency, sustained, task
from tests.suites.helpers import fake, job, of_kind

TIMES = {"prefill_s_per_token": 0.001, "step_s": 0.02}


def test_kernel_counts_and_times(tmp_path: Path) -> None:
    backend = fake(tmp_path, **TIMES)
    pp, tg = Case(id="pp32", prompt_tokens=32), Case(id="tg4", output_tokens=4)
    for case, elapsed_ns, rate in ((pp, 32_000_000, 1000.0), (tg, 80_000_000, 50.0)):
        records = of_kind(kernel.measure(case, backend, job("kernel", case, requests=2)), "kernel")
        assert [record["elapsed_ns"] for record in records] == [elapsed_ns] * 2
        assert times_of.kernel_tok_per_s({"type": "sample", **records[0]}) == pytest.approx(rate)


@pytest.mark.parametrize("kind", ["pp", "tg"])
def test_a_kernel_pass_fills_its_depth_untimed(tmp_path: Path, kind: str) -> None:
    backend = fake(tmp_path, **TIMES)
    count = {"prompt_tokens": 4} if kind == "pp" else {"output_tokens": 4}
    case = Case(id=f"{kind}4@d50", depth_tokens=50, **count)
    work = dataclasses.replace(job("kernel", case, requests=2, warmup_max=1), process=1)
    records = of_kind(kernel.measure(case, backend, work), "kernel")
    assert [record["elapsed_ns"] for record in records] == [
        4_000_000 if kind == "pp" else 80_000_000
    ] * 2
    assert [record["evaluated"] for record in records] == [4, 4]
    of_a_pass = [("prefill", 50), *([("prefill", 4)] if kind == "pp" else [("step", 1)] * 4)]
    calls = [(call.kind, call.tokens) for call in backend.calls]
    assert calls == [("load", 0), *of_a_pass * 3], "a warm-up and two passes, each from empty"


def test_no_pass_begins_like_another(tmp_path: Path) -> None:
    """An adapter that keeps the matching prefix gains nothing in any of them."""
    case = Case(id="pp32", prompt_tokens=32)
    backend = fake(tmp_path, **TIMES, reuse_prefix=True)
    work = dataclasses.replace(job("kernel", case, requests=4), process=1)
    records = of_kind(kernel.measure(case, backend, work), "kernel")
    assert [record["elapsed_ns"] for record in records] == [32_000_000] * 4


@pytest.mark.parametrize("suite", [kernel, latency, task])
def test_an_adapter_that_keeps_a_prefix_is_refused_with_and_without_a_counter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suite: Any
) -> None:
    case = Case(id="c", prompt_tokens=32, output_tokens=2, texts=("안녕하세요?",))

    def repeat(**fields: Any) -> dict[str, Any]:
        records = suite.measure(case, fake(tmp_path, **TIMES, **fields), job("latency", case))
        (found,) = of_kind(records, "repeat")
        return {"type": "sample", **found}

    def refused(sample: dict[str, Any]) -> str:
        with pytest.raises(times_of.SampleRefusedError) as caught:
            require_repeated(sample)
        assert caught.value.reason == "prompt_not_evaluated"
        return caught.value.message

    require_repeated(repeat())
    assert "prompt tokens were evaluated" in refused(repeat(reuse_prefix=True))
    counted = FakeBackend.prefill

    def rows_fed(self: FakeBackend, ids: list[int], *, sample: bool = True) -> Step:
        return Step(counted(self, ids, sample=sample).next_id, len(ids))

    monkeypatch.setattr(FakeBackend, "prefill", rows_fed)
    monkeypatch.setattr(FakeBackend, "capabilities", Capabilities(counts_evaluated=False))
    require_repeated(repeat())
    assert "answered from a cache" in refused(repeat(reuse_prefix=True))


SUSTAINED = Case(id="sustained-p10-n6", prompt_tokens=10, output_tokens=6, duration_s=1.0)
REQUEST_NS = 110_000_000


def run(tmp_path: Path, case: Case, **fields: object) -> list[dict[str, Any]]:
    backend = fake(tmp_path, **TIMES | fields)
    return list(sustained.measure(case, backend, job("sustained", case)))


def test_sustained_requests_go_on_for_as_long_as_asked(tmp_path: Path) -> None:
    records = [record for record in run(tmp_path, SUSTAINED) if "type" not in record]
    assert len(records) == 10, "the tenth begins before a second has passed"
    for index, record in enumerate(records):
        assert record["index"] == index
        assert record["start_ns"] == index * REQUEST_NS
        assert record["first_ns"] == index * REQUEST_NS + 10_000_000
        assert record["last_ns"] == record["end_ns"] == (index + 1) * REQUEST_NS
        assert (record["tokens"], record["decoded"]) == (6, 5)
        assert (record["submitted"], record["evaluated"]) == (10, 10)
        assert read_pass({"type": "sample", **record}).tok_per_s == pytest.approx(50)


def test_sustained_makes_two_requests_at_least(tmp_path: Path) -> None:
    case = Case(id="s", prompt_tokens=10, output_tokens=6, duration_s=0.001)
    assert len([r for r in run(tmp_path, case) if "type" not in r]) == 2


def test_sustained_ends_on_a_clock_that_stands_still(tmp_path: Path) -> None:
    records = run(tmp_path, SUSTAINED, prefill_s_per_token=0, step_s=0)
    assert len([record for record in records if "type" not in record]) == 1


def test_sustained_reads_counters_once_a_second(tmp_path: Path) -> None:
    case = Case(id="s", prompt_tokens=10, output_tokens=6, duration_s=3.0)
    records = run(tmp_path, case)
    read = [record["index"] for record in records if record.get("type") == "telemetry"]
    assert read == [0, 10, 20], "a second is full after ten requests of 0.11 s"


ENERGY = Case(id="energy-p10-n6", prompt_tokens=10, output_tokens=6)


def test_energy_requests_say_when_they_began(tmp_path: Path) -> None:
    backend = fake(tmp_path, **TIMES)
    records = of_kind(energy.measure(ENERGY, backend, job("energy", ENERGY)), "request")
    assert [record["index"] for record in records] == [0, 1, 2]
    for index, record in enumerate(records):
        assert record["kind"] == "request"
        assert record["clock_ns"] == (index + 1) * REQUEST_NS, "behind one untimed request"
        times = times_of.request_times({"type": "sample", **record}, submitted=10, outputs=6)
        assert times.end_to_end_s == pytest.approx(REQUEST_NS / 1e9)
    assert len({record["output_sha256"] for record in records}) == 3


def test_energy_requests_are_on_the_clock_of_the_trace(tmp_path: Path) -> None:
    before = time.perf_counter_ns()
    backend = fake(tmp_path, clock="real")
    work = job("energy", ENERGY, requests=1)
    records = of_kind(energy.measure(ENERGY, backend, work), "request")
    assert before < records[0]["clock_ns"] < time.perf_counter_ns()
