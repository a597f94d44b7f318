"""From a model entry, or a path on the command line, to an artefact with hashed files.

Nothing is downloaded here. What is absent or obviously broken is refused before an
engine sees it, with the path and the next command.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.errors import PrerequisiteError, SpecError
from harness.models import hub_cache, reference, safetensors_file
from harness.models.gguf_file import read_header
from harness.models.token_cost import weights_of
from harness.spec import Artefact, Format, Model, Source, file_sha256

_GGUF_MAGIC = b"GGUF"
_GGUF_HEADER_BYTES = 24
_ONNX_STAMP = b"\x72\x11\x0a\x09synthetic\x12\x04true"
"""`ModelProto.metadata_props {synthetic: true}` in a file; it stands behind the graph."""
_ONNX_TAIL_BYTES = 4096
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
    fetched: dict[str, Path] = {}
    if source.kind == "embedded":
        path = reference.materialise(model.id)
    elif source.kind == "hub":
        path, fetched = _fetched(model, base)
    else:
        path = (base / source.path).expanduser()
    try:
        path, files = check_files(path, model.format)
        # Of a repository only what the entry names belongs to the model.
        files = fetched or files
        hashes = {name: file_sha256(file) for name, file in files.items()}
        size_bytes = sum(file.stat().st_size for file in files.values())
    except OSError as error:
        raise PrerequisiteError(
            f"the model cannot be read: {error.strerror}",
            where=str(error.filename or path),
            hint="make it readable, or name another with --model PATH",
            reason="model_unreadable",
        ) from error
    for name, expected in source.sha256.items():
        if hashes.get(name) != expected.lower():
            raise SpecError(
                f"sha256 is {hashes.get(name, 'missing')}, the entry of {model.id} says {expected}",
                where=str(files.get(name, path)),
                hint=_fetch_again(model, base)
                if fetched
                else "fetch it again, or correct the entry",
                reason="hash_mismatch",
            )
    return Artefact(
        model=replace(
            model,
            context=model.context or _declared_context(files, model.format),
            synthetic=model.synthetic or _is_stamped(path, model.format),
        ),
        # The cache's links are kept: what they lead to has neither name nor neighbours.
        path=str(path.absolute() if fetched else path.resolve()),
        sha256=hashes,
        size_bytes=size_bytes,
        weights=weights_of(path, model.format),
    )


def _declared_context(files: Mapping[str, Path], kind: Format) -> int:
    """Longest context in tokens that the model's files declare; 0 = they do not say."""
    found: object = None
    files = {path.name: path for path in files.values()}
    try:
        if kind == "gguf":
            (model,) = files.values()
            metadata = read_header(model).metadata
            found = metadata.get(f"{metadata.get('general.architecture')}.context_length")
        elif path := files.get("genai_config.json"):
            found = json.loads(path.read_text("utf-8"))["model"].get("context_length")
        elif path := files.get("config.json"):
            config = json.loads(path.read_text("utf-8"))
            found = {**config.get("text_config", {}), **config}.get("max_position_embeddings")
    except (AttributeError, LookupError, OSError, SpecError, TypeError, ValueError):
        # Whoever opens the model says what is wrong with it.
        return 0
    return found if isinstance(found, int) and found > 0 else 0


def _is_stamped(path: Path, kind: Format) -> bool:
    """Whether a file of random weights says so: this project's exporters write it down."""
    try:
        if kind == "gguf":
            return read_header(path).metadata.get("harness.synthetic") is True
        if kind == "onnx":
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _ONNX_TAIL_BYTES))
                return _ONNX_STAMP in file.read()
    except (OSError, SpecError):
        pass  # whoever opens the model says what is wrong with it
    return False


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
        raise SpecError(
            f"'{path.suffix or path.name}' is not a model format",
            where=text,
            allowed="a .gguf file, an .onnx file, or a folder with an ONNX model or safetensors",
            hint="harness models list",
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
        quantisation=found.group(1).lower() if found else _stored_type(path, kind),
        source=Source(kind="folder" if path.is_dir() else "file", path=str(path.resolve())),
    )


def _folder_format(path: Path) -> Format:
    """Hugging Face's folders have a `config.json`; some of them hold ONNX graphs."""
    graphs = [*path.glob("*.onnx"), *path.glob("onnx/*.onnx"), *path.glob("genai_config.json")]
    return "safetensors" if (path / "config.json").is_file() and not graphs else "onnx"


def _stored_type(path: Path, kind: Format) -> str:
    """Of safetensors the type that weights are stored in; file names seldom say."""
    if kind == "safetensors":
        with contextlib.suppress(OSError, SpecError):  # whoever resolves the path says it
            return safetensors_file.stored_type(
                safetensors_file.read_header(safetensors_file.weight_files(path)[0])
            )
    return "unknown"


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
    if kind == "gguf":
        _check_gguf(path)
    elif kind == "safetensors":
        for file in safetensors_file.weight_files(path):
            safetensors_file.read_header(file)
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
            named = json.loads(config.read_text("utf-8"))["model"]["decoder"]["filename"]
        except (KeyError, TypeError, ValueError) as error:
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


def _check_gguf(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(_GGUF_HEADER_BYTES)
    if head[:4] != _GGUF_MAGIC:
        raise _wrong(path, f"not a GGUF file (it begins with {head[:4]!r})", "wrong_format")
    if len(head) < _GGUF_HEADER_BYTES:
        raise _wrong(path, "the file ends inside its header", "truncated")


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
