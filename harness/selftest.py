"""The harness measures itself: known delays and allocations through the real path.

fake models on their real clock ─ session.run ─▶ records ─▶ against the models' own log

Each fake engine spins to its deadlines and writes down when its calls really began and
ended; the difference to what the records say is the harness's own error. Naive
adapters must be refused, clean ones never, and two identical models must not differ.
It is what an evaluator runs first on a new laptop.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from harness import environment, score, session, spec
from harness import plan as planning
from harness.backends import BACKENDS
from harness.errors import Exit
from harness.execute import execute_apart
from harness.job import Job
from harness.messages import pad, tr
from harness.metrics import Floats, show_bytes, show_seconds, show_share
from harness.models import resolve as artefacts
from harness.plan import Plan
from harness.records import Record, read
from harness.sandbox.policy import SWITCH
from harness.scoring.observe import Observed, observe
from harness.scoring.rules import read_rules

MIB = 1 << 20
PROMPT, OUTPUT = 32, 64
CASE = f"fixed-p{PROMPT}-n{OUTPUT}"
CONTEXT = 64
LOAD_S, PREFILL_S_PER_TOKEN, SHORT_STEP_S, SLOW_STEP_S = 0.2, 0.0005, 0.0005, 0.05
ALLOWED_S, ALLOWED_SHARE = 20e-6, 0.01
ALLOWED_BYTES, ALLOWED_MEMORY_SHARE = 8 * MIB, 0.02
STEPS = {"step-0": 0.0, "step-0.2ms": 0.0002, "step-1ms": 0.001, "step-10ms": 0.01}
"""Models whose times are compared with their log, and their decode steps in s."""
BARE, SLOWED = "step-0", "step-1ms"
"""Of these, the one that takes no time of its own, and the one with slow tokens."""
TWINS = ("twin-a", "twin-b")
KINDS = ("heap", "private", "shared", "transient", "child")
PAIR = ("memory-heap-64", "memory-shared-64")
NAIVE: Mapping[str, tuple[dict[str, object], str]] = {
    "naive-prefix": ({"reuse_prefix": True}, "prompt_not_evaluated"),
    "naive-chunks": ({"chunk_tokens": 4}, "wrong_token_count"),
    "naive-early": ({"early_return": True}, "token_not_available"),
}
"""Wrong adapters: the field that makes them wrong, and the reason to refuse them for."""
OWN = {"engine_changed", "output_varies", "process_stopped", "records_torn", "run_incomplete"}
"""Findings on the harness, false alarms in a clean run; all others are on the machine."""

Check = dict[str, Any]
"""`id`, `what`, `asked` (worst value that passes, or the reason code that must come),
`measured`, `unit`, `passed` (None = only reported) and `reason`."""


def run(*, quick: bool = False, progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Run all checks; nothing is left on the disk.

    Args:
        quick: fewer processes and sizes.
        progress: told what is being measured, a line each.

    Returns:
        JSON data: `checks`; `noise`, findings on the machine while it ran; `passed`
        (none failed) and `wall_s`.

    Raises:
        HarnessError: the temporary folder cannot be written.
    """
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="harness-selftest-") as temporary:
        folder = Path(temporary)
        found = judge(*measure(folder, quick=quick, progress=progress), folder)
    return found | {"wall_s": round(time.perf_counter() - began, 3)}


def measure(
    folder: Path, *, quick: bool = False, progress: Callable[[str], None] | None = None
) -> tuple[list[Record], list[Record]]:
    """Run the fake models, which leave their own logs in `folder`.

    Returns:
        Records of the run, and of two memory jobs that ran side by side.
    """
    say = progress or (lambda _line: None)
    plan = _plan(folder, quick=quick)
    say(f"{len(plan.jobs)} jobs of fake engines")
    with _unconfined():
        result = session.run(plan, folder / "results")
        say("two workers at once")
        pair = _two_at_once(plan)
    return read(result.folder / "records.jsonl").records, pair


@contextlib.contextmanager
def _unconfined() -> Iterator[None]:
    """These engines keep a log beside their model and start processes: no worker else may."""
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = "off"
    try:
        yield
    finally:
        del os.environ[SWITCH]
        if before is not None:
            os.environ[SWITCH] = before


def judge(records: Sequence[Record], pair: Sequence[Record], folder: Path) -> dict[str, Any]:
    """What `measure` found against the logs in its folder; as `run`, without `wall_s`."""
    seen = _observed(records)
    checks, noise = _alarms(records)
    checks += _timers(seen, records, folder)
    checks += _memory(seen, _observed([*_only(records, "run"), *pair]))
    checks += [*_refusals(seen), _twins(seen)]
    passed = all(check["passed"] is not False for check in checks)
    return {"checks": checks, "noise": noise, "passed": passed}


def text(found: Mapping[str, Any]) -> str:
    """The checks as lines for people, the verdict last."""
    words = {True: "passed", False: "FAILED", None: "-"}
    lines = []
    for check in found["checks"]:
        measured, asked = (_show(check[name], check["unit"]) for name in ("measured", "asked"))
        limit = f" (asked: {asked})" if check["asked"] is not None else ""
        reason = f"; {check['reason']}" if check["reason"] else ""
        result = pad(tr(words[check["passed"]]), 6)
        lines.append(f"{result}  {tr(check['what'])}: {tr(measured)}{tr(limit)}{tr(reason)}")
    noise = pad(tr("noise"), 6)
    lines += [f"{noise}  {item['code']}: {tr(item['detail'])}" for item in found["noise"]]
    if failed := sum(check["passed"] is False for check in found["checks"]):
        verdict = (
            f"{failed} of {len(found['checks'])} checks failed: close other programs and run "
            "`harness selftest` again; what fails twice cannot be measured here"
        )
    else:
        verdict = f"the harness measures correctly here ({found['wall_s']:.0f} s)"
    lines.append(tr(verdict))
    return "\n".join(lines)


def exit_code(found: Mapping[str, Any]) -> Exit:
    """0 where nothing failed, else 4."""
    return Exit.DONE if found["passed"] else Exit.FAILED


def _show(value: float | str | None, unit: str) -> str:
    if value is None or isinstance(value, str):
        return value or "not measured"
    return {"s": show_seconds, "B": show_bytes, "1": show_share}.get(unit, "{:g}".format)(value)


# --- what is run ------------------------------------------------------------------------


def _models(*, quick: bool) -> dict[str, dict[str, object]]:
    """Fields of the fake models, by id."""
    real: dict[str, object] = {"clock": "real", "prefill_s_per_token": PREFILL_S_PER_TOKEN}
    short = real | {"step_s": SHORT_STEP_S}
    out = {name: real | {"step_s": step_s, "load_s": LOAD_S} for name, step_s in STEPS.items()}
    out[SLOWED]["slow_steps"] = {"20": SLOW_STEP_S}
    out |= dict.fromkeys(TWINS, short) | {name: short | NAIVE[name][0] for name in NAIVE}
    available = environment.observe().get("memory_available_bytes")
    most = available // 4 if isinstance(available, int) else 64 * MIB
    # Held for as long as loading takes: two workers then really have it at once.
    out["memory-none"] = held = {"clock": "real", "load_s": 0.1}
    for size in (64,) if quick else (64, 512):
        for kind in KINDS if size * MIB <= most else ():
            taken: dict[str, object] = {"allocate_kind": kind, "allocate_bytes": size * MIB}
            out[f"memory-{kind}-{size}"] = held | taken
    return out


def _plan(folder: Path, *, quick: bool) -> Plan:
    """One run of all models; each has only the jobs that its checks need."""
    profile = spec.Profile(
        id="selftest",
        version=1,
        title="The harness measures itself",
        reference=TWINS[0],
        tier="synthetic",
        protocol=spec.Protocol(
            processes={"latency": 3 if quick else 10},
            requests=3 if quick else 5,
            warmup_max=1,
            grouping="suite",
            job_timeout_s=60,
        ),
        suites=spec.Suites(
            latency=spec.LatencySuite(prompt_tokens=(PROMPT,), output_tokens=(OUTPUT,)),
            memory=spec.MemorySuite(context=CONTEXT, output_tokens=2),
        ),
        weights={"ttft_s": 0.5, "decode_tok_per_s": 0.5},
    )
    artefacts = [_artefact(folder, *model) for model in _models(quick=quick).items()]
    device = spec.Device(id="this-machine", name="this machine")
    plan = planning.build(profile, device, artefacts, threads=1)
    return dataclasses.replace(plan, jobs=tuple(job for job in plan.jobs if _needed(job)))


def _needed(job: Job) -> bool:
    if job.model.startswith("memory"):
        return job.suite == "memory"
    return job.suite == "latency" and (job.process == 0 or job.model in TWINS)


def _artefact(folder: Path, name: str, fields: Mapping[str, object]) -> spec.Artefact:
    path = folder / f"{name}.fake.json"
    path.write_text(json.dumps({**fields, "truth": f"{name}.truth"}), "utf-8")
    model = artefacts.model_from_path(str(path))
    return artefacts.resolve(dataclasses.replace(model, id=name), folder)


def _two_at_once(plan: Plan) -> list[Record]:
    """Records of two memory jobs that run side by side."""
    jobs = [job for job in plan.jobs if job.model in PAIR]
    with ThreadPoolExecutor(len(PAIR)) as pool:
        parts = pool.map(lambda job: execute_apart((job,), BACKENDS)[1], jobs)
        return [record for part in parts for record in part]


# --- what is checked --------------------------------------------------------------------


def _only(records: Sequence[Record], kind: str) -> list[Record]:
    return [record for record in records if kind in {record["type"], record.get("kind")}]


def _observed(records: Sequence[Record]) -> dict[str, Observed]:
    """What the records say, by model."""
    (header,) = _only(records, "run")
    found = observe(records, header["models"], read_rules(header["profile"]))
    return {seen.id: seen for seen in found}


class _NotMeasuredError(Exception):
    """What a check needs is not in the records."""


def _values(seen: Observed, case: str, metric: str) -> tuple[Floats, ...]:
    if found := seen.series.get((case, metric)):
        return found.processes
    raise _NotMeasuredError(_failure(seen, f"no {metric} in the records"))


def _failure(seen: Observed, otherwise: str) -> str:
    """Reason codes of what went wrong with a model."""
    ends = {job.reason or job.outcome for job in seen.jobs if job.outcome != "ok"}
    return ", ".join(sorted(ends | {found.reason for found in seen.problems})) or otherwise


def _check(
    id_: str, what: str, asked: float | str | None, unit: str, of: Callable[[], float | str]
) -> Check:
    """A figure that may be at most `asked`, or a code that must come; missing ones fail."""
    measured: float | str | None = None
    passed: bool | None = False
    reason = ""
    try:
        measured = of()
    except _NotMeasuredError as error:
        reason = str(error)
    if isinstance(measured, str):
        passed = asked in measured.split(", ")
    elif measured is not None and not isinstance(asked, str):
        passed = None if asked is None else measured <= asked
    out = {"id": id_, "what": what, "asked": asked, "measured": measured, "unit": unit}
    return out | {"passed": passed, "reason": reason}


class _Times:
    """Recorded and true times of one model's only latency process, in s.

    Attributes:
        itl, true_itl: between tokens, `[requests * (OUTPUT - 1)]`.
        step: what each of these steps took inside the engine.
        ttft, true_ttft: `[requests]`.
        load, true_load: without starting the process.
    """

    def __init__(self, seen: Observed, records: Sequence[Record], folder: Path) -> None:
        (self.itl,) = _values(seen, CASE, "itl_s")
        (self.ttft,) = _values(seen, CASE, "ttft_s")
        (load,) = (record for record in _only(records, "load") if record["model"] == seen.id)
        self.load = (load["ready_ns"] - load["start_ns"] - load["first_ns"]) / 1e9
        log = (folder / f"{seen.id}.truth").read_text("utf-8").splitlines()
        calls = [json.loads(line) for line in log]
        (loading,) = (call for call in calls if call["kind"] == "load")
        self.true_load = (loading["end_ns"] - loading["start_ns"]) / 1e9
        # Timed requests come last; whatever proves and warms up comes before them.
        timed = [call for call in calls if call["kind"] in {"prefill", "step"}]
        timed = timed[-self.ttft.size * OUTPUT :]
        start, end = (
            np.array([call[name] for call in timed], np.int64).reshape(-1, OUTPUT)
            for name in ("start_ns", "end_ns")
        )
        self.true_itl: Floats = np.diff(end).ravel() / 1e9
        self.step: Floats = (end - start)[:, 1:].ravel() / 1e9
        self.true_ttft: Floats = (end - start)[:, 0] / 1e9


def _timers(
    seen: Mapping[str, Observed], records: Sequence[Record], folder: Path
) -> Iterator[Check]:
    """Recorded against true times; a slow token belongs into the tail and nowhere else."""

    def of(model: str, error: Callable[[_Times], Any]) -> Callable[[], float]:
        return lambda: float(np.median(np.abs(error(_Times(seen[model], records, folder)))))

    def load() -> float:
        times = [_Times(seen[model], records, folder) for model in STEPS]
        return float(np.median([abs(found.load / found.true_load - 1) for found in times]))

    for model, step_s in STEPS.items():
        what = f"error of the time between tokens of {show_seconds(step_s)}"
        if step_s < STEPS["step-10ms"]:
            short = of(model, lambda times: times.itl - times.true_itl)
            yield _check(f"itl-{model}", what, ALLOWED_S, "s", short)
        else:
            long = of(model, lambda times: times.itl / times.true_itl - 1)
            yield _check(f"itl-{model}", what, ALLOWED_SHARE, "1", long)
    added = of(BARE, lambda times: times.itl - times.step)
    yield _check("overhead", "time added to each token", ALLOWED_S, "s", added)
    first = of(SLOWED, lambda times: times.ttft / times.true_ttft - 1)
    yield _check("ttft", "error of the time to first token", ALLOWED_SHARE, "1", first)
    yield _check("load", "error of the loading time", ALLOWED_SHARE, "1", load)
    tail = of(SLOWED, lambda times: np.percentile(times.itl, 99) / SLOW_STEP_S - 1)
    what = f"error of percentile 99 with one token of {show_seconds(SLOW_STEP_S)} in each request"
    yield _check("slow-token-tail", what, 0.05, "1", tail)
    middle = of(SLOWED, lambda times: np.median(times.itl) / STEPS[SLOWED] - 1)
    yield _check("slow-token-median", "error of the median beside it", 0.2, "1", middle)


def _memory(seen: Mapping[str, Observed], pair: Mapping[str, Observed]) -> Iterator[Check]:
    """Peaks above that of the same worker without an allocation."""

    def peak(model: Observed) -> float:
        return float(np.max(_values(model, f"c{CONTEXT}", "peak_resident_bytes")))

    def error(model: Observed, taken: int) -> float:
        return abs(peak(model) - peak(seen["memory-none"]) - taken)

    for found, beside in ((seen, ""), (pair, ", two workers at once")):
        for name in PAIR if beside else [name for name in found if name.startswith("memory-")]:
            _, kind, *size = name.split("-")
            if size and name in found:
                taken = int(size[0]) * MIB
                asked = max(ALLOWED_MEMORY_SHARE * taken, ALLOWED_BYTES)
                what = f"error of the peak with {size[0]} MiB {kind}{beside}"
                of = functools.partial(error, found[name], taken)
                yield _check(f"{name}{'-pair' if beside else ''}", what, asked, "B", of)


def _refusals(seen: Mapping[str, Observed]) -> Iterator[Check]:
    """Naive adapters must be refused for the very thing that is wrong with them."""
    for name, (fields, reason) in NAIVE.items():
        what = f"reason to refuse an adapter with {', '.join(fields)}"
        yield _check(name, what, reason, "", functools.partial(_failure, seen[name], "accepted"))


def _alarms(records: Sequence[Record]) -> tuple[list[Check], list[dict[str, Any]]]:
    """Clean processes, each scored as a run of its own; findings on the machine come apart."""
    (header,) = _only(records, "run")
    profile = header["profile"]
    protocol = profile["protocol"] | {"processes": {"latency": 1}}
    models = [model for model in header["models"] if model["id"] in TWINS]
    header = header | {"models": models, "profile": profile | {"protocol": protocol}, "jobs": 2}
    process_of = {
        job["job"]: job["process"] for job in _only(records, "job") if job["model"] in TWINS
    }
    runs = sorted(set(process_of.values()))
    alarms: set[str] = set()
    noise: dict[bytes, dict[str, Any]] = {}
    bad = 0
    for process in runs:
        own = [r for r in records if process_of.get(r.get("job", ""), -1) == process]
        card = score.scorecard([header, *_only(records, "environment"), *own])
        found = [item for entry in card["entries"] for item in entry.get("findings", ())]
        found += card["verdict"]["findings"]
        raised = {str(item["detail"]) for item in found if item["code"] in OWN}
        raised |= {entry["detail"] for entry in card["entries"] if entry["reason"]}
        bad += bool(raised)
        alarms |= raised
        about_machine = (i for i in found if i["code"] not in OWN and i["severity"] == "invalid")
        noise |= {spec.canonical(item): item for item in about_machine}
    check = _check("false-alarms", f"alarms in {len(runs)} clean runs", 0, "", lambda: bad)
    return [check | {"reason": "; ".join(sorted(alarms)[:3])}], list(noise.values())


def _twins(seen: Mapping[str, Observed]) -> Check:
    """Two identical models: what differs is this machine's noise."""

    def difference() -> float:
        rates = [_values(seen[twin], CASE, "decode_tok_per_s") for twin in TWINS]
        logs = [np.mean([np.log(np.median(values)) for values in of]) for of in rates]
        return float(np.expm1(abs(logs[0] - logs[1])))

    what = "noise of this machine: decode rates of two identical models differ by"
    return _check("same-model-twice", what, None, "1", difference)
