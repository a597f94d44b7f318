"""Which job comes next, and what has to be arranged before it.

plan.jobs ─ Queue ─▶ the next job that is needed ─ Arranger ─▶ conditions ─▶ execute
                ▲                                                              │
                └───────────────────────── outcomes ◀──────────────────────────┘
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from harness import adaptive, environment
from harness.environment.thermal import ThermalGate, pace_s
from harness.errors import HarnessError
from harness.execute import Conditions, Outcome, place, skipped
from harness.job import Job
from harness.models.resolve import files_of
from harness.plan import Plan
from harness.probes import energy, pagecache
from harness.records import JournalWriter, Record
from harness.spec import Profile

_Work = tuple[str, str, str]


def _work(job: Job) -> _Work:
    """What all processes of a job have in common: model, suite and the first of its cases."""
    return job.model, job.suite, job.cases[0].id


class Queue:
    """Gives jobs out one by one, in order, and leaves out those that are not needed.

    Args:
        killed: ids of jobs whose worker somebody has killed already.
    """

    def __init__(
        self,
        profile: Profile,
        jobs: Iterable[Job],
        journal: JournalWriter,
        *,
        killed: Iterable[str] = (),
    ) -> None:
        self.waiting = deque(jobs)
        self._profile = profile
        self._journal = journal
        self._samples: dict[tuple[str, str], list[Record]] = defaultdict(list)
        self._spent_s: dict[str, float] = defaultdict(float)
        # Idle power is measured before anything of ours has warmed the machine.
        wants_power = any(job.suite == "energy" for job in self.waiting)
        self._power = _Power() if wants_power else None
        self._failed: dict[_Work, Outcome] = {}
        self._killed = set(killed)

    def jobs(self) -> Iterator[Job]:
        """The next job whenever it is asked for."""
        while self.waiting:
            job = self.waiting.popleft()
            if why := self._why_not_needed(job):
                event = {"type": "event", "kind": "not_needed", "reason": why}
                self._journal.append(event | place(job))
            elif first := self._failed.get(_work(job)):
                detail = f"its first process ended {first.state}: {first.detail}"
                self._journal.append(skipped(job, first.reason, detail))
            elif job.suite == "energy" and self._power and self._power.problem:
                self._journal.append(skipped(job, *self._power.problem))
            else:
                yield job

    def note(self, outcome: Outcome) -> None:
        """Take in what a job brought: it decides about those that wait."""
        job = outcome.job
        self._spent_s[job.model] += outcome.waited_s + outcome.wall_s
        if outcome.reason == "worker_killed" and job.id not in self._killed:
            # Somebody else ended it, which says nothing about the model: once more.
            self._killed.add(job.id)
            self.waiting.appendleft(replace(job, retry=job.retry + 1))
            return
        if not job.process and outcome.state not in {"ok", "interrupted"}:
            # Hours would go by until it had hung or died as often as it is planned.
            self._failed[_work(job)] = outcome
        if job.suite in self._profile.protocol.processes_max:
            self._samples[job.model, job.suite] += outcome.samples

    def power_sampler(self) -> energy.PowerSampler:
        """A sampler for one energy job."""
        assert self._power
        return self._power.sampler()

    def _why_not_needed(self, job: Job) -> str:
        if not job.optional:
            return ""
        samples = self._samples[job.model, job.suite]
        return adaptive.decide(job, samples, self._spent_s[job.model], self._profile)


class _Power:
    """What energy is read from, and the machine's idle power.

    Attributes:
        problem: reason code and detail where it cannot be read.
    """

    def __init__(self) -> None:
        self.problem: tuple[str, str] | None = None
        self._source = energy.open_source()
        if self._source is None:
            states = (f"{found['name']}: {found['detail']}" for found in energy.sources())
            self.problem = ("no_power_sensor", "; ".join(states))
            return
        try:
            self._idle_w = energy.idle_watts(self._source)
        except HarnessError as error:
            self.problem = (error.reason, error.message)

    def sampler(self) -> energy.PowerSampler:
        """A sampler for one job."""
        assert self._source is not None
        return energy.PowerSampler(self._source, idle_w=self._idle_w)


class Arranger:
    """Before each job: let the processor cool down, and settle the page cache.

    Args:
        facts: of the machine before the first job of the run. One that goes on is often still hot
            from what was interrupted, and that must not pass for cool.
    """

    def __init__(self, plan: Plan, facts: Mapping[str, object]) -> None:
        self._gate = ThermalGate(
            start_temperature=facts.get("temperature_c"),
            start_pace_s=pace_s(),
            cap_s=plan.profile.protocol.cool_down_max_s,
            read=lambda: environment.telemetry().get("temperature_c"),
        )
        self._files = {
            found.model.id: [path for path in files_of(found) if path.exists()]
            or [Path(found.path)]
            for found in plan.artefacts
        }

    def __call__(self, job: Job) -> Conditions:
        """Wait, settle the cache, and look at the machine once more."""
        gate, waited_s = self._gate.wait()
        cache = "unknown"
        if job.suite == "latency":
            # Cold and warm starts in turn; both leave the same model in memory.
            files = self._files[job.model]
            if job.process % 2:
                cache = "cold" if pagecache.evict(files) else "unknown"
            elif pagecache.warm(files):
                cache = "warm"
        telemetry = {"facts": environment.telemetry(), "gate": gate}
        return Conditions(cache, waited_s, telemetry)
