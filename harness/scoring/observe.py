"""Records of a run, grouped by model.

records ─ those that count ─ samples of each model ─▶ Observed

Nothing here depends on the order of the records: samples are keyed by what they are
and read in the order of their keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.scoring.divergence import Divergence
from harness.scoring.gather import OfModel, Record, gather
from harness.scoring.itemtable import Items
from harness.scoring.reader import Problem, Reader, Series
from harness.scoring.rules import Rules
from harness.scoring.sustained import Curve
from harness.spec import canonical


class Job(NamedTuple):
    """How one job ended."""

    suite: str
    process: int
    outcome: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """All that a run says about one model.

    Attributes:
        series: by (case, metric); empty once the model's part is made (`part`).
        counts: how many values each process has in them, which stay.
        items: by task, in order of their form and index.
        geometry: by task and tokens of an option, the largest difference in nat between
            the trie and a full forward.
        problems: refused or conflicting samples and skipped cases. unusable: suites whose
            jobs ended well and of whose samples not one could be used, with the first reason.
        engine: backend, facts and options that all its jobs share.
        deterministic: whether equal requests gave equal outputs; None = not repeated.
        phases: peak bytes of each process, by memory case and phase.
        curves: decode rate over time of each sustained process.
        answer_chars: characters of each chat answer, by case and prompt; 0 where empty.
        energy_methods: how energy was measured.
        divergences: from the family's reference, by case. stores_reference: it is that one.
    """

    model: Mapping[str, Any]
    series: Mapping[tuple[str, str], Series]
    counts: Mapping[tuple[str, str], tuple[int, ...]]
    items: Mapping[str, Items]
    geometry: Mapping[str, Mapping[int, float]]
    problems: tuple[Problem, ...]
    unusable: Mapping[str, Problem]
    jobs: tuple[Job, ...]
    engine: Mapping[str, Any]
    deterministic: bool | None
    phases: Mapping[str, Mapping[str, tuple[int, ...]]]
    curves: tuple[Curve, ...]
    answer_chars: Mapping[tuple[str, int], int]
    energy_methods: tuple[str, ...]
    divergences: Mapping[str, Divergence]
    stores_reference: bool

    @property
    def id(self) -> str:
        """The model's id."""
        return str(self.model["id"])


def observe(
    records: Iterable[Record], models: Iterable[Mapping[str, Any]], rules: Rules
) -> list[Observed]:
    """What a run's records say of each model, in order of the models' ids."""
    _, counted = gather(records)
    listed = sorted(models, key=lambda model: str(model["id"]))
    return [observe_model(model, counted.of(str(model["id"])), rules) for model in listed]


def observe_model(model: Mapping[str, Any], records: OfModel, rules: Rules) -> Observed:
    """What one model's records say."""
    reader = Reader(rules)
    reader.collect(records.samples)
    told = records.told
    # By id, because a profile may give each case of a suite a job of its own.
    jobs = {(str(record.get("job", "")), _job(record)) for record in told.get("job", ())}
    skips = {
        Problem(str(e.get("case", "")), str(e.get("reason", "skipped")), str(e.get("detail", "")))
        for e in told.get("event", ())
        if e.get("kind") == "skipped"
    }
    series = reader.series()
    return Observed(
        model=model,
        series=series,
        counts={place: one.counts for place, one in series.items()},
        items=reader.items,
        geometry=reader.geometry,
        problems=tuple(sorted(reader.problems | skips)),
        unusable=reader.unusable({job.suite for _, job in jobs if job.outcome == "ok"}),
        jobs=tuple(sorted(job for _, job in jobs)),
        engine=_shared_engine(told.get("engine", ())),
        deterministic=reader.deterministic(),
        phases=reader.phases(),
        curves=tuple(reader.curves),
        answer_chars=reader.answer_chars,
        energy_methods=tuple(sorted({str(t.get("method")) for t in reader.traces.values()})),
        divergences=reader.divergences,
        stores_reference=reader.stores_reference,
    )


def _job(record: Mapping[str, Any]) -> Job:
    suite, outcome, reason, detail = (
        str(record.get(name, "")) for name in ("suite", "outcome", "reason", "detail")
    )
    return Job(suite, int(record.get("process", 0)), outcome, reason, detail)


def _shared_engine(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Backend, facts and options on which all jobs agree, and the names of the rest."""
    merged: dict[str, dict[str, set[bytes]]] = {"facts": {}, "options": {}, "load": {}}
    values: dict[bytes, Any] = {}
    backends = set()
    for record in records:
        backends.add(str(record.get("backend", "")))
        for part, fields in merged.items():
            for name, value in (record.get(part) or {}).items():
                key = canonical(value)
                values[key] = value
                fields.setdefault(str(name), set()).add(key)
    engine: dict[str, Any] = {"backend": ", ".join(sorted(backends))}
    varies = []
    for part, fields in merged.items():
        engine[part] = {n: values[next(iter(k))] for n, k in sorted(fields.items()) if len(k) == 1}
        varies += [f"{part}.{n}" for n, k in sorted(fields.items()) if len(k) > 1]
    return engine | {"varies": varies} if backends else {}
