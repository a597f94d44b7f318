"""One case of one model, a fresh process at a time: what a test of somebody's own asks for.

name of a case ─▶ workload ─▶ jobs of a plan ─▶ one worker each ─▶ seconds, and figures in the end

The case is measured and its samples are refused exactly as in a run; only what surrounds a run
is left out: no reference, no watch over the machine, no scorecard.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import environment, metrics, specfile, stats
from harness import plan as planning
from harness.backends import BACKENDS
from harness.errors import HarnessError, SpecError
from harness.execute import execute_apart, next_step
from harness.extensions import target
from harness.job import Job
from harness.models import resolve as artefacts
from harness.prepare import named_model, require_engine
from harness.records import Record
from harness.scoring.observe import Observed, observe
from harness.scoring.rules import Rules, read_rules
from harness.spec import Artefact, KernelSuite, LatencySuite, Profile, Suites, to_json

_KERNEL = re.compile(r"(pp|tg)([1-9]\d{0,5})(?:@d([1-9]\d{0,5}))?")
_FIXED = re.compile(r"fixed-p([1-9]\d{0,5})-n([1-9]\d{0,5})(?:@d([1-9]\d{0,5}))?")
_PER_TOKEN = {"pp": "kernel_pp_tok_per_s", "tg": "kernel_tg_tok_per_s"}
_OF_A_REQUEST = ("end_to_end_s", "ttft_s", "tpot_s")
PROCESSES = 5
"""As many rounds as pytest-benchmark takes at least."""

Seconds = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """What a case came to. Every figure is also an attribute: `result.decode_tok_per_s`.

    Attributes:
        metric: whose seconds stand in `seconds`; a rate stands there as seconds a token.
        metrics: median over processes of each process's median, by registered id.
        seconds: of every request, by process.
        facts: about the profile, the files, the engine and its options.
    """

    model: str
    case: str
    metric: str
    metrics: Mapping[str, float]
    seconds: tuple[Seconds, ...] = field(repr=False)
    facts: Mapping[str, Any] = field(repr=False)

    def __getattr__(self, name: str) -> float:
        """The figure of that name."""
        __tracebackhide__ = True  # a mistake in a test is shown there
        # What copies and pickles look for before there are any fields.
        figures: Mapping[str, float] = {} if name.startswith("_") else self.metrics
        if name in figures:
            return figures[name]
        raise AttributeError(f"case {self.case!r} has no {name!r}, only {', '.join(figures)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OneCase:
    """A case that can be measured here, and the jobs that will do it."""

    artefact: Artefact
    case: str
    metric: str
    jobs: tuple[Job, ...]
    rules: Rules

    def measure(self, job: Job) -> tuple[Seconds, list[Record]]:
        """Run one job in a fresh process: the seconds of its requests, and its records.

        Raises:
            HarnessError: the worker failed, or a sample cannot be trusted.
        """
        name = job.backend
        targets = {name: target(name, BACKENDS, "harness.backends")}
        (outcome,), records = execute_apart((job,), targets)
        if outcome.state != "ok":
            raise HarnessError(
                f"{outcome.state}: {outcome.detail}",
                where=self.artefact.path,
                hint=next_step(outcome),
                reason=outcome.reason,
            )
        return self._seconds(self._observe(records))[0], records

    def result(self, records: list[Record]) -> CaseResult:
        """What all jobs together came to."""
        seen = self._observe(records)
        model = self.artefact.model
        profile = self.rules.profile
        return CaseResult(
            model=model.id,
            case=self.case,
            metric=self.metric,
            metrics={
                metric: stats.round_significant(
                    stats.median([stats.median(values) for values in series.processes])
                )
                for (case, metric), series in seen.series.items()
                if case == self.case
            },
            seconds=self._seconds(seen),
            facts={
                "profile": f"{profile.id} v{profile.version}",
                "sha256": to_json(self.artefact.sha256),
                "backend": seen.engine["backend"],
                "engine": seen.engine["facts"],
                "options": seen.engine["options"],
            },
        )

    def _observe(self, records: list[Record]) -> Observed:
        (seen,) = observe(records, [{"id": self.artefact.model.id}], self.rules)
        for problem in seen.problems:
            raise HarnessError(
                f"{problem.detail or problem.reason} ({problem.reason})",
                where=f"{self.artefact.path}, {self.case}",
                hint="harness doctor",
                reason=problem.reason,
            )
        return seen

    def _seconds(self, seen: Observed) -> tuple[Seconds, ...]:
        values = seen.series[self.case, self.metric].processes
        if metrics.METRICS[self.metric].unit != "s":
            return tuple(tuple(1 / rate for rate in process.tolist()) for process in values)
        return tuple(tuple(process.tolist()) for process in values)


def prepare(
    model: str | os.PathLike[str],
    case: str,
    *,
    metric: str = "",
    profile: str = "quick",
    processes: int = PROCESSES,
    folder: Path | None = None,
) -> OneCase:
    """Find the model and plan its case.

    Args:
        model: an id of the models file, or a path, also one below `folder`.
        case: `ppN`, `tgN` or `fixed-pP-nN`; behind a filled cache with `@dN`.
        metric: whose seconds are wanted; empty = those of the whole request, in kernel mode
            those of a token.
        profile: whose numbers of timed and untimed requests are taken.
        processes: fresh processes; a case behind a filled cache has three at most.

    Raises:
        SpecError: an unknown name, or a case that the model cannot hold.
        PrerequisiteError: the model's file or its engine is missing.
    """
    suite, suites = _workload(case)
    metric = _metric(case, metric)
    asked = specfile.resolve_profile(profile)
    protocol = dataclasses.replace(
        asked.protocol, processes={suite: processes}, processes_max={}, grouping="case"
    )
    asked = dataclasses.replace(asked, suites=suites, protocol=protocol)
    artefact = _artefact(model, folder or Path())
    jobs = _jobs(asked, artefact)
    return OneCase(
        artefact=artefact,
        case=case,
        metric=metric,
        jobs=jobs,
        rules=read_rules(to_json(asked)),
    )


def _workload(case: str) -> tuple[str, Suites]:
    """The suite of a case by its name, and suites that hold nothing else."""
    if found := _KERNEL.fullmatch(case):
        kind, tokens, depth = found[1], int(found[2]), int(found[3] or 0)
        pp, tg = (tokens, 0) if kind == "pp" else (0, tokens)
        kernel = KernelSuite(prompt_tokens=pp, output_tokens=tg, depths=(depth,))
        return "kernel", Suites(kernel=kernel)
    if found := _FIXED.fullmatch(case):
        prompt, output, depth = int(found[1]), int(found[2]), int(found[3] or 0)
        latency = LatencySuite(prompt_tokens=(prompt,), output_tokens=(output,), depths=(depth,))
        return "latency", Suites(latency=latency)
    raise SpecError(
        f"unknown case '{case}'",
        allowed="pp512, tg128, fixed-p256-n64, each also behind a filled cache: tg128@d1024",
        reason="unknown_name",
    )


def _metric(case: str, wanted: str) -> str:
    """The metric whose seconds are taken."""
    kernel = _PER_TOKEN.get(case[:2])
    allowed = (kernel,) if kernel else _OF_A_REQUEST
    if wanted and wanted not in allowed:
        raise SpecError(
            f"case '{case}' has no seconds of '{wanted}'",
            allowed=", ".join(allowed),
            reason="unknown_name",
        )
    return wanted or allowed[0]


def _artefact(model: str | os.PathLike[str], folder: Path) -> Artefact:
    catalogue = specfile.load_catalogue(specfile.default_catalogue_path())
    text = os.fspath(model)
    below = folder / text
    found = named_model(
        str(below) if text not in catalogue.models and below.exists() else text, catalogue
    )
    require_engine(found)
    return artefacts.resolve(found, Path(catalogue.path).parent)


def _jobs(profile: Profile, artefact: Artefact) -> tuple[Job, ...]:
    plan = planning.build(
        profile,
        specfile.resolve_device("this-machine"),
        [artefact],
        threads=environment.default_threads(environment.observe()),
    )
    for skip in plan.skipped:
        raise SpecError(
            f"{skip.model}: {skip.detail}", allowed="a shorter case", reason=skip.reason
        )
    return tuple(sorted(plan.jobs, key=lambda job: job.process))
