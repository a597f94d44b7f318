"""The same samples as other tools print them, for comparison with published figures. Pure.

llama-bench: mean and sample standard deviation of kernel passes. MLPerf Client: geometric
mean over cases of mean times to first token and mean rates of the tokens after it. AIPerf:
mean and percentiles of a request's own figures. LocalScore: one number of three means. None
of them enters a score.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from harness.metrics import TAIL_SAMPLES, Floats
from harness.scoring.observe import Observed
from harness.scoring.rules import Rules
from harness.stats import quantile

Json = dict[str, Any]


def compat(seen: Observed, rules: Rules) -> Json:
    """What each tool would print, by its name; empty or None where nothing was measured."""
    scored = rules.scored("latency")
    cases = [case for case in scored if (case, "ttft_s") in seen.series]
    decoding = [case for case in cases if (case, "decode_tok_per_s") in seen.series]
    # Half of the cases would be another workload.
    whole = bool(scored) and decoding == scored
    return {
        "llama_bench": _llama_bench(seen),
        "mlperf_client": _mlperf_client(seen, decoding) if whole else None,
        "aiperf": _aiperf(seen, decoding) if whole else None,
        "localscore": _localscore(seen, decoding) if whole else None,
    }


def localscore(prompt_tok_per_s: float, output_tok_per_s: float, ttft_s: float) -> float:
    """`10 ∛(pp · tg · 1000/ttft_ms)`, as LocalScore's database has it; 1000/ttft_ms is 1/s."""
    return 10 * math.cbrt(prompt_tok_per_s * output_tok_per_s / ttft_s)


def _values(seen: Observed, case: str, metric: str) -> Floats:
    return np.hstack(seen.series[case, metric].processes)


def _llama_bench(seen: Observed) -> list[Json]:
    out = []
    for case, metric in seen.series:
        if metric.startswith("kernel_"):
            rates = _values(seen, case, metric)
            out.append(
                {
                    "test": case.replace("@d", " @ d"),
                    "tok_per_s": float(rates.mean()),
                    "stddev": float(rates.std(ddof=1)) if rates.size > 1 else 0.0,
                    "n": rates.size,
                }
            )
    return out


def _mlperf_client(seen: Observed, cases: list[str]) -> Json:
    ttft = [float(_values(seen, case, "ttft_s").mean()) for case in cases]
    rate = [float(_values(seen, case, "decode_tok_per_s").mean()) for case in cases]
    return {
        "ttft_s": math.exp(math.fsum(map(math.log, ttft)) / len(ttft)),
        "tok_per_s": math.exp(math.fsum(map(math.log, rate)) / len(rate)),
        "n": sum(_values(seen, case, "ttft_s").size for case in cases),
    }


def _aiperf(seen: Observed, cases: list[str]) -> Json:
    """Requests pooled. Inter-token latency is (request latency - TTFT) / (n - 1) there."""
    ttft, latency, itl = [], [], []
    for case in cases:
        first, end = _values(seen, case, "ttft_s"), _values(seen, case, "end_to_end_s")
        gaps = seen.series[case, "itl_s"].n // first.size
        ttft.append(first)
        latency.append(end)
        itl.append((end - first) / gaps)
    pooled = np.hstack(itl)
    return {
        "ttft_s": _spread(np.hstack(ttft)),
        "itl_s": _spread(pooled),
        "request_latency_s": _spread(np.hstack(latency)),
        "output_tok_per_s_per_user": float((1 / pooled).mean()),
    }


def _localscore(seen: Observed, cases: list[str]) -> Json:
    """Arithmetic means over cases of the mean of each, as it averages over its tests."""
    means = {
        metric: float(np.mean([_values(seen, case, metric).mean() for case in cases]))
        for metric in ("prefill_tok_per_s", "decode_tok_per_s", "ttft_s")
    }
    return {
        "score": localscore(*means.values()),
        "prompt_tok_per_s": means["prefill_tok_per_s"],
        "output_tok_per_s": means["decode_tok_per_s"],
        "ttft_s": means["ttft_s"],
        "n": sum(_values(seen, case, "ttft_s").size for case in cases),
    }


def _spread(values: Floats) -> Json:
    tail = values.size >= TAIL_SAMPLES
    return {
        "avg": float(values.mean()),
        "p50": float(quantile(values, 0.5)),
        "p90": float(quantile(values, 0.9)) if tail else None,
        "p99": float(quantile(values, 0.99)) if tail else None,
    }
