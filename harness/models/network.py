"""A network: its shape, its float16 weights and its tokenizer, engine-free.

A safetensors file with Hugging Face tensor names (`[out, in]`) and a `config`
entry in its metadata becomes a `Network`; the exporters turn that into GGUF or
ONNX. Tensors are read one at a time, so that memory follows the largest tensor
and random weights in the shape of a real network need no file at all.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeAlias

from numpy.typing import NDArray

from harness.errors import SpecError

Array: TypeAlias = NDArray[Any]
Tensors: TypeAlias = Mapping[str, Array]

ARCHITECTURES: Final = ("llama", "qwen2", "qwen3")

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
HEAD = "lm_head.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Shape of a decoder in the field names of Hugging Face's `config.json`."""

    architecture: str
    """`llama`; `qwen2`: the same with a bias on q, k and v; `qwen3`: with a norm on each
    head of q and k."""
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    rope_theta: float
    rms_norm_eps: float
    max_position_embeddings: int
    tie_word_embeddings: bool
    bos_token_id: int
    eos_token_id: int
    llama3_rope_factor: float = 0.0
    """Factor of the rotary scaling of Llama 3.1 and later; 0 = no scaling."""

    def __post_init__(self) -> None:
        """Refuse a shape that no exporter could write.

        Raises:
            SpecError: naming the field, its value and what is allowed.
        """
        if self.architecture not in ARCHITECTURES:
            raise SpecError(
                f"architecture is {self.architecture!r}", allowed=", ".join(ARCHITECTURES)
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise SpecError(
                f"{self.num_attention_heads} attention heads cannot share "
                f"{self.num_key_value_heads} key-value heads",
                allowed="num_attention_heads a multiple of num_key_value_heads",
            )
        if self.head_dim % 2:
            raise SpecError(f"head_dim is {self.head_dim}", allowed="an even number")

    @property
    def attention_bias(self) -> bool:
        """Whether q, k and v carry a bias."""
        return self.architecture == "qwen2"

    @property
    def head_norms(self) -> bool:
        """Whether each head of q and k passes an RMS norm of `head_dim` weights."""
        return self.architecture == "qwen3"

    @property
    def parameters(self) -> int:
        """How many weights the network has."""
        return sum(math.prod(shape) for shape in tensor_shapes(self).values())

    @classmethod
    def from_json(cls, text: str, *, where: str = "") -> NetworkConfig:
        """Read what `to_json` wrote.

        Raises:
            SpecError: it did not.
        """
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise SpecError(f"config cannot be read: {error}", where=where) from error

    def to_json(self) -> str:
        """The entry that the training script stores beside the weights."""
        return json.dumps(dataclasses.asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Everything an exporter needs."""

    name: str
    config: NetworkConfig
    tensors: Tensors
    tokenizer: Path
    """A `tokenizer.json` of the `tokenizers` package."""
    synthetic: bool = False
    """Random weights: good for speed and memory, never for accuracy."""

    @classmethod
    def load(cls, weights: Path, tokenizer: Path) -> Network:
        """Open a safetensors file; its tensors are read on access.

        Raises:
            SpecError: no usable config, or tensors that do not fit it.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(weights, framework="np") as file:
                metadata = file.metadata() or {}
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  (not a mapping)
        except (OSError, SafetensorError) as error:
            raise SpecError(f"cannot read weights: {error}", where=str(weights)) from error
        if "config" not in metadata:
            raise SpecError("metadata has no 'config' entry", where=str(weights))
        config = NetworkConfig.from_json(metadata["config"], where=str(weights))
        expected = tensor_shapes(config)
        for name in sorted(expected.keys() | shapes.keys()):
            if expected.get(name) != shapes.get(name):
                raise SpecError(
                    f"tensor {name} has shape {shapes.get(name)}",
                    where=str(weights),
                    allowed=str(expected.get(name, "no such tensor")),
                )
        return cls(
            name=weights.stem,
            config=config,
            tensors=_StoredTensors(weights, tuple(shapes)),
            tokenizer=tokenizer,
        )


def tensor_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of every tensor, in the order in which the network uses them."""
    c = config
    query, pair = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (c.vocab_size, c.hidden_size)}
    for layer in range(c.num_hidden_layers):
        block = f"model.layers.{layer}."
        shapes[block + "input_layernorm.weight"] = (c.hidden_size,)
        for kind, rows in (("q", query), ("k", pair), ("v", pair)):
            shapes[f"{block}self_attn.{kind}_proj.weight"] = (rows, c.hidden_size)
            if c.attention_bias:
                shapes[f"{block}self_attn.{kind}_proj.bias"] = (rows,)
            if c.head_norms and kind != "v":
                shapes[f"{block}self_attn.{kind}_norm.weight"] = (c.head_dim,)
        shapes[block + "self_attn.o_proj.weight"] = (c.hidden_size, query)
        shapes[block + "post_attention_layernorm.weight"] = (c.hidden_size,)
        shapes[block + "mlp.gate_proj.weight"] = (c.intermediate_size, c.hidden_size)
        shapes[block + "mlp.up_proj.weight"] = (c.intermediate_size, c.hidden_size)
        shapes[block + "mlp.down_proj.weight"] = (c.hidden_size, c.intermediate_size)
    shapes[FINAL_NORM] = (c.hidden_size,)
    if not c.tie_word_embeddings:
        shapes[HEAD] = (c.vocab_size, c.hidden_size)
    return shapes


def rope_frequencies(config: NetworkConfig) -> list[float]:
    """Radians a position of each rotated pair `[head_dim / 2]`, before any scaling.

    They go through `Decimal`, which rounds alike everywhere: one last bit of a
    platform's `pow`, times position 2047, would change a file's hash.
    """
    theta, half = Decimal(config.rope_theta), config.head_dim // 2
    return [float(theta ** (Decimal(-i) / half)) for i in range(half)]


def rope_factors(config: NetworkConfig) -> list[float]:
    """What each frequency is divided by `[head_dim / 2]`; empty = nothing.

    The `llama3` scaling of `transformers`: pairs that turn less than once in the 8192
    positions of the first training are slowed by the whole factor, those that turn more
    than four times are kept, and between the two the change is linear.
    """
    if not config.llama3_rope_factor:
        return []
    turns = (8192 * frequency / math.tau for frequency in rope_frequencies(config))
    kept = (min(max((turn - 1) / 3, 0.0), 1.0) for turn in turns)
    return [1 / ((1 - share) / config.llama3_rope_factor + share) for share in kept]


class _StoredTensors(Mapping[str, Array]):
    """Tensors of a safetensors file, each read when asked for."""

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self._path = path
        self._names = names

    def __getitem__(self, name: str) -> Array:
        from safetensors import safe_open

        if name not in self._names:
            raise KeyError(name)
        with safe_open(self._path, framework="np") as file:
            tensor: Array = file.get_tensor(name)
            return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def row_slices(shape: tuple[int, ...], elements: int = 1 << 20) -> Iterator[slice]:
    """Slices of the first axis that hold about `elements` numbers each.

    Conversions go slice by slice: temporaries stay small and a vocabulary of
    150,000 tokens does not triple the memory.
    """
    step = max(1, elements * shape[0] // math.prod(shape))
    for start in range(0, shape[0], step):
        yield slice(start, start + step)
