"""How much of a run's wall time is the harness's own: outside engine calls.

Usage: python -m tests.perf.harness_share --model MODEL [--profile standard] [--suite latency]

Runs the plan's jobs of one model through real workers whose backend adds up the time in
its calls. What is left is starting processes, importing, drawing prompts and items,
reading counters and writing records. Nothing waits deliberately here: there is no
thermal gate between the jobs. The target is a share of at most 5 % of a standard run.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import click

from harness.execute import execute
from harness.job import Job
from harness.plan import Plan
from harness.prepare import prepare
from harness.records import JournalWriter
from harness.session import exams
from harness.suites.tasks import PUBLIC_SEED
from tests.perf.timed_backend import LOG

ROOT = Path(__file__).parents[2]


def measure(plan: Plan, jobs: tuple[Job, ...]) -> dict[str, Counter[str]]:
    """Seconds by suite: wall, engine, and around (before its first and after its last call)."""
    found: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="harness-share-") as temporary:
        folder = Path(temporary)
        log = folder / "log"
        os.environ[LOG] = str(log)
        # Workers ignore the working folder; they have to find this package all the same.
        os.environ["PYTHONPATH"] = str(ROOT)
        targets = {job.backend: f"tests.perf.timed_backend:{job.backend}" for job in jobs}
        journal = JournalWriter(folder / "records.jsonl")
        start = time.perf_counter()
        feeds = {"accuracy": exams(plan, None, PUBLIC_SEED, {})}
        for outcome in execute(jobs, targets, folder / "parts", journal, feeds=feeds):
            if outcome.state != "ok":
                raise click.ClickException(
                    f"{outcome.job.suite}: {outcome.state} {outcome.reason} {outcome.detail}"
                )
            line = json.loads(log.read_text("utf-8").splitlines()[-1])
            now = time.perf_counter()
            seconds = found.setdefault(outcome.job.suite, Counter())
            seconds["jobs"] += 1
            seconds["wall"] += now - start
            seconds["engine"] += line["engine_ns"] / 1e9
            seconds["around"] += now - start - (line["last_ns"] - line["first_ns"]) / 1e9
            start = now
        journal.close()
    return found


def show(name: str, seconds: Counter[str]) -> dict[str, object]:
    """One row of the table."""
    return {
        "suite": name,
        "jobs": seconds["jobs"],
        "wall_s": round(seconds["wall"], 2),
        "engine_s": round(seconds["engine"], 2),
        "around_s": round(seconds["around"], 2),
        "between_s": round(seconds["wall"] - seconds["engine"] - seconds["around"], 2),
        "share": round(1 - seconds["engine"] / seconds["wall"], 4),
    }


@click.command()
@click.option("--model", required=True, help="An id of models.yaml or a path.")
@click.option("--profile", default="standard", show_default=True)
@click.option("--suite", "suites", multiple=True, help="Only these; repeatable.")
@click.option("--processes", default=0, help="At most so many processes a suite; 0 = all.")
def main(model: str, profile: str, suites: tuple[str, ...], processes: int) -> None:
    """Print one JSON line a suite and one for the whole run."""
    plan = prepare(models=[model], profile=profile, suites=suites)
    jobs = tuple(
        job
        for job in plan.jobs
        if job.model == plan.artefacts[-1].model.id
        and not job.optional
        and (not processes or job.process < processes)
    )
    if not jobs:
        raise click.ClickException("the plan has no job of this model (chat needs a template)")
    found = measure(plan, jobs)
    for name, seconds in found.items():
        click.echo(json.dumps(show(name, seconds)))
    total = sum(found.values(), Counter())
    click.echo(json.dumps(show("all", total)))


if __name__ == "__main__":
    main()
