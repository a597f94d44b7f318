"""Part files of workers that a model has taken over: reading them ends, whatever they hold."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import zlib
from pathlib import Path

import pytest

from harness import parts
from harness.backends.base import LoadReport
from harness.backends.fake import FakeBackend
from harness.execute import execute
from harness.parts import read_part
from harness.records import JournalWriter, PartWriter, Record, read
from harness.sandbox import standing
from harness.spec import BackendOptions
from tests.conftest import FakeModel
from tests.suites.helpers import job
from tests.test_execute import LATENCY

SAMPLE: Record = {"type": "sample", "kind": "request", "case": "c", "index": 0, "text": "한"}
DONE: Record = {"type": "event", "kind": "done"}
RECORDS = [SAMPLE, {"type": "engine", "facts": {"engine": "e"}, "sandbox": {"level": 1}}, DONE]


def line(body: str | bytes) -> bytes:
    """A line with a right checksum, whatever it says."""
    data = body.encode() if isinstance(body, str) else body
    return b"%08x %s\n" % (zlib.crc32(data), data)


def test_part_files_keep_what_came_before_the_damage(tmp_path: Path) -> None:
    part = tmp_path / "part"
    writer = PartWriter(part)
    for record in RECORDS:
        writer.write(record)
    writer.close()
    whole = part.read_bytes()
    assert read_part(part) == (RECORDS, False, "")
    part.write_bytes(whole[:-3])
    assert read_part(part) == (RECORDS[:2], True, "")
    part.write_bytes(whole.replace(b"facts", b"Facts"))
    records, torn, wrong = read_part(part)
    assert (records, torn) == (RECORDS[:1], True)
    assert wrong == "line 2 of its records: checksum does not match"
    assert read_part(tmp_path / "absent") == ([], False, "")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("[" * 100_000 + "]" * 100_000, "too deep"),
        ('{"type":"sample","kind":"x","case":"c","y":1e999}', "not JSON compliant"),
        ('{"type":"sample","kind":"x","case":"\\ud800"}', "surrogates"),
        ('{"type":"sample","kind":"x","case":"c","y":' + "9" * 40 + "}", "more than 64 bits"),
        ('{"type":"sample","kind":"x","case":"c","y":' + "9" * 5000 + "}", "digits"),
        (b'{"type":"sample","kind":"\xff"}', "utf-8"),
        ('{"type":"sample","kind":["x"],"case":"c"}', "of kind ['x']"),
        ('{"type":"sample","kind":"x"}', "without a case"),
        ('{"type":"sample","kind":"item","case":"c","correct":true}', "'item'"),
        ('{"type":"sample","kind":"memory_split","case":"c"}', "'memory_split'"),
        ('{"type":"telemetry","source":"parent","facts":{}}', "another source"),
        ('{"type":"telemetry","source":"worker","counters":[1]}', "without counters"),
        ('{"type":"engine","facts":["x"]}', "no objects"),
        ('{"type":"engine","facts":{},"sandbox":{"level":"1"}}', "no number"),
        ('{"type":"job","outcome":"ok"}', "not a worker's"),
        ('{"type":["sample"]}', "not a worker's"),
        ('{"type":"event"}', "an event 'None'"),
        ('{"type":"event","kind":["done"]}', "or one without its words"),
        ('{"type":"event","kind":"failed","reason":{},"detail":""}', "without its words"),
        ('{"type":"event","kind":"skipped","reason":"x"}', "without its words"),
    ],
)
def test_records_that_no_worker_may_write(tmp_path: Path, body: str | bytes, said: str) -> None:
    part = tmp_path / "part"
    part.write_bytes(line(json.dumps(SAMPLE)) + line(body) + line(json.dumps(DONE)))
    records, torn, wrong = read_part(part)
    assert (records, torn) == ([SAMPLE], True)
    assert wrong.startswith("line 2 of its records: ")
    assert said in wrong


def test_floods_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = tmp_path / "part"
    with part.open("wb") as file:
        file.truncate(parts._BYTES_MAX + 1)
    assert read_part(part) == ([], True, "its records are larger than 128 MiB")
    monkeypatch.setattr(parts, "_VALUES_MAX", 100)
    part.write_bytes(line("[" + "[]," * 100 + "[]]"))
    assert read_part(part) == ([], True, "its records are of more than 100 values")


@pytest.mark.skipif(sys.platform == "win32", reason="no such files")
def test_nothing_but_a_file_is_opened(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    secret = tmp_path / "secret"
    secret.write_bytes(line(json.dumps(SAMPLE)))
    link.symlink_to(secret)
    assert read_part(pipe).wrong == "its records are no regular file"
    assert read_part(tmp_path).wrong == "its records are no regular file"
    assert read_part(link).records == []
    assert read_part(link).wrong.startswith("its records cannot be read: ")


class Forging(FakeBackend):
    """Writes into its part file itself, behind the harness's back."""

    def load(self, path: Path, options: BackendOptions) -> LoadReport:
        """Look for the descriptor, and write."""
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
            if os.path.realpath(f"/proc/self/fd/{name}").endswith(".part"):
                os.write(int(name), line('{"type":"event","kind":"done"}') + line("[" * 99_999))
        return super().load(path, options)


class Slowing(FakeBackend):
    """Takes processors away from the harness, and so from the next job."""

    def load(self, path: Path, options: BackendOptions) -> LoadReport:
        """Leave it a single one."""
        os.sched_setaffinity(os.getppid(), {min(os.sched_getaffinity(0))})
        return super().load(path, options)


@pytest.mark.skipif(sys.platform != "linux", reason="finds its descriptors in /proc")
@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("Forging", "line 2 of its records: nested too deeply"),
        ("Slowing", "harness's own processors"),
    ],
)
def test_a_job_that_tampers_has_failed(
    fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch, engine: str, said: str
) -> None:
    before = standing.standing()
    if len(before.processors) < 2 and engine == "Slowing":
        pytest.skip("there is one processor")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    model = fake_model()
    journal = JournalWriter(model.parent / "records.jsonl")
    targets = {"fake": f"tests.test_parts:{engine}"}
    planned = dataclasses.replace(job("latency", LATENCY), path=str(model))
    (outcome,) = execute((planned,), targets, model.parent / "parts", journal)
    journal.close()
    assert (outcome.state, outcome.reason) == ("failed", "tampered")
    assert said in outcome.detail
    assert standing.standing() == before
    assert read(model.parent / "records.jsonl").records[-1]["reason"] == "tampered"
