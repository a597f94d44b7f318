"""GGUF files from a `Network`, byte for byte the same on every machine.

Float and block formats are written with the `gguf` package and NumPy alone.
K-quants need llama.cpp's own code: see `quantise`. Two things are easy to get
wrong and are silent when wrong: llama.cpp's `llama` graph rotates *neighbouring*
pairs, so the rows of q and k are reordered (not for `qwen2`, which rotates
halves as Hugging Face does); and the pre-tokeniser's name must match
`tokenizer.json`, or Korean and digits are split differently.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from harness.errors import PrerequisiteError, SpecError, install_hint
from harness.models.network import (
    EMBEDDING,
    FINAL_NORM,
    HEAD,
    Array,
    Network,
    NetworkConfig,
    row_slices,
    tensor_shapes,
)

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter

FORMATS: Final = {
    "f32": "ALL_F32",
    "f16": "MOSTLY_F16",
    "q8_0": "MOSTLY_Q8_0",
    "q4_0": "MOSTLY_Q4_0",
}
"""What NumPy can write, and the name of its file type."""

_TENSOR_NAMES: Final = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTER_NAMES: Final = {
    EMBEDDING: "token_embd.weight",
    FINAL_NORM: "output_norm.weight",
    HEAD: "output.weight",
}


def export_gguf(network: Network, path: Path, quant: str) -> None:
    """Write `network` to `path` as `quant` (one of `FORMATS`).

    Raises:
        PrerequisiteError: the `gguf` package is missing.
        SpecError: a tokenizer that llama.cpp has no name for.
    """
    try:
        import gguf
    except ImportError as error:
        raise PrerequisiteError(
            "writing GGUF needs the 'gguf' package",
            hint=install_hint("gguf"),
        ) from error

    writer = gguf.GGUFWriter(path, network.config.architecture)
    _describe(writer, network, gguf.LlamaFileType[FORMATS[quant]])
    _add_tokenizer(writer, network)
    plan = []
    for name, shape in tensor_shapes(network.config).items():
        kind = _tensor_type(name, shape, quant)
        block, size = gguf.GGML_QUANT_SIZES[kind]
        nbytes = math.prod(shape) // block * size
        writer.add_tensor_info(gguf_name(name), shape, np.dtype(np.float32), nbytes, raw_dtype=kind)
        plan.append((name, kind))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, kind in plan:
            tensor = to_gguf_rows(name, network.tensors[name], network.config)
            writer.write_tensor_data(_quantised(tensor, kind))
    finally:
        writer.close()


def gguf_name(name: str) -> str:
    """llama.cpp's name of a Hugging Face tensor."""
    if name in _OUTER_NAMES:
        return _OUTER_NAMES[name]
    _, _, layer, inner = name.split(".", 3)
    module, _, kind = inner.rpartition(".")
    return f"blk.{layer}.{_TENSOR_NAMES[module]}.{kind}"


def to_gguf_rows(name: str, tensor: Array, config: NetworkConfig) -> Array:
    """Reorder the rows of q and k of a `llama` from rotate-half to neighbouring pairs.

    Within each head, row `i` and row `i + head_dim / 2` (one rotated pair) become
    rows `2i` and `2i + 1`. Other tensors are returned as they are.
    """
    rotated = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    heads = rotated.get(name.split(".")[-2])
    if config.architecture != "llama" or heads is None:
        return tensor
    return tensor.reshape(heads, 2, config.head_dim // 2, -1).swapaxes(1, 2).reshape(tensor.shape)


def _tensor_type(name: str, shape: tuple[int, ...], quant: str) -> GGMLQuantizationType:
    """Vectors stay float32, as llama.cpp requires of norms and biases.

    A matrix that makes the logits stays at eight bits in q4_0: its error reaches
    the answer undamped, so llama.cpp also keeps it higher (q6_K, or q8_0 where a
    row is no multiple of 256); q8_0 is the nearest that NumPy can write.
    """
    from gguf import GGMLQuantizationType

    if len(shape) == 1:
        return GGMLQuantizationType.F32
    if quant == "q4_0" and name in {EMBEDDING, HEAD}:
        return GGMLQuantizationType.Q8_0
    return GGMLQuantizationType[quant.upper()]


def _quantised(tensor: Array, kind: GGMLQuantizationType) -> Array:
    from gguf import quant_shape_to_byte_shape, quantize

    if plain := {"F32": np.float32, "F16": np.float16}.get(kind.name):
        return np.ascontiguousarray(tensor, plain)
    out = np.empty(quant_shape_to_byte_shape(tensor.shape, kind), np.uint8)
    for rows in row_slices(tensor.shape):
        out[rows] = quantize(tensor[rows].astype(np.float32), kind)
    return out


def _describe(writer: GGUFWriter, network: Network, file_type: int) -> None:
    c = network.config
    writer.add_name(network.name)
    writer.add_file_type(file_type)
    writer.add_quantization_version(2)
    writer.add_bool("harness.synthetic", network.synthetic)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_key_length(c.head_dim)
    writer.add_value_length(c.head_dim)
    writer.add_rope_dimension_count(c.head_dim)
    writer.add_rope_freq_base(c.rope_theta)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_vocab_size(c.vocab_size)


def _add_tokenizer(writer: GGUFWriter, network: Network) -> None:
    from gguf import TokenType

    document = json.loads(network.tokenizer.read_text("utf-8"))
    size = network.config.vocab_size
    tokens = [f"[PAD{index}]" for index in range(size)]
    types = [int(TokenType.UNUSED)] * size
    for text, index in document["model"]["vocab"].items():
        tokens[index], types[index] = text, int(TokenType.NORMAL)
    for added in document["added_tokens"]:
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        tokens[added["id"]], types[added["id"]] = added["content"], int(kind)
    merges = document["model"]["merges"]

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer_name(document, where=str(network.tokenizer)))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    # tokenizers >= 0.20 writes a merge as a pair, older files as one string.
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(network.config.bos_token_id)
    writer.add_eos_token_id(network.config.eos_token_id)
    writer.add_add_bos_token(value=False)


def pre_tokenizer_name(document: dict[str, Any], *, where: str = "") -> str:
    """llama.cpp's name for the pre-tokeniser of a `tokenizer.json`.

    Raises:
        SpecError: none of the two pairings known to agree id for id.
    """
    pre = document["pre_tokenizer"] or {}
    steps = pre.get("pretokenizers", [pre])
    shape = [
        (step.get("type"), bool(step.get("individual_digits") or step.get("use_regex")))
        for step in steps
    ]
    if shape == [("Digits", True), ("ByteLevel", True)]:
        return "smollm"
    if shape == [("Split", False), ("ByteLevel", False)]:
        return "qwen2"
    raise SpecError(
        f"llama.cpp has no known name for the pre-tokeniser {shape}",
        where=where,
        allowed="Digits(individual_digits) + ByteLevel(use_regex) for smollm, "
        "Split + ByteLevel(use_regex=False) for qwen2",
    )
