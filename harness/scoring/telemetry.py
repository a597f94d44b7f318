"""Counters of the machine around each request, a column for each counter of each job. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from harness.scoring.gather import Record
from harness.spec import canonical


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Readings of one job in order of time, and what was known just before it started.

    Attributes:
        id: of the job. counted: whether anybody counted anything.
        cases: of each reading.
        columns: by counter, a value for each reading, None where it lacks the counter.
        kinds: sets of counters that stand together in a reading.
        facts, gate: about the machine, and about its temperature, just before the start.
    """

    id: str
    counted: bool
    cases: Sequence[str]
    columns: Mapping[str, Sequence[int | None]]
    kinds: frozenset[tuple[str, ...]]
    facts: Mapping[str, Any]
    gate: str

    def together(self, *names: str) -> list[tuple[int, ...]]:
        """Values of these counters in each reading that has all of them."""
        if not self.columns.keys() >= set(names):
            return []
        rows = zip(*(self.columns[name] for name in names), strict=True)
        if len(self.kinds) == 1:
            return list(rows)
        return [row for row in rows if None not in row]

    def values(self, name: str) -> list[int]:
        """Of one counter, where it was read."""
        return [value for value in self.columns.get(name, ()) if value is not None]

    def grown(self, name: str) -> int:
        """Largest less smallest value."""
        values = self.values(name)
        return max(values) - min(values) if values else 0

    def grown_in_cases(self, name: str) -> int:
        """Between the first and the last request of each case: warm-ups do not count."""
        if not self.grown(name):
            return 0
        by_case: dict[str, list[int]] = defaultdict(list)
        for case, value in zip(self.cases, self.columns[name], strict=True):
            if value is not None:
                by_case[case].append(value)
        return sum(max(values) - min(values) for values in by_case.values())


def watched(records: Iterable[Record]) -> tuple[Watched, ...]:
    """Telemetry records of one model by job, in order of the jobs' names."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[str(record.get("job", ""))].append(record)
    return tuple(_job(job, found[job]) for job in sorted(found))


def _job(name: str, records: Sequence[Record]) -> Watched:
    """One job's telemetry, the same in whatever order its records come."""
    parents = [record for record in records if record.get("source") == "parent"]
    start = max(parents, key=canonical) if len(parents) > 1 else (parents or [{}])[0]
    readings = [record for record in records if record.get("source") == "worker"]
    readings, columns, kinds = _alike(readings) or _mixed(readings)
    return Watched(
        id=name,
        counted=any(record.get("counters") for record in records),
        cases=[str(record.get("case", "")) for record in readings],
        columns=columns,
        kinds=kinds,
        facts=start.get("facts") or {},
        gate=str(start.get("gate", "")),
    )


_Readings = tuple[list[Record], Mapping[str, Sequence[int | None]], frozenset[tuple[str, ...]]]
"""Readings in order of time, their columns, and which counters stand together."""


def _alike(readings: Sequence[Record]) -> _Readings | None:
    """Of readings that all have the same counters, no two of one moment."""
    found = [record.get("counters") or {} for record in readings]
    kinds = frozenset(map(tuple, found))
    if len(kinds) != 1 or "clock_ns" not in (names := next(iter(kinds))):
        return None
    if not {int}.issuperset(map(type, chain.from_iterable(one.values() for one in found))):
        return None
    places = {counters["clock_ns"]: row for row, counters in enumerate(found)}
    if len(places) < len(found):
        return None
    order = [places[clock] for clock in sorted(places)]
    columns = zip(*(found[row].values() for row in order), strict=True)
    return [readings[row] for row in order], dict(zip(names, columns, strict=True)), kinds


def _mixed(records: Iterable[Record]) -> _Readings:
    """As `_alike`, of any readings."""
    readings: list[tuple[int, Record, Mapping[str, int]]] = []
    for record in records:
        found = record.get("counters") or {}
        counters = {key: value for key, value in found.items() if isinstance(value, int)}
        readings.append((counters.get("clock_ns", 0), record, counters))
    times = Counter(clock for clock, _, _ in readings)
    # Spelling out a record is slow, and only those of one moment need it.
    readings.sort(key=lambda found: (found[0], canonical(found[1]) if times[found[0]] > 1 else b""))
    kinds = frozenset(tuple(counters) for _, _, counters in readings)
    names = {name for kind in kinds for name in kind}
    columns = {name: [counters.get(name) for _, _, counters in readings] for name in names}
    return [record for _, record, _ in readings], columns, kinds
