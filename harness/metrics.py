"""The metric registry.

Every metric stands here once: id, unit (SI base), direction and how people read it. What
turns raw times into metrics: `harness.times`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Direction = Literal["higher", "lower"]
Floats = npt.NDArray[np.float64]

ITL_PERCENTILES = (50, 90, 95, 99)
TAIL_SAMPLES = 100
"""Percentiles above the median are reported from this many samples on."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        id: name in records and scorecards; carries the unit.
        suite: the one that measures it: a metric never mixes two kinds of workload.
        unit: SI base unit as written in scorecards; `1` for a share.
        direction: which values are better.
        show: value → text for people.
        definition: one line.
    """

    id: str
    suite: str
    unit: str
    direction: Direction
    show: Callable[[float], str]
    definition: str


def _three(value: float) -> str:
    """Three significant digits without an exponent."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.2e}")  # 9.996 has one decimal, for it is shown as 10.0
    decimals = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{value:.{decimals}f}"


def _scaled(unit: str) -> Callable[[float], str]:
    """`850 ms`, `1.25 s`: three significant digits, the unit that avoids leading zeros."""

    def show(value: float) -> str:
        for prefix, factor in (("", 1.0), ("m", 1e3)):
            if float(f"{abs(value) * factor:.3g}") >= 1:  # 0.9999 s is 1.00 s, not 1000 ms
                return f"{_three(value * factor)} {prefix}{unit}"
        return f"{_three(value * 1e6)} µ{unit}"

    return show


show_seconds = _scaled("s")


def show_bytes(value: float) -> str:
    """Binary units, as operating systems show memory."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(value) >= size:
            return f"{_three(value / size)} {unit}"
    return f"{value:.0f} B"


def show_share(value: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * value:.1f} %".replace("-0.0 %", "0.0 %")


def _followed_by(suffix: str) -> Callable[[float], str]:
    return lambda value: _three(value) + suffix


_UNITS: Mapping[str, tuple[str, Direction, Callable[[float], str]]] = {
    "s": ("s", "lower", show_seconds),
    "B": ("B", "lower", show_bytes),
    "B/tok": ("B/tok", "lower", show_bytes),
    "J": ("J", "lower", _scaled("J")),
    "J/tok": ("J/tok", "lower", _scaled("J")),
    "tok": ("tok", "higher", _three),
    "tok/s": ("tok/s", "higher", _followed_by(" tok/s")),
    "char/s": ("char/s", "higher", _followed_by(" /s")),
    "B/s": ("B/s", "higher", _followed_by(" /s")),
    "share": ("1", "higher", show_share),
    "ratio": ("1", "higher", _followed_by("x")),
    "s kept": ("s", "higher", show_seconds),
    "bit/B": ("bit/B", "lower", _followed_by(" bit/B")),
    "nat": ("nat", "lower", _followed_by(" nat")),
    "perplexity": ("1", "lower", _three),
    "difference": ("1", "lower", show_share),
}
"""Kind of figure → unit in scorecards, which values are better, text for people."""

_KLD = "divergence from the family's reference"
_TEXT = "of the answer over the time from its first token to its text"
_BY_SUITE: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "latency": (
        ("load_s", "s", "start of the process to ready for a request"),
        ("load_start_s", "s", "part of load_s: start of the process and of Python"),
        ("load_import_s", "s", "part of load_s: importing the engine"),
        ("load_weights_s", "s", "part of load_s: reading the weights"),
        ("load_compile_s", "s", "part of load_s: making the context or compiling"),
        ("load_first_s", "s", "part of load_s: the first inference"),
        ("ttft_s", "s", "prompt in memory to first output token"),
        (
            "prefill_tok_per_s",
            "tok/s",
            "prompt tokens evaluated over the time from token ids to first output token",
        ),
        ("itl_s", "s", "time between output tokens: median, requests pooled"),
        *(
            (f"itl_s_p{q}", "s", f"time between output tokens: percentile {q}, requests pooled")
            for q in ITL_PERCENTILES
        ),
        ("tpot_s", "s", "time per output token after the first, a request"),
        ("decode_tok_per_s", "tok/s", "1 / tpot_s of each request"),
        ("end_to_end_s", "s", "prompt in memory to final text"),
        (
            "mbu",
            "share",
            "(weight bytes read + key-value bytes) x decode rate / measured read bandwidth",
        ),
        ("mfu", "share", "2 x matrix parameters evaluated / prefill time / measured FLOP/s (fp32)"),
    ),
    "task": (
        ("task_tokenise_s", "s", "chat prompt text in memory to token ids ready"),
        ("task_ttft_s", "s", "chat prompt in memory to first output token"),
        ("task_first_s", "s", "token ids of a chat prompt ready to first output token"),
        ("task_decode_tok_per_s", "tok/s", "1 / time per output token of each chat answer"),
        ("task_end_to_end_s", "s", "chat prompt in memory to final text"),
        ("task_char_per_s", "char/s", f"Unicode characters {_TEXT}"),
        ("task_byte_per_s", "B/s", f"UTF-8 bytes {_TEXT}"),
        ("task_output_tok", "tok", "tokens of a chat answer"),
        ("length_ratio", "ratio", "mean length of chat answers in characters over the reference's"),
    ),
    "kernel": (
        ("kernel_pp_tok_per_s", "tok/s", "prompt processing, kernel mode"),
        ("kernel_tg_tok_per_s", "tok/s", "token generation, kernel mode"),
    ),
    "sustained": (
        (
            "sustained_ratio",
            "share",
            "median decode rate of the last minute over that of the first",
        ),
        (
            "sustained_above_90_s",
            "s kept",
            (
                "time until the decode rate stays below 90 % of the first minute's; the whole "
                "duration where it never does"
            ),
        ),
    ),
    "energy": (
        ("energy_j", "J", "energy of a request above the idle power"),
        ("energy_j_per_tok", "J/tok", "energy of a request over its output tokens"),
    ),
    "memory": (
        ("peak_resident_bytes", "B", "peak resident memory of the whole worker"),
        (
            "runtime_resident_bytes",
            "B",
            "peak of the same process before its engine is loaded; included in the peak",
        ),
        ("peak_anon_bytes", "B", "largest sample of private memory"),
        ("peak_file_bytes", "B", "largest sample of file-backed memory"),
        ("peak_shmem_bytes", "B", "largest sample of shared memory"),
        (
            "available_fall_bytes",
            "B",
            "what the machine had less of than before the engine: a cross-check, all programs' own",
        ),
        (
            "kv_growth_bytes_per_tok",
            "B/tok",
            "memory that a token of context takes, fitted over the peaks of all contexts",
        ),
    ),
    "accuracy": (
        (
            "accuracy",
            "share",
            "(share right - c) / (1 - c): mean over a suite's languages, then over suites",
        ),
        ("accuracy_raw", "share", "share right: mean over a suite's languages, then over suites"),
        ("accuracy_ko", "share", "accuracy of the Korean tasks alone"),
        ("accuracy_en", "share", "accuracy of the English tasks alone"),
        ("accuracy_ratio", "ratio", "accuracy over the reference's"),
    ),
    "language": (
        ("bits_per_byte", "bit/B", "-log2 p of a text over its UTF-8 bytes"),
        (
            "perplexity",
            "perplexity",
            "exp of -ln p a token, as llama-perplexity scores; of one tokeniser only",
        ),
    ),
    "fidelity": (
        ("kld_nat", "nat", f"{_KLD}: mean over tokens, a lower bound"),
        ("kld_nat_p50", "nat", f"{_KLD}: median over tokens"),
        ("kld_nat_p99", "nat", f"{_KLD}: percentile 99"),
        ("top1_agreement", "share", "share of tokens with the family reference's most likely one"),
        ("delta_p_rms", "difference", "root mean square change of the true token's probability"),
        ("bits_per_byte_change", "bit/B", "bits per byte less the family reference's"),
    ),
}
"""Id, kind of figure and definition of every metric, by the suite that measures it."""
METRICS: Mapping[str, Metric] = {
    id_: Metric(id_, suite, *_UNITS[kind], definition)
    for suite, rows in _BY_SUITE.items()
    for id_, kind, definition in rows
}


def is_share(metric: str) -> bool:
    """Whether a registered metric is a part of something: 1 is all of it."""
    found = METRICS[metric]
    return found.show is show_share and found.direction == "higher"


def suite_of(metric: str) -> str:
    """The suite that measures a registered metric."""
    return METRICS[metric].suite
