"""ONNX folders from a `Network`, byte for byte the same on every machine.

The graph is the one ONNX Runtime's own tools write: GroupQueryAttention with the
rotary inside, past and present as inputs and outputs (bind both to one buffer),
fused norms, MatMulNBits for int8 and int4. One addition: `logits_rows`, the rows
of the last hidden state that pass the head, so that one graph serves prefill
(none), decoding (the last) and scoring (chosen ones).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np

from harness.errors import PrerequisiteError, install_hint
from harness.models.network import EMBEDDING, HEAD, Network, NetworkConfig, tensor_shapes
from harness.models.onnx_graph import BLOCK, Weights, build

FORMATS: Final = {"fp32": 32, "int8": 8, "int4": 4}
"""Formats and their bits a weight."""

EXTERNAL_BYTES: Final = 512 << 20
"""Above this the weights go to a second file: protobuf ends at 2 GiB and holds
two copies while it writes."""


def export_onnx(
    network: Network,
    folder: Path,
    quant: str,
    *,
    logits_rows: bool = True,
    position_ids: bool = False,
) -> Path:
    """Write `network` into `folder` as `quant`, in the layout of ONNX Runtime's Model Builder.

    Args:
        quant: one of `FORMATS`.
        logits_rows: whether the caller chooses rows; the field's files return every row.
        position_ids: whether positions are an input instead of following from the mask.

    Returns:
        The graph's path.

    Raises:
        PrerequisiteError: the `onnx` package is missing.
        SpecError: rows that blocks of 32 do not divide.
    """
    try:
        import onnx  # noqa: F401  (asked for before anything is written)
    except ImportError as error:
        raise PrerequisiteError(
            "writing ONNX needs the 'onnx' package", hint=install_hint("onnx")
        ) from error

    path = folder / "model.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(network.tokenizer, folder / "tokenizer.json")
    config = _genai_config(network.config, position_ids=position_ids)
    text = json.dumps(config, indent=2) + "\n"
    (folder / "genai_config.json").write_text(text, "utf-8", newline="\n")

    large = weight_bytes(network.config, quant) > EXTERNAL_BYTES
    with Weights(folder / "model.onnx.data" if large else None) as weights:
        model = build(
            network, FORMATS[quant], weights, logits_rows=logits_rows, position_ids=position_ids
        )
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def weight_bytes(config: NetworkConfig, quant: str) -> int:
    """About how many bytes the tensors of a graph take."""
    bits = FORMATS[quant]
    matrix = bits / 8 if bits == 32 else bits / 8 + 4 / BLOCK
    shapes = tensor_shapes(config)
    table = shapes.pop(EMBEDDING)
    if config.tie_word_embeddings and bits < 32:
        shapes[HEAD] = table
    total = sum(np.prod(shape) * (matrix if len(shape) == 2 else 4) for shape in shapes.values())
    return int(total + np.prod(table) * (4 if bits == 32 else 2))


def _genai_config(config: NetworkConfig, *, position_ids: bool) -> dict[str, Any]:
    """Return the part of Model Builder's `genai_config.json` that describes the network."""
    inputs = {
        "input_ids": "input_ids",
        "attention_mask": "attention_mask",
        "past_key_names": "past_key_values.%d.key",
        "past_value_names": "past_key_values.%d.value",
    }
    if position_ids:
        inputs["position_ids"] = "position_ids"
    return {
        "model": {
            "type": config.architecture,
            "bos_token_id": config.bos_token_id,
            "eos_token_id": config.eos_token_id,
            "pad_token_id": config.eos_token_id,
            "context_length": config.max_position_embeddings,
            "vocab_size": config.vocab_size,
            "decoder": {
                "filename": "model.onnx",
                "head_size": config.head_dim,
                "hidden_size": config.hidden_size,
                "num_attention_heads": config.num_attention_heads,
                "num_hidden_layers": config.num_hidden_layers,
                "num_key_value_heads": config.num_key_value_heads,
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "inputs": inputs,
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        # GenAI preallocates this many positions: the whole context, no more.
        "search": {
            "do_sample": False,
            "max_length": config.max_position_embeddings,
            "past_present_share_buffer": True,
        },
    }
