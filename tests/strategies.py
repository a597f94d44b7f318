"""Generated runs: records as a worker would have written them, and Hypothesis strategies.

`records(...)` is deterministic: the same arguments give the same records everywhere.
"""

import hashlib
import random
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from harness.cases import cases_of
from harness.records import SCHEMA
from harness.spec import (
    AccuracySuite,
    LatencySuite,
    MemorySuite,
    Model,
    Profile,
    Protocol,
    Source,
    Suites,
    to_json,
)
from harness.specgate import Gate
from tests import answered_records

MIB = 2**20
WEIGHTS = {
    "accuracy": 0.40,
    "ttft_s": 0.20,
    "decode_tok_per_s": 0.20,
    "peak_resident_bytes": 0.20,
}
SUITES = (
    *("latency", "task", "kernel", "sustained", "memory", "energy", "accuracy"),
    *("language", "fidelity"),
)
FACTS = {
    "power_source": "ac",
    "power_mode": "balanced",
    "governor": "powersave",
    "temperature_c": 45.0,
    "throttle_count": 12,
}
CALIBRATION = {
    "read_bytes_per_s": 5e10,
    "copy_bytes_per_s": 3e10,
    "fp32_flop_per_s": 2e11,
    "threads": 8,
    "method": "numpy",
}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model as the generated run measures it.

    Attributes:
        speed: times are those of a plain model divided by this.
        skill: share of items known; the rest is guessed.
        noise: standard deviation of ln(time) between processes; requests have half.
        seed: of its noise; candidates with equal seeds measure alike.
        fails: suite → outcome of its jobs, which then leave no samples.
        tuned: an entry whose threads were chosen by measuring.
        kv_bytes_per_tok: what a token of context takes.
        chatty: length of its chat answers against others'.
        reference: id of its family's reference, empty where it has none.
        kld: mean divergence from it, in nats.
        synthetic: random weights.
    """

    id: str
    speed: float = 1.0
    memory_mib: float = 400.0
    skill: float = 0.5
    noise: float = 0.01
    seed: int = 0
    kind: str = "file"
    format: str = "gguf"
    fails: tuple[tuple[str, str], ...] = ()
    tuned: bool = False
    kv_bytes_per_tok: int = 4096
    chatty: float = 1.0
    reference: str = ""
    kld: float = 0.001
    synthetic: bool = False


def profile(**changes: Any) -> Profile:
    """A small profile in the manner of `quick`."""
    made = Profile(
        id="quick",
        version=1,
        title="Quick self-test",
        reference="ref",
        tier="unverified",
        protocol=Protocol(
            processes={"latency": 3, "memory": 1, "accuracy": 1},
            requests=3,
            warmup_max=3,
            grouping="suite",
            job_timeout_s=120.0,
        ),
        suites=Suites(
            latency=LatencySuite(prompt_tokens=(64, 256), output_tokens=(32,)),
            memory=MemorySuite(context=288, output_tokens=32),
            accuracy=AccuracySuite(tasks=("arith", "josa"), languages=("ko", "en"), items=60),
        ),
        weights=WEIGHTS,
        note="Weights are this project's proposal.",
    )
    return replace(made, **changes)


def gate(**changes: Any) -> Gate:
    return Gate(**({"id": "memory", "metric": "peak_resident_bytes", "limit": None} | changes))


def records(
    candidates: list[Candidate],
    used: Profile | None = None,
    *,
    budget: int | None = None,
    time_unit: float = 1.0,
) -> list[dict[str, Any]]:
    """All records of a run, in the order of a journal."""
    used = used or profile()
    out = [_run(candidates, used, budget)]
    out += [environment("before"), environment("after")]
    for candidate in candidates:
        failing = dict(candidate.fails)
        for suite in SUITES:
            if getattr(used.suites, suite) is None:
                continue
            for process in range(used.protocol.processes.get(suite, 1)):
                outcome = failing.get(suite, "ok")
                out += job(candidate, used, suite, process, outcome=outcome, time_unit=time_unit)
    return out


def environment(when):
    """Facts and calibration of a quiet machine on mains power."""
    return {
        "type": "environment",
        "when": when,
        "facts": FACTS | {"cpu": "Core 7"},
        "findings": [],
        "calibration": CALIBRATION,
    }


def job(candidate, used, suite, process, *, outcome="ok", time_unit=1.0):
    """Samples of one worker, then its job record."""
    place = {
        "job": hashlib.sha256(f"{candidate.id}/{suite}/{process}".encode()).hexdigest()[:16],
        "model": candidate.id,
        "suite": suite,
        "process": process,
    }
    out = [
        {"type": "telemetry", "source": "parent", "waited_s": 0.0, "gate": "cool"}
        | {"facts": FACTS}
        | place,
        {"type": "engine", **place, "backend": "llama_cpp"}
        | {"sandbox": {"level": 1, "reason": "", "network": "denied", "execve": "denied"}}
        | {"facts": {"build": "b6837"}, "options": {"threads": 8, "context": 512}}
        | {"load": _load(candidate)},
    ]
    if outcome == "ok":
        make = {
            "latency": _latency,
            "task": _task,
            "kernel": _kernel,
            "sustained": _sustained,
            "memory": _memory,
            "energy": _energy,
            "accuracy": answered_records.accuracy,
            "language": answered_records.language,
            "fidelity": answered_records.fidelity,
        }[suite]
        out += [
            {"type": "sample"} | sample | place
            for sample in make(candidate, used, process, time_unit)
        ]
        if suite != "latency":  # which reads them around every request
            machine = Machine(random.Random(f"{candidate.seed}/{process}/{suite}"))
            case = cases_of(used)[suite][0].id
            out += [_telemetry(machine, case, index) | place for index in (0, 1)]
    return [
        *out,
        {"type": "job", **place, "outcome": outcome}
        | {"reason": "" if outcome == "ok" else outcome, "detail": "", "wall_s": 1.5}
        | {"suite_version": 1, "exit_status": 0 if outcome == "ok" else 1}
        | {"torn": False, "stderr": ""},
    ]


class Machine:
    """Counters of a quiet machine with 8 processors, as a worker reads them."""

    def __init__(self, draw):
        self._draw = draw
        self.clock_ns = draw.randrange(10**12, 10**13)
        self._busy_ns = self._own_ns = 0
        # Since boot, and common to all processes of a run.
        self._boot_ns = 5 * 10**9

    def work(self, duration_ns):
        """Four threads of our own, and now and then a little of something else."""
        self.clock_ns += duration_ns
        self._own_ns += 4 * duration_ns
        self._busy_ns += round((4 + 8 * self._draw.betavariate(1, 80)) * duration_ns)

    def read(self):
        tick_ns = 10**7
        return {
            "clock_ns": self.clock_ns,
            "cpu_busy_ns": self._busy_ns // tick_ns * tick_ns,
            "cpu_steal_ns": 0,
            "cpus": 8,
            "own_cpu_ns": self._own_ns,
            "hard_faults": 3,
            "swap_in_bytes": 8192,
            "throttle_count": 12,
            "available_bytes": round((9 + self._draw.random()) * 2**30),
            "on_battery": 0,
            "boot_offset_ns": self._boot_ns + self._draw.randrange(3000),
            # A time service slews by 20 ppm.
            "wall_offset_ns": 10**18 + self.clock_ns // 50_000 + self._draw.randrange(3000),
            "continued": 0,
        }


def _run(candidates, used, budget):
    return {
        "type": "run",
        "schema": SCHEMA,
        "run": "20261123T081500Z-a1b2c3",
        "plan": "5f" * 32,
        "plan_sha256": "7e" * 32,
        "profile": to_json(used),
        "device": {"id": "laptop", "name": "A laptop", "memory_budget_bytes": budget},
        "models": [_model(candidate) for candidate in candidates],
        "skipped": [],
        "harness": "0.1.0",
        "started_utc": "2026-11-23T08:15:00Z",
        "attempt": {
            "number": 1,
            "of": 1,
            "announced": False,
            "earlier": [],
            "ledger": "1d" * 32,
        },
        "jobs": sum(
            used.protocol.processes.get(suite, 1)
            for suite in SUITES
            if getattr(used.suites, suite) is not None
        )
        * len(candidates),
    }


def _model(candidate):
    return to_json(
        Model(
            id=candidate.id,
            family=candidate.id.split(".", maxsplit=1)[0],
            format=candidate.format,
            quantisation=[*candidate.id.split("."), "f16"][1],
            source=Source(kind=candidate.kind),
            licence="apache-2.0",
            chat_template="plain" if candidate.kind == "embedded" else "own",
            tuned=candidate.tuned,
            synthetic=candidate.synthetic,
        )
    ) | {
        "template_sha256": "" if candidate.kind == "embedded" else "c4" * 32,
        "sha256": {"model.gguf": "0a" * 32},
        "size_bytes": round(candidate.memory_mib * 0.8 * MIB),
        "weights": {
            "read_bytes": round(candidate.memory_mib * 0.7 * MIB),
            "body_parameters": round(candidate.memory_mib * 1e6),
            "head_parameters": round(candidate.memory_mib * 1e5),
        },
    }


def _telemetry(machine, case, index):
    return {
        "type": "telemetry",
        "source": "worker",
        "case": case,
        "index": index,
        "counters": machine.read(),
    }


def _load(candidate):
    weights = round(candidate.memory_mib * 0.7 * MIB)
    return {"model_bytes": weights, "kv_bytes_per_token": candidate.kv_bytes_per_tok}


def _request(p, n, slow, index, *, case, kind="request"):
    first, gap = 4e6 * slow * p, 4e7 * slow
    times = [round(first + i * gap) for i in range(n)]
    return {
        "case": case,
        "kind": kind,
        "index": index,
        "clock_ns": 10**12,
        "submitted": p,
        "evaluated": p,
        "decoded": n - 1,
        "ids_ns": 0,
        "token_ns": times,
        "end_ns": times[-1] + 1000,
        "output_sha256": hashlib.sha256(f"{p}/{n}/{index}".encode()).hexdigest(),
    }


def _slow(candidate, process, time_unit, suite=""):
    """Draws of a process, and its slowness."""
    draw = random.Random(f"{candidate.seed}/{process}{suite}")
    return draw, draw.lognormvariate(0, candidate.noise) / candidate.speed * time_unit


def _latency(candidate, used, process, time_unit):
    draw, slow = _slow(candidate, process, time_unit)
    machine = Machine(random.Random(f"{candidate.seed}/{process}/machine"))
    ready = round(9e8 * slow)
    yield {"case": "load", "kind": "load", "ready_ns": ready, "cache": "warm"} | {
        f"{phase}_ns": ready // 5 for phase in ("start", "import", "weights", "compile", "first")
    }
    for case in cases_of(used)["latency"]:
        yield {"case": case.id, "kind": "warmup", "duration_ns": [9, 9, 9], "converged": True}
        if process == 0:
            yield _check(case, slow)
        yield _telemetry(machine, case.id, 0)
        for index in range(used.protocol.requests):
            noise = draw.lognormvariate(0, candidate.noise / 2)
            made = _request(
                case.prompt_tokens, case.output_tokens, slow * noise, index, case=case.id
            )
            if case.depth_tokens:
                made["depth_evaluated"] = case.depth_tokens
            machine.work(made["end_ns"])
            yield made
            yield _telemetry(machine, case.id, index + 1)


def _check(case, slow):
    first, step = round(4e6 * slow * case.prompt_tokens), round(4e7 * slow)
    return {
        "case": case.id,
        "kind": "check",
        "prefill_ns": first,
        "after_prefill_ns": step,
        "extend_ns": first,
        "step_ns": step,
        "after_step_ns": step,
        "extend_step_ns": step,
        "same_token": True,
    }


def _task(candidate, used, process, time_unit):
    _, slow = _slow(candidate, process, time_unit, "task")
    for case in cases_of(used)["task"]:
        for index in range(case.items):
            n = min(case.output_tokens, round((6 + 3 * index) * candidate.chatty))
            chars = n * (2 if case.language == "ko" else 4)
            yield _request(40 + index, n, slow, index, case=case.id, kind="chat") | {
                "ids_ns": 1000,
                "decoded": n,
                "stop": "end",
                "chars": chars,
                "bytes": chars * (3 if case.language == "ko" else 1),
            }


def _kernel(candidate, used, process, time_unit):
    draw, slow = _slow(candidate, process, time_unit, "kernel")
    for case in cases_of(used)["kernel"]:
        tokens = case.prompt_tokens + case.output_tokens
        each = 4e6 if case.prompt_tokens else 4e7
        for index in range(used.protocol.requests):
            elapsed = tokens * each * slow * draw.lognormvariate(0, candidate.noise / 2)
            yield {
                "case": case.id,
                "kind": "kernel",
                "index": index,
                "tokens": tokens,
                "submitted": tokens,
                "evaluated": tokens,
                "elapsed_ns": round(elapsed),
            }


def _sustained(candidate, used, process, time_unit):
    """The processor slows down by 15 % after a minute and a half."""
    _, slow = _slow(candidate, process, time_unit, "sustained")
    (case,) = cases_of(used)["sustained"]
    clock = index = 0
    while clock < case.duration_s * 1e9:
        warm = 1 / 0.85 if clock > 90e9 else 1.0
        made = _request(case.prompt_tokens, case.output_tokens, slow * warm, index, case=case.id)
        yield {
            "case": case.id,
            "kind": "sustained",
            "index": index,
            "start_ns": clock,
            "first_ns": clock + made["token_ns"][0],
            "last_ns": clock + made["token_ns"][-1],
            "end_ns": clock + made["end_ns"],
            "tokens": case.output_tokens,
            "submitted": case.prompt_tokens,
            "evaluated": case.prompt_tokens,
            "decoded": case.output_tokens - 1,
        }
        clock += made["end_ns"]
        index += 1


def _energy(candidate, used, process, time_unit):
    """20 W while it works, 5 W idle."""
    draw, slow = _slow(candidate, process, time_unit, "energy")
    (case,) = cases_of(used)["energy"]
    start = clock = 10**12
    for index in range(used.protocol.requests):
        noise = draw.lognormvariate(0, candidate.noise / 2)
        made = _request(case.prompt_tokens, case.output_tokens, slow * noise, index, case=case.id)
        yield made | {"clock_ns": clock}
        clock += made["end_ns"]
    moments = [start - 10**8 + i * (clock - start + 2 * 10**8) // 200 for i in range(201)]
    yield {
        "case": case.id,
        "kind": "energy_trace",
        "method": "rapl",
        "t_ns": moments,
        "joules": [(moment - moments[0]) * 20e-9 for moment in moments],
        "idle_w": 5.0,
    }


def _memory(candidate, used, process, time_unit):
    for case in cases_of(used)["memory"]:
        growth = (case.context - used.suites.memory.context) * candidate.kv_bytes_per_tok
        peak = round(candidate.memory_mib * MIB) + growth
        phases = {
            "runtime": peak // 16,
            "import": peak // 8,
            "load": peak // 2,
            "prefill": peak - 1,
            "decode": peak,
        }
        for phase, size in phases.items():
            yield {
                "case": case.id,
                "kind": "memory",
                "phase": phase,
                "peak_resident_bytes": size,
                "resident_bytes": size,
                "since": "phase",
                "available_bytes": 9 * 2**30 - size,
            }
        split = {"anon_bytes": peak - peak // 20, "file_bytes": peak // 20, "shmem_bytes": 0}
        split |= {"processes": 1, "tree_peak_bytes": None, "samples": 90, "method": "sampled"}
        yield {"case": case.id, "kind": "memory_split"} | split


candidates = st.builds(
    Candidate,
    id=st.just("x"),
    speed=st.floats(0.55, 1.8),
    memory_mib=st.floats(220, 700),
    skill=st.floats(0.3, 0.95),
    noise=st.floats(0.0, 0.05),
    seed=st.integers(0, 10_000),
)
"""One plausible model that does better than guessing, within the caps of speed."""


@st.composite
def fields(draw, least=2, most=4):
    """The reference and some other models with ids of their own."""
    drawn = draw(st.lists(candidates, min_size=least - 1, max_size=most - 1))
    return [Candidate(id="ref", skill=0.6)] + [
        replace(candidate, id=f"m{i}") for i, candidate in enumerate(drawn)
    ]
