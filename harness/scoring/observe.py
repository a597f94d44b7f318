"""Samples of a run, checked one by one and grouped by model, case and process.

records ─ duplicates once ─ refuse what cannot be trusted ─▶ Observed

Nothing here depends on the order of the records: samples are keyed by what they are
and read in the order of their keys.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from harness.metrics import (
    Floats,
    SampleRefusedError,
    kernel_tok_per_s,
    load_s,
    repeats_were_cached,
    request_times,
    whole,
)
from harness.scoring.rules import LOAD_CASE, Rules
from harness.spec import canonical

_SPLIT = {f"{part}_bytes": f"peak_{part}_bytes" for part in ("anon", "file", "shmem")}

Sample = Mapping[str, Any]


class Series(NamedTuple):
    """Values of one metric in one case, an array for each process in order."""

    suite: str
    processes: tuple[Floats, ...]

    @property
    def n(self) -> int:
        """Values of all processes together."""
        return sum(values.size for values in self.processes)


class Item(NamedTuple):
    """One accuracy item and how it was answered."""

    number: int
    template: str
    level: int
    chance: float
    correct: bool
    answered: bool


class Job(NamedTuple):
    """How one job ended."""

    suite: str
    process: int
    outcome: str
    reason: str
    detail: str


class Problem(NamedTuple):
    """Why samples of a case cannot be used."""

    case: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """All that a run says about one model.

    Attributes:
        series: by (case, metric).
        items: by task, in order of their index.
        problems: refused or conflicting samples and skipped cases.
        engine: backend, facts and options that all its jobs share.
        deterministic: whether equal requests gave equal outputs; None = not repeated.
    """

    model: Mapping[str, Any]
    series: Mapping[tuple[str, str], Series]
    items: Mapping[str, tuple[Item, ...]]
    problems: tuple[Problem, ...]
    jobs: tuple[Job, ...]
    engine: Mapping[str, Any]
    deterministic: bool | None

    @property
    def id(self) -> str:
        """The model's id."""
        return str(self.model["id"])


class _Key(NamedTuple):
    """What a sample is, apart from what was read."""

    suite: str
    case: str
    kind: str
    process: int
    number: int
    phase: str


def observe(
    records: Iterable[Mapping[str, Any]], models: Iterable[Mapping[str, Any]], rules: Rules
) -> list[Observed]:
    """Group a run's records by model, in order of the models' ids."""
    by_model: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    listed = sorted(models, key=lambda model: str(model["id"]))
    for model in listed:
        by_model[str(model["id"])] = {"sample": [], "job": [], "engine": [], "event": []}
    for record in records:
        lists = by_model.get(record.get("model", ""))
        if lists is not None and (kept := lists.get(record["type"])) is not None:
            kept.append(record)
    return [_observe_model(model, by_model[str(model["id"])], rules) for model in listed]


def _observe_model(
    model: Mapping[str, Any], records: Mapping[str, list[Mapping[str, Any]]], rules: Rules
) -> Observed:
    reader = _Reader(rules)
    reader.collect(records["sample"])
    # By id, because a profile may give each case of a suite a job of its own.
    jobs = {(str(record.get("job", "")), _job(record)) for record in records["job"]}
    skips = {
        Problem(str(e.get("case", "")), str(e.get("reason", "skipped")), str(e.get("detail", "")))
        for e in records["event"]
        if e.get("kind") == "skipped"
    }
    return Observed(
        model=model,
        series=reader.series(),
        items=reader.items(),
        problems=tuple(sorted(reader.problems | skips)),
        jobs=tuple(sorted(job for _, job in jobs)),
        engine=_shared_engine(records["engine"]),
        deterministic=reader.deterministic(),
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


class _Reader:
    """Collects the samples of one model."""

    def __init__(self, rules: Rules) -> None:
        self.problems: set[Problem] = set()
        self._rules = rules
        self._values: dict[tuple[str, str, str, int], list[float | Floats]] = defaultdict(list)
        self._items: dict[tuple[str, int], list[Item]] = defaultdict(list)
        self._outputs: dict[tuple[str, int], list[str]] = defaultdict(list)

    def collect(self, samples: Iterable[Sample]) -> None:
        """Read all samples; those that are refused become problems."""
        known: dict[_Key, Sample] = {}
        conflicts: set[_Key] = set()
        for sample in samples:
            key = _key(sample)
            if key is None:
                case = str(sample.get("case", ""))
                self.problems.add(Problem(case, "bad_sample", "a sample without its place"))
            elif known.setdefault(key, sample) is not sample and known[key] != sample:
                conflicts.add(key)
        for key in conflicts:
            # Taking either one would be a choice among attempts.
            del known[key]
            detail = f"two different {key.kind} samples of one request"
            self.problems.add(Problem(key.case, "conflicting_samples", detail))
        memory: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
        for key, sample in sorted(known.items(), key=itemgetter(0)):
            try:
                self._read(key, sample, memory)
            except SampleRefusedError as refused:
                self.problems.add(Problem(key.case, refused.reason, refused.message))
        for (case, process), phases in memory.items():
            # Without the last phase the peak would be understated.
            if "decode" in phases:
                self._add("memory", case, "peak_resident_bytes", process, max(phases.values()))
            if "runtime" in phases:
                self._add("memory", case, "runtime_resident_bytes", process, phases["runtime"])

    def _read(
        self, key: _Key, sample: Sample, memory: dict[tuple[str, int], dict[str, int]]
    ) -> None:
        match key.kind:
            case "request":
                self._request(key, sample)
            case "item":
                self._items[key.case, key.process].append(_item(key, sample))
            case "memory":
                peak = whole(sample, "peak_resident_bytes", least=1)
                memory[key.case, key.process][key.phase] = peak
            case "memory_split":
                for name, metric in _SPLIT.items():
                    # Shown beside the peak, never scored: a part may be unknown.
                    if isinstance(size := sample.get(name), int) and size >= 0:
                        self._add(key.suite, key.case, metric, key.process, size)
            case "load":
                self._add(key.suite, LOAD_CASE, "load_s", key.process, load_s(sample))
            case "kernel":
                metric = f"kernel_{key.case[:2]}_tok_per_s"
                self._add(key.suite, key.case, metric, key.process, kernel_tok_per_s(sample))
            case "repeat" if repeats_were_cached(sample):
                raise SampleRefusedError(
                    "a repeated prompt was answered from a cache", reason="prompt_not_evaluated"
                )
            case _:
                pass

    def _request(self, key: _Key, sample: Sample) -> None:
        case = self._rules.cases["latency"].get(key.case)
        times = request_times(
            sample,
            submitted=case.prompt_tokens if case else None,
            outputs=case.output_tokens if case else None,
        )
        for metric, value in times._asdict().items():
            if value is not None and not (isinstance(value, np.ndarray) and not value.size):
                self._add(key.suite, key.case, metric, key.process, value)
        if output := sample.get("output_sha256"):
            self._outputs[key.case, key.number].append(str(output))

    def _add(self, suite: str, case: str, metric: str, process: int, value: float | Floats) -> None:
        self._values[suite, case, metric, process].append(value)

    def series(self) -> dict[tuple[str, str], Series]:
        """Values by (case, metric); loading times of speed runs go before others."""
        grouped: dict[tuple[str, str, str], list[Floats]] = defaultdict(list)
        for (suite, case, metric, _), values in sorted(self._values.items(), key=lambda v: v[0]):
            grouped[case, metric, suite].append(np.hstack(values).astype(np.float64))
        out: dict[tuple[str, str], Series] = {}
        for (case, metric, suite), processes in sorted(grouped.items(), key=lambda g: g[0]):
            if (case, metric) not in out or suite == "latency":
                out[case, metric] = Series(suite, tuple(processes))
        return out

    def items(self) -> dict[str, tuple[Item, ...]]:
        """Items by task, of the first process that answered any."""
        out: dict[str, tuple[Item, ...]] = {}
        for (task, _), items in sorted(self._items.items(), key=lambda pair: pair[0]):
            out.setdefault(task, tuple(items))
        return out

    def deterministic(self) -> bool | None:
        """Whether outputs of equal requests are equal, or None without repetitions."""
        repeated = [outputs for outputs in self._outputs.values() if len(outputs) > 1]
        return all(len(set(outputs)) == 1 for outputs in repeated) if repeated else None


def _key(sample: Sample) -> _Key | None:
    get = sample.get
    suite, case, kind = get("suite", ""), get("case", ""), get("kind", "")
    # `load` is the one sample that is not of a case: every job has its own.
    phase = get("job", "") if kind == "load" else get("phase", "")
    process, number = get("process", 0), get("index", 0)
    if (
        isinstance(suite, str)
        and isinstance(case, str)
        and isinstance(kind, str)
        and isinstance(phase, str)
        and isinstance(process, int)
        and isinstance(number, int)
    ):
        return _Key(suite, case, kind, process, number, phase)
    return None


def _item(key: _Key, sample: Sample) -> Item:
    get = sample.get
    template, level, chance = get("template"), get("level"), get("chance")
    correct, answered = get("correct"), get("answered")
    if not (
        isinstance(template, str)
        and isinstance(level, int)
        and isinstance(chance, int | float)
        and 0 <= chance < 1
        and isinstance(correct, bool)
        and isinstance(answered, bool)
    ):
        raise SampleRefusedError("an item's fields are not usable", reason="bad_item")
    # An answer that could not be read cannot be right.
    return Item(key.number, template, level, float(chance), correct and answered, answered)
