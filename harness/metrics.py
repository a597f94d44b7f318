"""The metric registry, and the formulas that turn raw times into metrics.

Every metric stands here once: id, unit (SI base), direction and how people read it.
A sample that cannot be trusted is refused with a reason code; it never becomes a
number. Pure: records in, floats out; standard library and numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.errors import HarnessError

Direction = Literal["higher", "lower"]
Floats = npt.NDArray[np.float64]

_NS = 1e9
ITL_PERCENTILES = (50, 90, 95, 99)
TAIL_SAMPLES = 100
"""Percentiles above the median are reported from this many samples on."""
_LOAD_PHASES = ("start", "import", "weights", "compile", "first")


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


class SampleRefusedError(HarnessError):
    """A raw sample that must not become a number; `reason` says why."""

    default_reason = "bad_sample"


class RequestTimes(NamedTuple):
    """Metrics of one request, in s and tok/s.

    `tpot_s` and `decode_tok_per_s` are None for a single output token; `itl_s` then
    is empty.
    """

    ttft_s: float
    prefill_tok_per_s: float
    tpot_s: float | None
    decode_tok_per_s: float | None
    end_to_end_s: float
    itl_s: Floats


class ChatTimes(NamedTuple):
    """Metrics of one chat answer, named as in the registry, in s, tok/s, char/s and B/s.

    The rates are None for a single output token.
    """

    task_tokenise_s: float
    task_ttft_s: float
    task_first_s: float
    task_decode_tok_per_s: float | None
    task_end_to_end_s: float
    task_char_per_s: float | None
    task_byte_per_s: float | None
    task_output_tok: int


class _Clock(NamedTuple):
    """Moments of one answer in ns after t0: ids ready, tokens `[n]`, text available; and the
    steps between its tokens, `[n - 1]`.
    """

    ids_ns: int
    token_ns: npt.NDArray[np.int64]
    end_ns: int
    steps_ns: npt.NDArray[np.int64]

    @property
    def tpot_s(self) -> float | None:
        """(t_n - t_1) / (n - 1), None for a single token."""
        n = self.token_ns.size
        return int(self.token_ns[-1] - self.token_ns[0]) / _NS / (n - 1) if n > 1 else None


def request_times(
    sample: Mapping[str, Any],
    *,
    submitted: int | None = None,
    outputs: int | None = None,
    depth: int = 0,
) -> RequestTimes:
    """Metrics of a latency sample (definitions: docs/metrics.md).

    TTFT = t1 - t0; prefill = p / (t1 - tk); ITL = t_i - t_(i-1) for i = 2…n;
    TPOT = (t_n - t_1) / (n - 1); decode = 1 / TPOT.

    Args:
        sample: `ids_ns`, `token_ns`, `end_ns`, `submitted`, `evaluated`, `decoded`, and
            `depth_evaluated` where there is a depth; ns after t0.
        submitted: prompt tokens that the case asks for; None = any.
        outputs: output tokens that the case asks for; None = any.
        depth: tokens that the case wants in the cache before the prompt.

    Raises:
        SampleRefusedError: `prompt_not_evaluated`, `wrong_workload`, `wrong_token_count`
            or `bad_times`.
    """
    asked = require_evaluated(sample)
    if depth and (found := whole(sample, "depth_evaluated", least=0)) != depth:
        raise SampleRefusedError(
            f"{found} of {depth} tokens were in the cache before the prompt",
            reason="prompt_not_evaluated",
        )
    clock = _read_clock(sample)
    n = clock.token_ns.size
    if submitted not in {None, asked} or outputs not in {None, n}:
        raise SampleRefusedError(
            f"{asked} prompt and {n} output tokens; the case asks for {submitted} and {outputs}",
            reason="wrong_workload",
        )
    require_decoded(sample, n - 1)
    first, tpot_s = int(clock.token_ns[0]), clock.tpot_s
    return RequestTimes(
        ttft_s=first / _NS,
        prefill_tok_per_s=asked / ((first - clock.ids_ns) / _NS),
        tpot_s=tpot_s,
        decode_tok_per_s=1 / tpot_s if tpot_s else None,
        end_to_end_s=clock.end_ns / _NS,
        itl_s=clock.steps_ns / _NS,
    )


def chat_times(sample: Mapping[str, Any]) -> ChatTimes:
    """Metrics of a chat answer; its end token is not one of its output tokens.

    Rates of text are over te - t1: characters do not depend on the tokeniser.

    Raises:
        SampleRefusedError: `no_output` (the answer has no token), `prompt_not_evaluated`,
            `wrong_token_count` or `bad_times`.
    """
    require_evaluated(sample)
    if sample.get("token_ns") == []:
        raise SampleRefusedError("the answer is empty", reason="no_output")
    clock = _read_clock(sample)
    n, first = clock.token_ns.size, int(clock.token_ns[0])
    # The end token, too, came out of a step.
    require_decoded(sample, n if sample.get("stop") == "end" else n - 1)
    tpot_s = clock.tpot_s
    text_s = (clock.end_ns - first) / _NS
    return ChatTimes(
        task_tokenise_s=clock.ids_ns / _NS,
        task_ttft_s=first / _NS,
        task_first_s=(first - clock.ids_ns) / _NS,
        task_decode_tok_per_s=1 / tpot_s if tpot_s else None,
        task_end_to_end_s=clock.end_ns / _NS,
        task_char_per_s=whole(sample, "chars", least=0) / text_s if tpot_s else None,
        task_byte_per_s=whole(sample, "bytes", least=0) / text_s if tpot_s else None,
        task_output_tok=n,
    )


def require_evaluated(sample: Mapping[str, Any]) -> int:
    """Prompt tokens of a request, all of which the engine evaluated.

    Raises:
        SampleRefusedError: `prompt_not_evaluated` or `bad_times`.
    """
    asked = whole(sample, "submitted", least=1)
    evaluated = whole(sample, "evaluated", least=0)
    if evaluated != asked:
        raise SampleRefusedError(
            f"{evaluated} of {asked} prompt tokens were evaluated", reason="prompt_not_evaluated"
        )
    return asked


def require_decoded(sample: Mapping[str, Any], steps: int) -> None:
    """Check that every step evaluated one token: a chunk is not a token.

    Raises:
        SampleRefusedError: `wrong_token_count`, or `bad_times` without a count.
    """
    decoded = whole(sample, "decoded", least=0)
    if decoded != steps:
        raise SampleRefusedError(
            f"the engine counted {decoded} tokens in {steps} steps", reason="wrong_token_count"
        )


def load_times(sample: Mapping[str, Any]) -> dict[str, float]:
    """Start of the process to ready as `load_s`, and the phases that the engine can tell, in s.

    Raises:
        SampleRefusedError: `bad_times`.
    """
    ready_ns = whole(sample, "ready_ns", least=1)
    times = {"load_s": ready_ns / _NS}
    for phase in _LOAD_PHASES:
        if sample.get(f"{phase}_ns") is not None:
            part_ns = whole(sample, f"{phase}_ns", least=0)
            if part_ns > ready_ns:
                raise SampleRefusedError(f"{phase} took longer than loading", reason="bad_times")
            times[f"load_{phase}_s"] = part_ns / _NS
    return times


def kernel_tok_per_s(sample: Mapping[str, Any]) -> float:
    """Tokens a second of one kernel pass, as llama-bench counts them.

    Raises:
        SampleRefusedError: `prompt_not_evaluated` or `bad_times`.
    """
    tokens = whole(sample, "tokens", least=1)
    evaluated = sample.get("evaluated", tokens)
    if evaluated != tokens:
        raise SampleRefusedError(
            f"{evaluated} of {tokens} tokens were evaluated", reason="prompt_not_evaluated"
        )
    return tokens / (whole(sample, "elapsed_ns", least=1) / _NS)


def kernel_rates(samples: Iterable[Mapping[str, Any]], case: str) -> list[float]:
    """Rates of all passes of one case, as `kernel_tok_per_s`."""
    return [
        kernel_tok_per_s(sample)
        for sample in samples
        if sample.get("kind") == "kernel" and sample.get("case") == case
    ]


def is_share(metric: str) -> bool:
    """Whether a registered metric is a part of something: 1 is all of it."""
    found = METRICS[metric]
    return found.show is show_share and found.direction == "higher"


def suite_of(metric: str) -> str:
    """The suite that measures a registered metric."""
    return METRICS[metric].suite


def percentile(values: Floats, q: float) -> float:
    """Percentile with linear interpolation (Hyndman and Fan 1996, definition 7)."""
    return float(np.percentile(values, q))


def whole(sample: Mapping[str, Any], key: str, *, least: int) -> int:
    """A field that must be an integer of at least `least`.

    Raises:
        SampleRefusedError: `bad_times`: missing, NaN, a float, negative, or 0 where
            a duration must be positive.
    """
    value = sample.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SampleRefusedError(
            f"{key} is {value!r}; it must be an integer of at least {least}", reason="bad_times"
        )
    return value


def _read_clock(sample: Mapping[str, Any]) -> _Clock:
    """Moments that grow; anything else is refused."""
    ids_ns = whole(sample, "ids_ns", least=0)
    moments = _moments(sample.get("token_ns"))
    end_ns = whole(sample, "end_ns", least=1)
    steps_ns = moments[1:] - moments[:-1]
    grows = not steps_ns.size or int(steps_ns.min()) > 0
    if int(moments[0]) <= ids_ns or end_ns < int(moments[-1]) or not grows:
        raise SampleRefusedError("times do not grow", reason="bad_times")
    return _Clock(ids_ns, moments, end_ns, steps_ns)


def _moments(values: Any) -> npt.NDArray[np.int64]:
    """Moments in ns as int64 `[n]`, n ≥ 1; floats (and so NaN) are refused."""
    if isinstance(values, list) and values:
        try:
            moments = np.asarray(values)
        except ValueError:
            moments = np.empty(0)
        # Signed integers; their width differs between platforms before numpy 2.
        if moments.ndim == 1 and moments.dtype.kind == "i":
            return moments.astype(np.int64, copy=False)
    raise SampleRefusedError("token_ns must be a list of integers", reason="bad_times")
