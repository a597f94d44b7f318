"""The header of a GGUF file, read without any engine: metadata and the list of tensors.

A model file may come from anywhere, and engines have crashed on forged headers. Every
count and length is therefore compared with the file's size, in integers that cannot
overflow, before anything is read or allocated. Layout (little-endian): magic, version,
number of tensors and of entries; entries (key, type, value); tensors (name, shape,
type, offset); padding; data. Arrays are skipped: a vocabulary takes most of a header,
and hardly anybody asks for it.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, Self, TypeAlias

from harness.errors import SpecError

MAGIC: Final = b"GGUF"
_HEADER: Final = struct.Struct("<4sIQQ")
_SCALARS: Final = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_STRING: Final = 8
_ARRAY: Final = 9
_U32: Final = _SCALARS[4]
_U64: Final = _SCALARS[10]

# Far above any model: the largest vocabularies have 300 thousand tokens.
_ENTRIES_MAX: Final = 1 << 16
_TENSORS_MAX: Final = 1 << 16
_ELEMENTS_MAX: Final = 1 << 24
_TEXT_BYTES_MAX: Final = 1 << 20
_HEADER_BYTES_MAX: Final = 64 << 20
_ALIGNMENTS: Final = {1 << bits for bits in range(17)}
_DIMENSIONS_MAX: Final = 4

BLOCKS: Final[Mapping[int, tuple[int, int]]] = {
    0: (1, 4),  # F32
    1: (1, 2),  # F16
    2: (32, 18),  # Q4_0
    3: (32, 20),  # Q4_1
    6: (32, 22),  # Q5_0
    7: (32, 24),  # Q5_1
    8: (32, 34),  # Q8_0
    9: (32, 40),  # Q8_1
    10: (256, 84),  # Q2_K
    11: (256, 110),  # Q3_K
    12: (256, 144),  # Q4_K
    13: (256, 176),  # Q5_K
    14: (256, 210),  # Q6_K
    15: (256, 292),  # Q8_K
    16: (256, 66),  # IQ2_XXS
    17: (256, 74),  # IQ2_XS
    18: (256, 98),  # IQ3_XXS
    19: (256, 50),  # IQ1_S
    20: (32, 18),  # IQ4_NL
    21: (256, 110),  # IQ3_S
    22: (256, 82),  # IQ2_S
    23: (256, 136),  # IQ4_XS
    24: (1, 1),  # I8
    25: (1, 2),  # I16
    26: (1, 4),  # I32
    27: (1, 8),  # I64
    28: (1, 8),  # F64
    29: (256, 56),  # IQ1_M
    30: (1, 2),  # BF16
    34: (256, 54),  # TQ1_0
    35: (256, 66),  # TQ2_0
    39: (32, 17),  # MXFP4
    40: (64, 36),  # NVFP4
    41: (128, 18),  # Q1_0
}
"""Elements and bytes of a block, by ggml's number of the type (`enum ggml_type`)."""


class Array(NamedTuple):
    """An array of the metadata that was skipped: its element type, length and place."""

    kind: int
    length: int
    start: int


Value: TypeAlias = bool | int | float | str | Array


class Tensor(NamedTuple):
    """One tensor: `shape` has the row length first; `offset` counts from the data's start."""

    name: str
    shape: tuple[int, ...]
    kind: int
    size_bytes: int
    offset: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufFile:
    """What a header says; `data_start` is the byte where tensor data begins."""

    path: Path
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    data_start: int

    def string_at(self, key: str, index: int) -> str | None:
        """One string of a string array, such as a token's text; None where there is none."""
        array = self.metadata.get(key)
        if not isinstance(array, Array) or array.kind != _STRING or not 0 <= index < array.length:
            return None
        with _Cursor(self.path) as cursor:
            cursor.at = array.start
            cursor.skip_strings(index)
            return cursor.text("an element of " + key)


def read_header(path: Path) -> GgufFile:
    """Read and check a header; one with 150 thousand tokens takes some hundredths of a second.

    Raises:
        SpecError: `wrong_format` (not GGUF, or what llama.cpp would not load), `truncated`
            (something ends behind the file's end), `too_large` (counts beyond any model).
        OSError: the file cannot be opened.
    """
    with _Cursor(path) as cursor:
        magic, version, tensor_count, entry_count = _HEADER.unpack(cursor.take(_HEADER.size))
        if magic != MAGIC:
            cursor.refuse(f"not a GGUF file (it begins with {magic!r})", "wrong_format")
        if version not in {2, 3}:
            cursor.refuse(f"GGUF version {version}, known are 2 and 3", "wrong_format")
        cursor.within("tensors", tensor_count, _TENSORS_MAX)
        cursor.within("metadata entries", entry_count, _ENTRIES_MAX)
        metadata = _metadata(cursor, entry_count)
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or alignment not in _ALIGNMENTS:
            cursor.refuse(f"general.alignment is {alignment!r}", "wrong_format")
        infos = [_tensor(cursor) for _ in range(tensor_count)]
        data_start = _padded(cursor.at, alignment)
        _check_places(cursor, infos, data_start, alignment)
        return GgufFile(
            path=path,
            metadata=metadata,
            tensors=tuple(infos),
            data_start=data_start,
        )


class _Cursor:
    """A place in a mapped file that only moves inside it."""

    def __init__(self, path: Path) -> None:
        self.at = 0
        self._path = path
        with path.open("rb") as file:
            self.size = file.seek(0, 2)
            self._end = min(self.size, _HEADER_BYTES_MAX)
            # Nothing can be mapped of an empty file.
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._data, mmap.mmap):
            self._data.close()

    def take(self, count: int) -> bytes:
        """The next bytes."""
        start = self.at
        self.skip(count)
        return self._data[start : self.at]

    def skip(self, count: int) -> None:
        """Move on, at most to the end."""
        if count > self._end - self.at:
            self._beyond(f"{count} bytes at byte {self.at}")
        self.at += count

    def number(self, form: struct.Struct) -> int:
        """The next integer."""
        value: int = form.unpack(self.take(form.size))[0]
        return value

    def text(self, what: str) -> str:
        """The next string: length and UTF-8."""
        length = self.number(_U64)
        self.within(f"bytes of {what}", length, _TEXT_BYTES_MAX)
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            self.refuse(f"{what} is not UTF-8", "wrong_format")

    def skip_strings(self, count: int) -> None:
        """Pass over strings; the hot loop of a header, so without a call for each."""
        at, end, data, read = self.at, self._end, self._data, _U64.unpack_from
        for _ in range(count):
            if at > end - 8:
                break
            at += 8 + read(data, at)[0]
        else:
            if at <= end:
                self.at = at
                return
        self._beyond("an array of strings")

    def _beyond(self, what: str) -> NoReturn:
        if self._end < self.size:
            self.refuse(f"{what}: a header of more than {self._end} bytes", "too_large")
        self.refuse(f"cut off: {what} of a file of {self.size}", "truncated")

    def within(self, what: str, count: int, most: int) -> None:
        """Refuse a count that no model has."""
        if count > most:
            self.refuse(f"{count} {what}, more than {most}", "too_large")

    def refuse(self, message: str, reason: str) -> NoReturn:
        """Say what is wrong with the file."""
        raise SpecError(
            message,
            where=str(self._path),
            allowed="a whole GGUF file, version 2 or 3",
            hint="fetch or export the model again",
            reason=reason,
        )


def _metadata(cursor: _Cursor, count: int) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for _ in range(count):
        key = cursor.text("a key")
        if key in found:
            cursor.refuse(f"two entries {key!r}", "wrong_format")
        found[key] = _value(cursor, key, cursor.number(_U32))
    return found


def _value(cursor: _Cursor, key: str, kind: int) -> Value:
    if form := _SCALARS.get(kind):
        scalar: bool | int | float = form.unpack(cursor.take(form.size))[0]
        return scalar
    if kind == _STRING:
        return cursor.text(key)
    if kind != _ARRAY:
        cursor.refuse(f"{key} has the unknown type {kind}", "wrong_format")
    array = Array(cursor.number(_U32), cursor.number(_U64), cursor.at)
    cursor.within(f"elements of {key}", array.length, _ELEMENTS_MAX)
    if array.kind == _STRING:
        cursor.skip_strings(array.length)
    elif array.kind in _SCALARS:
        cursor.skip(_SCALARS[array.kind].size * array.length)
    else:
        cursor.refuse(f"{key} has elements of the unknown type {array.kind}", "wrong_format")
    return array


def _tensor(cursor: _Cursor) -> Tensor:
    name = cursor.text("a tensor's name")
    dimensions = cursor.number(_U32)
    if not 1 <= dimensions <= _DIMENSIONS_MAX:
        cursor.refuse(f"{name} has {dimensions} dimensions", "wrong_format")
    shape = tuple(cursor.number(_U64) for _ in range(dimensions))
    kind, offset = cursor.number(_U32), cursor.number(_U64)
    if kind not in BLOCKS:
        cursor.refuse(f"{name} has the unknown type {kind}", "wrong_format")
    block, block_bytes = BLOCKS[kind]
    if 0 in shape or shape[0] % block:
        cursor.refuse(f"{name} has shape {shape} in blocks of {block}", "wrong_format")
    return Tensor(name, shape, kind, math.prod(shape) // block * block_bytes, offset)


def _check_places(cursor: _Cursor, tensors: list[Tensor], data_start: int, alignment: int) -> None:
    """Tensors follow each other without gaps, as llama.cpp requires, and end in the file."""
    if len({tensor.name for tensor in tensors}) < len(tensors):
        cursor.refuse("two tensors of one name", "wrong_format")
    expected = 0
    for tensor in tensors:
        if tensor.offset != expected:
            message = f"{tensor.name} is at {tensor.offset}, expected {expected}"
            cursor.refuse(message, "wrong_format")
        end = data_start + expected + tensor.size_bytes
        if end > cursor.size:
            cursor.refuse(
                f"cut off: {tensor.name} ends at byte {end} of a file of {cursor.size}", "truncated"
            )
        expected = _padded(expected + tensor.size_bytes, alignment)


def _padded(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment
