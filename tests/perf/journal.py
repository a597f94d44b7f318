"""How many records a second the journal acknowledges, and what share of a run that takes.

    python -m tests.perf.journal [ROUNDS]
    python -m tests.perf.journal --share [PROFILE]

Beside it, interleaved and in the same folder: what Python brings with the same promise.

    survives any process's death   PartWriter.write       logging.FileHandler
                                                          sqlite3, WAL, synchronous=NORMAL
    survives a power cut           JournalWriter.append   sqlite3, WAL, synchronous=FULL

Peers are given text that is ready: what they would have to encode, checksum and chain is on our
side only. `--share` really runs the suite latency of a profile, standard unless another is
named, on ref-2m and adds up the time spent in both (`watched/sitecustomize.py`). Exit code 1
below 20,000 records a second, or above 0.5 % of the run.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.records import JournalWriter, PartWriter

ROOT = Path(__file__).parents[2]
SHORT = 20_000
"""Records of a round; a job has a few hundred, an exam thousands."""
BATCH = 500
WANTED_PER_S = 20_000
WANTED_SHARE = 0.005

REQUEST: dict[str, Any] = {
    "type": "sample",
    "case": "fixed-p256-n32",
    "kind": "request",
    "index": 3,
    "clock_ns": 2_146_153_480_412,
    "submitted": 256,
    "evaluated": 256,
    "decoded": 31,
    "ids_ns": 0,
    "token_ns": [412_518_331 + 8_371_264 * i for i in range(32)],
    "end_ns": 680_419_772,
    "output_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
ITEM: dict[str, Any] = {
    "type": "sample",
    "case": "particles-ko",
    "kind": "item",
    "item": "particles-ko/000173",
    "template": "particles-ko/07",
    "correct": True,
    "chosen": 2,
    "answer": 2,
    "loglikelihoods": [-11.482177734375, -9.7310791015625, -4.116943359375, -12.908447265625],
    "output": "철수는 학교에 갔다",
    "tokens": 41,
}
JOB = {"job": "28f3d9b9e9eb7b10", "model": "ref-2m.q8_0.gguf", "suite": "latency", "process": 0}


def part(folder: Path, records: list[dict[str, Any]], _texts: list[str]) -> None:
    writer = PartWriter(folder / "part")
    for record in records:
        writer.write(record)
    writer.close()


def handler(folder: Path, _records: list[dict[str, Any]], texts: list[str]) -> None:
    handler = logging.FileHandler(folder / "log", encoding="utf-8")
    logger = logging.Logger("peer")  # noqa: LOG001 - one that no other test knows
    logger.addHandler(handler)
    for text in texts:
        logger.info("%s", text)
    handler.close()


def journal(folder: Path, records: list[dict[str, Any]], _texts: list[str]) -> None:
    writer = JournalWriter(folder / "records.jsonl")
    for start in range(0, len(records), BATCH):
        writer.append(*records[start : start + BATCH])
    writer.close()


def sqlite(synchronous: str, batch: int) -> Callable[[Path, list[Any], list[str]], None]:
    def way(folder: Path, _records: list[dict[str, Any]], texts: list[str]) -> None:
        database = sqlite3.connect(folder / f"{synchronous}.db", isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(f"PRAGMA synchronous={synchronous}")
        database.execute("CREATE TABLE records (seq INTEGER PRIMARY KEY, text TEXT)")
        for start in range(0, len(texts), batch):
            database.execute("BEGIN")
            rows = ((text,) for text in texts[start : start + batch])
            database.executemany("INSERT INTO records (text) VALUES (?)", rows)
            database.execute("COMMIT")
        database.close()

    return way


WAYS = {
    "PartWriter.write": part,
    "logging.FileHandler": handler,
    "sqlite3 WAL NORMAL": sqlite("NORMAL", 1),
    f"JournalWriter.append, {BATCH} at once": journal,
    f"sqlite3 WAL FULL, {BATCH} at once": sqlite("FULL", BATCH),
}
OURS = {"PartWriter.write", f"JournalWriter.append, {BATCH} at once"}


def rates(record: dict[str, Any], rounds: int) -> dict[str, float]:
    """Median records a second of each way."""
    records = [record | JOB | {"index": index} for index in range(SHORT)]
    texts = [json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in records]
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, way in WAYS.items():
            with tempfile.TemporaryDirectory(dir=ROOT) as folder:
                started = time.perf_counter()
                way(Path(folder), records, texts)
                found[name].append(SHORT / (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in found.items()}


def share(profile: str) -> float:
    """What part of a run goes into writing its records."""
    with tempfile.TemporaryDirectory() as scratch:
        times = Path(scratch, "times")
        times.touch()
        command = [sys.executable, "-m", "harness", "run", "--json", "--profile", profile]
        command += ["--suite", "latency", "--model", "ref-2m.q8_0.gguf"]
        watched = f"{ROOT / 'tests/perf/watched'}{os.pathsep}{ROOT}"
        started = time.perf_counter()
        subprocess.run(
            [*command, "--out", scratch],
            env={**os.environ, "PYTHONPATH": watched, "HARNESS_JOURNAL_TIMES": str(times)},
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        wall_s = time.perf_counter() - started
        spent: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for name, calls, took_ns in _lines(times):
            spent[name][0] += calls
            spent[name][1] += took_ns
    for name, (calls, took_ns) in spent.items():
        print(f"{name:<8} {calls:>6} calls  {took_ns / 1e6:>8.1f} ms")
    whole = sum(took_ns for _, took_ns in spent.values()) / 1e9 / wall_s
    print(f"share    {whole:.3%} of {wall_s:.1f} s; asked: at most {WANTED_SHARE:.1%}")
    return whole


def _lines(path: Path) -> Iterator[tuple[str, int, int]]:
    for line in path.read_text("ascii").splitlines():
        name, calls, took_ns = line.split()
        yield name, int(calls), int(took_ns)


def main(words: list[str]) -> int:
    if "--share" in words:
        named = [word for word in words if word != "--share"]
        return int(share(*named or ["standard"]) > WANTED_SHARE)
    rounds = int(words[0]) if words else 7
    slow = False
    for kind, record in (("request, 32 tokens", REQUEST), ("item", ITEM)):
        print(f"{kind}: {SHORT} records, median of {rounds}")
        found = rates(record, rounds)
        for name, rate in found.items():
            print(f"  {name:<38} {rate:>9,.0f} /s")
            slow |= name in OURS and rate < WANTED_PER_S
    print(f"asked: at least {WANTED_PER_S:,} a second")
    return int(slow)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
