"""Values that records and scorecards share, with what they may be."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from harness.environment.rules import Severity

Count = Annotated[int, Field(ge=0)]
"""Of tokens, bytes, items …: the field's name says of what."""
Positive = Annotated[int, Field(ge=1)]
Ns = Annotated[int, Field(ge=0)]
"""Nanoseconds."""
Amount = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
KnownSha256 = Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]
"""Empty = not known."""
JobId = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Name = Annotated[str, Field(min_length=1)]
Code = Annotated[str, Field(pattern="^([a-z][a-z0-9_]*)?$")]
"""A reason code; empty = there is no reason to give one."""
Utc = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(Z|\+00:00)$")]

Outcome = Literal["ok", "skipped", "failed", "crashed", "timeout", "out_of_memory", "interrupted"]
Suite = Literal[
    "latency",
    "task",
    "kernel",
    "sustained",
    "memory",
    "energy",
    "accuracy",
    "language",
    "fidelity",
]
Fact = str | float | bool | list[str]


class Finding(TypedDict):
    """What speaks against a measurement.

    Attributes:
        code: which rule: docs/metrics.md explains it.
        severity: `invalid`: the figures are not those of the declared device; `warn`: they can
            be used with care; `unknown`: a sensor is missing, so nobody can say.
        detail: a sentence with the values.
    """

    code: Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
    severity: Severity
    detail: str


class Calibration(TypedDict):
    """What plain software reaches on this machine: the roof over an engine's rates.

    Attributes:
        read_bytes_per_s: reading memory, in bytes a second.
        copy_bytes_per_s: copying it, read plus written, in bytes a second.
        fp32_flop_per_s: float32 operations of a matrix product, a second.
        threads: that it ran on.
        method: library that did the work.
    """

    read_bytes_per_s: Amount
    copy_bytes_per_s: Amount
    fp32_flop_per_s: Amount
    threads: Positive
    method: str


class Sandbox(TypedDict):
    """How far a worker was confined: docs/sandbox.md.

    Attributes:
        level: 1 = files, network and programs are out of reach; 0 = limits of a process only.
        reason: why it is not 1.
        detail: what the kernel refused.
        landlock: version of its interface; 0 = none.
        seccomp: whether system calls are filtered.
        network: what follows for the network.
        execve: what follows for other programs.
    """

    level: Annotated[int, Field(ge=0, le=1)]
    reason: Code
    detail: NotRequired[str]
    landlock: NotRequired[Count]
    seccomp: NotRequired[bool]
    network: NotRequired[Literal["denied", "no TCP", "allowed"]]
    execve: NotRequired[Literal["denied", "allowed"]]


class Skipped(TypedDict):
    """A model, or a case of one, that was not planned.

    Attributes:
        model: its id.
        reason: why, as a code.
        detail: why, as a sentence.
        hint: the command that would mend it.
        case: the only one that is left out; empty = the whole model.
    """

    model: Name
    reason: Code
    detail: str
    hint: str
    case: NotRequired[str]


class Seed(TypedDict):
    """What accuracy items were drawn from; a secret seed itself is never written.

    Attributes:
        public: the seed that anybody knows.
        committed: the profile named the seed's hash before the run.
        commitment: that hash, which is the seed's own sha256.
        generator: hash of the code and data that make the items.
    """

    public: bool
    committed: bool
    commitment: KnownSha256
    generator: Sha256


class EarlierRun(TypedDict):
    """A run of the same plan that was started before.

    Attributes:
        run: its id.
        started_utc: when it was started, in UTC.
        announced: whether it belongs to an announced series.
        gone: its folder is not there any more.
    """

    run: str
    started_utc: str
    announced: bool
    gone: bool


class Attempt(TypedDict):
    """Which run of its plan this is, by the ledger of its results folder.

    Attributes:
        number: 1 = the first of its announced series, else of its plan.
        of: how many were announced; else as many as were started up to it.
        announced: whether it belongs to a series that was announced before.
        earlier: the runs of its plan before it.
        ledger: sha256 of this run's line of the ledger; empty = there is none (schema 1).
    """

    number: Positive
    of: Positive
    announced: bool
    earlier: list[EarlierRun]
    ledger: KnownSha256
