"""The memory suite without a worker: phases, and what a platform cannot say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cases import Case
from harness.errors import CapabilityError
from harness.probes import counters
from harness.probes import memory as probe
from harness.suites import memory
from tests.suites.helpers import fake, job, of_kind

CASE = Case(id="c32", prompt_tokens=28, output_tokens=4, context=32)


@pytest.fixture(autouse=True)
def _mark() -> Iterator[None]:
    """What is known about this process's mark does not leak into the next test."""
    memory._mark["since"] = "start"
    yield
    memory._mark["since"] = "start"


def test_one_request_fills_the_context(tmp_path: Path) -> None:
    backend = fake(tmp_path)
    records = of_kind(memory.measure(CASE, backend, job("memory", CASE)), "memory")
    assert [record["phase"] for record in records] == ["prefill", "decode"]
    # The last token is returned and never fed back: it needs no place in the cache.
    assert sum(call.tokens for call in backend.calls) == CASE.context - 1


def test_a_peak_counts_from_where_the_mark_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([(9, 5), (8, 5), (7, 5), (6, 5)])
    resets = iter([True, False, True, True])
    monkeypatch.setattr(probe, "resident", lambda: probe.Resident(*next(sizes)))
    monkeypatch.setattr(probe, "reset_peak", lambda: next(resets))
    monkeypatch.setattr(counters, "read", lambda: {"available_bytes": 77})
    records = [memory.reading("c32", phase) for phase in ("runtime", "import", "load", "prefill")]
    assert [record["since"] for record in records] == ["start", "phase", "start", "phase"]
    assert records[0] == {
        "case": "c32",
        "kind": "memory",
        "phase": "runtime",
        "peak_resident_bytes": 9,
        "resident_bytes": 5,
        "since": "start",
        "available_bytes": 77,
    }


def test_a_platform_that_does_not_say_is_a_missing_capability(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe, "resident", lambda: None)
    with pytest.raises(CapabilityError, match="does not report a peak") as caught:
        memory.reading("c32", "prefill")
    assert caught.value.reason == "memory_unreadable"
