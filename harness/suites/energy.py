"""Energy: the fixed workload's requests, while the parent reads what the machine takes.

Each request says when it began on the clock that both processes share, so that the
parent's trace can be integrated over it.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.backends.base import Backend
from harness.cases import Case
from harness.job import Job
from harness.records import Record
from harness.suites.base import no_collector, request, salted_prompts, telemetry


def measure(case: Case, backend: Backend, job: Job) -> Iterator[Record]:
    """One untimed request, then `job.requests` whose beginnings are known absolutely."""
    with no_collector():
        for index in range(-1, job.requests):
            _, prompt = salted_prompts(case, backend, job, str(index))
            found = request(backend, prompt, case.output_tokens)
            if index >= 0:
                yield {"case": case.id, "kind": "request", "index": index} | found
            yield telemetry(case.id, index + 1)
