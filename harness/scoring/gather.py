"""Records put where they are read, in one pass: a run has a hundred thousand. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from harness.records import current

Record = Mapping[str, Any]
ByType = Mapping[str, list[Record]]
Place = tuple[str, str, str]
"""Suite, case and kind of a sample."""
NOWHERE: Place = ("", "", "")


class OfModel(NamedTuple):
    """What is on record of one model.

    Attributes:
        samples: by their place; those without one are nowhere.
        telemetry: readings of the machine. told: all else, by type.
    """

    samples: dict[Place, list[Record]]
    telemetry: list[Record]
    told: dict[str, list[Record]]


class Gathered(NamedTuple):
    """Records of a run.

    Attributes:
        told: of all models and of none, samples and telemetry apart.
        models: by id. retried: whether a job was begun again.
    """

    told: list[Record]
    models: dict[str, OfModel]
    retried: bool

    def of(self, model: str) -> OfModel:
        """What is on record of a model, if anything."""
        return self.models.get(model) or OfModel({}, [], {})


def gather(records: Iterable[Record]) -> tuple[Gathered, Gathered]:
    """All records, and those that count (`records.current`), which mostly are the same."""
    every = _gather(records)
    return every, _gather(current(_all(every))) if every.retried else every


def by_type(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records of each type, in their order."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[str(record["type"])].append(record)
    return found


def _gather(records: Iterable[Record]) -> Gathered:
    told: list[Record] = []
    models: dict[str, OfModel] = defaultdict(
        lambda: OfModel(defaultdict(list), [], defaultdict(list))
    )
    retried = False
    for record in records:
        get = record.get
        kind, model = record["type"], get("model", "")
        if not isinstance(model, str):
            model = ""
        retried |= "retry" in record
        if kind == "sample":
            samples = models[model].samples
            try:
                samples[get("suite", ""), get("case", ""), get("kind", "")].append(record)
            except TypeError:  # a list is no place
                samples[NOWHERE].append(record)
        elif kind == "telemetry":
            models[model].telemetry.append(record)
        else:
            told.append(record)
            if "model" in record:
                models[model].told[str(kind)].append(record)
    return Gathered(told, models, retried)


def _all(found: Gathered) -> Iterator[Record]:
    yield from found.told
    for own in found.models.values():
        for samples in own.samples.values():
            yield from samples
        yield from own.telemetry
