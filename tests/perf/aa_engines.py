"""A/A runs and a real slowdown on both real engines: does `harness gate` cry wolf, or sleep?

Usage: python -m tests.perf.aa_engines [--runs 20] [--floor-runs 10] [--folder DIR]

Measures `ref-2m` by llama.cpp and by ONNX Runtime with the profile `regression`, time after
time, and compares each run with the one before. Asked: at most 1 alarm in 20 comparisons. The
first runs give the machine's noise floor; alarms are counted with it and without. Last comes
a run whose workers are stopped for more than half of the time: it must be found. Needs a
machine that does nothing else; took 18 s a run on two cores.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import click
import psutil

from harness.baselines import find_run
from harness.compare import Comparison, compare
from harness.comparing.noise import LEAST_RUNS, NO_FLOOR, Floor, measured_floor
from harness.comparing.sides import Side

MODELS = ("ref-2m.q8_0.gguf", "ref-2m.int8.onnx")
ALARMS = frozenset({"regressed", "improved"})


def measure(folder: Path, models: Sequence[str], profile: str, *, halved: bool = False) -> Side:
    """One more run in the folder, at half the speed where it is to be."""
    command = [sys.executable, "-m", "harness", "run", "--profile", profile, "--json"]
    command += [f"--suite={suite}" for suite in ("latency", "memory")]
    command += [f"--model={model}" for model in models]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as running:
        halver = Halver(running.pid)
        if halved:
            halver.start()
        said, _ = running.communicate()
        if halved:
            halver.end()
    if running.returncode:
        raise click.ClickException(f"a run ended with {running.returncode}: {said}")
    run = json.loads(said.splitlines()[-1])["run"]
    return find_run(str(folder / run), folder / "results").side


class Halver(threading.Thread):
    """Stops all workers of a run for 1.5 ms after every 1 ms: half the speed or less, for real.

    Busy processes beside it would not do: a scheduler prefers who has slept, and a worker
    that answers in milliseconds hardly notices them.
    """

    def __init__(self, run: int) -> None:
        super().__init__(daemon=True)
        self._run = psutil.Process(run)
        self._ended = threading.Event()

    def run(self) -> None:
        workers: list[psutil.Process] = []
        looked = 0.0
        while not self._ended.is_set():
            if time.monotonic() - looked > 0.2:
                workers, looked = self._workers(), time.monotonic()
            for number, pause_s in ((signal.SIGSTOP, 0.0015), (signal.SIGCONT, 0.001)):
                for worker in workers:
                    with suppress(psutil.Error):
                        worker.send_signal(number)
                time.sleep(pause_s)

    def _workers(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            return list(self._run.children(recursive=True))
        return []

    def end(self) -> None:
        """Come to an end with all workers running."""
        self._ended.set()
        self.join()


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
@click.option("--floor-runs", default=10, show_default=True, help="Runs before, for the floor.")
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
    made = compare(sides[-1], measure(where, models, profile, halved=True), own)
    print(f"at half the speed: {made.verdict}")
    print("\n".join(told(made)))
    found = {case.model for case in made.cases if case.verdict == "regressed"}
    raise SystemExit(int(alarms > max(1, runs // 20) or found != set(models)))


if __name__ == "__main__":
    main()
