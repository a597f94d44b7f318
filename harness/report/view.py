"""What every report shows, as frozen values; `reading` makes them of a scorecard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from harness.report.others import Compat, Imported
from harness.scoring.details import Choices, Share, Templates, Written

VOLATILE = frozenset({"memory_available_bytes", "swap_used_bytes", "temperature_c", "load_1m"})
"""Facts that no two readings agree on: a difference is no finding."""
ABSENT = frozenset({"", "unknown", "none"})


class Variation(NamedTuple):
    """How far a figure varies, relative to its value; None where there is nothing to compare."""

    processes: float | None
    requests: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A measured value with its 95 % interval; `None` where it is not known."""

    value: float | None
    lo: float | None = None
    hi: float | None = None
    n: int | None = None
    spread: Variation | None = None
    outliers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """One metric's part of a score: the ratio to the reference, raised to its weight.

    Attributes:
        ratio: better than the reference above 1.
        effect: what the reference's score would be multiplied by if this were the only
            difference; for geometric scores `ratio ** weight`, whose product is score / 1000.
        points: what it adds to the reference's score where the score is a sum, else None.
    """

    metric: str
    weight: float
    ratio: float
    capped: bool
    effect: float
    points: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A gate with its outcome.

    Attributes:
        passed: None where it is inconclusive.
        required: False where it is shown, and does not decide who is ranked.
    """

    id: str
    metric: str
    passed: bool | None
    value: float | None
    limit: float | None
    reason: str
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One accuracy task of one model; `adjusted` is corrected for chance, 0 is guessing.

    Attributes:
        forms: by form. skipped: items that were not asked, by reason.
        geometry: largest difference in nat of batched scoring, by tokens of an option.
    """

    id: str
    suite: str
    language: str
    adjusted: Estimate
    unanswered: float
    at_chance: bool
    forms: Mapping[str, Share]
    skipped: Mapping[str, int]
    templates: Templates | None
    choices: Choices | None
    written: Written | None
    geometry: Mapping[str, float]


class Flips(NamedTuple):
    """Choice items of both artefacts, those whose answer turned, and McNemar's exact p."""

    to_wrong: int
    to_right: int
    n: int
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """How a model stands to the most precise artefact of its family.

    Attributes:
        reason: why it was not compared; `is_reference` for that artefact itself.
    """

    reference: str
    reason: str
    detail: str
    flips: Flips | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """One job of one model."""

    model: str
    suite: str
    process: str
    outcome: str
    reason: str
    detail: str

    @property
    def cause(self) -> str:
        """The reason where it says more than the outcome."""
        return "" if self.reason == self.outcome else self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One remark on the validity of the run, or of one model's jobs."""

    code: str
    severity: str
    detail: str


class Split(NamedTuple):
    """A peak in parts that add up to it, in bytes, at so many tokens of context."""

    context: int
    runtime: float
    weights: float
    kv: float
    rest: float


class Filled(NamedTuple):
    """The peak with so many tokens of context."""

    context: int
    peak_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Peaks in bytes by case and phase, and what a token of context takes.

    Attributes:
        contexts: peaks by context, shortest first. split: None where a part is unknown.
    """

    phases: Mapping[str, Mapping[str, float]]
    kv_fitted: float | None
    kv_computed: float | None
    contexts: tuple[Filled, ...]
    split: Split | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """Times between tokens in s: extremes, and quantiles by percent."""

    n: int
    min: float
    max: float
    quantiles: Mapping[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model of a ranking.

    Attributes:
        tier: the run's, but `synthetic` for what is made up.
        rank_range: ranks it takes when each weight moves by 0.10.
        joint: another entry of the list has the same rank.
        on_front: on the Pareto front; `dominated_by` names who is better in all.
        findings: about this model's jobs alone.
        template: chat-template policy. template_sha256: empty where there was none.
        minutes: median decode rate in each minute of the sustained run, tok/s; None
            where no request fell into one.
        energy_methods: how energy was measured.
        gaps: between tokens; None where no request had several.
        gates: the profile's, and those of fidelity.
        fidelity: None where the profile does not ask for it.
    """

    model: str
    list_name: str
    tier: str
    format: str
    quantisation: str
    backend: str
    licence: str
    size_bytes: float | None
    template: str
    template_sha256: str
    rank: int | None
    rank_range: tuple[int, int] | None
    joint: bool
    score: Estimate
    tied_with: tuple[str, ...]
    reason: str
    detail: str
    gates: tuple[Check, ...]
    factors: tuple[Factor, ...]
    metrics: Mapping[str, Estimate]
    cases: Mapping[str, Mapping[str, Estimate]]
    tasks: tuple[Task, ...]
    jobs: tuple[JobOutcome, ...]
    engine: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    compat: Compat
    memory: Memory
    gaps: Gaps | None
    minutes: tuple[float | None, ...]
    energy_methods: tuple[str, ...]
    fidelity: Fidelity | None
    on_front: bool
    dominated_by: tuple[str, ...]

    @property
    def place(self) -> str:
        """`1`, `1=` where the rank is shared, `–` where there is none."""
        if self.rank is None:
            return "–"
        return f"{self.rank}=" if self.joint else str(self.rank)

    def metric(self, metric: str) -> Estimate:
        """The model's summary of a metric; an empty estimate where it was not measured."""
        return self.metrics.get(metric, Estimate(value=None))

    def factor(self, metric: str) -> Factor | None:
        """The metric's part of the score, where the model has one."""
        return next((factor for factor in self.factors if factor.metric == metric), None)

    def gate(self, name: str) -> Check | None:
        """How the model stands to one gate."""
        return next((gate for gate in self.gates if gate.id == name), None)

    def task(self, name: str) -> Task | None:
        """The result of one accuracy task."""
        return next((task for task in self.tasks if task.id == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The entries of one list: ranked ones first, then those without a score."""

    list_name: str
    rows: tuple[Row, ...]

    @property
    def ranked(self) -> tuple[Row, ...]:
        """Rows that have a rank, best first."""
        return tuple(row for row in self.rows if row.rank is not None)

    @property
    def unranked(self) -> tuple[Row, ...]:
        """Rows without a rank."""
        return tuple(row for row in self.rows if row.rank is None)

    @property
    def leaders(self) -> tuple[Row, ...]:
        """The row or rows at rank 1."""
        return tuple(row for row in self.ranked if row.rank == 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A model, or only one case of it, that was asked for and not run."""

    model: str
    case: str
    reason: str
    detail: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One observed fact of the machine, before and after the run."""

    name: str
    before: str
    after: str

    @property
    def differs(self) -> bool:
        """True where both were observed and they differ."""
        return bool(self.after) and self.before != self.after

    @property
    def changed(self) -> bool:
        """True where a fact differs that should have stayed."""
        return self.differs and self.name not in VOLATILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What the machine itself could do: the roof of MBU and MFU, SI units a second."""

    read_bytes_per_s: float | None
    copy_bytes_per_s: float | None
    fp32_flop_per_s: float | None
    threads: str
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two models of one list compared: `a` has the higher score.

    Attributes:
        gap: by how much, as a share of the lower score.
        p: two-sided, adjusted after Holm.
        beats: significant, and the gap is wide enough to matter.
    """

    a: str
    b: str
    gap: float | None
    p: float | None
    beats: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPair:
    """The answers of two models of one list; `a` is the more accurate one.

    Attributes:
        only_a, only_b, both, neither: items by who has them right.
        p_holm: exact McNemar test, adjusted after Holm.
        difference, lo, hi: of the chance-adjusted macro means.
    """

    a: str
    b: str
    only_a: int
    only_b: int
    both: int
    neither: int
    p_holm: float
    difference: float
    lo: float
    hi: float


class Detectable(NamedTuple):
    """Smallest difference of shares right that so many items can tell.

    Attributes:
        discordance: share of items on which two models differ, mean over pairs.
    """

    items: int
    discordance: float
    minimum_detectable_difference: float


class Sandbox(NamedTuple):
    """How well the least confined worker of a run was, and why not better."""

    level: int
    reason: str


class Attempt(NamedTuple):
    """One run of a plan: its id and when it started, UTC.

    Attributes:
        announced: None where that was not recorded yet.
        gone: its records were not there any more when the reported run started.
    """

    run: str
    started_utc: str
    announced: bool | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A scorecard ready to be shown; every string in it is clean.

    Attributes:
        calibration: before and after the run; None where it was not measured.
        attempt: number of this run, and of how many: of its announced series, else of the runs
            of its plan up to it.
        announced: whether it is one of such a series; None where that was not recorded yet.
        earlier: the runs of its plan before it, oldest first.
        resumed: how often it was interrupted and went on. again: jobs that were begun again.
        scoring: the formula of the score: geometric, aimers or gate.
        axes: the metrics of the Pareto front.
        seed: where the accuracy items come from: public, committed, uncommitted; empty = none.
        sandbox: None where no worker got as far as loading a model.
        answers: models compared item by item. detectable: what the items can tell.
        skipped: models that were not run. left_out: cases of models that were.
        imported: results of other tools that the reader has put beside.
    """

    run: str
    harness: str
    started_utc: str
    tier: str
    reference: str
    profile: Mapping[str, str]
    device: Mapping[str, str]
    facts: tuple[Fact, ...]
    calibration: tuple[Calibration | None, Calibration | None]
    verdict: str
    findings: tuple[Finding, ...]
    attempt: tuple[str, str]
    announced: bool | None
    earlier: tuple[Attempt, ...]
    resumed: int
    again: int
    seed: str
    sandbox: Sandbox | None
    scoring: str
    weights: Mapping[str, float]
    axes: tuple[str, ...]
    rankings: tuple[Ranking, ...]
    pairs: tuple[Pair, ...]
    answers: tuple[AnswerPair, ...]
    detectable: Detectable | None
    skipped: tuple[Skipped, ...]
    left_out: tuple[Skipped, ...]
    imported: tuple[Imported, ...] = ()

    @property
    def adds_up(self) -> bool:
        """Whether the score is a sum of points; otherwise it is a product."""
        return self.scoring == "aimers"

    @property
    def reference_points(self) -> float:
        """What a model like the reference scores."""
        return 1000 * (self.weights.get("accuracy", 0.0) if self.adds_up else 1.0)

    @property
    def rows(self) -> tuple[Row, ...]:
        """All entries in the order of their lists."""
        return tuple(row for ranking in self.rankings for row in ranking.rows)

    @property
    def problems(self) -> tuple[JobOutcome, ...]:
        """Every job that did not end well."""
        return tuple(job for row in self.rows for job in row.jobs if job.outcome != "ok")

    def fact(self, *names: str) -> str:
        """The first known fact among these names, as observed before the run."""
        known = {fact.name: fact.before for fact in self.facts if fact.before not in ABSENT}
        return next((known[name] for name in names if name in known), "")
