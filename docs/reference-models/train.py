"""Train a reference model on items of the generated tasks.

    python docs/reference-models/train.py ref-4m --steps 1400 --out harness/models/weights
    python docs/reference-models/train.py ref-4m --evaluate --out harness/models/weights

Run from the repository's root with the `train` dependency group; `tokenizer.json` must be
there (`tokeniser.py`). The first form writes `<name>.safetensors`, `<name>-loss.csv` and
`<name>-loss.svg`; the second prints held-out accuracy as a Markdown table. Documents are
packed into rows, each seeing only itself; the loss is on answers alone. Matrices are
trained by Muon, embeddings and norms by AdamW, in bfloat16 with float32 weights.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from corpus import documents, held_out_items, score
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from harness.suites.tasks import LANGUAGES, TASKS
from harness.suites.tasks.base import Item

HERE = Path(__file__).resolve().parent
LAYERS = {"ref-4m": 4, "ref-2m": 2}
ROW = 192
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
    vocab_size: int = 2048
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
        y = F.scaled_dot_product_attention(q, k, v.to(q.dtype), attn_mask=mask, enable_gqa=True)
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
        causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
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
    half = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    angles = positions[:, None, :, None].float() * config.rope_theta**-half
    angles = torch.cat((angles, angles), -1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the pairs (i, i + half) by their angles."""
    first, second = x.chunk(2, -1)
    cos, sin = (table.to(x.dtype) for table in rotary)
    return x * cos + torch.cat((-second, first), -1) * sin


@dataclass
class Batch:
    """Packed rows; `targets` is -1 where nothing is learnt."""

    ids: Tensor
    positions: Tensor
    documents: Tensor
    targets: Tensor


def encoded(tokenizer: Tokenizer) -> Iterator[tuple[list[int], list[int]]]:
    """Endless documents as token ids and the next token to learn, or -1.

    One in ten begins with the end-of-text token, which some engines put first.
    """
    for number, parts in enumerate(documents()):
        ids: list[int] = [END] if number % 10 == 0 else []
        learnt = [False] * len(ids)
        for context, answer in parts:
            for text, learn in ((context, False), (answer, True)):
                piece = tokenizer.encode(text, add_special_tokens=False).ids
                ids += piece
                learnt += [learn] * len(piece)
        ids.append(END)
        learnt.append(True)
        if len(ids) <= ROW:
            yield (
                ids,
                [i if keep else -1 for i, keep in zip(ids[1:], learnt[1:], strict=True)] + [-1],
            )


def batches(tokenizer: Tokenizer, rows: int) -> Iterator[Batch]:
    """Rows filled with documents in order; each is kept whole."""
    stream = encoded(tokenizer)
    ids, learnt = next(stream)
    while True:
        tensors = torch.full((4, rows, ROW), -1)
        tensors[0] = PAD
        tensors[1] = 0
        for row in range(rows):
            used = number = 0
            while used + len(ids) <= ROW:
                span = slice(used, used + len(ids))
                tensors[0, row, span] = torch.tensor(ids)
                tensors[1, row, span] = torch.arange(len(ids))
                tensors[2, row, span] = number
                tensors[3, row, span] = torch.tensor(learnt)
                used, number = used + len(ids), number + 1
                ids, learnt = next(stream)
        yield Batch(*tensors)


def learnt_places(batch: Batch) -> Tensor:
    """Flat indices of what is learnt, with unlearnt ones up to a multiple of 512.

    The kernels are compiled for each shape they meet, so few shapes should occur.
    """
    order = torch.argsort(batch.targets.flatten() < 0, stable=True)
    count = int((batch.targets >= 0).sum())
    return order[: -(-count // 512) * 512]


def optimisers(model: Llama, decay: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside layers, AdamW for everything else."""
    named = dict(model.named_parameters())
    matrices = [w for name, w in named.items() if w.ndim == 2 and "embed" not in name]
    others = [w for name, w in named.items() if w.ndim == 1 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=0.02, momentum=0.95, weight_decay=decay),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.01),
    ]


def rate(step: int, steps: int) -> float:
    """Learning rate factor: short warm-up, level, then down to nothing in a straight line."""
    return min(1.0, (step + 1) / 40, (steps - step) / (0.6 * steps))


def train(name: str, out: Path, *, steps: int, rows: int, decay: float, seed: int) -> None:
    """Train, writing the weights every 100 steps and the loss curve at the end."""
    torch.manual_seed(seed)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    model = Llama(Config(num_hidden_layers=LAYERS[name]))
    groups = optimisers(model, decay)
    base = [group["lr"] for opt in groups for group in opt.param_groups]
    stream = batches(tokenizer, rows)
    curve: list[tuple[int, int, float, float]] = []
    began = time.monotonic()
    recent: list[float] = []
    for step in range(steps):
        batch = next(stream)
        for opt, lr in zip(groups, base, strict=True):
            opt.param_groups[0]["lr"] = lr * rate(step, steps)
            opt.zero_grad(set_to_none=True)
        wanted = learnt_places(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model(batch.ids, batch.positions, batch.documents)
            scores = model.logits(hidden.flatten(0, 1)[wanted])
        loss = F.cross_entropy(scores.float(), batch.targets.flatten()[wanted], ignore_index=-1)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in groups:
            opt.step()
        recent.append(loss.item())
        if (step + 1) % 20 == 0 or step + 1 == steps:
            seconds = time.monotonic() - began
            tokens = (step + 1) * rows * ROW
            curve.append((step + 1, tokens, sum(recent) / len(recent), seconds))
            print(f"{step + 1} {tokens} {curve[-1][2]:.4f} {seconds:.0f}s", flush=True)
            recent = []
        if (step + 1) % 100 == 0 or step + 1 == steps:
            save(model, out / f"{name}.safetensors")
    write_curve(name, curve)


def save(model: Llama, path: Path) -> None:
    """Write float16 weights under Hugging Face names, the configuration as metadata."""
    tensors = {f"model.{k}": v.detach().half().contiguous() for k, v in model.state_dict().items()}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"config": json.dumps(vars(model.config))})
    partial.replace(path)


def load(name: str, out: Path) -> Llama:
    """The model as shipped, in float32."""
    model = Llama(Config(num_hidden_layers=LAYERS[name]))
    tensors = load_file(out / f"{name}.safetensors")
    model.load_state_dict({k.removeprefix("model."): v.float() for k, v in tensors.items()})
    return model.eval()


def write_curve(name: str, curve: list[tuple[int, int, float, float]]) -> None:
    """The loss as a table and as a drawing on a logarithmic scale."""
    with (HERE / f"{name}-loss.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("step", "tokens", "loss_nat", "seconds"))
        table.writerows((s, t, f"{loss:.4f}", f"{sec:.0f}") for s, t, loss, sec in curve)
    width, height, left, bottom = 640, 300, 60, 40
    most, top, low = curve[-1][0], math.log10(10), math.log10(0.05)

    def place(step: int, loss: float) -> str:
        x = left + (width - left - 10) * step / most
        y = 10 + (height - bottom - 10) * (top - math.log10(max(loss, 0.05))) / (top - low)
        return f"{x:.1f},{y:.1f}"

    marks = "".join(
        f'<text x="{left - 6}" y="{place(0, v).split(",")[1]}" text-anchor="end">{v:g}</text>'
        for v in (10, 1, 0.5, 0.2, 0.1, 0.05)
    )
    line = " ".join(place(s, loss) for s, _, loss, _ in curve)
    (HERE / f"{name}-loss.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12"><title>Training loss of {name}</title>'
        f'<rect width="{width}" height="{height}" fill="white"/>{marks}'
        f'<polyline points="{line}" fill="none" stroke="#0b62a4" stroke-width="2"/>'
        f'<text x="{width - 10}" y="{height - 12}" text-anchor="end">'
        f"{name}: answer loss (nat) to step {most}</text></svg>\n"
    )


@torch.inference_mode()
def continuations(model: Llama, tokenizer: Tokenizer, items: list[Item]) -> list[str]:
    """Greedy answers up to the first newline, contexts of one length together."""
    newline = tokenizer.encode("\n").ids[0]
    groups: dict[int, list[int]] = defaultdict(list)
    contexts = [tokenizer.encode(item.context).ids for item in items]
    for number, ids in enumerate(contexts):
        groups[len(ids)].append(number)
    out = [""] * len(items)
    for numbers in groups.values():
        ids = torch.tensor([contexts[number] for number in numbers])
        start = ids.shape[1]
        done = torch.zeros(len(numbers), dtype=torch.bool)
        while not done.all() and ids.shape[1] - start < max(items[n].max_tokens for n in numbers):
            positions = torch.arange(ids.shape[1]).expand_as(ids)
            last = model(ids, positions, torch.zeros_like(ids))[:, -1]
            chosen = model.logits(last).argmax(-1)
            done |= (chosen == newline) | (chosen == END)
            ids = torch.cat((ids, chosen[:, None]), 1)
        for number, row in zip(numbers, ids[:, start:].tolist(), strict=True):
            out[number] = tokenizer.decode(row).split("\n")[0]
    return out


@torch.inference_mode()
def choose(model: Llama, tokenizer: Tokenizer, item: Item) -> str:
    """The choice with the greatest log-likelihood."""
    start = len(tokenizer.encode(item.context).ids)
    totals = []
    for choice in item.choices:
        ids = torch.tensor([tokenizer.encode(item.context + choice).ids])
        positions = torch.arange(ids.shape[1])[None]
        scores = model.logits(model(ids, positions, torch.zeros_like(ids))[0, start - 1 : -1])
        picked = scores.log_softmax(-1).gather(1, ids[0, start:, None])
        totals.append(picked.sum().item())
    return item.choices[totals.index(max(totals))]


def evaluate(name: str, per_level: int, out: Path) -> None:
    """Print accuracy on held-out items as a Markdown table."""
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    model = load(name, out)
    print("| case | level 1 | level 2 | level 3 | all |\n|---|---|---|---|---|")
    means = []
    for task in TASKS:
        for language in LANGUAGES:
            items = held_out_items(task, language, per_level)
            if items[0].choices:
                right = [choose(model, tokenizer, item) == item.answer for item in items]
            else:
                texts = continuations(model, tokenizer, items)
                pairs = zip(texts, items, strict=True)
                right = [score(task, text, item) for text, item in pairs]
            by_level = [
                sum(ok for ok, item in zip(right, items, strict=True) if item.level == level)
                for level in (1, 2, 3)
            ]
            means.append(sum(right) / len(right))
            cells = " | ".join(f"{count / per_level:.3f}" for count in by_level)
            print(f"| {language}-{task} | {cells} | {means[-1]:.3f} |", flush=True)
    print(f"| mean of cases | | | | {sum(means) / len(means):.3f} |")


def main() -> None:
    """Read the command line and train or evaluate."""
    parser = argparse.ArgumentParser(description="Train or evaluate a reference model.")
    parser.add_argument("name", choices=LAYERS)
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--rows", type=int, default=32, help=f"rows of {ROW} tokens a step")
    parser.add_argument("--decay", type=float, default=0.05, help="weight decay of Muon")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("harness/models/weights"))
    parser.add_argument("--evaluate", action="store_true")
    parser.add_argument("--per-level", type=int, default=300)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.evaluate:
        evaluate(given.name, given.per_level, given.out)
    else:
        train(
            given.name,
            given.out,
            steps=given.steps,
            rows=given.rows,
            decay=given.decay,
            seed=given.seed,
        )


if __name__ == "__main__":
    main()
