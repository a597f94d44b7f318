"""The noise floor of a machine: how far runs of the very same thing lie apart. Pure.

Processes of one run do not see what hits the whole run alike (heat, memory layout, another
tenant of the processor), so a test over processes cannot either. Runs of one thing do: what
they differ by, no later change may be called one for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from harness.comparing.comparable import reasons_against
from harness.comparing.sides import Side
from harness.errors import IncomparableError, SpecError
from harness.metrics import suite_of
from harness.stats import round_significant, student_t

Floats = npt.NDArray[np.float64]

FLOOR = 0.02
"""Smallest relative change that is called one where a machine's own noise is smaller."""
FLOOR_BYTES = 8 << 20
LEAST_RUNS = 3
_HINT = "harness baseline noise RUN RUN RUN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The noise of a machine by metric, as relative changes.

    Attributes:
        machine: its key; empty = nothing is known of it. runs: how many were compared.
    """

    machine: str = ""
    runs: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)

    def of(self, metric: str, level: float) -> float:
        """The smallest |ln ratio| that counts for a metric whose values are near `level`."""
        relative = max(FLOOR, self.metrics.get(metric, 0.0))
        if suite_of(metric) == "memory":
            relative = max(relative, FLOOR_BYTES / level)
        return math.log1p(relative)

    def joined(self, other: Floor) -> Floor:
        """The larger floor of two machines in every metric."""
        if other.machine in {"", self.machine}:
            return self
        names = sorted(self.metrics.keys() | other.metrics.keys())
        return Floor(
            machine=f"{self.machine}+{other.machine}".strip("+"),
            runs=min(self.runs or other.runs, other.runs),
            metrics={
                name: max(self.metrics.get(name, 0.0), other.metrics.get(name, 0.0))
                for name in names
            },
        )


NO_FLOOR = Floor()


def noise_floor(means: Floats) -> Floats:
    """The |ln ratio| that two further runs of one thing stay within.

    The larger of two: what any two runs differed by in any case; and the 95 % prediction bound
    of a difference, t √2 s with the standard deviation s between runs. That is taken over
    all cases, but with the runs' degrees of freedom, because what hits a run hits all cases.
    The first is too small for few runs, the second for many cases.

    Args:
        means: `[…, runs, cases]`, each the mean of ln(process median).
    """
    runs = means.shape[-2]
    seen = (means.max(axis=-2) - means.min(axis=-2)).max(axis=-1)
    between = np.sqrt(means.var(axis=-2, ddof=1).mean(axis=-1))
    out: Floats = np.maximum(seen, student_t(runs - 1) * math.sqrt(2) * between)
    return out


def measured_floor(sides: Sequence[Side]) -> Floor:
    """The floor of the machine that these runs of the very same thing ran on.

    Raises:
        SpecError: fewer than three runs, or one twice. IncomparableError: they differ in more
            than chance, or have no case in common.
    """
    names = [side.run for side in sides]
    if len(set(names)) < max(LEAST_RUNS, len(names)):
        raise SpecError(
            f"{len(set(names))} different runs say too little of a machine's noise",
            allowed=f"at least {LEAST_RUNS} runs of the same thing, each named once",
            hint=_HINT,
            reason="too_few_runs",
        )
    for before, after in pairwise(sides):
        shared = sorted(before.models.keys() & after.models.keys())
        if reasons := reasons_against(before, after, [(model, model) for model in shared]):
            raise IncomparableError(
                f"{before.name} and {after.name} are not runs of the same thing: "
                f"{reasons[0].detail}",
                allowed="runs of one profile, model and engine on one machine",
                hint=_HINT,
                reason=reasons[0].code,
            )
    metrics = {
        metric: round_significant(math.expm1(float(noise_floor(means))))
        for metric, means in sorted(_means(sides).items())
    }
    if not metrics:
        raise IncomparableError(
            "no case was measured by at least two processes in all of these runs",
            allowed="runs of a profile with several processes",
            hint="harness run --profile regression",
            reason="nothing_in_common",
        )
    return Floor(machine=sides[0].machine, runs=len(sides), metrics=metrics)


def _means(sides: Sequence[Side]) -> dict[str, Floats]:
    """Means of ln(process median) by metric, `[runs, cases]`, of cases that all runs have."""
    found: dict[str, list[list[float]]] = {}
    for model in sorted(set.intersection(*(set(side.models) for side in sides))):
        measured = [side.models[model].medians for side in sides]
        for place in sorted(set.intersection(*(set(medians) for medians in measured))):
            values = [medians[place] for medians in measured]
            if min(map(min, values)) > 0 and min(map(len, values)) > 1:
                column = [float(np.log(row).mean()) for row in values]
                found.setdefault(place[1], []).append(column)
    return {metric: np.array(columns).T for metric, columns in found.items()}
