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
from harness.preflight import documents
from harness.preflight.rules import refuse

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
_PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_HEADER_BYTES_MAX: Final = 64 << 20

_TYPES: Final = {"F64": "f64", "F32": "f32", "F16": "f16", "BF16": "bf16"}
_BITS: Final = {
    **dict.fromkeys(("F64", "I64", "U64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F4",), 4),
}
"""Bits of an element by the format's name of the type."""


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
        SpecError: none, pickles instead, an index that cannot be read, or a file that it names
            is missing.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        pickles = sorted({file.name for pattern in _PICKLES for file in folder.glob(pattern)})
        if pickles:
            raise SpecError(
                f"the only weights are pickles ({', '.join(pickles[:3])}), which can run code",
                where=str(folder),
                allowed=f"{WEIGHTS}, or shards with {INDEX}",
                hint="fetch a revision of the model that has .safetensors files",
                reason="weights_pickled",
            )
        _refuse(folder, f"no {WEIGHTS} in this folder", "wrong_format")
    shards = documents.read(folder / INDEX).get("weight_map")
    names = set(map(str, shards.values())) if isinstance(shards, dict) else set()
    if not names:
        _refuse(folder / INDEX, "no list of files in it", "bad_config")
    for name in names:
        # A name with a folder in it may lead anywhere.
        plain = Path(name).name == name and "\\" not in name and name.endswith(".safetensors")
        if not plain or not (folder / name).is_file():
            _refuse(folder / INDEX, f"there is no file {name!r} of weights beside it", "bad_config")
    return sorted(folder / name for name in names)


def read_header(path: Path) -> dict[str, Tensor]:
    """Tensors of one file by name, in the order of their data.

    Raises:
        SpecError: `safetensors_header` or `safetensors_place`.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(_HEADER_BYTES_MAX, size - 8):
            message = f"a header of {length} bytes in a file of {size}"
            refuse(path, "safetensors_header", message, place="byte 0")
        text = file.read(length)
    try:
        entries = json.loads(text)
        entries.pop("__metadata__", None)
        read = {name: _entry(value) for name, value in entries.items()}
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        refuse(path, "safetensors_header", f"it cannot be read: {error!r:.200}", place="byte 8")
    return _placed(path, read, size - 8 - length)


def _entry(value: dict[str, Any]) -> tuple[int, int, Tensor]:
    """Where a tensor's data begins and ends, and what it is."""
    start, end = value["data_offsets"]
    shape = tuple(value["shape"])
    if not all(type(item) is int and item >= 0 for item in (start, end, *shape)):
        raise ValueError(f"shape {shape}, offsets {start}, {end}")
    tensor = Tensor(value["dtype"], shape)
    if (end - start) * 8 != tensor.elements * _BITS[tensor.kind]:
        raise ValueError(f"{end - start} bytes of {tensor.kind} in shape {shape}")
    return start, end, tensor


def _placed(
    path: Path, read: dict[str, tuple[int, int, Tensor]], size_bytes: int
) -> dict[str, Tensor]:
    """One tensor begins where the one before it ended, and the last one ends the file."""
    at = 0
    ordered = sorted(read.items(), key=lambda item: item[1][:2])
    for name, (start, end, _) in ordered:
        if start != at:
            message = f"its data begin at {start}, expected {at}"
            refuse(path, "safetensors_place", message, place=f"tensor {name[:80]!r}")
        at = end
    if at != size_bytes:
        refuse(
            path, "safetensors_place", f"{at} bytes of data are declared, {size_bytes} are there"
        )
    return {name: tensor for name, (_, _, tensor) in ordered}


def is_stamped(folder: Path) -> bool:
    """Whether weights whose header can be read say that they are random; shards never do."""
    path = folder / WEIGHTS
    if not path.is_file():
        return False
    with path.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    metadata = header.get("__metadata__")
    return isinstance(metadata, dict) and metadata.get("synthetic") == "true"


def stored_type(tensors: dict[str, Tensor]) -> str:
    """`f32`, `f16`, `bf16` where all matrices are stored alike, otherwise `unknown`."""
    kinds = {tensor.kind for tensor in tensors.values() if len(tensor.shape) > 1}
    return _TYPES.get(kinds.pop(), "unknown") if len(kinds) == 1 else "unknown"


def _refuse(path: Path, message: str, reason: str) -> NoReturn:
    raise SpecError(
        message,
        where=str(path),
        allowed=f"a folder with config.json, tokenizer.json and whole weights in {WEIGHTS}",
        hint="fetch or export the model again",
        reason=reason,
    )
