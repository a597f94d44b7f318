"""GGUF files hold the network that was put in, and llama.cpp computes it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import PrerequisiteError, SpecError
from harness.models.export_gguf import (
    FORMATS,
    export_gguf,
    gguf_name,
    pre_tokenizer_name,
    to_gguf_rows,
)
from harness.models.network import Network, tensor_shapes
from tests.models.numpy_llama import forward
from tests.models.toys import TEXTS, VARIANTS

gguf = pytest.importorskip("gguf")

# Largest error of a weight, as a part of the largest weight of its block.
BOUNDS = {"f32": 0.0, "f16": 0.0, "q8_0": 0.5 / 127 + 1e-3, "q4_0": 1 / 8 + 1e-3}


def read(path: Path) -> Any:
    return gguf.GGUFReader(path)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("quant", FORMATS)
def test_tensors_come_back_within_the_format_s_error(
    make_toy: Callable[..., Network], tmp_path: Path, quant: str, architecture: str
) -> None:
    network = make_toy(architecture=architecture)
    export_gguf(network, tmp_path / "m.gguf", quant)
    stored = {tensor.name: tensor for tensor in read(tmp_path / "m.gguf").tensors}
    assert set(stored) == {gguf_name(name) for name in network.tensors}
    for name, shape in tensor_shapes(network.config).items():
        tensor = stored[gguf_name(name)]
        assert tuple(reversed(tensor.shape)) == shape
        found = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        wanted = to_gguf_rows(name, network.tensors[name], network.config).astype(np.float32)
        block = 32 if len(shape) == 2 else shape[-1]
        peak = np.abs(wanted.reshape(-1, block)).max(axis=1, keepdims=True)
        error = np.abs(found - wanted).reshape(-1, block)
        assert (error <= (0 if len(shape) == 1 else BOUNDS[quant]) * peak).all(), name


def test_rotated_pairs_become_neighbours_in_llama_only(make_toy: Callable[..., Network]) -> None:
    llama, qwen2 = (make_toy(architecture=kind) for kind in ("llama", "qwen2"))
    name = "model.layers.0.self_attn.k_proj.weight"
    rows = np.arange(2 * 64)[:, None].astype(np.float32)
    moved = to_gguf_rows(name, rows, llama.config)[:, 0]
    assert moved[:6].tolist() == [0, 32, 1, 33, 2, 34]
    assert moved[64:68].tolist() == [64, 96, 65, 97]
    assert to_gguf_rows(name, rows, qwen2.config) is rows
    assert to_gguf_rows(name.replace("k_proj", "v_proj"), rows, llama.config) is rows


def test_q4_0_keeps_the_matrix_that_makes_the_logits_at_eight_bits(
    make_toy: Callable[..., Network], tmp_path: Path
) -> None:
    export_gguf(make_toy(tie_word_embeddings=False), tmp_path / "m.gguf", "q4_0")
    kinds = {t.name: t.tensor_type.name for t in read(tmp_path / "m.gguf").tensors}
    assert (kinds["token_embd.weight"], kinds["output.weight"]) == ("Q8_0", "Q8_0")
    assert kinds["blk.0.attn_q.weight"] == "Q4_0"


def test_metadata_and_vocabulary(toy: Network, tmp_path: Path) -> None:
    export_gguf(toy, tmp_path / "m.gguf", "q8_0")
    fields = read(tmp_path / "m.gguf").fields
    value = {name: field.contents() for name, field in fields.items()}
    assert value["general.architecture"] == "llama"
    assert value["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q8_0
    assert value["harness.synthetic"] is False
    assert value["llama.attention.head_count_kv"] == 2
    assert value["tokenizer.ggml.pre"] == "smollm"
    assert value["tokenizer.ggml.add_bos_token"] is False
    assert value["tokenizer.ggml.tokens"][:2] == ["<bos>", "<eos>"]
    assert value["tokenizer.ggml.token_type"][:2] == [int(gguf.TokenType.CONTROL)] * 2
    assert value["tokenizer.ggml.tokens"][-1] == "[PAD319]"
    assert value["tokenizer.ggml.token_type"][-1] == int(gguf.TokenType.UNUSED)
    assert all(merge.count(" ") == 1 for merge in value["tokenizer.ggml.merges"])


@pytest.mark.parametrize("quant", FORMATS)
def test_same_bytes_twice(toy: Network, tmp_path: Path, quant: str) -> None:
    hashes = set()
    for name in "ab":
        export_gguf(toy, tmp_path / name, quant)
        hashes.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(hashes) == 1


def test_a_missing_package_names_the_command(
    toy: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(PrerequisiteError, match="'gguf' package") as caught:
        export_gguf(toy, tmp_path / "m.gguf", "f16")
    assert "pip install gguf" in str(caught.value)


def test_only_known_pre_tokenisers_are_named() -> None:
    level = {"type": "ByteLevel", "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": "x"}}
    assert pre_tokenizer_name({"pre_tokenizer": {"pretokenizers": [split, level]}}) == "qwen2"
    with pytest.raises(SpecError, match="no known name"):
        pre_tokenizer_name({"pre_tokenizer": {**level, "use_regex": True}})


@pytest.mark.parametrize("variant", VARIANTS)
def test_llama_cpp_computes_what_numpy_computes(
    make_toy: Callable[..., Network], tmp_path: Path, variant: str
) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    from tokenizers import Tokenizer

    network = make_toy(**VARIANTS[variant])
    export_gguf(network, tmp_path / "m.gguf", "f32")
    # Exact only with attention *and* cache in float32.
    engine = llama_cpp.Llama(
        str(tmp_path / "m.gguf"),
        n_ctx=256,
        logits_all=True,
        flash_attn=False,
        type_k=0,
        type_v=0,
        n_threads=1,
        verbose=False,
    )
    try:
        tokenizer = Tokenizer.from_file(str(network.tokenizer))
        for text in TEXTS:
            ids = engine.tokenize(text.encode(), add_bos=False, special=False)
            assert ids == tokenizer.encode(text, add_special_tokens=False).ids
        engine.eval(ids)
        expected = forward(network.config, network.tensors, ids)
        np.testing.assert_allclose(engine.scores[: len(ids)], expected, atol=1e-4)
    finally:
        engine.close()
