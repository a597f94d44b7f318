"""A child that does what the file's name says, instead of judging it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import sandbox


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    how = Path(request["path"]).stem
    if how == "environment":
        sys.stderr.write(json.dumps(dict(os.environ)))
        os.abort()
    if how in {"hang", "tokenizer-hang"}:
        sys.stderr.write(f"reading {'tokenizer.json' if how != 'hang' else 'm.gguf'}\n")
        sys.stderr.flush()
        time.sleep(60)
    elif how == "spin":
        while True:
            pass
    elif how == "flood":
        while True:
            os.write(1, b"x" * (1 << 20))
    elif how == "abort":
        os.abort()
    elif how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "grow":
        return {"facts": len(bytearray(2 << 30))}
    elif how == "nonsense":
        return {"facts": ["context"]}
    elif how == "stranger":
        return {"facts": {"a field of": "its own"}}
    return {"facts": {"context": 7}}


if __name__ == "__main__":
    sandbox.serve(answer)
