"""Waiting for the processor to cool down before a job, up to a cap."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

POLL_S = 2.0
"""Time between two looks: the machine shall be idle meanwhile."""
MARGIN_C = 3.0
"""A processor that is at most so much warmer than at the start counts as cool."""
PACE_SHARE = 1.1
"""Without a temperature: work may take so much longer than at the start. Throttling costs
more, and a quiet virtual machine's own noise is half of it."""
_PACE_PASSES, _PACE_STEPS = 20, 200_000

GateState = Literal["off", "cool", "recovered", "capped", "unknown"]


def pace_s() -> float:
    """Time of a fixed piece of work that only the clock's frequency decides, best of 20.

    Where no temperature can be read, a processor that has become slower is a hot one. The
    first passes also bring an idle core up to speed: about 50 ms in all.
    """

    def once() -> float:
        start = time.perf_counter()
        sum(range(_PACE_STEPS))
        return time.perf_counter() - start

    return min(once() for _ in range(_PACE_PASSES))


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalGate:
    """Lets a job begin about as cool, or as fast, as the first one.

        gate = ThermalGate(start_temperature=48.0, start_pace_s=pace_s(), cap_s=300.0, …)
        gate.wait()   # ("cool", 14.0)

    Attributes:
        start_temperature: °C before the run, or whatever stands for "not known".
        start_pace_s: `pace_s` before the run; 0 = not known.
        cap_s: longest wait; 0 = never wait.
        read: the temperature now, in °C; what is no number is not known.
        pace: how long the fixed work takes now.
        sleep: waits for so many seconds.
    """

    start_temperature: object
    start_pace_s: float
    cap_s: float
    read: Callable[[], object]
    pace: Callable[[], float] = pace_s
    sleep: Callable[[float], object] = time.sleep

    def wait(self) -> tuple[GateState, float]:
        """Wait until it is cool, the cap is reached or nobody knows.

        Returns:
            `off` where the cap is 0, `cool` by the temperature, `recovered` by the pace,
            `capped` or `unknown`; and the seconds waited.
        """
        if self.cap_s <= 0:
            return "off", 0.0
        waited_s = 0.0
        while (state := self._state()) == "capped" and waited_s < self.cap_s:
            pause_s = min(POLL_S, self.cap_s - waited_s)
            self.sleep(pause_s)
            waited_s += pause_s
        return state, waited_s

    def _state(self) -> GateState:
        """What holds now; `capped` where it is still hot."""
        start_c, now_c = _known(self.start_temperature), _known(self.read())
        if start_c is not None and now_c is not None:
            return "cool" if now_c <= start_c + MARGIN_C else "capped"
        if self.start_pace_s <= 0:
            return "unknown"
        return "recovered" if self.pace() <= PACE_SHARE * self.start_pace_s else "capped"


def _known(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    return value
