"""What one token costs: how many weights are read and multiplied.

A decoded token reads every matrix once, so bytes a second of memory bound its speed; a
prompt multiplies every matrix with every token, so operations a second bound that. Both
follow from the tensors that a file lists. The head makes logits only for the last token
of a prompt and is counted apart. The embedding is a look-up of single rows and costs
nothing, unless it is the head as well.

Only headers are read: GGUF by `gguf_file`; ONNX by walking the protobuf's fields and
stepping over the weights, because the `onnx` package would hold them all in memory.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from harness.errors import SpecError
from harness.models.gguf_file import GgufFile, read_header
from harness.spec import Format

_LOOK_UPS: Final = frozenset(
    {"token_embd.weight", "per_layer_token_embd.weight", "position_embd.weight"}
)
"""Tables of a GGUF file of which a token takes one row."""

_BITS: Final = {
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13), 64),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((25, 26), 2),
}
"""Bits of an element by ONNX's number of the type (`TensorProto.DataType`)."""

_PRODUCTS: Final = frozenset(
    {
        "DynamicQuantizeMatMul",
        "FusedMatMul",
        "Gemm",
        "MatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QLinearMatMul",
    }
)
_PASSING: Final = frozenset({"Cast", "DequantizeLinear", "Identity", "Reshape", "Transpose"})
"""Operators that only hand a weight on."""


def weights_of(path: Path, kind: Format) -> dict[str, int]:
    """What a token costs, in the terms of `Artefact.weights`.

    Args:
        path: a GGUF file, or the ONNX graph.

    Returns:
        `read_bytes`: of all matrices, scales included; `body_parameters`: of all matrices
        but the head, where of experts only those count that a token is sent to;
        `head_parameters`. Empty where the file does not say.
    """
    try:
        if kind == "gguf":
            return _gguf_weights(read_header(path))
        if kind == "onnx":
            return _onnx_weights(path)
    except (LookupError, OSError, SpecError, ValueError):
        # Whoever opens the model says what is wrong with it.
        return {}
    return {}


def _gguf_weights(file: GgufFile) -> dict[str, int]:
    if file.metadata.get("split.count", 1) != 1:
        return {}  # the other files hold the rest
    tied = all(tensor.name != "output.weight" for tensor in file.tensors)
    head_name = "token_embd.weight" if tied else "output.weight"
    family = file.metadata.get("general.architecture")
    experts = file.metadata.get(f"{family}.expert_count", 0)
    used = file.metadata.get(f"{family}.expert_used_count", 0)
    read = body = head = 0
    for tensor in file.tensors:
        if len(tensor.shape) < 2 or (tensor.name in _LOOK_UPS and tensor.name != head_name):
            continue
        size, elements = tensor.size_bytes, tensor.elements
        if "_exps." in tensor.name:
            if not isinstance(experts, int) or not isinstance(used, int) or not 0 < used <= experts:
                return {}
            size, elements = size * used // experts, elements * used // experts
        read += size
        if tensor.name == head_name:
            head = elements
        else:
            body += elements
    return _cost(read, body, head)


def _cost(read: int, body: int, head: int) -> dict[str, int]:
    if not body or not head:
        return {}
    return {"read_bytes": read, "body_parameters": body, "head_parameters": head}


# --- ONNX ---------------------------------------------------------------------------


class _Weight(NamedTuple):
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(slots=True)
class _Node:
    operator: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    integers: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Graph:
    nodes: list[_Node] = field(default_factory=list)
    weights: dict[str, _Weight] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)


def _onnx_weights(path: Path) -> dict[str, int]:
    graph = _read_graph(path)
    makers = {name: node for node in graph.nodes for name in node.outputs}
    head_node = _head(graph, makers)
    read = body = head = 0
    for node in graph.nodes:
        if node.operator.endswith("MoE"):
            return {}
        if node.operator not in _PRODUCTS:
            continue
        sources = [_source(name, graph, makers) for name in node.inputs]
        found = [weight for weight in sources if weight]
        if node.operator == "MatMulNBits":
            elements = node.integers.get("K", 0) * node.integers.get("N", 0)
        else:
            elements = sum(math.prod(weight.shape) for weight in found if len(weight.shape) == 2)
        if not elements or not found:
            continue
        read += sum(weight.size_bytes for weight in found)
        if node is head_node:
            head += elements
        else:
            body += elements
    return _cost(read, body, head)


def _head(graph: _Graph, makers: dict[str, _Node]) -> _Node | None:
    """The product that the logits come from, behind casts, soft caps and the like."""
    name = next((name for name in graph.outputs if "logits" in name), "")
    for _ in range(len(graph.nodes)):
        node = makers.get(name)
        if node is None or node.operator in _PRODUCTS:
            return node
        name = next((made for made in node.inputs if made in makers), "")
    return None


def _source(name: str, graph: _Graph, makers: dict[str, _Node]) -> _Weight | None:
    """The stored weight behind an input; one that was stored in parts counts all of them."""
    extra = 0
    for _ in range(len(graph.nodes) + 1):
        if weight := graph.weights.get(name):
            return weight._replace(size_bytes=weight.size_bytes + extra)
        node = makers.get(name)
        if node is None or node.operator not in _PASSING or not node.inputs:
            return None
        parts = [graph.weights[part] for part in node.inputs[1:] if part in graph.weights]
        extra += sum(part.size_bytes for part in parts)
        name = node.inputs[0]
    return None


_Data: TypeAlias = mmap.mmap


def _read_graph(path: Path) -> _Graph:
    """Nodes and shapes of weights: ModelProto.graph (7) → GraphProto.

    Raises:
        ValueError: not a protobuf file, or cut off.
    """
    graph = _Graph()
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        for number, start, end in _fields(data, 0, len(data)):
            if number != 7:
                continue
            for inner, at, stop in _fields(data, start, end):
                if inner == 1:
                    graph.nodes.append(_node(data, at, stop))
                elif inner == 5:
                    name, weight = _weight(data, at, stop)
                    graph.weights[name] = weight
                elif inner == 12:
                    graph.outputs.append(_texts(data, at, stop, 1)[0])
    return graph


def _node(data: _Data, start: int, end: int) -> _Node:
    """NodeProto: input (1), output (2), op_type (4), attribute (5)."""
    node = _Node()
    for number, at, stop in _fields(data, start, end):
        if number == 1:
            node.inputs.append(data[at:stop].decode("utf-8"))
        elif number == 2:
            node.outputs.append(data[at:stop].decode("utf-8"))
        elif number == 4:
            node.operator = data[at:stop].decode("utf-8")
        elif number == 5:
            # AttributeProto: name (1), i (3).
            for value in _integers(data, at, stop, 3):
                node.integers[_texts(data, at, stop, 1)[0]] = value
    return node


def _weight(data: _Data, start: int, end: int) -> tuple[str, _Weight]:
    """TensorProto: dims (1), data_type (2), name (8); the bytes may lie anywhere."""
    shape = tuple(_integers(data, start, end, 1))
    kind = _integers(data, start, end, 2)[0]
    name = (_texts(data, start, end, 8) or [""])[0]
    if kind not in _BITS:
        raise ValueError(f"{name} has type {kind}")
    return name, _Weight(shape, -(-math.prod(shape) * _BITS[kind] // 8))


def _texts(data: _Data, start: int, end: int, wanted: int) -> list[str]:
    spans = [(at, stop) for number, at, stop in _fields(data, start, end) if number == wanted]
    return [data[at:stop].decode("utf-8") for at, stop in spans]


def _integers(data: _Data, start: int, end: int, wanted: int) -> list[int]:
    """Values of an integer field, packed into one or repeated."""
    found: list[int] = []
    for number, value, stop in _fields(data, start, end, integers=True):
        at = value if number == wanted else stop
        while at < stop:
            integer, at = _varint(data, at)
            found.append(integer)
    return found


def _fields(
    data: _Data, start: int, end: int, *, integers: bool = False
) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of the fields of a protobuf message, by default without integers."""
    at = start
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        value = at
        if kind == 0:
            _, at = _varint(data, at)
        elif kind == 2:
            size, value = _varint(data, at)
            at = value + size
        elif kind in {1, 5}:
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"no protobuf field at byte {at}")
        if at > end:
            raise ValueError(f"a field ends at byte {at} of {end}")
        if kind == 2 or (integers and kind == 0):
            yield key >> 3, value, at


def _varint(data: _Data, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it ends inside a number")
