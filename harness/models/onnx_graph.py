"""The ONNX graph of a Llama, Qwen2 or Qwen3 network, and its weights.

`_Graph` collects nodes, `Weights` puts tensors into the file or, for large
networks, beside it; quantisation is NumPy. Norms and attention are ONNX Runtime's
own operators, so `onnx.checker` refuses the result: SimplifiedLayerNormalization
lives undeclared in the default domain.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from harness.errors import SpecError
from harness.models.network import (
    EMBEDDING,
    FINAL_NORM,
    HEAD,
    Array,
    Network,
    NetworkConfig,
    rope_factors,
    rope_frequencies,
    row_slices,
)
from harness.models.random_weights import RandomTensors

if TYPE_CHECKING:
    from io import BufferedWriter

    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

BLOCK: Final = 32
"""Weights that share one float32 scale."""

_OPSET: Final = 21
_IR: Final = 10
_MICROSOFT: Final = "com.microsoft"


class Weights:
    """Initialisers, stored in the graph or streamed into a file beside it."""

    def __init__(self, external: Path | None) -> None:
        self.tensors: list[TensorProto] = []
        self._path = external
        self._file: BufferedWriter | None = None

    def __enter__(self) -> Self:
        self._file = self._path.open("wb") if self._path else None
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def add(self, name: str, array: Array, dtype: Any = None) -> str:
        """Store `array` as `name`, a slice at a time; returns the name for use as an input.

        Args:
            name: of the initialiser.
            array: its numbers.
            dtype: the type to store them in instead of their own.
        """
        from onnx import TensorProto, helper

        dtype = np.dtype(dtype or array.dtype)
        little = dtype.newbyteorder("<")
        kind = helper.np_dtype_to_tensor_dtype(dtype)
        tensor = TensorProto(name=name, data_type=kind, dims=array.shape)
        size = array.size * dtype.itemsize
        if self._file and self._path and size > 1024:
            # Page-aligned, so that the runtime can map instead of copying.
            offset = -(-self._file.tell() // 4096) * 4096
            self._file.seek(offset)
            for rows in row_slices(array.shape):
                np.ascontiguousarray(array[rows], little).tofile(self._file)
            tensor.data_location = TensorProto.EXTERNAL
            entries = {"location": self._path.name, "offset": offset, "length": size}
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
        else:
            tensor.raw_data = np.ascontiguousarray(array, little).tobytes()
        self.tensors.append(tensor)
        return name


class _Graph:
    """Nodes in order; every method appends and returns the names of what it makes."""

    def __init__(self, network: Network, bits: int, weights: Weights) -> None:
        self.network = network
        self.config = network.config
        self.bits = bits
        self.weights = weights
        self.nodes: list[NodeProto] = []

    def node(
        self,
        op: str,
        inputs: list[str],
        output: str,
        *more: str,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Append one node; returns its first output."""
        from onnx import helper

        outputs = [output, *more]
        made = helper.make_node(op, inputs, outputs, name=output, domain=domain, **attributes)
        self.nodes.append(made)
        return output

    def constant(self, name: str, values: Any, dtype: Any) -> str:
        """Add a small initialiser."""
        return self.weights.add(name, np.asarray(values, dtype))

    def linear(self, x: str, module: str, output: str) -> str:
        """`x @ W.T (+ b)` with the weight of `module`, `[out, in]`."""
        name = module + ".weight"
        tied = module + ".weight" == HEAD and self.config.tie_word_embeddings
        if self.bits == 32:
            if tied:
                # One copy in the file; the runtime folds the transposition at load.
                matrix = self.node("Transpose", [EMBEDDING], "head_matrix", perm=[1, 0])
            else:
                matrix = self.weights.add(name, self.network.tensors[name].T, np.float32)
            y = self.node("MatMul", [x, matrix], output)
        else:
            source = EMBEDDING if tied else name
            tensors = self.network.tensors
            if isinstance(tensors, RandomTensors):
                packed, scales = tensors.onnx_blocks(source, self.bits)
            else:
                packed, scales = quantise_blocks(tensors[source], self.bits)
            y = self.node(
                "MatMulNBits",
                [
                    x,
                    self.weights.add(name + ".packed", packed),
                    self.weights.add(name + ".scales", scales),
                ],
                output,
                domain=_MICROSOFT,
                K=packed.shape[1] * BLOCK,
                N=packed.shape[0],
                bits=self.bits,
                block_size=BLOCK,
                # Unset, int8 runs eight times slower; int8 activations cost KLD 0.0003.
                accuracy_level=4,
            )
        bias = module + ".bias"
        if bias not in self.network.tensors:
            return y
        vector = self.weights.add(bias, self.network.tensors[bias], np.float32)
        return self.node("Add", [y, vector], output + "_biased")

    def norm(self, x: str, skip: str | None, name: str, prefix: str) -> tuple[str, str]:
        """RMS norm of `x + skip`; returns the normalised and the plain sum."""
        gamma = self.weights.add(name, self.network.tensors[name], np.float32)
        epsilon = self.config.rms_norm_eps
        out = prefix + "_normed"
        if skip is None:
            op = "SimplifiedLayerNormalization"
            return self.node(op, [x, gamma], out, axis=-1, epsilon=epsilon), x
        total = prefix + "_residual"
        self.node(
            "Skip" + "SimplifiedLayerNormalization",
            [x, skip, gamma],
            out,
            "",
            "",
            total,
            domain=_MICROSOFT,
            epsilon=epsilon,
        )
        return out, total

    def head_norm(self, x: str, module: str, heads: int) -> str:
        """RMS norm of each head of `x`, `[batch, tokens, heads * head_dim]`."""
        size = self.config.head_dim
        split = self.constant(x + "_split", [0, -1, size], np.int64)
        joined = self.constant(x + "_joined", [0, -1, heads * size], np.int64)
        apart = self.node("Reshape", [x, split], x + "_heads")
        normed, _ = self.norm(apart, None, module + ".weight", apart)
        return self.node("Reshape", [normed, joined], x + "_normed")

    def lengths(self) -> list[str]:
        """`seqlens_k` int32 `[batch]` and `total_sequence_length` int32 `[]` from the mask."""
        from onnx import TensorProto

        one = self.constant("one", 1, np.int64)
        axis = self.constant("axis", [1], np.int64)
        total = self.node("ReduceSum", ["attention_mask", axis], "mask_sum", keepdims=0)
        last = self.node("Sub", [total, one], "mask_last")
        shape = self.node("Shape", ["attention_mask"], "mask_shape")
        width = self.node("Gather", [shape, one], "mask_width")
        return [
            self.node("Cast", [last], "seqlens_k", to=TensorProto.INT32),
            self.node("Cast", [width], "total_sequence_length", to=TensorProto.INT32),
        ]

    def attention(self, x: str, layer: int, lengths: list[str], *, positions: bool) -> str:
        """Grouped-query attention of one layer, `[batch, tokens, hidden]`."""
        c = self.config
        module = f"model.layers.{layer}.self_attn."
        prefix = f"layer{layer}_"
        query, key, value = (self.linear(x, f"{module}{k}_proj", prefix + k) for k in "qkv")
        if c.head_norms:
            query = self.head_norm(query, module + "q_norm", c.num_attention_heads)
            key = self.head_norm(key, module + "k_norm", c.num_key_value_heads)
        caches = ["cos_cache", "sin_cache"]
        if positions:
            heads = c.num_attention_heads, c.num_key_value_heads
            query, key = (
                self.node(
                    "RotaryEmbedding",
                    [part, "position_ids", *caches],
                    part + "_rotated",
                    domain=_MICROSOFT,
                    num_heads=count,
                    interleaved=0,
                )
                for part, count in zip((query, key), heads, strict=True)
            )
        past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
        mixed = self.node(
            "GroupQueryAttention",
            [query, key, value, *past, *lengths, *([] if positions else caches)],
            prefix + "attention",
            f"present.{layer}.key",
            f"present.{layer}.value",
            domain=_MICROSOFT,
            num_heads=c.num_attention_heads,
            kv_num_heads=c.num_key_value_heads,
            do_rotary=int(not positions),
            rotary_interleaved=0,
        )
        return self.linear(mixed, module + "o_proj", prefix + "attended")

    def feed_forward(self, x: str, layer: int) -> str:
        """SwiGLU."""
        module, prefix = f"model.layers.{layer}.mlp.", f"layer{layer}_"
        gate = self.linear(x, module + "gate_proj", prefix + "gate")
        up = self.linear(x, module + "up_proj", prefix + "up")
        sigmoid = self.node("Sigmoid", [gate], prefix + "sigmoid")
        silu = self.node("Mul", [gate, sigmoid], prefix + "silu")
        mixed = self.node("Mul", [silu, up], prefix + "swiglu")
        return self.linear(mixed, module + "down_proj", prefix + "fed")


def build(
    network: Network, bits: int, weights: Weights, *, logits_rows: bool, position_ids: bool
) -> ModelProto:
    """Build the model, its weights in `weights`, in `bits` of 32, 8 or 4 a weight.

    Args:
        network: what to write.
        bits: of a matrix's weight; vectors stay float32.
        weights: an open store.
        logits_rows: add the input that chooses rows for the head.
        position_ids: rotate by an input instead of by the mask's length.
    """
    from onnx import TensorProto, helper

    config = network.config
    graph = _Graph(network, bits, weights)
    for name, table in zip(("cos_cache", "sin_cache"), rotary_caches(config), strict=True):
        weights.add(name, table)
    # Float16 is what the weights are: the table is exact at half the size.
    embedding = weights.add(
        EMBEDDING, network.tensors[EMBEDDING], np.float32 if bits == 32 else np.float16
    )
    x = graph.node("Gather", [embedding, "input_ids"], "embedded")
    if bits < 32:
        x = graph.node("Cast", [x], "hidden", to=TensorProto.FLOAT)
    lengths = graph.lengths()

    skip: str | None = None
    for layer in range(config.num_hidden_layers):
        block = f"model.layers.{layer}."
        normed, x = graph.norm(x, skip, block + "input_layernorm.weight", f"layer{layer}_in")
        skip = graph.attention(normed, layer, lengths, positions=position_ids)
        norm = block + "post_attention_layernorm.weight"
        normed, x = graph.norm(x, skip, norm, f"layer{layer}_mid")
        skip = graph.feed_forward(normed, layer)
    x, _ = graph.norm(x, skip, FINAL_NORM, "final")
    if logits_rows:
        x = graph.node("Gather", [x, "logits_rows"], "chosen_rows", axis=1)
    graph.linear(x, HEAD.removesuffix(".weight"), "logits")

    inputs, outputs = _interface(config, logits_rows=logits_rows, position_ids=position_ids)
    body = helper.make_graph(graph.nodes, network.name, inputs, outputs, weights.tensors)
    imports = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)]
    model = helper.make_model(
        body, ir_version=_IR, opset_imports=imports, producer_name="sllm-harness"
    )
    helper.set_model_props(model, {"synthetic": str(network.synthetic).lower(), "bits": str(bits)})
    return model


def _interface(
    config: NetworkConfig, *, logits_rows: bool, position_ids: bool
) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
    """Declare inputs and outputs, logits first among the outputs."""
    from onnx import TensorProto, helper

    integers, floats = TensorProto.INT64, TensorProto.FLOAT
    value = helper.make_tensor_value_info
    rows = "rows" if logits_rows else "tokens"
    inputs = [
        value("input_ids", integers, ["batch", "tokens"]),
        value("attention_mask", integers, ["batch", "total"]),
    ]
    outputs = [value("logits", floats, ["batch", rows, config.vocab_size])]
    if position_ids:
        inputs.append(value("position_ids", integers, ["batch", "tokens"]))
    if logits_rows:
        inputs.append(value("logits_rows", integers, ["rows"]))
    heads, size = config.num_key_value_heads, config.head_dim
    for layer in range(config.num_hidden_layers):
        for kind in ("key", "value"):
            name = f"{layer}.{kind}"
            inputs.append(value("past_key_values." + name, floats, ["batch", heads, "past", size]))
            outputs.append(value("present." + name, floats, ["batch", heads, "present", size]))
    return inputs, outputs


def quantise_blocks(weight: Array, bits: int) -> tuple[Array, Array]:
    """Symmetric blocks of 32 along the inputs, as MatMulNBits reads them.

    The number of largest magnitude in a block maps to the lowest code, which uses
    the whole range; the zero point is the default `2 ** (bits - 1)`.

    Args:
        weight: `[out, in]`, any float type.
        bits: 4 or 8.

    Returns:
        Codes uint8 `[out, in / 32, 32 * bits / 8]`, the first of two nibbles low,
        and scales float32 `[out, in / 32]`.

    Raises:
        SpecError: blocks do not divide the rows.
    """
    rows, columns = weight.shape
    if columns % BLOCK:
        raise SpecError(f"rows of {columns} weights", allowed=f"a multiple of {BLOCK}")
    half = 1 << (bits - 1)
    codes = np.empty((rows, columns // BLOCK, BLOCK * bits // 8), np.uint8)
    scales = np.empty((rows, columns // BLOCK), np.float32)
    for part in row_slices(weight.shape):
        blocks = weight[part].astype(np.float32).reshape(-1, columns // BLOCK, BLOCK)
        high, low = blocks.max(axis=-1), blocks.min(axis=-1)
        scale = np.where(high > -low, high, low) / np.float32(-half)
        inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
        blocks *= inverse[..., None]
        np.rint(blocks, out=blocks)
        blocks += half
        code = np.minimum(blocks, 2 * half - 1, out=blocks).astype(np.uint8)
        codes[part] = code if bits == 8 else code[..., ::2] | code[..., 1::2] << 4
        scales[part] = scale
    return codes, scales


def rotary_caches(config: NetworkConfig) -> tuple[Array, Array]:
    """Cosines and sines, float32 `[max position, head_dim / 2]`."""
    frequencies = np.array(rope_frequencies(config))
    if factors := rope_factors(config):
        frequencies /= np.array(factors)
    angles = np.arange(config.max_position_embeddings)[:, None] * frequencies
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
