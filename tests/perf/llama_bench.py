"""`harness bench` against llama-bench on one GGUF file, interleaved, as a ratio.

Usage: python -m tests.perf.llama_bench MODEL.gguf LLAMA_BENCH [--pairs 15]

Build llama-bench from the source archive of the installed llama-cpp-python, so that
both run the same llama.cpp commit. On Linux it is given the installed package's own
libraries, so that both run the same machine code: two builds of one commit can differ by
2 %. Each pair runs both programs once, in alternating
order, with the same threads, batch sizes, attention and load mode. The result is the
median over pairs of ours / theirs with a bootstrap 95 % interval; the target is that
the interval lies inside 0.95–1.05 for both tests.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import click
import numpy as np

PROMPT, OUTPUT = 512, 128


def ours(model: Path, threads: int, repetitions: int) -> dict[str, float]:
    """Median tok/s of pp512 and tg128 by the harness."""
    command = [sys.executable, "-m", "harness", "bench", str(model), "--json"]
    command += ["-p", str(PROMPT), "-n", str(OUTPUT), "-r", str(repetitions), "-t", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    tests = json.loads(done.stdout.splitlines()[-1])["tests"]
    return {test["name"]: test["tok_per_s"]["median"] for test in tests}


def theirs(model: Path, threads: int, repetitions: int, program: Path) -> dict[str, float]:
    """Median tok/s of the same two tests by llama-bench."""
    command = [str(program), "-m", str(model), "-o", "json", "-p", str(PROMPT), "-n", str(OUTPUT)]
    command += ["-r", str(repetitions), "-t", str(threads), "-b", "2048", "-ub", "512"]
    command += ["-fa", "on", "-lm", "none"]
    home = importlib.util.find_spec("llama_cpp")
    assert home
    assert home.origin
    environment = {**os.environ, "LD_LIBRARY_PATH": str(Path(home.origin).parent / "lib")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return {
        f"pp{PROMPT}" if test["n_prompt"] else f"tg{OUTPUT}": statistics.median(test["samples_ts"])
        for test in json.loads(done.stdout)
    }


def interval(ratios: list[float]) -> tuple[float, float]:
    """Percentile bootstrap 95 % interval of the median."""
    generator = np.random.default_rng(1)
    drawn = generator.choice(np.array(ratios), size=(10_000, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(low), float(high)


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.argument("program", type=click.Path(exists=True, path_type=Path))
@click.option("--pairs", default=15, show_default=True)
@click.option("--repetitions", default=1, show_default=True, help="Timed repetitions a process.")
@click.option("--threads", default=os.cpu_count() or 1, show_default=True)
def main(model: Path, program: Path, pairs: int, repetitions: int, threads: int) -> None:
    """Print each pair as it ends, then the ratios as one JSON line."""
    ratios: dict[str, list[float]] = {}
    for pair in range(pairs):
        first_is_ours = pair % 2 == 0
        results = {}
        for is_ours in (first_is_ours, not first_is_ours):
            results[is_ours] = (
                ours(model, threads, repetitions)
                if is_ours
                else theirs(model, threads, repetitions, program)
            )
        for name, rate in results[True].items():
            ratios.setdefault(name, []).append(rate / results[False][name])
        shown = "  ".join(
            f"{name} {results[True][name]:.1f}/{results[False][name]:.1f}" for name in results[True]
        )
        print(f"pair {pair + 1}/{pairs}: {shown}  load {os.getloadavg()[0]:.1f}", flush=True)
    summary = {
        name: {"median_ratio": statistics.median(values), "interval": interval(values)}
        for name, values in ratios.items()
    }
    print(
        json.dumps(
            {"machine": platform.processor() or platform.machine(), "pairs": pairs, **summary}
        )
    )


if __name__ == "__main__":
    main()
