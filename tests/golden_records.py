"""The real run behind `golden/v…/`: every suite, both engines, one clockwork and one that dies.

`python -m tests.golden_records` measures it anew and writes the folder of the present schema.
Folders of earlier schemas are never written again: tests read them for ever.
"""

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.records import SCHEMA

GOLDEN = Path(__file__).parent / "golden"
FILES = ("records.jsonl", "scorecard.json")

PROFILE = """\
id: golden
version: 1
title: every suite, as small as it can be
reference: ref-2m.f16.gguf
tier: unverified
protocol:
  processes: {latency: 2, task: 1, kernel: 1, sustained: 1, memory: 1, energy: 1, accuracy: 1,
    language: 1, fidelity: 1}
  processes_max: {latency: 3}
  precision: 1.0
  requests: 2
  warmup_max: 1
  grouping: suite
  job_timeout_s: 120
suites:
  latency: {prompt_tokens: [16], output_tokens: [8], depths: [0, 32]}
  task: {languages: [ko], prompts: 2, output_tokens: 8}
  kernel: {prompt_tokens: 16, output_tokens: 8}
  sustained: {duration_s: 1, prompt_tokens: 512, output_tokens: 256}
  memory: {context: 48, output_tokens: 8, further_contexts: [96], mapped: true}
  energy: {prompt_tokens: 16, output_tokens: 8}
  accuracy: {tasks: [josa, arith, longctx], languages: [ko], items: 10, context: 1024, verify: 0.2}
  language: {tokens: 64, languages: [ko], context: 64}
  fidelity: {tokens: 64, languages: [ko], context: 64}
weights: {accuracy: 0.4, ttft_s: 0.2, decode_tok_per_s: 0.2, peak_resident_bytes: 0.2}
gates: [{id: memory, metric: peak_resident_bytes, limit: 1000000000, required: false}]
"""
# The clockwork stands in the network's family, so that its tokeniser is found to differ.
MODELS = """\
models:
  - {id: ref-2m.f16.gguf, family: ref-2m, format: gguf, quantisation: f16, licence: Apache-2.0,
     chat_template: plain, options: {threads: 1}, source: embedded}
  - {id: ref-2m.int8.onnx, family: ref-2m, format: onnx, quantisation: int8, licence: Apache-2.0,
     chat_template: plain, options: {threads: 1}, source: embedded}
  - {id: steady.fake, family: ref-2m, format: fake, quantisation: none, chat_template: plain,
     source: {kind: file, path: steady.fake.json}}
  - {id: dying.fake, family: dying, format: fake, quantisation: none, chat_template: plain,
     source: {kind: file, path: dying.fake.json}}
  - {id: absent.gguf, family: absent, format: gguf, quantisation: q4_0,
     source: {kind: file, path: absent.gguf}}
sets:
  default: [ref-2m.f16.gguf, ref-2m.int8.onnx, steady.fake, dying.fake, absent.gguf]
"""
# Halves of seconds are exact in floating point: no figure is the rounding of another machine.
FAKES = {
    "steady": {
        "load_s": 0.5,
        "prefill_s_per_token": 0.125,
        "step_s": 0.5,
        "kv_bytes_per_token": 1024,
    },
    "dying": {"crash_signal": {"at": "load", "signal": "SIGSEGV"}},
}


def lay_out(folder: Path) -> None:
    """Write the profile, the models file and the fake models."""
    (folder / "golden.yaml").write_text(PROFILE, "utf-8")
    (folder / "models.yaml").write_text(MODELS, "utf-8")
    for name, fields in FAKES.items():
        (folder / f"{name}.fake.json").write_text(json.dumps(fields), "utf-8")


def measure(folder: Path) -> Path:
    """The first of two announced runs, killed in the middle of a job and resumed; its folder."""
    lay_out(folder)
    words = ("--profile", "golden.yaml", "--nonce", "round-7", "--attempts", "2")
    with harness(folder, "run", *words, stderr=subprocess.PIPE) as first:
        assert first.stderr is not None
        for _ in itertools.takewhile(lambda line: not line.startswith("crashed"), first.stderr):
            pass
        time.sleep(0.4)  # most of a job is over then
        first.kill()
    (run,) = (folder / "results").glob("2*")
    with harness(folder, "run", "--resume", run.name) as resumed:
        resumed.wait()
    return run


def harness(folder: Path, *words: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", *words]
    return subprocess.Popen(command, cwd=folder, text=True, **options)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="golden-") as temporary:
        run = measure(Path(temporary))
        target = GOLDEN / f"v{SCHEMA}"
        target.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copyfile(run / name, target / name)


if __name__ == "__main__":
    main()
