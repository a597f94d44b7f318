"""How near a model comes to the machine's limits: MBU and MFU. Pure.

The limits are measured in the same session by a calibration kernel. Where a limit or the
model's own counts are unknown there is no figure, never a 0. A share above 1 is possible
and shown: an int8 engine beats a roof of fp32 arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from harness.cases import Case
from harness.metrics import Floats
from harness.scoring.observe import Observed
from harness.scoring.reader import Series


class Roof(NamedTuple):
    """What the machine can do: bytes read a second, fp32 operations a second."""

    read_bytes_per_s: float
    fp32_flop_per_s: float


def roof_of(measured: Iterable[Mapping[str, Any] | None]) -> Roof:
    """The best of the calibrations before and after: a limit is a maximum; 0 = unknown."""

    def best(name: str) -> float:
        values = [found.get(name) for found in measured if found]
        return max((float(value) for value in values if value), default=0.0)

    return Roof(best("read_bytes_per_s"), best("fp32_flop_per_s"))


def mbu(
    decode_tok_per_s: Floats,
    *,
    read_bytes: float,
    kv_bytes: float,
    read_bytes_per_s: float,
) -> Floats:
    """Share of the memory bandwidth that decoding uses: bytes of a token x rate / bandwidth.

    Args:
        read_bytes: of weights, a token. kv_bytes: of the key-value cache, a token, at the
            mean depth. Both in SI bytes: taking GiB for GB understates MBU by 7 %.
    """
    return (read_bytes + kv_bytes) * decode_tok_per_s / read_bytes_per_s


def mfu(
    prefill_tok_per_s: Floats,
    *,
    prompt_tokens: int,
    body_parameters: float,
    head_parameters: float,
    flop_per_s: float,
) -> Floats:
    """Share of the arithmetic that a prompt's matrices use: 2 (body p + head) / time / FLOP/s.

    The head counts once: only the prompt's last row is asked for.
    """
    operations = 2 * (body_parameters * prompt_tokens + head_parameters)
    return operations * (prefill_tok_per_s / prompt_tokens) / flop_per_s


def utilisation(
    seen: Observed, cases: Mapping[str, Case], roof: Roof
) -> dict[tuple[str, str], Series]:
    """`mbu` and `mfu` of each latency case, as far as they are known."""
    weights = seen.model.get("weights") or {}
    kv_bytes_per_tok = (seen.engine.get("load") or {}).get("kv_bytes_per_token")
    read, body, head = (
        weights.get(name) for name in ("read_bytes", "body_parameters", "head_parameters")
    )
    out: dict[tuple[str, str], Series] = {}
    for (name, metric), series in seen.series.items():
        case = cases.get(name)
        if case is None:
            continue
        if metric == "decode_tok_per_s" and read and kv_bytes_per_tok and roof.read_bytes_per_s:
            # Step i, 1 … n - 1, reads depth + p + i tokens: the mean is depth + p + n / 2.
            depth = case.depth_tokens + case.prompt_tokens + case.output_tokens / 2
            share = partial(
                mbu,
                read_bytes=read,
                kv_bytes=kv_bytes_per_tok * depth,
                read_bytes_per_s=roof.read_bytes_per_s,
            )
            out[name, "mbu"] = Series(series.suite, tuple(map(share, series.processes)))
        elif metric == "prefill_tok_per_s" and body and roof.fp32_flop_per_s:
            share = partial(
                mfu,
                prompt_tokens=case.prompt_tokens,
                body_parameters=body,
                head_parameters=head or 0,
                flop_per_s=roof.fp32_flop_per_s,
            )
            out[name, "mfu"] = Series(series.suite, tuple(map(share, series.processes)))
    return out
