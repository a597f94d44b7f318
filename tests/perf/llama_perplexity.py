"""The suites of running text against llama.cpp's own `llama-perplexity`, on GGUF files.

Usage: python -m tests.perf.llama_perplexity MODEL.gguf LLAMA_PERPLEXITY [--other QUANT.gguf]

Build llama-perplexity from the source archive of the installed llama-cpp-python: on Linux it
is given the installed package's own libraries, so that both run the same machine code. Each
generated text is read by both with the same window, attention and number types: as models
are measured (fused attention, float16 cache), and exactly (plain attention, float32), where
the figures agree to the digits that llama-perplexity prints. Elsewhere rounding differs, for
it evaluates 2048 tokens at once and the suite 64.

With `--other`, its divergence from MODEL too, exactly, over the tokens that llama-perplexity
scores: ours is a lower bound of theirs, and the shares are equal.
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

from harness.backends.llama_cpp import LlamaCppBackend
from harness.spec import BackendOptions
from harness.suites import compact
from harness.suites.compact import Predictions
from harness.suites.language import chunk_sums, text_ids, walk
from harness.suites.rows import divergence
from harness.suites.texts import BYTES_A_TOKEN, generated

PRINTED = {
    "kld_nat": r"Mean +KLD: +([0-9.]+)",
    "kld_nat_p50": r"Median +KLD: +([0-9.]+)",
    "kld_nat_p99": r"99.0% +KLD: +([0-9.]+)",
    "top1_agreement": r"Same top p: +([0-9.]+)",
    "delta_p_rms": r"RMS Δp +: +([0-9.]+)",
}
"""What llama-perplexity calls our figures; the last two in per cent."""


@dataclasses.dataclass(frozen=True)
class Both:
    """A text, read by the suite's walk and by the program."""

    program: Path
    options: BackendOptions
    text: str

    @property
    def window(self) -> int:
        return self.options.context

    def ours(self, model: Path, stored: Predictions | None = None) -> tuple[Predictions, int]:
        """Predictions of every token, and how many tokens stand before the text."""
        backend = LlamaCppBackend()
        backend.load(model, self.options)
        parts: list[Predictions] = []

        def visit(first, rows, targets):
            ids = stored.ids[first : first + len(targets)] if stored else None
            parts.append(compact.predictions(rows, targets, ids))

        walk(backend, text_ids(backend, self.text), self.window, visit)
        start = len(backend.begin_ids)
        backend.close()
        return compact.joined(parts), start

    def theirs(self, model: Path, *arguments: str) -> str:
        """What llama-perplexity prints."""
        home = importlib.util.find_spec("llama_cpp")
        assert home
        assert home.origin
        environment = {**os.environ, "LD_LIBRARY_PATH": str(Path(home.origin).parent / "lib")}
        kind, fused = self.options.kv_type, "on" if self.options.flash_attention else "off"
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "text.txt"
            file.write_text(self.text, "utf-8")
            command = [str(self.program), "-m", str(model), "-f", str(file), "-c", str(self.window)]
            command += ["-t", str(self.options.threads), "-fa", fused, "-ctk", kind, "-ctv", kind]
            done = subprocess.run(
                [*command, "-ngl", "0", *arguments],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
        return done.stdout + done.stderr

    def perplexity(self, model: Path) -> dict[str, float]:
        """Both figures, the program's standard error and the ratio."""
        found, start = self.ours(model)
        sums = chunk_sums(-found.target, self.window, start)
        mine = math.exp(math.fsum(sums) / (len(sums) * (self.window // 2 - 1)))
        output = self.theirs(model)
        printed = re.search(r"PPL = ([0-9.]+) \+/- ([0-9.]+)", output)
        assert printed, output[-2000:]
        other = float(printed[1])
        error = float(printed[2])
        return {"ours": mine, "theirs": other, "standard_error": error, "ratio": mine / other}

    def fidelity(self, model: Path, other: Path) -> dict[str, list[float]]:
        """Ours and theirs of each figure."""
        p, start = self.ours(model)
        q, _ = self.ours(other, p)
        places = np.arange(len(p.target)) + start
        whole = len(p.target) + start - (len(p.target) + start) % self.window
        scored = (places % self.window > self.window // 2) & (places < whole)
        kld = divergence(p.coarse, q.coarse)[scored]
        same = p.ids[:, 0] == p.ids[np.arange(len(p.ids)), q.coarse.head.argmax(axis=1)]
        change = (np.exp(p.target) - np.exp(q.target))[scored]
        mine = {
            "kld_nat": kld.mean(),
            "kld_nat_p50": np.median(kld),
            "kld_nat_p99": np.percentile(kld, 99),
            "top1_agreement": 100 * same[scored].mean(),
            "delta_p_rms": 100 * np.sqrt((change**2).mean()),
        }
        with tempfile.TemporaryDirectory() as folder:
            base = ("--kl-divergence-base", str(Path(folder) / "base"))
            self.theirs(model, *base)
            text = self.theirs(other, "--kl-divergence", *base)
        theirs = {name: float(re.findall(pattern, text)[-1]) for name, pattern in PRINTED.items()}
        return {name: [float(value), theirs[name]] for name, value in mine.items()}


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.argument("program", type=click.Path(exists=True, path_type=Path))
@click.option("--other", type=click.Path(exists=True, path_type=Path), help="A quantised file.")
@click.option("--tokens", default=4096, show_default=True, help="Size of each text.")
@click.option("--window", default=512, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(
    model: Path, program: Path, other: Path | None, tokens: int, window: int, threads: int
) -> None:
    """Print figures of both for each language and setting, as JSON lines."""
    usual = BackendOptions(threads=threads, context=window)
    exact = dataclasses.replace(usual, flash_attention=False, kv_type="f32")
    for language in ("ko", "en"):
        text = generated(language, tokens * BYTES_A_TOKEN)
        for name, options in (("as measured", usual), ("exact", exact)):
            found = Both(program, options, text).perplexity(model)
            print(json.dumps({"language": language, "setting": name, **found}))
        if other:
            both = Both(program, exact, text).fidelity(model, other)
            print(json.dumps({"language": language, "other": other.name, **both}))


if __name__ == "__main__":
    main()
