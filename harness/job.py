"""What one worker process is told to do. Standard library only, for the child."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.cases import Case
from harness.spec import BackendOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one worker process does: `cases` of one suite on one artefact.

    Attributes:
        process: number of this fresh process among the repetitions, from 0.
        optional: run only while the model's figures are not precise enough.
        seed: 64 hex digits: prompts are drawn from them; of accuracy items, only the hash
            of what they are drawn from.
        estimate_s: rough duration, for progress only; not part of the id.
        folder: where relative paths of the cases start from; not part of the id.
        shared: folder for what one job of a run leaves to others, named by whoever runs it.
        retry: how often this job was begun before in its run; not part of the id.
    """

    id: str
    model: str
    path: str
    backend: str
    options: BackendOptions
    suite: str
    suite_version: int
    cases: tuple[Case, ...]
    process: int
    requests: int
    warmup_max: int
    seed: str
    timeout_s: float
    estimate_s: float
    optional: bool = False
    folder: str = ""
    shared: str = ""
    retry: int = 0


def job_from_json(data: Mapping[str, Any]) -> Job:
    """The job that `to_json` wrote; standard library only, for the child."""
    fields = dict(data)
    fields["options"] = BackendOptions(**fields["options"])
    fields["cases"] = tuple(
        Case(**{**case, "texts": tuple(case["texts"]), "forms": tuple(case["forms"])})
        for case in fields["cases"]
    )
    return Job(**fields)
