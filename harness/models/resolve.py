"""From a model entry, or a path on the command line, to an artefact with hashed files.

Nothing is downloaded here. What is absent or broken is refused before an engine sees it,
with the path and the next command: links and types of files here, what they hold by
`preflight`, in a child. Hashes come last. A file that changes afterwards is found by its
hash, and can reach no further than the worker's confinement.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.errors import PrerequisiteError, SpecError
from harness.models import hub_cache, reference, safetensors_file, synth
from harness.preflight import Facts, archive, documents, folder, inspect
from harness.preflight.onnx_rules import broken, shown
from harness.spec import Artefact, Format, Model, Source, file_sha256

_TEXT_SUFFIXES = frozenset({".json", ".model", ".txt"})
_QUANTISATION = re.compile(
    r"(?:^|[._-])(q\d(?:_[0-9a-z]+)*|iq\d(?:_[a-z]+)?|f16|f32|bf16|fp16|fp32|int[48]|uint8)$",
    re.IGNORECASE,
)


def resolve(model: Model, base: Path) -> Artefact:
    """Locate a model's files, check their form, and hash them.

    Args:
        base: folder that relative paths of the entry start from.

    Raises:
        PrerequisiteError: the files are not here; `hint` is the command that mends it.
        SpecError: the path holds something else than the entry says.
    """
    source = model.source
    path, fetched = _place(model, base)
    try:
        if source.kind in {"file", "folder"} and _exists(path):
            folder.check(path)
        path, files = check_files(path, model.format)
        # Of a repository only what the entry names belongs to the model.
        files = fetched or files
        try:
            facts = _facts(path, model, files)
        except SpecError:
            # What became another file is better called so than by what is wrong inside it.
            _hashes(model, base, files)
            raise
        hashes = _hashes(model, base, files)
        size_bytes = sum(file.stat().st_size for file in files.values())
    except OSError as error:
        raise _unreadable(error, path) from error
    stored = facts.quantisation if model.quantisation == "unknown" else model.quantisation
    return Artefact(
        model=replace(
            model,
            context=model.context or facts.context,
            synthetic=model.synthetic or facts.synthetic or source.kind == "synthetic",
            quantisation=stored,
        ),
        # The cache's links are kept: what they lead to has neither name nor neighbours.
        path=str(path.absolute() if fetched else path.resolve()),
        sha256=hashes,
        size_bytes=size_bytes,
        weights=facts.weights,
        preflight="passed",  # or `_facts` had raised
    )


def files_of(found: Artefact) -> dict[Path, str]:
    """All files of an artefact and the hash of each: beside what is opened, in it, or around
    an ONNX graph's folder. Where some are missing, beside what is opened.
    """
    opened = Path(found.path)
    homes = (opened.parent, opened, opened.parent.parent)
    whole = (home for home in homes if all((home / name).exists() for name in found.sha256))
    home = next(whole, opened.parent)
    return {home / name: digest for name, digest in found.sha256.items()}


def _place(model: Model, base: Path) -> tuple[Path, dict[str, Path]]:
    """Where an entry's files lie, and of a repository those that the entry names."""
    kind = model.source.kind
    if kind == "hub":
        return _fetched(model, base)
    if kind == "embedded":
        return reference.materialise(model.id), {}
    if kind == "synthetic":
        return synth.locate(model), {}
    return (base / model.source.path).expanduser(), {}


def _hashes(model: Model, base: Path, files: Mapping[str, Path]) -> dict[str, str]:
    """The sha256 of each file, if they are those of the entry.

    Raises:
        SpecError: another file than the entry names.
    """
    hashes = {name: file_sha256(file) for name, file in files.items()}
    for name, expected in model.source.sha256.items():
        if hashes.get(name) != expected.lower():
            raise SpecError(
                f"sha256 is {hashes.get(name, 'missing')}, the entry of {model.id} says {expected}",
                where=str(files.get(name, name)),
                hint=_fetch_again(model, base)
                if model.source.kind == "hub"
                else "fetch it again, or correct the entry",
                reason="hash_mismatch",
            )
    return hashes


def _unreadable(error: OSError, path: Path) -> PrerequisiteError:
    return PrerequisiteError(
        f"the model cannot be read: {error.strerror}",
        where=str(error.filename or path),
        hint="make it readable, or name another with --model PATH",
        reason="model_unreadable",
    )


def _facts(path: Path, model: Model, files: Mapping[str, Path]) -> Facts:
    """What the files say; the embedded ones are our own, proven by their sha256.

    Raises:
        SpecError: a rule is broken, or the graph takes weights from a file outside `files`:
            the same hashes could then stand for another model.
    """
    if model.format == "fake":
        return Facts()
    if model.source.kind == "embedded":
        from harness.preflight import judge

        return Facts(**judge.facts(path, model.format))
    facts = inspect(path, model.format, submitted=False)
    hashed = {file.resolve() for file in files.values()}
    for name in facts.files:
        if (path.parent / name).resolve() not in hashed:
            raise broken("onnx_external_unhashed", str(path), f"{shown(name)} is not one of them")
    return facts


def judged(text: str) -> Facts:
    """What a path's files say, if they keep the rules for submissions; nothing is hashed.

    Raises:
        SpecError: the rule that is broken. PrerequisiteError: missing, or unreadable.
    """
    model = model_from_path(text)
    path = Path(model.source.path)
    try:
        folder.check(path)
        path, files = check_files(path, model.format)
        return _facts(path, model, files)
    except OSError as error:
        raise _unreadable(error, path) from error


def model_from_path(text: str) -> Model:
    """An entry for a GGUF file, an ONNX file or a folder named on the command line.

    Raises:
        PrerequisiteError: nothing is there.
        SpecError: it is none of them.
    """
    path = Path(text).expanduser()
    if path.suffix.lower() == ".safetensors" and path.is_file():
        path = path.parent
    if not _exists(path):
        raise PrerequisiteError(
            "no such file or folder",
            where=_printable(text),
            hint="harness models list",
            reason="model_missing",
        )
    if _printable(str(path.resolve())) != str(path.resolve()):
        raise SpecError(
            "the path is not valid text on this system",
            where=_printable(text),
            allowed="names in this system's encoding",
            hint="rename the file or its folder",
            reason="unreadable_name",
        )
    kind: Format
    if path.is_dir():
        kind = _folder_format(path)
    elif path.suffix.lower() == ".onnx":
        kind = "onnx"
    elif path.name.endswith(".fake.json"):
        kind = "fake"
    elif path.suffix.lower() == ".gguf":
        kind = "gguf"
    else:
        packed = archive.is_archive(path)
        raise SpecError(
            f"'{path.suffix or path.name}' is not a model format",
            where=text,
            allowed="a .gguf file, an .onnx file, or a folder with an ONNX model or safetensors",
            hint=f"harness models unpack {text} FOLDER" if packed else "harness models list",
            reason="unknown_format",
        )
    stem = path.resolve().name.removesuffix(".fake.json")
    stem = re.sub(r"\.(gguf|onnx|safetensors)$", "", stem, flags=re.IGNORECASE)
    found = _QUANTISATION.search(stem)
    family = stem[: found.start()] if found else stem
    return Model(
        id=_identifier(stem, kind),
        family=family.lower() or stem.lower(),
        format=kind,
        quantisation=found.group(1).lower() if found else "unknown",
        source=Source(kind="folder" if path.is_dir() else "file", path=str(path.resolve())),
    )


def _folder_format(path: Path) -> Format:
    """Hugging Face's folders have a `config.json`; some of them hold ONNX graphs."""
    graphs = [*path.glob("*.onnx"), *path.glob("onnx/*.onnx"), *path.glob("genai_config.json")]
    return "safetensors" if (path / "config.json").is_file() and not graphs else "onnx"


def _identifier(stem: str, kind: Format) -> str:
    """A model id for a file name: what ids cannot spell is replaced by a hash of the name."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip(".-_")
    if re.sub(r"[ -]+", "-", stem.lower()) != plain:
        mark = hashlib.sha256(stem.encode()).hexdigest()[:6]
        plain = f"{plain or 'model'}-{mark}"
    return f"{plain}.{kind}"


def _exists(path: Path) -> bool:
    """Whether something is there that may be looked at; never raises, unlike `Path.exists`."""
    return os.path.exists(path)  # noqa: PTH110


def _printable(text: str) -> str:
    """Text whose undecodable bytes are shown as question marks."""
    return text.encode("utf-8", "replace").decode()


def check_files(path: Path, kind: Format) -> tuple[Path, dict[str, Path]]:
    """What a backend opens, and its files by name, each non-empty and of its form.

    For ONNX this is the graph itself, with its weights, and the tokeniser and
    configuration around it: a folder may hold several graphs of one network. For
    safetensors it is the folder.

    Raises:
        PrerequisiteError: missing. SpecError: empty, truncated, or of another format.
    """
    if not _exists(path):
        raise PrerequisiteError(
            "the model file is missing",
            where=str(path),
            hint="put it there, or name another with --model PATH",
            reason="model_missing",
        )
    if kind == "onnx":
        path, files = _onnx_files(path)
    elif kind == "safetensors":
        files = _safetensors_files(path)
    elif path.is_dir():
        raise _wrong(path, f"this is a folder, not a {kind} file", "wrong_format")
    else:
        files = {path.name: path}
    for file in files.values():
        if file.stat().st_size == 0:
            raise _wrong(file, "the file is empty", "empty_file")
    return path, files


def _safetensors_files(folder: Path) -> dict[str, Path]:
    """Configuration, tokeniser and weights; what else the folder holds is not the model."""
    for name, reason in (("config.json", "bad_config"), ("tokenizer.json", "tokenizer_missing")):
        if not (folder / name).is_file():
            raise _wrong(folder, f"no {name} in this folder", reason)
    texts = [file for file in folder.iterdir() if file.suffix in {*_TEXT_SUFFIXES, ".jinja"}]
    files = sorted({*texts, *safetensors_file.weight_files(folder)})
    return {file.name: file for file in files if file.is_file()}


def _onnx_files(path: Path) -> tuple[Path, dict[str, Path]]:
    graph = path if path.is_file() else _onnx_graph(path)
    home = graph.parent
    if not (home / "tokenizer.json").is_file() and path != home:
        home = home.parent
    if not (home / "tokenizer.json").is_file():
        raise _wrong(path, "no tokenizer.json beside the ONNX model", "tokenizer_missing")
    others = [other.name for other in graph.parent.glob("*.onnx") if other != graph]
    # Weights outside the graph may have any name: whatever lies beside it counts.
    weights = [
        file
        for file in graph.parent.iterdir()
        if not file.name.startswith(".") and file.suffix != ".md"
        if not any(file.name.startswith(other) for other in others)
    ]
    texts = [file for file in home.iterdir() if file.suffix in _TEXT_SUFFIXES]
    files = sorted({graph, *weights, *texts})
    return graph, {file.relative_to(home).as_posix(): file for file in files if file.is_file()}


def _onnx_graph(folder: Path) -> Path:
    """The only graph of a folder, or the one that its `genai_config.json` names."""
    config = folder / "genai_config.json"
    if config.is_file():
        try:
            named = documents.read(config)["model"]["decoder"]["filename"]
        except (LookupError, TypeError) as error:
            raise _wrong(config, f"no model.decoder.filename: {error}", "bad_config") from error
        if Path(str(named)).name != named or not (folder / named).is_file():
            raise _wrong(config, f"there is no file '{named}' beside it", "bad_config")
        return folder / str(named)
    found = sorted([*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")])
    if not found:
        raise _wrong(folder, "no .onnx file in this folder", "wrong_format")
    if len(found) > 1:
        raise SpecError(
            f"{len(found)} ONNX models in this folder",
            where=str(folder),
            allowed="one of " + ", ".join(str(file) for file in found),
            hint=f"harness run --model {found[0]}",
            reason="ambiguous_folder",
        )
    return found[0]


def _wrong(path: Path, message: str, reason: str) -> SpecError:
    return SpecError(
        message,
        where=str(path),
        allowed="a whole .gguf file, or a folder with model.onnx or model.safetensors, "
        "and tokenizer.json",
        hint="fetch or export the model again",
        reason=reason,
    )


def hub_files(model: Model, base: Path) -> dict[str, Path]:
    """Files of a hub entry that are here, by their names in the repository.

    They lie in `models/ID` beside the models file if all of them do, else in the hub's cache.

    Raises:
        SpecError: a link leads out of the cache.
    """
    own = {name: base / "models" / model.id / name for name in model.source.files}
    return own if all(path.is_file() for path in own.values()) else hub_cache.pulled(model.source)


def _fetch_again(model: Model, base: Path) -> str:
    own = base / "models" / model.id
    first = f"remove {own}, then: " if own.is_dir() else ""  # it comes before the cache
    return f"{first}harness models pull {model.id}"


def _fetched(model: Model, base: Path) -> tuple[Path, dict[str, Path]]:
    """What a backend opens of a hub entry, and the files that the entry names.

    Raises:
        PrerequisiteError: they are not there; `hint` fetches them.
    """
    files = hub_files(model, base)
    own = base / "models" / model.id
    if any(path.is_relative_to(own) for path in files.values()):
        folder.check(own)
    missing = [name for name in model.source.files if name not in files]
    if missing:
        raise PrerequisiteError(
            f"{model.id} is not on this machine: {', '.join(missing)} missing",
            hint=f"harness models pull {model.id}",
            reason="not_pulled",
        )
    suffix = ".safetensors" if model.format == "safetensors" else f".{model.format}"
    weights = next((files[name] for name in files if name.endswith(suffix)), None)
    if weights is None:
        raise SpecError(
            f"none of the files of {model.id} is a model of format '{model.format}'",
            where=", ".join(files),
            allowed=f"a file that ends in {suffix}",
            hint="correct its entry in the models file",
            reason="wrong_format",
        )
    return (weights.parent if model.format == "safetensors" else weights), files
