"""The suite's cross-check figure against llama.cpp's own `llama-perplexity`, on one GGUF file.

Usage: python -m tests.perf.llama_perplexity MODEL.gguf LLAMA_PERPLEXITY [--tokens 4096]

Build llama-perplexity from the source archive of the installed llama-cpp-python: on Linux it
is given the installed package's own libraries, so that both run the same machine code. Each
generated text is read by both with the same window, attention and number types: as models
are measured (fused attention, float16 cache), and exactly (plain attention, float32), where
the figures agree to the digits that llama-perplexity prints. Elsewhere rounding differs, for
it evaluates 2048 tokens at once and the suite 64.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import os
import re
import subprocess
import tempfile
from pathlib import Path

import click
import numpy as np

from harness.backends.base import Backend
from harness.backends.llama_cpp import LlamaCppBackend
from harness.spec import BackendOptions
from harness.suites.language import chunk_sums, text_ids, walk
from harness.suites.rows import log_probability
from harness.suites.texts import BYTES_A_TOKEN, generated


def ours(backend: Backend, text: str, window: int) -> float:
    """Perplexity from the rows that bits per byte come from."""
    ids = text_ids(backend, text)
    nats = np.empty(len(ids))

    def visit(first, rows, targets):
        nats[first : first + len(targets)] = -log_probability(rows, targets)

    walk(backend, ids, window, visit)
    sums = chunk_sums(nats, window, len(backend.begin_ids))
    return math.exp(math.fsum(sums) / (len(sums) * (window // 2 - 1)))


def theirs(
    model: Path, program: Path, text: str, window: int, options: BackendOptions
) -> tuple[float, float]:
    """What llama-perplexity prints: the figure and its standard error."""
    home = importlib.util.find_spec("llama_cpp")
    assert home
    assert home.origin
    environment = {**os.environ, "LD_LIBRARY_PATH": str(Path(home.origin).parent / "lib")}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "text.txt"
        file.write_text(text, "utf-8")
        command = [str(program), "-m", str(model), "-f", str(file), "-c", str(window)]
        command += ["-t", str(options.threads), "-fa", "on" if options.flash_attention else "off"]
        command += ["-ctk", options.kv_type, "-ctv", options.kv_type, "-ngl", "0"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = re.search(r"PPL = ([0-9.]+) \+/- ([0-9.]+)", done.stdout + done.stderr)
    assert found, done.stderr[-2000:]
    return float(found[1]), float(found[2])


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.argument("program", type=click.Path(exists=True, path_type=Path))
@click.option("--tokens", default=4096, show_default=True, help="Size of each text.")
@click.option("--window", default=512, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(model: Path, program: Path, tokens: int, window: int, threads: int) -> None:
    """Print both figures and their ratio for each language and setting, as JSON lines."""
    usual = BackendOptions(threads=threads, context=window)
    exact = dataclasses.replace(usual, flash_attention=False, kv_type="f32")
    for name, options in (("as measured", usual), ("exact", exact)):
        backend = LlamaCppBackend()
        backend.load(model, options)
        for language in ("ko", "en"):
            text = generated(language, tokens * BYTES_A_TOKEN)
            mine = ours(backend, text, window)
            other, error = theirs(model, program, text, window, options)
            found = {"setting": name, "language": language, "ours": mine, "theirs": other}
            print(json.dumps(found | {"standard_error": error, "ratio": mine / other}))
        backend.close()


if __name__ == "__main__":
    main()
