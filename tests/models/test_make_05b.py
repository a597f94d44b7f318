"""The maker of large random models, on a small shape."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.perf import make_05b

gguf = pytest.importorskip("gguf")
onnx = pytest.importorskip("onnx")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shrink the shape; the code path stays."""
    shape = dataclasses.replace(
        make_05b.QWEN25_05B, hidden_size=128, intermediate_size=256, vocab_size=600
    )
    monkeypatch.setattr(make_05b, "QWEN25_05B", shape)


def test_gguf_is_stamped_synthetic(tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"
    done = CliRunner().invoke(make_05b.main, [str(out), "--layers", "1"])
    assert done.exit_code == 0, done.output
    fields = gguf.GGUFReader(out).fields
    assert fields["harness.synthetic"].contents() is True
    assert len(fields["tokenizer.ggml.tokens"].contents()) == 600


def test_onnx_is_stamped_synthetic(tmp_path: Path) -> None:
    arguments = [str(tmp_path), "--format", "onnx", "--quant", "int4", "--layers", "1"]
    done = CliRunner().invoke(make_05b.main, arguments)
    assert done.exit_code == 0, done.output
    model = onnx.load(tmp_path / "model.onnx")
    assert {p.key: p.value for p in model.metadata_props}["synthetic"] == "true"
    assert "logits_rows" in {value.name for value in model.graph.input}


def test_a_graph_may_return_every_row(tmp_path: Path) -> None:
    arguments = [str(tmp_path), "--format", "onnx", "--quant", "int4", "--layers", "1"]
    done = CliRunner().invoke(make_05b.main, [*arguments, "--every-row"])
    assert done.exit_code == 0, done.output
    model = onnx.load(tmp_path / "model.onnx")
    assert "logits_rows" not in {value.name for value in model.graph.input}


def test_a_prompt_has_a_token_a_character(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    path = make_05b.byte_tokenizer(tmp_path / "tokenizer.json", 600)
    tokenizer = Tokenizer.from_file(str(path))
    assert len(tokenizer.encode("a prompt of 27 characters..").ids) == 27
    assert tokenizer.get_vocab_size() == 600


@pytest.mark.parametrize(("kind", "quant"), [("gguf", "q4_0"), ("onnx", "int4")])
def test_the_stamp_is_read_back(tmp_path: Path, kind: str, quant: str) -> None:
    from harness.models import reference
    from harness.models.resolve import model_from_path, resolve

    out = tmp_path / "noise.q4_0.gguf" if kind == "gguf" else tmp_path / "noise"
    arguments = [str(out), "--format", kind, "--quant", quant, "--layers", "1"]
    assert CliRunner().invoke(make_05b.main, arguments).exit_code == 0
    assert resolve(model_from_path(str(out)), tmp_path).model.synthetic
    trained = reference.materialise("ref-2m.f16.gguf" if kind == "gguf" else "ref-2m.int4.onnx")
    assert not resolve(model_from_path(str(trained)), tmp_path).model.synthetic
