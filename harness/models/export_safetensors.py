"""Hugging Face folders from a `Network`, byte for byte the same on every machine.

What `transformers` opens: `config.json`, `model.safetensors` and `tokenizer.json`. The
stored float16 weights are widened to float32 in `f32`, which changes no value, so that a
reader computes at reference precision whatever it makes of the type in the file.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np

from harness.models.network import Network, NetworkConfig, row_slices, tensor_shapes

FORMATS: Final[dict[str, tuple[str, np.dtype[Any]]]] = {
    "f32": ("F32", np.dtype("<f4")),
    "f16": ("F16", np.dtype("<f2")),
}
"""Formats, and the type that weights are stored in by its name there and by NumPy's."""

_ALIGNMENT: Final = 64

_CLASSES: Final = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}


def export_safetensors(network: Network, folder: Path, quant: str) -> Path:
    """Write `network` into `folder` as `quant`, one of `FORMATS`.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(network.tokenizer, folder / "tokenizer.json")
    kind, dtype = FORMATS[quant]
    _write(folder / "config.json", _config(network.config, dtype.name))
    _write(folder / "tokenizer_config.json", _tokenizer_config(network))
    _write_tensors(folder / "model.safetensors", network, kind, dtype)
    return folder


def _config(config: NetworkConfig, dtype: str) -> dict[str, Any]:
    rotary: dict[str, Any] = {"rope_type": "default", "rope_theta": config.rope_theta}
    if config.llama3_rope_factor:
        rotary |= {
            "rope_type": "llama3",
            "factor": config.llama3_rope_factor,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }
    return {
        "architectures": [_CLASSES[config.architecture]],
        "model_type": config.architecture,
        "dtype": dtype,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.intermediate_size,
        "vocab_size": config.vocab_size,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_parameters": rotary,
        "max_position_embeddings": config.max_position_embeddings,
        "tie_word_embeddings": config.tie_word_embeddings,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
    }


def _tokenizer_config(network: Network) -> dict[str, Any]:
    """Have `transformers` take `tokenizer.json` as it is, not the architecture's usual one."""
    tokens = json.loads(network.tokenizer.read_text("utf-8"))["added_tokens"]
    texts = {token["id"]: token["content"] for token in tokens}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": network.config.max_position_embeddings,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": False,
        "bos_token": texts.get(network.config.bos_token_id),
        "eos_token": texts.get(network.config.eos_token_id),
    }


def _write_tensors(path: Path, network: Network, kind: str, dtype: np.dtype[Any]) -> None:
    """Tensor after tensor, a slice at a time, behind a header that lists them.

    Written here and not by the `safetensors` package, whose order of entries and access
    rights of files are its own affair.
    """
    stamp = {"synthetic": "true"} if network.synthetic else {}
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **stamp}}
    shapes = tensor_shapes(network.config)
    end = 0
    for name in network.tensors:
        start, end = end, end + math.prod(shapes[name]) * dtype.itemsize
        header[name] = {"dtype": kind, "shape": shapes[name], "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in network.tensors.values():
            for rows in row_slices(tensor.shape):
                file.write(np.ascontiguousarray(tensor[rows], dtype).tobytes())


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", "utf-8", newline="\n")
