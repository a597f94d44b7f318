"""The tables of the accuracy suites: by language, in detail, and model against model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from harness.metrics import show_share
from harness.report import words
from harness.report.figures import NONE, Figure, Line, Numbers, grouped
from harness.report.tables import Cell, Plain
from harness.report.view import Estimate, Ranking, Row, Task, View
from harness.report.words import LANGS
from harness.scoring.details import Share

_COMPARED = ("only_a", "only_b", "both", "neither")


class Language(NamedTuple):
    """One model in one language: its mean over the suites, and its task of each suite."""

    code: str
    mean: Estimate
    tasks: tuple[Task | None, ...]


def suites(view: View) -> list[str]:
    """Suites that any model answered."""
    return sorted({task.suite for row in view.rows for task in row.tasks})


def languages(row: Row, names: Sequence[str]) -> list[Language]:
    """A model's tasks by language, Korean first, in the order of the suites."""
    found = {(task.language, task.suite): task for task in row.tasks}
    return [
        Language(code, row.metric(f"accuracy_{code}"), tuple(found.get((code, s)) for s in names))
        for code in sorted({task.language for task in row.tasks}, key=_order)
    ]


def items(view: View, suite: str) -> int | None:
    """Items of a suite in one language: the most that a model was asked."""
    asked = [t.adjusted.n for row in view.rows for t in row.tasks if t.suite == suite]
    return max((n for n in asked if n), default=None)


def answers(view: View) -> Numbers:
    """How items of each form were answered."""

    def figures(task: Task) -> tuple[Figure, ...]:
        written = task.written
        return (
            *(_share(task.forms.get(form)) for form in ("choice", "free")),
            Figure(show_share(written.strict)) if written else NONE,
            Figure(show_share(written.credit)) if written else NONE,
            Figure(show_share(task.unanswered)),
            Figure(str(written.truncated)) if written else NONE,
            Figure(str(sum(task.skipped.values()))),
            Figure(str(task.adjusted.n)),
        )

    heads = ("choice", "free", "strict", "credit", "unanswered", "truncated", "skipped", "items")
    return _by_task(view, "answers", heads, lambda t: figures(t) if t.forms else ())


def choices(view: View) -> Numbers:
    """Choice items by length-normalised rules, with calibration and near ties."""

    def figures(task: Task) -> tuple[Figure, ...]:
        found = task.choices
        if found is None:
            return ()
        return (
            *(Figure(show_share(share)) for share in found[:3]),
            Figure(f"{found.brier:.3f}"),
            Figure(f"{found.calibration_error:.3f}"),
            Figure(f"{found.margin_nat:.2f} nat"),
            NONE if found.near_ties is None else Figure(str(found.near_ties)),
            Figure(f"{max(task.geometry.values()):.3f} nat") if task.geometry else NONE,
        )

    heads = (
        *("acc_norm", "acc_norm_bytes", "acc_norm_tokens", "brier", "calibration_error"),
        *("margin", "near_ties", "geometry"),
    )
    return _by_task(view, "choices", heads, figures)


def templates(view: View) -> Numbers:
    """How shares right spread over templates."""

    def figures(task: Task) -> tuple[Figure, ...]:
        found = task.templates
        if found is None:
            return ()
        spread = found.overdispersion
        return (
            Figure(str(found.n)),
            *(Figure(show_share(share)) for share in (found.lowest, found.median, found.highest)),
            NONE if spread is None else Figure(words.number(spread)),
        )

    heads = ("templates", "lowest", "median", "highest", "overdispersion")
    return _by_task(view, "templates", heads, figures)


def skipped(view: View) -> Plain:
    """Items that were not asked, and why."""
    return Plain(
        "skipped_items",
        "",
        ("model", "task", "reason", "count"),
        tuple(
            (Cell(row.model), Cell(task.id, "task"), Cell(reason, "reason"), Cell(str(count)))
            for row in view.rows
            for task in _ordered(row)
            for reason, count in task.skipped.items()
        ),
    )


def compared(view: View, ranking: Ranking | None = None) -> Plain:
    """The answers of every two ranked models of one list, or of each list."""
    rows = view.rows if ranking is None else ranking.rows
    inside = {row.model for row in rows}
    return Plain(
        "answers_compared",
        "",
        ("more_accurate", "less_accurate", "difference", *_COMPARED, "p"),
        tuple(
            (
                Cell(pair.a),
                Cell(pair.b),
                Cell(
                    f"{words.points(pair.difference)} "
                    f"[{words.points(pair.lo)}, {words.points(pair.hi)}]"
                ),
                *(Cell(str(getattr(pair, name))) for name in _COMPARED),
                Cell(words.probability(pair.p_holm).removeprefix("= ")),
            )
            for pair in view.answers
            if pair.a in inside
        ),
    )


def all_of(view: View) -> list[Numbers]:
    """Every table that has a figure."""
    return [table for make in (answers, choices, templates) if (table := make(view)).groups]


def _by_task(
    view: View,
    title: str,
    heads: Sequence[str],
    figures: Callable[[Task], tuple[Figure, ...]],
) -> Numbers:
    """A line for each task that has figures, grouped by model."""

    def lines(row: Row) -> Iterable[Line]:
        for task in _ordered(row):
            if found := figures(task):
                yield Line(Cell(task.id, "task"), found)

    cells = [Cell(head, "column") for head in heads]
    return grouped(view, title, first="task", suite="accuracy", heads=cells, lines=lines)


def _ordered(row: Row) -> list[Task]:
    return sorted(row.tasks, key=lambda task: (task.suite, _order(task.language)))


def _order(language: str) -> tuple[int, str]:
    codes: list[str] = [*LANGS]
    return codes.index(language) if language in codes else len(codes), language


def _share(share: Share | None) -> Figure:
    """A share right with a guesser's behind it."""
    if share is None:
        return NONE
    return Figure(f"{show_share(share.value)} ({show_share(share.chance)})")
