"""From a profile and artefacts to an ordered list of jobs. Pure.

A job is one worker process. Its id is the hash of what it measures (files, options,
cases, suite version, profile), not of the machine, so that the same job can be found
again in another run. Jobs are ordered in rounds: every model's first process before
anyone's second, shuffled within a round by the plan's own hash, so that slow drift of
the machine falls on all models alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.spec import Artefact, BackendOptions, Device, Profile, digest, sha256

SUITE_VERSIONS: Mapping[str, int] = {"latency": 1, "memory": 1, "accuracy": 1, "kernel": 1}
"""Raised whenever the same case would measure something else."""

_SCORING_CONTEXT_TOKENS = 512
_CONTEXT_SLACK_TOKENS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One workload of a suite.

    Attributes:
        prompt_tokens, output_tokens: exact counts (latency, memory, kernel).
        task, language, items: generated items (accuracy).
    """

    id: str
    prompt_tokens: int = 0
    output_tokens: int = 0
    task: str = ""
    language: str = ""
    items: int = 0

    @property
    def tokens(self) -> int:
        """Cache positions that one request fills."""
        return self.prompt_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one worker process does: `cases` of one suite on one artefact.

    Attributes:
        process: number of this fresh process among the repetitions, from 0.
        seed: 64 hex digits from which prompts or items are drawn.
        estimate_s: rough duration, for progress only; not part of the id.
    """

    id: str
    model: str
    path: str
    backend: str
    options: BackendOptions
    suite: str
    suite_version: int
    cases: tuple[Case, ...]
    process: int
    requests: int
    warmup_max: int
    seed: str
    timeout_s: float
    estimate_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A model that is not measured, why, and the command that would mend it."""

    model: str
    reason: str
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything a run will do, before anything is measured."""

    profile: Profile
    device: Device
    artefacts: tuple[Artefact, ...]
    skipped: tuple[Skip, ...]
    jobs: tuple[Job, ...]
    hash: str

    @property
    def estimate_s(self) -> float:
        """Rough duration of all jobs."""
        return sum(job.estimate_s for job in self.jobs)


def build(
    profile: Profile,
    device: Device,
    artefacts: Sequence[Artefact],
    *,
    threads: int,
    skipped: Sequence[Skip] = (),
    suites: Sequence[str] = (),
) -> Plan:
    """Expand a profile over artefacts.

    Args:
        threads: value for options that leave the number of threads open.
        suites: names to keep; empty = all of the profile.
    """
    kept: list[Artefact] = []
    too_short: list[Skip] = []
    jobs: list[Job] = []
    cases = {
        name: found for name, found in cases_of(profile).items() if not suites or name in suites
    }
    longest = max((case.tokens for group in cases.values() for case in group), default=0)
    for artefact in artefacts:
        if artefact.model.context and longest > artefact.model.context:
            too_short.append(
                Skip(
                    model=artefact.model.id,
                    reason="context_too_short",
                    detail=f"the profile needs {longest} tokens of context, "
                    f"the model declares {artefact.model.context}",
                )
            )
            continue
        kept.append(artefact)
        for suite, group in cases.items():
            jobs.extend(_jobs(profile, artefact, suite, group, threads))
    identity = digest([job.id for job in jobs])
    return Plan(
        profile=profile,
        device=device,
        artefacts=tuple(kept),
        skipped=(*skipped, *too_short),
        jobs=tuple(_interleaved(jobs, identity)),
        hash=identity,
    )


def kernel_job(
    artefact: Artefact, *, prompt: int, output: int, repetitions: int, options: BackendOptions
) -> Job:
    """The single job of `bench`: prompt processing and token generation apart."""
    cases = tuple(
        case
        for case in (
            Case(id=f"pp{prompt}", prompt_tokens=prompt),
            Case(id=f"tg{output}", output_tokens=output),
        )
        if case.tokens
    )
    return _job(
        artefact,
        suite="kernel",
        cases=cases,
        options=_resolved(options, cases, options.threads),
        process=0,
        requests=repetitions,
        warmup_max=1,
        seed="0" * 64,
        timeout_s=0.0,
        salt="bench",
    )


def job_from_json(data: Mapping[str, Any]) -> Job:
    """The job that `to_json` wrote; standard library only, for the child."""
    fields = dict(data)
    fields["options"] = BackendOptions(**fields["options"])
    fields["cases"] = tuple(Case(**case) for case in fields["cases"])
    return Job(**fields)


def cases_of(profile: Profile) -> dict[str, tuple[Case, ...]]:
    """Cases of each suite, in the profile's order."""
    out: dict[str, tuple[Case, ...]] = {}
    if latency := profile.suites.latency:
        out["latency"] = tuple(
            Case(id=f"fixed-p{p}-n{n}", prompt_tokens=p, output_tokens=n)
            for p in latency.prompt_tokens
            for n in latency.output_tokens
        )
    if memory := profile.suites.memory:
        p, n = memory.prompt_tokens, memory.output_tokens
        out["memory"] = (Case(id=f"p{p}-n{n}", prompt_tokens=p, output_tokens=n),)
    if accuracy := profile.suites.accuracy:
        out["accuracy"] = tuple(
            Case(id=f"{language}-{task}", task=task, language=language, items=accuracy.items)
            for language in accuracy.languages
            for task in accuracy.tasks
        )
    return out


def _jobs(
    profile: Profile, artefact: Artefact, suite: str, cases: tuple[Case, ...], threads: int
) -> Iterator[Job]:
    protocol = profile.protocol
    accuracy = profile.suites.accuracy
    seed = accuracy.seed if suite == "accuracy" and accuracy else digest(profile.id)
    groups = [cases] if protocol.grouping == "suite" else [(case,) for case in cases]
    for group in groups:
        for process in range(protocol.processes.get(suite, 1)):
            yield _job(
                artefact,
                suite=suite,
                cases=group,
                options=_resolved(
                    artefact.model.options, cases, threads, longest=artefact.model.context
                ),
                process=process,
                requests=protocol.requests,
                warmup_max=protocol.warmup_max,
                seed=seed,
                timeout_s=protocol.job_timeout_s,
                salt=digest(profile),
            )


def _job(artefact: Artefact, *, salt: str, timeout_s: float, **fields: Any) -> Job:
    suite = fields["suite"]
    identity = digest([salt, SUITE_VERSIONS[suite], artefact.sha256, artefact.model.id, fields])
    estimate_s = _estimate_s(artefact.size_bytes, **fields)
    return Job(
        id=identity[:16],
        model=artefact.model.id,
        path=artefact.path,
        backend=artefact.model.backend_name,
        suite_version=SUITE_VERSIONS[suite],
        # A large model legitimately needs longer than the profile's floor.
        timeout_s=max(timeout_s, 60.0) + 20 * estimate_s,
        estimate_s=estimate_s,
        **fields,
    )


def _resolved(
    options: BackendOptions, cases: Sequence[Case], threads: int, *, longest: int = 0
) -> BackendOptions:
    """Options with threads pinned and the cache sized for the suite's longest case, but not
    beyond what the network declares (0 = unknown).
    """
    need = max((case.tokens for case in cases), default=0) + _CONTEXT_SLACK_TOKENS
    need = max(need, _SCORING_CONTEXT_TOKENS)
    context = 1 << (need - 1).bit_length()
    return dataclasses.replace(
        options,
        threads=options.threads or threads,
        context=options.context or min(context, longest or context),
    )


def _interleaved(jobs: Sequence[Job], key: str) -> list[Job]:
    def place(job: Job) -> tuple[int, str]:
        return job.process, sha256(f"{key}/{job.id}".encode())

    return sorted(jobs, key=place)


def _estimate_s(
    size_bytes: int,
    *,
    cases: Sequence[Case],
    requests: int,
    warmup_max: int,
    suite: str,
    **_: Any,
) -> float:
    """Rough duration of a job on a laptop: weights stream at 10 GB/s for each output
    token, and a prompt token costs a twentieth of an output token.
    """
    token_s = 0.3e-3 + size_bytes / 10e9
    repeats = {"memory": 1, "accuracy": 1}.get(suite, requests + min(warmup_max, 2))
    tokens = sum(case.output_tokens + case.prompt_tokens / 20 + case.items * 8 for case in cases)
    return 1.0 + size_bytes / 1e9 + repeats * tokens * token_s
