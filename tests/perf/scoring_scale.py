"""Scoring 50 models with a million samples: seconds and peak memory, the records' file included.

    python -m tests.perf.scoring_scale [--models 50] [--keep FOLDER]

A sample is one raw observation that a figure rests on: the time of one output token, or the
answer to one accuracy item. The run is the `challenge` profile's latency, memory and accuracy
suites with every latency case repeated to its 20 processes: 3 cases x 20 processes x 5 requests
x 64 tokens and 2,200 items make 21,400 samples a model. The records are those of
`tests.strategies`, with whole answers, written as a journal; `runs.write_scorecard` runs in a
fresh child, whose helpers' memory is counted at the largest one's peak.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.records import encode_line
from harness.spec import Profile, sha256
from harness.specfile import resolve_profile
from tests.answered import formed
from tests.strategies import Candidate, records

LIMIT_S, LIMIT_BYTES = 10.0, 1 << 30
CHILD = """
import json, resource, sys, time
from pathlib import Path
from harness import runs, shares
started, before = time.perf_counter(), time.process_time()
folder = Path(sys.argv[1])
card = runs.write_scorecard(folder)
size = (folder / "records.jsonl").stat().st_size
helpers = max(1, shares.count_for(size, len(card["entries"]))) - 1
print(json.dumps({
    "wall_s": time.perf_counter() - started,
    "cpu_s": time.process_time() - before,
    "peak_bytes": 1024 * (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        + helpers * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    ),
    "scored": sum(entry["score"] is not None for entry in card["entries"]),
}))
"""


def challenge() -> Profile:
    """The challenge profile's scored suites at their most repetitions, with a reference here."""
    found = resolve_profile("challenge")
    protocol = dataclasses.replace(found.protocol, processes={"latency": 20, "memory": 3})
    latency, memory = found.suites.latency, found.suites.memory
    assert latency is not None
    assert memory is not None
    suites = dataclasses.replace(
        found.suites,
        **dict.fromkeys(("task", "kernel", "sustained", "energy", "language", "fidelity")),
        latency=dataclasses.replace(latency, depths=(0,)),
        memory=dataclasses.replace(memory, further_contexts=(), mapped=False),
    )
    return dataclasses.replace(
        found, reference="ref", protocol=protocol, suites=suites, tolerates_unknown=True
    )


def write(folder: Path, models: int) -> dict[str, int]:
    """A journal of so many models; how much it holds."""
    draw = random.Random(7)
    others = (
        Candidate(
            id=f"m{number:02d}.q4_k_m.gguf",
            speed=draw.uniform(0.6, 1.7),
            memory_mib=draw.uniform(250, 700),
            skill=draw.uniform(0.5, 0.95),
            noise=0.02,
            seed=number,
        )
        for number in range(1, models)
    )
    candidates = [Candidate(id="ref", skill=0.6), *others]
    counts = {"lines": 0, "bytes": 0, "samples": 0}
    tip = ""
    with (folder / "records.jsonl").open("wb") as file:
        for record in formed(records(candidates, challenge(), budget=8 << 30)):
            if "output" in record:
                record["output"] = "이 문장은 답으로 쓰인 글입니다. " * 6
            line = encode_line({**record, "seq": counts["lines"], "prev": tip})
            tip = sha256(line)
            file.write(line)
            counts["lines"] += 1
            counts["bytes"] += len(line)
            counts["samples"] += _samples(record)
    return counts


def _samples(record: dict[str, Any]) -> int:
    if record.get("kind") == "request":
        return len(record["token_ns"])
    return int(record.get("kind") == "item")


def main() -> None:
    """Write the journal, score it in a child, and say whether it was quick and small enough."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--keep", type=Path, help="leave the journal here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        counts = write(folder, options.models)
        print(f"written in {time.perf_counter() - started:.1f} s: {json.dumps(counts)}", flush=True)
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(folder)], capture_output=True, text=True, check=True
        )
    found = json.loads(done.stdout)
    print(json.dumps(found))
    good = found["wall_s"] <= LIMIT_S and found["peak_bytes"] <= LIMIT_BYTES
    print(f"at most {LIMIT_S:.0f} s and {LIMIT_BYTES >> 20} MiB: {'held' if good else 'MISSED'}")
    raise SystemExit(not good)


if __name__ == "__main__":
    main()
