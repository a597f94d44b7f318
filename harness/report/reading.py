"""Reads a scorecard into the values that every report shows.

scorecard.json (a dict) ─ clean every string ─▶ View ─▶ console / markdown / html

A scorecard carries strings that a model's author chose: ids, licences, messages of
an engine. They are cleaned here, before any writer sees them: control characters
and bidirectional overrides become visible escapes and length is bounded. Escaping
for HTML or Markdown stays with the writer, for only it knows its syntax.
"""

from __future__ import annotations

import inspect
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from harness.errors import RecordError
from harness.migrate import known
from harness.report.others import Bench, Client, Compat, Imported, LocalScore, Spread
from harness.report.view import (
    AnswerPair,
    Attempt,
    Calibration,
    Check,
    Detectable,
    Estimate,
    Fact,
    Factor,
    Fidelity,
    Filled,
    Finding,
    Flips,
    Gaps,
    JobOutcome,
    Memory,
    Pair,
    Ranking,
    Row,
    Sandbox,
    Skipped,
    Split,
    Task,
    Variation,
    View,
)
from harness.report.words import LANGS
from harness.score import LISTS, SCHEMA
from harness.scoring.details import Choices, Share, Templates, Written
from harness.scoring.formulas import FORMULAS

LONGEST = 240
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and signs without ink: Hangul fillers and the empty Braille pattern."""

_SAME = ("format", "quantisation", "backend", "licence", "size_bytes", "rank", "reason", "detail")
"""Fields of an entry that a row takes as they are."""

Json = Mapping[str, Any]
T = TypeVar("T")


def clean(text: object) -> str:
    r"""One line of visible characters.

    Control, format, surrogate, private and inkless characters, and what is no character, become
    `\xNN` or `\u{NNNN}`: a terminal escape or a right-to-left override is shown, never obeyed.
    """
    out: list[str] = []
    for char in str(text)[: LONGEST + 1]:
        if char in "\n\r\t":
            out.append(" ")
        elif unicodedata.category(char) in _HIDDEN or char in _BLANK or _is_none(ord(char)):
            out.append(f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{{{ord(char):x}}}")
        else:
            out.append(char)
    if len(out) > LONGEST:
        out[LONGEST:] = "…"
    return "".join(out).strip()


def _is_none(code: int) -> bool:
    """Whether Unicode keeps a code point from being a character; XML cannot hold all of them."""
    return code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def cleaned(value: Any) -> Any:
    """JSON data with every key and every string cleaned."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(key): cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    return value


def read(scorecard: Json) -> View:
    """Clean and order a scorecard.

    Raises:
        RecordError: the value is no scorecard. SchemaError: of a newer schema.
    """
    if scorecard.get("kind") != "scorecard":
        raise RecordError(
            f"kind {clean(scorecard.get('kind'))!r} cannot be reported",
            allowed="kind 'scorecard'",
            hint="harness score RUN",
            reason="scorecard_unreadable",
        )
    known("scorecard", scorecard.get("schema"), SCHEMA, "")
    card = cleaned(scorecard)
    verdict, attempt = card["verdict"], card["attempt"]
    skipped = [_as(Skipped, {"case": "", **found}) for found in card["skipped"]]
    calibration, accuracy = card.get("calibration") or {}, card.get("accuracy") or {}
    sessions = card.get("sessions") or {}
    return View(
        **{name: card[name] for name in ("run", "harness", "started_utc", "tier", "reference")},
        profile=dict(flatten(card["profile"])),
        device=dict(flatten(card["device"])),
        facts=_facts(card["environment"]),
        calibration=(
            _calibration(calibration.get("before")),
            _calibration(calibration.get("after")),
        ),
        verdict=verdict["state"],
        findings=_findings(verdict["findings"]),
        attempt=(str(attempt["number"]), str(attempt["of"])),
        announced=_announced(attempt),
        earlier=tuple(map(_attempt, attempt.get("earlier", ()))),
        resumed=len(sessions.get("resumed", ())),
        again=len(sessions.get("again", ())),
        seed=_seed(card.get("seed") or {}),
        sandbox=_sandbox(card["entries"]),
        scoring=card.get("scoring", "geometric"),
        weights=card["weights"],
        axes=tuple(card["pareto"].get("axes", card["weights"])),
        rankings=_rankings(card),
        pairs=tuple(_as(Pair, {**pair, "p": pair["p_adjusted"]}) for pair in card["pairs"]),
        answers=tuple(_as(AnswerPair, pair) for pair in accuracy.get("pairs", ())),
        detectable=_as(Detectable, accuracy) if accuracy.get("items") else None,
        skipped=tuple(s for s in skipped if not s.case),
        left_out=tuple(s for s in skipped if s.case),
        imported=tuple(_as(Imported, test) for test in card.get("imported", ())),
    )


def _attempt(found: Json) -> Attempt:
    return Attempt(
        found["run"], found["started_utc"], _announced(found), gone=found.get("gone") is True
    )


def _announced(found: Json) -> bool | None:
    told = found.get("announced")
    return told if isinstance(told, bool) else None


def _seed(found: Json) -> str:
    if not found:
        return ""
    return "public" if found["public"] else "committed" if found["committed"] else "uncommitted"


def _sandbox(entries: Iterable[Json]) -> Sandbox | None:
    found = [entry["sandbox"] for entry in entries if entry.get("sandbox")]
    return min((_as(Sandbox, one) for one in found), default=None)


def _as(kind: type[T], found: Json) -> T:
    """The value of the same name for every field."""
    return kind(**{name: found[name] for name in inspect.signature(kind).parameters})


def _rankings(card: Json) -> tuple[Ranking, ...]:
    entries = card["entries"]
    places = [(entry["list"], entry["rank"]) for entry in entries]
    rows = [
        _row(entry, card, joint=entry["rank"] is not None and places.count(place) > 1)
        for entry, place in zip(entries, places, strict=True)
    ]
    names = dict.fromkeys([*LISTS, *(row.list_name for row in rows)])
    found = ((name, tuple(row for row in rows if row.list_name == name)) for name in names)
    return tuple(
        Ranking(list_name=name, rows=tuple(sorted(group, key=_order)))
        for name, group in found
        if group
    )


def _order(row: Row) -> tuple[float, float, str]:
    rank = math.inf if row.rank is None else row.rank
    return (rank, -(row.score.value or 0.0), row.model)


def _row(entry: Json, card: Json, *, joint: bool) -> Row:
    model, template = entry["model"], entry.get("chat_template") or {}
    lo, hi = entry["interval"] or (None, None)
    lowest, highest = entry["rank_range"] or (None, None)
    return Row(
        model=model,
        list_name=entry["list"],
        tier=entry.get("tier", card["tier"]),
        **{name: entry[name] for name in _SAME},
        template=template.get("policy", ""),
        template_sha256=template.get("sha256", ""),
        rank_range=None if lowest is None or highest is None else (lowest, highest),
        joint=joint,
        score=Estimate(value=entry["score"], lo=lo, hi=hi),
        tied_with=tuple(entry["tied_with"]),
        gates=tuple(_gates(entry)),
        fidelity=_fidelity(entry.get("fidelity")),
        factors=_factors(entry["ratios"], card),
        metrics=_estimates(entry["metrics"]),
        cases={case: _estimates(values) for case, values in entry["cases"].items()},
        tasks=tuple(_task(name, task) for name, task in entry["tasks"].items()),
        jobs=tuple(
            _as(JobOutcome, {**job, "model": model, "process": str(job["process"])})
            for job in entry["jobs"]
        ),
        engine=tuple(flatten(entry["engine"])),
        findings=_findings(entry.get("findings", ())),
        compat=_compat(entry.get("compat") or {}),
        memory=_memory(entry.get("memory") or {}),
        gaps=_gaps(entry.get("gaps")),
        minutes=tuple((entry.get("sustained") or {}).get("minutes", ())),
        energy_methods=tuple((entry.get("energy") or {}).get("methods", ())),
        on_front=model in card["pareto"]["front"],
        dominated_by=tuple(card["pareto"]["dominated"].get(model, ())),
    )


def _gates(entry: Json) -> Iterator[Check]:
    for gate in entry["gates"]:
        yield _as(Check, {"required": True, **gate})
    for gate in (entry.get("fidelity") or {}).get("gates", ()):
        yield _as(Check, {**gate, "required": False})


def _factors(ratios: Json, card: Json) -> tuple[Factor, ...]:
    formula = FORMULAS.get(card.get("scoring", ""))
    adds_up = formula is not None and not formula.logarithmic
    return tuple(
        Factor(
            metric=metric,
            weight=weight,
            ratio=ratios[metric]["value"],
            capped=ratios[metric]["capped"],
            effect=ratios[metric].get("effect") or ratios[metric]["value"] ** weight,
            points=formula.part(metric, ratios[metric]["value"], weight)
            if formula and adds_up
            else None,
        )
        for metric, weight in card["weights"].items()
        if metric in ratios
    )


def _findings(found: Iterable[Json]) -> tuple[Finding, ...]:
    return tuple(_as(Finding, finding) for finding in found)


def _compat(found: Json) -> Compat:
    client, aiperf = found.get("mlperf_client"), found.get("aiperf") or {}
    local = found.get("localscore")
    return Compat(
        llama_bench=tuple(_as(Bench, bench) for bench in found.get("llama_bench") or ()),
        mlperf_client=_as(Client, client) if client else None,
        aiperf={
            metric: _as(Spread, spread)
            for metric, spread in aiperf.items()
            if isinstance(spread, Mapping)
        },
        user_tok_per_s=aiperf.get("output_tok_per_s_per_user"),
        localscore=_as(LocalScore, local) if local else None,
    )


def _memory(found: Json) -> Memory:
    growth = found.get("kv_bytes_per_tok") or {}
    return Memory(
        phases=found.get("phases", {}),
        kv_fitted=growth.get("fitted"),
        kv_computed=growth.get("computed"),
        contexts=tuple(_as(Filled, point) for point in found.get("contexts", ())),
        split=_part(Split, found, "split"),
    )


def _gaps(found: Json | None) -> Gaps | None:
    if not found:
        return None
    quantiles = {int(q): seconds for q, seconds in found["quantiles"].items()}
    return _as(Gaps, {**found, "quantiles": dict(sorted(quantiles.items()))})


def _fidelity(found: Json | None) -> Fidelity | None:
    if not found:
        return None
    turned = found.get("flips")
    return _as(Fidelity, {**found, "flips": _as(Flips, turned) if turned else None})


def _calibration(found: Json | None) -> Calibration | None:
    if not found:
        return None
    absent = dict.fromkeys(("read_bytes_per_s", "copy_bytes_per_s", "fp32_flop_per_s"))
    return _as(
        Calibration, {"method": "", **absent, **found, "threads": str(found.get("threads", ""))}
    )


def _task(name: str, task: Json) -> Task:
    """The interval of the adjusted share is the raw one's, moved by the same line."""
    lo, hi = ((task[end] - task["chance"]) / (1 - task["chance"]) for end in ("lo", "hi"))
    language, _, suite = name.partition("-")
    if language not in LANGS:
        language, suite = "", name
    return Task(
        id=name,
        suite=task.get("suite", suite),
        language=task.get("language", language),
        adjusted=Estimate(value=task["adjusted"], lo=lo, hi=hi, n=task["n"]),
        unanswered=task["unanswered"],
        at_chance=task["at_chance"],
        forms={form: _as(Share, share) for form, share in task.get("forms", {}).items()},
        skipped=task.get("skipped", {}),
        templates=_part(Templates, task, "templates"),
        choices=_part(Choices, task, "choices"),
        written=_part(Written, task, "written"),
        geometry=task.get("geometry", {}),
    )


def _part(kind: type[T], task: Json, name: str) -> T | None:
    found = task.get(name)
    return _as(kind, found) if found else None


def _estimates(found: Json) -> dict[str, Estimate]:
    return {metric: _estimate(estimate) for metric, estimate in found.items()}


def _estimate(found: Json) -> Estimate:
    spread = found.get("spread")
    variation = _as(Variation, spread) if spread else None
    return _as(Estimate, {"outliers": 0, **found, "spread": variation})


def _facts(environment: Json) -> tuple[Fact, ...]:
    before, after = (dict(flatten(environment[when])) for when in ("before", "after"))
    names = list(dict.fromkeys([*before, *after]))
    return tuple(Fact(name=n, before=before.get(n, ""), after=after.get(n, "")) for n in names)


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested data as `(dotted.name, text)`; empty values are left out."""
    if isinstance(value, Mapping):
        return [
            pair
            for key, item in value.items()
            for pair in flatten(item, f"{prefix}.{key}" if prefix else key)
        ]
    if isinstance(value, list):
        if any(isinstance(item, Mapping) for item in value):
            return [pair for i, item in enumerate(value) for pair in flatten(item, f"{prefix}.{i}")]
        text = ", ".join(str(item) for item in value)
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    else:
        text = "" if value is None else str(value)
    return [(prefix, text)] if text else []
