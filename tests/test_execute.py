"""A job never ends the run: each way to fail becomes one classified record."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import supervise
from harness.backends import BACKENDS
from harness.cases import Case
from harness.execute import Outcome, execute
from harness.parts import Part
from harness.records import JournalWriter, Record, read
from harness.sandbox import children
from harness.spec import canonical, to_json
from tests.conftest import FakeModel, interruptible
from tests.suites.helpers import job

LATENCY = Case(id="fixed-p8-n4", prompt_tokens=8, output_tokens=4)


def measure(
    model: Path, *, suite: str = "latency", case: Case = LATENCY, **changes: object
) -> tuple[Outcome, list[Record]]:
    planned = dataclasses.replace(job(suite, case), path=str(model), **changes)  # type: ignore[arg-type]
    folder = model.parent
    journal = JournalWriter(folder / "records.jsonl")
    (outcome,) = execute((planned,), BACKENDS, folder / "parts", journal)
    journal.close()
    assert not (folder / "parts").exists(), "nothing is left behind"
    return outcome, read(folder / "records.jsonl").records


def test_a_good_job_is_adopted_whole(fake_model: FakeModel) -> None:
    outcome, records = measure(fake_model(load_s=0.5, step_s=0.01))
    assert (outcome.state, outcome.reason) == ("ok", "")
    kinds = [record.get("kind", record["type"]) for record in records]
    timed = ["request", "telemetry"] * 3
    assert kinds == ["engine", "load", "warmup", "repeat", "check", "telemetry", *timed, "job"]
    for record in records:
        assert record["model"] == "toy"
    load = next(record for record in records if record.get("kind") == "load")
    assert load["ready_ns"] == load["start_ns"] + 500_000_000
    assert load["weights_ns"] == 500_000_000


def test_memory_phases_grow_and_the_split_is_sampled(fake_model: FakeModel) -> None:
    size = 64 << 20
    outcome, records = measure(fake_model(allocate_bytes=size), suite="memory")
    assert outcome.state == "ok"
    peaks = {
        record["phase"]: record["peak_resident_bytes"]
        for record in records
        if record.get("kind") == "memory"
    }
    assert list(peaks) == ["runtime", "import", "load", "prefill", "decode"]
    assert peaks["runtime"] < peaks["load"] <= peaks["decode"]
    assert abs(peaks["load"] - peaks["runtime"] - size) < max(0.02 * size, 8 << 20)
    split = next(record for record in records if record.get("kind") == "memory_split")
    assert split["method"] == "sampled"


@pytest.mark.parametrize(
    ("fields", "state", "reason"),
    [
        ({"fail_on_load": "this file is broken"}, "failed", "load_failed"),
        ({"crash_signal": {"at": "load", "signal": "SIGABRT"}}, "crashed", "signal_sigabrt"),
        ({"crash_signal": {"at": "step", "signal": "SIGSEGV"}}, "crashed", "signal_sigsegv"),
        ({"crash_signal": {"at": "prefill", "signal": "SIGKILL"}}, "crashed", "worker_killed"),
        ({"context": 4}, "failed", "context_exceeded"),
        ({"unknown_field": 1}, "failed", "model_unreadable"),
    ],
)
def test_ends_are_classified(
    fake_model: FakeModel, fields: dict[str, object], state: str, reason: str
) -> None:
    outcome, records = measure(fake_model(**fields))
    assert (outcome.state, outcome.reason) == (state, reason)
    assert records[-1]["type"] == "job"
    assert records[-1]["outcome"] == state
    assert records[-1]["detail"] == outcome.detail != ""


def test_a_hang_is_ended_at_its_deadline(fake_model: FakeModel) -> None:
    start = time.monotonic()
    outcome, _ = measure(fake_model(hang="prefill"), timeout_s=2.0)
    assert (outcome.state, outcome.reason) == ("timeout", "timeout")
    assert time.monotonic() - start < 30


def test_what_was_measured_before_a_crash_is_kept(fake_model: FakeModel) -> None:
    # Warming up takes 0.6 s, which the slowest start leaves time for; the rest never ends.
    outcome, records = measure(fake_model(clock="real", step_s=0.05), timeout_s=4.0, requests=400)
    assert outcome.state == "timeout"
    assert any(record.get("kind") == "warmup" for record in records)


def test_the_next_job_runs_after_a_crash(fake_model: FakeModel) -> None:
    bad = fake_model("bad", crash_signal={"at": "load", "signal": "SIGABRT"})
    good = fake_model("good")
    jobs = tuple(
        dataclasses.replace(job("latency", LATENCY), id=path.stem, path=str(path))
        for path in (bad, good)
    )
    journal = JournalWriter(bad.parent / "records.jsonl")
    states = [outcome.state for outcome in execute(jobs, BACKENDS, bad.parent / "parts", journal)]
    assert states == ["crashed", "ok"]


def test_an_import_that_fails_is_a_skip(fake_model: FakeModel) -> None:
    targets = {"fake": "harness_no_such_engine:Backend"}
    planned = job("latency", LATENCY)
    journal = JournalWriter(fake_model().parent / "records.jsonl")
    (outcome,) = execute((planned,), targets, fake_model().parent / "parts", journal)
    assert (outcome.state, outcome.reason) == ("skipped", "engine_missing")


def test_a_missing_capability_is_recorded_by_case(
    fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mute_engine.py").write_text(
        "from harness.backends.base import Capabilities\n"
        "from harness.backends.fake import FakeBackend\n"
        "class Mute(FakeBackend):\n"
        "    capabilities = Capabilities(logits=False)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    case = Case(id="ko-josa", task="josa", language="ko", items=3)
    planned = dataclasses.replace(job("accuracy", case), path=str(fake_model()))
    journal = JournalWriter(tmp_path / "records.jsonl")
    (outcome,) = execute((planned,), {"fake": "mute_engine:Mute"}, tmp_path / "parts", journal)
    assert outcome.state == "ok"
    (skip,) = [r for r in read(tmp_path / "records.jsonl").records if r.get("kind") == "skipped"]
    assert skip["reason"] == "no_logits"
    assert skip["case"] == "ko-josa"


def test_grandchildren_do_not_survive(
    fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "forking_engine.py"
    module.write_text(
        "import subprocess, sys\n"
        "from harness.backends.fake import FakeBackend\n"
        "class Forking(FakeBackend):\n"
        "    def load(self, path, options):\n"
        "        child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "        (path.parent / 'pid').write_text(str(child.pid))\n"
        "        return super().load(path, options)\n"
    )
    model = fake_model()
    planned = dataclasses.replace(job("latency", LATENCY), path=str(model))
    journal = JournalWriter(tmp_path / "records.jsonl")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("HARNESS_SANDBOX", "off")  # where there is one, nothing is started
    (outcome,) = execute((planned,), {"fake": "forking_engine:Forking"}, tmp_path / "p", journal)
    assert outcome.state == "ok"
    pid = int((tmp_path / "pid").read_text())
    assert gone(pid)


def test_a_flood_of_output_is_bounded(
    fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "noisy_engine.py").write_text(
        "import sys\n"
        "from harness.backends.fake import FakeBackend\n"
        "class Noisy(FakeBackend):\n"
        "    def load(self, path, options):\n"
        "        for _ in range(2000):\n"
        "            sys.stderr.write('x' * 4096 + chr(10)); print('y' * 4096)\n"
        "        sys.stderr.write('the last words' + chr(10))\n"
        "        raise SystemExit(7)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    planned = dataclasses.replace(job("latency", LATENCY), path=str(fake_model()))
    journal = JournalWriter(tmp_path / "records.jsonl")
    (outcome,) = execute((planned,), {"fake": "noisy_engine:Noisy"}, tmp_path / "parts", journal)
    assert (outcome.state, outcome.reason) == ("failed", "no_result")
    assert "the last words" in outcome.detail
    assert (tmp_path / "records.jsonl").stat().st_size < 200_000


def test_an_unexpected_error_names_itself(
    fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "buggy_engine.py").write_text(
        "from harness.backends.fake import FakeBackend\n"
        "class Buggy(FakeBackend):\n"
        "    def load(self, path, options):\n"
        "        raise ZeroDivisionError('oops')\n"
        "class Hungry(FakeBackend):\n"
        "    def load(self, path, options):\n"
        "        raise MemoryError\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    planned = dataclasses.replace(job("latency", LATENCY), path=str(fake_model()))
    journal = JournalWriter(tmp_path / "records.jsonl")
    for target, state, reason in (
        ("buggy_engine:Buggy", "failed", "unexpected_error"),
        ("buggy_engine:Hungry", "out_of_memory", "out_of_memory"),
    ):
        (outcome,) = execute((planned,), {"fake": target}, tmp_path / "parts", journal)
        assert (outcome.state, outcome.reason) == (state, reason)


PARENT = """
import json, sys
from pathlib import Path
from harness.backends import BACKENDS
from harness.execute import execute
from harness.job import job_from_json
from harness.records import JournalWriter
here = Path(sys.argv[1])
job = job_from_json(json.loads((here / 'job.json').read_text()))
journal = JournalWriter(here / 'records.jsonl')
try:
    for outcome in execute((job, job), BACKENDS, here / 'parts', journal):
        print(outcome.state, flush=True)
except KeyboardInterrupt:
    print('interrupted by user', flush=True)
"""


def measuring_parent(folder: Path, model: Path) -> subprocess.Popen[str]:
    """A parent in a process of its own whose worker has recorded three requests."""
    planned = dataclasses.replace(job("latency", LATENCY, requests=1000), path=str(model))
    (folder / "job.json").write_bytes(canonical(to_json(planned)))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    part = folder / "parts" / f"{planned.id}-0.part"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if part.exists() and part.read_bytes().count(b'"request"') >= 3:
            break
        time.sleep(0.05)
    return parent


def test_ctrl_c_keeps_what_was_measured(fake_model: FakeModel, tmp_path: Path) -> None:
    """A real SIGINT to a real parent: the worker dies, its records are adopted."""
    parent = measuring_parent(tmp_path, fake_model(clock="real", step_s=0.01))
    parent.send_signal(signal.SIGINT)
    output, _ = parent.communicate(timeout=30)
    assert output.split("\n")[:2] == ["interrupted", "interrupted by user"]
    records = read(tmp_path / "records.jsonl").records
    assert sum(record.get("kind") == "request" for record in records) >= 3
    assert records[-1]["outcome"] == "interrupted"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's own")
def test_a_killed_parent_takes_its_worker_along(fake_model: FakeModel, tmp_path: Path) -> None:
    parent = measuring_parent(tmp_path, fake_model(clock="real", step_s=0.01))
    (worker,) = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    parent.kill()
    parent.communicate(timeout=30)
    assert gone(int(worker))


def gone(pid: int) -> bool:
    """Whether a process ends within two seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_waiting_without_process_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    quick = subprocess.Popen([sys.executable, "-c", ""])
    assert children.wait(quick, 30)
    slow = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert not children.wait(slow, 0.1)
    slow.kill()
    slow.wait()


def test_the_kernel_s_kill_is_told_from_ours() -> None:
    ended = supervise.Ended(
        status=-9,
        wall_s=1,
        stderr="",
        timed_out=False,
        interrupted=False,
        oom_kills=1,
        watched=None,
    )
    assert supervise.classify(Part([], torn=False), ended)[:2] == (
        "out_of_memory",
        "killed_by_kernel",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_bare_worker_is_small() -> None:
    """At most 32 MiB resident before an engine is imported, at most 5 of them beside Python and
    numpy; coverage would add its own.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    ours = (
        "import harness.worker, harness.job, harness.records, harness.extensions\n"
        "import harness.suites.memory\n"
        "from harness.sandbox import policy\n"
        "policy.confine(policy.Access())\n"
    )
    read = "print(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])"

    def peak(script: str) -> int:
        for _ in range(2):  # the first one may have to compile modules
            done = subprocess.run(
                [sys.executable, "-c", f"import numpy\n{script}{read}"],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
        return int(done.stdout) << 10

    bare, small = peak(""), peak(ours)
    assert small <= 32 << 20
    assert small - bare <= 5 << 20
