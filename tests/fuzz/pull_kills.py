"""Kill `harness models pull` at random moments; the next one must end in verified files.

python -m tests.fuzz.pull_kills [ROUNDS]      50 by default, about a minute and a half
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from harness.models import hub, hub_cache
from harness.models.inventory import verify
from harness.spec import file_sha256
from harness.specfile import load_catalogue
from tests.models.hub_server import COMMIT, REPO, Hub, serving, sha256

WEIGHTS_BYTES = 25 << 20
RATE = 30 << 20
MODEL_ID = "toy.q4_0.gguf"


class Kills(NamedTuple):
    """Rounds by where the kill came: while bytes flowed, before them, or too late.

    Attributes:
        resumed: rounds whose second pull went on from a part.
    """

    rounds: int
    inside: int
    late: int
    resumed: int


def kill_and_finish(rounds: int, folder: Path, seed: int = 0) -> Kills:
    """Kill one pull a round, check that nothing wrong is visible, and pull again."""
    dice = random.Random(seed)
    weights = dice.randbytes(WEIGHTS_BYTES)
    config = b'{"a": 1}'
    files = {"config.json": config, "toy.gguf": weights, "tokenizer.json": b"{}"}
    hashes = "".join(f"        {name}: {sha256(data)}\n" for name, data in files.items())
    catalogue_file = folder / "models.yaml"
    catalogue_file.write_text(
        f"models:\n  - id: {MODEL_ID}\n    family: toy\n    format: gguf\n    quantisation: q4_0\n"
        f"    source:\n      kind: hub\n      repo: {REPO}\n      revision: {COMMIT}\n"
        f"      files: [{', '.join(files)}]\n      sha256:\n{hashes}"
    )
    model = load_catalogue(catalogue_file).models[MODEL_ID]
    inside = late = resumed = 0
    for index in range(rounds):
        cache = folder / f"cache{index}"
        with serving(Hub(commits={COMMIT: files}, rate=RATE)) as server:
            settings = {"HF_HUB_CACHE": str(cache), "HF_ENDPOINT": server.url}
            settings["HF_HUB_OFFLINE"] = "0"
            with mock.patch.dict(os.environ, settings):
                # Mostly while bytes flow; every fifth before, which start-up takes long enough for.
                early = index % 5 == 4
                inside += _killed(catalogue_file, server, dice, early=early)
                for name, path in hub_cache.pulled(model.source).items():
                    assert path.read_bytes() == files[name], f"round {index}: {name} is wrong"
                late += len(hub_cache.pulled(model.source)) == len(files)
                server.rate = 0
                server.asked.clear()
                hub.pull(model, lambda _: None)
                resumed += any("range" in headers for *_, headers in server.asked)
                states = {file.state for file in verify(model, folder, file_sha256)}
                assert states == {"ok"}, f"round {index}: {states}"
                assert not list(cache.rglob("*.incomplete")), f"round {index}: a part is left"
                hub_cache.pulled(model.source)["toy.gguf"].resolve().unlink()
    return Kills(rounds, inside, late, resumed)


def _killed(catalogue_file: Path, server: Hub, dice: random.Random, *, early: bool) -> bool:
    """Start a pull and kill it; whether bytes were flowing by then."""
    command = [sys.executable, "-m", "harness", "models", "pull", MODEL_ID]
    child = subprocess.Popen(
        [*command, "--models", str(catalogue_file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    if not early:
        while not server.paths() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
    time.sleep(dice.uniform(0, 0.8))
    flowing = bool(server.paths()) and child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    return flowing


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        print(kill_and_finish(int(sys.argv[1]) if sys.argv[1:] else 50, Path(work)))
