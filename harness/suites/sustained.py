"""Sustained speed: requests of one shape back to back, for as long as the case says.

What a laptop does after ten minutes is not what it does in the first. Only the first and
the last token's time of a request are kept: there are tens of thousands of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.backends.base import Backend
from harness.cases import Case
from harness.job import Job
from harness.records import Record
from harness.suites.base import no_collector, request, salted_prompts, telemetry

_LEAST_REQUESTS = 2
_TELEMETRY_NS = 1_000_000_000


def measure(case: Case, backend: Backend, job: Job) -> Iterator[Record]:
    """Requests until `case.duration_s` has passed, at least two; no warm-up but the load's."""
    with no_collector():
        began = read = backend.now_ns()
        yield telemetry(case.id, 0)
        index = 0
        while index < _LEAST_REQUESTS or backend.now_ns() - began < case.duration_s * 1e9:
            _, prompt = salted_prompts(case, backend, job, str(index))
            start = backend.now_ns() - began
            found = request(backend, prompt, case.output_tokens)
            times = found.pop("token_ns")
            yield {
                "case": case.id,
                "kind": "sustained",
                "index": index,
                "tokens": len(times),
                "submitted": found["submitted"],
                "evaluated": found["evaluated"],
                "decoded": found["decoded"],
                "start_ns": start,
                "first_ns": start + times[0],
                "last_ns": start + times[-1],
                "end_ns": start + found["end_ns"],
            }
            index += 1
            if not found["end_ns"]:
                break  # on a clock that stands still this would never end
            if backend.now_ns() - read >= _TELEMETRY_NS:
                read = backend.now_ns()
                yield telemetry(case.id, index)
