"""The reference models' network, and its files.

Llama's architecture with Hugging Face's parameter names and rotary convention, small
enough to read in one go. Rows hold several documents, each of which sees only itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

LAYERS = {"ref-4m": 4, "ref-2m": 2}
END, PAD = 0, 1


@dataclass(frozen=True)
class Config:
    """Llama's shape, with the keys of a Hugging Face `config.json`."""

    architecture: str = "llama"
    hidden_size: int = 256
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64
    intermediate_size: int = 768
    vocab_size: int = 3072
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    max_position_embeddings: int = 2048
    tie_word_embeddings: bool = True
    bos_token_id: int = END
    eos_token_id: int = END


class Norm(nn.Module):
    """Root-mean-square norm in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Scale each vector to unit root mean square, then by the weight."""
        return F.rms_norm(x.float(), self.weight.shape, self.weight, self.eps)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions, halves rotated as in Hugging Face."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = config.head_dim
        width, kv_width = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=False)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """Mix each document's positions; shapes as in `Llama.forward`."""
        rows, length, _ = x.shape

        def split(y: Tensor, heads: int) -> Tensor:
            return y.view(rows, length, heads, self.head_dim).transpose(1, 2)

        q = rotate(split(self.q_proj(x), self.heads), rotary)
        k = rotate(split(self.k_proj(x), self.kv_heads), rotary)
        v = split(self.v_proj(x), self.kv_heads)
        # Fused kernels with a mask know no groups.
        k, v = (x.repeat_interleave(self.heads // self.kv_heads, 1) for x in (k, v.to(q.dtype)))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o_proj(y.transpose(1, 2).reshape(rows, length, -1))


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each position alone."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.input_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """Add what attention, then the feed-forward, make of the stream."""
        x = x + self.self_attn(self.input_layernorm(x), rotary, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """The network; parameter names equal Hugging Face's without the prefix `model.`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = Norm(config.hidden_size, config.rms_norm_eps)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                # Output projections start smaller, or early steps are spent undoing them.
                scale = 0.5 if "o_proj" in name or "down_proj" in name else 1.0
                nn.init.normal_(weight, std=0.02 * scale)

    def forward(self, ids: Tensor, positions: Tensor, documents_: Tensor) -> Tensor:
        """Last hidden states of rows of packed documents, all `[rows, length]`."""
        rotary = rotary_tables(positions, self.config)
        size = ids.shape[1]
        causal = torch.ones(size, size, dtype=torch.bool, device=ids.device).tril()
        mask = (causal & (documents_[:, :, None] == documents_[:, None, :]))[:, None]
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, rotary, mask)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token, by the tied embedding."""
        return F.linear(hidden, self.embed_tokens.weight)


def rotary_tables(positions: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[rows, 1, length, head_dim]`."""
    half = torch.arange(0, config.head_dim, 2, device=positions.device) / config.head_dim
    angles = positions[:, None, :, None].float() * config.rope_theta**-half
    angles = torch.cat((angles, angles), -1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the pairs (i, i + half) by their angles."""
    first, second = x.chunk(2, -1)
    cos, sin = (table.to(x.dtype) for table in rotary)
    return x * cos + torch.cat((-second, first), -1) * sin


def save(model: Llama, path: Path) -> None:
    """Write float16 weights under Hugging Face names, the configuration as metadata."""
    tensors = {f"model.{k}": v.detach().half().contiguous() for k, v in model.state_dict().items()}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"config": json.dumps(vars(model.config))})
    partial.chmod(0o644)
    partial.replace(path)


def load(path: Path) -> Llama:
    """A model from its file, in float32."""
    tensors = {k.removeprefix("model."): v.float() for k, v in load_file(path).items()}
    layers = 1 + max(int(key.split(".")[1]) for key in tensors if key.startswith("layers."))
    model = Llama(Config(num_hidden_layers=layers))
    model.load_state_dict(tensors)
    return model
