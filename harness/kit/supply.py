"""What a kit measures and how: models, reference artefacts, profile, devices, licences."""

from __future__ import annotations

import dataclasses
import json
import re
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness import prepare, specfile
from harness.devices import LOCAL
from harness.errors import SpecError
from harness.kit.folder import Folder
from harness.kit.install import is_safe
from harness.models import reference, resolve
from harness.spec import Artefact, Model, Profile, Source, file_sha256, to_json

_LICENCE = re.compile(r"licen[cs]e|copying|notice|copyright", re.IGNORECASE)


class Choice(NamedTuple):
    """What was asked for, found and verified on this machine.

    Attributes:
        models: chosen entries, the profile's references, and all embedded models.
        artefacts: of those that are not embedded, by id.
        sets: named sets of the kit's models file; `default` are the chosen models.
        base: folder that the entries' paths start from.
    """

    models: tuple[Model, ...]
    artefacts: Mapping[str, Artefact]
    sets: Mapping[str, tuple[str, ...]]
    profile: Profile
    base: Path

    @property
    def formats(self) -> set[str]:
        """Formats of the chosen models."""
        return {model.format for model in self.models if model.id in self.sets["default"]}

    @property
    def size_bytes(self) -> int:
        """Files of all models together."""
        return sum(artefact.size_bytes for artefact in self.artefacts.values())


def choose(
    models: Sequence[str], set_name: str, profile: str, catalogue_path: Path | None
) -> Choice:
    """Find and hash the models of a kit.

    Raises:
        SpecError: an unknown name, or a file that is not what the entry says.
        PrerequisiteError: a model's files are not on this machine.
    """
    catalogue = specfile.load_catalogue(catalogue_path or specfile.default_catalogue_path())
    members = specfile.find_set(catalogue, set_name) if set_name else ()
    wanted = [*members, *(prepare.named_model(text, catalogue) for text in models)]
    found = specfile.resolve_profile(profile)
    fallbacks = [name for name in found.fallback_references if name in catalogue.models]
    entries = {
        model.id: model
        for model in (
            *(entry for entry in catalogue.models.values() if entry.source.kind == "embedded"),
            specfile.find_model(catalogue, found.reference),
            *(catalogue.models[name] for name in fallbacks),
            *wanted,
        )
    }
    sets = {"default": tuple(dict.fromkeys(model.id for model in wanted))}
    if members:
        sets.setdefault(set_name, tuple(model.id for model in members))
    base = Path(catalogue.path).parent
    return Choice(
        models=tuple(entries.values()),
        artefacts={
            name: resolve.resolve(model, base)
            for name, model in entries.items()
            if model.source.kind != "embedded"
        },
        sets=sets,
        profile=found,
        base=base,
    )


def place_models(folder: Folder, choice: Choice) -> None:
    """Copy the models' files, links resolved, and write the kit's models file.

    Raises:
        SpecError: a file changes while it is copied, or has a name that Windows refuses.
        RecordError: the disk is full.
    """
    entries = []
    for model in choice.models:
        artefact = choice.artefacts.get(model.id)
        entry = _short(_placed(folder, artefact, choice.base) if artefact else model)
        entries.append(json.dumps(entry, ensure_ascii=False))
    sets = (f"  {name}: {json.dumps(members)}" for name, members in choice.sets.items())
    lines = ["# Models of this kit: written by `harness kit`.", "models:"]
    lines += [f"  - {entry}" for entry in entries]
    folder.write("models.yaml", "\n".join([*lines, "sets:", *sets]) + "\n")


def _placed(folder: Folder, artefact: Artefact, base: Path) -> Model:
    """The entry of a model whose files have been copied into the kit."""
    place = f"models/{artefact.model.id}"
    declared = artefact.model.source
    found = Path(artefact.path)
    if declared.kind in {"file", "folder"}:
        # `found` has links resolved, and with them the names that lie beside each other.
        here = (base / declared.path).expanduser()
        found, _ = resolve.check_files(here, artefact.model.format)
    home = _home(artefact, found)
    for name, digest in artefact.sha256.items():
        if not is_safe(name):
            raise SpecError(
                f"'{name}' is no name that every system can have",
                where=artefact.path,
                allowed='names without \\ : * ? " < > | and control characters',
                hint="rename the file",
                reason="unreadable_name",
            )
        folder.copy(home / name, f"{place}/{name}", digest)
    opened = folder.root / place / found.relative_to(home)
    _, files = resolve.check_files(opened, artefact.model.format)
    source = Source(
        kind="folder" if opened.is_dir() else "file",
        path=opened.relative_to(folder.root).as_posix(),
        # A repository's names may start further up than those that a local folder gives.
        sha256={
            name: artefact.sha256[file.relative_to(folder.root / place).as_posix()]
            for name, file in files.items()
        },
    )
    return dataclasses.replace(artefact.model, source=source)


def _home(artefact: Artefact, opened: Path) -> Path:
    """The folder that the names of an artefact's files start from."""
    for home in (opened, *opened.parents):
        if all((home / name).is_file() for name in artefact.sha256):
            return home
    raise SpecError(
        "the model's files do not lie together: one is a link to another place",
        where=artefact.path,
        allowed="plain files in one folder",
        hint="replace the link by the file",
        reason="linked_file",
    )


def _origin(source: Source) -> str:
    """Where files come from, without a path of this machine."""
    if source.kind == "hub":
        return f"{source.repo} at {source.revision or 'an unknown revision'}"
    return {"embedded": "comes with the harness"}.get(source.kind, f"a {source.kind}")


def _short(model: Model) -> dict[str, Any]:
    """An entry of a models file: what is not as it would be without saying so."""
    entry = _told(model)
    entry["source"] = "embedded" if model.source.kind == "embedded" else _told(model.source)
    if "options" in entry:
        entry["options"] = _told(model.options)
    return entry


def _told(value: Any) -> dict[str, Any]:
    found = {}
    for field in dataclasses.fields(value):
        usual = field.default
        if field.default_factory is not dataclasses.MISSING:
            usual = field.default_factory()
        if (given := getattr(value, field.name)) != usual:
            found[field.name] = to_json(given)
    return found


def place_artefacts(folder: Folder, formats: Collection[str], *, k_quants: bool) -> None:
    """Make the embedded models, if need be, and copy them as the cache holds them.

    Args:
        formats: those that the kit has an engine for.
        k_quants: also those that llama.cpp makes, and that another build would make anew.
    """
    for model_id in reference.artefact_ids():
        if model_id.rsplit(".", 1)[1] not in formats or ("_k_" in model_id and not k_quants):
            continue
        made = reference.materialise(model_id)
        files = [made, made.with_name(f"{made.name}.json")] if made.is_file() else made.iterdir()
        for file in filter(Path.is_file, files):
            folder.copy(file, f"artefacts/{file.relative_to(made.parent).as_posix()}")


def place_profile(folder: Folder, name: str, profile: Profile) -> tuple[str, int]:
    """Copy a profile of one's own with its texts and held-out items.

    Returns:
        What `--profile` takes on the other machine, and how many files of held-out items
        are in the kit. Profiles of the program come with it.

    Raises:
        SpecError: a file is missing, has changed, or lies outside the profile's folder.
    """
    path = specfile.profile_path(name)
    if path in specfile.profile_files().values() and path.parent == specfile.built_in("profiles"):
        return profile.id, 0
    base = path.parent.resolve()
    suites = [suite for suite in (profile.suites.language, profile.suites.fidelity) if suite]
    texts = {base / file.path: file.sha256 for suite in suites for file in suite.files}
    own = prepare.own_items(name).values()
    secret = {Path(file).resolve(): digest for task in own for file, digest in task.sha256.items()}
    for file, digest in {path.resolve(): file_sha256(path), **texts, **secret}.items():
        inside = file.resolve()
        if not inside.is_relative_to(base) or not is_safe(inside.relative_to(base).as_posix()):
            raise SpecError(
                "the profile's file lies outside its folder",
                where=str(file),
                allowed=f"files below {base}",
                hint="move it there, and correct the profile",
                reason="outside_folder",
            )
        if not file.is_file():
            raise SpecError(
                "the profile names a file that is missing",
                where=str(file),
                hint="put it there, or correct the profile",
                reason="text_missing",
            )
        folder.copy(file, f"profiles/{inside.relative_to(base).as_posix()}", digest)
    return f"profiles/{path.name}", len(secret)


def place_devices(folder: Folder, names: Sequence[str]) -> None:
    """Copy the named devices, or all declared ones but this very machine.

    Raises:
        SpecError: there is no such device, or its file is wrong.
    """
    known = specfile.device_files()
    for name in names or [name for name in known if name != LOCAL]:
        path = known.get(name, Path(name))
        specfile.resolve_device(name)
        if path.stem == LOCAL:
            raise SpecError(
                f"device '{LOCAL}' declares this very machine, not the laptop that the kit is for",
                where=str(path),
                allowed=", ".join(other for other in known if other != LOCAL),
                hint="leave it out; on the laptop: harness devices probe",
                reason="local_device",
            )
        folder.copy(path, f"devices/{path.name}")


def place_licences(folder: Folder, wheels: Iterable[Path], choice: Choice) -> None:
    """Licence texts of every package, and a list of the models' licences."""
    for wheel in sorted(wheels):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                top, _, rest = name.partition("/")
                if top.endswith(".dist-info") and _LICENCE.search(rest) and is_safe(name):
                    text = archive.read(name).decode("utf-8", "replace")
                    package = top.removesuffix(".dist-info")
                    folder.write(f"licences/{package}/{rest.removeprefix('licenses/')}", text)
    rows = [
        f"{model.id}: {model.licence or 'unknown licence'}; commercial use "
        f"{_COMMERCIAL[model.commercial]}; {_origin(model.source)}"
        for model in choice.models
    ]
    folder.write("licences/models.txt", "\n".join(rows) + "\n")


_COMMERCIAL: Mapping[bool | None, str] = {
    True: "allowed",
    False: "FORBIDDEN (NC)",
    None: "unknown: read the licence",
}
