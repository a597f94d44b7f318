"""From a profile and artefacts to an ordered list of jobs. Pure.

A job is one worker process. Its id is the hash of what it measures (files, options,
cases, suite version, profile), not of the machine, so that the same job can be found
again in another run. Jobs are ordered in rounds: every model's first process before
anyone's second, shuffled within a round by the plan's own hash, so that slow drift of
the machine falls on all models alike. Only the longest job of each comes before that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.cases import Case, cases_of, kernel_cases
from harness.families import against, references
from harness.job import Job
from harness.order import estimate_s, interleaved, slowest_first
from harness.spec import (
    Artefact,
    BackendOptions,
    Device,
    Model,
    Profile,
    digest,
)

SUITE_VERSIONS: Mapping[str, int] = {
    "latency": 2,
    "task": 1,
    "kernel": 1,
    "sustained": 1,
    "memory": 2,
    "energy": 1,
    "accuracy": 2,
    "language": 1,
    "fidelity": 1,
}
"""Raised whenever the same case would measure something else."""

_LEAST_CONTEXT_TOKENS = 512
_SCORING_SEQUENCES = 8
"""The prefix and seven options in one call: more gain nothing on a processor's few cores."""
_CONTEXT_SLACK_TOKENS = 8
_KNOWING = ("accuracy", "language", "fidelity")
"""Suites that ask what a network knows."""
_CHATTING = ("task", "accuracy")
"""Suites that show a model its chat template."""
SHOWN_PROCESSES = 3
"""Processes that run cases which are only shown, at most: no score rests on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A model that is not measured, why, and the command that would mend it.

    Attributes:
        case: the only case that is left out; empty = the whole model.
    """

    model: str
    reason: str
    detail: str
    hint: str = ""
    case: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything a run will do, before anything is measured.

    Attributes:
        folder: where the profile's own files lie.
    """

    profile: Profile
    device: Device
    artefacts: tuple[Artefact, ...]
    skipped: tuple[Skip, ...]
    jobs: tuple[Job, ...]
    hash: str
    folder: str = ""

    @property
    def estimate_s(self) -> float:
        """Rough duration of all jobs that will be run in any case."""
        return sum(job.estimate_s for job in self.jobs if not job.optional)

    @property
    def longest_s(self) -> float:
        """Rough duration if every optional job turned out to be needed."""
        return sum(job.estimate_s for job in self.jobs)

    @property
    def over_budget_s(self) -> dict[str, float]:
        """Models whose jobs take longer than the profile's budget even without repetitions
        more, and how long they are estimated to take.
        """
        taken: dict[str, float] = {}
        for job in self.jobs:
            if not job.optional:
                taken[job.model] = taken.get(job.model, 0.0) + job.estimate_s
        budget_s = self.profile.protocol.budget_s
        return {model: s for model, s in taken.items() if budget_s and s > budget_s}

    @property
    def need_bytes(self) -> int:
        """Least memory that the largest job takes: weights and cache, from the architecture."""
        found = {artefact.model.id: artefact for artefact in self.artefacts}
        return max((_need_bytes(found[job.model], job.options) for job in self.jobs), default=0)


def build(
    profile: Profile,
    device: Device,
    artefacts: Sequence[Artefact],
    *,
    threads: int,
    prompts: Mapping[str, Mapping[str, tuple[str, ...]]] | None = None,
    skipped: Sequence[Skip] = (),
    suites: Sequence[str] = (),
    seed_sha256: str = "",
    folder: str = "",
) -> Plan:
    """Expand a profile over artefacts.

    Args:
        seed_sha256: hash of the seed that accuracy items are drawn from; the plan is kept
            with the results, so the seed itself must not be in it.
        threads: value for options that leave the number of threads open.
        prompts: rendered chat prompts by model and language; the task suite's cases of a
            model that has none are left out.
        suites: names to keep; empty = all of the profile.
        folder: where the profile's own files lie.
    """
    kept: list[Artefact] = []
    left_out: list[Skip] = []
    jobs: list[Job] = []
    cases = {
        name: found for name, found in cases_of(profile).items() if not suites or name in suites
    }
    for artefact in artefacts:
        model = artefact.model
        left_out += [_knows_nothing(model, suite) for suite in cases if _is_vain(suite, model)]
        too_long = _too_long(cases, model)
        if scored := [case for case in too_long if case.scored]:
            left_out.append(_too_short(model, max(scored, key=lambda case: case.tokens), ""))
            continue
        kept.append(artefact)
        left_out += [_too_short(model, case, case.id) for case in too_long]
    best = references(kept)
    for artefact in kept:
        model = artefact.model
        too_long = _too_long(cases, model)
        for suite, group in cases.items():
            if _is_vain(suite, model):
                continue
            possible = [case for case in group if case not in too_long]
            if suite == "task":
                possible = list(_with_texts(possible, (prompts or {}).get(model.id, {})))
            if suite == "fidelity":
                left_out += _alone(model, possible) if model.family not in best else []
                possible = list(against(possible, artefact, best))
            jobs.extend(
                _jobs(
                    profile,
                    artefact,
                    suite,
                    possible,
                    threads=threads,
                    seed=seed_sha256 if suite == "accuracy" else digest(profile.id),
                    folder=folder,
                )
            )
    identity = digest([job.id for job in jobs])
    ordered = interleaved(jobs, identity)
    if _has_budget(profile):
        ordered = slowest_first(ordered, "accuracy")
    return Plan(
        profile=profile,
        device=device,
        artefacts=tuple(kept),
        skipped=(*skipped, *left_out),
        jobs=tuple(ordered),
        hash=identity,
        folder=folder,
    )


def _has_budget(profile: Profile) -> bool:
    return bool(profile.suites.accuracy and profile.suites.accuracy.budget_s)


def _is_vain(suite: str, model: Model) -> bool:
    """Random weights know nothing."""
    return model.synthetic and suite in _KNOWING


def _too_long(cases: Mapping[str, Sequence[Case]], model: Model) -> list[Case]:
    """Cases that a network cannot hold; one that declares no context holds all."""
    every = [case for suite in cases if not _is_vain(suite, model) for case in cases[suite]]
    return [case for case in every if 0 < model.context < case.tokens]


def _too_short(model: Model, case: Case, left_out: str) -> Skip:
    return Skip(
        model=model.id,
        reason="context_too_short",
        detail=f"{case.id} needs {case.tokens} tokens of context, the model declares "
        f"{model.context}",
        case=left_out,
    )


def _knows_nothing(model: Model, suite: str) -> Skip:
    detail = "its weights are random: only its speed and memory mean something"
    return Skip(model=model.id, reason="synthetic_weights", detail=detail, case=suite)


def _alone(model: Model, cases: Sequence[Case]) -> list[Skip]:
    detail = f"no other artefact of the family '{model.family}' is measured"
    return [
        Skip(model=model.id, reason="no_reference", detail=detail, case=case.id) for case in cases
    ]


def _with_texts(cases: Sequence[Case], rendered: Mapping[str, tuple[str, ...]]) -> Iterator[Case]:
    """The cases for whose language there are rendered prompts."""
    for case in cases:
        if texts := rendered.get(case.language):
            yield dataclasses.replace(case, texts=texts)


def kernel_job(
    artefact: Artefact, *, prompt: int, output: int, repetitions: int, options: BackendOptions
) -> Job:
    """The single job of `bench`: prompt processing and token generation apart."""
    cases = kernel_cases(prompt, output)
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


def _jobs(
    profile: Profile,
    artefact: Artefact,
    suite: str,
    cases: Sequence[Case],
    *,
    threads: int,
    seed: str,
    folder: str,
) -> Iterator[Job]:
    protocol, accuracy = profile.protocol, profile.suites.accuracy
    apart = protocol.grouping == "case" or suite == "memory"  # a context belongs to one load
    if suite == "accuracy" and _has_budget(profile):
        apart = False  # a budget is shared out among cases that one worker has tried
    groups = [(case,) for case in cases] if apart else [tuple(cases)] if cases else []
    least = protocol.processes.get(suite, 1)
    for group in groups:
        for process in range(max(least, protocol.processes_max.get(suite, 0))):
            kept = tuple(case for case in group if case.scored or process < SHOWN_PROCESSES)
            if not kept:
                break
            yield _job(
                artefact,
                suite=suite,
                cases=kept,
                options=_resolved(
                    artefact.model.options,
                    group if suite == "memory" else cases,
                    threads,
                    longest=artefact.model.context,
                ),
                process=process,
                requests=protocol.requests,
                warmup_max=protocol.warmup_max,
                seed=seed,
                timeout_s=protocol.job_timeout_s,
                optional=process >= least,
                salt=digest(profile),
                folder=folder if any(case.text for case in kept) else "",
                most_s=accuracy.budget_s if accuracy and suite == "accuracy" else 0.0,
            )


def _job(
    artefact: Artefact,
    *,
    salt: str,
    timeout_s: float,
    folder: str = "",
    most_s: float = 0.0,
    **fields: Any,
) -> Job:
    """A job with its id; `most_s` is a time that it keeps to by itself, 0 = none."""
    suite = fields["suite"]
    shown = [artefact.model.chat_template, artefact.template_sha256] if suite in _CHATTING else []
    files = [artefact.sha256, artefact.model.id, *shown]
    identity = digest([salt, SUITE_VERSIONS[suite], *files, fields])
    rough_s = estimate_s(artefact.size_bytes, **fields)
    return Job(
        id=identity[:16],
        model=artefact.model.id,
        path=artefact.path,
        backend=artefact.model.backend_name,
        suite_version=SUITE_VERSIONS[suite],
        # A large model legitimately needs longer than the profile's floor.
        timeout_s=max(timeout_s, 60.0) + 20 * rough_s,
        estimate_s=min(rough_s, most_s or rough_s),
        folder=folder,
        **fields,
    )


def _resolved(
    options: BackendOptions, cases: Sequence[Case], threads: int, *, longest: int = 0
) -> BackendOptions:
    """Options with threads pinned and the cache sized for the suite's longest case, but not
    beyond what the network declares (0 = unknown).
    """
    own = max((case.context for case in cases), default=0)
    need = max((case.tokens for case in cases), default=0) + _CONTEXT_SLACK_TOKENS
    need = max(need, _LEAST_CONTEXT_TOKENS)
    context = 1 << (need - 1).bit_length()
    return dataclasses.replace(
        options,
        threads=options.threads or threads,
        threads_prefill=options.threads_prefill or options.threads or threads,
        context=min(
            own or options.context or context, longest or own or options.context or context
        ),
        mmap=options.mmap or any(case.mmap for case in cases),
        sequences=_SCORING_SEQUENCES if any(case.task for case in cases) else options.sequences,
    )


def _need_bytes(artefact: Artefact, options: BackendOptions) -> int:
    wide = artefact.model.format == "gguf" and options.kv_type == "f32"
    cache = artefact.weights.get("kv_bytes", 0) * (2 if wide else 1)
    # Half-precision weights that are widened when they are loaded take more than their file.
    weights = max(artefact.size_bytes, artefact.weights.get("read_bytes", 0))
    return weights + cache * options.context
