"""The roof: plausible numbers from the real kernels, and no number from a broken child."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.probes import roofline

MIB = 1 << 20


def test_a_child_measures_the_roof() -> None:
    found = roofline.calibrate(2)
    assert found is not None
    assert (found.pop("threads"), found.pop("method")) == (2, "numpy")
    assert set(found) == {"read_bytes_per_s", "copy_bytes_per_s", "fp32_flop_per_s"}
    assert all(isinstance(rate, int) and rate > 10**8 for rate in found.values())
    # Reading alone is the lighter work: a reduction that computes would fall behind.
    assert found["read_bytes_per_s"] > 0.5 * found["copy_bytes_per_s"]


def test_the_child_gets_as_many_threads_as_the_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], dict[str, str]]] = []

    def run(command: list[str], *, env: dict[str, str], **_: object) -> object:
        asked.append((command, env))
        raise subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    assert roofline.calibrate(3) is None  # too slow a machine has no roof, and no error
    ((command, env),) = asked
    assert command == [sys.executable, "-P", "-m", "harness.probes.roofline", "3"]
    assert {env[name] for name in roofline._THREAD_VARIABLES} == {"3"}


@pytest.mark.parametrize("script", ["raise SystemExit(1)", "print('no JSON')"])
def test_a_broken_child_gives_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    body = f"#!{sys.executable}\n{script}\n"
    broken = tmp_path / "python"
    broken.write_text(body, "utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    assert roofline.calibrate(1) is None
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    assert roofline.calibrate(1) is None


@pytest.mark.parametrize("threads", [1, 3])
def test_every_item_is_worked_on_once_by_so_many_threads(threads: int) -> None:
    together = threading.Barrier(threads)
    workers: dict[int, int] = {}

    def work(item: int) -> None:
        if item < threads:
            together.wait(10)  # all threads are here at once, or this breaks
        workers[item] = threading.get_ident()

    roofline._share_out(range(20), work, threads)
    assert sorted(workers) == list(range(20))
    assert len({workers[item] for item in range(threads)}) == threads


@pytest.mark.parametrize(
    ("caches", "expected_mib"),
    [
        ({}, 256),
        ({"index3": "24576K"}, 256),
        ({"index0": "48K", "index3": "98304K"}, 384),
        ({"index3": "480M"}, 1024),
        ({"index3": "plenty"}, 256),
        ({"index3": ""}, 256),
    ],
)
def test_the_buffer_exceeds_the_caches(
    tmp_path: Path, caches: dict[str, str], expected_mib: int
) -> None:
    for name, size in caches.items():
        folder = tmp_path / "sys/devices/system/cpu/cpu0/cache" / name
        folder.mkdir(parents=True)
        (folder / "size").write_text(f"{size}\n", "ascii")
    assert roofline._buffer_bytes(tmp_path) == expected_mib * MIB
