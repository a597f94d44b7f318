"""What the commands do: specification → plan → execution → records → scorecard → report.

Each function is one command's work without its printing, so that the command line, a
notebook and a test all walk the same path.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import harness
from harness import adaptive, environment, metrics, stats
from harness import plan as planning
from harness.backends import BACKENDS, ENGINES
from harness.environment.thermal import ThermalGate, pace_s
from harness.errors import Exit, HarnessError, PrerequisiteError, SpecError
from harness.execute import WATCHES, Conditions, Outcome, Watch, execute, place, prime, skipped
from harness.extensions import target
from harness.models import resolve as artefacts
from harness.plan import Job, Plan
from harness.prepare import prepare, require_engine
from harness.probes import energy, pagecache, roofline
from harness.records import SCHEMA, JournalWriter, Record, read, write_whole
from harness.runs import attempts, find_run, new_run_folder, write_reports, write_scorecard
from harness.spec import Artefact, BackendOptions, canonical, to_json
from harness.suites import SUITES

__all__ = [
    "RunResult",
    "bench",
    "find_run",
    "next_step",
    "prepare",
    "run",
    "write_reports",
    "write_scorecard",
]

Progress = Callable[[Outcome, int, float], None]
"""Called as each job ends with its outcome, the jobs left and the seconds left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run left behind.

    Attributes:
        status: `done`, `failed` (nothing measured or jobs failed) or `interrupted`.
    """

    folder: Path
    scorecard: Path
    card: dict[str, Any]
    status: str
    exit_code: Exit


def run(plan: Plan, results: Path, progress: Progress | None = None) -> RunResult:
    """Measure a plan and leave a scored, reported run folder.

    Raises:
        RecordError: the results folder cannot be written.
    """
    if not plan.jobs:
        raise PrerequisiteError(
            "no model of this plan can be measured here",
            allowed="\n    ".join(f"{skip.model}: {skip.detail}" for skip in plan.skipped),
            hint=next((skip.hint for skip in plan.skipped if skip.hint), "harness doctor"),
            reason="nothing_to_measure",
        )
    number = 1 + attempts(results, plan.hash)
    folder = new_run_folder(results)
    write_whole(folder / "plan.json", canonical(plan))
    journal = JournalWriter(folder / "records.jsonl")
    interrupted = False
    problem: HarnessError | None = None
    try:
        journal.append(_run_record(plan, folder.name, number))
        before = _environment_record(plan, "before")
        journal.append(before)
        try:
            _measure(plan, folder, journal, before["facts"], progress)
        except KeyboardInterrupt:
            interrupted = True
        journal.append(_environment_record(plan, "after"))
    except HarnessError as error:
        problem = error
    finally:
        journal.close()
    card = write_scorecard(folder)
    if problem:
        raise problem
    status, exit_code = _status(card, interrupted=interrupted)
    return RunResult(
        folder=folder,
        scorecard=folder / "scorecard.json",
        card=card,
        status=status,
        exit_code=exit_code,
    )


def _measure(
    plan: Plan,
    folder: Path,
    journal: JournalWriter,
    facts: Mapping[str, object],
    progress: Progress | None,
) -> None:
    """Run all jobs that are needed; the estimate of what is left follows the pace so far."""
    backends = {job.backend for job in plan.jobs}
    prime(_worker_modules(backends))
    queue = _Queue(plan, journal)
    spent_s = planned_s = 0.0
    for outcome in execute(
        queue.jobs(),
        _targets(backends),
        folder / "parts",
        journal,
        watches={**WATCHES, "energy": Watch("energy_trace", queue.power_sampler)},
        arrange=_Arranger(plan, facts),
    ):
        queue.note(outcome)
        spent_s += outcome.wall_s
        planned_s += outcome.job.estimate_s
        if progress:
            left = [job for job in queue.waiting if not job.optional]
            left_s = sum(job.estimate_s for job in left) * spent_s / planned_s
            progress(outcome, len(left), left_s)


_Work = tuple[str, str, tuple[str, ...]]


def _work(job: Job) -> _Work:
    """What all processes of a job have in common: model, suite and cases."""
    return job.model, job.suite, tuple(case.id for case in job.cases)


class _Queue:
    """Gives the plan's jobs out one by one and leaves out those that are not needed."""

    def __init__(self, plan: Plan, journal: JournalWriter) -> None:
        self.waiting = deque(plan.jobs)
        self._profile = plan.profile
        self._journal = journal
        self._samples: dict[tuple[str, str], list[Record]] = defaultdict(list)
        self._spent_s: dict[str, float] = defaultdict(float)
        # Idle power is measured before anything of ours has warmed the machine.
        wants_power = any(job.suite == "energy" for job in plan.jobs)
        self._power = _Power() if wants_power else None
        self._failed: dict[_Work, Outcome] = {}

    def jobs(self) -> Iterator[Job]:
        """The next job whenever it is asked for."""
        while self.waiting:
            job = self.waiting.popleft()
            if why := self._why_not_needed(job):
                event = {"type": "event", "kind": "not_needed", "reason": why}
                self._journal.append(event | place(job))
            elif first := self._failed.get(_work(job)):
                detail = f"its first process ended {first.state}: {first.detail}"
                self._journal.append(skipped(job, first.reason, detail))
            elif job.suite == "energy" and self._power and self._power.problem:
                self._journal.append(skipped(job, *self._power.problem))
            else:
                yield job

    def note(self, outcome: Outcome) -> None:
        """Take in what a job brought: it decides about those that wait."""
        job = outcome.job
        self._spent_s[job.model] += outcome.waited_s + outcome.wall_s
        if not job.process and outcome.state not in {"ok", "interrupted"}:
            # Hours would go by until it had hung or died as often as it is planned.
            self._failed[_work(job)] = outcome
        if job.suite in self._profile.protocol.processes_max:
            self._samples[job.model, job.suite] += outcome.samples

    def power_sampler(self) -> energy.PowerSampler:
        """A sampler for one energy job."""
        assert self._power
        return self._power.sampler()

    def _why_not_needed(self, job: Job) -> str:
        if not job.optional:
            return ""
        samples = self._samples[job.model, job.suite]
        return adaptive.decide(job, samples, self._spent_s[job.model], self._profile)


class _Power:
    """What energy is read from, and the machine's idle power.

    Attributes:
        problem: reason code and detail where it cannot be read.
    """

    def __init__(self) -> None:
        self.problem: tuple[str, str] | None = None
        self._source = energy.open_source()
        if self._source is None:
            states = (f"{found['name']}: {found['detail']}" for found in energy.sources())
            self.problem = ("no_power_sensor", "; ".join(states))
            return
        try:
            self._idle_w = energy.idle_watts(self._source)
        except HarnessError as error:
            self.problem = (error.reason, error.message)

    def sampler(self) -> energy.PowerSampler:
        """A sampler for one job."""
        assert self._source is not None
        return energy.PowerSampler(self._source, idle_w=self._idle_w)


class _Arranger:
    """Before each job: let the processor cool down, and settle the page cache."""

    def __init__(self, plan: Plan, facts: Mapping[str, object]) -> None:
        self._gate = ThermalGate(
            start_temperature=facts.get("temperature_c"),
            start_pace_s=pace_s(),
            cap_s=plan.profile.protocol.cool_down_max_s,
            read=lambda: environment.telemetry().get("temperature_c"),
        )
        self._files = {found.model.id: _files(found) for found in plan.artefacts}

    def __call__(self, job: Job) -> Conditions:
        gate, waited_s = self._gate.wait()
        cache = "unknown"
        if job.suite == "latency":
            # Cold and warm starts in turn; both leave the same model in memory.
            files = self._files[job.model]
            if job.process % 2:
                cache = "cold" if pagecache.evict(files) else "unknown"
            elif pagecache.warm(files):
                cache = "warm"
        telemetry = {"facts": environment.telemetry(), "gate": gate}
        return Conditions(cache, waited_s, telemetry)


def _files(found: Artefact) -> list[Path]:
    """All files of an artefact; the graph of an ONNX folder may lie one level down."""
    opened = Path(found.path)
    homes = (opened.parent, opened.parent.parent)
    home = next((h for h in homes if all((h / name).exists() for name in found.sha256)), None)
    return [home / name for name in found.sha256] if home else [opened]


def bench(
    path: str, *, prompt: int, output: int, repetitions: int, options: BackendOptions
) -> dict[str, Any]:
    """Kernel mode on one local GGUF file or ONNX folder.

    Returns:
        `tests`: for each of pp and tg `tok_per_s` with median and samples; beside it the
        model, the backend, its options and what the engine says of itself.

    Raises:
        HarnessError: the worker failed; the message says how.
    """
    model = artefacts.model_from_path(path)
    require_engine(model)
    artefact = artefacts.resolve(model, Path())
    if not options.threads:
        threads = environment.default_threads(environment.observe())
        options = BackendOptions(**{**to_json(options), "threads": threads})
    job = planning.kernel_job(
        artefact, prompt=prompt, output=output, repetitions=repetitions, options=options
    )
    if not job.cases:
        raise SpecError(
            "nothing to measure", allowed="-p or -n above 0", hint="harness bench --help"
        )
    with tempfile.TemporaryDirectory(prefix="harness-bench-") as temporary:
        folder = Path(temporary)
        journal = JournalWriter(folder / "records.jsonl")
        (outcome,) = execute((job,), _targets([model.backend_name]), folder / "parts", journal)
        journal.close()
        records = read(folder / "records.jsonl").records
    if outcome.state != "ok":
        raise HarnessError(
            f"{outcome.state}: {outcome.detail}",
            where=path,
            hint=next_step(outcome),
            reason=outcome.reason,
        )
    engine = next(record for record in records if record["type"] == "engine")
    return {
        "model": model.id,
        "backend": model.backend_name,
        "size_bytes": artefact.size_bytes,
        "options": engine["options"],
        "engine": engine["facts"],
        "tests": [_kernel_test(case.id, records) for case in job.cases],
    }


def next_step(outcome: Outcome) -> str:
    """What to do about a job that failed."""
    if outcome.reason in {"load_failed", "model_unreadable", "graph_unknown"}:
        return f"fetch or export {outcome.job.path} again: a whole GGUF file or ONNX folder loads"
    if outcome.reason == "context_exceeded":
        return "ask for fewer tokens: what is in the cache, the prompt and the output must fit"
    return "harness doctor"


def _kernel_test(case: str, records: Iterable[Record]) -> dict[str, Any]:
    rates = metrics.kernel_rates(records, case)
    return {
        "name": case,
        "tok_per_s": {
            "median": stats.round_significant(stats.median(rates)),
            "samples": [stats.round_significant(rate) for rate in rates],
        },
    }


def _worker_modules(backends: Iterable[str]) -> list[str]:
    """What workers with these backends import, engines included."""
    adapters = [path.partition(":")[0] for path in _targets(backends).values()]
    engines = [module for name in backends for module in ENGINES.get(name, ())]
    return ["harness.worker", "harness.plan", *SUITES.values(), *adapters, *engines]


def _targets(backends: Iterable[str]) -> dict[str, str]:
    return {name: target(name, BACKENDS, "harness.backends") for name in backends}


def _run_record(plan: Plan, run: str, number: int) -> Record:
    return {
        "type": "run",
        "schema": SCHEMA,
        "run": run,
        "plan": plan.hash,
        "harness": harness.__version__,
        "started_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "attempt": {"number": number, "of": number},
        "profile": to_json(plan.profile),
        "device": to_json(plan.device),
        "models": [
            {
                **to_json(found.model),
                "sha256": to_json(found.sha256),
                "size_bytes": found.size_bytes,
                "weights": to_json(found.weights),
            }
            for found in plan.artefacts
        ],
        "skipped": to_json(plan.skipped),
        "jobs": len(plan.jobs),
    }


def _environment_record(plan: Plan, when: str) -> Record:
    facts = environment.observe()
    # An engine without arithmetic has no roof.
    engines = any(job.backend != "fake" for job in plan.jobs)
    return {
        "type": "environment",
        "when": when,
        "facts": facts,
        "findings": environment.preconditions(
            plan.device, facts, after=when == "after", need_bytes=plan.need_bytes
        ),
        "calibration": roofline.calibrate(environment.default_threads(facts)) if engines else None,
    }


def _status(card: dict[str, Any], *, interrupted: bool) -> tuple[str, Exit]:
    if interrupted:
        return "interrupted", Exit.INTERRUPTED
    jobs = [job for entry in card["entries"] for job in entry["jobs"]]
    if not jobs or any(job["outcome"] not in {"ok", "skipped"} for job in jobs):
        return "failed", Exit.FAILED
    return "done", Exit.DONE
