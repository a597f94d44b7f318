"""Memory: the kernel's own high-water mark of the worker, phase by phase.

Peaks are cumulative from the start of the process. `runtime` (before the engine is
imported) and `load` are read by the worker before this suite runs; the split into
anonymous and file-backed pages has no high-water mark and is sampled by the parent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from harness.backends.base import Backend
from harness.errors import CapabilityError
from harness.plan import Case, Job
from harness.probes.memory import peak_resident_bytes
from harness.records import Record
from harness.suites.base import fixed_prompt


def measure(case: Case, backend: Backend, job: Job) -> Iterator[Record]:
    """One request, with a reading after prefill and after decode."""
    prompt = fixed_prompt(backend, case.prompt_tokens, f"{job.seed}/{case.id}")
    backend.reset()
    token = backend.prefill(prompt).next_id
    yield reading(case.id, "prefill")
    for _ in range(case.output_tokens - 1):
        token = backend.step(token).next_id
    yield reading(case.id, "decode")


def reading(case: str, phase: str) -> Record:
    """The peak resident size of this process until now.

    Raises:
        CapabilityError: this platform does not say.
    """
    peak = peak_resident_bytes(os.getpid())
    if peak is None:
        raise CapabilityError(
            "this platform does not report a peak resident size", reason="memory_unreadable"
        )
    return {"case": case, "kind": "memory", "phase": phase, "peak_resident_bytes": peak}
