"""What lies in a folder with safetensors weights, judged before any library opens it.

A model is data here. Folders that bring code (`auto_map`), pickled weights, an adapter
for some other model or weights that were quantised already are refused by name; what
is left is opened by `transformers` with remote code and pickles switched off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.backends.hub_files import end_ids, read_json, refuse
from harness.errors import BackendError, SpecError
from harness.models.safetensors_file import WEIGHTS, weight_files


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsFolder:
    """A model's files and what its configuration says.

    Attributes:
        context: longest context that the configuration declares; 0 = not declared.
        bytes_on_disk: all files of weights.
    """

    home: Path
    tokenizer: Path
    context: int
    end_ids: frozenset[int]
    bytes_on_disk: int


def open_folder(path: Path) -> SafetensorsFolder:
    """Find the weights, the tokeniser and the configuration.

    Raises:
        BackendError: something is missing, unreadable, or more than data; it is named.
    """
    if not path.is_dir():
        refuse(path, "no such folder", allowed=f"a folder with config.json and {WEIGHTS}")
    config = read_json(path / "config.json")
    generation = read_json(path / "generation_config.json", optional=True)
    _require_plain(path, config)
    weights = _weights(path)
    tokenizer = path / "tokenizer.json"
    if not tokenizer.is_file():
        refuse(tokenizer, "no such file: the text must be tokenised")
    nested = config.get("text_config")
    text: Mapping[str, Any] = nested if isinstance(nested, dict) else {}
    longest = config.get("max_position_embeddings") or text.get("max_position_embeddings")
    return SafetensorsFolder(
        home=path,
        tokenizer=tokenizer,
        context=longest if isinstance(longest, int) else 0,
        end_ids=frozenset().union(*map(end_ids, (config, text, generation))),
        bytes_on_disk=sum(file.stat().st_size for file in weights),
    )


def _weights(home: Path) -> list[Path]:
    try:
        return weight_files(home)
    except SpecError as error:
        raise BackendError(
            error.message,
            where=error.where,
            allowed=error.allowed,
            hint=error.hint,
            reason=error.reason,
        ) from error


def _require_plain(home: Path, config: Mapping[str, Any]) -> None:
    """Refuse a configuration that asks for more than a known network and its weights."""
    where = str(home / "config.json")
    nested = [config, *(value for value in config.values() if isinstance(value, dict))]
    if any("auto_map" in values for values in nested):
        raise BackendError(
            "the model brings code of its own (auto_map), which is never executed here",
            where=where,
            allowed="a network that transformers knows by itself",
            hint="use a version of the model without code, or its GGUF or ONNX export",
            reason="remote_code",
        )
    if any("quantization_config" in values for values in nested):
        raise BackendError(
            "the weights are quantised already; this backend is the reference precision",
            where=where,
            allowed="float32, float16 or bfloat16 weights",
            hint="use the model that this one was made from",
            reason="weights_quantised",
        )
    if "transformers_weights" in config:
        refuse(home / "config.json", "transformers_weights names other files", allowed=WEIGHTS)
    if (home / "adapter_config.json").exists():
        refuse(home, "an adapter, not a whole model", allowed="weights with the adapter merged in")
