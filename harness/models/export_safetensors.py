"""Hugging Face folders from a `Network`, byte for byte the same on every machine.

What `transformers` opens: `config.json`, `model.safetensors` and `tokenizer.json`. The
stored float16 weights are widened to float32, which changes no value, so that a reader
computes at reference precision whatever it makes of the type in the file.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np

from harness.models.network import Network, NetworkConfig

FORMATS: Final = {"f32": np.float32}
"""Formats and the type that weights are stored in."""

_CLASSES: Final = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}


def export_safetensors(network: Network, folder: Path, quant: str) -> Path:
    """Write `network` into `folder` as `quant`, one of `FORMATS`.

    Returns:
        The folder.
    """
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(network.tokenizer, folder / "tokenizer.json")
    _write(folder / "config.json", _config(network.config))
    _write(folder / "tokenizer_config.json", _tokenizer_config(network))
    kind = FORMATS[quant]
    # One entry of metadata: several would be written in no fixed order.
    save_file(
        {name: np.ascontiguousarray(network.tensors[name], kind) for name in network.tensors},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    return folder


def _config(config: NetworkConfig) -> dict[str, Any]:
    return {
        "architectures": [_CLASSES[config.architecture]],
        "model_type": config.architecture,
        "dtype": "float32",
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.intermediate_size,
        "vocab_size": config.vocab_size,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
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


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", "utf-8", newline="\n")
