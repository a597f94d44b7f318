"""A run's times in pytest-benchmark's form, read by pytest-benchmark itself."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_benchmark.stats import Stats

from harness.records import JournalWriter
from harness.report import pytest_benchmark
from harness.report.formats import Material, write
from harness.runs import write_scorecard
from tests.golden_run import REF_4M, golden_records
from tests.strategies import Candidate, profile, records

FAST, SLOW = "fast.q4.gguf", "slow.q8.gguf"


def run_of(folder: Path, speed: float = 1.0) -> Path:
    """A run folder with two models, and its form."""
    folder.mkdir()
    made = records([Candidate(id=SLOW), Candidate(id=FAST, speed=2 * speed, seed=1)], profile())
    with contextlib.closing(JournalWriter(folder / "records.jsonl")) as journal:
        journal.append(*made)
    card = write_scorecard(folder)
    (path,) = write(Material(card=card, folder=folder, lang="en"), ["pytest-benchmark"])
    assert path == folder / "pytest-benchmark.json"
    return path


def compare(*arguments: object) -> str:
    command = [sys.executable, "-m", "pytest_benchmark", "compare", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Failed to load" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("runs") / "before")


def benchmarks(path: Path) -> dict[str, dict[str, Any]]:
    return {found["name"]: found for found in json.loads(path.read_text())["benchmarks"]}


def test_a_round_is_a_process(before: Path) -> None:
    card = json.loads((before.parent / "scorecard.json").read_text())
    (entry,) = [entry for entry in card["entries"] if entry["model"] == FAST]
    case = next(name for name in entry["cases"] if name.startswith("fixed"))
    found = benchmarks(before)[f"{case}:ttft_s[{FAST}]"]
    requests = found["extra_info"]["requests"]
    assert found["stats"]["rounds"] == len(requests) > 1
    assert sum(map(len, requests)) == entry["cases"][case]["ttft_s"]["n"]
    lo, hi = min(map(min, requests)), max(map(max, requests))
    assert lo <= found["stats"]["median"] <= hi
    assert lo <= entry["cases"][case]["ttft_s"]["value"] <= hi
    assert found["group"] == f"{case}:ttft_s"


def test_pytest_benchmark_ranks_the_models_of_a_run(before: Path) -> None:
    table = compare(before, "--columns=median,rounds", "--sort=mean", "-k", "ttft_s")
    rows = [line.split() for line in table.splitlines() if ":ttft_s[" in line]
    assert [FAST in row[0] for row in rows[:2]] == [True, False]
    assert "(1.0)" in rows[0]
    assert rows[0][-1] == str(benchmarks(before)[rows[0][0]]["stats"]["rounds"])


def test_pytest_benchmark_compares_two_runs(before: Path, tmp_path: Path) -> None:
    after = run_of(tmp_path / "after", speed=0.5)
    table = compare(before, after, "--group-by=name", "--columns=median", "-k", f"tpot_s[{FAST}")
    assert "before" in table
    assert "after" in table
    assert "(2.0" in table or "(1.9" in table, table


def test_all_of_what_pytest_benchmark_keeps_is_there(before: Path, tmp_path: Path) -> None:
    fields = set(Stats.fields) | {"data", "iterations"}
    for found in benchmarks(before).values():
        assert set(found["stats"]) == fields
    target = tmp_path / "table"
    compare(before, f"--csv={target}")
    assert (tmp_path / "table.csv").read_text().count("\n") > len(benchmarks(before))


def near(left: Any, right: Any) -> bool:
    if isinstance(left, str):
        return bool(left == right)
    return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-12)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40))
def test_statistics_are_pytest_benchmarks_own(data: list[float]) -> None:
    own = Stats()
    for value in data:
        own.update(value)
    found = pytest_benchmark.statistics_of(data)
    counted = {"iqr_outliers", "stddev_outliers", "outliers"}
    differing = {
        k for k in Stats.fields if k not in counted and not near(found[k], own.as_dict()[k])
    }
    assert differing == set()


@pytest.mark.parametrize("make", [lambda: [1.0, 1.1, 1.2, 9.0], lambda: [2.0, 1.0, 2.5, 2.2, 2.1]])
def test_outliers_are_counted_alike(make: Callable[[], list[float]]) -> None:
    own = Stats()
    for value in make():
        own.update(value)
    assert pytest_benchmark.statistics_of(make())["outliers"] == own.outliers


def test_rates_are_seconds_a_token_and_what_is_no_time_is_left_out(tmp_path: Path) -> None:
    with contextlib.closing(JournalWriter(tmp_path / "records.jsonl")) as journal:
        journal.append(*golden_records())
    card = write_scorecard(tmp_path)
    write(Material(card=card, folder=tmp_path, lang="en"), ["pytest-benchmark"])
    found = benchmarks(tmp_path / "pytest-benchmark.json")
    rate = next(e for e in card["entries"] if e["model"] == REF_4M)["cases"]["tg32"]
    tg = found[f"tg32:kernel_tg_tok_per_s[{REF_4M}]"]
    assert tg["extra_info"]["unit"] == "s/tok"
    assert tg["stats"]["ops"] == pytest.approx(rate["kernel_tg_tok_per_s"]["value"], rel=0.1)
    metrics = {found["extra_info"]["metric"] for found in found.values()}
    assert metrics == set(pytest_benchmark.TIMES) | set(pytest_benchmark.RATES)
