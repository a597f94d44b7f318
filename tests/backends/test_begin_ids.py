"""What a model's own tokeniser puts before a text, in both engines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.backends.base import Backend
from harness.models import reference
from harness.spec import BackendOptions
from harness.suites.fidelity import _tokeniser
from tests.backends.conftest import make_backend

BOS = 0  # <|endoftext|>
KEY = b"tokenizer.ggml.add_bos_token\x07\x00\x00\x00"


def with_bos(folder: Path, kind: str) -> Path:
    """ref-2m as if it had been trained with a token at the start of each text."""
    if kind == "gguf":
        data = reference.materialise("ref-2m.f16.gguf").read_bytes()
        assert data.count(KEY + b"\x00") == 1
        path = folder / "bos.gguf"
        path.write_bytes(data.replace(KEY + b"\x00", KEY + b"\x01"))
        return path
    path = folder / "bos"
    shutil.copytree(reference.materialise("ref-2m.fp32.onnx"), path)
    document = json.loads((path / "tokenizer.json").read_text("utf-8"))
    special = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    document["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [special, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [special, *({"Sequence": {"id": name, "type_id": 0}} for name in "AB")],
        "special_tokens": {
            "<|endoftext|>": {"id": "<|endoftext|>", "ids": [BOS], "tokens": ["<|endoftext|>"]}
        },
    }
    (path / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False), "utf-8")
    return path


def opened(path: Path) -> Backend:
    backend = make_backend("llama_cpp" if path.suffix == ".gguf" else "onnxruntime")
    backend.load(path, BackendOptions(threads=1, context=64))
    return backend


@pytest.mark.parametrize("kind", ["gguf", "onnx"])
def test_a_token_at_the_start_is_told_and_never_added(tmp_path: Path, kind: str) -> None:
    backend = opened(with_bos(tmp_path, kind))
    assert backend.begin_ids == (BOS,)
    assert BOS not in backend.encode("한 줄의 글")
    backend.close()


@pytest.mark.parametrize("model", ["ref-2m.f16.gguf", "ref-2m.fp32.onnx"])
def test_most_files_have_none(model: str) -> None:
    backend = opened(reference.materialise(model))
    assert backend.begin_ids == ()
    backend.close()


def test_formats_of_one_network_are_told_to_be_alike(tmp_path: Path) -> None:
    found = []
    for kind in ("gguf", "onnx"):
        for path in (reference.materialise(f"ref-2m.{'f16' if kind == 'gguf' else 'fp32'}.{kind}"),
                     with_bos(tmp_path, kind)):  # fmt: skip
            backend = opened(path)
            found.append(_tokeniser(backend))
            backend.close()
    assert found[0] == found[2]
    assert found[1] == found[3] != found[0]
