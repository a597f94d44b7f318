"""Energy of a request, out of a trace of the machine's energy. Pure.

The trace is cumulative joules at moments of the clock that also times the request; what
lies between two readings is interpolated. A request that the trace cannot carry is
refused, never estimated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.metrics import Floats
from harness.times import SampleRefusedError, whole

MEASURED: Final = frozenset({"rapl", "psys", "battery", "wall"})
"""Methods that measure; energy computed by a model of the processor never ranks."""
LEAST_POINTS: Final = 5
"""New readings that must lie inside a request."""


class _Trace(NamedTuple):
    t_ns: npt.NDArray[np.int64]
    joules: Floats
    idle_w: float


def request_joules(sample: Mapping[str, Any], trace: Mapping[str, Any] | None) -> float:
    """Energy of a request above the idle power: E(te) - E(t0) - idle_w (te - t0), in J.

    Args:
        sample: `clock_ns`, the moment t0, and `end_ns` after it.
        trace: `method`, `t_ns` (same clock), `joules` since the first of them, `idle_w`.

    Raises:
        SampleRefusedError: `no_energy` (no trace, a counter that stood still, or no more
            than idle), `energy_modelled`, `energy_not_covered`, `energy_too_coarse` or
            `bad_times`.
    """
    t_ns, joules, idle_w = _checked(trace)
    start_ns = whole(sample, "clock_ns", least=0)
    duration_ns = whole(sample, "end_ns", least=1)
    end_ns = start_ns + duration_ns
    if start_ns < t_ns[0] or end_ns > t_ns[-1]:
        raise SampleRefusedError(
            "the request is not inside the energy trace", reason="energy_not_covered"
        )
    grown = np.diff(joules) > 0
    inside = (t_ns[1:] >= start_ns) & (t_ns[1:] <= end_ns)
    if not grown.any():
        raise SampleRefusedError("the energy counter stood still", reason="no_energy")
    if (points := int(np.count_nonzero(grown & inside))) < LEAST_POINTS:
        raise SampleRefusedError(
            f"{points} energy readings inside the request; {LEAST_POINTS} are needed",
            reason="energy_too_coarse",
        )
    # Since the trace's start: absolute moments have more digits than a float.
    ends = np.array([start_ns, end_ns], dtype=np.int64) - t_ns[0]
    first, last = np.interp(ends.astype(np.float64), (t_ns - t_ns[0]).astype(np.float64), joules)
    above = float(last - first) - idle_w * (duration_ns / 1e9)
    if above <= 0:
        raise SampleRefusedError("no energy above the idle power", reason="no_energy")
    return above


def _checked(trace: Mapping[str, Any] | None) -> _Trace:
    """The trace as arrays, once it can be believed."""
    method = trace.get("method") if trace else None
    if method == "model":
        raise SampleRefusedError("modelled energy is not measured", reason="energy_modelled")
    if trace and (problem := trace.get("problem")):
        raise SampleRefusedError("reading the power ended early", reason=str(problem))
    if not trace or method not in MEASURED:
        raise SampleRefusedError(f"no energy by a known method ({method})", reason="no_energy")
    t_ns, joules = _numbers(trace.get("t_ns"), "i"), _numbers(trace.get("joules"), "if")
    if t_ns.size != joules.size or t_ns.size == 0:
        raise SampleRefusedError(
            f"{t_ns.size} moments with {joules.size} energies", reason="bad_times"
        )
    if (np.diff(t_ns) <= 0).any() or (np.diff(joules) < 0).any():
        raise SampleRefusedError("the energy trace does not grow", reason="bad_times")
    idle_w = trace.get("idle_w")
    if isinstance(idle_w, bool) or not isinstance(idle_w, int | float) or not 0 <= idle_w < 1e6:
        raise SampleRefusedError(f"idle power is {idle_w!r}", reason="no_energy")
    return _Trace(t_ns.astype(np.int64), joules.astype(np.float64), float(idle_w))


def _numbers(values: Any, kinds: str) -> npt.NDArray[Any]:
    """A list of finite numbers of these kinds, as an array `[n]`; empty where it is none."""
    try:
        array = np.asarray(values if isinstance(values, list) else [])
    except ValueError:
        return np.empty(0)
    fits = array.ndim == 1 and array.dtype.kind in kinds and np.isfinite(array).all()
    return array if fits else np.empty(0)
