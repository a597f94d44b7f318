"""What records come to model by model, before any two models are compared. Pure.

No model's part depends on another's, so that parts can be made in different processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from harness.records import current, run_record
from harness.scoring.around import Around, around
from harness.scoring.efficiency import roof_of
from harness.scoring.observe import Observed, by_model, observe_model
from harness.scoring.rules import Rules, read_rules
from harness.scoring.summary import Summaries, summaries
from harness.scoring.telemetry import Watched, watched
from harness.scoring.validity import Finding, examine_model

Record = Mapping[str, Any]
_BULK = frozenset({"sample", "telemetry"})
"""Types of nearly all records of a run."""


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


def share(records: Sequence[Record], models: Iterable[Record], setting: Setting) -> Share:
    """The parts of these models, and all that was said beside.

    Args:
        records: all of the models' records, and others.
        models: as the run record lists them.
    """
    kept = current(records)
    everything, counted = ([r for r in some if r["type"] not in _BULK] for some in (records, kept))
    parts = [_part(model, own, setting) for model, own in by_model(kept, models)]
    return Share(everything, counted, parts)


def _part(model: Mapping[str, Any], records: Mapping[str, list[Record]], setting: Setting) -> Part:
    run, rules, looks = setting
    observed = observe_model(model, records, rules)
    jobs = watched(records.get("telemetry", ()))
    device = run["device"]
    findings = examine_model(records, observed, jobs, rules, device=device, looks=looks)
    made = summaries(observed, rules, roof_of(looks.calibrations))
    return Part(observed, tuple(jobs.values()), findings, made)
