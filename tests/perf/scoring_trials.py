"""What scoring must keep to, counted often: `python -m tests.perf.scoring_trials`.

For each formula: how often a model that is measured twice ties with itself (at least 95 % of 200
runs of ten processes with a spread of 2 %), 1,000 shuffles of a run's records with the same
scorecard, 100 rebuilds with the same bytes. The tests count fewer of each by these functions.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import replace
from typing import Any

from harness.score import dump, scorecard
from harness.spec import AccuracySuite, LatencySuite, MemorySuite, Profile, Protocol, Suites
from harness.specgate import Gate
from tests.strategies import Candidate, profile, records

QUICK = profile(
    protocol=Protocol(
        processes={"latency": 3, "memory": 1, "accuracy": 1},
        requests=2,
        warmup_max=1,
        grouping="suite",
        job_timeout_s=60.0,
    ),
    suites=Suites(
        latency=LatencySuite(prompt_tokens=(64,), output_tokens=(8,)),
        memory=MemorySuite(context=72, output_tokens=8),
        accuracy=AccuracySuite(tasks=("arith", "josa"), languages=("ko",), items=60),
    ),
)
FORMULAS: dict[str, Profile] = {
    "geometric": QUICK,
    "aimers": replace(QUICK, scoring="aimers", weights={"accuracy": 0.5, "tpot_s": 0.5}),
    "gate": replace(
        QUICK,
        scoring="gate",
        weights={"ttft_s": 0.5, "decode_tok_per_s": 0.5},
        gates=(Gate(id="accuracy", metric="accuracy_ratio", limit=0.7),),
    ),
}
REF = Candidate(id="ref", skill=0.6)
Rows = list[dict[str, Any]]


def same_answers(rows: Rows) -> Rows:
    """All models answer alike, as one model does when it is asked twice."""
    return [
        row | {"correct": (row["index"] * 7) % 10 < 7, "answered": True}
        if row.get("kind") == "item"
        else row
        for row in rows
    ]


def ties(used: Profile, runs: int, *, noise: float = 0.02) -> int:
    """Of so many runs of a model beside itself, how many tie."""
    full = replace(used, protocol=replace(used.protocol, processes={"latency": 10, "memory": 1}))
    tied = 0
    for number in range(runs):
        pair = [replace(REF, noise=noise, seed=2 * number)]
        pair.append(replace(REF, id="twin", noise=noise, seed=2 * number + 1))
        card = scorecard(same_answers(records(pair, full)))
        assert len(card["pairs"]) == 1
        tied += not card["pairs"][0]["beats"]
    return tied


def field(models: int = 4) -> list[Candidate]:
    """The reference and others, one of which guesses."""
    others = [
        replace(REF, id=f"m{i}", speed=0.7 + 0.25 * i, memory_mib=300 + 40 * i, seed=i)
        for i in range(1, models)
    ]
    return [REF, *others[:-1], replace(others[-1], skill=0.0)]


def same_when_shuffled(used: Profile, shuffles: int) -> int:
    """Of so many orders of one run's records and models, how many give the same bytes."""
    rows, draw = records(field(), used), random.Random(11)
    expected, same = dump(scorecard(rows)), 0
    for _ in range(shuffles):
        models = draw.sample(rows[0]["models"], len(rows[0]["models"]))
        mixed = [rows[0] | {"models": models}, *rows[1:]]
        draw.shuffle(mixed)
        same += dump(scorecard(mixed)) == expected
    return same


def same_when_rebuilt(used: Profile, rebuilds: int) -> int:
    """Of so many rebuilds from records that were written and read, how many are the same."""
    rows = records(field(), used)
    text, expected = json.dumps(rows), dump(scorecard(rows))
    return sum(dump(scorecard(json.loads(text))) == expected for _ in range(rebuilds))


def main() -> None:
    """Count, and say whether all of it held."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200, help="of a model beside itself")
    parser.add_argument("--shuffles", type=int, default=1000)
    parser.add_argument("--rebuilds", type=int, default=100)
    options = parser.parse_args()
    held = True
    for name, used in FORMULAS.items():
        started = time.perf_counter()
        tied = ties(used, options.runs)
        shuffled = same_when_shuffled(used, options.shuffles)
        rebuilt = same_when_rebuilt(used, options.rebuilds)
        held &= tied >= 0.95 * options.runs
        held &= shuffled == options.shuffles and rebuilt == options.rebuilds
        print(
            f"{name}: {tied} of {options.runs} tie, {shuffled} of {options.shuffles} shuffles and "
            f"{rebuilt} of {options.rebuilds} rebuilds the same, "
            f"{time.perf_counter() - started:.0f} s",
            flush=True,
        )
    print("held" if held else "MISSED")
    raise SystemExit(not held)


if __name__ == "__main__":
    main()
