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
import itertools
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.distributed as dist
import torch.multiprocessing
import torch.nn.functional as F  # noqa: N812 - the customary name
from corpus import SHARES, documents, held_out_items, kinds, score
from llama import END, LAYERS, PAD, Config, Llama, load, save
from tokenizers import Tokenizer
from torch import Tensor, nn

from harness.suites.tasks.base import Item

HERE = Path(__file__).resolve().parent
ROW = 256


@dataclass
class Batch:
    """Packed rows; `targets` is -1 where nothing is learnt."""

    ids: Tensor
    positions: Tensor
    documents: Tensor
    targets: Tensor

    def part(self, rank: int, processes: int) -> Batch:
        """The rows of one process."""
        return Batch(*(getattr(self, each.name)[rank::processes] for each in fields(self)))


def encoded(tokenizer: Tokenizer, shares: dict[str, int]) -> Iterator[tuple[list[int], list[int]]]:
    """Endless documents as token ids and the next token to learn, or -1.

    One in ten begins with the end-of-text token, which some engines put first.
    """
    for number, parts in enumerate(documents(shares)):
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


def batches(tokenizer: Tokenizer, rows: int, shares: dict[str, int]) -> Iterator[Batch]:
    """Rows filled with documents in order; each is kept whole."""
    stream = encoded(tokenizer, shares)
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


def matrices(model: Llama) -> list[nn.Parameter]:
    """The weights that Muon trains: matrices inside layers."""
    return [weight for weight in model.layers.parameters() if weight.ndim == 2]


def optimisers(
    model: Llama, decay: float, rank: int, processes: int
) -> list[torch.optim.Optimizer]:
    """Muon for this process's share of the matrices, AdamW for everything else."""
    named = dict(model.named_parameters())
    others = [w for name, w in named.items() if w.ndim == 1 or "embed" in name]
    return [
        torch.optim.Muon(
            matrices(model)[rank::processes], lr=0.02, momentum=0.95, weight_decay=decay
        ),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.01),
    ]


def average(model: Llama, *figures: float) -> list[float]:
    """Average gradients and figures over the processes, in place; return the figures."""
    weights = list(model.parameters())
    flat = torch.cat([*(w.grad.flatten() for w in weights), torch.tensor(figures)])
    if dist.is_initialized():
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
    parts = flat.split([*(w.numel() for w in weights), len(figures)])
    for weight, part in zip(weights, parts[:-1], strict=True):
        weight.grad.copy_(part.view_as(weight))
    return parts[-1].tolist()


@torch.no_grad()
def share_matrices(model: Llama) -> None:
    """Give every process the matrices that the others have just trained."""
    if not dist.is_initialized():
        return
    rank, processes = dist.get_rank(), dist.get_world_size()
    weights = matrices(model)
    mine = [w if i % processes == rank else torch.zeros_like(w) for i, w in enumerate(weights)]
    flat = torch.cat([weight.flatten() for weight in mine])
    dist.all_reduce(flat)
    for weight, part in zip(weights, flat.split([w.numel() for w in weights]), strict=True):
        weight.copy_(part.view_as(weight))


def rate(step: int, done: float, decay_from: float) -> float:
    """Learning rate factor: short warm-up, level, then down to nothing in a straight line."""
    return min(1.0, (step + 1) / 40, max(0.0, 1 - done) / (1 - decay_from))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how fast to train.

    Attributes:
        steps: steps in all, those of earlier stages included.
        start: steps that earlier stages did; their documents are not read again.
        minutes: wall clock after which the rate is zero and training ends early.
        rows: rows of `ROW` tokens a step.
        decay: weight decay of Muon.
        decay_from: part of this stage after which the learning rate falls.
        pace: factor of both learning rates (0.02 for Muon, 0.003 for AdamW).
        seed: of the first weights.
        shares: relative number of items a task.
        initial: weights to begin with, of this model or of a deeper one.
        processes: processes of one thread each, which share the rows of a step.
    """

    steps: int
    start: int
    minutes: float
    rows: int
    decay: float
    decay_from: float
    pace: float
    seed: int
    shares: dict[str, int]
    initial: Path | None
    processes: int


def train(rank: int, name: str, out: Path, plan: Plan) -> None:
    """Train, writing the weights every 50 steps and the loss curve as it grows."""
    if plan.processes > 1:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", rank=rank, world_size=plan.processes)
    torch.manual_seed(plan.seed)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    if plan.initial is None:
        model = Llama(Config(num_hidden_layers=LAYERS[name]))
    else:
        # Weights lie beside the tokeniser that they were trained with.
        former = Tokenizer.from_file(str(plan.initial.with_name("tokenizer.json")))
        model = load(name, plan.initial, former, tokenizer)
    groups = optimisers(model, plan.decay, rank, plan.processes)
    base = [group["lr"] * plan.pace for opt in groups for group in opt.param_groups]
    stream = itertools.islice(batches(tokenizer, plan.rows, plan.shares), plan.start, None)
    began = time.monotonic()
    recent: list[float] = []
    for step in range(plan.start, plan.steps):
        loss = answer_loss(model, next(stream).part(rank, plan.processes))
        loss.backward()
        # The clocks of processes differ; their average is the same in all.
        seconds, mean_loss = average(model, time.monotonic() - began, loss.item())
        done = max((step - plan.start) / (plan.steps - plan.start), seconds / 60 / plan.minutes)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt, lr in zip(groups, base, strict=True):
            opt.param_groups[0]["lr"] = lr * rate(step - plan.start, done, plan.decay_from)
            opt.step()
        model.zero_grad(set_to_none=True)
        share_matrices(model)
        recent.append(mean_loss)
        last = step + 1 == plan.steps or done >= 1
        if rank == 0 and ((step + 1) % 20 == 0 or last):
            write_row(name, step + 1, plan.rows, sum(recent) / len(recent), seconds)
            recent = []
        if rank == 0 and ((step + 1) % 50 == 0 or last):
            save(model, out / f"{name}.safetensors")
        if last:
            break


def answer_loss(model: Llama, batch: Batch) -> Tensor:
    """Mean loss in nat of the tokens to learn."""
    wanted = learnt_places(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
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
    groups: dict[int, list[int]] = defaultdict(list)
    contexts = [tokenizer.encode(item.context).ids for item in items]
    for number, ids in enumerate(contexts):
        groups[len(ids)].append(number)
    out = [""] * len(items)
    for start, numbers in groups.items():
        ids = torch.tensor([contexts[number] for number in numbers])
        left = max(items[number].max_tokens for number in numbers)
        done = False
        while not done and ids.shape[1] - start < left:
            positions = torch.arange(ids.shape[1]).expand_as(ids)
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
    model = load(name, out / f"{name}.safetensors")
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
    parser.add_argument("--start", type=int, default=0, help="steps done by an earlier stage")
    parser.add_argument("--minutes", type=float, default=math.inf, help="end early after these")
    parser.add_argument("--rows", type=int, default=32, help=f"rows of {ROW} tokens a step")
    parser.add_argument("--decay", type=float, default=0.05, help="weight decay of Muon")
    parser.add_argument("--decay-from", type=float, default=0.4, help="part at a level rate")
    parser.add_argument("--pace", type=float, default=1.0, help="factor of the learning rates")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--shares", type=share, nargs="+", default=[], help="name=value; others keep their share"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("harness/models/weights"))
    parser.add_argument("--initial", type=Path, help="weights to begin with")
    parser.add_argument("--processes", type=int, default=1, help="use when cores are shared")
    parser.add_argument("--port", type=int, default=29511, help="where processes meet")
    parser.add_argument("--evaluate", action="store_true")
    parser.add_argument("--per-level", type=int, default=300)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.evaluate:
        evaluate(given.name, given.per_level, given.out)
    else:
        given.shares = SHARES | dict(given.shares)
        plan = Plan(**{each.name: getattr(given, each.name) for each in fields(Plan)})
        if given.processes == 1:
            train(0, given.name, given.out, plan)
        else:
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(given.port)}
            torch.multiprocessing.spawn(
                train, (given.name, given.out, plan), nprocs=given.processes
            )
        draw(given.name)


if __name__ == "__main__":
    main()
