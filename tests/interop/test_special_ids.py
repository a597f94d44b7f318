"""Start, prefix and end tokens are those that the model's own tokeniser is made with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.backends.base import Backend
from harness.errors import BackendError
from harness.interop.special_ids import special_ids
from harness.models.resolve import model_from_path, resolve
from harness.spec import Artefact, BackendOptions
from tests.backends.conftest import make_backend
from tests.interop.conftest import model
from tests.preflight import forged

END, PAD = 0, 1


def loaded(path: Path) -> Backend:
    made = make_backend("onnxruntime")
    made.load(path, BackendOptions(threads=1, context=64))
    return made


@pytest.fixture(scope="module")
def backend(cache: Path) -> Iterator[Backend]:
    made = loaded(model("fp32.onnx", cache))
    yield made
    made.close()


@pytest.fixture
def folder(cache: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model("fp32.onnx", cache).parent, tmp_path / "toy.fp32.onnx")


def found_in(path: Path) -> Artefact:
    return resolve(model_from_path(str(path)), Path())


def started(folder: Path) -> None:
    """Give the tokeniser a post-processor that puts `<|pad|>` before and the end behind a text."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    before, text, behind = (
        {"SpecialToken": {"id": "<|pad|>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
    )
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [before, text, behind],
        "pair": [before, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            name: {"id": name, "ids": [number], "tokens": [name]}
            for name, number in (("<|pad|>", PAD), ("<|endoftext|>", END))
        },
    }
    path.write_text(json.dumps(tokenizer), "utf-8")


NAMES = {"bos_token": "<|pad|>", "eos_token": {"content": "<|endoftext|>"}}


@pytest.mark.parametrize(
    ("config", "post", "expected"),
    [
        ({}, False, ((), END, END)),
        (NAMES, False, ((), PAD, END)),
        ({"eos_token": "<|pad|>"}, False, ((), PAD, PAD)),
        ({"bos_token": None, "eos_token": "no such token"}, False, ((), END, END)),
        ({}, True, ((PAD,), PAD, END)),
        (NAMES, True, ((PAD,), PAD, END)),
        (NAMES | {"add_bos_token": False}, True, ((), PAD, END)),
        (NAMES | {"add_bos_token": True}, False, ((PAD,), PAD, END)),
        ({"add_bos_token": True}, False, ((), END, END)),
    ],
)
def test_folders(
    config: dict[str, Any], post: bool, expected: tuple[Any, ...], folder: Path
) -> None:
    if post:
        started(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    backend = loaded(folder)
    assert special_ids(found_in(folder), backend) == expected
    backend.close()


def test_the_embedded_models_start_with_nothing(cache: Path, backend: Backend) -> None:
    for variant in ("fp32.onnx", "f16.gguf", "f32.safetensors"):
        assert special_ids(found_in(model(variant, cache)), backend) == ((), END, END)


@pytest.mark.parametrize(
    ("fields", "start", "expected"),
    [
        ({"bos_token_id": 5, "eos_token_id": 7}, (5,), ((5,), 5, 7)),
        ({"bos_token_id": 5, "eos_token_id": 7}, (), ((), 7, 7)),
        ({}, (), ((), END, END)),
    ],
)
def test_gguf_files(
    fields: dict[str, int],
    start: tuple[int, ...],
    expected: tuple[Any, ...],
    tmp_path: Path,
    backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(vars(backend), "begin_ids", start)
    entries = {f"tokenizer__ggml__{name}": forged.u32(value) for name, value in fields.items()}
    path = forged.write(tmp_path / "toy.gguf", forged.model(**entries))
    assert special_ids(found_in(path), backend) == expected


def test_a_model_without_an_end_is_refused(
    folder: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(backend), "end_ids", property(lambda _: frozenset()))
    with pytest.raises(BackendError, match="no end-of-sequence") as caught:
        special_ids(found_in(folder), backend)
    assert caught.value.reason == "no_end_token"


def test_a_damaged_configuration_is_named(folder: Path, backend: Backend) -> None:
    (folder / "tokenizer_config.json").write_text("{", "utf-8")
    with pytest.raises(BackendError, match=r"tokenizer_config\.json: cannot be read"):
        special_ids(found_in(folder), backend)
