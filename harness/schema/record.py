"""Records that are no samples: the run, its machine, engines, jobs, telemetry and events."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from harness.environment.thermal import GateState
from harness.schema.answers import KnowledgeSample
from harness.schema.fields import (
    Amount,
    Attempt,
    Calibration,
    Code,
    Count,
    Fact,
    Finding,
    JobId,
    KnownSha256,
    Name,
    Outcome,
    Positive,
    Sandbox,
    Seed,
    Sha256,
    Skipped,
    Suite,
    Utc,
)
from harness.schema.sample import Chained, Placed, TimedSample
from harness.spec import BackendOptions, Device, Profile


class ModelFiles(TypedDict):
    """A model of the run: its entry of the models file, and what its files are.

    Attributes:
        sha256: of each file, by its path within the model's folder.
        size_bytes: of all files together.
        weights: what one token costs: bytes read, parameters of the body and of the head,
            bytes of key-value cache; absent = the file does not say.
        template_sha256: of the chat template's text; empty = it has none.
        preflight: `passed` where its files kept the rules of docs/preflight.md.
    """

    sha256: dict[str, Sha256]
    size_bytes: Count
    weights: dict[str, Count]
    template_sha256: KnownSha256
    preflight: NotRequired[Literal["", "passed"]]


class Run(Chained):
    """What is run and how it is judged; the first line.

    Attributes:
        schema: version of the records.
        run: id: UTC time and six hex digits.
        plan: hash of the plan's jobs.
        plan_sha256: of the bytes of plan.json; absent = not recorded (schema 1).
        harness: version of the program.
        harness_sha256: of its own files; absent = not recorded (schema 1).
        started_utc: when it began, in UTC.
        attempt: which run of its plan it is.
        nonce: an evaluator's word for this very run; absent = none was given.
        profile: with every field that it has.
        device: the declared laptop.
        models: that are measured.
        skipped: what is not, and why.
        jobs: how many are planned.
        seed: absent = nothing is asked.
    """

    type: Literal["run"]
    schema: Positive
    run: Annotated[str, Field(pattern=r"^\d{8}T\d{6}Z-[0-9a-f]{6}$")]
    plan: Sha256
    plan_sha256: NotRequired[Sha256]
    harness: Name
    harness_sha256: NotRequired[Sha256]
    started_utc: Utc
    attempt: Attempt
    nonce: NotRequired[str]
    profile: Profile
    device: Device
    models: list[ModelFiles]
    skipped: list[Skipped]
    jobs: Count
    seed: NotRequired[Seed]


class Environment(Chained):
    """The machine as it was observed around the jobs.

    Attributes:
        when: before or after them.
        session: how often the run had been gone on with; absent = never.
        facts: by name; `unknown` where it cannot be read, `none` where there is none.
        findings: what speaks against measuring here and now.
        builds: versions of harness and of the engines' packages; absent = not recorded (schema 1).
        calibration: null = not measured.
    """

    type: Literal["environment"]
    when: Literal["before", "after"]
    session: NotRequired[Positive]
    facts: dict[str, Fact]
    findings: list[Finding]
    builds: NotRequired[dict[str, str]]
    calibration: Calibration | None


class LoadFacts(TypedDict):
    """What an engine says of the model that it has loaded.

    Attributes:
        model_bytes: of its weights.
        kv_bytes_per_token: that a token of context takes.
    """

    model_bytes: Count
    kv_bytes_per_token: Count


class Engine(Chained):
    """What a worker has loaded, and how it is confined.

    Attributes:
        job: hash of what is measured.
        model: id of the model.
        retry: how often the job had been started before; absent = never.
        backend: name of the adapter.
        facts: build, libraries and settings as the engine tells them.
        load: what it has loaded.
        sandbox: how the worker is confined.
        options: settings that it was given.
    """

    type: Literal["engine"]
    job: JobId
    model: Name
    retry: NotRequired[Positive]
    backend: Name
    facts: dict[str, str]
    load: LoadFacts
    sandbox: Sandbox
    options: BackendOptions


class Job(Placed):
    """How one job ended: the last record of it.

    Attributes:
        suite: that it belongs to.
        suite_version: raised when a suite measures something else.
        outcome: how it ended.
        reason: why it is not `ok`, as a code.
        detail: why, as a sentence.
        exit_status: of the worker; negative = a signal; null = it was never started.
        wall_s: from its start to its end, in s.
        torn: something behind its whole records was not read.
        stderr: the end of what the worker wrote there; empty where it is ok.
    """

    type: Literal["job"]
    suite: Suite
    suite_version: Positive
    outcome: Outcome
    reason: Code
    detail: str
    exit_status: int | None
    wall_s: Amount
    torn: bool
    stderr: str


class WorkerTelemetry(Placed):
    """Counters between requests; what grows between two readings happened there.

    Attributes:
        suite: that the job belongs to.
        source: who read them.
        case: that is running.
        index: requests that are done.
        counters: times in ns, sizes in bytes and counts since the machine's or the
            process's start; absent = it cannot be read.
    """

    type: Literal["telemetry"]
    source: Literal["worker"]
    suite: Suite
    case: Name
    index: Count
    counters: dict[str, int]


class ParentTelemetry(Placed):
    """The machine just before a job.

    Attributes:
        suite: that the job belongs to.
        source: who read it.
        facts: those that change while a run lasts.
        gate: whether the processor had cooled down; `off` = that was not waited for.
        waited_s: for conditions to be right, in s.
    """

    type: Literal["telemetry"]
    source: Literal["parent"]
    suite: Suite
    facts: dict[str, Fact]
    gate: GateState
    waited_s: Amount


class CaseSkipped(Placed):
    """A case that this engine or model cannot run.

    Attributes:
        suite: that it belongs to.
        case: that was left out.
        reason: why, as a code.
        detail: why, as a sentence.
    """

    type: Literal["event"]
    kind: Literal["skipped"]
    suite: Suite
    case: str
    reason: Annotated[Code, Field(min_length=1)]
    detail: str


class NotNeeded(Placed):
    """An optional job that was not started.

    Attributes:
        suite: that it belongs to.
        reason: the figures are `precise` enough, or the model's `budget_spent`.
    """

    type: Literal["event"]
    kind: Literal["not_needed"]
    suite: Suite
    reason: Literal["precise", "budget_spent"]


class TemplateHoldsItems(Placed):
    """A chat template quotes items that it should not know.

    Attributes:
        suite: that asks.
        items: that it quotes.
        of: that were looked for.
    """

    type: Literal["event"]
    kind: Literal["template_holds_items"]
    suite: Suite
    items: Positive
    of: Positive


class Resumed(Chained):
    """A run that was interrupted goes on.

    Attributes:
        started_utc: when it went on, in UTC.
        harness: version of the program.
        again: jobs that are started again.
    """

    type: Literal["event"]
    kind: Literal["resumed"]
    started_utc: Utc
    harness: Name
    again: list[JobId]


AnyRecord = (
    Run
    | Environment
    | Engine
    | Job
    | WorkerTelemetry
    | ParentTelemetry
    | CaseSkipped
    | NotNeeded
    | TemplateHoldsItems
    | Resumed
    | TimedSample
    | KnowledgeSample
)
