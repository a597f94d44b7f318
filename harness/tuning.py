"""How many threads an engine runs fastest with, for prefill and for decode: by measuring.

candidates(facts) ─ kernel mode in real workers, there and back ─▶ choose ─▶ Tuned

The order is mirrored (1 2 4, then 4 2 1), so that a machine that warms up while this lasts
favours no count. A tuned entry is one of its own: it is never ranked beside one with default
settings (`Model.tuned`).
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from harness.errors import HarnessError
from harness.execute import Outcome, execute_apart
from harness.plan import kernel_job
from harness.spec import Artefact, BackendOptions, Model
from harness.stats import median
from harness.times import kernel_rates

LEAST_GAIN: Final = 0.03
"""More threads must be faster by this much; they cost power, and noise is not a gain."""

_PROMPT, _OUTPUT, _REPETITIONS = 256, 64, 3


class Tuned(NamedTuple):
    """The counts to use."""

    threads: int
    threads_prefill: int


def candidates(facts: Mapping[str, object]) -> tuple[int, ...]:
    """Counts worth trying, ascending: small ones and every kind of core, as far as this
    process may use them.

    Args:
        facts: of the environment; what is unknown is left out.
    """
    names = ("performance_cores", "physical_cores", "logical_cores", "usable_cpus")
    cores = {name: n for name in names if isinstance(n := facts.get(name), int) and n > 0}
    limit = cores.get("usable_cpus", max(cores.values(), default=1))
    quota = facts.get("cpu_quota")
    if isinstance(quota, int | float):
        limit = min(limit, max(1, math.floor(quota)))
    wanted = {1, 2, 4, *cores.values(), max(1, cores.get("physical_cores", 1) // 2)}
    return tuple(sorted({min(n, limit) for n in wanted}))


def choose(rates: Mapping[int, Sequence[float]]) -> int:
    """The smallest count whose median rate is less than 3 % below the fastest's.

    Args:
        rates: tok/s of every pass, by number of threads; none empty.
    """
    medians = {threads: median(values) for threads, values in rates.items()}
    fastest = max(medians.values())
    return min(n for n, rate in medians.items() if fastest < rate * (1 + LEAST_GAIN))


def tune(artefact: Artefact, *, facts: Mapping[str, object], targets: Mapping[str, str]) -> Tuned:
    """Measure every candidate twice, in a fresh worker each, and choose.

    An engine that has one pool of threads for both, and says so, gets one count: that of
    the best geometric mean of the two rates.

    Args:
        facts: of the environment, for the candidates.
        targets: `module:class` of each backend name.

    Raises:
        HarnessError: a worker failed; the reason is its own.
    """
    counts = candidates(facts)
    jobs = [
        kernel_job(
            artefact,
            prompt=_PROMPT,
            output=_OUTPUT,
            repetitions=_REPETITIONS,
            options=_options(artefact.model, n, n),
        )
        for n in (*counts, *reversed(counts))
    ]
    prefill: dict[int, list[float]] = defaultdict(list)
    decode: dict[int, list[float]] = defaultdict(list)
    outcomes, records = execute_apart(jobs, targets)
    for outcome in outcomes:
        threads = outcome.job.options.threads
        prefill[threads] += _rates(outcome, f"pp{_PROMPT}")
        decode[threads] += _rates(outcome, f"tg{_OUTPUT}")
    if any("threads_prefill" in r["facts"] for r in records if r["type"] == "engine"):
        return Tuned(choose(decode), choose(prefill))
    both = {n: [math.sqrt(median(prefill[n]) * median(decode[n]))] for n in counts}
    return Tuned(choose(both), choose(both))


def tuned_model(model: Model, tuned: Tuned) -> Model:
    """The same model as an entry of its own with the chosen counts."""
    return dataclasses.replace(
        model,
        id=f"{model.id}.tuned",
        tuned=True,
        options=_options(model, tuned.threads, tuned.threads_prefill),
    )


def _options(model: Model, threads: int, threads_prefill: int) -> BackendOptions:
    return dataclasses.replace(model.options, threads=threads, threads_prefill=threads_prefill)


def _rates(outcome: Outcome, case: str) -> list[float]:
    """Rates of all passes of one case.

    Raises:
        HarnessError: the worker failed, or measured nothing.
    """
    rates = kernel_rates(outcome.samples, case)
    if outcome.state != "ok" or not rates:
        raise HarnessError(
            f"{outcome.state} with {outcome.job.options.threads} threads: "
            f"{outcome.detail or f'{case} was not measured'}",
            where=outcome.job.path,
            hint="harness doctor",
            reason=outcome.reason or "nothing_to_measure",
        )
    return rates
