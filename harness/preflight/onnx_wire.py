"""ONNX's protobuf messages, read from mapped bytes without any native parser.

`parse` walks every field of every message once. Lengths are compared with the message
around them before anything is read, integers are unbounded, weights are skipped: of them
only the place is kept. What two parsers could read differently is refused: a field given
twice is merged by one and overwritten by another, a wrong wire type is skipped by one.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness.preflight.onnx_rules import broken

FIELDS_MAX: Final = 1_000_000
TEXT_BYTES_MAX: Final = 32 << 20
DEPTH_MAX: Final = 48
"""Messages inside messages; protobuf's own parsers end at 100."""

_SCAN_BYTES: Final = 1 << 20
_CONTINUED: Final = bytes(range(0x80, 0x100))


class Span(NamedTuple):
    """A part of the file."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


class Field(NamedTuple):
    """`kind`: int, text, bytes, float, or a message's name; `data/…` is counted, not kept."""

    name: str
    kind: str
    repeated: bool = False


def _schema(text: str) -> dict[str, dict[int, Field]]:
    """Messages from lines `Message: number name kind, …`; a star marks what may repeat."""
    schema: dict[str, dict[int, Field]] = {}
    for line in text.strip().splitlines():
        message, _, fields = line.partition(":")
        schema[message.strip()] = {
            int(number): Field(name, kind.rstrip("*"), kind.endswith("*"))
            for number, name, kind in (field.split() for field in fields.split(","))
        }
    return schema


# Numbers of onnx.proto (IR version 14). A test compares them with the onnx package's.
SCHEMA: Final = _schema(
    "Model: 1 ir_version int, 8 opset_import OperatorSetId*, 2 producer_name text,"
    " 3 producer_version text, 4 domain text, 5 model_version int, 6 doc_string text,"
    " 7 graph Graph, 14 metadata_props StringStringEntry*, 20 training_info TrainingInfo*,"
    " 25 functions Function*, 26 configuration DeviceConfiguration*\n"
    "Graph: 1 node Node*, 2 name text, 5 initializer Tensor*,"
    " 15 sparse_initializer SparseTensor*, 10 doc_string text, 11 input ValueInfo*,"
    " 12 output ValueInfo*, 13 value_info ValueInfo*,"
    " 14 quantization_annotation TensorAnnotation*, 16 metadata_props StringStringEntry*\n"
    "Node: 1 input text*, 2 output text*, 3 name text, 4 op_type text, 7 domain text,"
    " 8 overload text, 5 attribute Attribute*, 6 doc_string text,"
    " 9 metadata_props StringStringEntry*, 10 device_configurations NodeDeviceConfiguration*\n"
    "Attribute: 1 name text, 21 ref_attr_name text, 13 doc_string text, 20 type int,"
    " 2 f float, 3 i int, 4 s bytes, 5 t Tensor, 6 g Graph, 22 sparse_tensor SparseTensor,"
    " 14 tp Type, 7 floats data/4*, 8 ints int*, 9 strings bytes*, 10 tensors Tensor*,"
    " 11 graphs Graph*, 23 sparse_tensors SparseTensor*, 15 type_protos Type*\n"
    "Tensor: 1 dims int*, 2 data_type int, 3 segment Segment, 4 float_data data/4*,"
    " 5 int32_data data/0*, 6 string_data bytes*, 7 int64_data data/0*, 8 name text,"
    " 12 doc_string text, 9 raw_data bytes, 13 external_data StringStringEntry*,"
    " 14 data_location int, 10 double_data data/8*, 11 uint64_data data/0*,"
    " 16 metadata_props StringStringEntry*\n"
    "SparseTensor: 1 values Tensor, 2 indices Tensor, 3 dims int*\n"
    "Function: 1 name text, 4 input text*, 5 output text*, 6 attribute text*,"
    " 11 attribute_proto Attribute*, 7 node Node*, 8 doc_string text,"
    " 9 opset_import OperatorSetId*, 10 domain text, 13 overload text,"
    " 12 value_info ValueInfo*, 14 metadata_props StringStringEntry*\n"
    "ValueInfo: 1 name text, 2 type Type, 3 doc_string text, 4 metadata_props StringStringEntry*\n"
    "Type: 1 tensor_type Tensor_, 4 sequence_type Sequence, 5 map_type Map,"
    " 9 optional_type Optional, 8 sparse_tensor_type Tensor_, 7 opaque_type Opaque,"
    " 6 denotation text\n"
    "Tensor_: 1 elem_type int, 2 shape TensorShape\n"
    "Sequence: 1 elem_type Type\n"
    "Optional: 1 elem_type Type\n"
    "Map: 1 key_type int, 2 value_type Type\n"
    "Opaque: 1 domain text, 2 name text\n"
    "TensorShape: 1 dim Dimension*\n"
    "Dimension: 1 dim_value int, 2 dim_param text, 3 denotation text\n"
    "OperatorSetId: 1 domain text, 2 version int\n"
    "StringStringEntry: 1 key text, 2 value text\n"
    "TensorAnnotation: 1 tensor_name text, 2 quant_parameter_tensor_names StringStringEntry*\n"
    "TrainingInfo: 1 initialization Graph, 2 algorithm Graph,"
    " 3 initialization_binding StringStringEntry*, 4 update_binding StringStringEntry*\n"
    "Segment: 1 begin int, 2 end int\n"
    "DeviceConfiguration: 1 name text, 2 num_devices int, 3 device text*\n"
    "NodeDeviceConfiguration: 1 configuration_id text, 2 sharding_spec ShardingSpec*,"
    " 3 pipeline_stage int\n"
    "ShardingSpec: 1 tensor_name text, 2 device int*, 3 index_to_device_group_map IntIntListEntry*,"
    " 4 sharded_dim ShardedDim*\n"
    "IntIntListEntry: 1 key int, 2 value int*\n"
    "ShardedDim: 1 axis int, 2 simple_sharding SimpleShardedDim*\n"
    "SimpleShardedDim: 1 dim_value int, 2 dim_param text, 3 num_shards int"
)

_WIRE: Final = {"int": 0, "float": 5, "data/0": 0, "data/4": 5, "data/8": 1}
"""Wire type of one value; everything else has a length in front (2)."""


class Message:
    """One message: where it lies, and its fields by name.

    A repeated field is a list; `data/…` is the number of values; `bytes` are `Span`s.
    """

    __slots__ = ("kind", "span", "values")

    def __init__(self, kind: str, span: Span) -> None:
        self.kind = kind
        self.span = span
        self.values: dict[str, Any] = {}

    def text(self, name: str) -> str:
        """A string, empty where it is absent."""
        found: str = self.values.get(name, "")
        return found

    def number(self, name: str, default: int = 0) -> int:
        """An integer, or how many values of data there are."""
        found: int = self.values.get(name, default)
        return found

    def one(self, name: str) -> Message | None:
        """A message inside, where there is one."""
        return self.values.get(name)

    def each(self, name: str) -> list[Message]:
        """The messages of a repeated field."""
        found: list[Message] = self.values.get(name, [])
        return found

    def all(self, single: str, repeated: str) -> list[Message]:
        """The messages of two fields, as attributes have them."""
        one = self.one(single)
        return [*self.each(repeated), *([one] if one else [])]

    def texts(self, name: str) -> list[str]:
        """The strings of a repeated field."""
        found: list[str] = self.values.get(name, [])
        return found

    def numbers(self, name: str) -> list[int]:
        """The integers of a repeated field."""
        found: list[int] = self.values.get(name, [])
        return found


class Reader:
    """Reads one file of messages; counts what it reads over all of them."""

    def __init__(self, data: bytes | mmap.mmap, name: str) -> None:
        self.data = data
        self.name = name
        self._count = 0
        self._text_bytes = 0

    def message(self, kind: str, span: Span, depth: int = 0) -> Message:
        """A message and all messages inside it.

        Raises:
            SpecError: truncated, malformed, unknown, ambiguous, or too much.
        """
        if depth > DEPTH_MAX:
            raise self._broken("onnx_limit", span.start, f"{depth} messages inside each other")
        message = Message(kind, span)
        values = message.values
        schema = SCHEMA[kind]
        for number, wire, at, value in self.fields(span):
            field = schema.get(number)
            if field is None:
                raise self._broken("onnx_unknown_field", at, f"{kind}Proto has no field {number}")
            if field.repeated and field.kind in _WIRE:
                self._numbers(field, wire, at, value, values)
                continue
            found = self._value(field, wire, at, value, depth)
            if field.repeated:
                values.setdefault(field.name, []).append(found)
            elif field.name in values:
                raise self._broken("onnx_ambiguous", at, f"a second {field.name} in {kind}Proto")
            else:
                values[field.name] = found
        return message

    def fields(self, span: Span) -> Iterator[tuple[int, int, int, int | Span]]:
        """Number, wire type, place, and integer or contents of every field of a message."""
        at, end = span
        data = self.data
        while at < end:
            start = at
            tag, at = data[at], at + 1  # nearly all of them take one byte
            if tag >= 0x80:
                tag, at = self._varint(start, end, minimal=True)
            number, wire = tag >> 3, tag & 7
            if not 0 < number < 1 << 29:
                raise self._broken("onnx_damaged", start, f"field number {number}")
            self._count += 1
            if self._count > FIELDS_MAX:
                raise self._broken("onnx_limit", start, f"more than {FIELDS_MAX} fields")
            value: int | Span
            if wire == 0:
                value, at = self._varint(at, end)
            elif wire in {1, 2, 5}:
                size = 8 if wire == 1 else 4
                if wire == 2 and at < end and data[at] < 0x80:
                    size, at = data[at], at + 1
                elif wire == 2:
                    size, at = self._varint(at, end, minimal=True)
                if size > end - at:
                    message = f"a field of {size} bytes where {end - at} are left"
                    raise self._broken("onnx_damaged", start, message)
                value, at = Span(at, at + size), at + size
            else:
                raise self._broken("onnx_damaged", start, f"wire type {wire}")
            yield number, wire, start, value

    def bytes(self, span: Span) -> bytes:
        """What stands there."""
        return self.data[span.start : span.end]

    def _value(self, field: Field, wire: int, at: int, value: int | Span, depth: int) -> Any:
        if wire != _WIRE.get(field.kind, 2):
            message = f"{field.name} with wire type {wire}"
            raise self._broken("onnx_ambiguous", at, message)
        if isinstance(value, int):
            return value - (1 << 64) if value >> 63 else value
        if field.kind in SCHEMA:
            return self.message(field.kind, value, depth + 1)
        if field.kind == "text":
            return self._text(field, value)
        return value

    def _text(self, field: Field, span: Span) -> str:
        self._text_bytes += span.size
        if self._text_bytes > TEXT_BYTES_MAX:
            raise self._broken(
                "onnx_limit", span.start, f"more than {TEXT_BYTES_MAX} bytes of text"
            )
        try:
            return self.bytes(span).decode()
        except UnicodeDecodeError:
            message = f"{field.name} is not UTF-8"
            raise self._broken("onnx_damaged", span.start, message) from None

    def _numbers(
        self, field: Field, wire: int, at: int, value: int | Span, values: dict[str, Any]
    ) -> None:
        """Add numbers of a repeated field, which stand one by one or packed."""
        single = _WIRE[field.kind]
        if wire not in {2, single}:
            raise self._broken("onnx_ambiguous", at, f"{field.name} with wire type {wire}")
        if field.kind == "int":
            found = values.setdefault(field.name, [])
            if isinstance(value, int):
                found.append(value - (1 << 64) if value >> 63 else value)
            else:
                found.extend(self._packed(value))
        else:
            count = 1
            if wire == 2 and isinstance(value, Span):
                count = self._packed_count(field, value)
            values[field.name] = values.get(field.name, 0) + count

    def _packed(self, span: Span) -> Iterator[int]:
        at = span.start
        while at < span.end:
            self._count += 1
            if self._count > FIELDS_MAX:
                raise self._broken("onnx_limit", at, f"more than {FIELDS_MAX} fields")
            value, at = self._varint(at, span.end)
            yield value - (1 << 64) if value >> 63 else value

    def _packed_count(self, field: Field, span: Span) -> int:
        """How many numbers are packed there; varints are told by their last bytes."""
        size = int(field.kind.removeprefix("data/"))
        if size:
            if span.size % size:
                message = f"{span.size} bytes of {field.name}, {size} each"
                raise self._broken("onnx_damaged", span.start, message)
            return span.size // size
        if span.size and self.data[span.end - 1] & 0x80:
            raise self._broken("onnx_damaged", span.end, f"{field.name} ends inside a number")
        parts = range(span.start, span.end, _SCAN_BYTES)
        return sum(
            len(self.data[part : min(part + _SCAN_BYTES, span.end)].translate(None, _CONTINUED))
            for part in parts
        )

    def _varint(self, at: int, end: int, *, minimal: bool = False) -> tuple[int, int]:
        """A number of at most 10 bytes, and where it ends."""
        value = 0
        for index in range(min(10, end - at)):
            byte = self.data[at + index]
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if value >> 64 or (minimal and index and not byte):
                    break
                return value, at + index + 1
        else:
            if end - at < 10:
                raise self._broken("onnx_damaged", at, "it ends inside a number")
        raise self._broken("onnx_damaged", at, "a number that is written too long")

    def _broken(self, rule: str, at: int, message: str) -> Exception:
        return broken(rule, f"{self.name}: byte {at}", message)


def read_model(path: Path) -> tuple[Message, Reader]:
    """The whole model; the reader keeps the file mapped.

    Raises:
        SpecError: not an ONNX file. OSError: it cannot be read.
    """
    size = path.stat().st_size
    if size >> 31:
        # protobuf's lengths are 31 bits: no engine can open more.
        raise broken("onnx_limit", str(path), f"a graph of {size} bytes")
    if not size:
        raise broken("onnx_damaged", str(path), "the file is empty")
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    reader = Reader(data, str(path))
    return reader.message("Model", Span(0, size)), reader
