"""Memory: the kernel's own high-water mark of the worker, phase by phase.

The mark is set back after each reading, so that a phase has its own peak; where the
platform cannot do that, peaks are cumulative from the start of the process and say so.
The worker itself reads `runtime` (before the engine is imported), `import` and `load`.
What has no mark, the split by kind of page and the worker's children, the parent samples.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.backends.base import Backend
from harness.cases import Case
from harness.errors import CapabilityError
from harness.job import Job
from harness.probes import counters, memory
from harness.records import Record
from harness.suites.base import fixed_prompt, telemetry

_mark = {"since": "start"}
"""Since when this process's high-water mark counts."""


def measure(case: Case, backend: Backend, job: Job) -> Iterator[Record]:
    """One request that fills the context, with a reading after prefill and after decode."""
    yield telemetry(case.id, 0)
    prompt = fixed_prompt(backend, case.prompt_tokens, f"{job.seed}/{case.id}")
    backend.reset()
    token = backend.prefill(prompt).next_id
    yield reading(case.id, "prefill")
    for _ in range(case.output_tokens - 1):
        token = backend.step(token).next_id
    yield reading(case.id, "decode")
    yield telemetry(case.id, 1)


def reading(case: str, phase: str) -> Record:
    """Resident size of this process at the end of a phase, and its peak in it.

    Returns:
        `peak_resident_bytes` and since when: "phase", or "start" (of the process) where
        the mark could not be set back at the end of the phase before; `resident_bytes` now.
        Where the system tells, `swapped_bytes` of the process, which are not resident, and
        `available_bytes` of the machine, whose fall is a cross-check.

    Raises:
        CapabilityError: this platform does not say.
    """
    found = memory.resident()
    if found is None:
        raise CapabilityError(
            "this platform does not report a peak resident size", reason="memory_unreadable"
        )
    since = _mark["since"]
    _mark["since"] = "phase" if memory.reset_peak() else "start"
    beside = {
        "swapped_bytes": found.swapped_bytes,
        "available_bytes": counters.read().get("available_bytes"),
    }
    return {
        "case": case,
        "kind": "memory",
        "phase": phase,
        "peak_resident_bytes": found.peak_bytes,
        "resident_bytes": found.now_bytes,
        "since": since,
    } | {name: size for name, size in beside.items() if size is not None}
