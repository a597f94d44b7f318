"""Every tensor of an ONNX file: its type, its shape, and whether its data are all there.

Sizes are products of unbounded integers. Weights are not read: what is inside the graph's
file has been measured by its parser, what is outside by `onnx_external`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from harness.preflight import onnx_external
from harness.preflight.onnx_rules import broken, shown
from harness.preflight.onnx_wire import Message, Span

BITS: Final = {
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13, 14), 64),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((25, 26), 2),
    15: 128,
}
"""Bits of an element by ONNX's number of the type (`TensorProto.DataType`)."""

STRING: Final = 8
_DATA: Final = {
    "float_data": {1, 14},
    "double_data": {11, 15},
    "int64_data": {7},
    "uint64_data": {12, 13},
    "int32_data": {2, 3, 4, 5, 6, 9, 10, 16, *range(17, 27)},
}
"""Fields of typed data, and the types whose elements stand there."""

_RANK_MAX: Final = 16
_TOTAL_BYTES_MAX: Final = 32 << 30
_SLACK_BYTES: Final = 64 << 20
_EXTERNAL: Final = 1


class Tensor(NamedTuple):
    """What operators need to know of a constant."""

    type: int
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """The product of the shape."""
        return math.prod(self.shape)


@dataclass(slots=True, kw_only=True)
class Tensors:
    """Checks tensors one by one and adds up what they take.

    Attributes:
        graph: the graph's file; external data lie below its folder.
        total_bytes: of all tensors so far, sparse ones spread out.
        files: sizes of the files that they lie in.
        external: how many lie outside the graph's file.
        external_inside: whether one of an attribute does.
    """

    graph: Path
    total_bytes: int = 0
    files: dict[Path, int] = field(default_factory=dict)
    external: int = 0
    external_inside: bool = False

    def check(self, tensor: Message, what: str) -> Tensor:
        """Check one tensor.

        Raises:
            SpecError: the rule that is broken.
        """
        name = tensor.text("name")
        where = f"{self.graph}: {what} {shown(name)}, byte {tensor.span.start}"
        kind, shape = tensor.number("data_type"), tuple(tensor.numbers("dims"))
        if kind not in BITS and kind != STRING:
            raise broken("onnx_tensor", where, f"element type {kind}")
        if len(shape) > _RANK_MAX or any(size < 0 for size in shape):
            raise broken("onnx_tensor", where, f"the shape {_shape(shape)}")
        if "segment" in tensor.values:
            raise broken("onnx_tensor", where, "a segment of a tensor")
        needed = -(-math.prod(shape) * BITS.get(kind, 0) // 8)
        if tensor.number("data_location") == _EXTERNAL:
            self._external(tensor, kind, needed, where)
        elif "external_data" in tensor.values or tensor.number("data_location"):
            message = f"external data with data_location {tensor.number('data_location')}"
            raise broken("onnx_external", where, message)
        else:
            _inline(tensor, kind, shape, needed, where)
        self.add(needed, where)
        return Tensor(kind, shape)

    def check_sparse(self, tensor: Message) -> str:
        """Check values, indices and shape of a sparse tensor; returns its name."""
        where = f"{self.graph}: sparse tensor, byte {tensor.span.start}"
        parts = [tensor.one("values"), tensor.one("indices")]
        values, indices = parts
        if values is None or indices is None:
            raise broken("onnx_tensor", where, "a sparse tensor without values or indices")
        held = self.check(values, "values of sparse tensor")
        places = self.check(indices, "indices of sparse tensor")
        shape = tuple(tensor.numbers("dims"))
        if not shape or len(shape) > _RANK_MAX or any(size < 1 for size in shape):
            raise broken("onnx_tensor", where, f"the shape {_shape(shape)}")
        count = held.elements
        fitting = ((count,), (count, len(shape)))
        if len(held.shape) != 1 or places.type != 7 or places.shape not in fitting:
            message = f"{_shape(held.shape)} values at {_shape(places.shape)} indices"
            raise broken("onnx_tensor", where, message)
        # The engine spreads it out when it loads the file.
        self.add(-(-math.prod(shape) * BITS.get(held.type, 0) // 8), where)
        return values.text("name")

    def add(self, size_bytes: int, where: str) -> None:
        """Count bytes that the engine will hold; aliases of one range would multiply them."""
        self.total_bytes += size_bytes
        most = min(_TOTAL_BYTES_MAX, 2 * sum(self.files.values()) + _SLACK_BYTES)
        if self.total_bytes > most:
            message = f"{self.total_bytes} bytes of tensors up to here"
            raise broken("onnx_memory", where, f"{message}, out of {sum(self.files.values())}")

    def _external(self, tensor: Message, kind: int, needed: int, where: str) -> None:
        if kind == STRING or any(tensor.number(name) for name in _DATA):
            raise broken("onnx_external", where, "strings, or data inside the graph as well")
        if (raw := tensor.values.get("raw_data")) and raw.size:
            raise broken("onnx_external", where, "data inside the graph as well")
        part = onnx_external.find(tensor, self.graph.parent, where)
        onnx_external.fit(part, needed, where)
        self.files[part.file] = part.size
        self.external += 1


def _inline(tensor: Message, kind: int, shape: tuple[int, ...], needed: int, where: str) -> None:
    """Compare the data inside the graph's file with the shape."""
    elements = math.prod(shape)
    raw: Span | None = tensor.values.get("raw_data")
    given = [name for name in _DATA if tensor.number(name)]
    strings = len(tensor.values.get("string_data", []))
    if (raw is not None and raw.size > 0) + len(given) + (strings > 0) > 1:
        raise broken("onnx_tensor", where, "data in several fields")
    if kind == STRING:
        found, wanted, unit = strings, elements, "strings"
    elif given:
        (name,) = given
        if kind not in _DATA[name]:
            raise broken("onnx_tensor", where, f"{name} for element type {kind}")
        # Two or four small integers share a number; a complex number takes two.
        per = {14: 2, 15: 2}.get(kind, 1)
        wanted = -(-elements * BITS[kind] // 8) if BITS[kind] < 8 else elements * per
        found, unit = tensor.number(name), f"numbers in {name}"
    else:
        found, wanted, unit = (raw.size if raw else 0), needed, "bytes"
    if found != wanted:
        message = f"{found} {unit} for the shape {_shape(shape)} of type {kind}"
        raise broken("onnx_tensor", where, f"{message}, which needs {wanted}")


def _shape(shape: tuple[int, ...]) -> str:
    return (
        f"[{', '.join(str(size) for size in shape[:_RANK_MAX])}{', …' * (len(shape) > _RANK_MAX)}]"
    )
