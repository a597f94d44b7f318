"""Raw times of samples, and the formulas that turn them into metrics.

A sample that cannot be trusted is refused with a reason code; it never becomes a
number. Pure: records in, floats out; standard library and numpy only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.errors import HarnessError
from harness.metrics import Floats

_NS = 1e9
_LOAD_PHASES = ("start", "import", "weights", "compile", "first")


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
    end_to_end_s: float
    itl_s: Floats
    tpot_s: float | None = None
    decode_tok_per_s: float | None = None


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
    metrics = _request_metrics(
        asked,
        n,
        ids_ns=clock.ids_ns,
        first_ns=int(clock.token_ns[0]),
        last_ns=int(clock.token_ns[-1]),
        end_ns=clock.end_ns,
    )
    return RequestTimes(**metrics, itl_s=clock.steps_ns / _NS)


def _request_metrics(
    asked: Any, n: int, *, ids_ns: Any, first_ns: Any, last_ns: Any, end_ns: Any
) -> dict[str, Any]:
    """The formulas, of one request's whole numbers or of arrays of them."""
    found = {
        "ttft_s": first_ns / _NS,
        "prefill_tok_per_s": asked / ((first_ns - ids_ns) / _NS),
        "end_to_end_s": end_ns / _NS,
    }
    if n > 1:
        found["tpot_s"] = (last_ns - first_ns) / _NS / (n - 1)
        found["decode_tok_per_s"] = 1 / found["tpot_s"]
    return found


def times_of_requests(
    samples: Sequence[Mapping[str, Any]], *, submitted: int, outputs: int, depth: int
) -> dict[str, Floats] | None:
    """What `request_times` gives for each of these samples, read as columns; None where it
    refuses any of them.

    Returns:
        By metric `[requests]`, gaps between tokens `[requests, outputs - 1]`; metrics that
        need a second output token are left out without one.
    """
    names = ("submitted", "evaluated", "decoded", "ids_ns", "end_ns")
    columns = [[sample.get(name) for sample in samples] for name in names]
    if depth:
        columns.append([sample.get("depth_evaluated") for sample in samples])
    lists = [sample.get("token_ns") for sample in samples]
    if set(map(type, lists)) != {list} or set(map(len, lists)) != {outputs}:  # type: ignore[arg-type]
        return None
    flat = list(chain.from_iterable(lists))  # type: ignore[arg-type]
    if not flat or not {int}.issuperset(map(type, chain(flat, *columns))):
        return None
    try:
        token_ns = np.array(flat, dtype=np.int64).reshape(-1, outputs)
        asked, evaluated, decoded, ids_ns, end_ns, *at_depth = np.array(columns, dtype=np.int64)
    except OverflowError:
        return None
    steps_ns = token_ns[:, 1:] - token_ns[:, :-1]
    first_ns, last_ns = token_ns[:, 0], token_ns[:, -1]
    sound = (asked > 0) & (asked == submitted) & (evaluated == asked) & (decoded == outputs - 1)
    sound &= (ids_ns >= 0) & (ids_ns < token_ns.min(axis=1)) & (end_ns >= last_ns)
    for in_cache in at_depth:
        sound &= in_cache == depth
    if not (sound.all() and (steps_ns > 0).all()):
        return None
    found = _request_metrics(
        asked, outputs, ids_ns=ids_ns, first_ns=first_ns, last_ns=last_ns, end_ns=end_ns
    )
    return found | ({"itl_s": steps_ns / _NS} if outputs > 1 else {})


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
    # The least, not the first: differences of moments before t0 could leave 64 bits.
    if int(moments.min()) <= ids_ns or end_ns < int(moments[-1]) or not grows:
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
