"""From a model entry, or a path on the command line, to an artefact with hashed files.

Nothing is downloaded here. What is absent or obviously broken is refused before an
engine sees it, with the path and the next command.
"""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import PrerequisiteError, SpecError
from harness.models import reference
from harness.spec import MODEL_ID, Artefact, Format, Model, Source, file_sha256

_GGUF_MAGIC = b"GGUF"
_GGUF_HEADER_BYTES = 24
_HASHED_SUFFIXES = frozenset({".onnx", ".json", ".data", ".txt", ".model", ".onnx_data"})
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
    if source.kind == "embedded":
        path = reference.materialise(model.id)
    elif source.kind == "hub":
        raise PrerequisiteError(
            f"{model.id} is not on this machine",
            hint=_fetch(model),
            reason="model_missing",
        )
    else:
        path = (base / source.path).expanduser()
    try:
        files = check_files(path, model.format)
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
                hint="fetch the file again, or correct the entry",
                reason="hash_mismatch",
            )
    return Artefact(
        model=model,
        path=str(path.resolve()),
        sha256=hashes,
        size_bytes=size_bytes,
    )


def model_from_path(text: str) -> Model:
    """An entry for a GGUF file, an ONNX file or an ONNX folder named on the command line.

    Raises:
        PrerequisiteError: nothing is there.
        SpecError: it is neither.
    """
    path = Path(text).expanduser()
    if not path.exists():
        raise PrerequisiteError(
            "no such file or folder", where=text, hint="harness models list", reason="model_missing"
        )
    kind: Format
    if path.is_dir() or path.suffix == ".onnx":
        kind = "onnx"
    elif path.name.endswith(".fake.json"):
        kind = "fake"
    elif path.suffix == ".gguf":
        kind = "gguf"
    else:
        raise SpecError(
            f"'{path.suffix or path.name}' is not a model format",
            where=text,
            allowed="a .gguf file, an .onnx file, or a folder with an ONNX model",
            hint="harness models list",
            reason="unknown_format",
        )
    stem = path.resolve().name.removesuffix(".fake.json")
    stem = re.sub(r"\.(gguf|onnx)$", "", stem, flags=re.IGNORECASE)
    found = _QUANTISATION.search(stem)
    family = stem[: found.start()] if found else stem
    identifier = re.sub(r"[^a-z0-9._-]+", "-", f"{stem}.{kind}".lower()).lstrip(".-_")
    if not MODEL_ID.fullmatch(identifier):
        identifier = f"model.{kind}"
    return Model(
        id=identifier,
        family=family.lower() or identifier,
        format=kind,
        quantisation=found.group(1).lower() if found else "unknown",
        source=Source(kind="folder" if path.is_dir() else "file", path=str(path.resolve())),
    )


def check_files(path: Path, kind: Format) -> dict[str, Path]:
    """Files of an artefact by name relative to it, each known to be non-empty and of its form.

    Raises:
        PrerequisiteError: missing. SpecError: empty, truncated, or of another format.
    """
    if not path.exists():
        raise PrerequisiteError(
            "the model file is missing",
            where=str(path),
            hint="put it there, or name another with --model PATH",
            reason="model_missing",
        )
    if kind == "onnx":
        files = _onnx_files(path)
    elif path.is_dir():
        raise _wrong(path, f"this is a folder, not a {kind} file", "wrong_format")
    else:
        files = {path.name: path}
    for file in files.values():
        if file.stat().st_size == 0:
            raise _wrong(file, "the file is empty", "empty_file")
    if kind == "gguf":
        _check_gguf(path)
    return files


def _onnx_files(path: Path) -> dict[str, Path]:
    folder = path if path.is_dir() else path.parent
    files = {
        file.relative_to(folder).as_posix(): file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and (file.suffix in _HASHED_SUFFIXES or ".onnx" in file.name)
    }
    if not any(name.endswith(".onnx") for name in files):
        raise _wrong(path, "no .onnx file in this folder", "wrong_format")
    if not any(name.endswith("tokenizer.json") for name in files):
        raise _wrong(path, "no tokenizer.json beside the ONNX model", "tokenizer_missing")
    return files


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
        allowed="a whole .gguf file, or a folder with model.onnx and tokenizer.json",
        hint="fetch or export the model again",
        reason=reason,
    )


def _fetch(model: Model) -> str:
    """How a person gets the files of a hub entry, until this release can pull them."""
    source = model.source
    revision = f" --revision {source.revision}" if source.revision else ""
    files = " ".join(source.files)
    folder = f"models/{model.id}"
    target = f"{folder}/{source.files[0]}" if model.format == "gguf" and source.files else folder
    return (
        f"hf download {source.repo}{f' {files}' if files else ''}{revision} "
        f"--local-dir {folder}, then harness run --model {target}"
    )
