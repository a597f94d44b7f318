"""The table of real networks' shapes, and what it refuses."""

from __future__ import annotations

import dataclasses
import math

import pytest

from harness.errors import SpecError
from harness.models import export_gguf, export_onnx, export_safetensors, network
from harness.models.shapes import (
    QUANTISATIONS,
    SHAPES,
    UNWRITTEN,
    check_quantisation,
    context_of,
    find_shape,
    format_of,
    text,
)
from harness.models.synth import network_config

# The covered architecture whose matrices are those of one that is not.
NEAREST = {"gemma3": "qwen3", "phi3": "llama", "exaone": "llama", "exaone4": "qwen3"}


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_the_published_ones(name: str) -> None:
    shape = SHAPES[name]
    architecture = NEAREST.get(shape.architecture, shape.architecture)
    config = network_config(shape._replace(architecture=architecture), context=1)
    assert config.parameters / 1e9 == pytest.approx(shape.billions, rel=0.01)
    if len(network.tensor_shapes(config)) > 200:
        fewer = dataclasses.replace(config, num_hidden_layers=config.num_hidden_layers - 1)
        assert fewer.parameters / 1e9 != pytest.approx(shape.billions, rel=0.005)


def test_every_row_is_written_or_says_why_not() -> None:
    for shape in SHAPES.values():
        assert (shape.architecture in network.ARCHITECTURES) != (shape.architecture in UNWRITTEN)
    lines = {line.split()[0]: line for line in text().splitlines() if line}
    assert "not covered: sliding windows" in lines["gemma-3-1b"]
    assert "not covered" not in lines["qwen3-1.7b"]
    assert "112.0 KiB" in lines["qwen3-1.7b"]
    assert "q4_k_m" in lines["gguf:"]


def test_quantisations_are_the_exporters() -> None:
    assert set(QUANTISATIONS["gguf"]) == {*export_gguf.FORMATS, *export_gguf.K_QUANTS}
    assert set(QUANTISATIONS["onnx"]) == set(export_onnx.FORMATS)
    assert set(QUANTISATIONS["safetensors"]) == set(export_safetensors.FORMATS)
    assert (format_of("int4"), format_of("f16"), format_of("q9")) == ("onnx", "gguf", "")


@pytest.mark.parametrize("name", SHAPES)
def test_blocks_divide_every_row(name: str) -> None:
    shape = SHAPES[name]
    assert not {shape.hidden % 32, shape.heads * shape.head_dim % 32, shape.feed_forward % 32} - {0}
    assert math.gcd(shape.heads, shape.kv_heads) == shape.kv_heads


def test_unknown_and_uncovered_shapes_are_refused() -> None:
    with pytest.raises(SpecError, match=r"unknown shape 'qwen3-06b'; did you mean 'qwen3-0.6b'\?"):
        find_shape("qwen3-06b")
    with pytest.raises(SpecError, match="gemma3 has sliding windows") as caught:
        find_shape("gemma-3-1b")
    assert caught.value.reason == "shape_not_covered"
    assert "qwen2.5-0.5b" in caught.value.allowed
    assert "gemma" not in caught.value.allowed
    assert caught.value.hint == "harness models synth --list"


def test_impossible_quantisations_and_contexts_are_refused() -> None:
    with pytest.raises(SpecError, match=r"as q4_1 in gguf; did you mean 'q4_0'"):
        check_quantisation("gguf", "q4_1")
    with pytest.raises(SpecError, match=r"as int5; did you mean 'int[48]'"):
        check_quantisation("", "int5")
    with pytest.raises(SpecError, match="context 9000 is more than 'smollm2-135m' has") as caught:
        context_of("smollm2-135m", 9000)
    assert caught.value.allowed == "1 to 8192"
    assert (context_of("smollm2-135m", 8192), context_of("smollm2-135m", 0)) == (8192, 4096)
