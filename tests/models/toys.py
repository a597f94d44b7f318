"""Networks with random weights and a small tokeniser, in the shape of the reference models."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from harness.models.network import Network, NetworkConfig
from harness.models.random_weights import RandomTensors

TEXTS = [
    "우리 집 고양이는 12살이다.",
    "The sum of 57 and 68 is 125.",
    "한국어와 English가 섞인 글",
    "a = b + c;\r\n",
]

TOY = NetworkConfig(
    architecture="llama",
    hidden_size=256,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=64,
    intermediate_size=768,
    vocab_size=320,
    rope_theta=10_000.0,
    rms_norm_eps=1e-5,
    max_position_embeddings=128,
    tie_word_embeddings=True,
    bos_token_id=0,
    eos_token_id=1,
)

VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"architecture": "qwen2"},
    "qwen3": {"architecture": "qwen3"},
    "wide heads": {"head_dim": 128},  # heads * head_dim is not hidden_size
    "llama 3": {"llama3_rope_factor": 32.0, "rope_theta": 500.0},  # all three ranges of it
}
"""Changes of `TOY` that engines must compute exactly."""


def toy_tokenizer(path: Path) -> Path:
    """Train a byte-level BPE of at most `TOY.vocab_size` tokens and save it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOY.vocab_size - 4,  # leaves ids without a token, as real files have
        special_tokens=["<bos>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.save(str(path))
    return path


def toy_network(folder: Path, **changes: object) -> Network:
    """Make a random network; `changes` replace fields of `TOY`."""
    config = dataclasses.replace(TOY, **changes)
    tensors = dict(RandomTensors(config))
    random = np.random.default_rng(0)
    for name, tensor in tensors.items():
        if name.endswith("norm.weight"):  # ones would hide a norm that is not applied
            tensors[name] = random.uniform(0.5, 1.5, tensor.shape).astype(np.float16)
    return Network(
        name="toy",
        config=config,
        tensors=tensors,
        tokenizer=toy_tokenizer(folder / "tokenizer.json"),
    )


def save(network: Network, path: Path) -> Path:
    """Store `network` as the training script does: float16 safetensors with its config."""
    from safetensors.numpy import save_file

    save_file(dict(network.tensors), path, metadata={"config": network.config.to_json()})
    return path
