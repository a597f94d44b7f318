"""What the sandbox costs a measured worker: decode rate, memory and time to load, in pairs.

Usage: python -m tests.perf.sandbox_cost [--model PATH] [--pairs 20]

Each pair runs one worker confined and one with `HARNESS_SANDBOX=off`, the order swapped
from pair to pair, so that what the machine does meanwhile meets both. A worker's
rate is that of its least disturbed tokens, a pair's figure is confined over open, and
printed are the medians over pairs with their 95 % intervals (order statistics). The claim
is a decode rate within 1 %.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import click
import numpy as np

from harness import metrics
from harness.backends import BACKENDS
from harness.cases import Case
from harness.execute import execute
from harness.models.reference import materialise
from harness.models.resolve import model_from_path
from harness.records import JournalWriter
from harness.spec import BackendOptions
from tests.suites.helpers import job

SHAPES = {"latency": Case(id="fixed-p32-n64", prompt_tokens=32, output_tokens=64)}
SHAPES["memory"] = Case(id="c256", prompt_tokens=192, output_tokens=64, context=256)


def measured(path: Path, backend: str, switch: str) -> dict[str, float]:
    """Decode rate, peak memory and time to load of one worker each of two suites."""
    found: dict[str, float] = {}
    for suite, case in SHAPES.items():
        planned = dataclasses.replace(
            job(suite, case, requests=6, warmup_max=2),
            path=str(path),
            backend=backend,
            options=BackendOptions(threads=1, threads_prefill=1, context=256),
        )
        with (
            tempfile.TemporaryDirectory() as temporary,
            mock.patch.dict(os.environ, {"HARNESS_SANDBOX": switch}),
        ):
            journal = JournalWriter(Path(temporary, "records.jsonl"))
            (outcome,) = execute((planned,), BACKENDS, Path(temporary, "parts"), journal)
            journal.close()
        if outcome.state != "ok":
            raise click.ClickException(f"{outcome.state}: {outcome.detail}")
        for sample in outcome.samples:
            if sample["kind"] == "load":
                found["ready_s"] = sample["ready_ns"] / 1e9
                found["start_s"] = sample["start_ns"] / 1e9
            elif sample["kind"] == "memory":
                peak = max(found.get("peak_mib", 0), sample["peak_resident_bytes"] / 2**20)
                found["peak_mib"] = peak
                found.setdefault("runtime_mib", sample["peak_resident_bytes"] / 2**20)
        if suite == "latency":
            requests = [one for one in outcome.samples if one["kind"] == "request"]
            intervals = np.hstack([metrics.request_times(one).itl_s for one in requests])
            # The tenth of the tokens that others disturbed least.
            found["decode_tok_per_s"] = 1 / float(np.quantile(intervals, 0.1))
    return found


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median and its 95 % interval by order statistics (binomial, normal approximation)."""
    ordered, n = sorted(values), len(values)
    off = round(0.98 * n**0.5)
    low, high = max(0, n // 2 - off), min(n - 1, (n - 1) // 2 + off)
    return statistics.median(ordered), ordered[low], ordered[high]


@click.command()
@click.option("--model", default="", help="A GGUF file or ONNX folder; default: both embedded.")
@click.option("--pairs", default=20, show_default=True, type=click.IntRange(6))
def main(model: str, pairs: int) -> None:
    """Print one JSON line a model."""
    paths = (
        [Path(model)] if model else [*map(materialise, ("ref-4m.q8_0.gguf", "ref-4m.int8.onnx"))]
    )
    for path in paths:
        backend = model_from_path(str(path)).backend_name
        both: list[dict[str, dict[str, float]]] = []
        for number in range(pairs):
            order = ("on", "off") if number % 2 else ("off", "on")
            both.append({switch: measured(path, backend, switch) for switch in order})
        shown: dict[str, object] = {"model": path.name, "backend": backend, "pairs": pairs}
        for name in both[0]["on"]:
            ratios = [pair["on"][name] / pair["off"][name] for pair in both]
            middle, low, high = interval(ratios)
            usual = statistics.median(pair["off"][name] for pair in both)
            shown[name] = {
                "off": round(usual, 4),
                "on/off": [round(number, 4) for number in (middle, low, high)],
            }
        packages = ("llama-cpp-python", "onnxruntime")
        shown["versions"] = {name: version(name) for name in packages}
        shown["kernel"] = platform.release()
        click.echo(json.dumps(shown))


if __name__ == "__main__":
    main()
