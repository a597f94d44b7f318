"""The embedded reference models: float16 weights in the package, engines' files in a cache.

`materialise` returns the path of an artefact (a file for GGUF, otherwise a folder).
On first use it is made from the shipped weights in a temporary folder beside its
place, compared with the sha256 values in `weights/artefacts.json` and moved in
file by file, so that two processes may do so at once. A cached file that no
longer matches is made anew. K-quants come from llama.cpp and differ from build to
build: their hash is recorded in the cache with the build that made them.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from harness.durable import write_whole
from harness.errors import HarnessError, PrerequisiteError, SpecError, did_you_mean, install_hint
from harness.models import quantise
from harness.models.export_gguf import export_gguf
from harness.models.export_onnx import export_onnx
from harness.models.export_safetensors import export_safetensors
from harness.models.network import Network
from harness.spec import canonical, file_sha256

NETWORKS: Final = ("ref-4m", "ref-2m")
VARIANTS: Final = (
    "f16.gguf",
    "q8_0.gguf",
    "q4_0.gguf",
    "q4_k_m.gguf",
    "fp32.onnx",
    "int8.onnx",
    "int4.onnx",
    "f32.safetensors",
)

WEIGHTS: Final = Path(__file__).parent / "weights"
"""`<network>.safetensors`, one `tokenizer.json` for both, `artefacts.json`."""

Hashes: TypeAlias = Mapping[str, str]
"""File name inside the artefact's folder (for GGUF: beside it) to sha256."""


def artefact_ids() -> tuple[str, ...]:
    """Model ids of every embedded artefact, `network.quant.format`."""
    return tuple(f"{network}.{variant}" for network in NETWORKS for variant in VARIANTS)


def network(name: str) -> Network:
    """Open the network `name` (one of `NETWORKS`) as it was trained, float16."""
    return Network.load(WEIGHTS / f"{name}.safetensors", WEIGHTS / "tokenizer.json")


def cache_folder() -> Path:
    """Where artefacts are kept: `HARNESS_CACHE`, or the user's cache folder."""
    if chosen := os.environ.get("HARNESS_CACHE"):
        return Path(chosen).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("sllm-harness", appauthor=False))


def shipped_hashes() -> dict[str, dict[str, str]]:
    """sha256 of every file of every artefact that is the same on all machines."""
    try:
        text = (WEIGHTS / "artefacts.json").read_text("utf-8")
    except FileNotFoundError:
        return {}
    hashes: dict[str, dict[str, str]] = json.loads(text)
    return hashes


def materialise(model_id: str, cache_dir: Path | None = None) -> Path:
    """Path of an embedded artefact, made if it is missing and verified if it is there.

    Args:
        model_id: one of `artefact_ids()`.
        cache_dir: instead of `cache_folder()`.

    Raises:
        SpecError: no such artefact.
        PrerequisiteError: a package is missing, or the cache cannot be written.
        HarnessError: what was made does not have the shipped hash.
    """
    if model_id not in artefact_ids():
        raise SpecError(
            f"no embedded model {model_id!r}{did_you_mean(model_id, artefact_ids())}",
            allowed=", ".join(artefact_ids()),
        )
    cache = cache_dir or cache_folder()
    path = cache / model_id
    try:
        cache.mkdir(parents=True, exist_ok=True)
        if _is_k_quant(model_id):
            _ensure_k_quant(model_id, cache)
        else:
            expected = _shipped(model_id)
            if not _intact(_folder(path), expected):
                _make(model_id, cache, expected)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot keep the reference models here: {error}",
            where=str(cache),
            hint="set HARNESS_CACHE to a folder that can be written",
        ) from error
    return path


def write_hashes() -> Path:
    """Make every artefact anew and write `artefacts.json`: after training, or a new format."""
    hashes: dict[str, Hashes] = {}
    for model_id in filter(lambda name: not _is_k_quant(name), artefact_ids()):
        with tempfile.TemporaryDirectory() as temporary:
            _export(model_id, Path(temporary), Path(temporary))
            hashes[model_id] = _hashes(Path(temporary))
    path = WEIGHTS / "artefacts.json"
    path.write_text(json.dumps(hashes, indent=2) + "\n", "utf-8", newline="\n")
    return path


def _is_k_quant(model_id: str) -> bool:
    return model_id.split(".")[1] in quantise.FORMATS


def _folder(path: Path) -> Path:
    """Where the files of the artefact at `path` lie."""
    return path.parent if path.suffix == ".gguf" else path


def _shipped(model_id: str) -> Hashes:
    try:
        return shipped_hashes()[model_id]
    except KeyError:
        raise PrerequisiteError(
            f"no sha256 is recorded for {model_id}",
            where=str(WEIGHTS / "artefacts.json"),
            hint="python -m harness.models.reference --write-hashes",
        ) from None


def _ensure_k_quant(model_id: str, cache: Path) -> None:
    """Have llama.cpp make `model_id` unless this build made the cached file from these weights."""
    source = model_id.split(".", 1)[0] + ".f16.gguf"
    origin = {"llama_cpp": quantise.library_hash(), "source": _shipped(source)[source]}
    record = cache / f"{model_id}.json"
    try:
        known = json.loads(record.read_text("utf-8"))
        if known["origin"] == origin and _intact(cache, known["files"]):
            return
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        pass  # no record, or a damaged one: both mean making it
    made = _make(model_id, cache, None)
    write_whole(record, canonical({"origin": origin, "files": made}))


def _make(model_id: str, cache: Path, expected: Hashes | None) -> Hashes:
    """Export into a temporary folder, compare, move into place; returns the hashes."""
    target = _folder(cache / model_id)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=cache) as temporary:
        made = Path(temporary)
        _export(model_id, made, cache)
        found = _hashes(made)
        for name in sorted(found.keys() | (expected or found).keys()):
            wanted = (expected or found).get(name)
            if found.get(name) != wanted:
                raise HarnessError(
                    f"{name} of {model_id} came out with sha256 {found.get(name)}, "
                    f"expected {wanted}: weights, exporter or packages are not the released ones",
                    where=str(WEIGHTS),
                    hint=install_hint("--reinstall", "gguf", "onnx")
                    + ", or a whole copy of harness",
                    reason="hash_mismatch",
                )
        target.mkdir(exist_ok=True)
        for name, digest in found.items():
            _adopt(made / name, target / name, digest)
    return found


def _export(model_id: str, folder: Path, cache: Path) -> None:
    """Write the files of `model_id` into `folder`; K-quants start from `cache`'s float16 file."""
    name, quant, kind = model_id.split(".")
    if quant in quantise.FORMATS:
        quantise.quantise(materialise(f"{name}.f16.gguf", cache), folder / model_id, quant)
    elif kind == "gguf":
        export_gguf(network(name), folder / model_id, quant)
    elif kind == "safetensors":
        export_safetensors(network(name), folder, quant)
    else:
        export_onnx(network(name), folder, quant)


def _adopt(made: Path, target: Path, digest: str) -> None:
    """Move one file into place; another process may just have done so.

    Windows refuses to replace a file that is open; one with the same bytes will do.
    """
    try:
        made.replace(target)
    except PermissionError:
        if not target.is_file() or file_sha256(target) != digest:
            raise


def _intact(folder: Path, expected: Hashes) -> bool:
    try:
        return all(file_sha256(folder / name) == digest for name, digest in expected.items())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir())}


if __name__ == "__main__":
    if sys.argv[1:] != ["--write-hashes"]:
        sys.exit("usage: python -m harness.models.reference --write-hashes")
    sys.stdout.write(f"{write_hashes()}\n")
