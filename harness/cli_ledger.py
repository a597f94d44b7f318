"""`harness ledger`: every run that was started, and what the announced ones come to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness import messages
from harness.cli_shared import as_json as _as_json
from harness.cli_shared import emit
from harness.cli_shared import results as _results
from harness.messages.commands import Group, echo

if TYPE_CHECKING:
    from harness.ledger import Book, Started
    from harness.official import Figure, Official, Standing

_PLAN_CHARS = 12


@click.group(cls=Group)
def ledger() -> None:
    """Every run that was started here, also one whose folder is gone: docs/ledger.md.

    \b
    harness run --attempts 3     announce three runs of a plan, and make them
    harness ledger list          every started run, plan by plan
    harness ledger official      the median of the announced runs
    """  # noqa: D301 - Click wants the control character itself


@ledger.command("list")
@_results
@_as_json
def list_(*, results: Path, as_json: bool) -> None:
    """List every started run of a results folder, plan by plan."""
    from harness.ledger import examine

    book = examine(results)
    if as_json:
        emit(_book_json(book))
        return
    runs = book.ledger.runs
    for plan in dict.fromkeys(line.plan for line in book.ledger.lines):
        series = [one for one in book.ledger.series if one.announced.plan == plan]
        made = ", ".join(f"{len(one.runs)}/{one.announced.of}" for one in series)
        echo(f"plan {plan[:_PLAN_CHARS]}" + (f"  announced runs made: {made}" if made else ""))
        for run in runs:
            if run.plan == plan:
                _show_run(book, run)
    if book.ledger.torn:
        echo("the last line was unfinished and was dropped: that run had not begun", err=True)
    unlisted = sum(line["type"] == "attempt" for line in book.unwritten)
    if unlisted:
        echo(f"{unlisted} more are taken up when the next run starts", err=True)
    if not runs and not unlisted:
        echo("no run was started here yet\n  next: harness run", err=True)


def _show_run(book: Book, run: Started) -> None:
    place = book.ledger.place(run)
    echo(f"  {run.run}  {run.started_utc}  {place.number}/{place.of}", nl=False)
    if place.announced:
        echo("  announced", nl=False)
    if run.found == "lost":
        echo("  taken up from its folder: the ledger it was started in is gone", nl=False)
    elif run.found:
        echo("  taken up from its folder: its harness kept no ledger", nl=False)
    if run.run not in book.kept:
        echo("  its records are gone", nl=False)
    click.echo()


@ledger.command()
@click.argument("text", metavar="RUN_OR_PLAN", default="")
@_results
@_as_json
def official(*, text: str, results: Path, as_json: bool) -> None:
    """Show the official result: of every model the median of the announced runs.

    RUN_OR_PLAN is a run, or the first digits of a plan [default: what was announced last]. A run
    that is gone, unfinished, invalid or without a score counts as the worst; of two middle ones
    the worse is taken.

    Exit codes: 0 done, 3 nothing announced or runs still to be made, 4 no model has a score.
    """
    from harness import official as results_of
    from harness.errors import Exit

    found = results_of.official(results, *results_of.meant(results, text))
    if as_json:
        emit(official_json(found))
    else:
        show(found)
    scored = any(standing.score.value is not None for standing in found.standings)
    raise SystemExit(Exit.DONE if scored else Exit.FAILED)


def show(found: Official) -> None:
    """An official result on a terminal."""
    from harness.report import words

    echo(f"plan {found.plan[:_PLAN_CHARS]}: median of {len(found.attempts)} announced runs")
    if found.nonces > 1:
        echo(f"announced for {found.nonces} nonces: each has a result of its own")
    if found.others:
        echo(f"{found.others} more runs of this plan do not count")
    for number, attempt in enumerate(found.attempts, 1):
        echo(f"  {number}  {attempt.run}  {attempt.started_utc}", nl=False)
        if attempt.entries is None:
            echo(f"  {attempt.state}: counts as the worst", nl=False)
        click.echo()
        if attempt.state == "interrupted":
            echo(f"  next: harness run --resume {attempt.run}", err=True)
    width = max((len(standing.model) for standing in found.standings), default=0)
    for standing, before in zip(found.standings, (None, *found.standings), strict=False):
        if before is None or before.list_name != standing.list_name:
            click.echo(words.word(messages.language(), "list", standing.list_name))
        _show_standing(standing, width)
    if not found.standings:
        echo("no announced run has a result", err=True)


def _show_standing(standing: Standing, width: int) -> None:
    figure = standing.score
    rank = "–" if standing.rank is None else str(standing.rank)
    spread = f"({_number(figure.lowest)} … {_number(figure.highest)})"
    click.echo(
        f"{rank:>3}  {standing.model:<{width}}  {_number(figure.value):>6}  {spread}", nl=False
    )
    if standing.reason:
        echo(f"  not ranked: {_WHY[standing.reason]}", nl=False)
    if standing.elsewhere:
        echo(f"  also in {standing.elsewhere} runs of other plans", nl=False)
    click.echo()
    for metric, one in standing.metrics.items():
        if one.highest is not None:
            low, middle, high = (_shown(metric, v) for v in (one.lowest, one.value, one.highest))
            click.echo(f"     {metric:<{width}}  {middle}  ({low} … {high})")


_WHY = {
    "no_score": "it has no score",
    "attempt_lost": "a run of it is lost",
    "too_few_attempts": "fewer than three announced runs",
}


def _shown(metric: str, value: float | None) -> str:
    from harness.metrics import METRICS

    return "–" if value is None else METRICS[metric].show(value)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _book_json(book: Book) -> dict[str, Any]:
    runs = []
    for run in book.ledger.runs:
        place = book.ledger.place(run)
        runs.append(
            {
                **{name: getattr(run, name) for name in ("run", "plan", "started_utc", "found")},
                "number": place.number,
                "of": place.of,
                "announced": place.announced,
                "gone": run.run not in book.kept,
            }
        )
    series = [
        {
            "plan": one.announced.plan,
            "announced_utc": one.announced.announced_utc,
            "of": one.announced.of,
            "runs": [run.run for run in one.runs],
        }
        for one in book.ledger.series
    ]
    unlisted = [line["run"] for line in book.unwritten if line["type"] == "attempt"]
    return {"runs": runs, "series": series, "unlisted": unlisted, "torn": book.ledger.torn}


def official_json(found: Official) -> dict[str, Any]:
    """For programs: every figure with its spread; null is the worst."""

    def figure(one: Figure) -> dict[str, float | None]:
        return one._asdict()

    return {
        "plan": found.plan,
        "nonces": found.nonces,
        "others": found.others,
        "attempts": [
            {"run": a.run, "started_utc": a.started_utc, "state": a.state} for a in found.attempts
        ],
        "models": [
            {
                "model": s.model,
                "list": s.list_name,
                "rank": s.rank,
                "reason": s.reason,
                "score": figure(s.score),
                "metrics": {name: figure(one) for name, one in s.metrics.items()},
                "elsewhere": s.elsewhere,
            }
            for s in found.standings
        ],
    }
