"""GGUF files from a `Network`, byte for byte the same on every machine.

Float and block formats are written with the `gguf` package and NumPy alone.
K-quants of trained weights need llama.cpp's own code: see `quantise`. Two things
are easy to get wrong and are silent when wrong: llama.cpp's `llama` graph rotates *neighbouring*
pairs, so the rows of q and k are reordered (not for `qwen2` and `qwen3`,
which rotate halves as Hugging Face does); and the pre-tokeniser's name must match
`tokenizer.json`, or Korean and digits are split differently.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
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
    rope_factors,
    row_slices,
    tensor_shapes,
)
from harness.models.random_weights import RandomTensors

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter

FORMATS: Final = ("f32", "f16", "q8_0", "q4_0")
"""What NumPy can write of any weights."""

K_QUANTS: Final = ("q4_k_m", "q6_k")
"""What can be written besides of random weights, which need no quantiser."""

_FILE_TYPES: Final = {
    "f32": "ALL_F32",
    "f16": "MOSTLY_F16",
    "q8_0": "MOSTLY_Q8_0",
    "q4_0": "MOSTLY_Q4_0",
    "q4_k_m": "MOSTLY_Q4_K_M",
    "q6_k": "MOSTLY_Q6_K",
}
"""GGUF's names of them."""

_ALIGNMENT: Final = 32
"""Of tensors, in bytes."""

_TENSOR_NAMES: Final = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_ROPE_FACTORS: Final = "rope_freqs.weight"
_OUTER_NAMES: Final = {
    _ROPE_FACTORS: _ROPE_FACTORS,
    EMBEDDING: "token_embd.weight",
    FINAL_NORM: "output_norm.weight",
    HEAD: "output.weight",
}


def export_gguf(network: Network, path: Path, quant: str) -> None:
    """Write `network` to `path` as `quant`: one of `FORMATS`, of random weights also `K_QUANTS`.

    Raises:
        PrerequisiteError: the `gguf` package is missing.
        SpecError: a tokenizer that llama.cpp has no name for.
    """
    gguf = _package()
    writer = gguf.GGUFWriter(path, network.config.architecture)
    _describe(writer, network, gguf.LlamaFileType[_FILE_TYPES[quant]])
    _add_tokenizer(writer, network)
    plan = _plan(network.config, quant)
    for name, (shape, kind, size) in plan.items():
        writer.add_tensor_info(gguf_name(name), shape, np.dtype(np.float32), size, raw_dtype=kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()
    with path.open("ab") as file:
        for name, (_, kind, _) in plan.items():
            file.write(bytes(-file.tell() % _ALIGNMENT))
            for part in _data(network, name, kind):
                part.tofile(file)
        file.write(bytes(-file.tell() % _ALIGNMENT))


def _package() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise PrerequisiteError(
            "writing GGUF needs the 'gguf' package",
            hint=install_hint("gguf"),
        ) from error
    return gguf


def weight_bytes(config: NetworkConfig, quant: str) -> int:
    """How many bytes the tensors of a file take.

    Raises:
        PrerequisiteError: the `gguf` package is missing.
    """
    return sum(size for _, _, size in _plan(config, quant).values())


def _plan(
    config: NetworkConfig, quant: str
) -> dict[str, tuple[tuple[int, ...], GGMLQuantizationType, int]]:
    """Shape, type and bytes of what a file holds: the network's tensors and its rotary scaling."""
    sizes = _package().GGML_QUANT_SIZES
    factors = {_ROPE_FACTORS: (config.head_dim // 2,)} if config.llama3_rope_factor else {}
    plan = {}
    for name, shape in {**factors, **tensor_shapes(config)}.items():
        kind = _tensor_type(name, shape, config, quant)
        block, size = sizes[kind]
        plan[name] = shape, kind, math.prod(shape) // block * size
    return plan


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


def _tensor_type(
    name: str, shape: tuple[int, ...], config: NetworkConfig, quant: str
) -> GGMLQuantizationType:
    """The type of a tensor, as llama.cpp's quantiser chooses it.

    Vectors stay float32, as llama.cpp requires of norms and biases. A matrix that makes
    the logits stays at eight bits in q4_0: its error reaches the answer undamped, so
    llama.cpp also keeps it higher (q6_K, or q8_0 where a row is no multiple of 256); q8_0
    is the nearest that NumPy can write. K-quants follow `llama_model_quantize` exactly.
    """
    from gguf import GGMLQuantizationType

    if len(shape) == 1:
        return GGMLQuantizationType.F32
    if quant == "q4_0" and name in {EMBEDDING, HEAD}:
        return GGMLQuantizationType.Q8_0
    if quant not in K_QUANTS:
        return GGMLQuantizationType[quant.upper()]
    high = name == (EMBEDDING if config.tie_word_embeddings else HEAD)
    kind = "Q6_K" if quant == "q6_k" or high or _needs_more_bits(name, config) else "Q4_K"
    if shape[-1] % 256:
        kind = {"Q6_K": "Q8_0", "Q4_K": "Q5_0"}[kind]
    return GGMLQuantizationType[kind]


def _needs_more_bits(name: str, config: NetworkConfig) -> bool:
    """Whether q4_k_m keeps a matrix at six bits: v and down of half of the layers.

    Those are the first and last eighth, and of the others every third
    (`use_more_bits` of llama.cpp).
    """
    if not name.endswith(("v_proj.weight", "down_proj.weight")):
        return False
    layer, eighth = int(name.split(".")[2]), config.num_hidden_layers // 8
    last = 7 * config.num_hidden_layers // 8
    return layer < eighth or layer >= last or (layer - eighth) % 3 == 2


def _data(network: Network, name: str, kind: GGMLQuantizationType) -> Iterator[Array]:
    """A tensor as the file has it, in parts."""
    from gguf import quantize

    if name == _ROPE_FACTORS:
        yield np.array(rope_factors(network.config), "<f4")
        return
    plain = {"F32": "<f4", "F16": "<f2"}.get(kind.name)
    if not plain and isinstance(network.tensors, RandomTensors):
        yield from network.tensors.gguf_blocks(name, kind.name)
        return
    tensor = to_gguf_rows(name, network.tensors[name], network.config)
    for rows in row_slices(tensor.shape):
        if plain:
            yield np.ascontiguousarray(tensor[rows], plain)
        else:
            yield quantize(tensor[rows].astype(np.float32), kind)


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
