"""Decode rate over minutes of requests back to back. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.metrics import Floats
from harness.times import SampleRefusedError, require_decoded, require_evaluated, whole

_MINUTE_S = 60.0
_LEAST_S = 120.0
_FLOOR = 0.9
_SMOOTHED = 5
"""Requests in the running median: a single odd request ends nothing."""


class Pass(NamedTuple):
    """One request: start, middle of its decoding and end, in s since the case began."""

    start_s: float
    middle_s: float
    end_s: float
    tok_per_s: float


class Curve(NamedTuple):
    """Requests of one process, in order of time."""

    passes: tuple[Pass, ...]

    @property
    def duration_s(self) -> float:
        """End of the last request."""
        return self.passes[-1].end_s

    def minutes(self) -> list[float | None]:
        """Median decode rate in each whole minute; None where no request fell into it."""
        whole_minutes = int(self.duration_s // _MINUTE_S)
        return [self._rate(i * _MINUTE_S, (i + 1) * _MINUTE_S) for i in range(whole_minutes)]

    def ratio(self) -> float:
        """Median decode rate of the last minute over that of the first.

        Raises:
            SampleRefusedError: `too_short`: not two minutes, or requests so long that none
                lies in one of them.
        """
        return self._bound(self.duration_s - _MINUTE_S, self.duration_s) / self._first()

    def above_90_s(self) -> float:
        """Time after which the rate stays below 90 % of the first minute's.

        Read from a running median of five requests; the whole duration where it never does.

        Raises:
            SampleRefusedError: `too_short`.
        """
        floor = _FLOOR * self._first()
        rates = _running_median(np.array([found.tok_per_s for found in self.passes]))
        good = np.flatnonzero(rates >= floor)
        after = int(good[-1]) + 1 if good.size else 0
        return self.passes[after].start_s if after < len(self.passes) else self.duration_s

    def _first(self) -> float:
        if self.duration_s < _LEAST_S:
            raise SampleRefusedError(
                f"{self.duration_s:.0f} s; a first and a last minute need {_LEAST_S:.0f} s",
                reason="too_short",
            )
        return self._bound(0.0, _MINUTE_S)

    def _bound(self, start_s: float, end_s: float) -> float:
        rate = self._rate(start_s, end_s)
        if rate is None:
            raise SampleRefusedError(
                "no request lies in the first or the last minute", reason="too_short"
            )
        return rate

    def _rate(self, start_s: float, end_s: float) -> float | None:
        inside = [found.tok_per_s for found in self.passes if start_s <= found.middle_s < end_s]
        return float(np.median(inside)) if inside else None


def read_pass(sample: Mapping[str, Any]) -> Pass:
    """One request of the sustained suite.

    Raises:
        SampleRefusedError: `prompt_not_evaluated`, `wrong_token_count` or `bad_times`.
    """
    require_evaluated(sample)
    tokens = whole(sample, "tokens", least=2)
    require_decoded(sample, tokens - 1)
    start, first, last, end = (
        whole(sample, f"{name}_ns", least=0) for name in ("start", "first", "last", "end")
    )
    if not start < first < last <= end:
        raise SampleRefusedError("times do not grow", reason="bad_times")
    return Pass(start / 1e9, (first + last) / 2e9, end / 1e9, (tokens - 1) * 1e9 / (last - first))


def curve(passes: Sequence[Pass]) -> Curve:
    """At least one request, put in order of time."""
    return Curve(tuple(sorted(passes)))


def _running_median(rates: Floats) -> Floats:
    """Over five requests around each; the ends repeat the first and the last median."""
    if rates.size < _SMOOTHED:
        return rates
    inner = np.median(np.lib.stride_tricks.sliding_window_view(rates, _SMOOTHED), axis=1)
    return np.pad(inner, _SMOOTHED // 2, mode="edge")
