"""`harness bundle verify` of a bundle of 100 MB: seconds, cold and warm, and where they go.

    python -m tests.perf.bundle_verify [--megabytes 100] [--rounds 5] [--keep FOLDER]

The run is the `challenge` profile with every suite and every latency case in its 20 processes,
by as many models as fill the bundle: request samples with their token times, items with
log-likelihoods and with written answers, counters around every request. It goes through the
journal, `bundle create` and `bundle sign` as a real one does.

Every round is a fresh process, imports included, interleaved with two that do less than is
asked: `sha256sum` over the same files, and Python's `json.loads` over every line. Cold: the
files are dropped from the page cache before (Linux). Asked: at most 2 s.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.bundle import create, keys
from harness.bundle import verify as checking
from harness.records import JournalWriter, encode_line
from harness.spec import Profile
from harness.specfile import resolve_profile
from tests.answered import formed
from tests.strategies import Candidate, records

LIMIT_S = 2.0
BATCH = 2000
VERIFY = """
import json, sys, time
from datetime import UTC, datetime
from pathlib import Path
started, cpu = time.perf_counter(), time.process_time()
from harness.bundle import trust, verify
found = verify.verify(
    Path(sys.argv[1]), trust.load_trusted([Path(sys.argv[2])]), today=datetime.now(UTC).date()
)
took = time.perf_counter() - started, time.process_time() - cpu
print(json.dumps({"wall_s": took[0], "cpu_s": took[1], "state": found.state}))
"""
PARTS = """
import cProfile, pstats, sys
from datetime import UTC, datetime
from pathlib import Path
from harness.bundle import trust, verify
trusted, today = trust.load_trusted([Path(sys.argv[2])]), datetime.now(UTC).date()
profiler = cProfile.Profile()
profiler.runcall(verify.verify, Path(sys.argv[1]), trusted, today=today)
pstats.Stats(profiler).sort_stats("cumulative").print_stats(45)
"""
JSON = """
import gc, json, sys, time
started, cpu = time.perf_counter(), time.process_time()
gc.disable()
with open(sys.argv[1] + "/records.jsonl", "rb") as file:
    kept = [json.loads(line[9:]) for line in file]
took = time.perf_counter() - started, time.process_time() - cpu
print(json.dumps({"wall_s": took[0], "cpu_s": took[1]}))
"""


def challenge() -> Profile:
    """The challenge profile at its most repetitions, with a reference here."""
    found = resolve_profile("challenge")
    processes = {**found.protocol.processes, "latency": 20}
    return dataclasses.replace(
        found, reference="ref", protocol=dataclasses.replace(found.protocol, processes=processes)
    )


def run_records(models: int) -> Iterable[dict[str, Any]]:
    """All records of so many models, the answers as long as answers are."""
    draw = random.Random(7)
    others = [
        Candidate(
            id=f"m{number:02d}.q4_k_m.gguf",
            speed=draw.uniform(0.6, 1.7),
            memory_mib=draw.uniform(250, 700),
            skill=draw.uniform(0.5, 0.95),
            noise=0.02,
            seed=number,
            reference="ref",
        )
        for number in range(1, models)
    ]
    candidates = [Candidate(id="ref", skill=0.6, reference="ref"), *others]
    for record in formed(records(candidates, challenge(), budget=8 << 30)):
        if record["type"] == "run":  # counted in no ledger
            del record["attempt"]["ledger"]
        if "counters" in record:  # no two readings are of one moment
            record["counters"]["clock_ns"] += record["index"]
        if "output" in record:
            record["output"] = "이 문장은 답으로 쓰인 글입니다. " * draw.randrange(1, 12)
        yield record


def size_bytes(found: Iterable[dict[str, Any]]) -> int:
    """Of their lines, without the chain."""
    return sum(len(encode_line(record)) for record in found)


def write(folder: Path, megabytes: int) -> Path:
    """A signed bundle of at least so many megabytes, and `jury.pub` beside it."""
    one, two = size_bytes(run_records(1)), size_bytes(run_records(2))
    chain = 1.13  # what number and hash of the line before add
    models = round(megabytes * 1e6 / chain / (two - one)) or 1
    run = folder / "run"
    run.mkdir(parents=True)
    journal = JournalWriter(run / "records.jsonl")
    waiting: list[dict[str, Any]] = []
    for record in run_records(models):
        waiting.append(record)
        if len(waiting) == BATCH:
            journal.append(*waiting)
            waiting.clear()
    journal.append(*waiting)
    journal.close()
    today = datetime.now(UTC).date()
    keys.generate(folder / "jury", name="jury", role="evaluator", days=365, today=today)
    made = create.create(run, folder / "bundle").path
    checking.sign(made, folder / "jury.key")
    lines = (made / "records.jsonl").read_bytes().count(b"\n")
    total = sum(path.stat().st_size for path in made.iterdir())
    print(f"{models} models, {lines:,} records, {total / 1e6:.1f} MB", flush=True)
    return made


def drop_from_cache(folder: Path) -> bool:
    """Whether the files are no longer in the page cache."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    return True


def child(code: str, *words: object) -> dict[str, Any]:
    """What a fresh process says on its last line."""
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def hashed(made: Path) -> dict[str, Any]:
    """Seconds of `sha256sum` over the bundle's files, its start included."""
    code = (
        "import json, subprocess, sys, time\n"
        "started = time.perf_counter()\n"
        "subprocess.run(['sha256sum', *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)\n"
        "print(json.dumps({'wall_s': time.perf_counter() - started}))"
    )
    return child(code, *sorted(made.iterdir()))


def main() -> None:
    """Write the bundle, verify it in turn with the others, and say whether it was quick enough."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="leave the bundle here, or take it from here")
    parser.add_argument("--profile", action="store_true", help="say where the time goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        made = folder / "bundle"
        if not made.exists():
            made = write(folder, options.megabytes)
        public = folder / "jury.pub"
        if options.profile:
            subprocess.run([sys.executable, "-c", PARTS, str(made), str(public)], check=True)
            return
        times: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            if drop_from_cache(made):
                times.setdefault("verify, cold", []).append(child(VERIFY, made, public)["wall_s"])
            warm = child(VERIFY, made, public)
            assert warm["state"] in {"verified", "unverified"}, warm
            times.setdefault("verify, warm", []).append(warm["wall_s"])
            times.setdefault("verify, CPU", []).append(warm["cpu_s"])
            times.setdefault("sha256sum", []).append(hashed(made)["wall_s"])
            plain = child(JSON, made)
            times.setdefault("json.loads", []).append(plain["wall_s"])
            times.setdefault("json.loads, CPU", []).append(plain["cpu_s"])
    for name, found in times.items():
        print(f"{name:<15} {statistics.median(found):.2f} s, worst {max(found):.2f}")
    held = statistics.median(times["verify, warm"]) <= LIMIT_S
    print(f"at most {LIMIT_S:.0f} s: {'held' if held else 'MISSED'}")
    raise SystemExit(not held)


if __name__ == "__main__":
    main()
