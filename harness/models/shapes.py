"""Shapes of real networks, for random weights that cost what the network costs.

Facts only, from the networks' published configurations; parameter counts that follow from
a shape agree with the published size within 1 % (a test holds them). What differs from
network to network and changes no cost (which tokens end a text) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from harness.errors import SpecError, did_you_mean


class Shape(NamedTuple):
    """One network, in the order of the table's columns; all tie embedding and head."""

    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    rope_theta: float
    norm_epsilon: float
    context: int
    billions: float
    """Parameters, as published."""
    rope_factor: float
    """Of Llama's rotary scaling; 0 = none."""


_TABLE: Final = """
qwen2.5-0.5b          qwen2   24  896 14  2  64  4864 151936 1e6   1e-6  32768 0.494  0
qwen2.5-1.5b          qwen2   28 1536 12  2 128  8960 151936 1e6   1e-6  32768 1.544  0
qwen2.5-3b            qwen2   36 2048 16  2 128 11008 151936 1e6   1e-6  32768 3.086  0
qwen3-0.6b            qwen3   28 1024 16  8 128  3072 151936 1e6   1e-6  40960 0.596  0
qwen3-1.7b            qwen3   28 2048 16  8 128  6144 151936 1e6   1e-6  40960 1.720  0
llama-3.2-1b          llama   16 2048 32  8  64  8192 128256 5e5   1e-5 131072 1.236 32
llama-3.2-3b          llama   28 3072 24  8 128  8192 128256 5e5   1e-5 131072 3.213 32
smollm2-135m          llama   30  576  9  3  64  1536  49152 1e5   1e-5   8192 0.134  0
smollm2-360m          llama   32  960 15  5  64  2560  49152 1e5   1e-5   8192 0.362  0
smollm2-1.7b          llama   24 2048 32 32  64  8192  49152 1.3e5 1e-5   8192 1.711  0
kanana-2.1b           llama   32 1792 24  8 128  8064 128256 5e5   1e-5   8192 2.087  0
hyperclovax-seed-0.5b llama   24 1024 16  8 128  4096 110592 5e5   1e-5   8192 0.566  0
hyperclovax-seed-1.5b llama   24 2048 16  8 128  7168 110592 5e5   1e-5   8192 1.585  0
midm-2.0-mini         llama   48 1792 32  8 128  4608 131392 5e5   1e-5  32768 2.305  0
gemma-3-1b            gemma3  26 1152  4  1 256  6912 262144 1e6   1e-6  32768 1.000  0
phi-4-mini            phi3    32 3072 24  8 128  8192 200064 1e4   1e-5 131072 3.836  0
exaone-3.5-2.4b       exaone  30 2560 32  8  80  7168 102400 1e6   1e-5  32768 2.405  0
exaone-4.0-1.2b       exaone4 30 2048 32  8  64  4096 102400 1e6   1e-5  65536 1.279  0
"""
# The rotary bases of kanana, HyperCLOVA X and Midm, the epsilons of all but Qwen and Llama
# and some contexts are their families' usual ones: they change no cost.


def _row(words: list[str]) -> Shape:
    return Shape._make([words[0], *(int(w) if w.isdigit() else float(w) for w in words[1:])])


SHAPES: Final[Mapping[str, Shape]] = {
    name: _row(words) for name, *words in map(str.split, _TABLE.split("\n")[1:-1])
}
"""By name. The two kanana 2.1B models (nano and 1.5) share one shape."""

UNWRITTEN: Final[Mapping[str, str]] = {
    "gemma3": "sliding windows, four norms a layer and GeGLU",
    "phi3": "fused q, k, v, a partial rotary embedding and its long form",
    "exaone": "tensor names of its own and a second copy of the embedding in GGUF",
    "exaone4": "norms after the sub-layers",
}
"""Architectures without an exporter, and what each would take."""

CONTEXT: Final = 4096
"""Positions where nothing else is asked for: a longer context costs longer rotary tables."""

QUANTISATIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "gguf": ("q4_0", "q4_k_m", "q6_k", "q8_0", "f16", "f32"),
    "onnx": ("int4", "int8", "fp32"),
    "safetensors": ("f16", "f32"),
}
"""What random weights can be written as, by format."""


def find_shape(name: str) -> Shape:
    """The shape of this name, of an architecture that can be written.

    Raises:
        SpecError: there is none, or no exporter writes it.
    """
    shape = SHAPES.get(name)
    known = [other for other in SHAPES if SHAPES[other].architecture not in UNWRITTEN]
    if shape is None:
        raise SpecError(
            f"unknown shape '{name}'{did_you_mean(name, SHAPES)}",
            allowed=", ".join(known),
            hint="harness models synth --list",
            reason="unknown_shape",
        )
    if shape.architecture in UNWRITTEN:
        raise SpecError(
            f"shape '{name}' cannot be written: {shape.architecture} has "
            f"{UNWRITTEN[shape.architecture]}, which the exporters lack",
            allowed=", ".join(known),
            hint="harness models synth --list",
            reason="shape_not_covered",
        )
    return shape


def check_quantisation(kind: str, quantisation: str) -> None:
    """Refuse what a format cannot have.

    Raises:
        SpecError: naming what it can.
    """
    known = QUANTISATIONS.get(kind, ())
    if quantisation not in known:
        every = [name for names in QUANTISATIONS.values() for name in names]
        raise SpecError(
            f"random weights cannot be written as {quantisation}{' in ' * bool(kind)}{kind}"
            f"{did_you_mean(quantisation, known or every)}",
            allowed="; ".join(f"{kind}: {', '.join(q)}" for kind, q in QUANTISATIONS.items()),
            hint="harness models synth --list",
            reason="unknown_quantisation",
        )


def context_of(name: str, context: int) -> int:
    """Positions that weights of a shape are made for; 0 asks for the usual number.

    Raises:
        SpecError: more than the network has.
    """
    most = find_shape(name).context
    if context > most:
        raise SpecError(
            f"context {context} is more than '{name}' has",
            allowed=f"1 to {most}",
            reason="bad_context",
        )
    return context or min(most, CONTEXT)


def format_of(quantisation: str) -> str:
    """The format that a quantisation is usual in; empty = none has it."""
    return next((kind for kind, known in QUANTISATIONS.items() if quantisation in known), "")


def text() -> str:
    """The table for people, what cannot be written last."""
    lines = [f"{'shape':<22} {'network':<8} {'weights':>7}  {'a token of context':>18}"]
    for name, shape in SHAPES.items():
        kept = 4 * shape.layers * shape.kv_heads * shape.head_dim / 1024
        why = UNWRITTEN.get(shape.architecture)
        lines.append(
            f"{name:<22} {shape.architecture:<8} {shape.billions:>6.3f}B  {kept:>14.1f} KiB"
            + (f"  not covered: {why}" if why else "")
        )
    formats = [f"{kind}: {', '.join(known)}" for kind, known in QUANTISATIONS.items()]
    return "\n".join([*lines, "", *formats])
