"""The scorecard: everything that is derived from the records of one run.

Figures are in SI units, as the metric's `unit` says, rounded to six significant digits.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from harness.schema.entry import Entry
from harness.schema.fields import (
    Amount,
    Attempt,
    Calibration,
    Code,
    Count,
    Fact,
    Finding,
    Name,
    Outcome,
    Positive,
    Seed,
    Sha256,
    Share,
    Skipped,
    Suite,
)
from harness.spec import Device, Tier
from harness.specgate import Scoring


class ProfileFacts(TypedDict):
    """Which profile judged.

    Attributes:
        id: its name.
        version: raised with every change.
        title: one line for people.
        note: for people.
        sha256: hash of all that it says.
    """

    id: Name
    version: Positive
    title: str
    note: str
    sha256: Sha256


class Around(TypedDict):
    """Facts of the machine, by name; empty where not recorded.

    Attributes:
        before: the jobs.
        after: them.
    """

    before: dict[str, Fact]
    after: dict[str, Fact]


class Calibrations(TypedDict):
    """The machine's roof; null = not measured.

    Attributes:
        before: the jobs.
        after: them.
    """

    before: Calibration | None
    after: Calibration | None


class Verdict(TypedDict):
    """Whether the run counts.

    Attributes:
        state: whether and how far.
        findings: on the whole run.
    """

    state: Literal["valid", "warn", "invalid", "unverified"]
    findings: list[Finding]


class Pareto(TypedDict):
    """Entries that nothing dominates.

    Attributes:
        axes: metrics that were compared.
        front: ids of those that nothing dominates.
        dominated: the others, and by whom.
    """

    axes: list[str]
    front: list[str]
    dominated: dict[str, list[str]]


class Pair(TypedDict):
    """Two entries of one list; `a` has the higher score.

    Attributes:
        a: id of the one.
        b: id of the other.
        gap: between their scores, as a share of the lower one.
        p: of the joint bootstrap.
        p_adjusted: by Holm over the pairs of the list.
        beats: the difference is significant.
    """

    a: Name
    b: Name
    gap: Amount
    p: Share
    p_adjusted: Share
    beats: bool


class AccuracyPair(TypedDict):
    """Two models on the items that both were asked; `a` has the higher accuracy.

    Attributes:
        a: id of the one.
        b: id of the other.
        only_a: items that only `a` has right.
        only_b: that only `b` has right.
        both: that both have right.
        neither: that none has right.
        p: of an exact McNemar test.
        p_holm: adjusted over the list.
        difference: of the chance-adjusted means.
        lo: lower bound of its 95 % interval.
        hi: upper bound.
    """

    a: Name
    b: Name
    only_a: Count
    only_b: Count
    both: Count
    neither: Count
    p: Share
    p_holm: Share
    difference: float
    lo: float
    hi: float


class Accuracy(TypedDict):
    """What the items could tell; null without a pair.

    Attributes:
        items: that the pair with the fewest shares.
        discordance: share of them on which a pair differs, mean over pairs.
        minimum_detectable_difference: at 80 % power and an unadjusted 5 %.
        pairs: of each list.
    """

    items: Count | None
    discordance: Share | None
    minimum_detectable_difference: Amount | None
    pairs: list[AccuracyPair]


class JobBegunAgain(TypedDict):
    """A job whose earlier start does not count, because it was begun again.

    Attributes:
        model: that it measured.
        suite: that it belongs to.
        process: which of the fresh processes, from 0.
        outcome: how that start ended.
        reason: why, as a code.
    """

    model: Name
    suite: Suite
    process: Count
    outcome: Outcome
    reason: Code


class Sessions(TypedDict):
    """In how many goes the run was made.

    Attributes:
        resumed: when it went on, in UTC; empty = it was made in one go.
        again: jobs that were begun again.
    """

    resumed: list[str]
    again: list[JobBegunAgain]


class Scorecard(TypedDict):
    """The scorecard of one run.

    Attributes:
        kind: always `scorecard`.
        schema: version of the scorecard.
        run: id of the run.
        harness: version of the program that measured.
        started_utc: when it began, in UTC.
        attempt: which run of its plan it is.
        sessions: in how many goes it was made.
        seed: what items were drawn from; empty = nothing was asked.
        device: the declared laptop.
        profile: that judged.
        reference: id of the model that ratios are taken to.
        scoring: formula of the score.
        fixed_family: network that the profile prescribes; empty = none.
        weights: by metric, in sum 1.
        skipped: what was not measured, and why.
        tier: what the scorecard claims.
        environment: the machine.
        calibration: its roof.
        verdict: whether the run counts.
        entries: of all models.
        pareto: the front over accuracy, speed and memory.
        pairs: who beats whom.
        accuracy: answers compared item by item.
    """

    kind: Literal["scorecard"]
    schema: Positive
    run: Name
    harness: str
    started_utc: str
    attempt: Attempt
    sessions: Sessions
    seed: Seed | Annotated[dict[str, Any], Field(max_length=0)]
    device: Device
    profile: ProfileFacts
    reference: Name
    scoring: Scoring
    fixed_family: str
    weights: dict[str, Share]
    skipped: list[Skipped]
    tier: Tier
    environment: Around
    calibration: Calibrations
    verdict: Verdict
    entries: list[Entry]
    pareto: Pareto
    pairs: list[Pair]
    accuracy: Accuracy
