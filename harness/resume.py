"""What an unfinished run has done, and what is left of it.

    plan.json ─┐
               ├─ examine ─▶ Past ─ require_here ─▶ jobs that are left ─▶ session.resume
    records ───┘

A run goes on only where it was begun: on the same machine, with the same harness and
engines, from the same plan and the same model files. Anything else would put two
experiments under one name, and is refused before a file is touched.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import harness
from harness import environment, ledger, planfile, records
from harness.backends import ENGINES
from harness.errors import HarnessError, IncomparableError, PrerequisiteError, RecordError
from harness.execute import Outcome
from harness.job import Job
from harness.models.resolve import files_of
from harness.ownhash import harness_sha256
from harness.plan import Plan
from harness.records import Record
from harness.runs import first_record, runs_of
from harness.spec import file_sha256, sha256

_SAME = (
    *("machine", "product", "cpu", "isa", "physical_cores", "logical_cores"),
    *("os", "kernel", "bios", "python", "virtual_machine"),
)
"""Facts that another machine, or this one after an update, differs in. Sizes of memory are not
among them: what a kernel keeps for itself varies from start to start."""
_ANEW = "`harness score` keeps what was measured; `harness run` begins anew"
_ENDED = frozenset({"ok", "skipped", "failed", "crashed", "timeout", "out_of_memory"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is on record of an unfinished run.

    Attributes:
        before: the first look at the machine; empty where the run died before that.
        sessions: how often its jobs were begun or gone on with.
        lost: jobs that were running when the run died, as they were begun then.
        killed: jobs whose worker somebody has killed: that is made up for once.
        outcomes: of the jobs that have ended, in the plan's order.
        left: jobs to run, in the plan's order, each with its number of earlier starts.
        items: accuracy items of each case that every model is asked, where a time budget
            has decided that.
        closed: whether the end of the run is on record.
    """

    folder: Path
    plan: Plan
    run: Mapping[str, Any]
    before: Mapping[str, Any]
    sessions: int
    lost: tuple[Job, ...]
    killed: frozenset[str]
    outcomes: tuple[Outcome, ...]
    left: tuple[Job, ...]
    items: Mapping[str, int]
    closed: bool


def examine(folder: Path, *, retry_failed: bool = False) -> Past:
    """Read an unfinished run; nothing is written.

    Args:
        retry_failed: run jobs that did not end well once more.

    Raises:
        RecordError: the plan or the records are missing, damaged or cut short, or the ledger is.
        SchemaError: a newer harness wrote them. IncomparableError: an older one did.
    """
    path = folder / "records.jsonl"
    data = records.load(path)
    journal = records.parse(data, path)
    run = records.run_record(journal.records)
    plan = _plan(folder, run)
    noted = ledger.load(folder.resolve().parent / ledger.NAME)
    ledger.require_whole(noted, str(run["run"]), data, str(path))
    looks = [r for r in journal.records if r.get("when") == "before"]
    found = records.current(journal.records)
    begun = _begun(journal.records, folder / "parts", plan)
    killed = Counter(r["job"] for r in journal.records if r.get("reason") == "worker_killed")
    ended = {str(r["job"]): r for r in found if r["type"] == "job" and r["outcome"] in _ENDED}
    ended = {
        name: record
        for name, record in ended.items()
        if record["reason"] != "worker_killed" or killed[name] > 1
    }
    if retry_failed:
        ended = {name: record for name, record in ended.items() if record["outcome"] == "ok"}
    needless = {str(r["job"]) for r in found if r.get("kind") == "not_needed"}
    jobs = [job for job in plan.jobs if job.id not in ended and job.id not in needless]
    left = [replace(job, retry=begun.get(job.id, 0)) for job in jobs]
    # Of these the last start has no end on record.
    on_record = {(r["job"], r.get("retry", 0)) for r in journal.records if r["type"] == "job"}
    starts = [replace(job, retry=job.retry - 1) for job in left if job.retry]
    return Past(
        folder=folder,
        plan=plan,
        run=run,
        before=looks[0] if looks else {},
        sessions=len(looks),
        lost=tuple(job for job in starts if (job.id, job.retry) not in on_record),
        killed=frozenset(killed),
        outcomes=tuple(_outcomes(plan, ended, found)),
        left=tuple(left),
        items=_items(plan, ended, found),
        closed=journal.records[-1].get("when") == "after",
    )


def unfinished(
    results: Path, plan: Plan, nonce: str = "", *, announced: bool = False
) -> Past | None:
    """The newest run of this very plan, if it was interrupted here and can go on.

    Args:
        announced: the newest of those that were announced: others may have come since.
    """
    earlier = runs_of(results, plan.hash)
    if announced:
        earlier = [folder for folder in earlier if _is_announced(folder)]
    if not earlier:
        return None
    with contextlib.suppress(HarnessError):
        past = examine(earlier[-1])
        if past.left and past.run.get("nonce", "") == nonce:
            _require_same_place(past)
            return past
    return None


def _is_announced(folder: Path) -> bool:
    attempt = first_record(folder).get("attempt")
    return isinstance(attempt, dict) and attempt.get("announced") is True


def require_here(past: Past) -> None:
    """Refuse to go on elsewhere, or with something else, than the run was begun.

    Raises:
        IncomparableError: another machine, other versions, or another model file.
        PrerequisiteError: a model file is missing.
    """
    _require_same_place(past)
    _require_same_files(past.plan)


def builds(plan: Plan) -> dict[str, str]:
    """Versions of harness and of the packages that the plan's engines consist of, and the hash
    of harness's own files.
    """
    packages = {p for job in plan.jobs for p in ENGINES.get(job.backend, {}).values()}
    found = {"harness": harness.__version__, "harness_sha256": harness_sha256()}
    for package in sorted(packages | {"numpy"}):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _plan(folder: Path, run: Mapping[str, Any]) -> Plan:
    path = folder / planfile.NAME
    if "plan_sha256" not in run:
        raise IncomparableError(
            "this run was begun by an older harness, which kept too little to go on",
            where=str(folder),
            hint=_ANEW,
            reason="schema_older",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(
            f"the plan of the run cannot be read: {error.strerror}",
            where=str(path),
            hint=_ANEW,
            reason="part_missing",
        ) from error
    changed = RecordError(
        "the plan is not the one that the run was begun with: it was edited or damaged",
        where=str(path),
        hint=_ANEW,
        reason="plan_changed",
    )
    if sha256(data) != run["plan_sha256"]:
        raise changed
    try:
        return planfile.parse(data)
    except ValueError as error:
        raise changed from error


def _require_same_place(past: Past) -> None:
    if not past.before:
        return  # nothing was measured either
    then, installed = past.before.get("builds", {}), builds(past.plan)
    if others := [name for name, version in installed.items() if then.get(name) != version]:
        listed = ", ".join(f"{n} {then.get(n)} then, {installed[n]} now" for n in others)
        raise IncomparableError(
            f"the run was begun with other versions: {listed}",
            allowed="the versions with which it was begun",
            hint="install those, or begin anew with `harness run`",
            reason="other_build",
        )
    now = environment.observe()
    facts = past.before["facts"]
    others = [name for name in _SAME if facts.get(name) != now.get(name)]
    if others:
        listed = "\n    ".join(f"{n}: {facts.get(n)} then, {now.get(n)} now" for n in others)
        raise IncomparableError(
            f"the run was begun on another machine, or this one has changed:\n    {listed}",
            allowed="the machine on which it was begun, as it was",
            hint="go on there, or begin anew with `harness run`",
            reason="other_machine",
        )


def _require_same_files(plan: Plan) -> None:
    for artefact in plan.artefacts:
        for path, expected in files_of(artefact).items():
            try:
                actual = file_sha256(path)
            except OSError as error:
                raise PrerequisiteError(
                    f"a file of {artefact.model.id} cannot be read: {error.strerror}",
                    where=str(path),
                    hint="put it back, then the same command again",
                    reason="model_missing",
                ) from error
            if actual != expected:
                raise IncomparableError(
                    f"{artefact.model.id} is another file than the run was begun with",
                    where=str(path),
                    hint="put the former one back, or begin anew with `harness run`",
                    reason="hash_mismatch",
                )


def _begun(found: Iterable[Record], parts: Path, plan: Plan) -> dict[str, int]:
    """How often each job was begun, by what is on record and by what lies in its parts."""
    begun: dict[str, int] = defaultdict(int)
    for record in found:
        if "job" in record and record.get("kind") != "not_needed":
            name = str(record["job"])
            begun[name] = max(begun[name], 1 + int(record.get("retry", 0)))
    for job in plan.jobs:
        for path in parts.glob(f"{job.id}-*.*"):
            number = path.stem.rpartition("-")[2]
            if number.isdecimal():
                begun[job.id] = max(begun[job.id], 1 + int(number))
    return dict(begun)


def _outcomes(
    plan: Plan, ended: Mapping[str, Record], found: Iterable[Record]
) -> Iterator[Outcome]:
    """How the jobs that have ended did, as if they had ended just now."""
    samples: dict[str, list[Record]] = defaultdict(list)
    waited_s: dict[str, float] = defaultdict(float)
    for record in found:
        if record["type"] == "sample":
            samples[str(record["job"])].append(record)
        elif record["type"] == "telemetry":
            waited_s[str(record["job"])] += record.get("waited_s", 0.0)
    for job in plan.jobs:
        if end := ended.get(job.id):
            yield Outcome(
                job=job,
                state=end["outcome"],
                reason=end["reason"],
                detail=end["detail"],
                wall_s=end["wall_s"],
                samples=tuple(samples[job.id]),
                waited_s=waited_s[job.id],
            )


def _items(plan: Plan, ended: Mapping[str, Record], found: Iterable[Record]) -> dict[str, int]:
    """How many items of each case the first finished exam was asked."""
    exams = [job.id for job in plan.jobs if job.suite == "accuracy"]
    first = next((name for name in exams if name in ended), None)
    asked: dict[str, int] = defaultdict(int)
    for record in found:
        if first and record.get("job") == first and record.get("kind") in {"item", "item_skipped"}:
            asked[str(record["case"])] += 1
    return dict(asked)
