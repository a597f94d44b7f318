"""What the measured child writes: phases of loading and of memory, and its suites' own records."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.backends import BACKENDS
from harness.cases import Case
from harness.job import Job
from harness.models.reference import materialise
from harness.parts import read_part
from harness.records import Record
from harness.spec import BackendOptions, canonical, to_json
from tests.conftest import FakeModel
from tests.suites.helpers import job

LATENCY = Case(id="fixed-p8-n4", prompt_tokens=8, output_tokens=4)
MEMORY = Case(id="c32", prompt_tokens=28, output_tokens=4, context=32)


def records_of(planned: Job, folder: Path, cache: str = "unknown") -> list[Record]:
    """Run a job in a real worker."""
    job_file, part = folder / "job.json", folder / "job.part"
    content = {**to_json(planned), "target": BACKENDS[planned.backend], "cache": cache}
    job_file.write_bytes(canonical(content))
    command = [sys.executable, "-P", "-m", "harness.worker", str(job_file), str(part)]
    done = subprocess.run(
        [*command, str(time.perf_counter_ns()), str(os.getpid())],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    records, torn, _ = read_part(part)
    assert not torn
    assert records[-1] == {"type": "event", "kind": "done"}
    return records


def fake_job(path: Path, suite: str, *cases: Case) -> Job:
    return dataclasses.replace(job(suite, *cases), path=str(path))


@pytest.mark.parametrize(
    ("cache", "case"), [("cold", "load-cold"), ("warm", "load"), ("unknown", "load-unknown")]
)
def test_a_load_says_whether_its_files_were_cached(
    fake_model: FakeModel, tmp_path: Path, cache: str, case: str
) -> None:
    path = fake_model(load_s=0.5, prefill_s_per_token=0.25)
    records = records_of(fake_job(path, "latency", LATENCY), tmp_path, cache)
    (load,) = (record for record in records if record.get("kind") == "load")
    assert (load["case"], load["cache"]) == (case, cache)
    assert (load["weights_ns"], load["first_ns"]) == (500_000_000, 250_000_000)
    assert load["start_ns"] > 0
    assert load["ready_ns"] == load["start_ns"] + 750_000_000
    assert "compile_ns" not in load


@pytest.mark.parametrize(
    ("backend", "model"), [("llama_cpp", "ref-2m.q8_0.gguf"), ("onnxruntime", "ref-2m.int8.onnx")]
)
def test_phases_of_a_real_engine_add_up(backend: str, model: str, tmp_path: Path) -> None:
    planned = dataclasses.replace(
        job("latency", LATENCY, requests=1, warmup_max=1),
        path=str(materialise(model)),
        backend=backend,
        options=BackendOptions(threads=1, threads_prefill=1, context=64),
    )
    (load,) = (r for r in records_of(planned, tmp_path) if r.get("kind") == "load")
    assert ("compile_ns" in load) == (backend == "llama_cpp")
    phases = [load.get(f"{n}_ns", 0) for n in ("start", "import", "weights", "compile", "first")]
    assert sum(phases) == load["ready_ns"]
    assert load["import_ns"] > 1_000_000, "it was imported here"


def test_memory_is_read_at_the_end_of_every_phase(fake_model: FakeModel, tmp_path: Path) -> None:
    path = fake_model(allocate_bytes=64 << 20)
    records = records_of(fake_job(path, "memory", MEMORY), tmp_path)
    read = [record for record in records if record.get("kind") == "memory"]
    assert [r["phase"] for r in read] == ["runtime", "import", "load", "prefill", "decode"]
    assert {record["case"] for record in read} == {"c32"}
    assert {record["type"] for record in read} == {"sample"}


def test_records_of_suites_keep_their_own_type(fake_model: FakeModel, tmp_path: Path) -> None:
    records = records_of(fake_job(fake_model(), "latency", LATENCY), tmp_path)
    kinds = [record.get("kind", record["type"]) for record in records]
    timed = ["request", "telemetry"] * 3
    assert kinds == ["engine", "load", "warmup", "repeat", "check", "telemetry", *timed, "done"]
    counters = [r["counters"] for r in records if r["type"] == "telemetry"]
    assert all(reading["own_cpu_ns"] > 0 for reading in counters)
    if sys.platform != "win32":
        assert [reading["continued"] for reading in counters] == [0] * 4, "stops are watched"


def test_a_prompt_that_is_too_long_skips_its_case_alone(
    fake_model: FakeModel, tmp_path: Path
) -> None:
    long, short = (
        Case(id=f"chat-{name}", items=1, output_tokens=4, texts=(text,))
        for name, text in (("long", "가" * 40), ("short", "가"))
    )
    records = records_of(fake_job(fake_model(context=60), "task", long, short), tmp_path)
    (skipped,) = (record for record in records if record.get("kind") == "skipped")
    assert (skipped["case"], skipped["reason"]) == ("chat-long", "prompt_too_long")
    assert skipped["detail"] == (
        "a prompt of 120 tokens and an answer of 4 exceed the context of 60"
    )
    assert [r["case"] for r in records if r.get("kind") == "chat"] == ["chat-short"]


@pytest.mark.parametrize(
    ("suite", "case"),
    [
        ("task", Case(id="chat-ko", items=1, output_tokens=4, texts=("안녕<|endoftext|>",))),
        ("kernel", Case(id="tg4@d16", output_tokens=4, depth_tokens=16)),
        ("sustained", Case(id="s", prompt_tokens=8, output_tokens=4, duration_s=0.05)),
        ("energy", Case(id="energy-p8-n4", prompt_tokens=8, output_tokens=4)),
    ],
)
@pytest.mark.parametrize(
    ("backend", "model"), [("llama_cpp", "ref-2m.q8_0.gguf"), ("onnxruntime", "ref-2m.int8.onnx")]
)
def test_every_suite_runs_on_real_engines(
    backend: str, model: str, suite: str, case: Case, tmp_path: Path
) -> None:
    planned = dataclasses.replace(
        job(suite, case, requests=2, warmup_max=1),
        path=str(materialise(model)),
        backend=backend,
        options=BackendOptions(threads=1, threads_prefill=1, context=64),
    )
    records = records_of(planned, tmp_path)
    kind = {"task": "chat", "energy": "request"}.get(suite, suite)
    found = [record for record in records if record.get("kind") == kind]
    assert found
    submitted = [record.get("submitted", record.get("tokens")) for record in found]
    assert [record["evaluated"] for record in found] == submitted
    assert min(submitted) > 0
    assert not [record for record in records if record.get("kind") == "skipped"]
