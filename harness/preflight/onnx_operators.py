"""Which operators a submitted ONNX graph may use, and the arithmetic of those that trust it.

ONNX Runtime's quantised kernels repack weights when they load a graph, by attributes and
not by the tensors' sizes: one such read out of bounds has been mended there, the class has
not. Their shapes are therefore computed here, from the constants they are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from harness.preflight.onnx_rules import broken, shown
from harness.preflight.onnx_tensors import BITS, Tensor

MICROSOFT: Final = "com.microsoft"
DEFAULT: Final = frozenset({"", "ai.onnx"})

ENGINE_DOMAINS: Final = frozenset(
    {
        "ai.onnx.ml",
        "ai.onnx.preview",
        "ai.onnx.preview.training",
        "ai.onnx.training",
        "com.microsoft.experimental",
        "com.microsoft.nchwc",
        "com.ms.internal.nhwc",
        "org.pytorch.aten",
    }
)
"""ONNX Runtime's optimiser lists them in every file that it saves; no decoder uses them."""

WITH_GRAPHS: Final = frozenset({"If", "Loop", "Scan", "SequenceMap"})

# ONNX's operators but ImageDecoder (a decoder of media) and the losses of training.
_ONNX: Final = frozenset(
    # A list literal would take a line a name.
    """
    Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool
    BatchNormalization Bernoulli BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor
    BlackmanWindow Cast CastLike CausalConvWithState Ceil Celu CenterCropPad Clip Col2Im Compress
    Concat ConcatFromSequence Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh
    CumProd CumSum DFT DepthToSpace DequantizeLinear Det Div Dropout DynamicQuantizeLinear Einsum
    Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm
    GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample
    GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax Identity If
    InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual
    LinearAttention Log LogSoftmax Loop LpNormalization LpPool MatMul MatMulInteger Max MaxPool
    Mean MeanVarianceNormalization Min Mish Mod Mul Multinomial Neg NonZero Not OneHot Optional
    OptionalGetElement OptionalHasElement Or PRelu Pad Pow QLinearMatMul QuantizeLinear
    RMSNormalization RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range
    Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RotaryEmbedding Round
    Scan Scatter ScatterElements ScatterND Selu SequenceAt SequenceConstruct SequenceEmpty
    SequenceErase SequenceInsert SequenceLength SequenceMap Shape Shrink Sigmoid Sign Sin Sinh Size
    Slice Softmax Softplus Softsign SpaceToDepth Split SplitToSequence Sqrt Squeeze Sub Sum SwiGLU
    Swish Tan Tanh TensorScatter ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample
    Where Xor SimplifiedLayerNormalization
    """.split()  # noqa: SIM905
)
# Not here: EPContext and Snpe (another engine's binary), BeamSearch and its like (a whole
# generation loop), Tokenizer, ATen, PyOp, and what no decoder needs.
_CONTRIB: Final = frozenset(
    """
    Attention BiasAdd BiasGelu BiasSoftmax BiasSplitGelu CausalConvWithState DequantizeLinear
    DynamicQuantizeMatMul EmbedLayerNormalization FastGelu FusedConv FusedGemm FusedMatMul
    FusedMatMulActivation GatedDeltaNet GatedRMSNorm GatherBlockQuantized Gelu GemmFastGelu
    GemmaRotaryEmbedding GroupQueryAttention LinearAttention LinearAttentionGate MatMulBnb4
    MatMulIntegerToFloat MatMulNBits MultiHeadAttention Pad QAttention QGemm QLinearAdd
    QLinearConcat QLinearMul QLinearSigmoid QLinearSoftmax QMoE QuantizeLinear QuickGelu
    ReduceSumInteger RotaryEmbedding SkipLayerNormalization SkipSimplifiedLayerNormalization
    SparseAttention SwiGLU Trilu
    """.split()  # noqa: SIM905
)


class Node(NamedTuple):
    """A node as its arithmetic sees it.

    Attributes:
        constants: of each input the constant behind it; None = computed, fed or absent.
        numbers: integer attributes.
    """

    operator: str
    inputs: list[str]
    constants: list[Tensor | None]
    numbers: Mapping[str, int]
    where: str

    def constant(self, index: int) -> Tensor | None:
        """The constant at an input."""
        return self.constants[index] if index < len(self.constants) else None

    def given(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(self.inputs) and self.inputs[index] != ""

    def wrong(self, message: str) -> Exception:
        """The error of shapes that do not fit."""
        return broken("onnx_shape", self.where, f"{self.operator}: {message}")

    def number(self, name: str, default: int | None, low: int, high: int = 1 << 31) -> int:
        """An integer attribute within its limits."""
        value = self.numbers.get(name, default)
        if value is None or not low <= value <= high:
            raise self.wrong(f"{name} is {value}, not {low} to {high}")
        return value

    def holds(self, index: int, what: str, elements: int, types: set[int]) -> None:
        """Require that the constant at an input has as many elements, of one of the types."""
        tensor = self.constant(index)
        if tensor is None:
            raise self.wrong(f"{what} is not a constant")
        if tensor.elements != elements or tensor.type not in types:
            found = f"{tensor.elements} of type {tensor.type}"
            raise self.wrong(f"{what} has {found}, not {elements} of {sorted(types)}")


def require_known(operator: str, domain: str, where: str) -> None:
    """Refuse an operator that is not on the list of its domain.

    Raises:
        SpecError: the operator, or its domain.
    """
    if domain not in DEFAULT | {MICROSOFT}:
        message = f"operator {shown(operator)} of domain {shown(domain)}"
        raise broken("onnx_domain", where, message)
    if operator not in (_ONNX if domain in DEFAULT else _CONTRIB):
        message = f"operator {shown(operator)} of domain {shown(domain or 'ai.onnx')}"
        raise broken("onnx_operator", where, message)


def check_shapes(node: Node) -> None:
    """Compare attributes and constants of an operator whose kernel trusts them.

    Raises:
        SpecError: they do not fit.
    """
    if rule := _ARITHMETIC.get(node.operator):
        rule(node)


_FLOATS: Final = {1, 10, 16}
_PACKED: Final = {2}


def _matmul_n_bits(node: Node) -> None:
    """`B [N, blocks, block · bits / 8]`, scales and zero points a block, K inputs, N outputs.

    Weights that are packed for a kernel already would go into it unread.
    """
    inputs, outputs = node.number("K", None, 1), node.number("N", None, 1)
    bits = node.number("bits", 4, 2, 8)
    block = node.number("block_size", None, 16, 1 << 16)
    if bits not in {2, 4, 8} or block & (block - 1):
        raise node.wrong(f"{bits} bits in blocks of {block}")
    node.number("weight_prepacked", 0, 0, 0)
    blocks = -(-inputs // block)
    node.holds(1, "B", outputs * blocks * (block * bits // 8), _PACKED)
    node.holds(2, "scales", outputs * blocks, _FLOATS)
    if node.given(3):
        points = node.constant(3)
        packed = points is not None and points.type in _PACKED
        count = -(-blocks * bits // 8) if packed else blocks
        node.holds(3, "zero_points", outputs * count, _PACKED | _FLOATS)
    if node.given(4):
        order = node.constant(4)
        padded = order is not None and order.elements == blocks * block
        node.holds(4, "g_idx", blocks * block if padded else inputs, {6})
    if node.given(5):
        node.holds(5, "bias", outputs, _FLOATS)


def _matmul_bnb4(node: Node) -> None:
    """`B [⌈N · K / 2⌉]` and one scale a block of the flat matrix."""
    inputs, outputs = node.number("K", None, 1), node.number("N", None, 1)
    block = node.number("block_size", None, 16, 1 << 16)
    node.number("quant_type", None, 0, 1)
    node.holds(1, "B", -(-inputs * outputs // 2), _PACKED)
    node.holds(2, "absmax", -(-inputs * outputs // block), _FLOATS)


def _gather_block_quantized(node: Node) -> None:
    """Scales have the data's shape with one axis divided into blocks."""
    data, scales = node.constant(0), node.constant(2)
    if data is None or scales is None or data.type not in {2, 21, 22} or not data.shape:
        raise node.wrong("data or scales are not constants of 4 or 8 bits")
    rank = len(data.shape)
    block = node.number("block_size", 128, 16, 1 << 16)
    axis = node.number("quantize_axis", 1, -rank, rank - 1) % rank
    node.number("gather_axis", 0, -rank, rank - 1)
    bits = node.number("bits", 4, 2, 8)
    if bits not in {2, 4, 8} or block & (block - 1):
        raise node.wrong(f"{bits} bits in blocks of {block}")
    shape = list(data.shape)
    if data.type == 2:
        shape[-1] *= 8 // bits
    elif bits != BITS[data.type]:
        raise node.wrong(f"{bits} bits for data of type {data.type}")
    shape[axis] = -(-shape[axis] // block)
    if scales.shape != tuple(shape) or scales.type not in _FLOATS:
        raise node.wrong(f"scales of shape {list(scales.shape)}, not {shape}")
    if node.given(3):
        if data.type == 2:
            shape[-1] = -(-shape[-1] * bits // 8)
        node.holds(3, "zero_points", math.prod(shape), {data.type})


def _mixture(node: Node) -> None:
    """Experts' matrices `[experts, out, in · bits / 8]`, up to three, with scales and biases.

    What newer engines can have beside them is refused: nobody's laptop model has it yet.
    """
    bits = node.number("expert_weight_bits", 4, 2, 8)
    block = node.number("block_size", 0, 0, 1 << 16)
    experts = 0
    node.number("weights_prepacked", 0, 0, 0)
    for matrix in ("fc1", "fc2", "fc3"):
        node.number(f"{matrix}_expert_weight_bits", bits, bits, bits)
    if bits not in {2, 4, 8} or any(map(node.given, range(11, 21))):
        raise node.wrong(f"{bits} bits, with zero points or scales beyond those of blocks")
    for first in (2, 5, 8):
        if first != 8 or node.given(8):
            weights = node.constant(first)
            if weights is None or len(weights.shape) != 3 or weights.type not in _PACKED:
                raise node.wrong(f"input {first} is not a constant of three dimensions")
            count, rows, packed = weights.shape
            experts = experts or count
            blocks = -(-(packed * 8 // bits) // block) if block else 1
            node.holds(first + 1, "scales", experts * rows * blocks, _FLOATS)
            if count != experts:
                raise node.wrong(f"{experts} and {count} experts")
            if node.given(first + 2):
                node.holds(first + 2, "bias", experts * rows, _FLOATS)
    node.number("k", 1, 1, experts)


def _attention(node: Node) -> None:
    """Heads that divide each other, and tables of one shape."""
    heads = node.number("num_heads", None, 1, 1 << 16)
    if node.operator == "GroupQueryAttention":
        kept = node.number("kv_num_heads", None, 1, 1 << 16)
        if heads % kept:
            raise node.wrong(f"{heads} heads share {kept}")
        _tables(node, node.constant(7), node.constant(8))


def _rotary(node: Node) -> None:
    node.number("num_heads", 0, 0, 1 << 16)
    node.number("rotary_embedding_dim", 0, 0, 1 << 16)
    _tables(node, node.constant(2), node.constant(3))


def _tables(node: Node, cosines: Tensor | None, sines: Tensor | None) -> None:
    if cosines and sines and (cosines.shape != sines.shape or len(cosines.shape) != 2):
        raise node.wrong(f"cosines {list(cosines.shape)} and sines {list(sines.shape)}")


_ARITHMETIC: Final[Mapping[str, Callable[[Node], Any]]] = {
    "Attention": lambda node: node.number("num_heads", 1, 1, 1 << 16),
    "GatherBlockQuantized": _gather_block_quantized,
    "GroupQueryAttention": _attention,
    "MatMulBnb4": _matmul_bnb4,
    "MatMulNBits": _matmul_n_bits,
    "MultiHeadAttention": _attention,
    "QMoE": _mixture,
    "RotaryEmbedding": _rotary,
    "SparseAttention": _attention,
}
