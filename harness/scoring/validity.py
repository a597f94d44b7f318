"""Whether a run, and each model's jobs in it, can be believed. Pure.

counters between requests, facts before jobs, calibration, repetitions ─▶ findings

A finding is `{"code", "severity", "detail"}`. What happened while a model's jobs ran
speaks against that model alone; what concerns the whole machine speaks against the run.
Rules and thresholds: docs/metrics.md.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from harness.scoring.around import Around
from harness.scoring.gather import NOWHERE, ByType, OfModel, Place, Record
from harness.scoring.observe import Observed
from harness.scoring.reader import SWAPPED_BYTES
from harness.scoring.rules import Rules
from harness.scoring.telemetry import Watched
from harness.spec import canonical
from harness.stats import median, medians

Finding = dict[str, str]

DRIFT = 0.05
"""Calibration, and the decode rate of a model over a run, may move by this share."""
BUSY_MEDIAN, BUSY_BLOCK, STEAL = 0.05, 0.20, 0.01
BLOCK_S = 1.0
_LEAST_ROOM_NS = 200_000_000
"""Processor time below which ticks of 10 ms tell nothing."""
LEAST_AVAILABLE_BYTES = 512 << 20
HARD_FAULTS = 100
SUSPENDED_NS = 10_000_000
STEPPED_NS = 500_000_000
SLEW = 500e-6
"""Share by which a time service may legitimately stretch the wall clock."""
UNSTABLE, UNEVEN = 0.10, 0.03
LEAST_PROCESSES = 3
_LEAST_REQUESTS = 9
_MODES = ("power_mode", "governor", "energy_preference", "turbo")
_SPEEDS = {
    "read_bytes_per_s": ("reading memory", "GB/s"),
    "copy_bytes_per_s": ("copying memory", "GB/s"),
    "fp32_flop_per_s": ("computing (fp32)", "GFLOP/s"),
}
_SPREAD = ("ttft_s", "decode_tok_per_s")
_UNKNOWN = (None, "", "unknown")
_BY_SUITE = frozenset(
    {"context", "context_allocated", "batch", "micro_batch", "sequences", "branches"}
)
"""What an engine makes as large as the cases of a suite need; sequences and the branches that
they hold are scoring's."""
_SENSORS = {
    ("on_battery",): ("power_source", "unknown", "whether the machine ran on battery"),
    ("throttle_count",): ("throttle_count", "unknown", "thermal throttling"),
    ("cpu_busy_ns",): ("cpu_busy_ns", "unknown", "what else was running"),
    ("available_bytes",): ("memory_available_bytes", "unknown", "available memory"),
    ("swap_in_bytes", "hard_faults"): ("swap_used_bytes", "unknown", "swapping"),
    ("hard_faults",): ("hard_faults", "unknown", "page faults"),
    ("cpu_steal_ns",): ("cpu_steal_ns", "warn", "time taken by a hypervisor"),
    ("boot_offset_ns",): ("boot_offset_ns", "warn", "whether the machine was suspended"),
    ("wall_offset_ns",): ("wall_offset_ns", "warn", "whether the clock was set"),
    ("continued",): ("continued", "warn", "whether a process was stopped"),
}
"""Counters of which one is enough → name of the finding where all are missing, its severity,
what they tell. A page that came back from swap is a hard fault of the worker, too.
"""


class Validity(NamedTuple):
    """Findings on the run, and on each model's jobs by its id.

    Attributes:
        forgiven: codes that are only warnings in this run.
    """

    run: list[Finding]
    models: dict[str, list[Finding]]
    forgiven: frozenset[str]


def examine_model(
    records: OfModel,
    seen: Observed,
    jobs: Sequence[Watched],
    rules: Rules,
    *,
    device: Mapping[str, Any],
    looks: Around,
) -> list[Finding]:
    """Everything that speaks against one model's jobs.

    Args:
        records: of the model. jobs: its telemetry.
        looks: at the machine, before and after the jobs of each session.
    """
    before = looks.environment["before"]["facts"]
    on_battery = device.get("power") == "battery"
    return [
        *_machine(jobs, before, on_battery=on_battery),
        *_repetitions(seen, rules),
        *_engine(records.told),
        *_warm_up(records.samples),
        *_quotes(records.told),
    ]


def examine_run(
    told: ByType,
    jobs: Sequence[Watched],
    models: Mapping[str, Sequence[Finding]],
    rules: Rules,
    looks: Around,
) -> Validity:
    """All findings on a run and its models, each list in a fixed order.

    Under a strict profile one finding that is `invalid` or `unknown` makes a run not count;
    what the profile forgives is only a warning here.

    Args:
        told: records by their type, samples and telemetry apart. jobs: telemetry of all jobs.
        models: what speaks against each model's jobs.
    """
    calibrated = None not in (*looks.calibration.values(), *looks.calibrations)
    drifts = list(_drift(looks))
    run = [
        *drifts,
        *_over_the_run(looks, jobs, models),
        *_unknown(told, jobs, rules, calibrated=calibrated),
    ]
    forgiven = set(rules.profile.tolerates)
    if calibrated and not drifts:
        # The calibration kernel would have run slower, too.
        forgiven.add("unknown_throttle_count")
    return Validity(
        forgive(run, forgiven),
        {model: forgive(found, forgiven) for model, found in models.items()},
        frozenset(forgiven),
    )


def forgive(findings: Iterable[Finding], codes: Iterable[str]) -> list[Finding]:
    """Findings once each and in order; those of the given codes are only warnings."""
    forgiven = set(codes)
    softened = [
        found | {"severity": "warn"} if found["code"] in forgiven else found for found in findings
    ]
    return list({canonical(found): found for found in sorted(softened, key=canonical)}.values())


def unfinished(card: Mapping[str, Any]) -> str:
    """How much of its plan a run lacks, as its scorecard says; empty = it came to its end."""
    findings = card["verdict"]["findings"]
    return next((str(f["detail"]) for f in findings if f["code"] == "run_incomplete"), "")


def _finding(code: str, severity: str, detail: str) -> Finding:
    return {"code": code, "severity": severity, "detail": detail}


def _machine(
    jobs: Sequence[Watched], before: Mapping[str, Any], *, on_battery: bool
) -> Iterator[Finding]:
    """What the machine did while a model's jobs ran."""
    battery = any(
        1 in job.values("on_battery") or job.facts.get("power_source") == "battery" for job in jobs
    )
    if battery and not on_battery:
        yield _finding("on_battery", "invalid", "the machine ran on battery during its jobs")
    for name in _MODES:
        seen = {str(value) for job in jobs if (value := job.facts.get(name)) not in _UNKNOWN}
        if (start := before.get(name)) not in _UNKNOWN and (other := sorted(seen - {str(start)})):
            yield _mode_changed(name, start, other)
    if throttled := sum(job.grown("throttle_count") for job in jobs):
        yield _finding("throttled", "invalid", f"the throttle counters grew by {throttled}")
    yield from _processor(jobs)
    yield from _memory(jobs)
    yield from _clocks(jobs)
    if capped := sum(job.gate == "capped" for job in jobs):
        yield _finding(
            "thermal_gate_capped", "warn", f"{capped} jobs began before the processor was cool"
        )


def _mode_changed(name: str, start: object, others: Sequence[str]) -> Finding:
    detail = f"{name.replace('_', ' ')} was '{start}', then '{', '.join(others)}'"
    return _finding("power_mode_changed", "invalid", detail)


def _processor(jobs: Sequence[Watched]) -> Iterator[Finding]:
    """Other programs, in blocks of at least a second, and a hypervisor's share."""
    blocks = _blocks(jobs)
    if blocks:
        usual, most = median(blocks), max(blocks)
        if usual > BUSY_MEDIAN or most > BUSY_BLOCK:
            yield _finding(
                "busy_machine",
                "invalid",
                f"other programs took {usual:.1%} of the processors (median), at most {most:.1%}",
            )
    spans = [_stolen(job) for job in jobs]
    stolen, available = (sum(parts) for parts in zip(*spans, strict=True)) if spans else (0, 0)
    if available and stolen / available >= STEAL:
        yield _finding(
            "cpu_steal", "invalid", f"the hypervisor took {stolen / available:.1%} of the time"
        )


def _blocks(jobs: Iterable[Watched]) -> list[float]:
    """Share of all processors that others used, in blocks of at least a second.

    Counters tick in hundredths of a second: shorter blocks would be noise. Short jobs share
    a block, and a rest that is too short joins the last one.
    """
    blocks: list[tuple[int, int]] = []
    others_ns = room_ns = span_ns = 0
    for job in jobs:
        rows = job.together("clock_ns", "cpu_busy_ns", "own_cpu_ns", "cpus")
        for (first_ns, *used), (last_ns, *more, cpus) in pairwise(rows):
            others_ns += more[0] - used[0] - (more[1] - used[1])
            room_ns += (last_ns - first_ns) * max(1, cpus)
            span_ns += last_ns - first_ns
            if span_ns >= BLOCK_S * 1e9:
                blocks.append((others_ns, room_ns))
                others_ns = room_ns = span_ns = 0
    if span_ns:
        last_others, last_room = blocks.pop() if blocks else (0, 0)
        blocks.append((last_others + others_ns, last_room + room_ns))
    return [max(0.0, others / room) for others, room in blocks if room >= _LEAST_ROOM_NS]


def _stolen(job: Watched) -> tuple[int, int]:
    """Stolen and passed processor time of a job, in ns."""
    rows = job.together("clock_ns", "cpu_steal_ns", "cpus")
    if not rows:
        return 0, 0
    (first_ns, stolen_before, _), (last_ns, stolen, cpus) = rows[0], rows[-1]
    return stolen - stolen_before, (last_ns - first_ns) * cpus


def _memory(jobs: Sequence[Watched]) -> Iterator[Finding]:
    available = [value for job in jobs for value in job.values("available_bytes")]
    if available and min(available) < LEAST_AVAILABLE_BYTES:
        yield _finding(
            "low_memory", "invalid", f"only {min(available) >> 20} MiB of memory were available"
        )
    swapped = sum(job.grown("swap_in_bytes") for job in jobs)
    if swapped > SWAPPED_BYTES:
        yield _finding("swapped", "invalid", f"{swapped >> 20} MiB came back from swap")
    faults = max((job.grown_in_cases("hard_faults") for job in jobs), default=0)
    if faults > HARD_FAULTS:
        yield _finding(
            "hard_faults", "invalid", f"{faults} pages were read from disk during requests"
        )


def _clocks(jobs: Sequence[Watched]) -> Iterator[Finding]:
    asleep_ns = max((job.grown("boot_offset_ns") for job in jobs), default=0)
    if asleep_ns > SUSPENDED_NS:
        yield _finding("suspended", "invalid", f"the machine slept for {asleep_ns / 1e9:.2f} s")
    for job in jobs:
        moved_ns = job.grown("wall_offset_ns")
        if moved_ns > STEPPED_NS + SLEW * job.grown("clock_ns"):
            yield _finding("clock_stepped", "invalid", f"the clock moved by {moved_ns / 1e9:.2f} s")
            break
    if stopped := sum(max(job.values("continued"), default=0) for job in jobs):
        yield _finding("process_stopped", "invalid", f"its process was stopped {stopped} times")


def _repetitions(seen: Observed, rules: Rules) -> Iterator[Finding]:
    """Slowing down over the run, and process medians that do not agree."""
    scored = rules.scored("latency")
    ratio = _late_over_early(seen, scored)
    if ratio is not None and ratio < 1 - DRIFT:
        yield _finding(
            "slowed_down",
            "invalid",
            f"the last third of requests decoded at {ratio:.1%} of the rate of the first",
        )
    spreads = []
    for case in scored:
        for metric in _SPREAD:
            series = seen.series.get((case, metric))
            if series and len(series.processes) >= LEAST_PROCESSES:
                middles = medians(series.processes)
                spreads.append((float(middles.std(ddof=1) / middles.mean()), case, metric))
    if spreads and (worst := max(spreads))[0] > UNEVEN:
        cv, case, metric = worst
        yield _finding(
            "unstable",
            "invalid" if cv > UNSTABLE else "warn",
            f"{case}: {metric} of its processes varies by {cv:.1%} (coefficient of variation)",
        )


def _late_over_early(seen: Observed, cases: Iterable[str]) -> float | None:
    """Decode rate of the last third of requests over the first, all cases pooled.

    Requests go by process and index, each relative to its case's median.
    """
    placed: list[tuple[int, int, float]] = []
    for case in cases:
        series = seen.series.get((case, "decode_tok_per_s"))
        if series:
            usual = median(np.hstack(series.processes))
            placed += [
                (process, index, float(value) / usual)
                for process, values in enumerate(series.processes)
                for index, value in enumerate(values)
            ]
    if len(placed) < _LEAST_REQUESTS:
        return None
    rates = [rate for _, _, rate in sorted(placed)]
    third = len(rates) // 3
    return median(rates[-third:]) / median(rates[:third])


def _engine(told: ByType) -> Iterator[Finding]:
    """Accuracy and speed must come from one build with one set of options."""
    # One case of the memory suite maps the weights on purpose.
    memory = {
        record.get("job") for record in told.get("job", ()) if record.get("suite") == "memory"
    }
    seen: dict[str, set[bytes]] = defaultdict(set)
    for record in told.get("engine", ()):
        seen["backend"].add(canonical(record.get("backend")))
        left_out = _BY_SUITE | ({"mmap"} if record.get("job") in memory else set())
        for part in ("facts", "options"):
            for name, value in (record.get(part) or {}).items():
                if name not in left_out:
                    seen[f"{part}.{name}"].add(canonical(value))
    if varies := sorted(name for name, values in seen.items() if len(values) > 1):
        yield _finding("engine_changed", "invalid", f"differs between jobs: {', '.join(varies)}")


def _warm_up(samples: Mapping[Place, list[Record]]) -> Iterator[Finding]:
    warmed = [
        record.get("converged")
        for place, found in samples.items()
        if place[2] == "warmup" or place == NOWHERE
        for record in found
        if record.get("kind") == "warmup"
    ]
    if unsettled := sum(found is False for found in warmed):
        yield _finding(
            "not_converged", "warn", f"{unsettled} of {len(warmed)} warm-ups did not settle"
        )


def _quotes(told: ByType) -> Iterator[Finding]:
    """A template that quotes what is asked may hold the answers, too."""
    found = [
        (record.get("items", 0), record.get("of", 0))
        for record in told.get("event", ())
        if record.get("kind") == "template_holds_items"
    ]
    if found:
        quoted, of = map(sum, zip(*found, strict=True))
        detail = f"its chat template quotes {quoted} of {of} questions"
        yield _finding("template_holds_items", "invalid", detail)


def _drift(looks: Around) -> Iterator[Finding]:
    """The machine's speed over the run: of several sessions the two looks that differ most."""
    for name, (what, unit) in _SPEEDS.items():
        speeds = [found[name] for found in looks.calibrations if found and found.get(name)]
        if not speeds or math.log(max(speeds) / min(speeds)) <= math.log1p(DRIFT):
            continue
        first, last = speeds[0] / 1e9, speeds[-1] / 1e9
        detail = f"{what}: {first:.3g} {unit} before the run, {last:.3g} after it"
        if len(looks.before) > 1:
            first, last = min(speeds) / 1e9, max(speeds) / 1e9
            detail = f"{what}: {first:.3g} to {last:.3g} {unit} over the sessions of the run"
        yield _finding("calibration_drift", "invalid", detail)


def _over_the_run(
    looks: Around, jobs: Sequence[Watched], models: Mapping[str, Sequence[Finding]]
) -> Iterator[Finding]:
    """What changed over the run, unless it is said of a model already."""
    first, *others = [look.get("facts", {}) for look in (*looks.before, *looks.after)] or [{}]
    for name in _MODES:
        start = first.get(name)
        seen = {str(value) for facts in others if (value := facts.get(name)) not in _UNKNOWN}
        if start not in _UNKNOWN and (changed := sorted(seen - {str(start)})):
            yield _mode_changed(name, start, changed)
    said = {finding["code"] for findings in models.values() for finding in findings}
    grown = looks.grown("throttle_count")
    if grown and "throttled" not in said:
        yield _finding("throttled", "invalid", f"the throttle counters grew by {grown}")
    asleep = [value for job in jobs for value in job.values("boot_offset_ns")]
    if asleep and max(asleep) - min(asleep) > SUSPENDED_NS and "suspended" not in said:
        yield _finding("suspended", "warn", "the machine slept between two jobs")


def _unknown(
    told: ByType, jobs: Sequence[Watched], rules: Rules, *, calibrated: bool
) -> Iterator[Finding]:
    """Sensors that nobody could read, once each."""
    known = {
        finding.get("code")
        for record in told.get("environment", ())
        for finding in record.get("findings") or ()
    }
    kinds = {kind for job in jobs for kind in job.kinds}
    ended = [record for record in told.get("job", ()) if record.get("outcome") == "ok"]
    seen = {job.id for job in jobs if job.counted}
    blind = sorted({str(r.get("suite")) for r in ended if str(r.get("job", "")) not in seen})
    if blind:
        detail = f"nothing watched the machine during {', '.join(blind)}"
        yield _finding("no_telemetry", "unknown", detail)
    for counters, (name, severity, what) in _SENSORS.items():
        missing = any(map(frozenset(counters).isdisjoint, kinds))
        if f"unknown_{name}" not in known and missing:
            yield _finding(f"unknown_{name}", severity, f"{what} cannot be read here")
    if ended and not calibrated:
        yield _finding("unknown_calibration", "unknown", "the machine's speed was not calibrated")
    cools = rules.profile.protocol.cool_down_max_s > 0
    if cools and "unknown_temperature_c" not in known and any(j.gate == "unknown" for j in jobs):
        yield _finding("unknown_temperature_c", "warn", "nobody knows whether it was cool")
