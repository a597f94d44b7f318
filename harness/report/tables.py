"""The plain tables of a report: the same cells for Markdown and for the page."""

from __future__ import annotations

from typing import NamedTuple

from harness.metrics import METRICS, show_bytes
from harness.report import words
from harness.report.view import Attempt, Finding, Ranking, View
from harness.report.words import Lang

_OF_THE_MODEL = frozenset({"load.model_bytes", "load.kv_bytes_per_token"})
"""What an engine says of a model: it would tell engines apart that are one."""


class Cell(NamedTuple):
    """One cell: a code that `group` translates, or plain text where `group` is empty."""

    text: str
    group: str = ""


class Plain(NamedTuple):
    """A table of text.

    Attributes:
        title: key of its heading.
        none: key of the sentence that stands for an empty one; empty = leave it out.
        heads: keys of the column titles.
    """

    title: str
    none: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def validity(view: View) -> tuple[Plain, ...]:
    """Findings, gates, jobs that did not end well and skipped models."""
    return (
        Plain(
            "findings",
            "verdict.clean",
            ("severity", "model", "code", "detail"),
            (
                *(_finding(Cell("run", "scope"), f) for f in view.findings),
                *(_finding(Cell(row.model), f) for row in view.rows for f in row.findings),
            ),
        ),
        Plain(
            "gates",
            "gates.none",
            ("model", "gate", "outcome", "value", "limit", "reason"),
            tuple(
                (
                    Cell(row.model),
                    Cell(gate.id),
                    Cell(words.outcome(gate), "gate"),
                    Cell(words.value(gate.metric, gate.value)),
                    Cell(words.value(gate.metric, gate.limit)),
                    Cell(gate.reason, "reason"),
                )
                for row in view.rows
                for gate in row.gates
            ),
        ),
        Plain(
            "jobs",
            "jobs.none",
            ("model", "suite", "process", "outcome", "reason", "detail"),
            tuple(
                (
                    Cell(job.model),
                    Cell(job.suite, "suite"),
                    Cell(job.process),
                    Cell(job.outcome, "outcome"),
                    Cell(job.cause, "reason"),
                    Cell(job.detail, "message"),
                )
                for job in view.problems
            ),
        ),
        Plain(
            "skipped",
            "skipped.none",
            ("model", "reason", "detail", "hint"),
            tuple(
                (
                    Cell(s.model),
                    Cell(s.reason, "reason"),
                    Cell(s.detail, "message"),
                    Cell(s.hint, "message"),
                )
                for s in view.skipped
            ),
        ),
        _left_out(view),
    )


class Gate(NamedTuple):
    """A column of the table of gates: a gate and its limit as text, empty where it has none.

    Attributes:
        required: False where it does not decide who is ranked.
    """

    id: str
    limit: str
    required: bool


def gates(view: View) -> tuple[Gate, ...]:
    """Every gate that any model was held against, in their order."""
    found: dict[str, Gate] = {}
    for check in (check for row in view.rows for check in row.gates):
        known = METRICS.get(check.metric)
        sign = "≥" if known and known.direction == "higher" else "≤"
        limit = "" if check.limit is None else f"{sign} {words.value(check.metric, check.limit)}"
        if check.id not in found or not found[check.id].limit:
            found[check.id] = Gate(check.id, limit, check.required)
    return tuple(found.values())


def _finding(scope: Cell, finding: Finding) -> tuple[Cell, ...]:
    return (
        Cell(finding.severity, "severity"),
        scope,
        Cell(finding.code, words.finding_group(finding.code)),
        Cell(finding.detail, "message"),
    )


def _left_out(view: View) -> Plain:
    """Cases that were not run; models that lack one for the same reason share a row."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for s in view.left_out:
        groups.setdefault((s.case, s.reason, s.detail, s.hint), []).append(s.model)
    return Plain(
        "left_out",
        "",
        ("case", "model", "reason", "detail", "hint"),
        tuple(
            (
                Cell(case, "case"),
                Cell(", ".join(models)),
                Cell(reason, "reason"),
                Cell(detail, "message"),
                Cell(hint, "message"),
            )
            for (case, reason, detail, hint), models in groups.items()
        ),
    )


def attempts(view: View) -> Plain:
    """Every run of this plan that was started up to this one, which is the last."""
    runs = [*view.earlier, Attempt(view.run, view.started_utc, view.announced)]
    of_this = view.attempt[0] or str(len(runs))
    # An older scorecard may name fewer than it counts; a number within a series starts at 1.
    first = max(1, int(of_this) - len(view.earlier)) if of_this.isdigit() else 1
    kinds = {True: "announced", False: "unannounced", None: ""}
    return Plain(
        "attempts",
        "attempts.none",
        ("attempts.number", "run", "started", "attempts.kind", "note"),
        tuple(
            (
                Cell(str(first + i)),
                Cell(run.run),
                Cell(words.moment(run.started_utc)),
                Cell(kinds[run.announced], "attempts"),
                Cell("this" if run.run == view.run else "gone" if run.gone else "", "attempts"),
            )
            for i, run in enumerate(runs)
        ),
    )


def engines(view: View) -> Plain:
    """Which engine ran each model; models that share one stand in one row."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in view.rows:
        facts = ((name, text) for name, text in row.engine if name not in _OF_THE_MODEL)
        detail = " · ".join(f"{name} {text}" for name, text in facts)
        groups.setdefault((row.backend, detail), []).append(row.model)
    return Plain(
        "engines",
        "",
        ("engine", "detail", "model"),
        tuple(
            (Cell(backend), Cell(detail), Cell(", ".join(models)))
            for (backend, detail), models in groups.items()
        ),
    )


def templates(view: View) -> Plain:
    """In which chat template each model was asked; models that share one stand in one row."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in view.rows:
        if row.template:
            groups.setdefault((row.template, row.template_sha256), []).append(row.model)
    return Plain(
        "chat_templates",
        "",
        ("chat_template", "sha256", "model"),
        tuple(
            (Cell(policy, "template"), Cell(sha256[:12] or words.DASH), Cell(", ".join(models)))
            for (policy, sha256), models in groups.items()
        ),
    )


def fact(name: str, text: str, lang: Lang) -> str:
    """An observed fact for people: bytes in binary units, the usual answers translated."""
    if name.endswith("_bytes") and text.isdigit():
        return show_bytes(float(text))
    return words.word(lang, "is", text)


def pairs(view: View, ranking: Ranking) -> Plain:
    """Every comparison within one list."""
    inside = {row.model for row in ranking.rows}
    share = not view.adds_up
    return Plain(
        "compared",
        "",
        ("pair.a", "pair.b", "gap" if share else "gap.column", "p", "outcome"),
        tuple(
            (
                Cell(pair.a),
                Cell(pair.b),
                Cell(words.percent_of(pair.gap) if share else f"{1000 * (pair.gap or 0):.1f}"),
                Cell(words.probability(pair.p).removeprefix("= ")),
                Cell("beats" if pair.beats else "ties", "pair"),
            )
            for pair in view.pairs
            if pair.a in inside
        ),
    )
