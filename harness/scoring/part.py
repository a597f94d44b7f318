"""What records come to model by model, before any two models are compared. Pure.

No model's part depends on another's, so that parts can be made in different processes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from harness.records import run_record
from harness.scoring.around import Around, around
from harness.scoring.efficiency import roof_of
from harness.scoring.gather import Gathered, OfModel, Record
from harness.scoring.observe import Observed, observe_model
from harness.scoring.rules import Rules, read_rules
from harness.scoring.shown import Json, shown_json
from harness.scoring.summary import Summaries, summaries
from harness.scoring.telemetry import Watched, watched
from harness.scoring.validity import Finding, examine_model


class Setting(NamedTuple):
    """What every model of a run shares: its run record, the rules, and the machine around it."""

    run: Record
    rules: Rules
    looks: Around


class Part(NamedTuple):
    """One model.

    Attributes:
        observed: without its series. summaries: without its tasks. Both are large, and what was
            made of them is in `shown` and `findings`.
        jobs: its telemetry. findings: what speaks against its jobs.
        shown: of its entry what depends on no other model.
    """

    observed: Observed
    jobs: tuple[Watched, ...]
    findings: list[Finding]
    summaries: Summaries
    shown: Json


class Parts(NamedTuple):
    """What the records of all models of a run, or of some, come to.

    Attributes:
        told: said beside samples and telemetry. counted: of it, what counts.
        models: a part each. strangers: telemetry that is of no model of the run.
    """

    told: list[Record]
    counted: list[Record]
    models: list[Part]
    strangers: list[Watched]


def read_setting(records: Iterable[Record]) -> Setting:
    """The setting that a run's records tell, in whatever order they are.

    Raises:
        RecordError: no run record, several that differ, or an unusable profile.
    """
    found = [record for record in records if record["type"] in ("run", "environment")]
    run = run_record(found)
    return Setting(run, read_rules(run["profile"]), around(found))


def parts_of(found: tuple[Gathered, Gathered], models: Iterable[Record], setting: Setting) -> Parts:
    """The parts of these models, and all that was said beside.

    Args:
        found: all of the models' records, and others, as `gather` has them.
        models: as the run record lists them.
    """
    every, counted = found
    listed = sorted(models, key=lambda model: str(model["id"]))
    ids = {str(model["id"]) for model in setting.run["models"]}
    strangers = [own.telemetry for model, own in counted.models.items() if model not in ids]
    return Parts(
        every.told,
        counted.told,
        [_part(model, counted.of(str(model["id"])), setting) for model in listed],
        [job for telemetry in strangers for job in watched(telemetry)],
    )


def _part(model: Record, records: OfModel, setting: Setting) -> Part:
    run, rules, looks = setting
    observed = observe_model(model, records, rules)
    jobs = watched(records.telemetry)
    device = run["device"]
    findings = examine_model(records, observed, jobs, rules, device=device, looks=looks)
    made = summaries(observed, rules, roof_of(looks.calibrations))
    shown = shown_json(observed, made, rules)
    return Part(replace(observed, series={}), jobs, findings, replace(made, tasks={}), shown)
