"""Energy of a request from a trace."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.scoring.energy import LEAST_POINTS, request_joules
from harness.times import SampleRefusedError

MS = 1_000_000
PERIOD_NS = 50 * MS
START_NS = 8_640_000_000_000_123  # a clock that has run for 100 days


def steps(
    watts: float, points: int = 41, *, idle_w: float = 0.0, start_ns: int = START_NS
) -> dict[str, Any]:
    """A trace of constant power, read every 50 ms."""
    return {
        "method": "rapl",
        "t_ns": [start_ns + i * PERIOD_NS for i in range(points)],
        "joules": [watts * i * PERIOD_NS / 1e9 for i in range(points)],
        "idle_w": idle_w,
    }


def request(after_ms: float, duration_ms: float, start_ns: int = START_NS) -> dict[str, int]:
    return {"clock_ns": start_ns + round(after_ms * MS), "end_ns": round(duration_ms * MS)}


def reason(sample: Mapping[str, Any], trace: Mapping[str, Any] | None) -> str:
    with pytest.raises(SampleRefusedError) as caught:
        request_joules(sample, trace)
    return caught.value.reason


def test_unit_steps() -> None:
    """One joule a reading: a request over six whole steps and two halves took seven."""
    trace = steps(20.0)
    assert trace["joules"][:3] == [0, 1, 2]
    assert request_joules(request(75, 350), trace) == pytest.approx(7.0)


def test_uneven_power_is_read_between_the_points() -> None:
    trace = steps(0.0, 9) | {"joules": [0, 1, 3, 6, 10, 15, 21, 28, 36]}
    # From the middle of the second step (1 + 2/2) to a fifth of the seventh (21 + 7/5).
    assert request_joules(request(75, 235), trace) == pytest.approx(22.4 - 2.0)


@given(
    watts=st.floats(1.0, 200.0),
    idle_share=st.floats(0.0, 0.99),
    after_ms=st.floats(0.0, 1000.0),
    duration_ms=st.floats(300.0, 1000.0),
)
def test_the_idle_power_is_taken_off(
    watts: float, idle_share: float, after_ms: float, duration_ms: float
) -> None:
    sample = request(after_ms, duration_ms)
    found = request_joules(sample, steps(watts, idle_w=watts * idle_share))
    assert found == pytest.approx(watts * (1 - idle_share) * sample["end_ns"] / 1e9, rel=1e-6)


@given(
    growth=st.lists(st.floats(1e-3, 10.0), min_size=40, max_size=40),
    cut_ms=st.integers(300, 1700),
    shift_ns=st.integers(0, 2**61),
)
def test_adjoining_requests_add_up_whatever_the_clock(
    growth: list[float], cut_ms: int, shift_ns: int
) -> None:
    joules = [math.fsum(growth[:i]) for i in range(41)]
    trace = steps(0.0, start_ns=shift_ns) | {"joules": joules}
    assume(cut_ms % 50)  # a reading on the cut would lie in both
    first = request_joules(request(0, cut_ms, shift_ns), trace)
    second = request_joules(request(cut_ms, 2000 - cut_ms, shift_ns), trace)
    assert first + second == pytest.approx(joules[-1])


def test_a_request_outside_the_trace_is_refused() -> None:
    trace = steps(10.0)
    assert request_joules(request(0, 2000), trace) == pytest.approx(20.0)
    assert reason(request(-0.001, 500), trace) == "energy_not_covered"
    assert reason(request(1500, 500.001), trace) == "energy_not_covered"


def test_a_short_request_is_refused() -> None:
    trace = steps(10.0)
    assert LEAST_POINTS == 5
    assert reason(request(51, 248), trace) == "energy_too_coarse"
    assert request_joules(request(50, 200), trace) == pytest.approx(2.0)


def test_a_figure_that_is_repeated_is_no_reading() -> None:
    """A slow counter: two real readings inside, however often it was asked."""
    trace = steps(0.0) | {"joules": [float(i // 15) for i in range(41)]}
    assert reason(request(0, 2000), trace) == "energy_too_coarse"


def test_a_counter_that_stood_still_is_no_energy() -> None:
    assert reason(request(0, 2000), steps(0.0)) == "no_energy"


def test_no_more_than_idle_is_no_energy() -> None:
    assert reason(request(0, 2000), steps(5.0, idle_w=5.0)) == "no_energy"
    assert reason(request(0, 2000), steps(5.0, idle_w=9.0)) == "no_energy"


@pytest.mark.parametrize("method", ["rapl", "psys", "battery", "wall"])
def test_measured_methods_count(method: str) -> None:
    trace = steps(10.0) | {"method": method}
    assert request_joules(request(0, 500), trace) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"method": "model"}, "energy_modelled"),
        ({"method": "guess"}, "no_energy"),
        ({"method": None}, "no_energy"),
        ({"idle_w": None}, "no_energy"),
        ({"idle_w": -1.0}, "no_energy"),
        ({"idle_w": math.nan}, "no_energy"),
        ({"idle_w": True}, "no_energy"),
        ({"t_ns": None}, "bad_times"),
        ({"t_ns": []}, "bad_times"),
        ({"t_ns": [], "joules": []}, "bad_times"),
        ({"t_ns": [1.0] * 41}, "bad_times"),
        ({"t_ns": [[1], [2, 3]]}, "bad_times"),
        ({"t_ns": [START_NS] * 41}, "bad_times"),
        ({"t_ns": [START_NS - i for i in range(41)]}, "bad_times"),
        ({"joules": [1.0, 2.0]}, "bad_times"),
        ({"joules": [float(-i) for i in range(41)]}, "bad_times"),
        ({"joules": [*map(float, range(40)), math.nan]}, "bad_times"),
        ({"joules": ["1"] * 41}, "bad_times"),
    ],
)
def test_a_trace_that_cannot_be_believed(changes: dict[str, Any], expected: str) -> None:
    assert reason(request(0, 500), steps(10.0) | changes) == expected


def test_no_trace() -> None:
    assert reason(request(0, 500), None) == "no_energy"
    assert reason(request(0, 500), {}) == "no_energy"


@pytest.mark.parametrize(
    "sample",
    [{}, {"clock_ns": START_NS}, {"clock_ns": START_NS, "end_ns": 0}, {"clock_ns": 0.5}],
)
def test_a_request_without_times(sample: dict[str, Any]) -> None:
    assert reason(sample, steps(10.0)) == "bad_times"
