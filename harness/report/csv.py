"""scorecard.csv: every figure of a scorecard as one tidy table for a spreadsheet.

A row a model x metric x case; RFC 4180, in UTF-8 with a byte order mark, without which
Excel on Korean Windows reads CP949. Numbers are plain, in SI units. Text is quoted, and
what a spreadsheet could take for a formula starts with `'`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from harness.report import reading, words
from harness.report.formats import Material
from harness.report.measures import measures
from harness.report.others import Imported
from harness.report.view import Row, View

HEAD = (
    *("run", "started_utc", "device", "profile", "tier", "model", "list", "rank", "reason"),
    *("format", "quantisation", "backend", "licence", "source"),
    *("case", "metric", "value", "lo", "hi", "n", "unit", "better"),
)
_SINGLE = re.compile(r"(pp|tg)[0-9]+(@d[0-9]+)?")
"""Cases of prompt or output alone."""
_FORMULA = re.compile(r"(^|;)(?=[\s\"']*[=+\-@＝＋－＠])")
"""Where a cell could begin, also for a program that separates by semicolons: a formula."""

Value = str | int | float | None


def files(material: Material) -> dict[str, bytes]:
    """`scorecard.csv`."""
    return {"scorecard.csv": render(reading.read(material.card))}


def render(view: View) -> bytes:
    """The table of a scorecard."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(HEAD)
    writer.writerows(map(_cell, row) for row in _rows(view))
    return out.getvalue().encode("utf-8-sig")


def inert(text: str) -> str:
    """Clean text that no spreadsheet calculates."""
    return _FORMULA.sub(r"\1'", text)


def _rows(view: View) -> Iterator[tuple[Value, ...]]:
    run = (view.run, view.started_utc, words.machine(view, "en"))
    profile = f"{view.profile.get('id', '')} v{view.profile.get('version', '')}"
    known = {row.model: row for row in view.rows}
    for one in measures(view):
        figures = (one.estimate.value, one.estimate.lo, one.estimate.hi, one.estimate.n)
        place = (*_model(one.row), "harness", one.case, one.metric)
        yield (*run, profile, one.row.tier, *place, *figures, one.unit, one.better)
    for found in view.imported:
        own = known.get(found.model)
        yield (*run, profile, "unverified", *_imported(found, own))


def _model(row: Row) -> tuple[Value, ...]:
    named = (row.model, row.list_name, row.rank, row.reason)
    return (*named, row.format, row.quantisation, row.backend, row.licence)


def _imported(found: Imported, own: Row | None) -> tuple[Value, ...]:
    """A result of llama-bench; it is never ranked, so that it has no rank here."""
    single = _SINGLE.fullmatch(found.case)
    metric = f"kernel_{single[1]}_tok_per_s" if single else "tok_per_s"
    model = (own.model, own.list_name) if own else (found.file, "")
    facts = (own.format, own.quantisation, "llama_cpp", own.licence) if own else ("", "", "", "")
    source = f"llama-bench {found.build}"
    value = (found.tok_per_s, None, None, found.n, "tok/s", "higher")
    return (*model, None, "", *facts, source, found.case, metric, *value)


def _cell(value: Value) -> Value:
    return inert(value) if isinstance(value, str) else value
