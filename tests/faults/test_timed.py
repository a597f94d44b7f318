"""Nothing is written while an engine is timed, by the worker or by anybody else.

The library logs when each call came that changes something under the results folder; the fake
engine's truth file says when it was at work. Both are readings of one monotonic clock.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from bisect import bisect
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.records import read
from tests.faults import inject

pytestmark = pytest.mark.skipif(not inject.POSSIBLE, reason=inject.WHY_NOT)

TOKENS = 6
PROFILE = f"""\
id: timed
version: 1
title: every suite that is timed
reference: ref.f.fake
tier: unverified
protocol:
  processes: {{latency: 1, task: 1, kernel: 1, sustained: 1}}
  requests: 4
  warmup_max: 3
  grouping: suite
  job_timeout_s: 60
suites:
  latency: {{prompt_tokens: [16], output_tokens: [{TOKENS}]}}
  task: {{languages: [ko], prompts: 3, output_tokens: {TOKENS}}}
  kernel: {{prompt_tokens: 16, output_tokens: {TOKENS}}}
  sustained: {{duration_s: 1, prompt_tokens: 16, output_tokens: {TOKENS}}}
weights: {{ttft_s: 0.5, decode_tok_per_s: 0.5}}
"""
MODELS = """\
models:
  - {id: ref.f.fake, family: ref, format: fake, quantisation: f, licence: Apache-2.0,
     source: {kind: file, path: ref.fake.json}}
sets: {default: [ref.f.fake]}
"""
FAKE = {"clock": "real", "step_s": 0.004, "prefill_s_per_token": 0.0005, "truth": "truth"}


class Work(NamedTuple):
    """One call of the engine, in ns on the monotonic clock."""

    kind: str
    tokens: int
    start_ns: int
    end_ns: int


def measured(folder: Path, suite: str) -> tuple[list[Work], list[inject.Call], Path]:
    """What the engine did in a run of one suite, what was written, and the records."""
    results = folder / "results"
    results.mkdir()
    (folder / "models.yaml").write_text(MODELS)
    (folder / "timed.yaml").write_text(PROFILE)
    (folder / "ref.fake.json").write_text(json.dumps(FAKE))
    library = inject.build(folder)
    inject.Page(folder / "page").arm()
    words = ["run", "--profile", "timed.yaml", "--suite", suite]
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=folder,
        # A confined worker could not write down the truth.
        env=os.environ | inject.environment(library, results, folder) | {"HARNESS_SANDBOX": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 4}, done.stderr  # one suite alone may rank nothing
    lines = (folder / "truth").read_text().splitlines()
    calls = [Work(**json.loads(line)) for line in lines]
    journal = next(results.glob("*/records.jsonl"))
    return calls, inject.read_log(folder / "log"), journal


def violations(work: list[Work], written: list[inject.Call], suite: str) -> list[inject.Call]:
    """Calls that fell into a timed region: a prompt and all tokens behind it, or in kernel mode
    so many tokens without a prompt.
    """
    starts = [call.start_ns for call in work]
    found = []
    for write in written:
        at = bisect(starts, write.at_ns)  # calls that had begun by then
        if not at or (write.at_ns > work[-1].end_ns):
            continue
        behind = 0  # tokens decoded since the last prompt
        while behind < at and work[at - 1 - behind].kind == "step":
            behind += 1
        a_pass_ended = suite == "kernel" and behind % TOKENS == 0
        within = at < len(work) and work[at].kind == "step" and not a_pass_ended
        if write.at_ns < work[at - 1].end_ns or within:
            found.append(write)
    return found


@pytest.mark.parametrize("suite", ["latency", "task", "kernel", "sustained"])
def test_nothing_is_written_inside_a_timed_region(tmp_path: Path, suite: str) -> None:
    work, written, journal = measured(tmp_path, suite)
    inside = [w for w in written if work[0].start_ns < w.at_ns < work[-1].end_ns]
    assert len(inside) >= 6  # it does write between regions
    assert all(call.path.endswith(".part") for call in inside)
    assert len([call for call in work if call.kind == "step"]) >= 4 * TOKENS or suite == "task"
    assert violations(work, written, suite) == []
    records = read(journal).records
    assert [record["outcome"] for record in records if record["type"] == "job"] == ["ok"]
    for sample in records:
        if start := sample.get("clock_ns"):
            assert not [w for w in written if start <= w.at_ns <= start + sample["end_ns"]]


def test_a_write_inside_would_be_found() -> None:
    work = [Work("prefill", 16, 100, 200), *(Work("step", 1, t, t + 9) for t in (210, 220, 230))]

    def found(at_ns: int, suite: str = "latency") -> int:
        return len(violations(work, [inject.Call(at_ns, 1, 1, "write", 9, "x.part")], suite))

    assert [found(at) for at in (99, 150, 205, 215, 225, 240)] == [0, 1, 1, 1, 1, 0]
    tokens = [Work("step", 1, 10 * t, 10 * t + 9) for t in range(1, 2 * TOKENS + 1)]
    work[:] = tokens
    assert found(10 * TOKENS + 9, "kernel") == 0
    assert found(10 * TOKENS + 9) == 1
    assert found(10 * TOKENS - 1, "kernel") == 1
