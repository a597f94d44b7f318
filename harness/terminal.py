"""What a run says on a terminal: plans, progress and the card. Chatter goes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from harness import counting, ledger, runs, score
from harness.errors import printable
from harness.execute import Outcome, next_step
from harness.job import Job
from harness.messages import Lang, tr
from harness.messages.commands import echo
from harness.metrics import show_bytes
from harness.plan import Plan
from harness.resume import Past


def announce(plan: Plan) -> None:
    """What is about to be measured, and what is not."""
    for skip in plan.skipped:
        what = f"{skip.model} {skip.case}".strip()
        echo(f"skipped {what}: {skip.detail}", err=True)
        if skip.hint:
            echo(f"  next: {skip.hint}", err=True)
    for line in _over_budget(plan):
        echo(line, err=True)
    echo(
        f"{len(plan.artefacts)} models, {_required(plan)} jobs, about "
        f"{_duration(plan.estimate_s)}{_at_most(plan)}; leave the machine alone meanwhile",
        err=True,
    )


def announce_resumed(past: Past) -> None:
    """What is on record of a run that goes on, and what is left of it."""
    name, kept, left = past.folder.name, len(past.outcomes), _left(past)
    if left:
        seconds = sum(job.estimate_s for job in left)
        echo(
            f"{name}: {kept} jobs are on record, {len(left)} are left; about {_duration(seconds)}",
            err=True,
        )
    else:
        echo(f"{name}: {kept} jobs are on record, none is left to be measured", err=True)
    if again := sum(job.retry > 0 for job in left):
        echo(f"  {again} of them are begun again", err=True)
    if bad := sum(outcome.state not in {"ok", "skipped"} for outcome in past.outcomes):
        echo(
            f"  {bad} did not end well\n  next: {runs.resume_command(past.folder)} --retry-failed",
            err=True,
        )


def _left(past: Past) -> list[Job]:
    return [job for job in past.left if not job.optional]


def left_json(past: Past) -> dict[str, Any]:
    """For programs: what `show_left` says."""
    return {
        "run": past.folder.name,
        "ended": len(past.outcomes),
        "left": [
            {name: getattr(job, name) for name in ("id", "model", "suite", "process", "retry")}
            for job in _left(past)
        ],
        "estimate_s": round(sum(job.estimate_s for job in _left(past)), 1),
    }


def show_left(past: Past) -> None:
    """Every job that is left of a run."""
    announce_resumed(past)
    for job in past.left:
        cases = ", ".join(case.id for case in job.cases)
        needed = "  if needed" if job.optional else ""
        echo(f"{job.id}  {job.model:<24} {job.suite:<9} #{job.process}  {cases}{needed}")


def wants_to_go_on(past: Past) -> bool:
    """Whether a run that was interrupted is to be finished instead of a new one begun.

    Nobody is asked without a terminal: there a new run is begun, and the other one named.
    """
    name = past.folder.name
    echo(f"{name} of the same plan was interrupted: {len(_left(past))} jobs are left", err=True)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        echo(f"  next: {runs.resume_command(past.folder)}", err=True)
        return False
    return click.confirm(tr("Go on with it?"), default=True, err=True)


def show_ledger(results: Path, plan: Plan, nonce: str, attempts: int | None) -> None:
    """What the results folder's ledger says of runs of this plan, before another is begun.

    Raises:
        RecordError: the ledger is damaged.
    """
    book = counting.examine(results)
    if book.ledger.torn:
        echo(
            "the ledger's last line was unfinished and is dropped: that run had not begun", err=True
        )
    found = book.ledger.find_series(plan.hash, ledger.nonce_digest(nonce))
    if found and found.left and not attempts:
        of = found.announced.of
        echo(f"note: {found.left} of {of} announced runs of this plan are missing", err=True)
        echo("  this run is counted, and not one of them", err=True)
        echo(f"  next: harness run --attempts {of} …", err=True)


def show_attempt(number: int, of: int) -> None:
    """Which announced run begins."""
    echo(f"announced run {number} of {of}", err=True)


def show_made(folder: Path, status: str) -> None:
    """How an announced run ended."""
    echo(f"{tr(status)}: {folder}", err=True)


def show_interrupted(folder: Path, *, announced: bool = False) -> None:
    """What to do about a run that was interrupted."""
    command = runs.resume_command(folder)
    if announced:
        echo(
            "interrupted: it counts as the worst unless it is finished\n"
            f"  next: {command}, then the same command again",
            err=True,
        )
    else:
        echo(f"interrupted; what was measured is kept\n  next: {command}", err=True)


def _required(plan: Plan) -> int:
    return sum(not job.optional for job in plan.jobs)


def _at_most(plan: Plan) -> str:
    """What repeating until the figures are precise may add."""
    optional = sum(job.optional for job in plan.jobs)
    if not optional:
        return ""
    return f", at most {_duration(plan.longest_s)} with {optional} repetitions more"


def _over_budget(plan: Plan) -> Iterator[str]:
    budget_s = plan.profile.protocol.budget_s
    for model, estimate_s in plan.over_budget_s.items():
        yield (
            f"note: {model} takes about {_duration(estimate_s)}, more than the profile's "
            f"{_duration(budget_s)} a model: nothing is repeated beyond that"
        )


def show_tuning(model: str, chosen: str) -> None:
    """Where the thread tuner has got to."""
    echo(f"tuned {model}: {chosen}", err=True)


def show_progress(outcome: Outcome, left: int, left_s: float) -> None:
    """One line as a job ends. Nothing is printed while one runs."""
    job = outcome.job
    trouble = f" ({outcome.reason}: {tr(outcome.detail.splitlines()[0])})" if outcome.detail else ""
    echo(
        f"{tr(outcome.state):<4} {job.model} {job.suite} #{job.process} "
        f"{outcome.wall_s:.1f} s{trouble} · {left} left, about {_duration(left_s)}",
        err=True,
    )
    if outcome.state not in {"ok", "interrupted"}:
        echo(f"  next: {next_step(outcome)}", err=True)


def show_items(model: str, answered: int, total: int, left_s: float) -> None:
    """How far an accuracy job is; nothing that is timed runs meanwhile."""
    of = f" of {total}" if total else ""
    echo(f"     {model}: {answered}{of} items, about {_duration(left_s)} left", err=True)


def show_reached(card: dict[str, Any]) -> None:
    """The interval of the accuracy that a time budget has brought."""
    for entry in card["entries"]:
        if found := entry["metrics"].get("accuracy"):
            half = (found["hi"] - found["lo"]) / 2
            echo(
                f"{entry['model']}: accuracy {found['value']:.3f} ± {half:.3f} "
                f"({found['lo']:.3f} to {found['hi']:.3f}) from {found['n']} items",
                err=True,
            )


def _duration(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60:02d} s"


def show_plan(plan: Plan) -> None:
    """Every job of a plan, what is left out, and how long it takes."""
    for job in plan.jobs:
        cases = ", ".join(case.id for case in job.cases)
        needed = "  if needed" if job.optional else ""
        echo(f"{job.id}  {job.model:<24} {job.suite:<9} #{job.process}  {cases}{needed}")
    for skip in plan.skipped:
        echo(f"skipped           {skip.model:<24} {f'{skip.case} {skip.detail}'.strip()}")
    for line in _over_budget(plan):
        echo(line)
    echo(
        f"{_required(plan)} jobs, about {_duration(plan.estimate_s)}{_at_most(plan)}, "
        f"{show_bytes(plan.need_bytes)} of memory or more"
    )


def show_card(card: dict[str, Any], folder: Path, lang: Lang) -> None:
    """The ranking, and the files that were left."""
    from rich.console import Console

    from harness.report import console

    kept = sorted(path for path in folder.iterdir() if path.is_file())
    console.show(card, Console(), files=[str(path) for path in kept], lang=lang)


def show_blocked(card: dict[str, Any]) -> None:
    """Why no model has a score, where that is the run's own fault."""
    if found := score.blocked(card):
        echo(f"harness: no score ({found.code}): {printable(found.detail)}", err=True)
