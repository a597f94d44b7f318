"""The forward pass of a Llama, Qwen2 or Qwen3 network in NumPy: engines are checked against it.

In float32, written from the definition, slow on purpose: one sequence, no cache, no batch.
"""

from __future__ import annotations

import numpy as np

from harness.models.network import EMBEDDING, FINAL_NORM, HEAD, Array, NetworkConfig, Tensors


def forward(config: NetworkConfig, tensors: Tensors, ids: list[int]) -> Array:
    """Logits float32 `[len(ids), vocab]` after each token of `ids`."""

    def weight(name: str) -> Array:
        return tensors[name].astype(np.float32)

    def linear(x: Array, module: str) -> Array:
        y = x @ weight(module + ".weight").T
        return y + weight(module + ".bias") if module + ".bias" in tensors else y

    def norm(x: Array, name: str) -> Array:
        mean = np.mean(np.square(x), axis=-1, keepdims=True)
        return x / np.sqrt(mean + config.rms_norm_eps) * weight(name)

    x = weight(EMBEDDING)[ids]
    for layer in range(config.num_hidden_layers):
        block = f"model.layers.{layer}."
        h = norm(x, block + "input_layernorm.weight")
        q, k, v = (linear(h, f"{block}self_attn.{kind}_proj") for kind in "qkv")
        if config.architecture == "qwen3":
            q, k = (
                norm(part.reshape(len(ids), -1, config.head_dim), f"{block}self_attn.{name}.weight")
                for part, name in ((q, "q_norm"), (k, "k_norm"))
            )
        x = x + linear(attention(config, q, k, v), block + "self_attn.o_proj")
        h = norm(x, block + "post_attention_layernorm.weight")
        gate = linear(h, block + "mlp.gate_proj")
        fed = gate / (1 + np.exp(-gate)) * linear(h, block + "mlp.up_proj")
        x = x + linear(fed, block + "mlp.down_proj")
    x = norm(x, FINAL_NORM)
    return x @ weight(EMBEDDING if config.tie_word_embeddings else HEAD).T


def attention(config: NetworkConfig, q: Array, k: Array, v: Array) -> Array:
    """Causal grouped-query attention, `[tokens, heads * head_dim]`."""
    tokens = len(q)
    q, k, v = (part.reshape(tokens, -1, config.head_dim).swapaxes(0, 1) for part in (q, k, v))
    group = config.num_attention_heads // config.num_key_value_heads
    q, k = rotate(config, q), np.repeat(rotate(config, k), group, axis=0)
    scores = q @ k.swapaxes(1, 2) / np.float32(np.sqrt(config.head_dim))
    scores[:, np.triu(np.ones((tokens, tokens), bool), 1)] = -np.inf
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    mixed = weights @ np.repeat(v, group, axis=0)
    return mixed.swapaxes(0, 1).reshape(tokens, -1)


def rotate(config: NetworkConfig, x: Array) -> Array:
    """Rotary embedding on halves, of `x` `[heads, tokens, head_dim]`."""
    half = config.head_dim // 2
    frequencies = config.rope_theta ** -(np.arange(half) / half)
    if factor := config.llama3_rope_factor:
        frequencies = scaled(frequencies, factor)
    angles = np.arange(x.shape[1])[:, None] * frequencies
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def scaled(frequencies: Array, factor: float) -> Array:
    """Rotary scaling of Llama 3.1, case by case as Meta's own code has it."""
    out = []
    for frequency in frequencies:
        length = 2 * np.pi / frequency
        if length < 8192 / 4:
            out.append(frequency)
        elif length > 8192:
            out.append(frequency / factor)
        else:
            smooth = (8192 / length - 1) / (4 - 1)
            out.append((1 - smooth) * frequency / factor + smooth * frequency)
    return np.array(out)
