"""An engine without a network: exact delays, chosen faults, logits from a hash.

It makes the whole pipeline testable in a fraction of a second (`clock: virtual`) and
gives `selftest` a truth to measure against (`clock: real` spins to its deadlines).
The model is a small JSON file named `*.fake.json`; every field is optional:

    clock                 "virtual" (default) or "real"
    seed                  integer that changes all logits
    context               longest sequence, default 4096
    load_s, prefill_s_per_token, step_s     delays in seconds, default 0
    slow_steps            {"3": 0.5}: the step with this index since the reset
    eos_bias              added to the logit of EOS, default -100 (never chosen)
    kv_bytes_per_token    reported only
    truth                 file that `close` fills with one JSON line a call:
                          kind, tokens, start_ns, end_ns on the adapter's own clock
    fail_on_load          message of a BackendError
    crash_signal          {"at": "load"|"prefill"|"step", "signal": "SIGABRT"}
    hang                  "load", "prefill" or "step": sleeps for ever
    allocate_bytes        memory taken while loading and kept resident
    allocate_kind         "heap" (default), "private", "shared", "transient" (50 ms), or
                          "child": a process of its own, which ends with this one
    reuse_prefix          true: a naive adapter that keeps the matching prefix over a
                          reset, and so evaluates fewer tokens than it was given
    chunk_tokens          a naive adapter that evaluates so many tokens a step and hands
                          them out as one, default 1
    early_return          true: a naive adapter that returns before its result is there,
                          after a tenth of the time; the next call waits for the rest

Tokens are the 256 byte values and EOS = 256. Logits depend on the sequence alone, so
prefill, step and extend agree however a sequence is cut.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from harness.backends.base import Backend, LoadReport, Logits, Step
from harness.errors import BackendError, did_you_mean
from harness.spec import BackendOptions
from harness.stats import random_words

EOS = 256
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15

Clock = Literal["virtual", "real"]
Hang = Literal["", "load", "prefill", "step"]
AllocateKind = Literal["heap", "private", "shared", "transient", "child"]


class Call(NamedTuple):
    """What one call really took."""

    kind: str
    tokens: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeModel:
    """The fields of a `*.fake.json` file; the module's docstring explains them."""

    clock: Clock = "virtual"
    seed: int = 0
    context: int = 4096
    load_s: float = 0.0
    prefill_s_per_token: float = 0.0
    step_s: float = 0.0
    slow_steps: dict[str, float] = field(default_factory=dict)
    eos_bias: float = -100.0
    kv_bytes_per_token: int = 0
    truth: str = ""
    fail_on_load: str = ""
    crash_signal: dict[str, str] = field(default_factory=dict)
    hang: Hang = ""
    allocate_bytes: int = 0
    allocate_kind: AllocateKind = "heap"
    reuse_prefix: bool = False
    chunk_tokens: int = 1
    early_return: bool = False

    @classmethod
    def read(cls, path: Path) -> FakeModel:
        """Read a file.

        Raises:
            BackendError: unreadable, not JSON, or a field that does not exist.
        """
        try:
            values = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise BackendError(
                f"not a fake model: {error}", where=str(path), reason="model_unreadable"
            ) from error
        if not isinstance(values, dict):
            raise BackendError(
                "not a fake model",
                where=str(path),
                allowed="a JSON object",
                reason="model_unreadable",
            )
        known = [item.name for item in fields(cls)]
        for name in values:
            if name not in known:
                raise BackendError(
                    f"unknown field '{name}'{did_you_mean(name, known)}",
                    where=str(path),
                    allowed=", ".join(known),
                    reason="model_unreadable",
                )
        model = cls(**values)
        for name, kind in (("clock", Clock), ("hang", Hang), ("allocate_kind", AllocateKind)):
            if getattr(model, name) not in get_args(kind):
                raise BackendError(
                    f"{name} is {getattr(model, name)!r}",
                    where=str(path),
                    allowed=", ".join(repr(word) for word in get_args(kind)),
                    reason="model_unreadable",
                )
        return model


class FakeBackend(Backend):
    """See the module's docstring."""

    name = "fake"

    def __init__(self) -> None:
        super().__init__()
        self._model = FakeModel()
        self._path: Path | None = None
        self._context = 0
        self._virtual_ns = 0
        self._started_ns = 0
        self._steps = 0
        self._states: list[int] = []
        self._tokens: list[int] = []
        self._kept: list[int] = []
        self._ballast: Any = None
        self._owed_s = 0.0
        self.calls: list[Call] = []

    # --- life cycle -----------------------------------------------------------------

    def load(self, path: Path, options: BackendOptions) -> LoadReport:
        """Read the file, then fail, crash, hang or take memory as it says."""
        self._require_none(path)
        model = FakeModel.read(path)
        if model.fail_on_load:
            raise BackendError(model.fail_on_load, where=str(path), reason="load_failed")
        self._model = model
        self._path = path
        self._loaded = True
        self._context = min(options.context or model.context, model.context)
        self._states, self._tokens, self._kept = [_mix(model.seed & _MASK)], [], []
        self._steps = 0
        self._forget()
        self._fault("load")
        if model.allocate_bytes:
            self._ballast = _allocate(model.allocate_bytes, model.allocate_kind)
        self._begin()  # what was taken is held for as long as loading lasts
        self._spend("load", 0, model.load_s)
        return LoadReport(
            import_s=0.0,
            weights_s=model.load_s,
            model_bytes=path.stat().st_size,
            kv_bytes_per_token=model.kv_bytes_per_token,
        )

    def describe(self) -> dict[str, str]:
        """Nothing but the name and the clock: there is no engine."""
        return {"engine": "fake", "engine_version": "1", "clock": self._model.clock}

    def close(self) -> None:
        """Free the ballast and write the truth file."""
        if self._path and self._model.truth:
            lines = "".join(json.dumps(call._asdict()) + "\n" for call in self.calls)
            (self._path.parent / self._model.truth).write_text(lines, "utf-8", newline="\n")
        self._path = None
        self._loaded = False
        _release(self._ballast)
        self._ballast = None

    def now_ns(self) -> int:
        """Virtual time, or the real monotonic clock."""
        if self._model.clock == "virtual":
            return self._virtual_ns
        return time.perf_counter_ns()

    # --- text -----------------------------------------------------------------------

    @property
    def context(self) -> int:
        """The file's context, or less where the options ask for less."""
        return self._context

    @property
    def vocabulary(self) -> int:
        """256 bytes and EOS."""
        return EOS + 1

    @property
    def end_ids(self) -> frozenset[int]:
        """EOS alone."""
        return frozenset({EOS})

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """UTF-8 bytes; there are no special tokens in text."""
        del special
        self._require_model()
        return list(text.encode("utf-8", "replace"))

    def decode(self, ids: Sequence[int]) -> str:
        """Bytes back to text; EOS has none."""
        self._require_model()
        self._check_range(ids)
        return bytes(token for token in ids if token != EOS).decode("utf-8", "replace")

    # --- evaluation -----------------------------------------------------------------

    def prefill(self, ids: Sequence[int], *, sample: bool = True) -> Step:
        """Evaluate a prompt and take `prefill_s_per_token` for each token."""
        self._check(ids)
        self._fault("prefill")
        self._begin()
        evaluated = len(ids) - self._reused(ids)
        self._append(ids)
        self._position += len(ids)
        next_id = self._greedy() if sample else -1
        self._spend("prefill", evaluated, self._model.prefill_s_per_token * evaluated)
        return Step(next_id, evaluated)

    def _advance(self, ids: Sequence[int], *, sample: bool) -> Step:
        self._check(ids)
        self._fault("step")
        self._begin()
        self._append(ids)
        self._position += len(ids)
        delay = self._model.slow_steps.get(str(self._steps), self._model.step_s)
        self._steps += 1
        evaluated = len(ids) + self._run_ahead()
        next_id = self._greedy() if sample else -1
        self._spend("step", evaluated, delay)
        return Step(next_id, evaluated)

    def _run_ahead(self) -> int:
        """Evaluate the rest of a chunk unasked; how many tokens that were."""
        ahead = min(self._model.chunk_tokens - 1, self.context - self._position)
        for _ in range(ahead):
            self._append((self._greedy(),))
            self._position += 1
        return max(0, ahead)

    def _evaluate(self, ids: Sequence[int], rows: Sequence[int]) -> Logits:
        self._begin()
        start = len(self._states)
        self._append(ids)
        single = len(ids) == 1 and self._position > 0
        took = self._model.step_s if single else self._model.prefill_s_per_token * len(ids)
        self._spend("extend", len(ids), took, early=False)
        logits = np.empty((len(rows), self.vocabulary), np.float32)
        for index, row in enumerate(rows):
            logits[index] = self._logits(self._states[start + row])
        return logits

    def _rewind(self, length: int) -> None:
        if length == 0:
            self._kept = self._tokens
            self._steps = 0
        self._tokens = self._tokens[:length]
        self._states = self._states[: length + 1]

    def _append(self, ids: Sequence[int]) -> None:
        self._tokens.extend(ids)
        for token in ids:
            self._states.append(_mix(self._states[-1] + token + 1))

    def _reused(self, ids: Sequence[int]) -> int:
        """Tokens that a naive adapter would not evaluate again: it keeps at least one."""
        if not self._model.reuse_prefix or self._tokens:
            return 0
        same = 0
        for old, new in zip(self._kept, ids[:-1], strict=False):
            if old != new:
                break
            same += 1
        return same

    def _logits(self, state: int) -> Logits:
        """Uniform in [-4, 4): splitmix64 of the state and the token id."""
        words = random_words(state, EOS + 1)
        logits = (words >> np.uint64(40)).astype(np.float32) * np.float32(2**-21) - np.float32(4)
        logits[EOS] += np.float32(self._model.eos_bias)
        return logits

    def _greedy(self) -> int:
        return int(self._logits(self._states[-1]).argmax())

    # --- time and faults --------------------------------------------------------------

    def _begin(self) -> None:
        """Start a call; one that returned early is waited for first."""
        self._started_ns = self.now_ns()
        self._wait_until(self._started_ns + round(self._owed_s * 1e9))
        self._started_ns = self.now_ns()
        self._owed_s = 0.0

    def _spend(self, kind: str, tokens: int, seconds: float, *, early: bool = True) -> None:
        """Let `seconds` pass since `_begin`, and note what really passed."""
        if early and self._model.early_return:
            self._owed_s = 0.9 * seconds
            seconds -= self._owed_s
        self._wait_until(self._started_ns + round(seconds * 1e9))
        self.calls.append(Call(kind, tokens, self._started_ns, self.now_ns()))

    def _wait_until(self, deadline: int) -> None:
        if self._model.clock == "virtual":
            self._virtual_ns = max(self._virtual_ns, deadline)
        else:
            while time.perf_counter_ns() < deadline:
                pass

    def _fault(self, at: str) -> None:
        """Crash or hang if the file says so for this place."""
        if self._model.crash_signal.get("at") == at:
            signal.raise_signal(signal.Signals[self._model.crash_signal["signal"]])
        while self._model.hang == at:
            time.sleep(3600)


def _mix(word: int) -> int:
    """One step of splitmix64 (Steele, Lea and Flood 2014)."""
    word = (word + _GOLDEN) & _MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)


def _allocate(size: int, kind: AllocateKind) -> object:
    """Take `size` bytes and touch every page; what is returned keeps them resident."""
    if kind in {"heap", "transient"}:
        block = np.ones(size, np.uint8)
        if kind == "heap":
            return block
        time.sleep(0.05)
        return None
    if kind == "child":
        return _child(size)
    flags: dict[str, int] = {}
    with contextlib.suppress(AttributeError):  # Windows has neither flag: all maps are private
        flags["flags"] = mmap.MAP_ANONYMOUS | (
            mmap.MAP_PRIVATE if kind == "private" else mmap.MAP_SHARED
        )
    region = mmap.mmap(-1, size, **flags)
    for offset in range(0, size, mmap.PAGESIZE):
        region[offset] = 1
    return region


_CHILD = """
import sys
held = b"\\1" * int(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
"""


def _child(size: int) -> object:
    """A process that holds `size` bytes until its input is closed, as it is when we die."""
    import subprocess

    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _CHILD, str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.readline()
    return child


def _release(ballast: Any) -> None:
    """End a child that holds memory; everything else is freed by dropping it."""
    if hasattr(ballast, "communicate"):
        ballast.communicate()
