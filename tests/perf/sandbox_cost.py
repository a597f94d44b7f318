"""What the sandbox costs a worker: decode rate, peak memory, time to start.

Usage: python -m tests.perf.sandbox_cost [--model PATH] [--pairs 12] [--windows 200]

Decode: a confined and an open process with the same model take turns of four tokens, so that
what the machine does meanwhile meets both. A pair's figure is the ratio of the times that a
tenth of the windows stay below: those that others did not disturb. Printed are the median
over pairs and its 95 % interval (order statistics), because two processes of one program
differ by themselves. The claim is a rate within 1 %.

Memory and time to start: real jobs of the memory and latency suites, in pairs as well.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import click
import numpy as np

from harness.backends import BACKENDS
from harness.cases import Case
from harness.execute import execute
from harness.models.reference import materialise
from harness.models.resolve import model_from_path
from harness.records import JournalWriter
from harness.sandbox.policy import SWITCH
from harness.spec import BackendOptions
from tests.suites.helpers import job

TOKENS, LEAST_DISTURBED = 4, 0.1
CASES = {
    "latency": Case(id="fixed-p32-n8", prompt_tokens=32, output_tokens=8),
    "memory": Case(id="c256", prompt_tokens=192, output_tokens=64, context=256),
}
TURNS = f"""
import json, sys, time
from pathlib import Path
from harness.extensions import load
from harness.sandbox import policy
from harness.spec import BackendOptions
path, backend, target = sys.argv[1:]
job = {{"path": path, "suite": "latency", "backend": backend}}
level = policy.confine(policy.of_job(job, target, "", str(Path.home())))["level"]
engine = load(target)()
engine.import_engine()
engine.load(Path(path), BackendOptions(threads=1, threads_prefill=1, context=256))
print(level, flush=True)
for line in sys.stdin:
    engine.reset()
    engine.prefill(list(range(5, 21)))
    started = time.perf_counter_ns()
    for token in range({TOKENS}):
        engine.step(token + 5)
    print(time.perf_counter_ns() - started, flush=True)
"""


class Turns:
    """A process that decodes a few tokens each time it is asked."""

    def __init__(self, path: Path, backend: str, switch: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", TURNS, str(path), backend, BACKENDS[backend]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, SWITCH: switch},
            text=True,
        )
        if self._answer() != (switch == "on"):
            raise click.ClickException(f"the sandbox is not {switch}")

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def turn(self) -> int:
        """Nanoseconds of one window."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """Close it."""
        self._process.communicate()


def decoded(path: Path, backend: str, windows: int, pair: int) -> dict[str, float]:
    """Time of a token in µs, confined and open, in turns."""
    # Whoever loads first gets other memory, which alone can make a per cent.
    order = ("on", "off") if pair % 2 else ("off", "on")
    both = {switch: Turns(path, backend, switch) for switch in order}
    times: dict[str, list[int]] = {"on": [], "off": []}
    for window in range(windows + 2):
        for switch in ("on", "off") if window % 2 else ("off", "on"):
            times[switch].append(both[switch].turn())
    for process in both.values():
        process.end()
    return {
        name: float(np.quantile(found[2:], LEAST_DISTURBED)) / TOKENS / 1e3
        for name, found in times.items()
    }


def worker(path: Path, backend: str, switch: str) -> dict[str, float]:
    """Peak memory and time to start of real jobs."""
    found: dict[str, float] = {}
    for suite, case in CASES.items():
        planned = dataclasses.replace(
            job(suite, case, requests=1, warmup_max=1),
            path=str(path),
            backend=backend,
            options=BackendOptions(threads=1, threads_prefill=1, context=256),
        )
        with (
            tempfile.TemporaryDirectory() as temporary,
            mock.patch.dict(os.environ, {SWITCH: switch}),
        ):
            journal = JournalWriter(Path(temporary, "records.jsonl"))
            (outcome,) = execute((planned,), BACKENDS, Path(temporary, "parts"), journal)
            journal.close()
        if outcome.state != "ok":
            raise click.ClickException(f"{outcome.state}: {outcome.detail}")
        peaks = [one["peak_resident_bytes"] for one in outcome.samples if one["kind"] == "memory"]
        if peaks:
            found |= {"runtime_mib": peaks[0] / 2**20, "peak_mib": max(peaks) / 2**20}
        loads = [one["start_ns"] for one in outcome.samples if one["kind"] == "load"]
        found |= {"start_ms": loads[0] / 1e6} if loads else {}
    return found


def shown(pairs: Sequence[dict[str, float]]) -> dict[str, object]:
    """Open value, and confined over open: median and 95 % interval by order statistics."""
    ratios = sorted(pair["on"] / pair["off"] for pair in pairs)
    n, off = len(ratios), round(0.98 * len(ratios) ** 0.5)
    low, high = max(0, n // 2 - off), min(n - 1, (n - 1) // 2 + off)
    middle = statistics.median(ratios)
    return {
        "open": round(statistics.median(pair["off"] for pair in pairs), 3),
        "confined/open": [round(value, 4) for value in (middle, ratios[low], ratios[high])],
    }


@click.command()
@click.option("--model", default="", help="A GGUF file or ONNX folder; default: both embedded.")
@click.option("--pairs", default=12, show_default=True, type=click.IntRange(3))
@click.option("--windows", default=200, show_default=True, type=click.IntRange(20))
def main(model: str, pairs: int, windows: int) -> None:
    """Print one JSON line a model."""
    embedded = ("ref-4m.q8_0.gguf", "ref-4m.int8.onnx")
    for path in [Path(model)] if model else map(materialise, embedded):
        backend = model_from_path(str(path)).backend_name
        rates = [decoded(path, backend, windows, pair) for pair in range(pairs)]
        found: dict[str, object] = {"model": path.name, "us_per_token": shown(rates)}
        jobs = [
            {switch: worker(path, backend, switch) for switch in ("on", "off")}
            for _ in range(max(3, pairs // 3))
        ]
        for name in ("runtime_mib", "peak_mib", "start_ms"):
            found[name] = shown(
                [{switch: one[name] for switch, one in pair.items()} for pair in jobs]
            )
        click.echo(json.dumps(found))


if __name__ == "__main__":
    main()
