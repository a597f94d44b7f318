"""Whether random weights cost what other weights of the same shape cost, interleaved.

Usage: python -m tests.perf.synth_speed [--shape qwen2.5-0.5b] [--quant q4_0] [--rounds 9]

Three files of one shape: blocks drawn as such (`harness models synth`), the same from
another seed, and normally distributed numbers that were quantised as trained weights are.
Kernels that took longer over certain values (subnormals, infinities, zeros that are
skipped) would tell them apart. A round loads all three by the harness's own backend and
asks each in turn; which is loaded first rotates from round to round, because where the
weights lie in memory moves the rate of one loading by 4 %. A round's ratio is the median of
its turns; the result is the median over rounds of the ratio of rates to the first file with
a bootstrap 95 % interval; the target is that each interval lies inside 0.97-1.03. Times are
the process's processor time on one thread, which other programs stretch far less than the
clock.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from harness.backends.llama_cpp import LlamaCppBackend
from harness.backends.onnxruntime import OnnxRuntimeBackend
from harness.models import shapes
from harness.models.export_gguf import export_gguf
from harness.models.export_onnx import export_onnx
from harness.models.network import tensor_shapes
from harness.models.synth import Recipe, random_network, synthesise
from harness.spec import BackendOptions
from tests.perf.llama_bench import interval

if TYPE_CHECKING:
    from harness.backends.base import Backend
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


def opened(path: Path, context: int) -> Backend:
    """The model in the backend that the harness measures with, on one thread."""
    backend: Backend
    if path.suffix == ".gguf":
        backend = LlamaCppBackend()
        model = path
    else:
        backend = OnnxRuntimeBackend()
        model = path / "model.onnx"
    backend.load(model, BackendOptions(threads=1, threads_prefill=1, context=context))
    return backend


def request(backend: Backend, prompt: int, output: int) -> dict[str, float]:
    """Tokens a second of processor time of one request."""
    backend.reset()
    start = time.process_time()
    token = backend.prefill([33 + 7 * index % 94 for index in range(prompt)]).next_id
    first = time.process_time()
    for _ in range(output):
        token = backend.step(token).next_id
    end = time.process_time()
    return {"prefill": prompt / (first - start), "decode": output / (end - first)}


@click.command(help=__doc__)
@click.option("--shape", default="qwen2.5-0.5b", show_default=True)
@click.option("--quant", default="q4_0", show_default=True, help="One that trained weights have.")
@click.option("--rounds", default=9, show_default=True)
@click.option("--turns", default=10, show_default=True, help="In a round.")
@click.option("--prompt", default=16, show_default=True)
@click.option("--output", default=8, show_default=True)
def main(shape: str, quant: str, rounds: int, turns: int, prompt: int, output: int) -> None:
    """Print the ratios as one JSON line."""
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        files = make(Path(temporary), shape, quant)
        for number in range(rounds):
            for name, ratio in one_round(files, number, turns, prompt, output).items():
                ratios.setdefault(name, []).append(ratio)
    summary = {
        name: {"median_ratio": statistics.median(values), "interval": interval(values)}
        for name, values in ratios.items()
    }
    load = os.getloadavg()[0]
    print(json.dumps({"shape": shape, "quant": quant, "rounds": rounds, "load": load, **summary}))


def one_round(
    files: dict[str, Path], number: int, turns: int, prompt: int, output: int
) -> dict[str, float]:
    """Median ratios to the first file of one loading."""
    first, *others = files
    order = [*files][number % 3 :] + [*files][: number % 3]
    backends = {name: opened(files[name], prompt + output) for name in order}
    rates = [
        {name: request(backends[name], prompt, output) for name in order} for _ in range(turns + 1)
    ][1:]  # the first turn touches the weights for the first time
    for backend in backends.values():
        backend.close()
    return {
        f"{name} {test}": statistics.median(rate[name][test] / rate[first][test] for rate in rates)
        for name in others
        for test in ("prefill", "decode")
    }


if __name__ == "__main__":
    main()
