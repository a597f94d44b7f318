"""Items a second of our scorer against lm-evaluation-harness's own `hf` model, 5 shots.

Usage: python -m tests.perf.lm_eval_speed FOLDER [--items 6] [--rounds 3]

FOLDER holds safetensors weights. One task, 5 shots, four choices of one token (letters) or of
25, runs in turns by lm-eval's `hf` model and by `sllm-harness` on the `transformers` backend:
the same PyTorch, the same weights, float32, the same number of threads. Loading is not counted.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import string
import tempfile
import time
from pathlib import Path
from typing import Any

import click

TASK = """
task: speed
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
fewshot_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
fewshot_config: {sampler: first_n}
num_fewshot: 5
metric_list: [{metric: acc}, {metric: acc_norm}]
metadata: {version: 1}
"""


def write_task(folder: Path, items: int, option: int) -> None:
    """Questions of 110 characters and four choices; a character is a token of speed models."""
    rng = random.Random(option)

    def text(length: int) -> str:
        return "".join(rng.choices(string.ascii_lowercase, k=length))

    lines = []
    for _ in range(items + 5):
        choices = list("ABCD") if option == 1 else [text(option - 1) for _ in range(4)]
        lines.append({"question": text(100), "choices": choices, "answer": rng.randrange(4)})
    data = folder / "speed.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    (folder / "speed.yaml").write_text(TASK % data, "utf-8")


def run(model: Any, folder: Path, items: int) -> tuple[float, Any]:
    """Items a second of one evaluation, and its log-likelihoods."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    start = time.perf_counter()
    found = simple_evaluate(
        model=model, tasks=["speed"], task_manager=manager, limit=items, bootstrap_iters=0
    )
    seconds = time.perf_counter() - start
    values = [r[0] for sample in found["samples"]["speed"] for r in sample["filtered_resps"]]
    return items / seconds, values


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--items", default=6, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--tokens", multiple=True, type=int, default=(1, 25), help="Of an option.")
@click.option("--threads", default=os.cpu_count() or 1, show_default=True)
def main(folder: Path, items: int, rounds: int, tokens: tuple[int, ...], threads: int) -> None:
    """Print one JSON line a kind of items."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    import torch
    from lm_eval.models.huggingface import HFLM

    from harness.interop.lm_eval import HarnessLM

    torch.set_num_threads(threads)
    theirs = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=1)
    ours = HarnessLM(str(folder), "transformers", threads=threads, context=2048)
    with tempfile.TemporaryDirectory() as name:
        for option in tokens:
            write_task(Path(name), items, option)
            rates: dict[str, list[float]] = {"ours": [], "theirs": []}
            values: dict[str, Any] = {}
            for _ in range(rounds):
                for who, model in (("theirs", theirs), ("ours", ours)):
                    rate, values[who] = run(model, Path(name), items)
                    rates[who].append(rate)
            ratios = [a / b for a, b in zip(rates["ours"], rates["theirs"], strict=True)]
            pairs = zip(values["ours"], values["theirs"], strict=True)
            print(
                json.dumps(
                    {
                        "items": f"5 shots, {option} tokens",
                        "ours_items_per_s": round(statistics.median(rates["ours"]), 3),
                        "lm_eval_hf_items_per_s": round(statistics.median(rates["theirs"]), 3),
                        "ratio": round(statistics.median(ratios), 2),
                        "least": round(min(ratios), 2),
                        "most": round(max(ratios), 2),
                        "rounds": rounds,
                        "largest_difference_nat": max(abs(a[0] - b[0]) for a, b in pairs)
                        if isinstance(values["ours"][0], (tuple, list))
                        else max(abs(float(a) - float(b)) for a, b in pairs),
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
