"""The trained reference weights: the default settings of both engines agree on them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from harness.backends.base import Backend, Logits
from harness.models import reference
from harness.models.export_gguf import export_gguf
from harness.models.reference import materialise
from harness.spec import BackendOptions
from tests.backends.conftest import Open
from tests.backends.text_samples import samples
from tests.models.numpy_llama import forward

NAME = "ref-2m"
CONTEXT = 160
DEFAULT = BackendOptions(threads=1, context=CONTEXT)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def texts(backend: Backend) -> list[list[int]]:
    """About 1,900 positions of mixed text, a context at a time."""
    ids = backend.encode(" ".join(samples(400)))
    return [ids[start : start + CONTEXT] for start in range(0, 12 * CONTEXT, CONTEXT)]


def logits(backend: Backend, ids: list[int]) -> Logits:
    return backend.extend(backend.root(), ids, range(len(ids)))


def test_default_settings_pick_the_same_tokens(opened: Open, cache: Path) -> None:
    llama = opened(materialise(f"{NAME}.f16.gguf", cache), DEFAULT)
    onnx = opened(materialise(f"{NAME}.fp32.onnx", cache), DEFAULT)
    same = [
        (logits(llama, ids).argmax(axis=1) == logits(onnx, ids).argmax(axis=1))
        for ids in texts(onnx)
    ]
    assert np.concatenate(same).mean() >= 0.99


def test_both_engines_compute_the_trained_network(opened: Open, cache: Path) -> None:
    network = reference.network(NAME)
    export_gguf(network, cache / "exact.gguf", "f32")
    exact = BackendOptions(threads=1, context=CONTEXT, flash_attention=False, kv_type="f32")
    llama = opened(cache / "exact.gguf", exact)
    onnx = opened(materialise(f"{NAME}.fp32.onnx", cache), DEFAULT)
    for ids in texts(onnx)[:2]:
        expected = forward(network.config, network.tensors, ids)
        assert np.abs(logits(onnx, ids) - expected).max() < 1e-4
        assert np.abs(logits(llama, ids) - expected).max() < 1e-3


def test_reference_precision_computes_the_trained_network(opened: Open, cache: Path) -> None:
    network = reference.network(NAME)
    precise = opened(materialise(f"{NAME}.f32.safetensors", cache), DEFAULT)
    onnx = opened(materialise(f"{NAME}.fp32.onnx", cache), DEFAULT)
    for ids in texts(onnx)[:2]:
        expected = forward(network.config, network.tensors, ids)
        assert np.abs(logits(precise, ids) - expected).max() < 1e-4
    lines = samples(1000)
    assert [precise.encode(line) for line in lines] == [onnx.encode(line) for line in lines]
    assert precise.end_ids == onnx.end_ids


def test_shipped_tokeniser_reads_alike_in_both_engines(opened: Open, cache: Path) -> None:
    llama = opened(materialise(f"{NAME}.f16.gguf", cache), DEFAULT)
    onnx = opened(materialise(f"{NAME}.int4.onnx", cache), DEFAULT)
    differ = [text for text in samples(1000) if llama.encode(text) != onnx.encode(text)]
    assert differ == []
    for backend in (llama, onnx):
        assert [
            text for text in samples(1000) if backend.decode(backend.encode(text)) != text
        ] == []
    assert llama.end_ids == onnx.end_ids


def test_special_tokens_are_parsed_alike_in_both_engines(opened: Open, cache: Path) -> None:
    llama = opened(materialise(f"{NAME}.f16.gguf", cache), DEFAULT)
    onnx = opened(materialise(f"{NAME}.int4.onnx", cache), DEFAULT)
    (end,) = llama.end_ids
    for index, text in enumerate(samples(1000)):
        cut = index % (len(text) + 1)
        written = f"{text[:cut]}<|endoftext|>{text[cut:]}"
        ids = llama.encode(written, special=True)
        assert ids == onnx.encode(written, special=True), written
        assert ids.count(end) == written.count("<|endoftext|>"), written
        left = re.sub(r"<\|(endoftext|pad)\|>", "", written)
        assert onnx.decode(ids) == llama.decode(ids) == left
        for backend in (llama, onnx):
            assert end not in backend.encode(written), "plain text stays text"
