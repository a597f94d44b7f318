"""The whole proof: pack a kit of what is installed, install it and run it without a network.

`python -m tests.perf.kit_offline` takes about a minute on a free machine. Both engines measure a
model in a namespace that has nothing but a loopback device, which is down; the home folder
is empty, and the Python is the one that this environment was made from, which has none of
our packages.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODELS = ("ref-2m.q8_0.gguf", "ref-2m.int8.onnx")
PROFILE = """\
id: proof
version: 1
title: proof
reference: ref-2m.q8_0.gguf
tier: ci
protocol:
  {processes: {latency: 1}, requests: 1, warmup_max: 1, grouping: suite, job_timeout_s: 300}
suites: {latency: {prompt_tokens: [16], output_tokens: [8]}}
weights: {ttft_s: 0.5, decode_tok_per_s: 0.5}
"""
NO_NETWORK = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"


def main() -> int:
    """Run the proof and print what it took; 77 where no such namespace can be made."""
    if (
        sys.platform != "linux"
        or subprocess.run(["unshare", "-rn", "true"], check=False).returncode
    ):
        print("skipped: no namespace without a network can be made here")
        return 77
    with tempfile.TemporaryDirectory(prefix="kit-proof-") as temporary:
        prove(Path(temporary))
    return 0


def prove(folder: Path) -> None:
    """Pack, carry away, install, run and verify."""
    (folder / "proof.yaml").write_text(PROFILE)
    words = [f"--model={name}" for name in MODELS]
    command = [sys.executable, "-m", "harness", "kit", str(folder / "kit"), *words, "--json"]
    made = timed("pack", [*command, f"--profile={folder / 'proof.yaml'}"], dict(os.environ))
    size = json.loads(made.splitlines()[-1])["size_bytes"]
    shutil.copytree(folder / "kit", folder / "laptop" / "kit")
    shutil.rmtree(folder / "kit")
    kit, home = folder / "laptop" / "kit", folder / "home"
    home.mkdir()
    alone = {"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    python = str(getattr(sys, "_base_executable", sys.executable))
    # The namespace has no way out, and no device but its own loopback.
    devices = outside(["cat", "/proc/net/dev"], alone)
    assert [line.split(":")[0].strip() for line in devices.stdout.splitlines()[2:]] == ["lo"]
    assert "unreachable" in outside([python, "-c", NO_NETWORK], alone).stderr
    timed("install", ["unshare", "-rn", python, str(kit / "install.py")], alone)
    run = ["sh", str(kit / "harness"), "run", "--profile", "profiles/proof.yaml", "--json"]
    ran = timed("run", ["unshare", "-rn", *run], alone)
    card = json.loads((kit / json.loads(ran.splitlines()[-1])["scorecard"]).read_text("utf-8"))
    assert {entry["model"] for entry in card["entries"]} == set(MODELS)
    assert all(entry["metrics"]["decode_tok_per_s"]["value"] > 0 for entry in card["entries"])
    timed("verify", ["unshare", "-rn", "sh", str(kit / "harness"), "kit", "verify", "."], alone)
    assert list(home.iterdir()) == [], "something was written into the home folder"
    print(f"kit of {size / 1e6:.0f} MB; measured {' and '.join(MODELS)}, no network")


def outside(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command in a namespace without a network."""
    words = ["unshare", "-rn", *command]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


def timed(what: str, command: list[str], environment: dict[str, str]) -> str:
    """Run a command that must succeed, print how long it took, and return its output."""
    begin = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{what}: {done.stderr}"
    print(f"{what}: {time.perf_counter() - begin:.1f} s")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
