"""From what a user asks for to a plan: models, profile, device and chat prompts resolved."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from harness import environment, heldout, specfile, tuning
from harness import plan as planning
from harness.backends import BACKENDS, ENGINES, OPTIONAL, engine_hint
from harness.errors import (
    HarnessError,
    PrerequisiteError,
    SpecError,
    did_you_mean,
    printable,
)
from harness.extensions import target
from harness.heldout import HeldOutTask
from harness.models import chat
from harness.models import resolve as artefacts
from harness.plan import Plan, Skip
from harness.sandbox.policy import SWITCH
from harness.spec import (
    Artefact,
    Catalogue,
    Device,
    Model,
    Profile,
    Suites,
    TaskSuite,
    file_sha256,
    sha256,
)
from harness.suites.tasks import PUBLIC_SEED

BUDGET_ITEMS = 300
"""Most items of a task and language that a time budget chooses from."""

TuningProgress = Callable[[str, str], None]
"""Called with a model's id and the thread counts that were found for it."""


def prepare(
    *,
    models: Sequence[str] = (),
    set_name: str = "default",
    suites: Sequence[str] = (),
    profile: str = "quick",
    device: str = "this-machine",
    catalogue_path: Path | None = None,
    tune: TuningProgress | None = None,
    seed: bytes = PUBLIC_SEED,
    own: Mapping[str, HeldOutTask] | None = None,
    budget_s: float = 0.0,
    verify: float = 0.0,
    chat_template: Literal["own", "canonical"] | None = None,
    commercial: bool = False,
) -> Plan:
    """Build the plan of a run: the profile's reference model is always part of it.

    Args:
        models: ids or paths; empty takes the set.
        tune: measure each model also with the fastest thread counts, which are found
            here; called with each model and what was found. None = do not.
        seed: what accuracy items will be drawn from.
        own: what `own_items` read for this profile.
        budget_s: time for one model's accuracy items; 0 = all that the profile asks for.
        verify: least share of choice items to score again without anything shared.
        chat_template: in place of the profile's; None = as the profile says.
        commercial: leave out models whose licence does not allow commercial use.

    Raises:
        SpecError: an unknown name or a malformed file.
        PrerequisiteError: a model that was asked for by name, or the reference, is missing.
    """
    catalogue = specfile.load_catalogue(catalogue_path or specfile.default_catalogue_path())
    asked = specfile.resolve_profile(profile)
    if chat_template:
        asked = dataclasses.replace(asked, chat_template=chat_template)
    asked = _with_accuracy(asked, own or {}, budget_s, verify)
    chosen_device = specfile.resolve_device(device)
    _check_suites(suites, asked.suites)
    _check_gates(asked, chosen_device)
    _check_family(asked, catalogue)
    folder = specfile.profile_path(profile).parent.resolve()
    _check_texts(asked, suites, folder)
    wanted = (
        [named_model(text, catalogue) for text in models]
        if models
        else list(specfile.find_set(catalogue, set_name))
    )
    asked = _with_installed_reference(asked, catalogue)
    entries = _entries(catalogue.models[asked.reference], wanted)
    required = {asked.reference, *(model.id for model in wanted if models)}
    barred = _not_commercial(entries, required) if commercial else []
    left_out = {skip.model for skip in barred}
    found, skipped = _locate(
        [model for model in entries if model.id not in left_out],
        Path(catalogue.path).parent,
        required,
    )
    found = [chat.with_template(artefact, asked.chat_template) for artefact in found]
    skipped += barred
    facts = environment.observe()
    if tune:
        tuned, untuned = _tune_all(found, facts, tune)
        found += tuned
        skipped += untuned
    prompts: dict[str, dict[str, tuple[str, ...]]] = {}
    if asked.suites.task and (not suites or "task" in suites):
        prompts, silent = _chat_prompts(found, asked.suites.task)
        skipped += silent
    plan = planning.build(
        asked,
        chosen_device,
        found,
        threads=environment.default_threads(facts),
        prompts=prompts,
        skipped=skipped,
        suites=suites,
        seed_sha256=sha256(seed),
        folder=str(folder),
    )
    _refuse_short_context(plan, required)
    return plan


def _entries(reference: Model, wanted: Sequence[Model]) -> list[Model]:
    """The reference and the models that are wanted, each once."""
    unique = {model.id: model for model in (reference, *wanted)}
    if len(unique) < len({(model.id, model.source.path) for model in (reference, *wanted)}):
        raise SpecError(
            "two different files would have the same model id",
            allowed="file names that differ",
            hint="rename one, or give them ids in models.yaml",
            reason="duplicate_model",
        )
    return list(unique.values())


def _refuse_short_context(plan: Plan, required: Collection[str]) -> None:
    """Who names a model wants it measured, not left out."""
    for skip in plan.skipped:
        whole = skip.reason == "context_too_short" and not skip.case
        if whole and skip.model in required:
            raise SpecError(
                f"{skip.model}: {skip.detail}",
                allowed="a profile whose cases fit the reference and every model that is named",
                hint="choose another --profile or --model",
                reason=skip.reason,
            )


def own_items(profile: str) -> dict[str, HeldOutTask]:
    """An evaluator's own items that a profile, by name or file, asks for: see `held_out`."""
    return held_out(specfile.resolve_profile(profile), specfile.profile_path(profile).parent)


def held_out(profile: Profile, folder: Path) -> dict[str, HeldOutTask]:
    """An evaluator's own items that a profile names, read whole and checked.

    Args:
        folder: where the profile's files lie.

    Raises:
        SpecError: a file is missing, has changed, or anything in it is wrong.
    """
    accuracy = profile.suites.accuracy
    return {entry.id: heldout.load(entry, folder) for entry in (accuracy.data if accuracy else ())}


def _with_accuracy(
    profile: Profile, own: Mapping[str, HeldOutTask], budget_s: float, verify: float
) -> Profile:
    """The profile with what own files hold, and with what the command line asks of accuracy."""
    accuracy = profile.suites.accuracy
    if accuracy is None:
        return profile
    data = tuple(
        dataclasses.replace(entry, form=task.form, language=task.language, items=len(task.items))
        for entry in accuracy.data
        for task in [own[entry.id]]
    )
    accuracy = dataclasses.replace(accuracy, data=data, verify=max(accuracy.verify, verify))
    if budget_s:
        # Enough to choose from; the budget decides how many are asked.
        most = max(accuracy.items, BUDGET_ITEMS)
        accuracy = dataclasses.replace(accuracy, budget_s=budget_s, items=most)
    return dataclasses.replace(
        profile, suites=dataclasses.replace(profile.suites, accuracy=accuracy)
    )


def _with_installed_reference(profile: Profile, catalogue: Catalogue) -> Profile:
    """The profile with the first of its references whose engine is installed, if any is.

    Raises:
        PrerequisiteError: the models file does not have the first one at all.
    """
    if profile.reference not in catalogue.models:
        raise PrerequisiteError(
            f"profile '{profile.id}' compares with '{profile.reference}', "
            "which the models file does not have",
            where=catalogue.path,
            hint="add that model to the models file, or choose another profile",
            reason="reference_missing",
        )
    for model_id in (profile.reference, *profile.fallback_references):
        if model_id in catalogue.models and _installed(catalogue.models[model_id]):
            return dataclasses.replace(profile, reference=model_id, fallback_references=())
    return profile


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


def _check_gates(profile: Profile, device: Device) -> None:
    """Refuse a gate that lets a model take more memory than the device has."""
    for gate in profile.gates:
        ram = device.memory_bytes
        if gate.metric == "peak_resident_bytes" and ram and (gate.limit or 0) > ram:
            raise SpecError(
                f"gate '{gate.id}' of profile '{profile.id}' allows {gate.limit:.0f} bytes, more "
                f"than device '{device.id}' has",
                allowed=f"at most {ram}; null takes the device's own budget",
                hint="correct the gate's limit, or choose another --device",
                reason="impossible_gate",
            )


def _check_family(profile: Profile, catalogue: Catalogue) -> None:
    """Refuse a prescribed network that no entry belongs to: its division would stay empty."""
    known = sorted({model.family for model in catalogue.models.values()})
    if profile.fixed_family and profile.fixed_family not in known:
        raise SpecError(
            f"profile '{profile.id}' prescribes the network '{profile.fixed_family}', of which "
            f"the models file has nothing{did_you_mean(profile.fixed_family, known)}",
            where=catalogue.path,
            allowed=", ".join(known) or "none",
            hint="correct fixed_family, or add artefacts of that family to the models file",
            reason="unknown_family",
        )


def _check_texts(profile: Profile, suites: Sequence[str], folder: Path) -> None:
    """Refuse a profile whose own texts are not here, before an hour is spent."""
    found = {"language": profile.suites.language, "fidelity": profile.suites.fidelity}
    asked = [suite for name, suite in found.items() if suite and (not suites or name in suites)]
    for file in (file for suite in asked for file in suite.files):
        path = folder / file.path
        if not path.is_file():
            raise PrerequisiteError(
                f"the text '{file.id}' of profile '{profile.id}' is missing",
                where=str(path),
                hint="put the file there, or correct its path in the profile",
                reason="text_missing",
            )
        if (actual := file_sha256(path)) != file.sha256:
            raise SpecError(
                f"sha256 is {actual}, profile '{profile.id}' says {file.sha256}",
                where=str(path),
                hint="get the file again, or correct the profile",
                reason="hash_mismatch",
            )


def named_model(text: str, catalogue: Catalogue) -> Model:
    """A model asked for on the command line: an id of the catalogue, else a path."""
    if text in catalogue.models:
        return catalogue.models[text]
    looks_like_path = os.sep in text or "/" in text or os.path.exists(text)  # noqa: PTH110 - never raises
    if looks_like_path or text.endswith((".fake.json",)):
        return artefacts.model_from_path(text)
    return specfile.find_model(catalogue, text)


def _not_commercial(models: Iterable[Model], required: Collection[str]) -> list[Skip]:
    """Why models of a set are left out of a commercial comparison.

    Raises:
        SpecError: such a model was asked for by name, or is the reference.
    """
    skipped = []
    for model in models:
        if model.commercial:
            continue
        verb = "forbids" if model.commercial is False else "is not known to allow"
        detail = f"its licence ({model.licence or 'not declared'}) {verb} commercial use"
        hint = "leave --commercial out, or correct its entry in the models file"
        if model.id in required:
            raise SpecError(f"{model.id}: {detail}", hint=hint, reason="not_commercial")
        skipped.append(Skip(model=model.id, reason="not_commercial", detail=detail, hint=hint))
    return skipped


def _locate(
    models: Iterable[Model], base: Path, required: Collection[str]
) -> tuple[list[Artefact], list[Skip]]:
    """Artefacts of all models that can be measured here, and why the others cannot."""
    found: list[Artefact] = []
    skipped: list[Skip] = []
    for model in models:
        try:
            require_engine(model)
            found.append(artefacts.resolve(model, base))
        except HarnessError as error:
            if model.id in required and error.reason != "engine_missing":
                raise
            skipped.append(_skip(model.id, error))
    return found, skipped


def _skip(name: str, error: HarnessError, case: str = "") -> Skip:
    return Skip(model=name, reason=error.reason, detail=error.message, hint=error.hint, case=case)


def _installed(model: Model) -> bool:
    modules = list(ENGINES.get(model.backend_name, ()))
    # Of an optional engine other projects often have one part without the other.
    needed = modules if model.backend_name in OPTIONAL else modules[:1]
    return all(importlib.util.find_spec(module) for module in needed)


def require_engine(model: Model) -> None:
    """Refuse a model whose engine is not installed.

    Raises:
        PrerequisiteError: with the command that installs it.
        SpecError: the switch of the sandbox says what it cannot.
    """
    if (switch := os.environ.get(SWITCH, "on")) not in {"on", "off"}:
        raise SpecError(
            f"{SWITCH} is '{printable(switch)}'",
            allowed="on or off",
            hint=f"unset {SWITCH}",
            reason="unknown_name",
        )
    name = model.backend_name
    if not _installed(model):
        raise PrerequisiteError(
            f"the engine of backend '{name}' is not installed",
            hint=engine_hint(name),
            reason="engine_missing",
        )


def _tune_all(
    found: Sequence[Artefact], facts: Mapping[str, object], progress: TuningProgress
) -> tuple[list[Artefact], list[Skip]]:
    """Entries with the fastest thread counts, and why some models have none."""
    tuned: list[Artefact] = []
    skipped: list[Skip] = []
    for artefact in found:
        try:
            tuned.append(_tuned(artefact, facts, progress))
        except HarnessError as error:
            skipped.append(_skip(f"{artefact.model.id}.tuned", error))
    return tuned, skipped


def _tuned(artefact: Artefact, facts: Mapping[str, object], progress: TuningProgress) -> Artefact:
    """The same files with the thread counts that are fastest here, as an entry of their own."""
    name = artefact.model.backend_name
    targets = {name: target(name, BACKENDS, "harness.backends")}
    tuned = tuning.tune(artefact, facts=facts, targets=targets)
    progress(artefact.model.id, f"{tuned.threads} threads, {tuned.threads_prefill} for prefill")
    return dataclasses.replace(artefact, model=tuning.tuned_model(artefact.model, tuned))


def _chat_prompts(
    found: Sequence[Artefact], suite: TaskSuite
) -> tuple[dict[str, dict[str, tuple[str, ...]]], list[Skip]]:
    """Chat prompts as each model wants them, by model and language."""
    rendered: dict[str, dict[str, tuple[str, ...]]] = {}
    skipped: list[Skip] = []
    for artefact in found:
        try:
            rendered[artefact.model.id] = chat.rendered(artefact, suite.languages, suite.prompts)
        except HarnessError as error:
            model_id = artefact.model.id
            skipped += [_skip(model_id, error, f"chat-{name}") for name in suite.languages]
    return rendered, skipped
