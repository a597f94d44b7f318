"""Reads a scorecard into the values that every report shows.

scorecard.json (a dict) ─ clean every string ─▶ View ─▶ console / markdown / html

A scorecard carries strings that a model's author chose: ids, licences, messages of
an engine. They are cleaned here, before any writer sees them: control characters
and bidirectional overrides become visible escapes and length is bounded. Escaping
for HTML or Markdown stays with the writer, for only it knows its syntax.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import RecordError
from harness.report.view import (
    Check,
    Estimate,
    Fact,
    Factor,
    Finding,
    JobOutcome,
    Pair,
    Ranking,
    Row,
    Skipped,
    Task,
    View,
)

SCHEMA = 1
LONGEST = 240
LISTS = ("real", "embedded", "synthetic")


def clean(text: object, longest: int = LONGEST) -> str:
    r"""One line of visible characters.

    Control, format, surrogate and private characters become `\xNN` or `\u{NNNN}`:
    a terminal escape or a right-to-left override is shown, never obeyed.
    """
    out: list[str] = []
    for char in str(text)[: longest + 1]:
        if char in "\n\r\t":
            out.append(" ")
        elif unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}:
            out.append(f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{{{ord(char):x}}}")
        else:
            out.append(char)
    if len(out) > longest:
        out[longest:] = "…"
    return "".join(out).strip()


def read(scorecard: Mapping[str, Any]) -> View:
    """Clean and order a scorecard.

    Raises:
        RecordError: the value is no scorecard of a schema this version reads.
    """
    kind, schema = scorecard.get("kind"), scorecard.get("schema")
    if kind != "scorecard" or schema != SCHEMA:
        raise RecordError(
            f"kind {clean(kind)!r}, schema {clean(schema)!r} cannot be reported",
            allowed=f"kind 'scorecard', schema {SCHEMA}",
            hint="harness score RUN",
            reason="scorecard_unreadable",
        )
    environment = _map(scorecard.get("environment"))
    verdict = _map(scorecard.get("verdict"))
    attempt = _map(scorecard.get("attempt"))
    return View(
        run=clean(scorecard.get("run", "")),
        harness=clean(scorecard.get("harness", "")),
        started_utc=clean(scorecard.get("started_utc", "")),
        tier=clean(scorecard.get("tier", "")),
        reference=clean(scorecard.get("reference") or ""),
        profile=_strings(scorecard.get("profile")),
        device=_strings(scorecard.get("device")),
        facts=_facts(environment),
        verdict=clean(verdict.get("state", "unverified")),
        findings=tuple(
            Finding(
                code=clean(f.get("code", "")),
                severity=clean(f.get("severity", "")),
                detail=clean(f.get("detail", "")),
            )
            for f in _maps(verdict.get("findings"))
        ),
        attempt=(clean(attempt.get("number", "")), clean(attempt.get("of", ""))),
        weights={clean(k): v for k, w in _weights(scorecard) if (v := _number(w)) is not None},
        rankings=_rankings(scorecard),
        pairs=tuple(
            Pair(
                a=clean(p.get("a", "")),
                b=clean(p.get("b", "")),
                gap=_number(p.get("gap")),
                p=_number(p.get("p_adjusted")),
                beats=p.get("beats") is True,
            )
            for p in _maps(scorecard.get("pairs"))
        ),
        skipped=tuple(
            Skipped(
                model=clean(s.get("model", "")),
                reason=clean(s.get("reason", "")),
                detail=clean(s.get("detail", "")),
                hint=clean(s.get("hint", "")),
            )
            for s in _maps(scorecard.get("skipped"))
        ),
    )


def _rankings(scorecard: Mapping[str, Any]) -> tuple[Ranking, ...]:
    entries = _maps(scorecard.get("entries"))
    ranks = [(e.get("list"), e.get("rank")) for e in entries]
    pareto = _map(scorecard.get("pareto"))
    weights = dict(_weights(scorecard))
    rows = [
        _row(
            entry,
            joint=entry.get("rank") is not None
            and ranks.count((entry.get("list"), entry.get("rank"))) > 1,
            pareto=pareto,
            weights=weights,
        )
        for entry in entries
    ]
    names = [*LISTS, *sorted({row.list_name for row in rows} - set(LISTS))]
    found = ((name, tuple(r for r in rows if r.list_name == name)) for name in names)
    return tuple(
        Ranking(list_name=name, rows=tuple(sorted(group, key=_order)))
        for name, group in found
        if group
    )


def _order(row: Row) -> tuple[float, float, str]:
    rank = math.inf if row.rank is None else row.rank
    return (rank, -(row.score.value or 0.0), row.model)


def _row(
    entry: Mapping[str, Any],
    *,
    joint: bool,
    pareto: Mapping[str, Any],
    weights: Mapping[str, Any],
) -> Row:
    model = entry.get("model", "")
    interval = entry.get("interval") or (None, None)
    rank = _number(entry.get("rank"))
    dominated = _map(pareto.get("dominated"))
    return Row(
        model=clean(model),
        list_name=clean(entry.get("list", "real")),
        family=clean(entry.get("family") or ""),
        format=clean(entry.get("format") or ""),
        quantisation=clean(entry.get("quantisation") or ""),
        backend=clean(entry.get("backend") or ""),
        licence=clean(entry.get("licence") or ""),
        size_bytes=_number(entry.get("size_bytes")),
        rank=None if rank is None else int(rank),
        rank_range=_whole_pair(entry.get("rank_range")),
        joint=joint,
        score=Estimate(
            value=_number(entry.get("score")), lo=_number(interval[0]), hi=_number(interval[1])
        ),
        tied_with=tuple(clean(m) for m in entry.get("tied_with") or ()),
        reason=clean(entry.get("reason") or ""),
        detail=clean(entry.get("detail") or ""),
        gates=tuple(_check(g) for g in _maps(entry.get("gates"))),
        factors=_factors(_map(entry.get("ratios")), weights),
        metrics={clean(k): _estimate(v) for k, v in _map(entry.get("metrics")).items()},
        cases={
            clean(case): {clean(k): _estimate(v) for k, v in _map(values).items()}
            for case, values in _map(entry.get("cases")).items()
        },
        tasks=tuple(_task(k, _map(v)) for k, v in _map(entry.get("tasks")).items()),
        jobs=tuple(_job(clean(model), j) for j in _maps(entry.get("jobs"))),
        engine=tuple(flatten(entry.get("engine"))),
        on_front=model in (pareto.get("front") or ()),
        dominated_by=tuple(clean(m) for m in dominated.get(model) or ()),
    )


def _factors(ratios: Mapping[str, Any], weights: Mapping[str, Any]) -> tuple[Factor, ...]:
    out = []
    for metric, value in weights.items():
        raw, weight = _map(ratios.get(metric)), _number(value)
        ratio = _number(raw.get("value"))
        if ratio is None or ratio <= 0 or weight is None:
            continue
        out.append(
            Factor(
                metric=clean(metric),
                weight=weight,
                ratio=ratio,
                lo=_number(raw.get("lo")),
                hi=_number(raw.get("hi")),
                capped=bool(raw.get("capped")),
                effect=ratio**weight,
            )
        )
    return tuple(out)


def _check(gate: Mapping[str, Any]) -> Check:
    passed = gate.get("passed")
    return Check(
        id=clean(gate.get("id", "")),
        metric=clean(gate.get("metric") or ""),
        passed=passed if isinstance(passed, bool) else None,
        value=_number(gate.get("value")),
        limit=_number(gate.get("limit")),
        reason=clean(gate.get("reason") or ""),
    )


def _task(name: str, task: Mapping[str, Any]) -> Task:
    return Task(
        id=clean(name),
        adjusted=_adjusted(task),
        unanswered=_number(task.get("unanswered")),
        at_chance=bool(task.get("at_chance")),
    )


def _adjusted(task: Mapping[str, Any]) -> Estimate:
    """The adjusted share; its interval is the raw one's, moved by the same line."""
    raw, chance = _estimate(task), _number(task.get("chance"))

    def above(share: float | None) -> float | None:
        if share is None or chance is None or chance >= 1:
            return None
        return (share - chance) / (1 - chance)

    return Estimate(
        value=_number(task.get("adjusted")), lo=above(raw.lo), hi=above(raw.hi), n=raw.n
    )


def _job(model: str, job: Mapping[str, Any]) -> JobOutcome:
    return JobOutcome(
        model=model,
        suite=clean(job.get("suite", "")),
        process=clean(job.get("process", "")),
        outcome=clean(job.get("outcome", "")),
        reason=clean(job.get("reason") or ""),
        detail=clean(job.get("detail") or ""),
    )


def _estimate(value: object) -> Estimate:
    data = _map(value)
    count = _number(data.get("n"))
    return Estimate(
        value=_number(data.get("value")),
        lo=_number(data.get("lo")),
        hi=_number(data.get("hi")),
        n=None if count is None else int(count),
    )


def _facts(environment: Mapping[str, Any]) -> tuple[Fact, ...]:
    before = dict(flatten(environment.get("before")))
    after = dict(flatten(environment.get("after")))
    names = list(dict.fromkeys([*before, *after]))
    return tuple(Fact(name=n, before=before.get(n, ""), after=after.get(n, "")) for n in names)


def flatten(value: object, prefix: str = "") -> list[tuple[str, str]]:
    """Nested data as `(dotted.name, text)`; empty values are left out."""
    if isinstance(value, Mapping):
        out: list[tuple[str, str]] = []
        for key, item in value.items():
            out += flatten(item, f"{prefix}.{clean(key)}" if prefix else clean(key))
        return out
    if isinstance(value, Sequence) and not isinstance(value, str):
        if any(isinstance(item, Mapping) for item in value):
            return [pair for i, item in enumerate(value) for pair in flatten(item, f"{prefix}.{i}")]
        text = ", ".join(clean(item) for item in value)
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif value is None:
        text = ""
    else:
        text = clean(value)
    return [(prefix, text)] if text else []


def _weights(scorecard: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(_map(scorecard.get("weights")).items())


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _whole_pair(value: object) -> tuple[int, int] | None:
    match value:
        case [int(low), int(high)]:
            return low, high
        case _:
            return None


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _maps(value: object) -> list[Mapping[str, Any]]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    return [item for item in value if isinstance(item, Mapping)]


def _strings(value: object) -> dict[str, str]:
    return dict(flatten(value))
