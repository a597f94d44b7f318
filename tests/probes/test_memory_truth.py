"""The truth test: the fake engine takes a known amount, and the whole pipeline finds it.

`python -m tests.perf.memory_truth` does the same with up to 2 GiB.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.perf.memory_truth import KINDS, MIB, allowed_bytes, measured, peak, taken

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Peak of the same worker without an allocation."""
    return peak(measured(tmp_path_factory.mktemp("bare"), "bare"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_peak_is_true(bare: int, kind: str, tmp_path: Path) -> None:
    found = taken(tmp_path, kind, 64 * MIB)
    assert abs(peak(found) - bare - 64 * MIB) <= allowed_bytes(64 * MIB)
    assert found["processes"] == (2 if kind == "child" else 1)
    assert (found["tree_peak_bytes"] is None) == (kind != "child")


def test_two_workers_at_once(bare: int, tmp_path: Path) -> None:
    """A shared map shows as shared memory, and only in the worker that has it."""
    with ThreadPoolExecutor() as pool:
        heap, shared = pool.map(lambda kind: taken(tmp_path, kind, 256 * MIB), ("heap", "shared"))
    for found in (heap, shared):
        assert abs(peak(found) - bare - 256 * MIB) <= allowed_bytes(256 * MIB)
    assert shared["shmem_bytes"] == pytest.approx(256 * MIB, abs=MIB)
    assert shared["anon_bytes"] < 64 * MIB
    assert heap["shmem_bytes"] < MIB
    assert heap["anon_bytes"] > 256 * MIB


def test_a_transient_belongs_to_the_phase_that_had_it(tmp_path: Path) -> None:
    phases = taken(tmp_path, "transient", 64 * MIB)["phases"]
    assert list(phases) == ["runtime", "import", "load", "prefill", "decode"]
    assert [phases[name]["since"] for name in phases] == ["start", *["phase"] * 4]
    load, prefill = phases["load"], phases["prefill"]
    assert load["peak_resident_bytes"] - load["resident_bytes"] > 60 * MIB
    assert prefill["peak_resident_bytes"] - load["resident_bytes"] < 8 * MIB
