"""What a profile demands and how it weighs, read from a run record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from harness.cases import Case, cases_of
from harness.errors import RecordError
from harness.metrics import METRICS, suite_of
from harness.plan import SUITE_VERSIONS
from harness.spec import Profile, digest, profile_from_json
from harness.specgate import Gate, Scoring, scoring_fault

LOAD_CASE = "load"
UNKNOWN_LOAD_CASE = "load-unknown"
LOAD_CASES = {"warm": LOAD_CASE, "cold": "load-cold", "unknown": UNKNOWN_LOAD_CASE}
"""Case of a start by what the page cache held of the model's files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A profile as judging needs it.

    Attributes:
        sha256: of the profile as it was recorded.
        weights: by metric id, in its order.
        cases: by suite and id; a suite that is not run has none.
    """

    profile: Profile
    sha256: str
    weights: Mapping[str, float]
    cases: Mapping[str, Mapping[str, Case]]

    @property
    def judged(self) -> list[str]:
        """Metrics that a score needs: the weighed ones, and accuracy where a gate demands it."""
        gates = {gate.metric for gate in self.profile.gates if gate.required}
        return sorted({*self.weights, *(["accuracy"] if "accuracy_ratio" in gates else [])})

    @property
    def compared(self) -> list[str]:
        """Metrics whose ratio to the reference a weight or a gate asks for."""
        gated = any(gate.metric == "accuracy_ratio" for gate in self.profile.gates)
        return sorted({*self.judged, *(["accuracy"] if gated else [])})

    @property
    def judges_accuracy(self) -> bool:
        """Whether guessing has to be excluded."""
        return any(suite_of(metric) == "accuracy" for metric in self.judged)

    @property
    def deciding_gate(self) -> Gate | None:
        """The gate that stands for accuracy under `scoring: gate`: open, it decides against."""
        if self.profile.scoring != "gate":
            return None
        return next(g for g in self.profile.gates if g.metric == "accuracy_ratio" and g.required)

    def scored(self, suite: str) -> list[str]:
        """Ids of the cases that count for a suite's metrics; the others are shown only."""
        return sorted(case.id for case in self.cases[suite].values() if case.scored)


def read_rules(data: Mapping[str, Any]) -> Rules:
    """Rules of a profile's JSON.

    Raises:
        RecordError: a field is missing, a weight's metric is not registered, or
            weights do not add up to 1.
    """
    try:
        profile = profile_from_json(data)
        cases = cases_of(profile)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RecordError(
            f"the run record's profile cannot be read: {error!r}", reason="bad_profile"
        ) from error
    for metric, weight in profile.weights.items():
        if metric not in METRICS or not 0 <= weight <= 1:
            raise RecordError(
                f"the profile weighs {metric!r} by {weight}",
                allowed=f"a share of 1 for one of {', '.join(sorted(METRICS))}",
                reason="bad_profile",
            )
    if profile.weights and abs(math.fsum(profile.weights.values()) - 1) > 1e-6:
        raise RecordError("the profile's weights do not add up to 1", reason="bad_profile")
    if profile.scoring not in get_args(Scoring):
        raise RecordError(
            f"the profile scores by {profile.scoring!r}",
            allowed=", ".join(get_args(Scoring)),
            hint="install the harness version that wrote it, or a newer one",
            reason="bad_profile",
        )
    if fault := scoring_fault(profile.scoring, profile.weights, profile.gates):
        raise RecordError(fault, reason="bad_profile")
    return Rules(
        profile=profile,
        sha256=digest(data),
        weights=dict(sorted(profile.weights.items())),
        cases={suite: {case.id: case for case in cases.get(suite, ())} for suite in SUITE_VERSIONS},
    )
