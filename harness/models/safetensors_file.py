"""Safetensors folders without any engine: which files hold the weights, and what they list.

A file is a length (8 bytes, little-endian), a JSON object of that length (tensor name →
type, shape, offsets) and the data. Lengths are compared with the file's size before
anything is read; data is never read here.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from harness.errors import SpecError

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt")

_HEADER_BYTES_MAX: Final = 100_000_000
"""The format's own limit."""

_TYPES: Final = {"F64": "f64", "F32": "f32", "F16": "f16", "BF16": "bf16"}


class Tensor(NamedTuple):
    """One entry of a header."""

    kind: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's weights, all of them present.

    Raises:
        SpecError: none, pickles instead, or a file that the index names is missing.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        pickles = sorted({file.name for pattern in PICKLES for file in folder.glob(pattern)})
        if pickles:
            raise SpecError(
                f"the only weights are pickles ({', '.join(pickles[:3])}), which can run code",
                where=str(folder),
                allowed=f"{WEIGHTS}, or shards with {INDEX}",
                hint="fetch a revision of the model that has .safetensors files",
                reason="weights_pickled",
            )
        _refuse(folder, f"no {WEIGHTS} in this folder", "wrong_format")
    try:
        names = set(json.loads((folder / INDEX).read_text("utf-8"))["weight_map"].values())
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        _refuse(folder / INDEX, f"no list of files in it: {error!r}", "bad_config")
    for name in names:
        plain = isinstance(name, str) and Path(name).name == name and "\\" not in name
        if not plain or not (folder / name).is_file():
            _refuse(folder / INDEX, f"there is no file {name!r} beside it", "bad_config")
    return sorted(folder / name for name in names)


def read_header(path: Path) -> dict[str, Tensor]:
    """Tensors of one file by name.

    Raises:
        SpecError: not a safetensors file, or one that was cut off.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(_HEADER_BYTES_MAX, size - 8):
            _refuse(path, f"not a safetensors file (it begins with {head!r})", "wrong_format")
        text = file.read(length)
    try:
        entries = json.loads(text)
        entries.pop("__metadata__", None)
        tensors = {name: _tensor(entry) for name, entry in entries.items()}
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        _refuse(path, f"its header cannot be read: {error!r}", "wrong_format")
    if 8 + length + end != size:
        _refuse(path, f"{8 + length + end} bytes are declared, {size} are there", "truncated")
    return tensors


def is_stamped(folder: Path) -> bool:
    """Whether the weights say that they are random.

    Raises:
        OSError, LookupError, ValueError, TypeError: there is no header to read.
    """
    path = folder / WEIGHTS
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(length, _HEADER_BYTES_MAX)))
    return bool(header["__metadata__"]["synthetic"] == "true")


def stored_type(tensors: dict[str, Tensor]) -> str:
    """`f32`, `f16`, `bf16` where all matrices are stored alike, otherwise `unknown`."""
    kinds = {tensor.kind for tensor in tensors.values() if len(tensor.shape) > 1}
    return _TYPES.get(kinds.pop(), "unknown") if len(kinds) == 1 else "unknown"


def _tensor(entry: Any) -> Tensor:
    shape = tuple(entry["shape"])
    if not all(isinstance(item, int) and item >= 0 for item in shape):
        raise ValueError(f"shape {shape}")
    return Tensor(str(entry["dtype"]), shape)


def _refuse(path: Path, message: str, reason: str) -> NoReturn:
    raise SpecError(
        message,
        where=str(path),
        allowed=f"a folder with config.json, tokenizer.json and whole weights in {WEIGHTS}",
        hint="fetch or export the model again",
        reason=reason,
    )
