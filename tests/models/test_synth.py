"""Synthetic models from the command to both engines: reproducible, stamped, whole or absent."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from harness import specfile
from harness.cli import cli
from harness.errors import PrerequisiteError, SpecError
from harness.models import quantise, shapes, synth
from harness.models.inventory import presence
from harness.models.network import Array
from harness.models.random_weights import RandomTensors
from harness.models.resolve import model_from_path, resolve
from harness.models.synth import Recipe, synthesise
from harness.spec import Format, Model
from tests.models.numpy_llama import forward
from tests.models.test_export_onnx import Engine

gguf = pytest.importorskip("gguf")
onnx = pytest.importorskip("onnx")

TINY = shapes.Shape("qwen3", 6, 128, 4, 2, 64, 256, 600, 1e6, 1e-6, 512, 0.0004, 0)
ONLY_LLAMA = shapes.Shape("llama", 9, 192, 4, 2, 64, 512, 600, 1e5, 1e-5, 512, 0.004, 0)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two small shapes beside the real ones, and an empty cache; the code path stays."""
    monkeypatch.setitem(shapes.SHAPES, "tiny", TINY)  # type: ignore[arg-type]  # a dict at heart
    monkeypatch.setitem(shapes.SHAPES, "odd", ONLY_LLAMA)  # type: ignore[arg-type]
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["models", "synth", *arguments])


def made(tmp_path: Path, kind: Format, quant: str, shape: str = "tiny", **fields: Any) -> Path:
    recipe = Recipe(shape=shape, format=kind, quantisation=quant, **fields)
    return synthesise(recipe, tmp_path / f"noise.{quant}.{kind}")


def hashes(path: Path) -> dict[str, str]:
    files = [path] if path.is_file() else sorted(path.iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


EVERY: Sequence[tuple[Format, str]] = [
    (kind, quant) for kind, known in shapes.QUANTISATIONS.items() for quant in known
]  # type: ignore[misc]


@pytest.mark.parametrize(("kind", "quant"), EVERY)
def test_the_same_bytes_twice_and_the_stamp_is_read_back(
    tmp_path: Path, kind: Format, quant: str
) -> None:
    first = made(tmp_path / "a", kind, quant)
    assert hashes(first) == hashes(made(tmp_path / "b", kind, quant))
    assert hashes(first) != hashes(made(tmp_path / "c", kind, quant, seed=1))
    artefact = resolve(model_from_path(str(first)), tmp_path)
    assert artefact.model.synthetic
    assert artefact.model.context == 512
    assert artefact.weights["body_parameters"] > 300_000
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [first.name]


@pytest.mark.parametrize(("kind", "quant"), [("gguf", "q4_0"), ("onnx", "int4")])
def test_the_same_bytes_in_another_process(tmp_path: Path, kind: Format, quant: str) -> None:
    real = Recipe(shape="smollm2-135m", format=kind, quantisation=quant, layers=1, context=8)
    here = synthesise(real, tmp_path / f"here.{kind}")
    there = tmp_path / f"there.{kind}"
    command = [*real.command().split()[1:], "--out", str(there)]
    subprocess.run([sys.executable, "-P", "-m", "harness", *command], check=True)
    assert [*hashes(here).values()] == [*hashes(there).values()]


def test_a_tiny_file_is_the_released_one(tmp_path: Path) -> None:
    (digest,) = hashes(made(tmp_path, "gguf", "q4_0")).values()
    assert digest == "d5d6633efa7b36667560543abf938defcb54f9533fea4c190dff2dc35267d8e7"


# --- what engines make of them --------------------------------------------------------


def stored(path: Path) -> dict[str, Any]:
    """The tensors of a GGUF file in Hugging Face's names, dequantised."""
    outer = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
    inner = {
        "attn_norm": "input_layernorm",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        **{f"attn_{k}": f"self_attn.{k}_proj" for k in "qkv"},
        **{f"attn_{k}_norm": f"self_attn.{k}_norm" for k in "qk"},
        **{f"ffn_{k}": f"mlp.{k}_proj" for k in ("gate", "up", "down")},
    }
    found = {}
    for tensor in gguf.GGUFReader(path).tensors:
        parts = tensor.name.removesuffix(".weight").split(".")
        name = outer[parts[0]] if len(parts) == 1 else f"model.layers.{parts[1]}.{inner[parts[2]]}"
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        found[name + ".weight"] = values.reshape(tuple(reversed(tensor.shape.tolist())))
    return found


def llama_logits(path: Path, ids: list[int]) -> Any:
    llama_cpp = pytest.importorskip("llama_cpp")
    engine = llama_cpp.Llama(
        str(path),
        n_ctx=64,
        logits_all=True,
        flash_attn=False,
        type_k=0,
        type_v=0,
        n_threads=1,
        verbose=False,
    )
    try:
        engine.eval(ids)
        return engine.scores[: len(ids)].copy()
    finally:
        engine.close()


@pytest.mark.parametrize("quant", ["q4_0", "q4_k_m", "q6_k", "q8_0", "f16"])
def test_llama_cpp_computes_what_the_blocks_say(tmp_path: Path, quant: str) -> None:
    # Rows of 256 in every matrix but those of the 128 hidden values, which fall back.
    path = made(tmp_path, "gguf", quant)
    ids = np.random.default_rng(0).integers(0, 256, 24).tolist()
    found = llama_logits(path, ids)
    recipe = Recipe(shape="tiny", format="gguf", quantisation=quant)
    expected = forward(recipe.config(), stored(path), ids)
    # llama.cpp also rounds activations to eight bits.
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.995
    assert_not_collapsed(found)


@pytest.mark.parametrize("quant", ["int4", "int8", "fp32"])
def test_onnx_runtime_makes_logits_that_differ(tmp_path: Path, quant: str) -> None:
    path = made(tmp_path, "onnx", quant)
    assert_not_collapsed(Engine(path / "model.onnx").run(np.arange(24)))


def test_lopsided_codes_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = RandomTensors.onnx_blocks

    def lopsided(self: RandomTensors, name: str, bits: int) -> tuple[Array, Array]:
        codes, scales = blocks(self, name, bits)
        return codes, np.abs(scales)

    monkeypatch.setattr(RandomTensors, "onnx_blocks", lopsided)
    path = made(tmp_path, "onnx", "int4")
    with pytest.raises(AssertionError):
        assert_not_collapsed(Engine(path / "model.onnx").run(np.arange(24)))


def assert_not_collapsed(logits: Any) -> None:
    """Finite, about one large, without an offset, and another answer after other tokens."""
    assert np.isfinite(logits).all()
    assert 0.5 < logits.std() < 2
    assert np.abs(logits.mean(axis=1)).max() < 0.5
    assert np.corrcoef(logits).mean() < 0.9
    assert len(set(logits.argmax(axis=1).tolist())) > len(logits) // 4


@pytest.mark.parametrize("shape", ["tiny", "odd"])
@pytest.mark.parametrize("quant", ["q4_k_m", "q6_k"])
def test_k_quants_have_the_types_that_llama_cpp_chooses(
    tmp_path: Path, shape: str, quant: str
) -> None:
    pytest.importorskip("llama_cpp")
    source = made(tmp_path, "gguf", "f16", shape)
    quantise.quantise(source, tmp_path / "theirs.gguf", quant)
    ours, theirs = (
        {t.name: t.tensor_type.name for t in gguf.GGUFReader(path).tensors}
        for path in (made(tmp_path, "gguf", quant, shape), tmp_path / "theirs.gguf")
    )
    assert ours == theirs


def test_a_prompt_has_a_token_a_character(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, pre_tokenizers

    path = synth.byte_tokenizer(tmp_path / "tokenizer.json", 600)
    tokenizer = Tokenizer.from_file(str(path))
    assert len(tokenizer.encode("a prompt of 27 characters..").ids) == 27
    assert tokenizer.get_vocab_size() == 600
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    assert [tokenizer.id_to_token(i) for i in range(256)] == alphabet
    text = "한국어 12\r\n"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


# --- the command ------------------------------------------------------------------------


def test_the_command_tells_its_progress_and_the_next_command() -> None:
    done = call("tiny", "--quant", "q4_0")
    assert done.exit_code == 0, done.output
    path = Recipe(shape="tiny", format="gguf", quantisation="q4_0").path()
    assert done.stdout == f"{path}\n"
    assert "100 % of" in done.stderr
    assert done.stderr.endswith(f"next: harness run --model {path}\n")
    found = json.loads(call("tiny", "--quant", "int8", "--json").stdout)
    assert found["model"].endswith("tiny.seed0.ctx512.int8.onnx")
    assert found["size_bytes"] > 400_000
    # File names of published models have it in capitals.
    assert call("tiny", "--quant", "Q4_0", "--force").stdout == done.stdout


def test_shapes_are_listed() -> None:
    done = call("--list")
    assert done.exit_code == 0
    assert "qwen3-1.7b" in done.stdout
    assert "not covered" in done.stdout


def test_what_is_there_is_kept_unless_forced(tmp_path: Path) -> None:
    path = made(tmp_path, "onnx", "int4")
    before = hashes(path)
    recipe = Recipe(shape="tiny", format="onnx", quantisation="int4", seed=1)
    with pytest.raises(SpecError, match=r"something is there already") as caught:
        synthesise(recipe, path)
    assert "--force" in caught.value.hint
    assert hashes(path) == before
    synthesise(recipe, path, force=True)
    assert hashes(path) != before
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("years")
    recipe = Recipe(shape="tiny", format="onnx", quantisation="int4")
    with pytest.raises(SpecError, match="holds no model and is not replaced"):
        synthesise(recipe, tmp_path / "work", force=True)
    assert (tmp_path / "work" / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": "tinny"}, "unknown shape 'tinny'; did you mean 'tiny'?"),
        ({"quantisation": "int4"}, "cannot be written as int4 in gguf"),
        ({"layers": 7}, "7 layers are more than 'tiny' has"),
        ({"context": 513}, "context 513 is more than 'tiny' has"),
    ],
)
def test_impossible_recipes_are_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    recipe = Recipe(shape="tiny", format="gguf", quantisation="q4_0")
    with pytest.raises(SpecError) as caught:
        synthesise(dataclasses.replace(recipe, **changes), tmp_path / "m.gguf")
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_gguf_file_has_its_suffix(tmp_path: Path) -> None:
    recipe = Recipe(shape="tiny", format="gguf", quantisation="q4_0")
    with pytest.raises(SpecError, match=r"'m\.bin' is no name of a GGUF file"):
        synthesise(recipe, tmp_path / "m.bin")


def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 29)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    recipe = Recipe(shape="qwen3-1.7b", format="gguf", quantisation="q4_0")
    with pytest.raises(PrerequisiteError, match=r"takes 1\.1 GB, 0\.5 GB are free") as caught:
        synthesise(recipe, tmp_path / "m.gguf")
    assert caught.value.reason == "disk_full"
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(synth, "_export", full)
    with pytest.raises(PrerequisiteError, match="No space left") as caught:
        made(tmp_path, "gguf", "q4_0")
    assert caught.value.reason == "disk_full"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="sends SIGTERM")
def test_an_interrupted_one_leaves_nothing(tmp_path: Path) -> None:
    command = [
        "models",
        "synth",
        "smollm2-360m",
        "--quant",
        "q8_0",
        "--out",
        str(tmp_path / "m.gguf"),
    ]
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "harness", *command], stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr
        assert "10 % of 362 million weights" in child.stderr.readline()
        assert list(tmp_path.glob(".making-*/m.gguf"))
        assert not (tmp_path / "m.gguf").exists()
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 130
    assert list(tmp_path.iterdir()) == []


# --- entries of models.yaml ------------------------------------------------------------


ENTRY = """
models:
  - id: tiny.q4_0.gguf
    family: tiny
    format: gguf
    quantisation: q4_0
    context: 256
    source: {kind: synthetic, shape: tiny, seed: 7}
"""


def entry(tmp_path: Path, text: str = ENTRY) -> Model:
    path = tmp_path / "models.yaml"
    path.write_text(text, "utf-8")
    return specfile.load_catalogue(path).models["tiny.q4_0.gguf"]


def test_an_entry_names_the_command_that_makes_its_weights(tmp_path: Path) -> None:
    model = entry(tmp_path)
    with pytest.raises(PrerequisiteError, match="have not been made") as caught:
        resolve(model, tmp_path)
    assert caught.value.reason == "model_missing"
    command = "harness models synth tiny --quant q4_0 --format gguf --seed 7 --context 256"
    assert caught.value.hint == command
    assert not presence(model, tmp_path).here
    assert call(*command.split()[3:]).exit_code == 0
    assert presence(model, tmp_path).here
    artefact = resolve(model, tmp_path)
    assert artefact.model.synthetic
    assert artefact.model.context == 256


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("shape: tiny", "shape: tinny", 8, "unknown shape 'tinny'; did you mean 'tiny'?"),
        ("shape: tiny", "shape: phi-4-mini", 8, "phi3 has fused q, k, v"),
        (", shape: tiny", "", 8, "needs 'shape'"),
        ("seed: 7", "seed: -1", 8, "seed is -1"),
        ("seed: 7", "path: x", 8, "has no 'path'"),
        ("quantisation: q4_0", "quantisation: int4", 6, "cannot be written as int4 in gguf"),
        ("context: 256", "context: 1024", 7, "context 1024 is more than 'tiny' has"),
        ("kind: synthetic", "kind: file", 8, "a source of kind 'file' has no 's"),
    ],
)
def test_impossible_entries_are_refused_at_their_line(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    assert old in ENTRY
    with pytest.raises(SpecError) as caught:
        entry(tmp_path, ENTRY.replace(old, new))
    assert words in str(caught.value)
    assert caught.value.where.endswith(f"models.yaml:{line}")


def test_the_shipped_set_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = specfile.load_catalogue(specfile.built_in("models.yaml"))
    models = specfile.find_set(catalogue, "synthetic")
    assert {model.format for model in models} == {"gguf", "onnx"}
    for model in models:
        assert model.source.kind == "synthetic"
        assert model.id == f"{model.family}.{model.quantisation}.{model.format}"
        with pytest.raises(PrerequisiteError):
            synth.locate(model)
