"""The official result of a plan: of every model the median of its announced attempts.

ledger ─ kept records ─ score ─▶ attempts ─ standings (pure) ─▶ Official

An attempt that is gone, unfinished, invalid or without a score counts as the worst, and of two
middle ones the worse is taken: to delete or spoil an attempt never helps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from harness.counting import examine
from harness.errors import PrerequisiteError, RecordError, SpecError
from harness.ledger import (
    Announced,
    Ledger,
    Started,
    differing,
    models_digest,
    require_whole,
)
from harness.metrics import METRICS
from harness.records import run_record
from harness.runs import find_run, scored
from harness.scoring.validity import unfinished

LEAST_TO_RANK = 3
"""By chance alone, all of one model's scores lie above all of another's in 1 of 20 cases."""
_PLAN_CHARS = 6

State = Literal["counted", "gone", "damaged", "interrupted", "invalid"]
"""Of an attempt; all but the first make it count as the worst."""


class Entry(NamedTuple):
    """A model in one attempt: its score and scored metrics, None where it has none."""

    list_name: str
    score: float | None
    metrics: Mapping[str, float | None]


class Attempt(NamedTuple):
    """An announced attempt.

    Attributes:
        entries: by model, None where it counts as the worst for all.
        resumed: how often it was gone on with. again: how many starts of its jobs were lost, so
            that the jobs were begun again.
    """

    run: str
    started_utc: str
    state: State
    entries: Mapping[str, Entry] | None
    resumed: int = 0
    again: int = 0


class Figure(NamedTuple):
    """A median over attempts, and what they lie between; None = the worst."""

    value: float | None
    lowest: float | None
    highest: float | None


class Standing(NamedTuple):
    """What a model has reached.

    Attributes:
        rank: within its list, 1 = nothing is surely above it; None where none can be given.
        reason: why not: `no_score`, `attempt_lost` or `too_few_attempts`.
        elsewhere: runs of other plans that measured the very same files.
    """

    model: str
    list_name: str
    rank: int | None
    reason: str
    score: Figure
    metrics: Mapping[str, Figure]
    elsewhere: int = 0


class Official(NamedTuple):
    """A plan's official result.

    Attributes:
        nonces: for how many nonces runs of the plan were announced, none being one.
        others: runs of the plan that were not announced for this result.
    """

    plan: str
    nonces: int
    others: int
    attempts: tuple[Attempt, ...]
    standings: tuple[Standing, ...]


def median(values: Sequence[float | None], *, higher: bool = True) -> float | None:
    """The middle value, of two the worse; None counts as the worst.

    Args:
        higher: whether higher values are better.
    """
    best_first = sorted(
        values, key=lambda value: (value is None, (-value if higher else value) if value else 0.0)
    )
    return best_first[len(best_first) // 2]


def standings(attempts: Sequence[Mapping[str, Entry] | None]) -> list[Standing]:
    """Every model's figures and rank, the best first, in the order of lists.

    Args:
        attempts: entries by model; None where an attempt counts as the worst for all.
    """
    models = {model: entry for entries in attempts for model, entry in (entries or {}).items()}
    lists: dict[str, list[Standing]] = {}
    for model, any_entry in sorted(models.items()):
        tried = [(entries or {}).get(model) for entries in attempts]
        lists.setdefault(any_entry.list_name, []).append(_standing(model, any_entry, tried))
    return [standing for _, group in sorted(lists.items()) for standing in _ranked(group)]


def _standing(model: str, known: Entry, tried: Sequence[Entry | None]) -> Standing:
    scores = [entry.score if entry else None for entry in tried]
    if len(tried) < LEAST_TO_RANK:
        reason = "too_few_attempts"
    else:
        reason = "attempt_lost" if None in scores else ""
    score = _figure(scores)
    metrics = {
        metric: _figure(
            [entry.metrics.get(metric) if entry else None for entry in tried],
            higher=METRICS[metric].direction == "higher",
        )
        for metric in known.metrics
    }
    return Standing(
        model, known.list_name, None, "no_score" if score.value is None else reason, score, metrics
    )


def _figure(values: Sequence[float | None], *, higher: bool = True) -> Figure:
    known = [value for value in values if value is not None]
    return Figure(median(values, higher=higher), min(known, default=None), max(known, default=None))


def _ranked(group: Sequence[Standing]) -> list[Standing]:
    """Ranks within one list: above is who was better in every attempt than another in any."""
    full = [standing for standing in group if not standing.reason]
    out = [standing for standing in group if standing.reason]
    for standing in full:
        above = [o for o in full if _low(o) > _high(standing)]
        out.append(standing._replace(rank=1 + len(above)))
    return sorted(out, key=lambda s: (s.score.value is None, -(s.score.value or 0.0), s.model))


def _low(full: Standing) -> float:
    return full.score.lowest or 0.0


def _high(full: Standing) -> float:
    return full.score.highest or 0.0


def official(results: Path, plan: str, nonce: str) -> Official:
    """The official result of a plan for a nonce, both as the ledger has them.

    Raises:
        PrerequisiteError: nothing is announced (`not_announced`), or announced runs are still to
            be made (`series_unfinished`).
        RecordError: the ledger is damaged.
    """
    ledger = examine(results).ledger
    series = ledger.find_series(plan, nonce)
    if series is None:
        raise _not_announced(results)
    if series.left:
        of = series.announced.of
        raise PrerequisiteError(
            f"not yet: {len(series.runs)} of {of} announced runs were started",
            allowed=f"the same `harness run --attempts {of} …` again, which makes those that are "
            "missing",
            hint="harness ledger list",
            reason="series_unfinished",
        )
    tried = [_attempt(results, run, ledger) for run in series.runs]
    digests = {model: name for found in tried for model, name in found.digests.items()}
    attempts = tuple(found.attempt for found in tried)
    return Official(
        plan=plan,
        nonces=sum(one.announced.plan == plan for one in ledger.series),
        others=sum(run.plan == plan and run not in series.runs for run in ledger.runs),
        attempts=attempts,
        standings=tuple(
            standing._replace(elsewhere=_elsewhere(ledger, plan, digests[standing.model]))
            for standing in standings([attempt.entries for attempt in attempts])
        ),
    )


def meant(results: Path, text: str = "") -> tuple[str, str]:
    """Plan and nonce that a user means, as the ledger has them.

    Args:
        text: a run (id, folder or latest) of the plan, or the first digits of the plan's hash;
            empty = what was announced last.

    Raises:
        PrerequisiteError: nothing is announced.
        SpecError: there is no such run or plan.
        RecordError: the ledger is damaged.
    """
    ledger = examine(results).ledger
    by_id = {run.run: run for run in ledger.runs}
    line: Announced | Started | None = by_id.get(text)
    if not text:
        line = next((series.announced for series in reversed(ledger.series)), None)
        if line is None:
            raise _not_announced(results)
    elif line is None and len(text) >= _PLAN_CHARS:
        line = next((line for line in reversed(ledger.lines) if line.plan.startswith(text)), None)
    try:
        line = line or by_id.get(find_run(text, results).name)
    except SpecError as error:
        error.hint = "harness ledger list"  # shows the plans, too
        raise
    if line is None:
        raise SpecError(
            "the ledger does not know this run",
            where=text,
            allowed="a run of this results folder",
            hint="harness ledger list",
            reason="run_missing",
        )
    return line.plan, line.nonce


def _not_announced(results: Path) -> PrerequisiteError:
    return PrerequisiteError(
        "no runs of this plan are announced",
        where=str(results),
        allowed="an official result is made of runs that were announced before the first of them",
        hint="harness run --attempts 3",
        reason="not_announced",
    )


class _Read(NamedTuple):
    """An attempt as it was read, and the digests of its models' files."""

    attempt: Attempt
    digests: Mapping[str, str]


def _attempt(results: Path, run: Started, ledger: Ledger) -> _Read:
    """Score an attempt's records again: a scorecard could have been edited."""

    def worst(state: State) -> Attempt:
        return Attempt(run.run, run.started_utc, state, None)

    path = results / run.run / "records.jsonl"
    if not path.is_file():
        return _Read(worst("gone"), {})
    try:
        require_whole(ledger, run.run, path.read_bytes(), str(path))
        journal, card = scored(path)
        first = run_record(journal.records)
        others = first["attempt"]["ledger"] != run.sha256 or differing(run, first)
    except (OSError, RecordError, AttributeError, KeyError, TypeError):
        return _Read(worst("damaged"), {})
    if others:
        return _Read(worst("damaged"), {})  # another run's records, or judged by other rules
    digests = {model["id"]: models_digest(model["sha256"]) for model in first["models"]}
    resumed, again = (len(card["sessions"][name]) for name in ("resumed", "again"))
    if state := _spoilt(card):
        return _Read(worst(state)._replace(resumed=resumed, again=again), digests)
    weights = card["weights"]
    entries = {
        entry["model"]: Entry(
            entry["list"],
            entry["score"],
            {name: entry["metrics"].get(name, {}).get("value") for name in weights},
        )
        for entry in card["entries"]
    }
    counted = Attempt(run.run, run.started_utc, "counted", entries, resumed, again)
    return _Read(counted, digests)


def _spoilt(card: Mapping[str, Any]) -> State | None:
    """Why a run that was kept does not count."""
    outcomes = {job["outcome"] for entry in card["entries"] for job in entry["jobs"]}
    cut = unfinished(card) or not card["environment"]["after"]
    if cut or "interrupted" in outcomes:
        return "interrupted"
    return "invalid" if card["verdict"]["state"] == "invalid" else None


def _elsewhere(ledger: Ledger, plan: str, model: str) -> int:
    return sum(run.plan != plan and model in run.models for run in ledger.runs)
