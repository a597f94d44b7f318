"""What one token costs: how many weights are read and multiplied, and what it keeps.

A decoded token reads every matrix once, so bytes a second of memory bound its speed; a
prompt multiplies every matrix with every token, so operations a second bound that. Both
follow from the tensors that a file lists. The head makes logits only for the last token
of a prompt and is counted apart. The embedding is a look-up of single rows and costs
nothing, unless it is the head as well.

Of GGUF and safetensors only headers are read, of ONNX the graph's own file; weights beside
it are not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness.errors import SpecError
from harness.models import safetensors_file
from harness.models.gguf_file import GgufFile, read_header
from harness.preflight.onnx_tensors import BITS
from harness.preflight.onnx_wire import Message, read_model

if TYPE_CHECKING:
    from harness.spec import Format

_LOOK_UPS: Final = frozenset(
    {"token_embd.weight", "per_layer_token_embd.weight", "position_embd.weight"}
)
"""Tables of a GGUF file of which a token takes one row."""

_HF_TABLES: Final = ("embed_tokens.weight", "wte.weight")
_HF_LOOK_UPS: Final = (*_HF_TABLES, "wpe.weight", "embed_positions.weight")
"""Ends of the names of such tables in safetensors."""

_WIDENED: Final = 4
"""Bytes of a weight, and of a number in the cache, once `transformers` has it in float32."""

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
        path: a GGUF file, the ONNX graph, or a safetensors folder.

    Returns:
        `read_bytes`: of all matrices, scales included; `body_parameters`: of all matrices
        but the head, where of experts only those count that a token is sent to;
        `head_parameters`; `kv_bytes`: of the key-value cache (GGUF: in float16). Safetensors
        count as the float32 that they are widened to. What the file does not say is absent.
    """
    try:
        if kind == "gguf":
            return gguf_costs(read_header(path))
        if kind == "onnx":
            return onnx_weights(read_model(path)[0])
        if kind == "safetensors":
            return _safetensors_costs(path)
    except (AttributeError, LookupError, OSError, SpecError, TypeError, ValueError):
        # Whoever opens the model says what is wrong with it.
        return {}
    return {}


def gguf_costs(file: GgufFile) -> dict[str, int]:
    """The same for a header that has been read."""
    return _gguf_weights(file) | _gguf_cache(file)


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


def _gguf_cache(file: GgufFile) -> dict[str, int]:
    """Keys and values of every layer, where all layers are alike."""
    family = file.metadata.get("general.architecture")

    def number(key: str, default: int = 0) -> int:
        value = file.metadata.get(f"{family}.{key}", default)
        return value if isinstance(value, int) else 0  # one number a layer: not alike

    heads = number("attention.head_count")
    width = number("embedding_length") // heads if heads else 0
    size = number("attention.key_length", width) + number("attention.value_length", width)
    kept = number("attention.head_count_kv", heads) * size
    cache = number("block_count") * kept * 2
    return {"kv_bytes": cache} if cache else {}


def _cost(read: int, body: int, head: int) -> dict[str, int]:
    if not body or not head:
        return {}
    return {"read_bytes": read, "body_parameters": body, "head_parameters": head}


# --- safetensors --------------------------------------------------------------------


def _safetensors_costs(folder: Path) -> dict[str, int]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    if "vision_config" in config or "audio_config" in config:
        return {}  # what a token of text takes cannot be told from names
    tensors: dict[str, safetensors_file.Tensor] = {}
    for file in safetensors_file.weight_files(folder):
        tensors |= safetensors_file.read_header(file)
    table = next((name for name in tensors if name.endswith(_HF_TABLES)), "")
    head_name = "lm_head.weight" if "lm_head.weight" in tensors else table
    experts, used = _experts(config)
    body = head = 0
    for name, tensor in tensors.items():
        elements = tensor.elements
        if ".experts." in name:
            if not 0 < used <= experts:
                return {}
            elements = elements * used // experts
        elif len(tensor.shape) != 2 or (name.endswith(_HF_LOOK_UPS) and name != head_name):
            continue
        if name == head_name:
            head = elements
        else:
            body += elements
    return _cost(_WIDENED * (body + head), body, head) | _safetensors_cache(config)


def _experts(config: Mapping[str, Any]) -> tuple[int, int]:
    """How many experts a layer has, and how many of them a token is sent to."""
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    return next((config[name] for name in names if name in config), 0), config.get(
        "num_experts_per_tok", 0
    )


def _safetensors_cache(config: Mapping[str, Any]) -> dict[str, int]:
    """Keys and values of every layer, where all layers are alike."""
    kinds = set(config.get("layer_types") or ["full_attention"])
    if config.get("kv_lora_rank") or not kinds <= {"full_attention", "sliding_attention"}:
        return {}
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    kept = config.get("num_key_value_heads") or heads
    return {"kv_bytes": config["num_hidden_layers"] * 2 * kept * width * _WIDENED}


# --- ONNX ---------------------------------------------------------------------------


class _Weight(NamedTuple):
    shape: tuple[int, ...]
    size_bytes: int


class _Graph(NamedTuple):
    """Nodes, inputs and outputs as in the file, weights by name, the maker of each value."""

    nodes: Sequence[Message]
    inputs: Sequence[Message]
    outputs: list[str]
    weights: dict[str, _Weight]
    makers: dict[str, Message]


def onnx_weights(model: Message) -> dict[str, int]:
    """`weights_of` a model that has been read."""
    graph = _graph(model)
    return _onnx_weights(graph) | _onnx_cache(graph)


def _onnx_cache(graph: _Graph) -> dict[str, int]:
    """Keys and values of the past, `[batch, heads, past, width]` each."""
    cache = 0
    for item in graph.inputs:
        kind = (item.one("type") or item).one("tensor_type")
        shape = kind.one("shape") if kind else None
        if kind is None or shape is None or not item.text("name").startswith("past"):
            continue
        sizes = [dimension.number("dim_value") for dimension in shape.each("dim")]
        if len(sizes) == 4 and sizes[1] and sizes[3]:
            cache += sizes[1] * sizes[3] * BITS.get(kind.number("elem_type"), 0) // 8
    return {"kv_bytes": cache} if cache else {}


def _onnx_weights(graph: _Graph) -> dict[str, int]:
    head_node = _head(graph)
    read = body = head = 0
    for node in graph.nodes:
        if node.text("op_type").endswith("MoE"):
            return {}
        if node.text("op_type") not in _PRODUCTS:
            continue
        found = [weight for name in node.texts("input") if (weight := _source(name, graph))]
        if node.text("op_type") == "MatMulNBits":
            sizes = {item.text("name"): item.number("i") for item in node.each("attribute")}
            elements = sizes.get("K", 0) * sizes.get("N", 0)
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


def _head(graph: _Graph) -> Message | None:
    """The product that the logits come from, behind casts, soft caps and the like."""
    name = next((name for name in graph.outputs if "logits" in name), "")
    for _ in graph.nodes:
        node = graph.makers.get(name)
        if node is None or node.text("op_type") in _PRODUCTS:
            return node
        name = next((made for made in node.texts("input") if made in graph.makers), "")
    return None


def _source(name: str, graph: _Graph) -> _Weight | None:
    """The stored weight behind an input; one that was stored in parts counts all of them."""
    extra = 0
    for _ in range(len(graph.nodes) + 1):
        if weight := graph.weights.get(name):
            return weight._replace(size_bytes=weight.size_bytes + extra)
        node = graph.makers.get(name)
        inputs = node.texts("input") if node else []
        if node is None or node.text("op_type") not in _PASSING or not inputs:
            return None
        parts = [graph.weights[part] for part in inputs[1:] if part in graph.weights]
        extra += sum(part.size_bytes for part in parts)
        name = inputs[0]
    return None


def _graph(model: Message) -> _Graph:
    graph = model.one("graph") or model
    nodes = graph.each("node")
    return _Graph(
        nodes=nodes,
        inputs=graph.each("input"),
        outputs=[output.text("name") for output in graph.each("output")],
        weights={
            tensor.text("name"): _Weight(
                shape := tuple(tensor.numbers("dims")),
                -(-math.prod(shape) * BITS.get(tensor.number("data_type"), 0) // 8),
            )
            for tensor in graph.each("initializer")
        },
        makers={name: node for node in nodes for name in node.texts("output")},
    )
