"""What the decode loop adds to the engine's own time, in µs a token.

Usage: python -m tests.perf.decode_overhead [--model ref-2m.q8_0.gguf] [--requests 40]

For each request of the latency suite: time between output tokens, less the time that
llama.cpp itself counted for evaluating a token (`llama_perf_context`: t_eval_ms / n_eval).
What is left is Python, the C calls and picking the token. The smaller the model, the
larger its share; the target is a median of at most 20 µs.
"""

from __future__ import annotations

import json
import platform
import statistics
from typing import NamedTuple

import click

from harness.backends.llama_cpp import LlamaCppBackend
from harness.models.reference import materialise
from harness.spec import BackendOptions
from harness.suites.base import fixed_prompt, no_collector
from harness.suites.latency import request

WARM_UPS = 5


class Tokens(NamedTuple):
    """Time of one output token of a request, in µs."""

    loop_us: float
    engine_us: float


def timed(backend: LlamaCppBackend, salt: str, prompt: int, output: int) -> Tokens:
    """One request: mean time between its tokens, by our clock and by the engine's."""
    ids = fixed_prompt(backend, prompt, salt)
    before = backend._perf(backend._handle)
    sample = request(backend, ids, output)
    after = backend._perf(backend._handle)
    # The prompt's tokens, two or more at once, have a counter of their own.
    evaluated = after.n_eval - before.n_eval
    if evaluated != output - 1:
        raise click.ClickException(f"{evaluated} of {output - 1} tokens were evaluated one by one")
    moments = sample["token_ns"]
    return Tokens(
        loop_us=(moments[-1] - moments[0]) / 1e3 / evaluated,
        engine_us=(after.t_eval_ms - before.t_eval_ms) * 1e3 / evaluated,
    )


@click.command()
@click.option("--model", default="ref-2m.q8_0.gguf", show_default=True)
@click.option("--requests", default=40, show_default=True, type=click.IntRange(20))
@click.option("--prompt", default=64, show_default=True, type=click.IntRange(2))
@click.option("--output", default=128, show_default=True, type=click.IntRange(2))
def main(model: str, requests: int, prompt: int, output: int) -> None:
    """Print the medians over requests as one JSON line."""
    backend = LlamaCppBackend()
    context = max(512, prompt + output + 8)
    options = BackendOptions(threads=1, threads_prefill=1, context=context)
    backend.load(materialise(model), options)
    with no_collector():
        # The first evaluated token of all is counted as none: warming up passes that too.
        for index in range(WARM_UPS):
            request(backend, fixed_prompt(backend, prompt, f"warm-up {index}"), output)
        found = [timed(backend, str(index), prompt, output) for index in range(requests)]
    backend.close()
    added_us = [tokens.loop_us - tokens.engine_us for tokens in found]
    low, _, high = statistics.quantiles(added_us, n=4)
    print(
        json.dumps(
            {
                "machine": platform.processor() or platform.machine(),
                "model": model,
                "requests": requests,
                "engine_us_per_tok": round(statistics.median(t.engine_us for t in found), 2),
                "added_us_per_tok": round(statistics.median(added_us), 2),
                "added_us_per_tok_quartiles": [round(low, 2), round(high, 2)],
            }
        )
    )


if __name__ == "__main__":
    main()
