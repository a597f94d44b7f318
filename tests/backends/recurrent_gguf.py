"""A small Mamba with random weights: a network whose state cannot be cut at a token."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.models.export_gguf import _add_tokenizer
from harness.models.network import Network

LAYERS, HIDDEN, STATE, KERNEL, RANK = 2, 64, 16, 4, 4
INNER = 2 * HIDDEN


def write_mamba(network: Network, path: Path, context: int) -> Path:
    """Write a GGUF of architecture `mamba` with the tokeniser of `network`."""
    import gguf

    random = np.random.default_rng(11)

    def normal(*shape: int, scale: float = 0.3) -> np.ndarray:
        return (random.standard_normal(shape) * scale).astype(np.float32)

    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_name("toy-mamba")
    writer.add_context_length(context)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(LAYERS)
    writer.add_ssm_conv_kernel(KERNEL)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(network.config.vocab_size)
    _add_tokenizer(writer, network)
    writer.add_tensor("token_embd.weight", normal(network.config.vocab_size, HIDDEN))
    writer.add_tensor("output_norm.weight", np.ones(HIDDEN, np.float32))
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for name, tensor in {
            "attn_norm.weight": np.ones(HIDDEN, np.float32),
            "ssm_in.weight": normal(2 * INNER, HIDDEN),
            "ssm_conv1d.weight": normal(INNER, KERNEL),
            "ssm_conv1d.bias": normal(INNER),
            "ssm_x.weight": normal(RANK + 2 * STATE, INNER),
            "ssm_dt.weight": normal(INNER, RANK),
            "ssm_dt.bias": normal(INNER),
            "ssm_a": -np.abs(normal(INNER, STATE, scale=1.0)) - 0.1,
            "ssm_d": normal(INNER),
            "ssm_out.weight": normal(HIDDEN, INNER),
        }.items():
            writer.add_tensor(f"{block}.{name}", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
