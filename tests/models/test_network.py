"""Reading a network: what is accepted, and what the refusals say."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from harness.errors import SpecError
from harness.models.network import Network, NetworkConfig, row_slices, tensor_shapes
from tests.models.toys import TOY, save


def test_config_survives_json() -> None:
    assert NetworkConfig.from_json(TOY.to_json()) == TOY


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "gemma3"}, ["'gemma3'", "llama, qwen2, qwen3"]),
        ({"num_key_value_heads": 3}, ["4 attention heads", "3 key-value heads"]),
        ({"head_dim": 63}, ["head_dim is 63", "even"]),
        ({"sliding_window": 4}, ["config cannot be read", "sliding_window"]),
    ],
)
def test_impossible_configs_are_refused(changes: dict[str, object], words: list[str]) -> None:
    text = json.dumps({**json.loads(TOY.to_json()), **changes})
    with pytest.raises(SpecError) as caught:
        NetworkConfig.from_json(text)
    assert all(word in str(caught.value) for word in words)


def test_a_config_that_is_no_json_is_refused() -> None:
    with pytest.raises(SpecError, match=r"m\.safetensors: config cannot be read"):
        NetworkConfig.from_json("{", where="m.safetensors")


def test_weights_are_read_lazily_and_exactly(toy: Network, tmp_path: Path) -> None:
    path = save(toy, tmp_path / "toy.safetensors")
    loaded = Network.load(path, toy.tokenizer)
    assert (loaded.name, loaded.config) == ("toy", toy.config)
    assert set(loaded.tensors) == set(tensor_shapes(TOY))
    for name in loaded.tensors:
        np.testing.assert_array_equal(loaded.tensors[name], toy.tensors[name])


def test_tensors_that_do_not_fit_the_config_are_named(toy: Network, tmp_path: Path) -> None:
    config = dataclasses.replace(TOY, intermediate_size=512)
    path = save(dataclasses.replace(toy, config=config), tmp_path / "toy.safetensors")
    with pytest.raises(SpecError, match=r"down_proj.*\(256, 768\)") as caught:
        Network.load(path, toy.tokenizer)
    assert str(path) in str(caught.value)
    assert "(256, 512)" in str(caught.value)


def test_a_file_that_is_no_safetensors_is_refused(toy: Network, tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    path.write_bytes(b"pickle")
    with pytest.raises(SpecError, match="cannot read weights"):
        Network.load(path, toy.tokenizer)


@pytest.mark.parametrize("shape", [(5,), (7, 3), (1, 100), (100, 1)])
def test_row_slices_cover_every_row_once(shape: tuple[int, ...]) -> None:
    rows = np.arange(shape[0])
    parts = [rows[part] for part in row_slices(shape, elements=6)]
    np.testing.assert_array_equal(np.concatenate(parts), rows)
