"""Deterministic draws for generated items: the same on every platform and Python.

Python promises the sequence of `random.random()` only, so items are drawn from
HMAC-SHA256 in counter mode: key = the seed, message = `suite/index/counter`.
A secret seed therefore hides every item, and one index can be rebuilt alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """A stream of uniform integers for one item.

    Args:
        seed: secret (32 random bytes) or public seed.
        suite: name of the task and language, for example `"ko-josa"`.
        index: number of the item.
    """

    __slots__ = ("_buffer", "_counter", "_digest", "_key", "_label")

    def __init__(self, seed: bytes, suite: str, index: int) -> None:
        # Not at the top: a bare worker does not need OpenSSL's 3.6 MiB.
        from hmac import digest

        self._digest = digest
        self._key = seed
        self._label = f"{suite}/{index}/"
        self._counter = 0
        self._buffer = b""

    def below(self, bound: int) -> int:
        """A uniform integer in `[0, bound)`, without modulo bias; `1 <= bound <= 2**32`."""
        if not 1 <= bound <= 1 << 32:
            raise ValueError(f"bound {bound} is outside 1..2**32")
        limit = (1 << 32) - ((1 << 32) % bound)
        while True:
            value = self._word()
            if value < limit:
                return value % bound

    def between(self, low: int, high: int) -> int:
        """A uniform integer in `[low, high]`."""
        return low + self.below(high - low + 1)

    def pick(self, options: Sequence[T]) -> T:
        """One element of a non-empty sequence."""
        return options[self.below(len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """A copy in uniformly random order (Fisher–Yates)."""
        out = list(options)
        for last in range(len(out) - 1, 0, -1):
            other = self.below(last + 1)
            out[last], out[other] = out[other], out[last]
        return out

    def _word(self) -> int:
        if len(self._buffer) < 4:
            message = f"{self._label}{self._counter}".encode()
            self._buffer += self._digest(self._key, message, "sha256")
            self._counter += 1
        word, self._buffer = self._buffer[:4], self._buffer[4:]
        return int.from_bytes(word, "big")
