"""The sampler on real process trees: each is held in a state, sampled, and let go."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from harness import kernelfs
from harness.probes.memory import TreeSampler

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MIB = 1 << 20
SIZE = 64 * MIB
TOLERANCE_BYTES = 8 * MIB
PRELUDE = """
import mmap, os, subprocess, sys, time
size = 64 << 20
SHARED = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS
def touch(area):
    for place in range(0, size, 4096):
        area[place] = 1
    return area
def taken(flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS):
    return touch(mmap.mmap(-1, size, flags))
def held():
    print("ready", flush=True)
    sys.stdin.read()
def forked(work):
    ends, begins = os.pipe()
    if os.fork() == 0:
        os.close(ends)
        keep = work()
        os.write(begins, b"x")
        time.sleep(3600)
    os.read(ends, 1)
def spawned(script):
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", script],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    return child
"""


@contextmanager
def tree(body: str) -> Iterator[int]:
    """A process that has run `body` and waits, with whatever it started."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", PRELUDE + body],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield process.pid
        finally:
            os.killpg(process.pid, 9)


def sampled(body: str) -> Mapping[str, Any]:
    with tree(body) as pid:
        sampler = TreeSampler()
        sampler.start(pid)
        time.sleep(0.1)
        found = sampler.stop()
    assert found is not None
    assert found["samples"] > 1  # type: ignore[operator]
    assert found["method"] == "sampled"
    return found


@pytest.fixture(scope="module")
def bare() -> int:
    """Resident size of the same process without an allocation."""
    return sum(sampled("held()")[f"{kind}_bytes"] for kind in ("anon", "file", "shmem"))


def test_one_process_has_no_tree() -> None:
    found = sampled("area = taken(); held()")
    assert found["processes"] == 1
    assert found["tree_peak_bytes"] is None
    assert found["anon_bytes"] == pytest.approx(SIZE, abs=TOLERANCE_BYTES)


@pytest.mark.parametrize(
    ("body", "sizes"),
    [
        ("forked(taken); held()", 1),
        ("area = taken(); forked(lambda: None); held()", 1),  # one copy, mapped twice
        ("area = taken(); forked(taken); held()", 2),
        ("area = taken(); forked(lambda: touch(area)); held()", 2),  # copied on write
        (
            "area = taken(SHARED); forked(lambda: touch(area)); held()",
            1,
        ),
        ("forked(lambda: forked(taken)); held()", 1),  # a grandchild
    ],
)
def test_shared_pages_of_a_tree_are_counted_once(bare: int, body: str, sizes: int) -> None:
    found = sampled(body)
    assert found["processes"] >= 2
    assert found["tree_peak_bytes"] - bare == pytest.approx(sizes * SIZE, abs=TOLERANCE_BYTES)


def test_a_shared_map_shows_as_shared_memory_only() -> None:
    body = "area = taken(SHARED); forked(lambda: touch(area)); held()"
    found = sampled(body)
    assert found["shmem_bytes"] == pytest.approx(SIZE, abs=MIB)
    assert found["anon_bytes"] < 2 * TOLERANCE_BYTES
    assert found["file_bytes"] < 2 * TOLERANCE_BYTES


def test_what_becomes_private_without_growth_is_seen(bare: int) -> None:
    """Copy on write raises nobody's resident size, and so no plain sum."""
    body = """
area = taken()
def later():
    print("ready", flush=True)
    time.sleep(.2)
    touch(area)
forked(later)
held()
"""
    with tree(body) as pid:
        sampler = TreeSampler()
        sampler.start(pid)
        time.sleep(1.0)
        found = sampler.stop()
    assert found is not None
    assert found["tree_peak_bytes"] - bare == pytest.approx(2 * SIZE, abs=TOLERANCE_BYTES)  # type: ignore[operator]


def test_a_child_on_its_way_to_exec_does_not_double_its_parent(bare: int) -> None:
    # `subprocess` tries each folder of PATH between vfork and exec: enough of them hold
    # that moment, which lasts microseconds, for hundreds of samples.
    body = """
area = taken()
paths = ":".join(f"/nowhere/{i}" for i in range(100_000))
print("ready", flush=True)
while True:
    try:
        subprocess.Popen(["no-such-program"], env={"PATH": paths})
    except OSError:
        pass
"""
    with tree(body) as pid:
        sampler = TreeSampler(0.001)
        sampler.start(pid)
        time.sleep(0.5)
        found = sampler.stop()
    assert found is not None
    size = sum(found[f"{kind}_bytes"] for kind in ("anon", "file", "shmem"))  # type: ignore[misc]
    assert size - bare < SIZE + 3 * TOLERANCE_BYTES  # the list of folders has a size too


def test_processes_that_come_and_go_do_no_harm(bare: int) -> None:
    """Readings fall before, into and after the end of short-lived children."""
    body = """
area = taken()
print("ready", flush=True)
while True:
    if os.fork() == 0:
        os._exit(0)
    if int(time.monotonic() * 1e3) % 5 == 0:
        while os.waitpid(-1, os.WNOHANG)[0]:  # the others stay zombies for a while
            pass
"""
    with tree(body) as pid:
        sampler = TreeSampler(0.001)
        sampler.start(pid)
        time.sleep(0.5)
        found = sampler.stop()
    assert found is not None
    size = sum(found[f"{kind}_bytes"] for kind in ("anon", "file", "shmem"))  # type: ignore[misc]
    assert size - bare == pytest.approx(SIZE, abs=TOLERANCE_BYTES)


def test_a_child_that_may_not_be_read_leaves_the_sum_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = kernelfs.data
    monkeypatch.setattr(
        kernelfs, "data", lambda path: b"" if path.endswith("smaps_rollup") else read(path)
    )
    found = sampled("spawned('print(); input()'); held()")
    assert found["processes"] == 2
    assert found["tree_peak_bytes"] is None


def test_where_children_are_not_listed_nobody_knows_of_any(monkeypatch: pytest.MonkeyPatch) -> None:
    exists = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: "children" not in path and exists(path))
    found = sampled("held()")
    assert found["processes"] is None
    assert found["tree_peak_bytes"] is None


def test_a_zombie_is_not_a_process() -> None:
    found = sampled("spawned('print()'); time.sleep(.2); held()")
    assert found["processes"] == 1
    assert found["tree_peak_bytes"] is None


def test_a_worker_that_is_gone_gives_nothing() -> None:
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", ""]) as process:
        process.wait()
    sampler = TreeSampler()
    sampler.start(process.pid)
    assert sampler.stop() is None
    assert TreeSampler().stop() is None, "never started"


def test_a_worker_that_dies_while_it_is_sampled() -> None:
    sampler = TreeSampler()
    with tree("area = taken(); held()") as pid:
        sampler.start(pid)
        time.sleep(0.1)
    time.sleep(0.1)
    found = sampler.stop()
    assert found is not None
    assert found["anon_bytes"] == pytest.approx(SIZE, abs=TOLERANCE_BYTES)  # type: ignore[comparison-overlap]
