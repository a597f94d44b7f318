"""The metric registry, and the formulas that turn raw times into metrics.

Every metric stands here once: id, unit (SI base), direction and how people read it.
A sample that cannot be trusted is refused with a reason code; it never becomes a
number. Pure: records in, floats out; standard library and numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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


def show_seconds(value: float) -> str:
    """`850 ms`, `1.25 s`: three significant digits, the unit that avoids leading zeros."""
    if abs(value) >= 1:
        return f"{_three(value)} s"
    if abs(value) >= 1e-3:
        return f"{_three(value * 1e3)} ms"
    return f"{_three(value * 1e6)} µs"


def show_bytes(value: float) -> str:
    """Binary units, as operating systems show memory."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(value) >= size:
            return f"{_three(value / size)} {unit}"
    return f"{value:.0f} B"


def show_rate(value: float) -> str:
    """Tokens a second."""
    return f"{_three(value)} tok/s"


def show_share(value: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * value:.1f} %"


def show_ratio(value: float) -> str:
    """A ratio to the reference; above 1 is better."""
    return f"{_three(value)}x"


def _three(value: float) -> str:
    """Three significant digits without an exponent."""
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def show_joules(value: float) -> str:
    """Joules; a million times less in µJ."""
    for unit, size in (("J", 1.0), ("mJ", 1e-3)):
        if abs(value) >= size:
            return f"{_three(value / size)} {unit}"
    return f"{_three(value * 1e6)} µJ"


def show_text_rate(value: float) -> str:
    """Characters or bytes a second."""
    return f"{_three(value)} /s"


def show_count(value: float) -> str:
    """A count with three significant digits."""
    return _three(value)


def _seconds(id_: str, suite: str, definition: str) -> Metric:
    return Metric(id_, suite, "s", "lower", show_seconds, definition)


def _rate(id_: str, suite: str, definition: str) -> Metric:
    return Metric(id_, suite, "tok/s", "higher", show_rate, definition)


def _bytes(id_: str, definition: str, unit: str = "B") -> Metric:
    return Metric(id_, "memory", unit, "lower", show_bytes, definition)


def _share(id_: str, suite: str, definition: str) -> Metric:
    return Metric(id_, suite, "1", "higher", show_share, definition)


_ALL = (
    _seconds("load_s", "latency", "start of the process to ready for a request"),
    _seconds("load_start_s", "latency", "part of load_s: start of the process and of Python"),
    _seconds("load_import_s", "latency", "part of load_s: importing the engine"),
    _seconds("load_weights_s", "latency", "part of load_s: reading the weights"),
    _seconds("load_compile_s", "latency", "part of load_s: making the context or compiling"),
    _seconds("load_first_s", "latency", "part of load_s: the first inference"),
    _seconds("tokenise_s", "latency", "prompt text in memory to token ids ready"),
    _seconds("ttft_s", "latency", "prompt in memory to first output token"),
    _rate(
        "prefill_tok_per_s",
        "latency",
        "prompt tokens evaluated over the time from token ids to first output token",
    ),
    _seconds("itl_s", "latency", "time between output tokens: median, requests pooled"),
    *(
        _seconds(
            f"itl_s_p{q}", "latency", f"time between output tokens: percentile {q}, requests pooled"
        )
        for q in ITL_PERCENTILES
    ),
    _seconds("tpot_s", "latency", "time per output token after the first, a request"),
    _rate("decode_tok_per_s", "latency", "1 / tpot_s of each request"),
    _seconds("end_to_end_s", "latency", "prompt in memory to final text"),
    _share(
        "mbu",
        "latency",
        "(weight bytes read + key-value bytes) x decode rate / measured read bandwidth",
    ),
    _share(
        "mfu",
        "latency",
        "2 x matrix parameters evaluated / prefill time / measured FLOP/s (fp32)",
    ),
    _seconds("task_tokenise_s", "task", "chat prompt text in memory to token ids ready"),
    _seconds("task_ttft_s", "task", "chat prompt in memory to first output token"),
    _rate("task_decode_tok_per_s", "task", "1 / time per output token of each chat answer"),
    _seconds("task_end_to_end_s", "task", "chat prompt in memory to final text"),
    Metric(
        "task_char_per_s",
        "task",
        "char/s",
        "higher",
        show_text_rate,
        "Unicode characters of the answer over the time from its first token to its text",
    ),
    Metric(
        "task_byte_per_s",
        "task",
        "B/s",
        "higher",
        show_text_rate,
        "UTF-8 bytes of the answer over the time from its first token to its text",
    ),
    Metric("task_output_tok", "task", "tok", "higher", show_count, "tokens of a chat answer"),
    Metric(
        "length_ratio",
        "task",
        "1",
        "higher",
        show_ratio,
        "mean length of chat answers in characters over the reference's",
    ),
    _rate("kernel_pp_tok_per_s", "kernel", "prompt processing, kernel mode"),
    _rate("kernel_tg_tok_per_s", "kernel", "token generation, kernel mode"),
    _share(
        "sustained_ratio",
        "sustained",
        "median decode rate of the last minute over that of the first",
    ),
    Metric(
        "sustained_above_90_s",
        "sustained",
        "s",
        "higher",
        show_seconds,
        "time until the decode rate stays below 90 % of the first minute's; the whole "
        "duration where it never does",
    ),
    Metric(
        "energy_j", "energy", "J", "lower", show_joules, "energy of a request above the idle power"
    ),
    Metric(
        "energy_j_per_tok",
        "energy",
        "J/tok",
        "lower",
        show_joules,
        "energy of a request over its output tokens",
    ),
    _bytes("peak_resident_bytes", "peak resident memory of the whole worker"),
    _bytes(
        "runtime_resident_bytes",
        "peak of the same process before its engine is loaded; included in the peak",
    ),
    _bytes("peak_anon_bytes", "largest sample of private memory"),
    _bytes("peak_file_bytes", "largest sample of file-backed memory"),
    _bytes("peak_shmem_bytes", "largest sample of shared memory"),
    _bytes(
        "kv_growth_bytes_per_tok",
        "memory that a token of context takes, fitted over the peaks of all contexts",
        "B/tok",
    ),
    _share("accuracy", "accuracy", "mean over tasks of (share right - c) / (1 - c)"),
    _share("accuracy_raw", "accuracy", "mean over tasks of the share right"),
    Metric(
        "accuracy_ratio",
        "accuracy",
        "1",
        "higher",
        show_ratio,
        "accuracy over the reference's",
    ),
)
METRICS: Mapping[str, Metric] = {metric.id: metric for metric in _ALL}


class SampleRefusedError(HarnessError):
    """A raw sample that must not become a number; `reason` says why."""

    default_reason = "bad_sample"


class RequestTimes(NamedTuple):
    """Metrics of one request, in s and tok/s.

    `tpot_s` and `decode_tok_per_s` are None for a single output token; `itl_s` then
    is empty.
    """

    tokenise_s: float
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
    task_decode_tok_per_s: float | None
    task_end_to_end_s: float
    task_char_per_s: float | None
    task_byte_per_s: float | None
    task_output_tok: int


class _Clock(NamedTuple):
    """Moments of one answer in ns after t0: ids ready, tokens `[n]`, text available."""

    ids_ns: int
    token_ns: npt.NDArray[np.int64]
    end_ns: int

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
        tokenise_s=clock.ids_ns / _NS,
        ttft_s=first / _NS,
        prefill_tok_per_s=asked / ((first - clock.ids_ns) / _NS),
        tpot_s=tpot_s,
        decode_tok_per_s=1 / tpot_s if tpot_s else None,
        end_to_end_s=clock.end_ns / _NS,
        itl_s=(clock.token_ns[1:] - clock.token_ns[:-1]) / _NS,
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
    clock = _Clock(
        ids_ns=whole(sample, "ids_ns", least=0),
        token_ns=_moments(sample.get("token_ns")),
        end_ns=whole(sample, "end_ns", least=1),
    )
    moments = clock.token_ns
    grows = moments.size == 1 or int((moments[1:] - moments[:-1]).min()) > 0
    if int(moments[0]) <= clock.ids_ns or clock.end_ns < int(moments[-1]) or not grows:
        raise SampleRefusedError("times do not grow", reason="bad_times")
    return clock


def _moments(values: Any) -> npt.NDArray[np.int64]:
    """Moments in ns as int64 `[n]`, n ≥ 1; floats (and so NaN) are refused."""
    if isinstance(values, list) and values:
        try:
            moments = np.asarray(values)
        except ValueError:
            moments = np.empty(0)
        # Signed integers; their width differs between platforms before numpy 2.
        if moments.ndim == 1 and moments.dtype.kind == "i":
            return moments.astype(np.int64)
    raise SampleRefusedError("token_ns must be a list of integers", reason="bad_times")
