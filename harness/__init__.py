"""Benchmark small language models on the device: latency, memory and accuracy."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from harness.frames import Run

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(path: str | Path = "latest", *, results: str | Path = "results") -> Run:
    """Read a run into tidy pandas frames: samples, items, jobs, scorecard, metrics, gates.

    Args:
        path: a run folder, the id of one within `results`, `latest`, a record file, or a
            scorecard file, which alone has no samples, no items and no job times.
        results: the folder that holds one folder a run.

    Raises:
        SpecError: there is no such run.
        RecordError: a file is damaged, or no scorecard that this version reads.
    """
    # Not at the top: the measured child imports this package, and pandas costs it 40 MiB.
    from harness import frames

    return frames.load(path, results=results)
