"""The header of a GGUF file, read without any engine: metadata and the list of tensors.

A model file may come from anywhere, and engines have crashed on forged headers. Every
count and length is therefore compared with the file's size, in integers that cannot
overflow, before anything is read or allocated. Layout (little-endian): magic, version,
number of tensors and of entries; entries (key, type, value); tensors (name, shape,
type, offset); padding; data. Arrays are skipped: a vocabulary takes most of a header,
and hardly anybody asks for it. What the values mean is judged by `preflight.gguf`.
"""

from __future__ import annotations

import math
import mmap
import struct
import sys
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, Self, TypeAlias

from harness.preflight.rules import refuse

MAGIC: Final = b"GGUF"
ALIGNMENT: Final = "general.alignment"
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
_BOOL: Final = 7
STRING: Final = 8
_ARRAY: Final = 9
_U32: Final = _SCALARS[4]
_U64: Final = _SCALARS[10]

# Far above any model: the largest vocabularies have 300 thousand tokens.
_ENTRIES_MAX: Final = 1 << 16
_TENSORS_MAX: Final = 1 << 16
_ELEMENTS_MAX: Final = 1 << 24
_TEXT_BYTES_MAX: Final = 1 << 20
_HEADER_BYTES_MAX: Final = 64 << 20
_ALIGNMENTS: Final = {1 << bits for bits in range(21)}
_NAME_BYTES_MAX: Final = 63
_DIMENSIONS_MAX: Final = 4
_ELEMENTS_END: Final = 1 << 63

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


class GgufFile(NamedTuple):
    """What a header says; `data_start` is the byte where tensor data begins."""

    path: Path
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    data_start: int

    def string_at(self, key: str, index: int) -> str | None:
        """One string of a string array, such as a token's text; None where there is none."""
        found = self.metadata.get(key)
        if not isinstance(found, Array) or found.kind != STRING or not 0 <= index < found.length:
            return None
        with _Cursor(self.path) as cursor:
            cursor.at = found.start
            cursor.skip_strings(index, key)
            return cursor.text("an element of " + key)

    def strings(self, found: Array) -> list[bytes]:
        """All elements of a string array, which take several times its bytes."""
        with _Cursor(self.path) as cursor:
            return cursor.strings(found)

    def integers(self, found: Array) -> array[int]:
        """All elements of an array of 32-bit integers (types 4 and 5)."""
        numbers = array("i" if found.kind == 5 else "I")
        with _Cursor(self.path) as cursor:
            cursor.at = found.start
            numbers.frombytes(cursor.take(numbers.itemsize * found.length))
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers


def read_header(path: Path) -> GgufFile:
    """Read and check a header; one with 150 thousand tokens takes some hundredths of a second.

    Raises:
        SpecError: the rule of `preflight.rules` that is broken, one of those for a header.
        OSError: the file cannot be opened.
    """
    with _Cursor(path) as cursor:
        magic = cursor.take(4)
        if magic != MAGIC:
            cursor.refuse("gguf_magic", f"not a GGUF file (it begins with {magic!r})", 0)
        version = cursor.number(_U32)
        if version not in {2, 3}:
            big = ": a file for big-endian machines" if version in {2 << 24, 3 << 24} else ""
            cursor.refuse("gguf_version", f"GGUF version {version}{big}", 4)
        tensor_count = cursor.count("tensors", _TENSORS_MAX)
        entry_count = cursor.count("metadata entries", _ENTRIES_MAX)
        metadata = _metadata(cursor, entry_count)
        alignment = metadata.get(ALIGNMENT, 32)
        if type(alignment) is not int or alignment not in _ALIGNMENTS:
            cursor.refuse("gguf_alignment", f"{ALIGNMENT} is {alignment!r}")
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
        self.skip(count, f"{count} bytes")
        return self._data[start : self.at]

    def skip(self, count: int, what: str) -> None:
        """Move on, at most to the end."""
        if count > self._end - self.at:
            self._beyond(what)
        self.at += count

    def number(self, form: struct.Struct) -> int:
        """The next integer."""
        value: int = form.unpack(self.take(form.size))[0]
        return value

    def count(self, what: str, most: int) -> int:
        """The next count, no larger than any model's."""
        place, found = self.at, self.number(_U64)
        if found > most:
            self.refuse("gguf_count", f"{found} {what}, more than {most}", place)
        return found

    def text(self, what: str, rule: str = "gguf_value") -> str:
        """The next string: length and UTF-8."""
        place = self.at
        data = self.take(self.count(f"bytes of {what}", _TEXT_BYTES_MAX))
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            self.refuse(rule, f"{what} is not UTF-8", place)

    def skip_strings(self, count: int, what: str) -> None:
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
        self._beyond(f"{count} texts of {what}")

    def strings(self, found: Array) -> list[bytes]:
        """Elements of an array whose lengths have been checked."""
        at, data, read = found.start, self._data, _U64.unpack_from
        texts = []
        for _ in range(found.length):
            start = at + 8
            at = start + read(data, at)[0]
            texts.append(data[start:at])
        return texts

    def _beyond(self, what: str) -> NoReturn:
        if self._end < self.size:
            self.refuse("gguf_count", f"{what}: a header of more than {self._end} bytes")
        self.refuse("gguf_truncated", f"cut off: {what} of a file of {self.size} bytes")

    def refuse(self, rule: str, message: str, place: int | str | None = None) -> NoReturn:
        """Say what is wrong, and where: by default here."""
        if not isinstance(place, str):
            place = f"byte {self.at if place is None else place}"
        refuse(self._path, rule, message, place=place)


def _metadata(cursor: _Cursor, count: int) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for _ in range(count):
        place = cursor.at
        key = cursor.text("a key", "gguf_key")
        if key in found or not key:
            message = f"two entries {key!r}" if key else "an empty key"
            cursor.refuse("gguf_key", message, place)
        kind = cursor.number(_U32)
        if key == ALIGNMENT and kind != 4:
            cursor.refuse("gguf_alignment", f"{ALIGNMENT} has type {kind}, not 4 (uint32)", place)
        found[key] = _value(cursor, key, kind)
    return found


def _value(cursor: _Cursor, key: str, kind: int) -> Value:
    place = cursor.at
    if form := _SCALARS.get(kind):
        data = cursor.take(form.size)
        if kind == _BOOL and data[0] > 1:
            cursor.refuse("gguf_value", f"{key} is a truth value of {data[0]}", place)
        scalar: bool | int | float = form.unpack(data)[0]
        return scalar
    if kind == STRING:
        return cursor.text(key)
    if kind != _ARRAY:
        cursor.refuse("gguf_value", f"{key} has the unknown type {kind}", place)
    element = cursor.number(_U32)
    length = cursor.count(f"elements of {key}", _ELEMENTS_MAX)
    found = Array(element, length, cursor.at)
    if element == STRING:
        cursor.skip_strings(length, key)
    elif element in _SCALARS:
        cursor.skip(_SCALARS[element].size * length, f"{length} elements of {key}")
    else:
        cursor.refuse("gguf_value", f"{key} has elements of the unknown type {element}", place)
    return found


def _tensor(cursor: _Cursor) -> Tensor:
    place = cursor.at
    name = cursor.text("a tensor's name", "gguf_tensor_name")
    if not 1 <= len(name.encode()) <= _NAME_BYTES_MAX:
        message = f"a tensor's name of {len(name.encode())} bytes"
        cursor.refuse("gguf_tensor_name", message, place)
    where = f"tensor {name!r}"
    dimensions = cursor.number(_U32)
    if not 1 <= dimensions <= _DIMENSIONS_MAX:
        cursor.refuse("gguf_tensor_shape", f"it has {dimensions} dimensions", where)
    shape = tuple(cursor.number(_U64) for _ in range(dimensions))
    kind, offset = cursor.number(_U32), cursor.number(_U64)
    if kind not in BLOCKS:
        cursor.refuse("gguf_tensor_type", f"it has the unknown type {kind}", where)
    block, block_bytes = BLOCKS[kind]
    elements = math.prod(shape)
    if 0 in shape or shape[0] % block or elements >= _ELEMENTS_END:
        message = f"it has shape {shape} in blocks of {block}"
        cursor.refuse("gguf_tensor_shape", message, where)
    return Tensor(name, shape, kind, elements // block * block_bytes, offset)


def _check_places(cursor: _Cursor, tensors: list[Tensor], data_start: int, alignment: int) -> None:
    """Tensors follow each other without gaps, as llama.cpp requires, and end in the file."""
    names: set[str] = set()
    expected = 0
    for tensor in tensors:
        where = f"tensor {tensor.name!r}"
        if tensor.name in names:
            cursor.refuse("gguf_tensor_name", "two tensors of one name", where)
        names.add(tensor.name)
        if tensor.offset != expected:
            message = f"it is at {tensor.offset}, expected {expected}"
            cursor.refuse("gguf_tensor_place", message, where)
        end = data_start + expected + tensor.size_bytes
        if end > cursor.size:
            message = f"cut off: it ends at byte {end} of a file of {cursor.size} bytes"
            cursor.refuse("gguf_tensor_outside", message, where)
        expected = _padded(expected + tensor.size_bytes, alignment)


def _padded(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment
