"""What the parent's memory sampler costs a worker: the same job with and without it.

Usage: python -m tests.perf.sampler_cost MODEL [--pairs 10]

Timed suites run without any sampler; this is what they are spared, and what the memory
pass pays. Each pair runs one latency job twice in fresh processes, in alternating order.
The result is the median over pairs of decode rate with / without, with a bootstrap 95 %
interval; the claim is that the cost is at most 1 %: a ratio of at least 0.99.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click

from harness.backends import BACKENDS
from harness.cases import Case
from harness.execute import execute
from harness.job import Job
from harness.probes.memory import TreeSampler
from harness.records import JournalWriter
from harness.spec import BackendOptions
from harness.supervise import Watch
from tests.perf.llama_bench import interval
from tests.suites.helpers import job

CASE = Case(id="fixed-p64-n128", prompt_tokens=64, output_tokens=128)
WITH: Mapping[str, Watch] = {"latency": Watch("memory_split", TreeSampler)}


def planned(model: Path, threads: int, requests: int) -> Job:
    """One latency job on a GGUF file, a fake model or an ONNX folder."""
    names = {".gguf": "llama_cpp", ".json": "fake"}
    return dataclasses.replace(
        job("latency", CASE, requests=requests),
        path=str(model),
        backend=names.get(model.suffix, "onnxruntime"),
        options=BackendOptions(threads=threads, context=512),
        process=1,  # the first one proves the engine's honesty as well, which takes time
        timeout_s=600,
    )


def decode_rate(work: Job, *, sampled: bool) -> float:
    """Median tok/s over the timed requests of one worker."""
    with tempfile.TemporaryDirectory() as folder:
        journal = JournalWriter(Path(folder) / "records.jsonl")
        watches = WITH if sampled else {}
        (outcome,) = execute([work], BACKENDS, Path(folder) / "parts", journal, watches=watches)
        journal.close()
    assert outcome.state == "ok", outcome.detail
    kinds = [sample["kind"] for sample in outcome.samples]
    assert ("memory_split" in kinds) == sampled
    times = [sample["token_ns"] for sample in outcome.samples if sample["kind"] == "request"]
    return statistics.median((len(ns) - 1) / (ns[-1] - ns[0]) * 1e9 for ns in times)


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--pairs", default=10, show_default=True)
@click.option("--requests", default=10, show_default=True, help="Timed requests a process.")
@click.option("--threads", default=1, show_default=True)
def main(model: Path, pairs: int, requests: int, threads: int) -> None:
    """Print each pair as it ends, then the ratio as one JSON line."""
    work = planned(model, threads, requests)
    ratios = []
    for pair in range(pairs):
        order = (True, False) if pair % 2 else (False, True)
        rates = {sampled: decode_rate(work, sampled=sampled) for sampled in order}
        ratios.append(rates[True] / rates[False])
        shown = f"{rates[True]:.1f}/{rates[False]:.1f} = {ratios[-1]:.4f}"
        print(f"pair {pair + 1}/{pairs}: {shown}  load {os.getloadavg()[0]:.1f}", flush=True)
    machine = platform.processor() or platform.machine()
    summary = {"median_ratio": statistics.median(ratios), "interval": interval(ratios)}
    print(json.dumps({"machine": machine, "model": model.name, "pairs": pairs, **summary}))


if __name__ == "__main__":
    main()
