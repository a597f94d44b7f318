"""How true the memory figures are: a worker that takes a known amount in a known way.

Usage: python -m tests.perf.memory_truth [--size 64 --size 512 --size 2048]

The fake engine takes memory while it loads, in the real worker, watched by the real
parent. What is printed is the peak above that of the same worker without an allocation;
the claim is 2 % or 8 MiB, whichever is larger, for every kind, also with two at once.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import click

from harness.backends import BACKENDS
from harness.cases import Case
from harness.execute import execute
from harness.records import JournalWriter
from tests.suites.helpers import job

MIB = 1 << 20
KINDS = ("heap", "private", "shared", "transient", "child")
CASE = Case(id="c64", prompt_tokens=62, output_tokens=2, context=64)


def allowed_bytes(size_bytes: int) -> float:
    """The largest error that is claimed."""
    return max(0.02 * size_bytes, 8 * MIB)


def measured(folder: Path, name: str, **model: object) -> dict[str, Any]:
    """The worker's peaks by phase, and what its parent sampled."""
    path = folder / f"{name}.fake.json"
    path.write_text(json.dumps(model), "utf-8")
    planned = dataclasses.replace(job("memory", CASE), id=name, path=str(path), timeout_s=300)
    journal = JournalWriter(folder / f"{name}.jsonl")
    (outcome,) = execute((planned,), BACKENDS, folder / f"{name}.parts", journal)
    journal.close()
    assert outcome.state == "ok", outcome.detail
    records = {sample.get("phase", sample["kind"]): sample for sample in outcome.samples}
    return records.pop("memory_split") | {"phases": records}


def peak(found: Mapping[str, Any]) -> int:
    """The peak of a worker and what it started, as scoring combines it."""
    most = max(record["peak_resident_bytes"] for record in found["phases"].values())
    return max(most, found["tree_peak_bytes"] or 0)


def taken(folder: Path, kind: str, size_bytes: int) -> dict[str, Any]:
    """As `measured`, of a worker that takes `size_bytes` and holds them for a while."""
    fields = {"clock": "real", "load_s": 0.2 + size_bytes / 2e9}
    # A confined worker starts nothing.
    switch = {"HARNESS_SANDBOX": "off"} if kind == "child" else {}
    with mock.patch.dict(os.environ, switch):
        return measured(
            folder, f"{kind}-{size_bytes}", allocate_kind=kind, allocate_bytes=size_bytes, **fields
        )


@click.command()
@click.option("--size", "sizes", multiple=True, type=int, default=(64, 512, 2048), help="MiB.")
def main(sizes: tuple[int, ...]) -> None:
    """Print a line for every kind and size, then for two workers at once."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bare = peak(measured(folder, "bare"))
        print(f"worker without an allocation: {bare / MIB:.1f} MiB")
        found = {(kind, size): taken(folder, kind, size * MIB) for size in sizes for kind in KINDS}
        rows = [(f"{kind} {size} MiB", size, run) for (kind, size), run in found.items()]
        pair = [("heap", 256), ("shared", 256)]
        with ThreadPoolExecutor() as pool:
            both = pool.map(lambda one: taken(folder, one[0], one[1] * MIB), pair)
            rows += [
                (f"{kind} {size} MiB, of two", size, run)
                for (kind, size), run in zip(pair, both, strict=True)
            ]
        for name, size, run in rows:
            error = peak(run) - bare - size * MIB
            verdict = "ok" if abs(error) <= allowed_bytes(size * MIB) else "WRONG"
            print(f"{name:24} error {error / MIB:+7.2f} MiB  {verdict}")


if __name__ == "__main__":
    main()
