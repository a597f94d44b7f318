"""What records come to model by model, before any two models are compared. Pure.

No model's part depends on another's, so that parts can be made in different processes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from harness.records import run_record
from harness.scoring.around import Around, around
from harness.scoring.efficiency import roof_of
from harness.scoring.gather import Gathered, OfModel, Record, gather
from harness.scoring.observe import Observed, observe_model
from harness.scoring.rules import Rules, read_rules
from harness.scoring.summary import Summaries, summaries
from harness.scoring.telemetry import Watched, watched
from harness.scoring.validity import Finding, examine_model


class Setting(NamedTuple):
    """What every model of a run shares: its run record, the rules, and the machine around it."""

    run: Record
    rules: Rules
    looks: Around


class Part(NamedTuple):
    """One model. `jobs` is its telemetry, `findings` what speaks against its jobs."""

    observed: Observed
    jobs: tuple[Watched, ...]
    findings: list[Finding]
    summaries: Summaries


class Share(NamedTuple):
    """What the records of some models, or of all, come to.

    Attributes:
        everything: said beside samples and telemetry. counted: of it, what counts.
        parts: one a model.
    """

    everything: list[Record]
    counted: list[Record]
    parts: list[Part]


def read_setting(records: Iterable[Record]) -> Setting:
    """The setting that a run's records tell, in whatever order they are.

    Raises:
        RecordError: no run record, several that differ, or an unusable profile.
    """
    found = [record for record in records if record["type"] in ("run", "environment")]
    run = run_record(found)
    return Setting(run, read_rules(run["profile"]), around(found))


def share(records: Iterable[Record], models: Iterable[Record], setting: Setting) -> Share:
    """The parts of these models, and all that was said beside.

    Args:
        records: all of the models' records, and others.
        models: as the run record lists them.
    """
    return share_of(gather(records), models, setting)


def share_of(found: tuple[Gathered, Gathered], models: Iterable[Record], setting: Setting) -> Share:
    """As `share`, of records that have been gathered."""
    every, counted = found
    listed = sorted(models, key=lambda model: str(model["id"]))
    parts = [_part(model, counted.of(str(model["id"])), setting) for model in listed]
    return Share(every.told, counted.told, parts)


def _part(model: Record, records: OfModel, setting: Setting) -> Part:
    run, rules, looks = setting
    observed = observe_model(model, records, rules)
    jobs = watched(records.telemetry)
    device = run["device"]
    findings = examine_model(records, observed, jobs, rules, device=device, looks=looks)
    made = summaries(observed, rules, roof_of(looks.calibrations))
    return Part(observed, tuple(jobs.values()), findings, made)
