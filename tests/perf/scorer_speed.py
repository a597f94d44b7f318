"""The token trie against one full forward pass an option, on the same loaded engine.

Usage: python -m tests.perf.scorer_speed MODEL [--items 100] [--llama-perplexity PATH]

Items have random text of exact token counts (synthetic models' tokeniser makes one token of
each ASCII character), so any model of `harness models synth` will do. All items are scored
by the trie; the full forward, far slower, takes some of them, spread evenly between. The
ratio is of seconds an item, with a 95 % interval over the items that both scored.

With a `llama-perplexity` built beside it, `--multiple-choice` scores the same items without
shots, and the two take turns.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import statistics
import string
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import click

from harness.backends import BACKENDS
from harness.backends.base import Backend
from harness.extensions import load
from harness.models.resolve import model_from_path
from harness.spec import BackendOptions
from harness.stats import resample_units, stream
from harness.suites.scorer import Scorer

TARGETS = {"llama_cpp": (15.0, 3.5, 6.0), "onnxruntime": (8.0, 3.5, 5.0)}


class Shape(NamedTuple):
    """Tokens of the shots, of a stem and of each of four options."""

    name: str
    shots: int
    stem: int
    option: int


SHAPES = (
    Shape("5 shots, letters", 555, 110, 1),
    Shape("0 shots, letters", 0, 110, 1),
    Shape("5 shots, 25 tokens", 325, 40, 25),
)


class Timed:
    """Adds up the time in an engine's evaluating calls."""

    def __init__(self, backend: Backend) -> None:
        self.spent_s = 0.0
        for name in ("_evaluate", "_together", "_fan"):
            if hasattr(backend, name):
                setattr(backend, name, self._wrapped(getattr(backend, name)))

    def _wrapped(self, call: Any) -> Any:
        def timed(*arguments: Any) -> Any:
            start = time.perf_counter()
            result = call(*arguments)
            if hasattr(result, "__next__"):
                return self._steps(result, time.perf_counter() - start)
            self.spent_s += time.perf_counter() - start
            return result

        return timed

    def _steps(self, iterator: Any, before_s: float) -> Any:
        self.spent_s += before_s
        while True:
            start = time.perf_counter()
            try:
                value = next(iterator)
            except StopIteration:
                return
            finally:
                self.spent_s += time.perf_counter() - start
            yield value


def text(rng: random.Random, length: int) -> str:
    """That many tokens: letters, begun by a space as options are."""
    return " " + "".join(rng.choices(string.ascii_lowercase, k=length - 1)) if length else ""


def letter_options(rng: random.Random, shape: Shape) -> list[str]:
    """Four options; of one token each: the letters A to D behind a stem's final space."""
    return list("ABCD") if shape.option == 1 else [text(rng, shape.option) for _ in range(4)]


def speed(backend: Backend, shape: Shape, items: int, naive_items: int) -> dict[str, Any]:
    """Seconds an item of both ways, and what is Python's own."""
    rng = random.Random(shape.name)
    shots = text(rng, shape.shots)
    asked = [(text(rng, shape.stem), letter_options(rng, shape)) for _ in range(items)]
    scorer, timed = Scorer(backend, shots), Timed(backend)
    scorer.paths(*scorer.encode(*asked[0]))
    trie_s, ratios, differences = [], [], []
    scorer = Scorer(backend, shots)
    python_s = 0.0
    for index, (stem, options) in enumerate(asked):
        timed.spent_s, start = 0.0, time.perf_counter()
        found = scorer.paths(*scorer.encode(stem, options))
        trie_s.append(time.perf_counter() - start)
        python_s += trie_s[-1] - timed.spent_s
        if index % (items // naive_items) == 1:
            paths, scored_from = scorer.encode(stem, options)
            apart = Scorer(backend)  # the shots stay in the first one's account
            start = time.perf_counter()
            naive = apart.naive(paths, scored_from)
            ratios.append(time.perf_counter() - start)
            differences += [abs(a.log_likelihood - b) for a, b in zip(found, naive, strict=True)]
            scorer = Scorer(backend, shots)
            scorer.paths(
                *scorer.encode(*asked[0])
            )  # evaluates the shots again, outside the account
    mean_trie_s = statistics.fmean(trie_s)
    # Shots were evaluated once in the account, as in a run; the median rids the rest of noise.
    per_item_s = statistics.median(trie_s) + max(0.0, trie_s[0] - statistics.median(trie_s)) / items
    chosen = resample_units(stream("speed", shape.name), len(ratios), 1000)
    drawn = sorted(statistics.median([ratios[i] for i in row]) / per_item_s for row in chosen)
    return {
        "items": shape.name,
        "full_s": round(statistics.median(ratios), 4),
        "trie_s": round(per_item_s, 4),
        "mean_trie_s": round(mean_trie_s, 4),
        "ratio": round(statistics.median(ratios) / per_item_s, 2),
        "lo": round(drawn[25], 2),
        "hi": round(drawn[974], 2),
        "python_share": round(python_s / sum(trie_s), 4),
        "largest_difference_nat": round(max(differences), 5),
        "largest_difference_nat_per_token": round(max(differences) / shape.option, 5),
    }


def write_tasks(path: Path, asked: list[tuple[str, list[str]]]) -> None:
    """llama-perplexity's binary form: counts, offsets, then question and answers of each."""

    def words(value: str) -> bytes:
        data = value.encode()
        return struct.pack("<I", len(data)) + data

    blobs = []
    for stem, options in asked:
        answers = struct.pack("<I", len(options)) + b"".join(words(o.strip()) for o in options)
        labels = struct.pack(f"<{len(options)}i", 1, *[0] * (len(options) - 1))
        blobs.append(words(stem) + answers + labels + struct.pack("<I", 0))
    head = struct.pack("<I", len(blobs))
    offsets, position = b"", len(head) + 4 * len(blobs)
    for blob in blobs:
        offsets += struct.pack("<I", position)
        position += len(blob)
    path.write_bytes(head + offsets + b"".join(blobs))


def against_perplexity(
    binary: str, model: Path, backend: Backend, threads: int, rounds: int, option: int
) -> dict[str, Any]:
    """Items a second of both, in turns; the binary's loading is not counted."""
    rng = random.Random(7)
    letters = [f" {letter}" for letter in "ABCD"]
    asked = [
        (text(rng, 60), letters if option == 1 else [text(rng, option) for _ in range(4)])
        for _ in range(16)
    ]
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tasks.bin"
        write_tasks(path, asked)
        command = [binary, "-m", str(model), "--multiple-choice", "-bf", str(path), "-fa", "on"]
        command += ["-t", str(threads), "-tb", str(threads), "--load-mode", "none"]
        # Its fastest on two cores: more sequences, or a larger cache, cost it up to seven times.
        command += ["-c", "1024", "-np", "4", "-kvu"]
        for _ in range(rounds):
            scorer = Scorer(backend)
            start = time.perf_counter()
            for stem, options in asked:
                scorer.paths(*scorer.encode(stem, options))
            ours.append(len(asked) / (time.perf_counter() - start))
            theirs.append(len(asked) / _scoring_seconds(command))
    ratio = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "items": f"0 shots, {option} tokens, against llama-perplexity",
        "ours_items_per_s": round(statistics.median(ours), 3),
        "theirs_items_per_s": round(statistics.median(theirs), 3),
        "ratio": round(statistics.median(ratio), 3),
        "least": round(min(ratio), 3),
        "most": round(max(ratio), 3),
        "rounds": rounds,
    }


def _scoring_seconds(command: list[str]) -> float:
    """From the first scored task's announcement to the end of the last one."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
    )
    assert process.stdout is not None
    start = end = 0.0
    for line in process.stdout:
        if "task\tacc_norm" in line:
            start = time.perf_counter()
        elif re.match(r"\d+\t", line):
            end = time.perf_counter()
    if process.wait() or not start or not end:
        raise click.ClickException("llama-perplexity failed")
    return end - start


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--items", default=100, show_default=True, help="0 = only against the binary.")
@click.option("--naive-items", default=6, show_default=True, help="Also by full forwards.")
@click.option("--threads", default=os.cpu_count() or 1, show_default=True)
@click.option("--context", default=2048, show_default=True)
@click.option("--llama-perplexity", "binary", default="", help="Compare with this binary.")
@click.option("--rounds", default=5, show_default=True, help="Turns against the binary.")
def main(
    model: Path,
    items: int,
    naive_items: int,
    threads: int,
    context: int,
    binary: str,
    rounds: int,
) -> None:
    """Print one JSON line a measurement."""
    name = model_from_path(str(model)).backend_name
    backend: Backend = load(BACKENDS[name])()
    options = BackendOptions(threads=threads, context=context, sequences=8)
    report = backend.load(model, options)
    targets = TARGETS.get(name, (0.0, 0.0, 0.0))
    for shape, target in zip(SHAPES if items else (), targets if items else (), strict=True):
        row = speed(backend, shape, items, naive_items) | {"asked": target}
        print(json.dumps({"engine": name, "model": model.name} | row), flush=True)
    if binary:
        for option in (1, 12, 25):
            row = against_perplexity(binary, model, backend, threads, rounds, option)
            print(json.dumps({"engine": name} | row), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    base = report.model_bytes + report.kv_bytes_per_token * context
    print(json.dumps({"peak_mib": peak >> 20, "beyond_weights_and_kv_mib": (peak - base) >> 20}))
    backend.close()


if __name__ == "__main__":
    main()
