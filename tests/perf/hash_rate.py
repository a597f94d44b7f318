"""How fast `harness models verify` hashes, beside sha256sum on the same file.

    python -m tests.perf.hash_rate [MIB] [ROUNDS]

Interleaved, from the page cache: the disk would hide the difference. Exit code 1 below 80 %.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.cli_models import _progress
from harness.spec import file_sha256


def seconds(work: object) -> float:
    started = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - started


def main(mib: int = 512, rounds: int = 9) -> int:
    with tempfile.TemporaryDirectory() as folder, _progress() as digest:
        path = Path(folder, "model.gguf")
        block = bytes(range(256)) * 4096
        with path.open("wb") as file:
            for _ in range(mib):
                file.write(block)
        ways = {
            "sha256sum": lambda: subprocess.run(
                ["sha256sum", path], check=True, stdout=subprocess.DEVNULL
            ),
            "models verify": lambda: digest(path),
            "harness run": lambda: file_sha256(path),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                times[name].append(seconds(way))
    rates = {name: mib / statistics.median(found) for name, found in times.items()}
    for name, rate in rates.items():
        print(f"{name:<14} {rate:>7.0f} MiB/s   {rate / rates['sha256sum']:.0%} of sha256sum")
    return int(min(rates.values()) < 0.8 * rates["sha256sum"])


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])))
