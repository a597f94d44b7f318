"""The thermal gate on a scripted clock."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from harness.environment import UNKNOWN
from harness.environment.thermal import ThermalGate, pace_s


def wait(
    temperatures: Sequence[object],
    *,
    start: object = 50.0,
    cap_s: float = 300.0,
    paces: Sequence[float] = (),
) -> tuple[str, float, list[float]]:
    """What the gate says, and its pauses; the last temperature stays. Work takes 1 s at the
    start where paces are given.
    """
    left = list(temperatures)
    speeds = list(paces)
    pauses: list[float] = []
    gate = ThermalGate(
        start_temperature=start,
        start_pace_s=1.0 if paces else 0.0,
        pace=lambda: speeds.pop(0),
        cap_s=cap_s,
        read=lambda: left.pop(0) if len(left) > 1 else left[0],
        sleep=pauses.append,
    )
    word, waited_s = gate.wait()
    assert waited_s == pytest.approx(sum(pauses))
    return word, waited_s, pauses


def test_a_cool_processor_waits_for_nothing() -> None:
    assert wait([50.0]) == ("cool", 0.0, [])
    assert wait([53.0]) == ("cool", 0.0, [])


def test_a_hot_processor_cools_down() -> None:
    assert wait([80.0, 70, 60.0, 53.1, 52.9]) == ("cool", 8.0, [2.0] * 4)


def test_the_wait_ends_at_the_cap() -> None:
    assert wait([80.0], cap_s=5.0) == ("capped", 5.0, [2.0, 2.0, 1.0])
    # It may have become cool in the very last pause.
    assert wait([80.0, 80.0, 80.0, 51.0], cap_s=5.0) == ("cool", 5.0, [2.0, 2.0, 1.0])


def test_without_a_cap_nobody_looks() -> None:
    def unread() -> object:
        raise AssertionError("read")

    gate = ThermalGate(start_temperature=50.0, start_pace_s=1.0, cap_s=0.0, read=unread)
    assert gate.wait() == ("off", 0.0)


@pytest.mark.parametrize("value", [UNKNOWN, None, True, math.nan])
def test_no_temperature_no_wait(value: object) -> None:
    assert wait([80.0], start=value) == ("unknown", 0.0, [])
    assert wait([value]) == ("unknown", 0.0, [])


def test_a_sensor_that_fails_ends_the_wait() -> None:
    assert wait([80.0, 70.0, UNKNOWN]) == ("unknown", 4.0, [2.0, 2.0])


def test_without_a_temperature_a_recovered_clock_lets_the_job_begin() -> None:
    assert wait([UNKNOWN], paces=[1.09]) == ("recovered", 0.0, [])
    assert wait([UNKNOWN], paces=[1.3, 1.11, 1.1]) == ("recovered", 4.0, [2.0, 2.0])
    assert wait([UNKNOWN], paces=[1.3] * 4, cap_s=5.0) == ("capped", 5.0, [2.0, 2.0, 1.0])
    assert wait([60.0, UNKNOWN], paces=[0.9]) == ("recovered", 2.0, [2.0]), "the sensor failed"


def test_the_pace_is_a_short_time() -> None:
    assert 0 < pace_s() < 1
