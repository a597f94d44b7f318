"""The self-test passes on what a run really left, and fails on records that are wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import selftest
from harness.records import Record

Measured = tuple[list[Record], list[Record], Path]
TIMED = {"itl-step-0", "itl-step-0.2ms", "itl-step-1ms", "itl-step-10ms", "overhead", "ttft"}
TIMED |= {"load", "slow-token-tail", "slow-token-median"}
"""Checks that other processes on a busy machine may fail."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """A quick self-test's records, measured once."""
    folder = tmp_path_factory.mktemp("selftest")
    said: list[str] = []
    records, pair = selftest.measure(folder, quick=True, progress=said.append)
    assert said[0].endswith("jobs of fake engines")
    return records, pair, folder


def judged(
    measured: Measured, change: Callable[[Record], object] = lambda _record: None
) -> dict[str, dict[str, Any]]:
    """Checks by id, after every record of the run was changed."""
    records, pair, folder = measured
    changed = copy.deepcopy(records)
    for record in changed:
        change(record)
    found = selftest.judge(changed, pair, folder)
    assert found["passed"] == all(check["passed"] is not False for check in found["checks"])
    return {check["id"]: check for check in found["checks"]}


def of(record: Record, kind: str, model: str) -> bool:
    return record.get("kind") == kind and record.get("model") == model


def test_every_check_is_decided_and_passes(measured: Measured) -> None:
    checks = judged(measured)
    assert set(checks) >= TIMED | {"false-alarms", *selftest.NAIVE, "same-model-twice"}
    for kind in selftest.KINDS:
        assert f"memory-{kind}-64" in checks
    assert {"memory-heap-64-pair", "memory-shared-64-pair"} <= set(checks)
    for name, check in checks.items():
        assert check["measured"] is not None, check
        if name not in TIMED | {"same-model-twice"}:
            assert check["passed"] is True, check
    assert checks["same-model-twice"]["passed"] is None
    assert checks["same-model-twice"]["measured"] >= 0


def test_errors_are_measured_against_the_engines_own_log(measured: Measured) -> None:
    """Whatever the machine does: a clock that reads 10 % too much is found out."""

    def stretch(record: Record) -> None:
        if record.get("kind") == "request":
            record["token_ns"] = [moment * 11 // 10 for moment in record["token_ns"]]
            record["end_ns"] *= 2
        if record.get("kind") == "load":
            record["ready_ns"] += 50_000_000

    checks = judged(measured, stretch)
    for name in ("itl-step-10ms", "itl-step-1ms", "ttft", "load"):
        assert checks[name]["passed"] is False, checks[name]
    assert checks["itl-step-10ms"]["measured"] > 0.05


def test_a_slow_token_that_is_smoothed_away_is_missed(measured: Measured) -> None:
    def smooth(record: Record) -> None:
        if of(record, "request", "step-1ms"):
            record["token_ns"] = [record["token_ns"][0] + i * 1_000_000 for i in range(64)]

    assert judged(measured, smooth)["slow-token-tail"]["passed"] is False


@pytest.mark.parametrize("model", ["memory-heap-64", "memory-shared-64", "memory-transient-64"])
def test_memory_that_is_not_seen_is_missed(measured: Measured, model: str) -> None:
    def hide(record: Record) -> None:
        if of(record, "memory", model):
            record["peak_resident_bytes"] -= 16 << 20

    checks = judged(measured, hide)
    assert checks[model]["passed"] is False
    assert checks["memory-private-64"]["passed"] is True


def test_a_naive_adapter_that_is_accepted_fails(measured: Measured) -> None:
    def whitewash(record: Record) -> None:
        if of(record, "repeat", "naive-prefix"):
            record["evaluated"] = record["submitted"]
            record["repeated_ns"] = record["new_ns"]

    check = judged(measured, whitewash)["naive-prefix"]
    assert check["passed"] is False
    assert "prompt_not_evaluated" not in check["measured"]


def test_a_refused_clean_request_is_a_false_alarm(measured: Measured) -> None:
    def spoil(record: Record) -> None:
        if of(record, "request", "twin-b") and record["process"] == 1:
            record["evaluated"] -= 1

    check = judged(measured, spoil)["false-alarms"]
    assert (check["passed"], check["measured"]) == (False, 1)
    assert "prompt tokens were evaluated" in check["reason"]


def test_what_is_not_in_the_records_fails_with_its_reason(measured: Measured) -> None:
    records, pair, folder = measured
    left = [record for record in records if record.get("model") != "step-1ms"]
    found = selftest.judge(left, pair, folder)
    checks = {check["id"]: check for check in found["checks"]}
    assert checks["ttft"]["measured"] is None
    assert checks["ttft"]["passed"] is False
    assert "in the records" in checks["ttft"]["reason"]
    assert selftest.exit_code(found) == 4


def test_the_text_says_what_was_asked_and_what_to_do(measured: Measured) -> None:
    found = selftest.judge(*measured) | {"wall_s": 9.0}
    assert json.loads(json.dumps(found)) == found
    assert selftest.text(found | {"passed": True}).splitlines()[0].startswith("passed")
    found["checks"][0] |= {"passed": False, "measured": None, "reason": "no_result"}
    found["noise"] = [{"code": "busy_machine", "severity": "invalid", "detail": "others 30 %"}]
    said = selftest.text(found)
    assert said.startswith("FAILED  alarms in 3 clean runs: not measured (asked: 0); no_result")
    assert "noise   busy_machine: others 30 %" in said
    assert "run `harness selftest` again" in said
    assert selftest.exit_code(found | {"passed": True}) == 0
    for check in found["checks"]:
        check["passed"] = True
    assert selftest.text(found).endswith("the harness measures correctly here (9 s)")


def test_sizes_that_do_not_fit_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    facts: dict[str, object] = {"memory_available_bytes": 1 << 30}
    monkeypatch.setattr(selftest.environment, "observe", lambda: facts)
    names = set(selftest._models(quick=False))
    assert "memory-heap-64" in names
    assert "memory-heap-512" not in names
    facts["memory_available_bytes"] = 4 << 30
    assert "memory-heap-512" in selftest._models(quick=False)
