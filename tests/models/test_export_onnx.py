"""ONNX folders hold the network that was put in, and ONNX Runtime computes it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.errors import PrerequisiteError, SpecError
from harness.models import export_onnx as exporter
from harness.models.export_onnx import FORMATS, export_onnx, weight_bytes
from harness.models.onnx_graph import quantise_blocks, rotary_caches
from tests.models.numpy_llama import forward
from tests.models.toys import TOY, VARIANTS

if TYPE_CHECKING:
    from harness.models.network import Array, Network

pytest.importorskip("onnx")
IDS = np.random.default_rng(1).integers(0, 300, 40)


class Engine:
    """ONNX Runtime with a copied cache: short instead of fast."""

    def __init__(self, path: Path) -> None:
        runtime = pytest.importorskip("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = runtime.InferenceSession(str(path), options)
        shapes = {value.name: value.shape for value in self.session.get_inputs()}
        self.inputs = set(shapes)
        self.cache: dict[str, Array] = {
            name: np.zeros((1, heads, 0, size), np.float32)
            for name in shapes
            if name.startswith("past_key_values")
            for _, heads, _, size in [shapes[name]]
        }

    def run(self, ids: Array, rows: Any = None) -> Array:
        """Logits `[rows, vocab]` after appending `ids`."""
        start = next(iter(self.cache.values())).shape[2]
        total = start + len(ids)
        feeds = {"input_ids": ids[None], "attention_mask": np.ones((1, total), np.int64)}
        if "position_ids" in self.inputs:
            feeds["position_ids"] = np.arange(start, total)[None]
        if "logits_rows" in self.inputs:
            feeds["logits_rows"] = np.asarray(range(len(ids)) if rows is None else rows, np.int64)
        names = [value.name for value in self.session.get_outputs()]
        out = dict(zip(names, self.session.run(None, feeds | self.cache), strict=True))
        for name in self.cache:
            self.cache[name] = out[name.replace("past_key_values", "present")]
        logits: Array = out["logits"][0]
        return logits


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("tied", "position_ids"), [(True, False), (False, True)])
def test_fp32_computes_what_numpy_computes(
    make_toy: Callable[..., Network],
    tmp_path: Path,
    *,
    variant: str,
    tied: bool,
    position_ids: bool,
) -> None:
    network = make_toy(**VARIANTS[variant], tie_word_embeddings=tied)
    path = export_onnx(network, tmp_path, "fp32", position_ids=position_ids)
    expected = forward(network.config, network.tensors, IDS.tolist())
    np.testing.assert_allclose(Engine(path).run(IDS), expected, atol=1e-4)
    chunked = Engine(path)
    parts = [chunked.run(part) for part in np.split(IDS, [25, 26])]
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-4)


@pytest.mark.parametrize("quant", FORMATS)
def test_chosen_rows_equal_all_rows(toy: Network, tmp_path: Path, quant: str) -> None:
    """Bit for bit, but for a single row of four-bit weights: on some processors (AMD EPYC; not on
    Intel's Xeon) ONNX Runtime multiplies it with another kernel, which adds up in another order.
    """
    path = export_onnx(toy, tmp_path, quant)
    every = Engine(path).run(IDS)
    for rows in ([39], [3, 39, 7], []):
        chosen = Engine(path).run(IDS, rows)
        most = 2e-6 if (quant, len(rows)) == ("int4", 1) else 0
        np.testing.assert_allclose(chosen, every[rows].reshape(-1, 320), rtol=0, atol=most)


def test_without_logits_rows_every_row_is_returned(toy: Network, tmp_path: Path) -> None:
    path = export_onnx(toy, tmp_path, "fp32", logits_rows=False)
    engine = Engine(path)
    assert "logits_rows" not in engine.inputs
    assert engine.run(IDS).shape == (40, 320)


@pytest.mark.parametrize(("quant", "bound"), [("int8", 0.3), ("int4", 3.0)])
def test_quantised_logits_stay_near(toy: Network, tmp_path: Path, quant: str, bound: float) -> None:
    # Random weights say little about quantisation; a wrong layout would still give noise.
    found = Engine(export_onnx(toy, tmp_path, quant)).run(IDS)
    expected = forward(toy.config, toy.tensors, IDS.tolist())
    assert np.abs(found - expected).max() < bound
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("bits", [8, 4])
def test_blocks_are_within_one_step(bits: int) -> None:
    weight = np.random.default_rng(0).standard_normal((50, 96), np.float32)
    weight[3] = 0
    codes, scales = quantise_blocks(weight, bits)
    assert codes.shape == (50, 3, 4 * bits)
    values = codes if bits == 8 else np.stack([codes & 15, codes >> 4], axis=-1).reshape(50, 3, 32)
    restored = (values.astype(np.float32) - (1 << (bits - 1))) * scales[..., None]
    error = np.abs(restored.reshape(50, 96) - weight).reshape(50, 3, 32)
    # Half a step, or one where the far end of the range has no code.
    assert (error <= np.abs(scales[..., None]) * 1.001).all()
    assert error.mean() < np.abs(scales).mean() * 0.3
    assert not restored[3].any()


def test_rows_that_blocks_do_not_divide_are_refused() -> None:
    with pytest.raises(SpecError, match="rows of 48 weights"):
        quantise_blocks(np.zeros((2, 48), np.float32), 4)


def test_rotary_caches_are_cosines_and_sines() -> None:
    cosines, sines = rotary_caches(TOY)
    assert cosines.shape == sines.shape == (128, 32)
    np.testing.assert_allclose(cosines**2 + sines**2, 1, atol=1e-6)
    np.testing.assert_allclose(sines[100, 3], np.sin(100 * 10_000 ** (-3 / 32)), atol=1e-6)


@pytest.mark.parametrize("quant", FORMATS)
def test_same_bytes_twice(toy: Network, tmp_path: Path, quant: str) -> None:
    first, second = (export_onnx(toy, tmp_path / name, quant) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("quant", FORMATS)
def test_large_weights_go_beside_the_graph(
    toy: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quant: str
) -> None:
    inside = export_onnx(toy, tmp_path / "inside", quant)
    monkeypatch.setattr(exporter, "EXTERNAL_BYTES", 1 << 20)
    beside = export_onnx(toy, tmp_path / "beside", quant)
    assert beside.stat().st_size < 50_000
    size = beside.with_name("model.onnx.data").stat().st_size
    assert size == pytest.approx(weight_bytes(toy.config, quant), rel=0.15)
    np.testing.assert_array_equal(Engine(inside).run(IDS), Engine(beside).run(IDS))


def test_model_builder_layout(toy: Network, tmp_path: Path) -> None:
    export_onnx(toy, tmp_path, "int4")
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["genai_config.json", "model.onnx", "tokenizer.json"]
    model = json.loads((tmp_path / "genai_config.json").read_text())["model"]
    assert (model["type"], model["context_length"], model["vocab_size"]) == ("llama", 128, 320)
    decoder = model["decoder"]
    assert decoder["filename"] == "model.onnx"
    assert (decoder["head_size"], decoder["num_key_value_heads"]) == (64, 2)
    assert decoder["inputs"]["past_key_names"] % 1 == "past_key_values.1.key"
    assert decoder["outputs"]["present_value_names"] % 0 == "present.0.value"


def test_a_missing_package_names_the_command(
    toy: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(PrerequisiteError, match="'onnx' package") as caught:
        export_onnx(toy, tmp_path / "out", "int4")
    assert "pip install onnx" in str(caught.value)
    assert not (tmp_path / "out").exists()
