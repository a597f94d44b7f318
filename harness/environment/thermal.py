"""Waiting for the processor to cool down before a job, up to a cap."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

POLL_S = 2.0
"""Time between two looks: the machine shall be idle meanwhile."""
MARGIN_C = 3.0
"""A processor that is at most so much warmer than at the start counts as cool."""

Word = Literal["off", "cool", "capped", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalGate:
    """Lets a job begin about as cool as the first one.

        gate = ThermalGate(start_temperature=48.0, cap_s=300.0, read=…, sleep=time.sleep)
        gate.wait()   # ("cool", 14.0)

    Attributes:
        start_temperature: °C before the run, or whatever stands for "not known".
        cap_s: longest wait; 0 = never wait.
        read: the temperature now, in °C; what is no number is not known.
        sleep: waits for so many seconds.
    """

    start_temperature: object
    cap_s: float
    read: Callable[[], object]
    sleep: Callable[[float], object]

    def wait(self) -> tuple[Word, float]:
        """Wait until it is cool, the cap is reached or nobody knows.

        Returns:
            `off` where the cap is 0, `cool`, `capped` or `unknown`; and the seconds waited.
        """
        if self.cap_s <= 0:
            return "off", 0.0
        waited_s = 0.0
        while True:
            start_c, now_c = _known(self.start_temperature), _known(self.read())
            if start_c is None or now_c is None:
                return "unknown", waited_s
            if now_c <= start_c + MARGIN_C:
                return "cool", waited_s
            if waited_s >= self.cap_s:
                return "capped", waited_s
            pause_s = min(POLL_S, self.cap_s - waited_s)
            self.sleep(pause_s)
            waited_s += pause_s


def _known(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    return value
