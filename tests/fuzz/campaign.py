"""Runs a campaign of mutated model files: preflight first, and what passes through a worker.

File i depends on the seed and i alone, so that `--only I` repeats it. The harness must
answer every file: an exception other than a refusal, or a preflight that crashed or ran
out of time, is a failure. What an engine does with a file that passed is counted apart: it
ends in its own process.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from harness import plan, preflight
from harness.backends import BACKENDS
from harness.cases import Case
from harness.errors import SpecError
from harness.execute import execute_apart
from harness.models.resolve import model_from_path
from harness.spec import Artefact, BackendOptions

WORKER_TIMEOUT_S = 60.0
BROKEN = ("harness", "preflight_crashed", "preflight_limit")
"""Classes of failures of the harness itself."""

Make = Callable[[random.Random, Path], Path]
"""Writes one submission into an empty folder; returns what a backend opens."""


class Verdict(NamedTuple):
    """One file. `outcome`: `refused`, `loaded`, `engine_refused`, `crashed` and so on."""

    index: int
    outcome: str
    detail: str
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether the harness itself did not stand it."""
        return self.outcome == "harness" or self.detail.startswith(BROKEN)


def seeded(seed: int, index: int) -> random.Random:
    """The random numbers of one file."""
    return random.Random(f"{seed}:{index}")


def try_one(make: Make, seed: int, index: int) -> Verdict:
    """Make file `index`, judge it, and load it if it passes."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        try:
            outcome, detail = _outcome(make(seeded(seed, index), Path(temporary)))
        except Exception:
            outcome, detail = "harness", traceback.format_exc()[-2000:]
    return Verdict(index, outcome, detail, time.perf_counter() - started)


def _outcome(path: Path) -> tuple[str, str]:
    model = model_from_path(str(path))
    try:
        preflight.inspect(path, model.format)
    except SpecError as error:
        return "refused", f"{error.reason}: {error.message}"
    artefact = Artefact(model=model, path=str(path), sha256={}, size_bytes=0)
    options = BackendOptions(threads=1, context=64)
    kernel = plan.kernel_job(artefact, prompt=4, output=2, repetitions=1, options=options)
    kernel = replace(kernel, timeout_s=WORKER_TIMEOUT_S)
    # The kernel suite makes up token ids: a text also meets the vocabulary.
    text = Case(id="text", prompt_tokens=32, items=64, language="ko")
    words = replace(kernel, id=f"{kernel.id}-text", suite="language", cases=(text,))
    ended = execute_apart([kernel, words], BACKENDS)[0][-1]
    outcome = {"ok": "loaded", "failed": "engine_refused"}.get(ended.state, ended.state)
    return outcome, f"{ended.reason}: {ended.detail}"


def campaign(
    make: Make, seed: int, indices: Iterable[int], jobs: int, log: Path | None = None
) -> list[Verdict]:
    """Try every file; what stands in the log, one JSON line a file, is not tried again."""
    known = _logged(log) if log else {}
    with ThreadPoolExecutor(jobs) as pool:
        left = [index for index in indices if index not in known]
        for verdict in pool.map(lambda index: try_one(make, seed, index), left):
            known[verdict.index] = verdict
            if log:
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(verdict._asdict()) + "\n")
                _progress(known.values(), len(left))
    return list(known.values())


def _logged(log: Path) -> dict[int, Verdict]:
    lines = log.read_text("utf-8").splitlines() if log.exists() else []
    found = [Verdict(**json.loads(line)) for line in lines]
    return {verdict.index: verdict for verdict in found}


def _progress(verdicts: Iterable[Verdict], count: int) -> None:
    counts = Counter(verdict.outcome for verdict in verdicts)
    if counts.total() % 50 == 0:
        sys.stderr.write(f"{counts.total()} of {count}: {dict(counts)}\n")


def summary(verdicts: list[Verdict]) -> dict[str, Any]:
    """Counts by outcome, and by the rule that refused; every file that is of interest."""
    refused = [verdict for verdict in verdicts if verdict.outcome == "refused"]
    odd = [v for v in verdicts if v.failed or v.outcome not in {"refused", "loaded"}]
    return {
        "files": len(verdicts),
        "outcomes": dict(Counter(verdict.outcome for verdict in verdicts).most_common()),
        "rules": dict(Counter(v.detail.partition(":")[0] for v in refused).most_common()),
        "slowest_s": round(max((verdict.seconds for verdict in verdicts), default=0), 2),
        "failures": [verdict._asdict() for verdict in verdicts if verdict.failed],
        "engine": [(v.index, v.outcome, v.detail[:200]) for v in odd if not v.failed],
    }


def main(make: Make, name: str, count: int) -> None:
    """The command of one campaign; exits with 1 if the harness failed on any file."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.fuzz.{name}")
    parser.add_argument("--count", type=int, default=count, help="files to try")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="files tried at once")
    parser.add_argument("--resume", action="store_true", help="go on where the log ends")
    parser.add_argument("--only", type=int, help="repeat one file and keep it in --keep")
    parser.add_argument("--keep", type=Path, help="folder for --only's file")
    chosen = parser.parse_args()
    if chosen.only is not None:
        if chosen.keep:
            chosen.keep.mkdir(parents=True)
            make(seeded(chosen.seed, chosen.only), chosen.keep)
        verdicts = [try_one(make, chosen.seed, chosen.only)]
        sys.stdout.write(f"{verdicts[0]}\n")
    else:
        log = Path(tempfile.gettempdir()) / f"fuzz-{name}-{chosen.seed}.jsonl"
        if not chosen.resume:
            log.unlink(missing_ok=True)
        verdicts = campaign(make, chosen.seed, range(chosen.count), chosen.jobs, log)
    json.dump(summary(verdicts), sys.stdout, indent=2)
    sys.stdout.write("\n")
    sys.exit(any(verdict.failed for verdict in verdicts))
