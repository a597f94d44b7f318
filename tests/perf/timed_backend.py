"""Backends that add up how long their own calls took; `harness_share` runs workers with them.

`tests.perf.timed_backend:llama_cpp` is that backend, timed. When it is closed it appends
one JSON line to the file named by HARNESS_SHARE_LOG: `engine_ns` in calls, and the clock
at the beginning of the first and at the end of the last one.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from harness.backends import BACKENDS
from harness.backends.base import Backend
from harness.extensions import load

LOG = "HARNESS_SHARE_LOG"
CALLS = ("import_engine", "load", "prefill", "step", "extend", "encode", "decode", "reset")


def timed(base: type[Backend]) -> type[Backend]:
    """A subclass whose calls are timed; calls inside a call count once."""

    class Timed(base):  # type: ignore[misc, valid-type]
        name = base.name

        def __init__(self) -> None:
            super().__init__()
            self._inside = False
            self._spent_ns = self._first_ns = self._last_ns = 0

        def close(self) -> None:
            line = {
                "engine_ns": self._spent_ns,
                "first_ns": self._first_ns,
                "last_ns": self._last_ns,
            }
            super().close()
            if self._first_ns:
                with Path(os.environ[LOG]).open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            self._first_ns = 0  # closing twice is allowed

    for name in CALLS:
        if hasattr(base, name):
            setattr(Timed, name, _timed_call(getattr(base, name)))
    return Timed


def _timed_call(original: Any) -> Any:
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        if self._inside:
            return original(self, *arguments, **options)
        self._inside = True
        start = time.perf_counter_ns()
        self._first_ns = self._first_ns or start
        try:
            return original(self, *arguments, **options)
        finally:
            self._last_ns = time.perf_counter_ns()
            self._spent_ns += self._last_ns - start
            self._inside = False

    return call


def __getattr__(name: str) -> type[Backend]:
    """The timed subclass of a built-in backend, by its name."""
    if name not in BACKENDS:
        raise AttributeError(name)
    return timed(load(BACKENDS[name]))
