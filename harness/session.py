"""What the commands do: specification → plan → execution → records → scorecard → report.

Each function is one command's work without its printing, so that the command line, a
notebook and a test all walk the same path.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import harness
from harness import environment, metrics, score, specfile, stats
from harness import plan as planning
from harness.backends import BACKENDS, ENGINES
from harness.errors import (
    Exit,
    HarnessError,
    PrerequisiteError,
    RecordError,
    SpecError,
    did_you_mean,
    install_hint,
)
from harness.execute import Outcome, execute, prime
from harness.extensions import target
from harness.models import resolve as artefacts
from harness.plan import Plan, Skip
from harness.records import (
    SCHEMA,
    JournalWriter,
    Record,
    read,
    unwritable,
    write_whole,
)
from harness.spec import (
    Artefact,
    BackendOptions,
    Catalogue,
    Model,
    Profile,
    Suites,
    canonical,
    to_json,
)
from harness.suites import SUITES

RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
_MIN_FREE_BYTES = 64 << 20

Progress = Callable[[Outcome, int, float], None]
"""Called as each job ends with its outcome, the jobs left and the seconds left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run left behind.

    Attributes:
        status: `done`, `failed` (nothing measured or jobs failed) or `interrupted`.
    """

    folder: Path
    scorecard: Path
    card: dict[str, Any]
    status: str
    exit_code: Exit


def prepare(
    *,
    models: Sequence[str] = (),
    set_name: str = "default",
    suites: Sequence[str] = (),
    profile: str = "quick",
    device: str = "this-machine",
    catalogue_path: Path | None = None,
) -> Plan:
    """Build the plan of a run: the profile's reference model is always part of it.

    Args:
        models: ids or paths; empty takes the set.

    Raises:
        SpecError: an unknown name or a malformed file.
        PrerequisiteError: a model that was asked for by name, or the reference, is missing.
    """
    catalogue = specfile.load_catalogue(catalogue_path or specfile.default_catalogue_path())
    chosen_profile = specfile.resolve_profile(profile)
    chosen_device = specfile.resolve_device(device)
    _check_suites(suites, chosen_profile.suites)
    base = Path(catalogue.path).parent
    wanted = (
        [_named_model(text, catalogue) for text in models]
        if models
        else list(specfile.find_set(catalogue, set_name))
    )
    if chosen_profile.reference not in catalogue.models:
        raise PrerequisiteError(
            f"profile '{chosen_profile.id}' compares with '{chosen_profile.reference}', "
            "which the models file does not have",
            where=catalogue.path,
            hint="add that model to the models file, or choose another profile",
            reason="reference_missing",
        )
    chosen_profile = _with_installed_reference(chosen_profile, catalogue)
    reference = catalogue.models[chosen_profile.reference]
    unique = {model.id: model for model in (reference, *wanted)}
    if len(unique) < len({(model.id, model.source.path) for model in (reference, *wanted)}):
        raise SpecError(
            "two different files would have the same model id",
            allowed="file names that differ",
            hint="rename one, or give them ids in models.yaml",
            reason="duplicate_model",
        )
    required = {model.id for model in wanted} if models else set()
    found, skipped = _locate(unique.values(), base, required | {reference.id})
    plan = planning.build(
        chosen_profile,
        chosen_device,
        found,
        threads=environment.default_threads(environment.observe()),
        skipped=skipped,
        suites=suites,
    )
    for skip in plan.skipped:
        if skip.model in required | {reference.id} and skip.reason == "context_too_short":
            raise SpecError(
                f"{skip.model}: {skip.detail}",
                allowed="a profile whose cases fit the reference and every model that is named",
                hint="choose another --profile or --model",
                reason=skip.reason,
            )
    return plan


def _with_installed_reference(profile: Profile, catalogue: Catalogue) -> Profile:
    """The profile with the first of its references whose engine is installed, if any is."""
    for model_id in (profile.reference, *profile.fallback_references):
        if model_id in catalogue.models and _installed(catalogue.models[model_id]):
            return dataclasses.replace(profile, reference=model_id, fallback_references=())
    return profile


def run(plan: Plan, results: Path, progress: Progress | None = None) -> RunResult:
    """Measure a plan and leave a scored, reported run folder.

    Raises:
        RecordError: the results folder cannot be written.
    """
    if not plan.jobs:
        raise PrerequisiteError(
            "no model of this plan can be measured here",
            allowed="\n    ".join(f"{skip.model}: {skip.detail}" for skip in plan.skipped),
            hint=next((skip.hint for skip in plan.skipped if skip.hint), "harness doctor"),
            reason="nothing_to_measure",
        )
    attempts = 1 + sum(_plan_of(earlier) == plan.hash for earlier in _runs(results))
    folder = _new_run_folder(results)
    write_whole(folder / "plan.json", canonical(plan))
    journal = JournalWriter(folder / "records.jsonl")
    interrupted = False
    problem: HarnessError | None = None
    try:
        journal.append(_run_record(plan, folder.name, attempts))
        journal.append(_environment_record(plan, "before"))
        try:
            _measure(plan, folder, journal, progress)
        except KeyboardInterrupt:
            interrupted = True
        journal.append(_environment_record(plan, "after"))
    except HarnessError as error:
        problem = error
    finally:
        journal.close()
    card = write_scorecard(folder)
    if problem:
        raise problem
    status, exit_code = _status(card, interrupted=interrupted)
    return RunResult(
        folder=folder,
        scorecard=folder / "scorecard.json",
        card=card,
        status=status,
        exit_code=exit_code,
    )


def write_scorecard(folder: Path) -> dict[str, Any]:
    """Rebuild `scorecard.json` of a run folder from its records, and return it.

    Raises:
        RecordError: the records cannot be read, or say what no run says.
    """
    path = folder / "records.jsonl"
    journal = read(path)
    try:
        card = score.scorecard(journal.records, torn=journal.torn)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RecordError(
            f"a record does not have the form of schema {SCHEMA}: {type(error).__name__}: {error}",
            where=str(path),
            hint="use an untouched copy, or measure again with `harness run`",
            reason="records_damaged",
        ) from error
    write_whole(folder / "scorecard.json", score.dump(card))
    return card


def write_reports(folder: Path, card: dict[str, Any], lang: Literal["ko", "en"]) -> list[Path]:
    """Write `scorecard.md` and `report.html` beside the scorecard."""
    from harness.report import html, markdown

    markdown.write(card, folder / "scorecard.md", lang=lang)
    html.write(card, folder / "report.html", lang=lang)
    return [folder / "scorecard.md", folder / "report.html"]


def find_run(text: str, results: Path) -> Path:
    """The folder of a run given by path or id; `latest` is the newest one.

    Raises:
        SpecError: there is no such run.
    """
    path = Path(text)
    runs = [folder.name for folder in _runs(results)]
    if text == "latest" and runs:
        return results / runs[-1]
    for candidate in (path, path.parent if path.suffix else path, results / text):
        if os.path.isfile(candidate / "records.jsonl"):  # noqa: PTH113 - never raises
            return candidate
    raise SpecError(
        "no run with records here",
        where=text,
        allowed="a run folder, its id, or latest" + (f" (newest: {runs[-1]})" if runs else ""),
        hint="harness run",
        reason="run_missing",
    )


def _runs(results: Path) -> list[Path]:
    """Folders of earlier runs that hold records, oldest first."""
    return sorted(
        path.parent
        for path in results.glob("*/records.jsonl")
        if RUN_ID.fullmatch(path.parent.name)
    )


def bench(
    path: str, *, prompt: int, output: int, repetitions: int, options: BackendOptions
) -> dict[str, Any]:
    """Kernel mode on one local GGUF file or ONNX folder.

    Returns:
        `tests`: for each of pp and tg `tok_per_s` with median and samples; beside it the
        model, the backend, its options and what the engine says of itself.

    Raises:
        HarnessError: the worker failed; the message says how.
    """
    model = artefacts.model_from_path(path)
    _require_engine(model)
    artefact = artefacts.resolve(model, Path())
    if not options.threads:
        threads = environment.default_threads(environment.observe())
        options = BackendOptions(**{**to_json(options), "threads": threads})
    job = planning.kernel_job(
        artefact, prompt=prompt, output=output, repetitions=repetitions, options=options
    )
    if not job.cases:
        raise SpecError(
            "nothing to measure", allowed="-p or -n above 0", hint="harness bench --help"
        )
    with tempfile.TemporaryDirectory(prefix="harness-bench-") as temporary:
        folder = Path(temporary)
        journal = JournalWriter(folder / "records.jsonl")
        (outcome,) = execute((job,), _targets([model.backend_name]), folder / "parts", journal)
        journal.close()
        records = read(folder / "records.jsonl").records
    if outcome.state != "ok":
        raise HarnessError(
            f"{outcome.state}: {outcome.detail}",
            where=path,
            hint=next_step(outcome),
            reason=outcome.reason,
        )
    engine = next(record for record in records if record["type"] == "engine")
    return {
        "model": model.id,
        "backend": model.backend_name,
        "size_bytes": artefact.size_bytes,
        "options": engine["options"],
        "engine": engine["facts"],
        "tests": [_kernel_test(case.id, records) for case in job.cases],
    }


def next_step(outcome: Outcome) -> str:
    """What to do about a job that failed."""
    if outcome.reason in {"load_failed", "model_unreadable", "graph_unknown"}:
        return f"fetch or export {outcome.job.path} again: a whole GGUF file or ONNX folder loads"
    return "harness doctor"


def _kernel_test(case: str, records: Iterable[Record]) -> dict[str, Any]:
    rates = [
        metrics.kernel_tok_per_s(record)
        for record in records
        if record["type"] == "sample" and record["case"] == case
    ]
    return {
        "name": case,
        "tok_per_s": {
            "median": stats.round_significant(stats.median(rates)),
            "samples": [stats.round_significant(rate) for rate in rates],
        },
    }


def _measure(plan: Plan, folder: Path, journal: JournalWriter, progress: Progress | None) -> None:
    """Run all jobs; the estimate of what is left follows the pace so far."""
    backends = {job.backend for job in plan.jobs}
    prime(_worker_modules(backends))
    spent_s = planned_s = 0.0
    left = len(plan.jobs)
    for outcome in execute(plan.jobs, _targets(backends), folder / "parts", journal):
        left -= 1
        spent_s += outcome.wall_s
        planned_s += outcome.job.estimate_s
        if progress:
            progress(outcome, left, (plan.estimate_s - planned_s) * spent_s / planned_s)


def _worker_modules(backends: Iterable[str]) -> list[str]:
    """What workers with these backends import, engines included."""
    adapters = [path.partition(":")[0] for path in _targets(backends).values()]
    engines = [module for name in backends for module in ENGINES.get(name, ())]
    return ["harness.worker", "harness.plan", *SUITES.values(), *adapters, *engines]


def _targets(backends: Iterable[str]) -> dict[str, str]:
    return {name: target(name, BACKENDS, "harness.backends") for name in backends}


def _check_suites(names: Sequence[str], suites: Suites) -> None:
    known = [field.name for field in dataclasses.fields(suites) if getattr(suites, field.name)]
    for name in names:
        if name not in known:
            raise SpecError(
                f"unknown suite '{name}'{did_you_mean(name, known)}",
                allowed=", ".join(known),
                hint="harness run --help",
                reason="unknown_suite",
            )


def _named_model(text: str, catalogue: Catalogue) -> Model:
    """A model asked for on the command line: an id of the catalogue, else a path."""
    if text in catalogue.models:
        return catalogue.models[text]
    looks_like_path = os.sep in text or "/" in text or os.path.exists(text)  # noqa: PTH110 - never raises
    if looks_like_path or text.endswith((".fake.json",)):
        return artefacts.model_from_path(text)
    return specfile.find_model(catalogue, text)


def _locate(
    models: Iterable[Model], base: Path, required: set[str]
) -> tuple[list[Artefact], list[Skip]]:
    """Artefacts of all models that can be measured here, and why the others cannot."""
    found: list[Artefact] = []
    skipped: list[Skip] = []
    for model in models:
        try:
            _require_engine(model)
            found.append(artefacts.resolve(model, base))
        except HarnessError as error:
            if model.id in required and error.reason != "engine_missing":
                raise
            skipped.append(
                Skip(model=model.id, reason=error.reason, detail=error.message, hint=error.hint)
            )
    return found, skipped


def _installed(model: Model) -> bool:
    engine = next(iter(ENGINES.get(model.backend_name, ())), "")
    return not engine or importlib.util.find_spec(engine) is not None


def _require_engine(model: Model) -> None:
    name = model.backend_name
    if not _installed(model):
        raise PrerequisiteError(
            f"the engine of backend '{name}' is not installed",
            hint=install_hint(*ENGINES[name].values()),
            reason="engine_missing",
        )


def _new_run_folder(results: Path) -> Path:
    """A fresh folder named by UTC time and 6 hex."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = results / f"{stamp}-{secrets.token_hex(3)}"
    try:
        folder.mkdir(parents=True)
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        raise unwritable(results, error) from error
    if free_bytes < _MIN_FREE_BYTES:
        folder.rmdir()
        raise PrerequisiteError(
            f"only {free_bytes >> 20} MiB are free, a run needs {_MIN_FREE_BYTES >> 20} MiB",
            where=str(results),
            hint="free space, or choose another folder with --out",
            reason="disk_full",
        )
    return folder


def _plan_of(folder: Path) -> str:
    """Hash of the plan that an earlier run followed; empty where it cannot be read."""
    try:
        first = read(folder / "records.jsonl").records[0]
    except (RecordError, IndexError):
        return ""
    return str(first.get("plan", ""))


def _run_record(plan: Plan, run: str, attempts: int) -> Record:
    return {
        "type": "run",
        "schema": SCHEMA,
        "run": run,
        "plan": plan.hash,
        "harness": harness.__version__,
        "started_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        # Runs of this very plan that the folder still holds: a deleted one leaves no trace.
        "attempt": {"number": attempts, "of": attempts},
        "profile": to_json(plan.profile),
        "device": to_json(plan.device),
        "models": [
            {
                **to_json(found.model),
                "sha256": to_json(found.sha256),
                "size_bytes": found.size_bytes,
            }
            for found in plan.artefacts
        ],
        "skipped": to_json(plan.skipped),
        "jobs": len(plan.jobs),
    }


def _environment_record(plan: Plan, when: str) -> Record:
    facts = environment.observe()
    return {
        "type": "environment",
        "when": when,
        "facts": facts,
        "findings": environment.preconditions(plan.device, facts, after=when == "after"),
    }


def _status(card: dict[str, Any], *, interrupted: bool) -> tuple[str, Exit]:
    if interrupted:
        return "interrupted", Exit.INTERRUPTED
    jobs = [job for entry in card["entries"] for job in entry["jobs"]]
    if not jobs or any(job["outcome"] not in {"ok", "skipped"} for job in jobs):
        return "failed", Exit.FAILED
    return "done", Exit.DONE
