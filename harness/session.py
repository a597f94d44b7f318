"""What the commands do: specification → plan → execution → records → scorecard → report.

Each function is one command's work without its printing, so that the command line, a
notebook and a test all walk the same path.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import harness
from harness import counting, environment, planfile, privacy, seeds, stats
from harness import plan as planning
from harness import resume as resuming
from harness.backends import BACKENDS, ENGINES
from harness.durable import write_whole
from harness.errors import Exit, HarnessError, PrerequisiteError, SpecError
from harness.exam import Budget, Exam, ItemProgress
from harness.execute import (
    WATCHES,
    Outcome,
    adopt_interrupted,
    execute,
    execute_apart,
    next_step,
    prime,
)
from harness.extensions import target
from harness.heldout import HeldOutTask
from harness.job import Job
from harness.models import resolve as artefacts
from harness.ownhash import harness_sha256
from harness.plan import Plan
from harness.prepare import held_out, require_engine
from harness.probes import roofline
from harness.records import SCHEMA, JournalWriter, Record
from harness.resume import Past
from harness.runs import alone, exit_code, new_run_folder, write_scorecard
from harness.schedule import Arranger, Queue
from harness.seeds import PUBLIC, Seed
from harness.sources import source_of
from harness.spec import BackendOptions, sha256, to_json
from harness.suites import SUITES
from harness.supervise import Watch
from harness.times import kernel_rates

Progress = Callable[[Outcome, int, float], None]
"""Called as each job ends with its outcome, the jobs left and the seconds left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run left behind.

    Attributes:
        status: `done`, `failed` (nothing measured or jobs failed), `incomparable` (no model
            can have a score: its reference is missing or guesses) or `interrupted`.
    """

    folder: Path
    scorecard: Path
    card: dict[str, Any]
    status: str
    exit_code: Exit


def run(
    plan: Plan,
    results: Path,
    progress: Progress | None = None,
    *,
    seed: Seed = PUBLIC,
    own: Mapping[str, HeldOutTask] | None = None,
    items: ItemProgress | None = None,
    nonce: str = "",
    announced: bool = False,
) -> RunResult:
    """Measure a plan and leave a scored, reported run folder.

    Args:
        seed: what generated items are drawn from; a secret one is never written.
        own: an evaluator's own items, by the id of their entry.
        items: who is told how far an accuracy job is.
        nonce: an evaluator's word for this very run, kept with it.
        announced: it is one of those that `announce` has announced.

    Raises:
        PrerequisiteError: nothing can be measured, or another harness measures into the folder.
        RecordError: the results folder cannot be written, or its ledger is damaged.
    """
    _require_jobs(plan)
    with alone(results):
        book = counting.examine(results)
        folder = new_run_folder(results)
        try:
            attempt = counting.begin(book, plan, run=folder.name, nonce=nonce, announced=announced)
        except BaseException:
            folder.rmdir()  # nothing was begun: no empty folder stays for it
            raise
        planned = planfile.dump(plan)
        write_whole(folder / planfile.NAME, planned)
        first = _run_record(plan, folder.name, attempt, seed, nonce)
        first |= {"plan_sha256": sha256(planned)}
        asked = exams(plan, Budget.of(plan.profile), seed.value, own or {}, items)
        return _continue(plan, folder, [first], progress=progress, feed=asked)


def resume(
    folder: Path,
    progress: Progress | None = None,
    *,
    seed_file: Path | None = None,
    items: ItemProgress | None = None,
    retry_failed: bool = False,
    announce: Callable[[Past], None] | None = None,
) -> RunResult:
    """Go on with a run that was interrupted: what is on record is not measured again.

    What was running when it ended is begun again, in its place in the plan's order; the
    records of its earlier start stay as evidence and do not count.

    Args:
        seed_file: the secret seed of the run, which is never kept.
        retry_failed: run jobs that did not end well once more, too.
        announce: told what is on record and what is left, before anything is measured.

    Raises:
        HarnessError: it cannot go on here: see `resuming.examine` and `require_here`.
        SpecError: another seed than the run's.
    """
    # A refused folder is not even locked.
    resuming.require_here(resuming.examine(folder, retry_failed=retry_failed))
    results = folder.resolve().parent  # `.` is a run's folder, too
    with alone(results):
        counting.examine(results)  # nothing is measured beside a damaged one
        past = resuming.examine(folder, retry_failed=retry_failed)
        plan = past.plan
        seed = seeds.for_resumed(_items_seed(plan), seed_file)
        own = held_out(plan.profile, Path(plan.folder))
        if announce:
            announce(past)
        if past.closed and not past.left:
            return _result(folder, write_scorecard(folder), interrupted=False)
        budget = Budget.of(plan.profile, past.items)
        asked = exams(plan, budget, seed, own, items)
        again = {
            "type": "event",
            "kind": "resumed",
            "started_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "harness": harness.__version__,
            "again": [job.id for job in past.left if job.retry],
        }
        return _continue(plan, folder, [again], progress=progress, feed=asked, past=past)


def _items_seed(plan: Plan) -> str:
    """Hash of what the plan's accuracy items are drawn from; empty where it has none."""
    return next((job.seed for job in plan.jobs if job.suite == "accuracy"), "")


def _continue(
    plan: Plan,
    folder: Path,
    first: Sequence[Record],
    *,
    progress: Progress | None,
    feed: Callable[[Job], Exam],
    past: Past | None = None,
) -> RunResult:
    """Measure what is left of a plan, and leave a scorecard whatever ends it."""
    interrupted, own = False, folder.resolve()
    try:
        hidden = privacy.folders(Path(found.path).parent for found in plan.artefacts)
        path = folder / "records.jsonl"
        with contextlib.closing(JournalWriter(path, hidden=hidden)) as journal:
            journal.append(*first)
            if past:
                counting.note(own.parent, own.name, journal.end)
            session = past.sessions if past else 0
            before = _environment_record(plan, "before", session)
            journal.append(before)
            try:
                _measure(
                    plan,
                    folder,
                    journal,
                    (past.before if past and past.before else before)["facts"],
                    progress=progress,
                    feed=feed,
                    past=past,
                )
            except KeyboardInterrupt:
                interrupted = True
            journal.append(_environment_record(plan, "after", session))
            counting.note(own.parent, own.name, journal.end)
    except BaseException:
        # What was measured is kept, whatever ended it; what that was is told, not what followed.
        with contextlib.suppress(HarnessError):
            write_scorecard(folder)
        raise
    return _result(folder, write_scorecard(folder), interrupted=interrupted)


def _result(folder: Path, card: dict[str, Any], *, interrupted: bool) -> RunResult:
    status, code = _status(card, interrupted=interrupted)
    return RunResult(
        folder=folder,
        scorecard=folder / "scorecard.json",
        card=card,
        status=status,
        exit_code=code,
    )


def announce(plan: Plan, results: Path, of: int, *, nonce: str = "") -> int:
    """Say before anything is measured how many runs make a plan's official result.

    Returns:
        How many of them are still to be made: less than `of` where an earlier command began.

    Raises:
        HarnessError: as `run`; or another number is announced already (`series_open`).
    """
    _require_jobs(plan)
    with alone(results):
        return counting.announce(results, plan, of, nonce=nonce)


def _require_jobs(plan: Plan) -> None:
    if not plan.jobs:
        raise PrerequisiteError(
            "no model of this plan can be measured here",
            allowed="\n    ".join(f"{skip.model}: {skip.detail}" for skip in plan.skipped),
            hint=next((skip.hint for skip in plan.skipped if skip.hint), "harness doctor"),
            reason="nothing_to_measure",
        )


def _measure(
    plan: Plan,
    folder: Path,
    journal: JournalWriter,
    facts: Mapping[str, object],
    *,
    progress: Progress | None,
    feed: Callable[[Job], Exam],
    past: Past | None,
) -> None:
    """Run all jobs that are needed; the estimate of what is left follows the pace so far."""
    backends = {job.backend for job in plan.jobs}
    prime(_worker_modules(backends))
    queue = Queue(
        plan.profile,
        past.left if past else plan.jobs,
        journal,
        killed=past.killed if past else (),
    )
    if past:
        adopt_interrupted(past.lost, folder / "parts", journal)
        for outcome in past.outcomes:
            queue.note(outcome)
    spent_s = planned_s = 0.0
    for outcome in execute(
        queue.jobs(),
        _targets(backends),
        folder / "parts",
        journal,
        watches={**WATCHES, "energy": Watch("energy_trace", queue.power_sampler)},
        feeds={"accuracy": feed},
        arrange=Arranger(plan, facts),
    ):
        queue.note(outcome)
        spent_s += outcome.wall_s
        planned_s += outcome.job.estimate_s
        if progress:
            left = [job for job in queue.waiting if not job.optional]
            left_s = sum(job.estimate_s for job in left) * spent_s / planned_s
            progress(outcome, len(left), left_s)


def exams(
    plan: Plan,
    budget: Budget | None,
    seed: bytes,
    own: Mapping[str, HeldOutTask],
    progress: ItemProgress | None = None,
) -> Callable[[Job], Exam]:
    """What is asked in each accuracy job; a budget is shared by all of them."""
    artefacts_by_id = {artefact.model.id: artefact for artefact in plan.artefacts}

    def exam(job: Job) -> Exam:
        sources = {case.id: source_of(case, seed, own) for case in job.cases}
        return Exam(job, artefacts_by_id[job.model], sources, budget, progress)

    return exam


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
    (outcome,), records = execute_apart((job,), _targets([model.backend_name]))
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


def _kernel_test(case: str, records: Iterable[Record]) -> dict[str, Any]:
    rates = kernel_rates(records, case)
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
    return ["harness.worker", "harness.job", *SUITES.values(), *adapters, *engines]


def _targets(backends: Iterable[str]) -> dict[str, str]:
    return {name: target(name, BACKENDS, "harness.backends") for name in backends}


def _run_record(plan: Plan, run: str, attempt: Mapping[str, Any], seed: Seed, nonce: str) -> Record:
    asks = any(job.suite == "accuracy" for job in plan.jobs)
    return {
        "type": "run",
        "schema": SCHEMA,
        "run": run,
        "plan": plan.hash,
        "harness": harness.__version__,
        "harness_sha256": harness_sha256(),
        "started_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "attempt": dict(attempt),
        **({"nonce": nonce} if nonce else {}),
        "profile": to_json(plan.profile),
        "device": to_json(plan.device),
        "models": [
            {
                **to_json(found.model),
                "sha256": to_json(found.sha256),
                "size_bytes": found.size_bytes,
                "weights": to_json(found.weights),
                "template_sha256": found.template_sha256,
                "preflight": found.preflight,
            }
            for found in plan.artefacts
        ],
        "skipped": to_json(plan.skipped),
        "jobs": len(plan.jobs),
        **({"seed": seed.facts()} if asks else {}),
    }


def _environment_record(plan: Plan, when: str, session: int) -> Record:
    facts = environment.observe()
    # An engine without arithmetic has no roof.
    engines = any(job.backend != "fake" for job in plan.jobs)
    return {
        "type": "environment",
        "when": when,
        **({"session": session} if session else {}),
        "facts": facts,
        "findings": environment.preconditions(
            plan.device, facts, after=when == "after", need_bytes=plan.need_bytes
        ),
        "builds": resuming.builds(plan),
        "calibration": roofline.calibrate(environment.default_threads(facts)) if engines else None,
    }


def _status(card: dict[str, Any], *, interrupted: bool) -> tuple[str, Exit]:
    if interrupted:
        return "interrupted", Exit.INTERRUPTED
    jobs = [job for entry in card["entries"] for job in entry["jobs"]]
    found = {finding["code"] for entry in card["entries"] for finding in entry["findings"]}
    failed = any(job["outcome"] not in {"ok", "skipped"} for job in jobs)
    if not jobs or failed or "samples_refused" in found:
        return "failed", Exit.FAILED
    code = exit_code(card)
    return ("incomparable" if code else "done"), code
