"""A child that does what the file's name says, instead of judging it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness import sandbox


def environment() -> None:
    sys.stderr.write(json.dumps(dict(os.environ)))
    sys.stderr.flush()
    os.abort()


def hang(name: str) -> None:
    sys.stderr.write(f"reading {name}\n")
    sys.stderr.flush()
    time.sleep(60)


def spin() -> None:
    while True:
        pass


def flood() -> None:
    while True:
        os.write(1, b"x" * (1 << 20))


HOW: Mapping[str, Callable[[], Any]] = {
    "environment": environment,
    "hang": lambda: hang("m.gguf"),
    "tokenizer-hang": lambda: hang("tokenizer.json"),
    "spin": spin,
    "flood": flood,
    "abort": os.abort,
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "grow": lambda: len(bytearray(2 << 30)),
    "nonsense": lambda: ["context"],
    "stranger": lambda: {"a field of": "its own"},
    "fine": lambda: {"context": 7},
}


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    return {"facts": HOW[Path(request["path"]).stem]()}


if __name__ == "__main__":
    sandbox.serve(answer)
