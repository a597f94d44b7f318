"""The ONNX checker's word on a graph that has passed our own rules, without its weights.

The checker refuses valid graphs: it does not know the operators that ONNX Runtime adds to
the default domain, and of two gigabytes it would make copies. So it is shown a skeleton:
tensors are declared as inputs, which leaves nothing to open or to copy, and nodes of such
operators are put into the engine's domain, which it passes over. Whatever it still says
counts: undefined names, wrong order, missing attributes, wrong numbers of inputs.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Final

from harness.preflight.onnx_operators import DEFAULT, MICROSOFT
from harness.preflight.onnx_rules import broken
from harness.preflight.onnx_wire import Message, Reader, Span

_SKELETON_BYTES_MAX: Final = 64 << 20
_EXTENSION: Final = "onnx.onnx_cpp2py_export"
_WORDS_CHARS: Final = 400
_LAYER_NORMALISATION_SINCE: Final = 17

_NODE, _INITIALIZER, _SPARSE, _INPUT, _DOMAIN = 1, 5, 15, 11, 7
"""Field numbers: four of GraphProto, one of NodeProto."""


def check(model: Message, reader: Reader) -> bool:
    """Ask the checker, where there is one and it can judge this graph.

    Returns:
        Whether it was asked: not without the onnx package, nor where a function or a
        subgraph holds an operator that it does not know.

    Raises:
        SpecError: it refuses the graph.
    """
    foreign = _foreign(model)
    if _operators(_inner_nodes(model)) & foreign or not (extension := _extension()):
        return False
    bare = skeleton(model, reader, foreign)
    if len(bare) > _SKELETON_BYTES_MAX:
        return False
    checker = extension.checker
    try:
        checker.check_model(bare, False, False, False)  # noqa: FBT003  (a native function)
    except checker.ValidationError as error:
        words = " ".join(str(error).split())[:_WORDS_CHARS]
        raise broken("onnx_checker", reader.name, words) from None
    return True


def skeleton(model: Message, reader: Reader, foreign: frozenset[str]) -> bytes:
    """The model with its graph's tensors as inputs, and `foreign` operators renamed."""
    graph = model.one("graph")
    assert graph is not None
    nodes = iter(graph.each("node"))
    parts = []
    for number, _, _, value in reader.fields(graph.span):
        assert isinstance(value, Span)  # GraphProto holds nothing but texts and messages
        if number in {_INITIALIZER, _SPARSE}:
            continue
        kept = reader.bytes(value)
        if number == _NODE and _operators([next(nodes)]) & foreign:
            kept += _field(_DOMAIN, MICROSOFT.encode())  # the last value of a field counts
        parts.append(_field(number, kept))
    inputs = {item.text("name") for item in graph.each("input")}
    parts += [
        _field(_INPUT, _declared(name, kind, shape))
        for name, kind, shape in _tensors(graph)
        if name not in inputs
    ]
    before, after = model.span
    for number, _, at, value in reader.fields(model.span):
        if number == 7 and isinstance(value, Span):
            before, after = at, value.end
    rest = Span(model.span.start, before), Span(after, model.span.end)
    return reader.bytes(rest[0]) + _field(7, b"".join(parts)) + reader.bytes(rest[1])


def _foreign(model: Message) -> frozenset[str]:
    """Operators of the default domain that the engine has, and ONNX at this version has not."""
    opsets = [
        entry.number("version")
        for entry in model.each("opset_import")
        if entry.text("domain") in DEFAULT
    ]
    if opsets and opsets[0] >= _LAYER_NORMALISATION_SINCE:
        return frozenset({"SimplifiedLayerNormalization"})
    return frozenset({"SimplifiedLayerNormalization", "LayerNormalization"})


def _operators(nodes: Iterable[Message]) -> set[str]:
    return {node.text("op_type") for node in nodes if node.text("domain") in DEFAULT}


def _inner_nodes(model: Message) -> Iterator[Message]:
    """Nodes of functions and of all subgraphs."""
    graph = model.one("graph")
    own = graph.each("node") if graph else []
    called = [node for function in model.each("functions") for node in function.each("node")]
    yield from called
    left = [*own, *called]
    while left:
        for attribute in left.pop().each("attribute"):
            for inner in attribute.all("g", "graphs"):
                yield from inner.each("node")
                left += inner.each("node")


def _tensors(graph: Message) -> Iterator[tuple[str, int, list[int]]]:
    """Name, type and shape of what the graph holds."""
    for tensor in graph.each("initializer"):
        yield tensor.text("name"), tensor.number("data_type"), tensor.numbers("dims")
    for sparse in graph.each("sparse_initializer"):
        if values := sparse.one("values"):
            yield values.text("name"), values.number("data_type"), sparse.numbers("dims")


def _declared(name: str, kind: int, shape: list[int]) -> bytes:
    """A ValueInfoProto: name, and a type of element type and dimensions."""
    sizes = b"".join(_field(1, b"\x08" + _varint(size)) for size in shape)
    tensor = b"\x08" + _varint(kind) + _field(2, sizes)
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _extension() -> ModuleType | None:
    """The onnx package's native module alone: the package around it takes 0.4 s to import."""
    if _EXTENSION in sys.modules:
        return sys.modules[_EXTENSION]
    package = importlib.util.find_spec("onnx")
    if package is None or package.origin is None:
        return None
    name = _EXTENSION.rpartition(".")[2]
    for suffix in EXTENSION_SUFFIXES:
        file = Path(package.origin).parent / f"{name}{suffix}"
        spec = importlib.util.spec_from_file_location(_EXTENSION, file)
        if file.is_file() and spec and spec.loader:
            module = importlib.util.module_from_spec(spec)
            sys.modules[_EXTENSION] = module
            spec.loader.exec_module(module)
            return module
    return importlib.import_module(_EXTENSION)
