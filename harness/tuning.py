"""How many threads an engine runs fastest with, for prefill and for decode: by measuring.

candidates(facts) ─ kernel mode in real workers, there and back ─▶ choose ─▶ Tuned

The order is mirrored (1 2 4, then 4 2 1), so that a machine that warms up while this lasts
favours no count. A tuned entry is one of its own: it is never ranked beside one with default
settings (`Model.tuned`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from harness.errors import HarnessError
from harness.execute import Outcome, execute
from harness.metrics import kernel_rates
from harness.plan import Job, kernel_job
from harness.records import JournalWriter, Record, read
from harness.spec import Artefact, BackendOptions, Model
from harness.stats import median

LEAST_GAIN: Final = 0.03
"""More threads must be faster by this much; they cost power, and noise is not a gain."""

Progress = Callable[[Outcome, int], None]
"""Called as each job ends with its outcome and the number of jobs left."""


class Rates(NamedTuple):
    """Median rates with one number of threads."""

    threads: int
    prefill_tok_per_s: float
    decode_tok_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The counts to use, and what was measured, by number of threads."""

    threads: int
    threads_prefill: int
    table: tuple[Rates, ...]


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


def tune(
    artefact: Artefact,
    *,
    facts: Mapping[str, object],
    targets: Mapping[str, str],
    prompt: int = 256,
    output: int = 64,
    repetitions: int = 3,
    progress: Progress | None = None,
) -> Tuned:
    """Measure every candidate twice, in a fresh worker each, and choose.

    An engine that has one pool of threads for both, and says so, gets one count: that of
    the best geometric mean of the two rates.

    Args:
        facts: of the environment, for the candidates.
        targets: `module:class` of each backend name.
        prompt, output: tokens of a pass of prefill and of decode.
        repetitions: passes a worker.

    Raises:
        HarnessError: a worker failed; the reason is its own.
    """
    counts = candidates(facts)
    order = (*counts, *reversed(counts))
    prefill: dict[int, list[float]] = defaultdict(list)
    decode: dict[int, list[float]] = defaultdict(list)
    jobs = [
        kernel_job(
            artefact,
            prompt=prompt,
            output=output,
            repetitions=repetitions,
            options=_options(artefact.model, n, n),
        )
        for n in order
    ]
    for outcome in _run(jobs, targets, progress)[0]:
        threads = outcome.job.options.threads
        prefill[threads] += _rates(outcome, f"pp{prompt}")
        decode[threads] += _rates(outcome, f"tg{output}")
    table = tuple(Rates(n, median(prefill[n]), median(decode[n])) for n in counts)
    chosen, chosen_prefill = choose(decode), choose(prefill)
    if chosen != chosen_prefill and not _keeps_apart(artefact, chosen, chosen_prefill, targets):
        both = {
            row.threads: [math.sqrt(row.prefill_tok_per_s * row.decode_tok_per_s)] for row in table
        }
        chosen = chosen_prefill = choose(both)
    return Tuned(threads=chosen, threads_prefill=chosen_prefill, table=table)


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


def _run(
    jobs: Sequence[Job], targets: Mapping[str, str], progress: Progress | None = None
) -> tuple[list[Outcome], list[Record]]:
    """Outcomes of all jobs up to the first that failed, and their records."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="harness-tune-") as temporary:
        folder = Path(temporary)
        path = folder / "records.jsonl"
        with contextlib.closing(JournalWriter(path)) as journal:
            for outcome in execute(jobs, targets, folder / "parts", journal):
                outcomes.append(outcome)
                if progress:
                    progress(outcome, len(jobs) - len(outcomes))
                if outcome.state != "ok":
                    break
        return outcomes, read(path).records


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


def _keeps_apart(
    artefact: Artefact, threads: int, threads_prefill: int, targets: Mapping[str, str]
) -> bool:
    """Whether the engine, asked for two counts, reports that it uses them."""
    options = _options(artefact.model, threads, threads_prefill)
    job = kernel_job(artefact, prompt=1, output=1, repetitions=1, options=options)
    (outcome,), records = _run([job], targets)
    said: list[tuple[object, object]] = [
        (record["facts"].get("threads"), record["facts"].get("threads_prefill"))
        for record in records
        if record["type"] == "engine"
    ]
    return outcome.state == "ok" and said == [(str(threads), str(threads_prefill))]
