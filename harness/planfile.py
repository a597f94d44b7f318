"""A plan as the file that a run keeps, and back: what a resumed run goes on with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.job import job_from_json
from harness.plan import Plan, Skip
from harness.spec import (
    Artefact,
    BackendOptions,
    Device,
    Model,
    Source,
    canonical,
    profile_from_json,
)

NAME = "plan.json"


def dump(plan: Plan) -> bytes:
    """The bytes of `plan.json`. They name folders of this machine, and stay on it."""
    return canonical(plan)


def parse(data: bytes) -> Plan:
    """The plan that `dump` wrote.

    Raises:
        ValueError: these bytes are not a plan.
    """
    try:
        fields = json.loads(data)
        return Plan(
            profile=profile_from_json(fields["profile"]),
            device=Device(**fields["device"]),
            artefacts=tuple(_artefact(found) for found in fields["artefacts"]),
            skipped=tuple(Skip(**skip) for skip in fields["skipped"]),
            jobs=tuple(job_from_json(job) for job in fields["jobs"]),
            hash=fields["hash"],
            folder=fields["folder"],
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a plan: {error!r}") from error


def _artefact(data: Mapping[str, Any]) -> Artefact:
    model = dict(data["model"])
    source = dict(model["source"])
    source["files"] = tuple(source["files"])
    model["source"] = Source(**source)
    model["options"] = BackendOptions(**model["options"])
    return Artefact(**{**data, "model": Model(**model)})
