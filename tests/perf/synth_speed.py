"""Whether random weights cost what other weights of the same shape cost, interleaved.

Usage: python -m tests.perf.synth_speed [--shape qwen2.5-0.5b] [--quant q4_0] [--pairs 15]

Three files of one shape: blocks drawn as such (`harness models synth`), the same from
another seed, and normally distributed numbers that were quantised as trained weights are.
Kernels that took longer over certain values (subnormals, infinities, zeros that are
skipped) would tell them apart. Each turn runs `harness bench` once on each file, in an
order that rotates. The result is the median over turns of the ratio to the first file
with a bootstrap 95 % interval; the target is that each interval contains 1 or lies within
2 % of it. On a busy machine look at the processor's seconds of the whole process, which
others hardly stretch, and use one thread.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from harness.models import shapes
from harness.models.export_gguf import export_gguf
from harness.models.export_onnx import export_onnx
from harness.models.network import tensor_shapes
from harness.models.synth import Recipe, random_network, synthesise
from tests.perf.llama_bench import interval, ours

if TYPE_CHECKING:
    from harness.models.network import Array, Network


class NormalTensors(Mapping[str, "Array"]):
    """Normally distributed weights, which exporters have to quantise."""

    def __init__(self, network: Network) -> None:
        self._shapes = tensor_shapes(network.config)

    def __getitem__(self, name: str) -> Array:
        shape = self._shapes[name]
        if name.endswith("norm.weight"):
            return np.ones(shape, np.float16)
        random = np.random.default_rng(zlib.crc32(name.encode()))
        numbers = random.standard_normal(shape, np.float32)
        numbers *= shape[-1] ** -0.5
        return numbers.astype(np.float16)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def make(folder: Path, shape: str, quant: str) -> dict[str, Path]:
    """The three files by name."""
    kind = shapes.format_of(quant)
    files = {}
    for name, seed in (("blocks", 0), ("another seed", 1)):
        recipe = Recipe(shape=shape, format=kind, quantisation=quant, seed=seed)
        files[name] = synthesise(recipe, folder / f"{seed}.{kind}")
    network = random_network(recipe, folder)
    network = dataclasses.replace(network, tensors=NormalTensors(network))
    files["quantised"] = folder / f"quantised.{kind}"
    export = export_gguf if kind == "gguf" else export_onnx
    export(network, files["quantised"], quant)
    return files


def measured(path: Path, threads: int) -> dict[str, float]:
    """Rates of `harness bench` in tok/s, and one over the processor's seconds that it took."""
    before = os.times()
    rates = ours(path, threads, 1)
    after = os.times()
    spent = sum(after[2:4]) - sum(before[2:4])
    return {**rates, "processor": 1 / spent}


@click.command(help=__doc__)
@click.option("--shape", default="qwen2.5-0.5b", show_default=True)
@click.option("--quant", default="q4_0", show_default=True, help="One that trained weights have.")
@click.option("--pairs", default=15, show_default=True)
@click.option("--threads", default=os.cpu_count() or 1, show_default=True)
def main(shape: str, quant: str, pairs: int, threads: int) -> None:
    """Print each turn as it ends, then the ratios as one JSON line."""
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        files = make(Path(temporary), shape, quant)
        names = list(files)
        for turn in range(pairs):
            order = names[turn % 3 :] + names[: turn % 3]
            found = {name: measured(files[name], threads) for name in order}
            for name in names[1:]:
                for test, rate in found[name].items():
                    ratio = rate / found[names[0]][test]
                    ratios.setdefault(f"{name} {test}", []).append(ratio)
            shown = "  ".join(f"{name} {found[name]}" for name in names)
            print(f"{turn + 1}/{pairs}: {shown}  load {os.getloadavg()[0]:.1f}", flush=True)
    summary = {
        name: {"median_ratio": statistics.median(values), "interval": interval(values)}
        for name, values in ratios.items()
    }
    print(json.dumps({"shape": shape, "quant": quant, "turns": pairs, **summary}))


if __name__ == "__main__":
    main()
