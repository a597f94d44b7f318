"""The same samples as other tools print them, and what other tools printed, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


def _our_case(test: str) -> str:
    """Our name of a test that llama-bench calls `tg128 @ d512`."""
    return test.replace(" @ d", "@d")


class Bench(NamedTuple):
    """One test as llama-bench prints it: mean and standard deviation, in tok/s."""

    test: str
    tok_per_s: float
    stddev: float
    n: int

    @property
    def case(self) -> str:
        """Our name of the test."""
        return _our_case(self.test)


class Imported(NamedTuple):
    """One test from a file of llama-bench, in tok/s; it was measured apart and is never ranked.

    Attributes:
        model: of ours whose file it is; empty where it is none's.
        n: repetitions; None where the file does not say.
    """

    model: str
    file: str
    test: str
    tok_per_s: float
    stddev: float
    n: int | None
    threads: int
    build: str

    @property
    def case(self) -> str:
        """Our name of the test."""
        return _our_case(self.test)


class Client(NamedTuple):
    """MLPerf Client's two figures: geometric means over cases of the mean of each."""

    ttft_s: float
    tok_per_s: float
    n: int


class LocalScore(NamedTuple):
    """LocalScore's number and the three means that it is made of."""

    score: float
    prompt_tok_per_s: float
    output_tok_per_s: float
    ttft_s: float
    n: int


class Spread(NamedTuple):
    """AIPerf's columns; the tail is None below 100 requests."""

    avg: float | None
    p50: float | None
    p90: float | None
    p99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compat:
    """What other tools would print of the same samples.

    Attributes:
        aiperf: its metrics in s by id; `user_tok_per_s` is its output rate a user.
    """

    llama_bench: tuple[Bench, ...] = ()
    mlperf_client: Client | None = None
    aiperf: Mapping[str, Spread]
    user_tok_per_s: float | None = None
    localscore: LocalScore | None = None
