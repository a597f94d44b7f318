"""A/A runs and a real slowdown on both real engines: does `harness gate` cry wolf, or sleep?

Usage: python -m tests.perf.aa_engines [--runs 20] [--floor-runs 5] [--folder DIR]

Measures `ref-2m` by llama.cpp and by ONNX Runtime with the profile `regression`, time after
time, and compares each run with the one before. Asked: at most 1 alarm in 20 comparisons. The
first runs give the machine's noise floor; alarms are counted with it and without. Last comes
a run beside busy processes, two for each processor, which halves the speed at least: it must
be found. Needs a machine that does nothing else; takes about two minutes a run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import click

from harness.baselines import find_run
from harness.compare import Comparison, compare
from harness.noise import LEAST_RUNS, NO_FLOOR, Floor, measured_floor
from harness.sides import Side

MODELS = ("ref-2m.q8_0.gguf", "ref-2m.int8.onnx")
ALARMS = frozenset({"regressed", "improved"})
_SPIN = "while True: pass"


def measure(folder: Path, models: Sequence[str], profile: str) -> Side:
    """One more run in the folder."""
    command = [sys.executable, "-m", "harness", "run", "--profile", profile, "--json"]
    command += [f"--suite={suite}" for suite in ("latency", "memory")]
    command += [f"--model={model}" for model in models]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(done.stderr)
    run = json.loads(done.stdout.splitlines()[-1])["run"]
    return find_run(str(folder / run), folder / "results").side


@contextmanager
def busy() -> Iterator[None]:
    """Two processes for each processor that never rest."""
    count = 2 * len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 8
    spinning = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def told(made: Comparison) -> list[str]:
    """Every case that is not unchanged."""
    return [
        f"    {case.verdict:12} {case.model} {case.metric} {case.case}: {case.change} "
        f"[{case.lo}, {case.hi}] p {case.p_holm}, floor {case.floor}, needs {case.needed}"
        for case in made.cases
        if case.verdict != "unchanged"
    ]


def count_alarms(sides: Sequence[Side], floor: Floor, name: str) -> int:
    """Compare each run with the one before, and print what came of it."""
    alarms = 0
    print(f"A/A with the {name}")
    for number, (before, after) in enumerate(pairwise(sides), 1):
        made = compare(before, after, floor)
        alarm = any(case.verdict in ALARMS for case in made.cases)
        alarms += alarm
        print(f"  {number:2} {made.verdict}{'  ALARM' if alarm else ''}")
        print("\n".join(told(made)), end="\n" if told(made) else "")
    print(f"{alarms} alarms in {len(sides) - 1} comparisons of {len(made.cases)} cases")
    return alarms


@click.command()
@click.option("--runs", default=20, show_default=True, help="Comparisons between equal runs.")
@click.option("--floor-runs", default=5, show_default=True, help="Runs before, for the floor.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keep the runs here.")
@click.option("--model", "models", multiple=True, default=MODELS, show_default=True)
@click.option("--profile", default="regression", show_default=True, help="A name or a file.")
def main(
    *, runs: int, floor_runs: int, folder: Path | None, models: tuple[str, ...], profile: str
) -> None:
    """Run, count, and exit with 1 where a figure is missed."""
    where = folder or Path(tempfile.mkdtemp(prefix="aa-engines-"))
    where.mkdir(parents=True, exist_ok=True)
    sides = []
    for number in range(floor_runs + runs + 1):
        sides.append(measure(where, models, profile))
        print(f"run {number + 1} of {floor_runs + runs + 1}", file=sys.stderr, flush=True)
    alarms = count_alarms(sides[floor_runs:], NO_FLOOR, "default floor")
    own = NO_FLOOR
    if floor_runs >= LEAST_RUNS:
        own = measured_floor(sides[:floor_runs])
        print("noise floor:", {metric: f"{share:.2%}" for metric, share in own.metrics.items()})
        alarms = count_alarms(sides[floor_runs:], own, f"floor of {floor_runs} runs")
    with busy():
        slow = measure(where, models, profile)
    made = compare(sides[-1], slow, own)
    print(f"beside busy processes: {made.verdict}")
    print("\n".join(told(made)))
    found = {case.model for case in made.cases if case.verdict == "regressed"}
    raise SystemExit(int(alarms > max(1, runs // 20) or found != set(models)))


if __name__ == "__main__":
    main()
