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
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from corpus import SHARES, documents, held_out_items, kinds, score
from llama import END, LAYERS, PAD, Config, Llama, load, save
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from harness.suites.tasks.base import Item

HERE = Path(__file__).resolve().parent
ROW = 2048


@dataclass
class Batch:
    """Packed rows; `targets` is -1 where nothing is learnt."""

    ids: Tensor
    positions: Tensor
    documents: Tensor
    targets: Tensor

    def to(self, device: str) -> Batch:
        """The same on another device."""
        return Batch(*(getattr(self, each.name).to(device) for each in fields(self)))


def encoded(
    tokenizer: Tokenizer, shares: dict[str, int], part: int, parts: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Endless documents as token ids and the next token to learn, or -1.

    One in ten begins with the end-of-text token, which some engines put first.
    """
    for number, pieces in enumerate(documents(shares, part, parts)):
        ids: list[int] = [END] if number % 10 == 0 else []
        learnt = [False] * len(ids)
        for context, answer in pieces:
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


class Rows(IterableDataset[Batch]):
    """Batches of rows filled with documents in order; each document is kept whole.

    Every reader makes whole batches of documents of its own.
    """

    def __init__(self, tokenizer: Path, rows: int, shares: dict[str, int]) -> None:
        self.tokenizer, self.rows, self.shares = tokenizer, rows, shares

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        reader = get_worker_info()
        part, parts = (reader.id, reader.num_workers) if reader else (0, 1)
        stream = encoded(Tokenizer.from_file(str(self.tokenizer)), self.shares, part, parts)
        ids, learnt = next(stream)
        while True:
            tensors = torch.full((4, self.rows, ROW), -1)
            tensors[0] = PAD
            tensors[1] = 0
            for row in range(self.rows):
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
    inner = [w for name, w in named.items() if w.ndim == 2 and "embed" not in name]
    others = [w for name, w in named.items() if w.ndim == 1 or "embed" in name]
    return [
        torch.optim.Muon(inner, lr=0.02, momentum=0.95, weight_decay=decay),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.01),
    ]


def rate(step: int, done: float, decay_from: float) -> float:
    """Learning rate factor: short warm-up, level, then down to nothing in a straight line."""
    return min(1.0, (step + 1) / 40, max(0.0, 1 - done) / (1 - decay_from))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how fast to train.

    Attributes:
        steps: steps in all.
        minutes: wall clock after which the rate is zero and training ends early.
        rows: rows of `ROW` tokens a step.
        decay: weight decay of Muon.
        decay_from: part after which the learning rate falls.
        pace: factor of both learning rates (0.02 for Muon, 0.003 for AdamW).
        seed: of the first weights.
        shares: relative number of items a task.
        device: `cpu` or `cuda`.
        readers: processes that write and encode documents.
    """

    steps: int
    minutes: float
    rows: int
    decay: float
    decay_from: float
    pace: float
    seed: int
    shares: dict[str, int]
    device: str
    readers: int


def train(name: str, out: Path, plan: Plan) -> None:
    """Train, writing the weights every 500 steps and the loss curve as it grows."""
    torch.manual_seed(plan.seed)
    model = Llama(Config(num_hidden_layers=LAYERS[name])).to(plan.device)
    groups = optimisers(model, plan.decay)
    base = [group["lr"] * plan.pace for opt in groups for group in opt.param_groups]
    rows = Rows(out / "tokenizer.json", plan.rows, plan.shares)
    stream = iter(DataLoader(rows, batch_size=None, num_workers=plan.readers))
    next(stream)  # readers take seconds to start
    began = time.monotonic()
    recent: list[Tensor] = []
    for step in range(plan.steps):
        loss = answer_loss(model, next(stream).to(plan.device))
        loss.backward()
        seconds = time.monotonic() - began
        done = max(step / plan.steps, seconds / 60 / plan.minutes)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt, lr in zip(groups, base, strict=True):
            opt.param_groups[0]["lr"] = lr * rate(step, done, plan.decay_from)
            opt.step()
        model.zero_grad(set_to_none=True)
        recent.append(loss.detach())
        last = step + 1 == plan.steps or done >= 1
        if (step + 1) % 20 == 0 or last:
            write_row(name, step + 1, plan.rows, torch.stack(recent).mean().item(), seconds)
            recent = []
        if (step + 1) % 500 == 0 or last:
            save(model, out / f"{name}.safetensors")
        if last:
            break


def answer_loss(model: Llama, batch: Batch) -> Tensor:
    """Mean loss in nat of the tokens to learn."""
    wanted = learnt_places(batch)
    with torch.autocast(batch.ids.device.type, dtype=torch.bfloat16):
        hidden = model(batch.ids, batch.positions, batch.documents)
        scores = model.logits(hidden.flatten(0, 1)[wanted])
    return F.cross_entropy(scores.float(), batch.targets.flatten()[wanted], ignore_index=-1)


def write_row(name: str, step: int, rows: int, loss: float, seconds: float) -> None:
    """Print a line of the loss curve and add it to its table."""
    path = HERE / f"{name}-loss.csv"
    row = (step, rows * ROW, f"{loss:.4f}", f"{seconds:.0f}")
    print(*row, flush=True)
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        if fresh:
            table.writerow(("step", "tokens_a_step", "loss_nat", "stage_seconds"))
        table.writerow(row)


def draw(name: str) -> None:
    """Draw the loss table on a logarithmic scale."""
    with (HERE / f"{name}-loss.csv").open(newline="") as file:
        curve = [(int(row["step"]), float(row["loss_nat"])) for row in csv.DictReader(file)]
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
    line = " ".join(place(s, loss) for s, loss in curve)
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
    """Greedy answers up to each item's stop, contexts of one length together."""
    device = model.norm.weight.device
    groups: dict[int, list[int]] = defaultdict(list)
    contexts = [tokenizer.encode(item.context).ids for item in items]
    for number, ids in enumerate(contexts):
        groups[len(ids)].append(number)
    out = [""] * len(items)
    for start, numbers in groups.items():
        ids = torch.tensor([contexts[number] for number in numbers], device=device)
        left = max(items[number].max_tokens for number in numbers)
        done = False
        while not done and ids.shape[1] - start < left:
            positions = torch.arange(ids.shape[1], device=device).expand_as(ids)
            last = model(ids, positions, torch.zeros_like(ids))[:, -1]
            ids = torch.cat((ids, model.logits(last).argmax(-1)[:, None]), 1)
            done = True
            for number, row in zip(numbers, ids[:, start:].tolist(), strict=True):
                ended = END in row
                text = tokenizer.decode(row[: row.index(END)] if ended else row)
                text, stop, _ = text.partition(items[number].stop)
                out[number] = text
                done = done and (ended or bool(stop))
    return out


@torch.inference_mode()
def choose(model: Llama, tokenizer: Tokenizer, item: Item) -> str:
    """The choice with the greatest log-likelihood."""
    device = model.norm.weight.device
    start = len(tokenizer.encode(item.context).ids)
    totals = []
    for choice in item.choices:
        ids = torch.tensor([tokenizer.encode(item.context + choice).ids], device=device)
        positions = torch.arange(ids.shape[1], device=device)[None]
        scores = model.logits(model(ids, positions, torch.zeros_like(ids))[0, start - 1 : -1])
        picked = scores.log_softmax(-1).gather(1, ids[0, start:, None])
        totals.append(picked.sum().item())
    return item.choices[totals.index(max(totals))]


def evaluate(name: str, per_level: int, out: Path, device: str) -> None:
    """Print accuracy on held-out items as a Markdown table."""
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    model = load(out / f"{name}.safetensors").to(device)
    print("| case | level 1 | level 2 | level 3 | all |\n|---|---|---|---|---|")
    means = []
    for task, language, form in kinds():
        items = held_out_items((task, language, form), per_level)
        if form == "choice":
            right = [choose(model, tokenizer, item) == item.answer for item in items]
        else:
            texts = continuations(model, tokenizer, items)
            right = [score(task, text, item) for text, item in zip(texts, items, strict=True)]
        by_level = [
            sum(ok for ok, item in zip(right, items, strict=True) if item.level == level)
            for level in (1, 2, 3)
        ]
        means.append(sum(right) / len(right))
        cells = " | ".join(f"{count / per_level:.3f}" for count in by_level)
        print(f"| {language}-{task}, {form} | {cells} | {means[-1]:.3f} |", flush=True)
    print(f"| mean of cases | | | | {sum(means) / len(means):.3f} |")


def share(text: str) -> tuple[str, int]:
    """A task and its share out of `name=value`."""
    name, _, value = text.partition("=")
    if name not in SHARES or not value.isdecimal():
        raise argparse.ArgumentTypeError(
            f"{text!r} is no `name=value` with one of {', '.join(SHARES)} and a whole number"
        )
    return name, int(value)


def main() -> None:
    """Read the command line and train or evaluate."""
    parser = argparse.ArgumentParser(description="Train or evaluate a reference model.")
    parser.add_argument("name", choices=LAYERS)
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--minutes", type=float, default=math.inf, help="end early after these")
    parser.add_argument("--rows", type=int, default=4, help=f"rows of {ROW} tokens a step")
    parser.add_argument("--decay", type=float, default=0.05, help="weight decay of Muon")
    parser.add_argument("--decay-from", type=float, default=0.4, help="part at a level rate")
    parser.add_argument("--pace", type=float, default=1.0, help="factor of the learning rates")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--shares", type=share, nargs="+", default=[], help="name=value; others keep their share"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--readers", type=int, default=1, help="processes that write documents")
    parser.add_argument("--out", type=Path, default=Path("harness/models/weights"))
    parser.add_argument("--evaluate", action="store_true")
    parser.add_argument("--per-level", type=int, default=300)
    given = parser.parse_args()
    if given.evaluate:
        evaluate(given.name, given.per_level, given.out, given.device)
    else:
        given.shares = SHARES | dict(given.shares)
        plan = Plan(**{each.name: getattr(given, each.name) for each in fields(Plan)})
        train(given.name, given.out, plan)
        draw(given.name)


if __name__ == "__main__":
    main()
