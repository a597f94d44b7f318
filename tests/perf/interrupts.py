"""Interrupt real jobs at random moments: `python -m tests.perf.interrupts --times 500`.

Each round runs two jobs in this process, while a thread sends it SIGINT, SIGTERM or SIGHUP once or
twice; a moment in four lies within the first hundredth of a second. Afterwards there must be no
process of a worker, no thread and no open file that was not there before, no part file whose
records are not in the journal, and a journal that reads. Printed is what was found wrong (exit
1 then), how the rounds ended, and how long the longest took from the first signal to its end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import click

from harness.backends import BACKENDS
from harness.cases import Case
from harness.errors import RecordError
from harness.execute import execute
from harness.records import JournalWriter, read
from harness.sandbox.policy import SWITCH
from tests.perf.hygiene import MARK, opened, processes
from tests.suites.helpers import job

_CASE = Case(id="fixed-p8-n4", prompt_tokens=8, output_tokens=4)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ROUND_S = 1.0
"""About how long two jobs take."""


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Sender(threading.Thread):
    """Sends this process a signal or two."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        first_s = dice.random() * (0.01 if dice.random() < 0.25 else _ROUND_S)
        self._pauses = (first_s, dice.random() * 0.05)[: dice.choice((1, 2))]
        self._number = dice.choice(_SIGNALS)
        self.first_s = 0.0

    def run(self) -> None:
        """Wait and send."""
        for pause_s in self._pauses:
            time.sleep(pause_s)
            self.first_s = self.first_s or time.monotonic()
            os.kill(os.getpid(), self._number)


def _measure(folder: Path, sender: Sender) -> str:
    """Run two jobs under fire; returns how that ended."""
    model = folder / "toy.fake.json"
    model.write_text('{"clock": "real", "step_s": 0.01}')
    planned = [
        dataclasses.replace(job("latency", _CASE, requests=2), id=name, path=str(model))
        for name in ("first", "second")
    ]
    journal = JournalWriter(folder / "records.jsonl")
    try:
        sender.start()
        states = [
            outcome.state for outcome in execute(planned, BACKENDS, folder / "parts", journal)
        ]
        return " ".join(states)
    except KeyboardInterrupt:
        return "interrupted"
    finally:
        journal.close()


def one_round(dice: random.Random) -> tuple[str, list[str], float]:
    """How a round ended, what was wrong, and seconds from the first signal."""
    token = os.environ[MARK] = secrets.token_hex(8)
    os.environ[SWITCH] = dice.choice(("on", "off"))
    before = opened()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sender = Sender(dice)
        ended = "interrupted"
        # A signal may still come while we are on our way out.
        with contextlib.suppress(KeyboardInterrupt):
            ended = _measure(folder, sender)
        took_s = time.monotonic()
        while sender.is_alive():
            with contextlib.suppress(KeyboardInterrupt):
                sender.join()
        wrong = _wrong(folder, token)
    if opened() != before:
        wrong.append(f"threads and files: {before} became {opened()}")
    return ended, wrong, took_s - sender.first_s


def _wrong(folder: Path, token: str) -> list[str]:
    wrong = []
    if left := processes(token):
        wrong.append(f"{left} processes left")
    records: list[dict[str, Any]] = []
    try:
        journal = read(folder / "records.jsonl")
        records = journal.records
        wrong += ["torn"] if journal.torn else []
    except RecordError as error:
        wrong.append(str(error))
    parts = [path.name for path in folder.glob("parts/*.part")]
    wrong += [f"{name} is not adopted" for name in parts]
    jobs = [record for record in records if record["type"] == "job"]
    if records and records[-1]["type"] != "job":
        wrong.append("records without their job's")
    if any(job["outcome"] not in {"ok", "interrupted"} for job in jobs):
        wrong.append(json.dumps(jobs))
    return wrong


@click.command()
@click.option("--times", default=500, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True)
def main(times: int, seed: int) -> None:
    """Print one JSON line."""
    dice = random.Random(seed)
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    ends: Counter[str] = Counter()
    wrong: list[str] = []
    longest_s = 0.0
    for _ in range(times):
        ended, found, seconds = one_round(dice)
        ends[ended] += 1
        wrong += found
        longest_s = max(longest_s, seconds)
    click.echo(json.dumps({"ends": ends, "wrong": wrong, "longest_s": round(longest_s, 3)}))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
