"""The token trie against one full forward pass an option, on trained weights and real items.

Usage: python -m tests.perf.scorer_exactness ref-4m.fp32.onnx [--items 20]

All choice items of the eleven tasks in both languages are scored both ways at the settings of
a run. Printed are the largest differences, in nats of an option and of a token, and how often
the chosen option differs: on items that are no near ties it never may. A near tie has a margin
below twice the largest difference that options of its length showed.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import click

from harness import specfile
from harness.backends import BACKENDS
from harness.backends.base import Backend
from harness.extensions import load
from harness.models.resolve import resolve
from harness.spec import BackendOptions
from harness.suites.scorer import Scorer
from harness.suites.tasks import LANGUAGES, TASKS, item_at
from harness.suites.tasks.base import Setting


@click.command()
@click.argument("model")
@click.option("--items", default=20, show_default=True, help="Of each task and language.")
@click.option("--shots", default=0, show_default=True)
@click.option("--threads", default=os.cpu_count() or 1, show_default=True)
def main(model: str, items: int, shots: int, threads: int) -> None:
    """Print one JSON line."""
    catalogue = specfile.load_catalogue(specfile.default_catalogue_path())
    artefact = resolve(catalogue.models[model], Path())
    backend: Backend = load(BACKENDS[artefact.model.backend_name])()
    options = BackendOptions(threads=threads, context=2048, sequences=8)
    backend.load(Path(artefact.path), options)
    worst: dict[int, float] = defaultdict(float)
    per_token, scored, flips = 0.0, 0, []
    for task in TASKS:
        for language in LANGUAGES:
            setting = Setting(language=language, form="choice", longest_tokens=1024)
            solved = [item_at(task, setting, -1 - shot) for shot in range(shots)]
            scorer = Scorer(backend, "".join(f"{i.context}{i.answer}\n\n" for i in solved))
            for index in range(items):
                item = item_at(task, setting, index)
                paths, start = scorer.encode(item.context, item.choices)
                shared, alone = scorer.paths(paths, start), scorer.naive(paths, start)
                values = [each.log_likelihood for each in shared]
                for each, other in zip(shared, alone, strict=True):
                    difference = abs(each.log_likelihood - other)
                    worst[each.tokens] = max(worst[each.tokens], difference)
                    per_token = max(per_token, difference / each.tokens)
                best = max(range(len(values)), key=values.__getitem__)
                scored += 1
                if best != max(range(len(alone)), key=alone.__getitem__):
                    margin = max(values) - sorted(values)[-2]
                    lengths = [each.tokens for each in shared]
                    flips.append((task, margin, lengths))
    real = [flip for flip in flips if flip[1] > 2 * max(worst[n] for n in flip[2])]
    backend.close()
    print(
        json.dumps(
            {
                "model": model,
                "items": scored,
                "shots": shots,
                "largest_nat": max(worst.values()),
                "largest_nat_per_token": per_token,
                "chosen_differently": len(flips),
                "of_them_no_near_tie": len(real),
            }
        )
    )


if __name__ == "__main__":
    main()
