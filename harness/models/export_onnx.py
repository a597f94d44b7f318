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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from harness.errors import PrerequisiteError, SpecError, did_you_mean
from harness.models.network import EMBEDDING, HEAD, Network, NetworkConfig, tensor_shapes
from harness.models.onnx_graph import BLOCK, Weights, build

FORMATS: Final = {"fp32": 32, "int8": 8, "int4": 4}
"""Formats and their bits a weight."""

LAYOUTS: Final = ("model_builder", "transformers_js")

EXTERNAL_BYTES: Final = 512 << 20
"""Above this the weights go to a second file: protobuf ends at 2 GiB and holds
two copies while it writes."""

_TRANSFORMERS_JS_SUFFIX: Final = {"fp32": "", "int8": "_int8", "int4": "_q4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxOptions:
    """Which of the variants met in the wild to write."""

    layout: str = "model_builder"
    """`model_builder` or `transformers_js`."""
    logits_rows: bool = True
    """Whether the caller chooses rows; the field's files return every row."""
    position_ids: bool = False
    """Whether positions are an input instead of following from the mask."""

    def __post_init__(self) -> None:
        """Refuse an unknown layout with a `SpecError`."""
        if self.layout not in LAYOUTS:
            raise SpecError(
                f"no ONNX layout {self.layout!r}{did_you_mean(self.layout, LAYOUTS)}",
                allowed=", ".join(LAYOUTS),
            )


def export_onnx(
    network: Network, folder: Path, quant: str, options: OnnxOptions | None = None
) -> Path:
    """Write `network` into `folder` as `quant` (one of `FORMATS`); returns the graph's path.

    Raises:
        PrerequisiteError: the `onnx` package is missing.
        SpecError: unknown `quant`, or rows that blocks of 32 do not divide.
    """
    options = options or OnnxOptions()
    if quant not in FORMATS:
        raise SpecError(
            f"no ONNX format {quant!r}{did_you_mean(quant, FORMATS)}", allowed=", ".join(FORMATS)
        )
    try:
        import onnx  # noqa: F401  (asked for before anything is written)
    except ImportError as error:
        raise PrerequisiteError(
            "writing ONNX needs the 'onnx' package", hint='pip install "sllm-harness[onnx]"'
        ) from error

    plain = options.layout == "model_builder"
    name = "model.onnx" if plain else f"onnx/model{_TRANSFORMERS_JS_SUFFIX[quant]}.onnx"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(network.tokenizer, folder / "tokenizer.json")
    document = _genai_config if plain else _hugging_face_config
    target = folder / ("genai_config.json" if plain else "config.json")
    text = json.dumps(document(network.config, options), indent=2) + "\n"
    target.write_text(text, "utf-8", newline="\n")

    large = weight_bytes(network.config, quant) > EXTERNAL_BYTES
    with Weights(path.with_name(path.name + ".data") if large else None) as weights:
        model = build(
            network,
            FORMATS[quant],
            weights,
            logits_rows=options.logits_rows,
            position_ids=options.position_ids,
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


def _genai_config(config: NetworkConfig, options: OnnxOptions) -> dict[str, Any]:
    """Return the part of Model Builder's `genai_config.json` that describes the network."""
    inputs = {
        "input_ids": "input_ids",
        "attention_mask": "attention_mask",
        "past_key_names": "past_key_values.%d.key",
        "past_value_names": "past_key_values.%d.value",
    }
    if options.position_ids:
        inputs["position_ids"] = "position_ids"
    return {
        "model": {
            "type": "llama" if config.architecture == "llama" else "qwen2",
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


def _hugging_face_config(config: NetworkConfig, _: OnnxOptions) -> dict[str, Any]:
    """Hugging Face's `config.json`, which Transformers.js folders carry."""
    values: dict[str, Any] = json.loads(config.to_json())
    kind = values.pop("architecture")
    names = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
    return {"architectures": [names[kind]], "model_type": kind, "hidden_act": "silu", **values}
