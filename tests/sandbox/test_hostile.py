"""An engine that a file has taken over: what it tries is denied, and what it needs is not."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.execute import execute
from harness.records import JournalWriter, read
from tests.conftest import FakeModel
from tests.suites.helpers import job
from tests.test_execute import LATENCY

pwd = pytest.importorskip("pwd", reason="not on Windows")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="level 1 is Linux's")

DENIED = {
    "read the home": "EACCES",
    "list the home": "EACCES",
    "read the real home": "EACCES",
    "read accounts": "EACCES",
    "in a thread": "EACCES",
    "through a magic link": "EACCES",
    "write to /tmp": "EACCES",
    "read beside the model": "EACCES",
    "write beside the model": "EACCES",
    "write to the results": "EACCES",
    "read the results": "EACCES",
    "cut its part file": "EPERM",
    "open its part file again": "EACCES",
    "replace its part file": "EACCES",
    "change the home's mode": "EPERM",
    "link to the home": "EACCES",
    "connect by TCP": "EPERM",
    "send by UDP": "EPERM",
    "connect by a socket file": "EPERM",
    "connect by an abstract socket": "EPERM",
    "run a shell": "EPERM",
    "become a program": "EPERM",
    "spawn a program": "EPERM",
    "fork": "EPERM",
    "trace the parent": "EPERM",
    "open the parent's memory": "EACCES",
    "read the parent's variables": "EACCES",
    "copy the parent's memory": "EPERM",
    "signal the parent": "EPERM",
    "have the parent signalled": "EPERM",
    "have the parent signalled by a socket": "EPERM",
    "slow the parent down": "EPERM",
    "limit the parent": "EPERM",
    "outlive the parent": "EPERM",
    "ring buffers": "EPERM",
}
"""By what the kernel says: EACCES is Landlock's answer, EPERM the filter's."""


@pytest.fixture
def told(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A home with a key in it, listeners, and what an attacker would have to know."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_x").write_text("a private key")
    (tmp_path / "neighbour.gguf").write_text("another's model")
    with ExitStack() as open_ones:
        tcp, udp, unix, abstract = (
            open_ones.enter_context(socket.socket(family, kind))
            for family, kind in (
                (socket.AF_INET, socket.SOCK_STREAM),
                (socket.AF_INET, socket.SOCK_DGRAM),
                (socket.AF_UNIX, socket.SOCK_STREAM),
                (socket.AF_UNIX, socket.SOCK_STREAM),
            )
        )
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(home / "socket"))
        abstract.bind(f"\0{home.name}-{os.getpid()}")
        for listener in (tcp, unix, abstract):
            listener.listen()
        yield {
            "home": str(home),
            "account": pwd.getpwuid(os.getuid()).pw_dir,
            "outside": str(tmp_path_factory.mktemp("outside") / "written"),
            "neighbour": str(tmp_path / "neighbour.gguf"),
            "beside": str(tmp_path / "written"),
            "journal": str(tmp_path / "run" / "records.jsonl"),
            "part": str(tmp_path / "run" / "parts" / f"{'0' * 16}-0.part"),
            "parent": os.getpid(),
            "address": id(home),
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "unix": str(home / "socket"),
            "abstract": f"{home.name}-{os.getpid()}",
        }


def attacked(model: Path, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The engine record of a job with the hostile engine; each attempt's errno is a fact."""
    monkeypatch.setenv("HARNESS_TOLD", json.dumps(told))
    monkeypatch.setenv("HOME", told["home"])
    monkeypatch.setenv("HF_SECRET", "hidden")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    run = model.parent / "run"
    run.mkdir()
    planned = dataclasses.replace(job("latency", LATENCY), path=str(model))
    journal = JournalWriter(run / "records.jsonl")
    targets = {"fake": "tests.sandbox.hostile:Hostile"}
    (outcome,) = execute((planned,), targets, run / "parts", journal)
    journal.close()
    assert outcome.state == "ok", outcome.detail
    assert not (run / "parts").exists(), "the scratch folder is gone, too"
    records = read(run / "records.jsonl").records
    return next(record for record in records if record["type"] == "engine")


def test_a_hostile_worker_is_denied_everything(
    fake_model: FakeModel, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = attacked(fake_model(), told, monkeypatch)
    assert {name: engine["facts"][name] for name in DENIED} == DENIED
    assert engine["facts"]["secret variables"] == ""
    assert engine["facts"]["temporary"].endswith(f"/{'0' * 16}-0.scratch")
    assert engine["sandbox"]["level"] == 1
    assert engine["sandbox"]["network"] == engine["sandbox"]["execve"] == "denied"
    assert not Path(told["outside"]).exists()
    assert not Path(told["beside"]).exists()


def test_without_the_sandbox_every_attack_works(
    fake_model: FakeModel, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the test above could pass for another reason than the sandbox."""
    monkeypatch.setenv("HARNESS_SANDBOX", "off")
    engine = attacked(fake_model(), told, monkeypatch)
    found = {name: engine["facts"][name] for name in DENIED}
    expected = dict.fromkeys(DENIED, "done") | {"become a program": "ENOENT"}
    # Who is not root may not look into its parent everywhere, and some kernels have no rings.
    for name in ("trace the parent", "open the parent's memory", "copy the parent's memory"):
        expected[name] = found[name] if os.getuid() else "done"
    expected["ring buffers"] = found["ring buffers"]
    assert found == expected
    assert engine["facts"]["secret variables"] == "", "the environment is clean at level 0"
    assert engine["sandbox"] == {"level": 0, "reason": "switched_off"}
