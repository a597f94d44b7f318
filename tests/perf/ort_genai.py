"""Our ONNX backend against ONNX Runtime GenAI on one folder, interleaved, as a ratio.

Usage: python -m tests.perf.ort_genai FOLDER --genai-python VENV/bin/python

A missing FOLDER is made: random int4 weights in the shape of Qwen2.5-0.5B, in a graph that
returns every row of logits, as GenAI's own exporter writes them.
GenAI is no dependency: install `onnxruntime-genai`, with the same version of
onnxruntime as here, into an environment of its own. Each pair starts a fresh child of
either engine, in alternating order, with the same threads, prompt and number of tokens;
a child runs one untimed request and then times one. GenAI's cache is given the length
of the request: its default, the whole context, is much slower. The result is the median
over pairs of ours / theirs with a bootstrap 95 % interval; the target is 1 or more.

The child of GenAI runs this file in the other environment, so that the top imports
nothing but the standard library.
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
FIRST_TEXT_ID = 33
"""Prompts are single bytes of text: ids 33 to 126 in the tokeniser of synthetic models."""


class Engine(NamedTuple):
    """Two calls to time, a prompt's first token and each further one, and what came of them."""

    version: str
    prefill: Callable[[list[int]], object]
    step: Callable[[], object]
    tokens: Callable[[], list[int]]


def open_ours(folder: Path, context: int, threads: int) -> Engine:
    """The backend that the harness measures with."""
    import onnxruntime

    from harness.backends.onnxruntime import OnnxRuntimeBackend
    from harness.spec import BackendOptions

    backend = OnnxRuntimeBackend()
    backend.load(folder, BackendOptions(threads=threads, threads_prefill=threads, context=context))
    tokens: list[int] = []

    def prefill(ids: list[int]) -> None:
        backend.reset()
        tokens[:] = [backend.prefill(ids).next_id]

    def step() -> None:
        tokens.append(backend.step(tokens[-1]).next_id)

    return Engine(f"onnxruntime {onnxruntime.__version__}", prefill, step, lambda: tokens)


def open_genai(folder: Path, context: int, threads: int) -> Engine:
    """GenAI's own generator, greedy."""
    import onnxruntime_genai as genai

    config = genai.Config(str(folder))
    session = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
    model = genai.Model(config)
    current: list[Any] = []
    submitted = [0]

    def prefill(ids: list[int]) -> None:
        submitted[0] = len(ids)
        params = genai.GeneratorParams(model)
        params.set_search_options(max_length=context, do_sample=False)
        current[:] = [genai.Generator(model, params)]
        current[0].append_tokens(ids)
        current[0].generate_next_token()

    def step() -> None:
        current[0].generate_next_token()

    def tokens() -> list[int]:
        sequence = current[0].get_sequence(0)
        return [int(token) for token in sequence[submitted[0] :]]

    return Engine(f"onnxruntime-genai {genai.__version__}", prefill, step, tokens)


def child(engine: str, folder: Path, prompt: int, output: int, threads: int) -> dict[str, Any]:
    """Rates in tok/s, and tokens, of one timed request after an untimed one."""
    opened = (open_ours if engine == "ours" else open_genai)(folder, prompt + output, threads)
    ids = [FIRST_TEXT_ID + 7 * index % 94 for index in range(prompt)]
    for _ in range(2):
        start = time.perf_counter()
        opened.prefill(ids)
        first = time.perf_counter()
        for _ in range(output - 1):
            opened.step()
        end = time.perf_counter()
    return {
        "version": opened.version,
        "prefill": prompt / (first - start),
        "decode": (output - 1) / (end - first),
        "tokens": opened.tokens(),
    }


def start_child(engine: str, python: str, options: argparse.Namespace, prompt: int) -> Any:
    """What `child` measures, in a process of its own."""
    command = [python, str(Path(__file__)), str(options.folder), "--child", engine]
    command += ["--prompts", str(prompt), "--output", str(options.output)]
    command += ["--threads", str(options.threads)]
    paths = {"PYTHONPATH": str(ROOT)} if engine == "ours" else {}
    done = subprocess.run(
        command, env={**os.environ, **paths}, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def make(folder: Path) -> None:
    """Write the model that both engines can open."""
    from harness.models.export_onnx import export_onnx
    from harness.models.synth import Recipe, random_network

    recipe = Recipe(shape="qwen2.5-0.5b", format="onnx", quantisation="int4")
    with tempfile.TemporaryDirectory() as temporary:
        network = random_network(recipe, Path(temporary))
        export_onnx(network, folder, recipe.quantisation, logits_rows=False)


def compare(options: argparse.Namespace) -> None:
    """Print each pair as it ends, then the ratios of each prompt length as a JSON line."""
    from tests.perf.llama_bench import interval

    pythons = {"ours": sys.executable, "genai": options.genai_python}
    for prompt in options.prompts:
        ratios: dict[str, list[float]] = {"prefill": [], "decode": []}
        for pair in range(options.pairs):
            order = ("ours", "genai") if pair % 2 == 0 else ("genai", "ours")
            found = {name: start_child(name, pythons[name], options, prompt) for name in order}
            ours, theirs = found["ours"], found["genai"]
            for name, values in ratios.items():
                values.append(ours[name] / theirs[name])
            same = sum(map(operator.eq, ours["tokens"], theirs["tokens"]))
            if len(ours["tokens"]) != options.output or len(theirs["tokens"]) != options.output:
                sys.exit("an engine stopped early: the two did not do the same work")
            shown = "  ".join(f"{name} {ours[name]:.1f}/{theirs[name]:.1f}" for name in ratios)
            load = os.getloadavg()[0]
            print(
                f"p{prompt} pair {pair + 1}/{options.pairs}: {shown}  "
                f"same tokens {same}/{options.output}  load {load:.1f}",
                flush=True,
            )
        summary = {
            name: {"median_ratio": statistics.median(values), "interval": interval(values)}
            for name, values in ratios.items()
        }
        engines = [ours["version"], theirs["version"]]
        facts = {"prompt": prompt, "pairs": options.pairs, "engines": engines}
        print(json.dumps({**facts, **summary}), flush=True)


def main() -> None:
    """Compare, or measure one engine where this is a child."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--genai-python", help="interpreter that has onnxruntime-genai")
    parser.add_argument("--prompts", type=int, nargs="+", default=[64, 512, 2048])
    parser.add_argument("--output", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--child", choices=["ours", "genai"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        (prompt,) = options.prompts
        found = child(options.child, options.folder, prompt, options.output, options.threads)
        print(json.dumps(found))
    elif not options.genai_python:
        parser.error("--genai-python is needed")
    else:
        if not options.folder.exists():
            make(options.folder)
        compare(options)


if __name__ == "__main__":
    main()
