"""Models, devices and profiles out of YAML. Only the parent imports this.

    text ─▶ nodes with line numbers ─▶ plain data ─▶ frozen dataclasses ─▶ cross checks
    `────────────── specyaml ──────────────────────────────────────────´   `─ here ─´

Whatever is wrong ends in a `SpecError` that names the file and line, the value, what
would be right and the next command.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from harness.errors import SpecError, did_you_mean
from harness.extensions import targets
from harness.models.shapes import check_quantisation, context_of, find_shape
from harness.spec import DEFAULT_BACKEND, Catalogue, Device, Model, Profile, Source
from harness.specprofile import load_profile
from harness.specyaml import MOST, MOST_TOKENS, Document, Keys, listed

_HEX40 = re.compile(r"[0-9a-f]{40}")
_REPO = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
HUB_FILE_TYPES = (
    *(".gguf", ".onnx", ".onnx_data", ".onnx.data", ".safetensors"),
    *(".json", ".txt", ".model", ".jinja"),
)
"""What may be fetched: weights, graphs and texts, which are read as data."""
_NUMBERED = re.compile(r"(?<=\.onnx_data)_\d+$")  # large weights come in several files
_RUNS_CODE = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".py")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueFile:
    """The top level of a models file."""

    models: tuple[Model, ...]
    sets: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


# --- lookups ------------------------------------------------------------------------


def find_model(catalogue: Catalogue, model_id: str) -> Model:
    """The entry of one id.

    Raises:
        SpecError: there is none.
    """
    if model_id in catalogue.models:
        return catalogue.models[model_id]
    raise _unknown("model", model_id, catalogue.models, catalogue.path)


def find_set(catalogue: Catalogue, name: str) -> tuple[Model, ...]:
    """The models of a named set, in its order.

    Raises:
        SpecError: there is no such set.
    """
    if name in catalogue.sets:
        return tuple(catalogue.models[model_id] for model_id in catalogue.sets[name])
    raise _unknown("set", name, catalogue.sets, catalogue.path)


def _unknown(what: str, given: str, known: Iterable[str], where: str) -> SpecError:
    return SpecError(
        f"unknown {what} '{given}'{did_you_mean(given, known)}",
        where=where,
        allowed=listed(known),
        hint="harness models list",
        reason=f"unknown_{what}",
    )


def default_catalogue_path() -> Path:
    """`models.yaml` of the working folder, else the one that came with the program."""
    here = Path("models.yaml")
    return here if here.is_file() else built_in("models.yaml")


def device_files() -> dict[str, Path]:
    """Device files by name; those in `./devices` come before those of the program."""
    return {**_yaml_files(built_in("devices")), **_yaml_files(Path("devices"))}


def profile_files() -> dict[str, Path]:
    """Profile files by name. A file in `./profiles` never hides a profile of the program,
    or two machines could mean different things by `challenge`.
    """
    return {**_yaml_files(Path("profiles")), **_yaml_files(built_in("profiles"))}


def resolve_device(name_or_path: str) -> Device:
    """The device of a name (`this-machine`) or of a path (`my/laptop.yaml`).

    Raises:
        SpecError: there is none of this name, or its file is wrong.
    """
    hint = "harness run --device this-machine --dry-run"
    return load_device(_resolve(name_or_path, "device", device_files(), hint))


def resolve_profile(name_or_path: str) -> Profile:
    """The profile of a name (`quick`) or of a path (`my/profile.yaml`).

    Raises:
        SpecError: there is none of this name, or its file is wrong.
    """
    return load_profile(profile_path(name_or_path))


def profile_path(name_or_path: str) -> Path:
    """Where the profile of a name or path lies: held-out data is found relative to its folder.

    Raises:
        SpecError: there is none of this name.
    """
    hint = "harness run --profile quick --dry-run"
    return _resolve(name_or_path, "profile", profile_files(), hint)


def _resolve(given: str, what: str, known: Mapping[str, Path], hint: str) -> Path:
    if given in known:
        return known[given]
    path = Path(given)
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        return path
    raise SpecError(
        f"unknown {what} '{given}'{did_you_mean(given, known)}",
        allowed=f"{listed(known)}, or the path of a .yaml file",
        hint=hint,
        reason=f"unknown_{what}",
    )


def built_in(name: str) -> Path:
    """A file or folder of the program: profiles lie in the package; the rest is carried by
    a wheel in `harness/data` and stands in a checkout at its top level.
    """
    package = Path(__file__).parent
    places = (package / name, package / "data" / name, package.parent / name)
    return next((place for place in places if place.exists()), places[-1])


def _yaml_files(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


# --- the three kinds of file ------------------------------------------------------------


def load_catalogue(path: Path | str) -> Catalogue:
    """Read a models file.

    Raises:
        SpecError: with `file:line` of what is wrong.
    """
    document = Document.read(Path(path), hint="harness models list")
    _expand_sources(document)
    parsed = document.validate(CatalogueFile)
    entries: dict[str, Model] = {}
    for index, model in enumerate(parsed.models):
        where: Keys = ("models", index)
        _check_model(document, where, model)
        if model.id in entries:
            first = document.line(("models", list(entries).index(model.id), "id"))
            document.fail(
                (*where, "id"),
                f"id '{model.id}' is used twice, first in line {first}",
                allowed="ids that differ",
            )
        entries[model.id] = model
    for name, members in parsed.sets.items():
        _check_set(document, name, members, entries)
    return Catalogue(path=str(path), models=entries, sets=parsed.sets)


def load_device(path: Path | str) -> Device:
    """Read a device file.

    Raises:
        SpecError: with `file:line` of what is wrong.
    """
    document = Document.read(Path(path), hint=f"harness run --device {path} --dry-run")
    device = document.validate(Device)
    document.require_id(("id",), device.id)
    for name in ("physical_cores", "memory_bytes", "memory_budget_bytes"):
        value = getattr(device, name)
        if value is not None:
            document.require_range((name,), value, 1, MOST)
    if device.memory_bytes and (device.memory_budget_bytes or 0) > device.memory_bytes:
        document.fail(
            ("memory_budget_bytes",),
            f"memory_budget_bytes {device.memory_budget_bytes} is more than the machine has",
            allowed=f"at most memory_bytes, {device.memory_bytes}",
        )
    return device


# --- cross checks ---------------------------------------------------------------------


def _expand_sources(document: Document) -> None:
    """`source: embedded` is short for `source: {kind: embedded}`."""
    entries = document.data.get("models")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        source = entry.get("source") if isinstance(entry, dict) else None
        if source == "embedded":
            entry["source"] = {"kind": "embedded"}
        elif isinstance(source, str):
            document.fail(
                ("models", index, "source"),
                f"source '{source}' is not a source{did_you_mean(source, ['embedded'])}",
                allowed="embedded, {kind: file, path: …}, {kind: folder, path: …} "
                "{kind: hub, repo: …, files: […]} or {kind: synthetic, shape: …}",
            )


def _check_model(document: Document, where: Keys, model: Model) -> None:
    document.require_id((*where, "id"), model.id)
    document.require_id((*where, "family"), model.family)
    if not model.quantisation:
        document.fail((*where, "quantisation"), "quantisation is empty", allowed="q4_k_m, int4, …")
    document.require_range((*where, "context"), model.context, 0, MOST_TOKENS)
    _check_backend(document, where, model)
    options = model.options
    for name in ("threads", "threads_prefill"):
        document.require_range((*where, "options", name), getattr(options, name), 0, 1024)
    document.require_range((*where, "options", "context"), options.context, 0, MOST_TOKENS)
    document.require_range(
        (*where, "options", "batch_tokens"), options.batch_tokens, 1, MOST_TOKENS
    )
    _check_source(document, (*where, "source"), model.source)
    if model.source.kind == "synthetic":
        _check_synthetic(document, where, model)


def _check_backend(document: Document, where: Keys, model: Model) -> None:
    """A named backend exists, and a built-in one runs the entry's format."""
    ours = set(DEFAULT_BACKEND.values())
    if model.backend and model.backend not in ours:
        # Only now: to ask for other backends reads the metadata of all that is installed.
        known = ours | targets({}, "harness.backends").keys()
        if model.backend not in known:
            document.fail(
                (*where, "backend"),
                f"backend '{model.backend}' is not known{did_you_mean(model.backend, known)}",
                allowed=", ".join(sorted(known)),
            )
    if model.backend in ours and model.backend != DEFAULT_BACKEND[model.format]:
        document.fail(
            (*where, "backend"),
            f"backend '{model.backend}' does not run format '{model.format}'",
            allowed=DEFAULT_BACKEND[model.format],
        )


SOURCE_FIELDS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "embedded": (frozenset(), frozenset()),
    "file": (frozenset({"path"}), frozenset({"sha256"})),
    "folder": (frozenset({"path"}), frozenset({"sha256"})),
    "hub": (frozenset({"repo", "files"}), frozenset({"revision", "sha256"})),
    "synthetic": (frozenset({"shape"}), frozenset({"seed", "sha256"})),
}
"""Fields that each kind of source needs, and those that it may have."""


def _check_source(document: Document, where: Keys, source: Source) -> None:
    needed, possible = SOURCE_FIELDS[source.kind]
    given = {
        field.name
        for field in dataclasses.fields(Source)
        if field.name != "kind" and getattr(source, field.name)
    }
    for name in sorted(given - needed - possible):
        document.fail(
            (*where, name),
            f"a source of kind '{source.kind}' has no '{name}'",
            allowed=", ".join(sorted(needed | possible)) or "nothing beside the kind",
        )
    for name in sorted(needed - given):
        document.fail(
            where,
            f"a source of kind '{source.kind}' needs '{name}'",
            allowed=f"{name}: …",
        )
    if source.repo and not _REPO.fullmatch(source.repo):
        document.fail(
            (*where, "repo"), f"repo '{source.repo}' is not a repository", allowed="owner/name"
        )
    if source.revision and not _HEX40.fullmatch(source.revision):
        document.fail(
            (*where, "revision"),
            f"revision '{source.revision}' can move, a commit cannot",
            allowed="the full commit, 40 hex digits, or nothing while it is not known",
        )
    _check_files(document, (*where, "files"), source.files)
    for name, value in source.sha256.items():
        if source.kind == "hub" and name not in source.files:
            document.fail(
                (*where, "sha256", name),
                f"sha256 of '{name}', which is not one of the files"
                f"{did_you_mean(name, source.files)}",
                allowed=listed(source.files),
            )
        document.require_hex64((*where, "sha256", name), f"sha256 of '{name}'", value)


def _check_synthetic(document: Document, where: Keys, model: Model) -> None:
    """Random weights are of a known shape, in a form that can be written."""
    document.require_range((*where, "source", "seed"), model.source.seed, 0, MOST)
    shape = model.source.shape
    checks: tuple[tuple[Keys, Callable[[], object]], ...] = (
        (("source", "shape"), lambda: find_shape(shape)),
        (("quantisation",), lambda: check_quantisation(model.format, model.quantisation)),
        (("context",), lambda: context_of(shape, model.context)),
    )
    for keys, check in checks:
        try:
            check()
        except SpecError as error:
            document.fail((*where, *keys), error.message, allowed=error.allowed)


def _check_files(document: Document, where: Keys, files: Sequence[str]) -> None:
    """Names of files to fetch: inside the repository, of types that are data, each once."""
    for index, name in enumerate(files):
        if not _is_inside(name):
            document.fail(
                (*where, index),
                f"file '{name}' would lie outside the repository",
                allowed="a relative path with '/' and without '..'",
            )
        if not _NUMBERED.sub("", name.lower()).endswith(HUB_FILE_TYPES):
            why = (
                "may run code when it is opened" if name.endswith(_RUNS_CODE) else "is not fetched"
            )
            document.fail(
                (*where, index),
                f"file '{name}' {why}",
                allowed=f"files that end in {', '.join(HUB_FILE_TYPES)}",
            )
        if name in files[:index]:
            document.fail(
                (*where, index), f"file '{name}' is named twice", allowed="each file once"
            )


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(
        path.parts
        and not path.is_absolute()
        and ".." not in path.parts
        and not set(name) & set("\\:")
    )


def _check_set(
    document: Document, name: str, members: Sequence[str], models: Mapping[str, Model]
) -> None:
    where: Keys = ("sets", name)
    document.require_id(where, name, what="set")
    if name in models:
        document.fail(where, f"'{name}' is both a set and a model", allowed="two names")
    if not members:
        document.fail(where, f"set '{name}' is empty", allowed="a list of model ids")
    for index, member in enumerate(members):
        if member not in models:
            document.fail(
                (*where, index),
                f"set '{name}' names the unknown model '{member}'{did_you_mean(member, models)}",
                allowed=listed(models),
            )
        if member in members[:index]:
            document.fail(
                (*where, index),
                f"set '{name}' names '{member}' twice",
                allowed="each model once",
            )
