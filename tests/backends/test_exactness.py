"""Both engines compute the network that the weights describe, and read text alike."""

from __future__ import annotations

import numpy as np
import pytest

from harness.backends.base import Backend, Logits
from harness.models.network import Network
from harness.spec import BackendOptions
from tests.backends.conftest import CONTEXT, ONE_THREAD, Open
from tests.backends.text_samples import samples
from tests.models.numpy_llama import forward

F32_OPTIONS = {"threads": 1, "context": CONTEXT, "flash_attention": False, "kv_type": "f32"}
"""llama.cpp is exact only with both: either alone leaves 2e-3."""


def prompts(vocabulary: int) -> list[list[int]]:
    random = np.random.default_rng(11)
    return [random.integers(0, vocabulary, length).tolist() for length in (1, 2, 33, CONTEXT)]


@pytest.mark.parametrize("part", [512, 7])
@pytest.mark.parametrize(
    ("model", "tolerance"),
    [
        ("f32.gguf", 1e-3),
        ("onnx", 1e-4),
        ("onnx-all-rows", 1e-4),
        ("onnx-positions", 1e-4),
        ("onnx-js", 1e-4),
        ("onnx-js-all", 1e-4),
        ("safetensors", 1e-4),
    ],
)
def test_logits_are_those_of_the_network(
    model: str, tolerance: float, part: int, toy: Network, opened: Open
) -> None:
    backend = opened(model, BackendOptions(**F32_OPTIONS, batch_tokens=part))
    for ids in prompts(backend.vocabulary):
        expected = forward(toy.config, toy.tensors, ids)
        whole = backend.extend(backend.root(), ids, range(len(ids)))
        assert np.abs(whole - expected).max() < tolerance
        assert np.abs(one_by_one(backend, ids) - expected).max() < tolerance


def one_by_one(backend: Backend, ids: list[int]) -> Logits:
    root = backend.root()
    return np.concatenate([backend.extend(root, [token], [0]) for token in ids])


@pytest.mark.parametrize("model", ["f32.gguf", "onnx", "safetensors"])
def test_greedy_tokens_are_those_of_the_network(model: str, toy: Network, opened: Open) -> None:
    backend = opened(model, BackendOptions(**F32_OPTIONS))
    ids = prompts(backend.vocabulary)[2]
    token = backend.prefill(ids).next_id
    for _ in range(10):
        assert token == forward(toy.config, toy.tensors, ids)[-1].argmax()
        ids.append(token)
        token = backend.step(token).next_id


def test_both_engines_tokenise_alike(opened: Open) -> None:
    llama, onnx = opened("f16.gguf", ONE_THREAD), opened("onnx", ONE_THREAD)
    texts = samples(600)
    assert len(set(texts)) == 600
    differ = [text for text in texts if llama.encode(text) != onnx.encode(text)]
    assert differ == []
    for backend in (llama, onnx):
        lost = [text for text in texts if backend.decode(backend.encode(text)) != text]
        assert lost == []
    assert llama.end_ids == onnx.end_ids
