"""One model of a scorecard: figures, gates, tasks, and where its memory goes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from harness.schema.fields import (
    Amount,
    Code,
    Count,
    Finding,
    Name,
    Outcome,
    Positive,
    Sandbox,
    Share,
    Suite,
)
from harness.spec import ChatTemplate, Format, Tier

Interval = Annotated[list[float], Field(min_length=2, max_length=2)]
"""Lower and upper bound, at 95 %."""


class Spread(TypedDict):
    """How a metric varies, relative to its value; null = nothing to compare.

    Attributes:
        processes: standard deviation of the processes' medians.
        requests: median over processes of the standard deviation inside one.
        mad: median absolute deviation of all observations, not scaled.
    """

    processes: Amount | None
    requests: Amount | None
    mad: Amount | None


class Estimate(TypedDict):
    """A metric of a model, or of one of its cases.

    Attributes:
        value: in `unit`.
        lo: lower bound of the 95 % interval; null = not known.
        hi: upper bound.
        n: observations behind it.
        unit: SI base unit; `1` for a share or a ratio.
        spread: absent = there are too few observations.
        outliers: observations far from the others; absent = none.
    """

    value: float
    lo: float | None
    hi: float | None
    n: Count
    unit: Name
    spread: NotRequired[Spread]
    outliers: NotRequired[Positive]


class Gate(TypedDict):
    """A requirement and whether it is met.

    Attributes:
        id: its name in the profile.
        metric: that it reads.
        required: who misses it has no score.
        passed: null = it cannot be decided.
        value: in the metric's unit; null = there is none.
        limit: the worst passing value; null = there is none.
        reason: why it is not passed.
    """

    id: Name
    metric: Name
    required: bool
    passed: bool | None
    value: float | None
    limit: float | None
    reason: str


class Ratio(TypedDict):
    """A metric against the reference; above 1 is better.

    Attributes:
        value: capped to 1/2 … 2.
        lo: lower bound of the 95 % interval; null = its spread is not known.
        hi: upper bound.
        capped: the value is a cap.
        effect: what it makes of the score, as the profile's formula has it.
    """

    value: float
    lo: float | None
    hi: float | None
    capped: bool
    effect: float | None


class Level(TypedDict):
    """Items of one difficulty.

    Attributes:
        value: share right.
        n: items.
    """

    value: Share
    n: Positive


class FormShare(Level):
    """Items of one form.

    Attributes:
        chance: share that a guesser would have right.
    """

    chance: Share


class Templates(TypedDict):
    """Shares right of single templates with 3 items or more.

    Attributes:
        n: templates.
        lowest: share of the worst of them.
        median: of the middle one.
        highest: of the best.
        overdispersion: spread of the shares in units of what chance makes of it; null = unknown.
    """

    n: Count
    lowest: Share
    median: Share
    highest: Share
    overdispersion: Amount | None


class Choices(TypedDict):
    """Choice items by other rules than the largest log-likelihood.

    Attributes:
        acc_norm: share right by log-likelihood over characters.
        acc_norm_bytes: over UTF-8 bytes.
        acc_norm_tokens: over tokens.
        brier: Brier score of the options' softmax, 0 … 2.
        calibration_error: of the same.
        margin_nat: best minus second best log-likelihood, median, in nat.
        near_ties: items that batches could have decided; null = that was not measured.
    """

    acc_norm: Share
    acc_norm_bytes: Share
    acc_norm_tokens: Share
    brier: Annotated[float, Field(ge=0, le=2)]
    calibration_error: Share
    margin_nat: Amount
    near_ties: Count | None


class Written(TypedDict):
    """Free items.

    Attributes:
        strict: share right without anything around it.
        credit: mean share of an answer that is right.
        truncated: answers that were cut off.
    """

    strict: Share
    credit: Share
    truncated: Count


class Task(TypedDict):
    """One accuracy task of a model.

    Attributes:
        suite: what is asked.
        language: in which language; empty = not known.
        value: share right.
        lo: lower bound of its 95 % interval.
        hi: upper bound.
        n: items.
        chance: share that a guesser would have right.
        adjusted: (share - chance) / (1 - chance).
        unanswered: share without a readable answer.
        at_chance: the interval does not exclude a guesser.
        levels: by difficulty.
        forms: by form.
        skipped: items that were not asked, by reason.
        templates: null = too few items.
        choices: null = no such items.
        written: null = no such items.
        geometry: largest difference by sharing, in nat, by tokens of an option.
    """

    suite: Name
    language: str
    value: Share
    lo: Share
    hi: Share
    n: Positive
    chance: Share
    adjusted: float
    unanswered: Share
    at_chance: bool
    levels: dict[str, Level]
    forms: dict[str, FormShare]
    skipped: dict[str, Count]
    templates: Templates | None
    choices: Choices | None
    written: Written | None
    geometry: dict[str, Amount]


class JobOutcome(TypedDict):
    """How one job ended.

    Attributes:
        suite: that it belongs to.
        process: which of the fresh processes, from 0.
        outcome: how it ended.
        reason: why it is not `ok`, as a code.
        detail: why, as a sentence.
    """

    suite: Suite
    process: Count
    outcome: Outcome
    reason: Code
    detail: str


class Engine(TypedDict, total=False):
    """What all workers of a model had in common; empty where none came so far.

    Attributes:
        backend: name of the adapter.
        facts: as the engine tells them.
        options: that it was given.
        load: what it had loaded.
        varies: names of what was not the same in all jobs.
    """

    backend: str
    facts: dict[str, str]
    options: dict[str, Any]
    load: dict[str, Any]
    varies: list[str]


class AskedBy(TypedDict):
    """In whose words a model is asked.

    Attributes:
        policy: its own template, none, or the suite's.
        sha256: of its own template; empty = it has none.
    """

    policy: ChatTemplate
    sha256: str


class ContextPeak(TypedDict):
    """Peak of one memory case.

    Attributes:
        context: tokens.
        peak_bytes: resident.
    """

    context: Positive
    peak_bytes: Amount


class PeakSplit(TypedDict):
    """The peak of the scored memory case in parts, in bytes.

    Attributes:
        context: tokens of the case.
        runtime: before the model is loaded.
        weights: of the model.
        kv: key-value cache.
        rest: what is left.
    """

    context: Positive
    runtime: Amount
    weights: Amount
    kv: Amount
    rest: float


class PerToken(TypedDict):
    """What a token of context takes, in bytes; null = not known.

    Attributes:
        fitted: from the peaks.
        computed: as the engine says.
    """

    fitted: float | None
    computed: Amount | None


class Footprint(TypedDict):
    """Where a model's memory goes, in bytes.

    Attributes:
        phases: peaks by case and phase.
        kv_bytes_per_tok: what a token of context takes.
        contexts: peaks by context.
        split: null = the parts are not known.
    """

    phases: dict[str, dict[str, Amount]]
    kv_bytes_per_tok: PerToken
    contexts: list[ContextPeak]
    split: PeakSplit | None


class Gaps(TypedDict):
    """Times between tokens of the scored latency cases, in s.

    Attributes:
        n: how many.
        min: the shortest.
        max: the longest.
        quantiles: by percent.
    """

    n: Positive
    min: Amount
    max: Amount
    quantiles: dict[str, Amount]


class Minutes(TypedDict):
    """Sustained speed.

    Attributes:
        minutes: median decode rate in each whole minute, in tok/s; null = no request in it.
    """

    minutes: list[Amount | None]


class Energy(TypedDict):
    """How energy was measured.

    Attributes:
        methods: sources that were read.
    """

    methods: list[str]


class Flips(TypedDict):
    """Choice items whose answer turned against the reference's.

    Attributes:
        to_wrong: right there, wrong here.
        to_right: wrong there, right here.
        n: items that both were asked.
        p: of an exact McNemar test.
    """

    to_wrong: Count
    to_right: Count
    n: Positive
    p: Share


class Check(TypedDict):
    """A gate of fidelity.

    Attributes:
        id: its name.
        metric: that it reads; empty = a fact.
        passed: null = it cannot be decided.
        value: in the metric's unit; null = there is none.
        limit: the worst passing value; null = there is none.
        reason: why it is not passed.
    """

    id: Name
    metric: str
    passed: bool | None
    value: float | None
    limit: float | None
    reason: str


class Fidelity(TypedDict):
    """How near a model is to its family's most precise one; its figures are metrics.

    Attributes:
        reference: id of that one; empty = not compared.
        reason: why it is not compared.
        detail: the same as a sentence.
        gates: limits of the suite.
        flips: turned answers; null = there are no shared items.
    """

    reference: str
    reason: Code
    detail: str
    gates: list[Check]
    flips: Flips | None


class Entry(TypedDict):
    """One model: everything that was computed about it.

    Attributes:
        model: its id.
        list: in which it is ranked; models of different lists never compare.
        division: `fixed-model`: of the network that the profile prescribes.
        tier: what it claims.
        family: shared by the artefacts of one network.
        format: of its files.
        quantisation: as its maker calls it.
        licence: empty = not declared.
        backend: that ran it.
        size_bytes: of its files.
        chat_template: in whose words it was asked.
        rank: 1 = nothing beats it; null = it has no score.
        rank_range: best and worst rank when each weight moves by 0.10.
        score: 1000 = the reference; null for a reason.
        interval: of the score, at 95 %.
        tied_with: entries that neither beat it nor are beaten by it.
        reason: why it has no score, as a code.
        detail: why, as a sentence.
        gates: requirements of the profile.
        ratios: to the reference, by metric.
        metrics: its own summaries, by metric.
        cases: the same by case.
        tasks: of accuracy, by case.
        jobs: how they ended.
        engine: what ran it.
        deterministic: equal requests gave equal outputs; null = nothing was repeated.
        findings: what speaks against its figures.
        compat: the same samples as other tools print them, by tool.
        memory: where its memory goes.
        gaps: times between tokens; null = not measured.
        sustained: null = not measured.
        energy: how it was measured.
        fidelity: null = not compared and no reason to.
        sandbox: the least confined of its workers; null = there was none.
    """

    model: Name
    list: Annotated[str, Field(pattern="^(fixed-)?((real|embedded)(-tuned)?|synthetic)$")]
    division: Literal["fixed-model", "open"]
    tier: Tier
    family: str
    format: Format
    quantisation: str
    licence: str
    backend: str
    size_bytes: Count
    chat_template: AskedBy
    rank: Positive | None
    rank_range: Annotated[list[Positive], Field(min_length=2, max_length=2)] | None
    score: Amount | None
    interval: Interval | None
    tied_with: list[str]
    reason: Code
    detail: str
    gates: list[Gate]
    ratios: dict[str, Ratio]
    metrics: dict[str, Estimate]
    cases: dict[str, dict[str, Estimate]]
    tasks: dict[str, Task]
    jobs: list[JobOutcome]
    engine: Engine
    deterministic: bool | None
    findings: list[Finding]
    compat: dict[str, Any]
    memory: Footprint
    gaps: Gaps | None
    sustained: Minutes | None
    energy: Energy
    fidelity: Fidelity | None
    sandbox: Sandbox | None
