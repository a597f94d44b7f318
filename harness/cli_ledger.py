"""`harness ledger`: every run that was started, and what the announced ones come to."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness import messages
from harness.cli_shared import as_json as _as_json
from harness.cli_shared import emit
from harness.cli_shared import results as _results
from harness.errors import Exit
from harness.messages import Lang, tr
from harness.messages.commands import Group, echo

if TYPE_CHECKING:
    from rich.table import Table

    from harness.counting import Book
    from harness.ledger import Started
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
    from harness.counting import examine

    book = examine(results)
    if as_json:
        emit(_book_json(book))
        return
    runs = book.ledger.runs
    for plan in dict.fromkeys(line.plan for line in book.ledger.lines):
        series = [one for one in book.ledger.series if one.announced.plan == plan]
        made = ", ".join(f"{len(one.runs)}/{one.announced.of}" for one in series)
        heading = tr(f"plan {plan[:_PLAN_CHARS]}")
        click.echo(f"{heading}  {tr(f'announced runs made: {made}')}" if made else heading)
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
    which = f"run {place.number} of {place.of} announced"
    if not place.announced:
        which = f"run {place.number} of its plan, not announced"
    parts = [f"  {run.run}", run.started_utc, tr(which)]
    if run.found == "lost":
        parts.append(tr("taken up from its folder: the ledger it was started in is gone"))
    elif run.found:
        parts.append(tr("taken up from its folder: its harness kept no ledger"))
    if run.run not in book.kept:
        parts.append(tr("its records are gone"))
    click.echo("  ".join(parts))


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

    found = results_of.official(results, *results_of.meant(results, text))
    if as_json:
        emit(official_json(found))
    else:
        show(found, results)
    raise SystemExit(exit_code(found))


def exit_code(found: Official) -> Exit:
    """An official result without any score is no success."""
    scored = any(standing.score.value is not None for standing in found.standings)
    return Exit.DONE if scored else Exit.FAILED


def show(found: Official, results: Path) -> None:
    """An official result on a terminal.

    Args:
        results: the folder of its runs.
    """
    from rich.console import Console

    from harness.report.words import say, word
    from harness.runs import resume_command

    lang = messages.language()
    echo(f"plan {found.plan[:_PLAN_CHARS]}: median of {len(found.attempts)} announced runs")
    for number, attempt in enumerate(found.attempts, 1):
        state = word(lang, "attempts", attempt.state)
        fate = "" if attempt.entries else tr(f"  {state}: counts as the worst")
        if attempt.resumed or attempt.again:
            count = {"count": attempt.resumed, "again": attempt.again}
            fate = f"  {say(lang, 'attempt.resumed', **count)}{fate}"
        click.echo(f"  {number}  {attempt.run}  {attempt.started_utc}{fate}")
        if attempt.state == "interrupted":
            echo(f"  next: {resume_command(results / attempt.run)}", err=True)
    if found.others:
        echo(f"{found.others} more runs of this plan do not count")
    if found.nonces > 1:
        echo(f"announced for {found.nonces} nonces: each has a result of its own")
    console = Console(file=sys.stdout)
    for name, group in itertools.groupby(found.standings, key=lambda s: s.list_name):
        console.print(_table(name, list(group), lang), highlight=False)
    notes: dict[str, list[str]] = {}
    for standing in found.standings:
        for note in _notes(standing, lang):
            notes.setdefault(note, []).append(standing.model)
    for note, models in notes.items():
        click.echo(f"{', '.join(models)}: {note}")


def _table(name: str, group: Sequence[Standing], lang: Lang) -> Table:
    """One ranked list: medians, and what the scores lie between."""
    from rich.table import Table
    from rich.text import Text

    from harness.metrics import METRICS
    from harness.report.words import DASH, say, word

    table = Table(title=word(lang, "list", name), title_justify="left", box=None)
    for key in ("rank", "model", "score", "ledger.spread"):
        table.add_column(say(lang, key), overflow="fold")
    metrics = list(group[0].metrics)
    for metric in metrics:
        table.add_column(word(lang, "short", metric), justify="right")
    for standing in group:
        score = standing.score
        values = ((METRICS[m], standing.metrics[m].value) for m in metrics)
        table.add_row(
            DASH if standing.rank is None else str(standing.rank),
            Text(standing.model),
            _number(score.value),
            f"{_number(score.lowest)}–{_number(score.highest)}"
            if score.highest is not None
            else DASH,
            *(DASH if value is None else metric.show(value) for metric, value in values),
        )
    return table


def _notes(standing: Standing, lang: Lang) -> Iterator[str]:
    """Why a model has no rank, and where else it was measured."""
    from harness.report.words import say, word

    if standing.reason:
        yield word(lang, "reason", standing.reason)
    if standing.elsewhere:
        yield say(lang, "ledger.elsewhere", count=standing.elsewhere)


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
            {
                **{name: getattr(a, name) for name in ("run", "started_utc", "state")},
                **{name: getattr(a, name) for name in ("resumed", "again")},
            }
            for a in found.attempts
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
