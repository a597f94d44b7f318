"""Small ONNX submissions, right ones and forged ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"


def model(text: str = "y = Add(x, w)", *, opset: int = 21, imports: str = "") -> ModelProto:
    """A graph of one or more lines from x `[n, 16]` to y, with a weight w `[16]`."""
    source = (
        f'<ir_version: 10, opset_import: ["" : {opset}, "{MICROSOFT}" : 1{imports}]>'
        "g (float[n, 16] x) => (float[n, 16] y) {" + text + "}"
    )
    made = onnx.parser.parse_model(source)
    made.graph.initializer.append(numpy_helper.from_array(np.ones(16, np.float32), "w"))
    return made


def save(folder: Path, made: ModelProto) -> Path:
    """Write a model as it is, without any check."""
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def outside(tensor: TensorProto, location: str, **entries: object) -> TensorProto:
    """Put what a tensor holds somewhere else."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def weight() -> TensorProto:
    """16 numbers of float32: 64 bytes."""
    return numpy_helper.from_array(np.arange(16, dtype=np.float32), "w")


def _sparse(values: TensorProto) -> onnx.SparseTensorProto:
    indices = numpy_helper.from_array(np.arange(16, dtype=np.int64), "w_indices")
    return helper.make_sparse_tensor(values, indices, [16])


def _initialiser(values: TensorProto) -> ModelProto:
    made = model()
    made.graph.initializer[0].CopyFrom(values)
    return made


def _constant(values: TensorProto) -> ModelProto:
    made = model()
    del made.graph.initializer[:]
    made.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=values))
    return made


def _sparse_initialiser(values: TensorProto) -> ModelProto:
    made = model()
    del made.graph.initializer[:]
    made.graph.sparse_initializer.append(_sparse(values))
    return made


def _sparse_constant(values: TensorProto) -> ModelProto:
    made = model()
    del made.graph.initializer[:]
    node = helper.make_node("Constant", [], ["w"], sparse_value=_sparse(values))
    made.graph.node.insert(0, node)
    return made


CARRIERS: dict[str, Callable[[TensorProto], ModelProto]] = {
    "initialiser": _initialiser,
    "constant": _constant,
    "sparse_initialiser": _sparse_initialiser,
    "sparse_constant": _sparse_constant,
}
"""Where a tensor can stand in a graph."""
