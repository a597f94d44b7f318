"""The protobuf walker: what it accepts, protobuf reads alike; nothing makes it fail otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from harness.errors import SpecError
from harness.preflight import onnx_wire
from harness.preflight.onnx_wire import SCHEMA, Reader, Span, read_model
from tests.fuzz.wire import varint
from tests.preflight.graphs import model, outside, weight

OWN_NAMES = {"Type.Tensor": "Tensor_", "Type.SparseTensor": "Tensor_"}


def messages(file: Any) -> Iterator[tuple[str, Any]]:
    for name, message in file.message_types_by_name.items():
        own = name.removesuffix("Proto")
        yield own, message
        for inner in message.nested_types:
            yield OWN_NAMES.get(f"{own}.{inner.name}", inner.name), inner


def test_numbers_and_names_are_those_of_onnx() -> None:
    found = dict(messages(onnx.ModelProto.DESCRIPTOR.file))
    assert found.keys() == SCHEMA.keys()
    for name, message in found.items():
        theirs = {field.number: (field.name, field.is_repeated) for field in message.fields}
        ours = {number: (field.name, field.repeated) for number, field in SCHEMA[name].items()}
        assert ours == theirs, name
        for field in message.fields:
            kind = SCHEMA[name][field.number].kind
            if field.message_type:
                expected = field.message_type.full_name.removeprefix("onnx.")
                expected = expected.replace("Proto", "")
                assert kind == OWN_NAMES.get(expected, expected.rpartition(".")[2])
            else:
                types = {"float": {2}, "int": {3, 5, 14}, "text": {9}, "bytes": {12}}
                types |= {"data/4": {2}, "data/8": {1}, "data/0": {3, 4, 5}}
                assert field.type in types[kind], (name, field.name)


def read(data: bytes) -> onnx_wire.Message:
    return Reader(data, "model.onnx").message("Model", Span(0, len(data)))


def test_a_model_is_read_as_protobuf_reads_it() -> None:
    made = model("z = Constant<value_ints = [-1, 5]>()  y = Add(x, w)")
    made.graph.initializer.append(outside(weight(), "a/b", offset=3))
    data = helper.make_tensor("data", TensorProto.INT32, [3], [1, -2, 300])
    made.graph.initializer.append(data)
    found = read(made.SerializeToString())
    graph = found.one("graph")
    assert graph is not None
    first, moved, typed = graph.each("initializer")
    assert (first.text("name"), first.numbers("dims")) == ("w", [16])
    assert found.number("ir_version") == 10
    assert [entry.text("value") for entry in moved.each("external_data")] == ["a/b", "3"]
    assert typed.number("int32_data") == 3  # negative ones take ten bytes, 300 takes two
    (attribute,) = graph.each("node")[0].each("attribute")
    assert attribute.numbers("ints") == [-1, 5]


GRAPH = b"\x3a"  # field 7 of ModelProto, with a length


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (b"\x08", "onnx_damaged", "byte 1: it ends inside a number"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "onnx_damaged", "byte 1: a number that is written too"),
        (b"\x08" + b"\x80" * 9 + b"\x02", "onnx_damaged", "byte 1: a number that is written too"),
        (GRAPH + b"\x05ab", "onnx_damaged", "byte 0: a field of 5 bytes where 2 are left"),
        (GRAPH + b"\x04\x0a\x05ab", "onnx_damaged", "byte 2: a field of 5 bytes where 2 are left"),
        (GRAPH + b"\x82\x00ab", "onnx_damaged", "byte 1: a number that is written too long"),
        (b"\xba\x00\x00", "onnx_damaged", "byte 0: a number that is written too long"),
        (b"\x3b", "onnx_damaged", "byte 0: wire type 3"),
        (b"\x00\x00", "onnx_damaged", "byte 0: field number 0"),
        (b"\x12\x02\xff\xfe", "onnx_damaged", "byte 2: producer_name is not UTF-8"),
        (b"\x1a\x00\x1a\x00", "onnx_ambiguous", "byte 2: a second producer_version in ModelProto"),
        (GRAPH + b"\x00" + GRAPH + b"\x00", "onnx_ambiguous", "byte 2: a second graph"),
        (b"\x0a\x00", "onnx_ambiguous", "byte 0: ir_version with wire type 2"),
        (b"\xd8\x02\x00", "onnx_unknown_field", "byte 0: ModelProto has no field 43"),
        (GRAPH + b"\x05\x2a\x03\x22\x01a", "onnx_damaged", "1 bytes of float_data, 4 each"),
        (GRAPH + b"\x05\x2a\x03\x3a\x01\x80", "onnx_damaged", "int64_data ends inside a number"),
    ],
)
def test_damaged_files_are_told_by_place(data: bytes, reason: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(data)
    assert caught.value.reason == reason
    assert words in str(caught.value)


def test_caps_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = b""
    for _ in range(30):  # a type within a type, as sequences and options nest them
        data = b"\x22" + varint(len(data) + 2) + b"\x0a" + varint(len(data)) + data
    kind = b"\x12" + varint(len(data)) + data
    graph = b"\x5a" + varint(len(kind)) + kind
    with pytest.raises(SpecError, match="49 messages inside each other"):
        read(GRAPH + varint(len(graph)) + graph)
    monkeypatch.setattr(onnx_wire, "FIELDS_MAX", 10)
    with pytest.raises(SpecError, match="more than 10 fields"):
        read(b"\xa2\x01\x00" * 11)
    monkeypatch.setattr(onnx_wire, "TEXT_BYTES_MAX", 10)
    with pytest.raises(SpecError, match="more than 10 bytes of text"):
        read(b"\x12\x0b" + b"a" * 11)
    path = tmp_path / "model.onnx"
    path.touch()
    with pytest.raises(SpecError, match="the file is empty"):
        read_model(path)
    with path.open("wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(SpecError, match="a graph of 2147483648 bytes"):
        read_model(path)


HONEST = model().SerializeToString()


def accepted(data: bytes) -> onnx_wire.Message | None:
    try:
        return read(data)
    except SpecError:
        return None


@given(st.binary(max_size=200))
def test_no_bytes_break_the_walker(data: bytes) -> None:
    accepted(data)
    accepted(GRAPH + varint(len(data)) + data)


@given(st.lists(st.tuples(st.integers(0, len(HONEST) - 1), st.integers(0, 255)), max_size=4))
def test_what_passes_is_what_protobuf_reads(changes: list[tuple[int, int]]) -> None:
    data = bytearray(HONEST)
    for at, value in changes:
        data[at] = value
    found = accepted(bytes(data))
    if found is None:
        return
    theirs = onnx.ModelProto()
    try:
        theirs.ParseFromString(bytes(data))
    except DecodeError:
        return
    graph = found.one("graph")
    assert (graph is not None) == theirs.HasField("graph")
    for ours, node in zip(graph.each("node") if graph else [], theirs.graph.node, strict=True):
        assert (ours.text("op_type"), ours.texts("input")) == (node.op_type, list(node.input))
    tensors = graph.each("initializer") if graph else []
    for tensor, other in zip(tensors, theirs.graph.initializer, strict=True):
        assert tensor.numbers("dims") == list(other.dims)
        raw = tensor.values.get("raw_data")
        assert (raw.size if raw else 0) == len(other.raw_data)
        assert tensor.number("float_data") == len(other.float_data)
        kind = np.int64(np.uint64(tensor.number("data_type") % 2**64))
        assert np.int32(kind & 0x7FFFFFFF) == other.data_type & 0x7FFFFFFF
