"""What holds a model back, and what a maker could try first. Pure.

View ─▶ remarks on one model: a key of the dictionary with its figures ─▶ sentences

Remarks state what was measured and compare it with the leader of the model's list; a hint
follows only where the figures point to a cause. Hints are possible, never proven, remedies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from harness.messages import tr
from harness.metrics import show_share
from harness.report import words
from harness.report.tables import Cell
from harness.report.view import Check, Factor, Ranking, Row, Task, View
from harness.report.words import NAMED, Lang

LEAST_PART = 0.005
"""Of the score, or of 1000 points: a part that costs less is not named."""
LEAST_POINTS = 1.0
"""A sum that is cut off at 0 may not rise at all."""
LOW_MBU, HIGH_MBU = 0.5, 0.7
LOW_MFU, HIGH_MFU = 0.25, 0.5
"""Shares of a roof between which nothing follows from it."""
MAJOR = 0.5
"""Share of a whole from which on a part is what it is about."""
WEAKEST = 2
LEAST_DISTANCE = 0.02
"""In accuracy, from which on a suite is named."""
TUNED = "-tuned"
"""End of the names of lists whose threads were chosen by measuring."""
_TTFT, _DECODE, _MEMORY = "ttft_s", "decode_tok_per_s", "peak_resident_bytes"
_ASIDE = "aside"
"""Group of a message that stands in brackets, with them."""

Values = Mapping[str, str | Cell | tuple[Cell, ...]]


class Remark(NamedTuple):
    """One sentence: `advice.KEY` filled with texts, codes to translate, and keys to say.

    Attributes:
        topic: what it is about: score, gate, pareto, speed, memory, accuracy or validity.
    """

    topic: str
    key: str
    values: Values


def say(remark: Remark, lang: Lang) -> str:
    """The sentence in one language."""
    values = {name: _said(value, lang) for name, value in remark.values.items()}
    return words.say(lang, f"advice.{remark.key}", **values)


def _said(value: str | Cell | tuple[Cell, ...], lang: Lang) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, Cell):
        return ", ".join(_said(cell, lang) for cell in value)
    if value.group == _ASIDE:
        return f" ({tr(value.text, lang)})" if value.text else ""
    return words.word(lang, value.group, value.text)


def rival(ranking: Ranking, row: Row) -> Row | None:
    """Whom a model is measured against: the best-scored leader of its list, if not itself."""
    best = max(ranking.leaders, key=lambda leader: leader.score.value or 0.0, default=None)
    return None if best is None or best.model == row.model else best


def remarks(view: View, ranking: Ranking, row: Row) -> tuple[Remark, ...]:
    """Everything worth saying about one model, the most costly first within a topic."""
    best = None if row.rank == 1 else rival(ranking, row)
    lost = tuple(_parts(row, best)) if best else ()
    behind = {factor.metric for factor in lost}
    missed = {gate.metric for gate in row.gates if gate.passed is False}
    slow = behind | missed
    return (
        *_unranked(row),
        *(remark for gate in row.gates for remark in _gate(gate)),
        *(_tied(row, best, view) if best else ()),
        *(remark for factor in lost if best for remark in _part(factor, row, best, view)),
        *_dominated(row, view),
        *_decode(row, named=_DECODE in slow),
        *(_first_token(row) if _TTFT in slow or row.rank is None else ()),
        *(_memory(row) if _MEMORY in slow else ()),
        *_suites(row, best),
        *_findings(row),
    )


def _unranked(row: Row) -> Iterator[Remark]:
    if row.rank is None and row.reason:
        values: Values = {"reason": Cell(row.reason, "reason"), "detail": Cell(row.detail, _ASIDE)}
        yield Remark("score", "unranked", values)


def _gate(gate: Check) -> Iterator[Remark]:
    if gate.passed:
        return
    values: dict[str, str | Cell] = {
        "gate": gate.id,
        "mark": "" if gate.required else Cell("optional", "gate.mark"),
        "value": words.value(gate.metric, gate.value),
        "limit": words.value(gate.metric, gate.limit),
    }
    if gate.passed is None:
        yield Remark("gate", "gate.unknown", values | {"reason": Cell(gate.reason, "reason")})
    elif gate.value is None or not gate.limit:
        yield Remark("gate", "gate.plain", values | {"reason": Cell(gate.reason, "reason")})
    else:
        away = abs(gate.value / gate.limit - 1)
        yield Remark("gate", "gate.missed", values | {"away": show_share(away)})


def _parts(row: Row, best: Row) -> list[Factor]:
    """The parts in which a model is behind, as ratios to the leader, the dearest first."""
    found = []
    for mine in row.factors:
        theirs = best.factor(mine.metric)
        if theirs and _costs(part := words.against(mine, theirs)):
            found.append(part)
    return sorted(found, key=words.influence)


def _costs(part: Factor) -> bool:
    if part.points is None:
        return part.effect < 1 - LEAST_PART
    return part.points < -1000 * LEAST_PART


def _tied(row: Row, best: Row, view: View) -> Iterator[Remark]:
    """That a lower score than the leader's may be chance."""
    if best.model in row.tied_with:
        least = Cell("points" if view.adds_up else "share", "least")
        yield Remark("score", "tied", {"leader": best.model, "least": least})


def _part(part: Factor, row: Row, best: Row, view: View) -> Iterator[Remark]:
    """How many points the part costs: the score if it equalled the leader's."""
    score = row.score.value
    values: dict[str, str | Cell] = {
        "metric": Cell(part.metric, "metric"),
        "value": words.value(part.metric, row.metric(part.metric).value),
        "leader": best.model,
        "theirs": words.value(part.metric, best.metric(part.metric).value),
    }
    if score is None:
        yield Remark("score", "part.unscored", values | {"ratio": words.number(1 / part.ratio)})
        return
    equal = score / part.effect
    if part.points is not None:
        # Of the sum before it was cut off at 0.
        parts = sum(factor.points or 0.0 for factor in row.factors)
        equal = max(0.0, view.reference_points + parts - part.points)
    if equal - score >= LEAST_POINTS:
        values |= {"points": f"{equal - score:.0f}", "score": f"{equal:.0f}"}
        yield Remark("score", "part", values)


def _dominated(row: Row, view: View) -> Iterator[Remark]:
    if row.dominated_by:
        axes = tuple(Cell(metric, "metric") for metric in view.axes)
        models = ", ".join(row.dominated_by[:NAMED])
        yield Remark("pareto", "dominated", {"models": models, "axes": axes})


def _decode(row: Row, *, named: bool) -> Iterator[Remark]:
    """Where decoding leaves bandwidth unused, or is bound by it."""
    share = row.metric("mbu").value
    if share is None:
        return
    values = {"share": show_share(share), "engine": row.backend}
    if share < LOW_MBU:
        tuned = row.list_name.endswith(TUNED)
        yield Remark("speed", "mbu.low.tuned" if tuned else "mbu.low", values)
    elif named and share >= HIGH_MBU:
        yield Remark("speed", "mbu.high", values)


def _first_token(row: Row) -> Iterator[Remark]:
    """Whether the first answer waits for loading or for the prompt."""
    ttft, load = row.metric(_TTFT).value, row.metric("load_s").value
    if ttft is None:
        return
    if load is not None and load > ttft:
        times = {"load": words.value("load_s", load), "ttft": words.value(_TTFT, ttft)}
        yield Remark("speed", "load", times | {"share": show_share(load / (load + ttft))})
    rate, share = row.metric("prefill_tok_per_s").value, row.metric("mfu").value
    if rate is None:
        return
    shown = {"rate": words.value("prefill_tok_per_s", rate)}
    if share is None:
        yield Remark("speed", "prefill", shown)
    elif not LOW_MFU <= share < HIGH_MFU:
        key = "prefill.low" if share < LOW_MFU else "prefill.high"
        yield Remark("speed", key, shown | {"share": show_share(share)})


def _memory(row: Row) -> Iterator[Remark]:
    """The largest part of the peak, where it is what the peak is about."""
    split = row.memory.split
    if split is None:
        return
    parts = {"weights": split.weights, "kv": split.kv, "runtime": split.runtime, "rest": split.rest}
    part, size = max(parts.items(), key=lambda found: found[1])
    whole = sum(parts.values())
    key = f"memory.{part}" if size >= MAJOR * whole else "memory.mixed"
    yield Remark(
        "memory",
        key,
        {
            "part": Cell(part, "part"),
            "size": words.size(size),
            "share": show_share(size / whole),
            "context": f"{split.context:,}",
        },
    )


def _suites(row: Row, best: Row | None) -> Iterator[Remark]:
    """The suites that are furthest behind the leader; for a leader, its own weakest."""
    if best is None:
        weakest = sorted(row.tasks, key=_adjusted)[:WEAKEST]
        for task in weakest if row.rank is not None else ():
            values: Values = {"task": Cell(task.id, "task"), "value": _share(task)}
            yield Remark("accuracy", "suite.chance" if task.at_chance else "suite.own", values)
        return
    pairs = [(task, theirs) for task in row.tasks if (theirs := best.task(task.id))]
    pairs.sort(key=lambda pair: _adjusted(pair[0]) - _adjusted(pair[1]))
    for mine, theirs in pairs[:WEAKEST]:
        distance = _adjusted(theirs) - _adjusted(mine)
        if distance >= LEAST_DISTANCE:
            yield Remark(
                "accuracy",
                "suite.behind_chance" if mine.at_chance else "suite.behind",
                {
                    "task": Cell(mine.id, "task"),
                    "value": _share(mine),
                    "leader": best.model,
                    "theirs": _share(theirs),
                    "points": words.points(distance),
                },
            )


def _adjusted(task: Task) -> float:
    return task.adjusted.value or 0.0


def _share(task: Task) -> str:
    return show_share(_adjusted(task))


def _findings(row: Row) -> Iterator[Remark]:
    for finding in row.findings:
        code = Cell(finding.code, words.finding_group(finding.code))
        yield Remark("validity", "finding", {"code": code, "detail": Cell(finding.detail, _ASIDE)})
