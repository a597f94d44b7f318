"""Random weights: symmetric, of the right size, the same everywhere, in every format."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
import pytest

from harness.models.network import EMBEDDING, Array
from harness.models.random_weights import RandomTensors
from tests.models.toys import TOY

gguf = pytest.importorskip("gguf")
UP = "model.layers.0.mlp.up_proj.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"
KINDS = ["Q4_0", "Q5_0", "Q8_0", "Q4_K", "Q6_K"]


def gguf_values(tensors: RandomTensors, name: str, kind: str) -> Array:
    blocks = np.concatenate(list(tensors.gguf_blocks(name, kind)))
    values: Array = gguf.dequantize(blocks, gguf.GGMLQuantizationType[kind])
    return values


def onnx_values(tensors: RandomTensors, name: str, bits: int) -> Array:
    codes, scales = tensors.onnx_blocks(name, bits)
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(*scales.shape, 32)
    values: Array = (codes.astype(np.float32) - (1 << (bits - 1))) * scales[..., None]
    return values


def assert_sane(values: Array, inputs: int) -> None:
    """Symmetric around zero, deviating by 1/sqrt(inputs), nothing a processor is slow with."""
    flat = values.astype(np.float64).ravel()
    wanted = inputs**-0.5
    assert np.isfinite(flat).all()
    assert flat.std() == pytest.approx(wanted, rel=0.02)
    # Blocks share a sign: about as many independent means as there are blocks.
    assert abs(flat.mean()) < 4 * wanted / np.sqrt(flat.size / 4)
    assert abs((flat**3).mean()) < 0.05 * wanted**3
    assert np.abs(flat).max() < 8 * wanted
    smallest = np.abs(flat[flat != 0]).min()
    assert smallest > np.finfo(np.float32).tiny
    assert (flat == 0).mean() < 0.1


@pytest.mark.parametrize("name", [UP, DOWN])
@pytest.mark.parametrize("kind", KINDS)
def test_gguf_blocks_are_symmetric_and_of_the_right_size(kind: str, name: str) -> None:
    assert_sane(gguf_values(RandomTensors(TOY), name, kind), 768 if name == DOWN else 256)


@pytest.mark.parametrize("bits", [4, 8])
def test_onnx_blocks_are_symmetric_and_of_the_right_size(bits: int) -> None:
    assert_sane(onnx_values(RandomTensors(TOY), DOWN, bits), 768)


def test_floats_are_symmetric_and_of_the_right_size() -> None:
    assert_sane(RandomTensors(TOY)[UP], 256)


def test_no_scale_is_subnormal_in_the_widest_network() -> None:
    # 11,008 inputs: the smallest deviation of the table. Q6_K's own scales are as small in
    # trained files, too: six bits and an integer scale leave little for them.
    wide = dataclasses.replace(TOY, intermediate_size=11_008)
    for kind in ("Q4_0", "Q5_0", "Q8_0"):
        (part, *_) = RandomTensors(wide).gguf_blocks(DOWN, kind)
        scales = part[:, :2].copy().view("<f2")
        assert np.abs(scales).min() >= np.finfo(np.float16).tiny, kind
    (part, *_) = RandomTensors(wide).gguf_blocks(DOWN, "Q4_K")
    pairs = part[:, :4].copy().view("<f2").astype(np.float32)
    np.testing.assert_array_equal(pairs[:, 1], 7.5 * pairs[:, 0])


def test_codes_use_their_whole_range() -> None:
    (part, *_) = RandomTensors(TOY).gguf_blocks(UP, "Q8_0")
    codes = part[:, 2:].view(np.int8)
    assert (codes.min(), codes.max()) == (-127, 127)
    codes4, _ = RandomTensors(TOY).onnx_blocks(UP, 4)
    counts = np.bincount(codes4.ravel() & 15, minlength=16) / codes4.size
    np.testing.assert_allclose(counts, 1 / 16, rtol=0.05)


def test_the_order_of_access_and_the_size_of_parts_do_not_matter() -> None:
    first, second = RandomTensors(TOY, 3), RandomTensors(TOY, 3)
    names = [name for name in first if "norm" not in name]
    forwards = {name: first[name] for name in names}
    for name in reversed(names):
        np.testing.assert_array_equal(forwards[name], second[name])
    assert not np.array_equal(forwards[UP], RandomTensors(TOY, 4)[UP])
    assert not np.array_equal(forwards[UP], forwards[UP.replace("up", "gate")])


def test_large_tensors_come_in_small_parts_without_a_repeat() -> None:
    large = dataclasses.replace(TOY, vocab_size=40_000)
    parts = list(RandomTensors(large).gguf_blocks(EMBEDDING, "Q8_0"))
    assert len(parts) > 5
    assert max(part.nbytes for part in parts) <= 1 << 20
    assert sum(len(part) for part in parts) == 40_000 * 256 // 32
    assert len({part.tobytes()[:64] for part in parts}) == len(parts)


# The very bytes: other values would be other files under the same name.
PINNED = {
    "Q4_0": "b975a1971856df3f",
    "Q4_K": "77ee9780ec26a1ab",
    "Q6_K": "d2f29d7b36e64490",
    "onnx": "0ad607e84de0455b",
    "f16": "07cf17d6e25a95eb",
}


@pytest.mark.parametrize("kind", PINNED)
def test_the_bytes_never_change(kind: str) -> None:
    tensors: Any = RandomTensors(TOY, 1)
    parts = {"onnx": lambda: tensors.onnx_blocks(UP, 4), "f16": lambda: [tensors[UP]]}
    digest = hashlib.sha256()
    for part in parts.get(kind, lambda: tensors.gguf_blocks(UP, kind))():
        digest.update(part.astype(part.dtype.newbyteorder("<")).tobytes())
    assert digest.hexdigest()[:16] == PINNED[kind]


def test_progress_ends_at_all_weights() -> None:
    told: list[tuple[int, int]] = []
    tensors = RandomTensors(TOY, 0, lambda done, total: told.append((done, total)))
    for name in tensors:
        tensors[name]
    assert told == sorted(told)
    assert told[-1] == (TOY.parameters, TOY.parameters)
