"""How long the preflight of an honest GGUF file or ONNX graph takes, its child's start included.

Usage: python -m tests.perf.preflight_time MODEL.gguf --rounds 15

Beside a GGUF file itself a copy is measured whose vocabulary has as many merges as that of
Qwen2.5. Asked, without hashing: at most 0.5 s for a GGUF file of 400 MB, 1 s for a graph
of 433 MB and the tokeniser beside it.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from harness.models.gguf_file import STRING, Array, read_header
from harness.preflight import inspect
from harness.spec import Format, file_sha256
from tests.preflight.forged import texts

MERGES = 151_387
MIB = 1 << 20


def with_merges(source: Path, target: Path) -> Path:
    """A copy with `MERGES` merges; only the header moves, since offsets count from the data."""
    found = read_header(source)
    merges = found.metadata["tokenizer.ggml.merges"]
    assert isinstance(merges, Array)
    assert merges.kind == STRING
    old = sum(8 + len(text) for text in found.strings(merges))
    with source.open("rb") as file, target.open("wb") as out:
        head = file.read(found.data_start)
        start = merges.start - 12
        new = texts(*[f"tok{i % 997:03d} en{i:06d}" for i in range(MERGES)])
        head = (head[:start] + new + head[merges.start + old :]).rstrip(b"\0")
        # The last tensor's offset may end in zeros: they belong to the header.
        head += bytes(_tail_zeros(source, found.data_start))
        out.write(head + bytes(-len(head) % 32))
        file.seek(found.data_start)
        shutil.copyfileobj(file, out, MIB)
    return target


def _tail_zeros(source: Path, data_start: int) -> int:
    """Zeros at the end of the header that are part of the last offset, a 64-bit number."""
    last = read_header(source).tensors[-1]
    return 8 - len(last.offset.to_bytes(8, "little").rstrip(b"\0"))


class Took(NamedTuple):
    """Seconds of one call: on the wall, and of processors here and in its child."""

    wall_s: float
    cpu_s: float


def took(call: Callable[[], object]) -> Took:
    """Measure one call."""
    began, cpu = time.perf_counter(), sum(os.times()[:4])
    call()
    return Took(time.perf_counter() - began, sum(os.times()[:4]) - cpu)


@click.command(help=__doc__)
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--rounds", default=15, show_default=True)
def main(model: Path, rounds: int) -> None:
    """Measure all of them in turn, so that what else runs disturbs them alike."""
    with tempfile.TemporaryDirectory(dir=model.parent) as temporary:
        kind: Format = "onnx" if model.suffix == ".onnx" else "gguf"
        calls: dict[str, Callable[[], object]] = {
            "an empty interpreter": lambda: subprocess.run(
                [sys.executable, "-P", "-c", "pass"], check=True
            ),
            f"{model.name}, {model.stat().st_size / MIB:.0f} MiB": lambda: inspect(model, kind),
            "its sha256": lambda: file_sha256(model),
        }
        if kind == "gguf":
            merged = with_merges(model, Path(temporary) / "merged.gguf")
            calls[f"the same, {MERGES} merges"] = lambda: inspect(merged, "gguf")
        found: dict[str, list[Took]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                found[name].append(took(call))
    for name, times in found.items():
        walls, cpus = zip(*times, strict=True)
        print(
            f"{name:<32} {statistics.median(walls):.3f} s ({min(walls):.3f} … {max(walls):.3f}), "
            f"{statistics.median(cpus):.3f} s of processors"
        )


if __name__ == "__main__":
    main()
