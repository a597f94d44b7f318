"""Whether one more process would tell anything: repeating ends once a model is precise.

Pure, and read after every optional job: records of one model in, a reason out.
"""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from harness.job import Job
from harness.spec import Profile
from harness.stats import median, student_t
from harness.times import SampleRefusedError, chat_times, kernel_tok_per_s, request_times

Sample = Mapping[str, Any]


def decide(job: Job, records: Iterable[Sample], spent_s: float, profile: Profile) -> str:
    """Why an optional job need not be run; empty = run it.

    Args:
        records: samples of the job's model and suite so far.
        spent_s: wall time that the model has taken.

    Returns:
        `budget_spent`, `precise` (the cases of this job are), or nothing.
    """
    budget_s = profile.protocol.budget_s
    if budget_s and spent_s >= budget_s:
        return "budget_spent"
    cases = {case.id for case in job.cases if case.scored}
    # A job of cases that are only shown makes no score more precise.
    return "precise" if not cases or is_precise(profile, records, cases) else ""


def is_precise(profile: Profile, samples: Iterable[Sample], cases: Collection[str]) -> bool:
    """Whether one model's samples of one suite are as precise as the profile asks.

    For every case: the 95 % interval of the mean of ln(process median), from Student's t
    over at least `protocol.processes` processes, is at most `protocol.precision` wide to
    either side, for the time to the first token and for the decode rate (kernel: the
    rate). A case without a usable sample gains nothing by more processes.
    """
    found: dict[tuple[str, str, str], dict[int, list[float]]] = defaultdict(dict)
    for sample in samples:
        for metric, value in _values(sample).items():
            place = str(sample.get("suite")), str(sample.get("case")), metric
            found[place].setdefault(int(sample.get("process", 0)), []).append(value)
    return all(
        len(processes) >= max(2, profile.protocol.processes.get(suite, 1))
        and half_width([median(values) for values in processes.values()])
        <= profile.protocol.precision
        for (suite, case, _), processes in found.items()
        if case in cases
    )


def half_width(medians: Collection[float]) -> float:
    """Relative half-width of the 95 % interval of the geometric mean of process medians."""
    logs = [math.log(value) for value in medians]
    k = len(logs)
    centre = math.fsum(logs) / k
    variance = math.fsum((value - centre) ** 2 for value in logs) / (k - 1)
    return math.expm1(student_t(k - 1) * math.sqrt(variance / k))


def _values(sample: Sample) -> dict[str, float]:
    """What repetition is to make precise, out of one sample; nothing where it is refused."""
    values: dict[str, float | None] = {}
    with contextlib.suppress(SampleRefusedError):
        match sample.get("kind"):
            case "request":
                request = request_times(sample)
                values = {"ttft": request.ttft_s, "decode": request.decode_tok_per_s}
            case "chat":
                chat = chat_times(sample)
                values = {"ttft": chat.task_ttft_s, "decode": chat.task_decode_tok_per_s}
            case "kernel":
                values = {"rate": kernel_tok_per_s(sample)}
    return {name: value for name, value in values.items() if value}
