"""What this machine's memory and processor can do at best: the roof over an engine's rates.

`calibrate` runs this file as a child, before and after the models, so that numpy's
threads are as many as an engine's and nothing of it stays in the parent. Three kernels:
many threads read a buffer too large for the caches, copy one half of it into the other,
and multiply fp32 matrices through numpy's BLAS. The best pass counts.

These are rates that plain software reaches, not a data sheet's. An engine can exceed
the fp32 roof with narrower numbers, and the read roof where its model fits the cache. No
number here says anything about another number of threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_BUFFER_BYTES = 256 << 20
_BUFFER_MAX_BYTES = 1 << 30
"""A server's shared cache is reported whole to each of its virtual machines."""
_CACHES = 4
"""Buffers are this many times the last cache, so that little of them is still in it."""
_BLOCK_BYTES = 2 << 20
"""Fast and slow cores take as many blocks as they can, so none waits for another."""
_ORDER = 1536
"""Rows of the matrices: 7 GFLOP a product, some milliseconds on the fastest laptop."""
_KIND_S = 0.25
_PASSES_MIN = 3
_TIMEOUT_S = 60.0
_THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def calibrate(threads: int) -> dict[str, Any] | None:
    """Measure the roof in a child, which takes about 1.5 s and 0.3 to 1 GiB of memory.

    Args:
        threads: as many as the engines get.

    Returns:
        What `measure` returns, or None where the child fails or takes too long.
    """
    limits = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "harness.probes.roofline", str(threads)],
            env={**os.environ, **limits},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return found


def measure(threads: int) -> dict[str, Any]:
    """Measure the roof in this process; its BLAS must have been limited to `threads`.

    Returns:
        `read_bytes_per_s`, `copy_bytes_per_s` (read plus written), `fp32_flop_per_s`,
        `threads` and `method`.
    """
    # Written to, or all of it would be one page of zeros.
    blocks = np.full((_buffer_bytes() // _BLOCK_BYTES, _BLOCK_BYTES // 8), 1, np.int64)
    half = len(blocks) // 2
    pairs = list(zip(blocks[:half], blocks[half:], strict=True))
    read_s = _best_s(lambda: _share_out(blocks, _reduce, threads))
    copy_s = _best_s(lambda: _share_out(pairs, _copy, threads))
    return {
        "read_bytes_per_s": round(blocks.nbytes / read_s),
        "copy_bytes_per_s": round(blocks.nbytes / copy_s),
        "fp32_flop_per_s": round(2 * _ORDER**3 / _matmul_s()),
        "threads": threads,
        "method": "numpy",
    }


def _reduce(block: Any) -> None:
    # The lightest reduction: out of the cache it runs four times as fast as out of memory.
    np.bitwise_or.reduce(block)


def _copy(pair: Sequence[Any]) -> None:
    source, target = pair
    np.copyto(target, source)


def _matmul_s() -> float:
    ramp = (np.arange(_ORDER**2, dtype=np.float32) % 13 + 1) / 13
    left = ramp.reshape(_ORDER, _ORDER)
    right, product = left.T.copy(), np.empty_like(left)
    return _best_s(lambda: np.matmul(left, right, out=product))


def _best_s(run: Callable[[], object]) -> float:
    """Shortest of several passes; the first warms up and counts like the others."""
    best = float("inf")
    begun = time.perf_counter()
    passes = 0
    while passes < _PASSES_MIN or time.perf_counter() - begun < _KIND_S:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
        passes += 1
    return best


def _share_out(items: Iterable[Any], work: Callable[[Any], None], threads: int) -> None:
    """Give items to threads one by one; numpy releases the lock while it works."""
    waiting: Iterator[Any] = iter(items)

    def take() -> None:
        for item in waiting:
            work(item)

    helpers = [threading.Thread(target=take) for _ in range(threads - 1)]
    for helper in helpers:
        helper.start()
    take()
    for helper in helpers:
        helper.join()


def _buffer_bytes(root: Path = Path("/")) -> int:
    """Size of the buffer, in whole pairs of blocks: several times the largest cache that
    the system tells of.
    """
    sizes = [
        _cache_bytes(file) for file in root.glob("sys/devices/system/cpu/cpu0/cache/index*/size")
    ]
    wanted = min(max(_BUFFER_BYTES, _CACHES * max(sizes, default=0)), _BUFFER_MAX_BYTES)
    pair = 2 * _BLOCK_BYTES
    return wanted // pair * pair


def _cache_bytes(file: Path) -> int:
    """`24576K` in bytes; 0 where it says something else."""
    try:
        text = file.read_text("ascii", "replace").strip()
    except OSError:
        return 0
    unit = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:], 0)
    return int(text[:-1]) * unit if text[:-1].isdigit() else 0


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))  # noqa: T201 - how the parent gets it
