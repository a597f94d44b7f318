"""Folders that are more, or less, than data are refused before a library opens them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.backends.safetensors_folder import open_folder
from harness.errors import BackendError, HarnessError
from harness.models.export_safetensors import export_safetensors
from harness.models.network import Network
from harness.models.safetensors_file import INDEX, WEIGHTS

Change = Callable[[Path], object]


@pytest.fixture
def folder(toy: Network, tmp_path: Path) -> Path:
    return export_safetensors(toy, tmp_path / "toy.safetensors", "f32")


def configure(folder: Path, name: str = "config.json", **changes: Any) -> None:
    path = folder / name
    values = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(json.dumps(values | changes), "utf-8")


def test_a_plain_folder_is_described(folder: Path) -> None:
    configure(folder, "generation_config.json", eos_token_id=[1, 7])
    found = open_folder(folder)
    assert found.context == 96
    assert found.end_ids == {1, 7}
    assert found.bytes_on_disk == (folder / WEIGHTS).stat().st_size
    assert found.tokenizer == folder / "tokenizer.json"


def test_a_nested_configuration_counts(folder: Path) -> None:
    (folder / "config.json").write_text(
        '{"text_config": {"max_position_embeddings": 64, "eos_token_id": 5}}', "utf-8"
    )
    found = open_folder(folder)
    assert (found.context, found.end_ids) == (64, {5})


def only_pickles(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def index(text: str) -> Change:
    def write(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        (folder / INDEX).write_text(text, "utf-8")

    return write


CODE = {"AutoModelForCausalLM": "modeling.Own"}
REFUSED: dict[str, tuple[Change, str, str]] = {
    "code": (lambda f: configure(f, auto_map=CODE), "remote_code", "code of its own"),
    "nested code": (
        lambda f: configure(f, text_config={"auto_map": CODE}),
        "remote_code",
        "code of its own",
    ),
    "pickles": (only_pickles, "weights_pickled", "pytorch_model.bin"),
    "quantised": (
        lambda f: configure(f, quantization_config={"quant_method": "gptq"}),
        "weights_quantised",
        "quantised already",
    ),
    "other files": (
        lambda f: configure(f, transformers_weights="x.bin"),
        "model_unreadable",
        "transformers_weights",
    ),
    "adapter": (lambda f: configure(f, "adapter_config.json"), "model_unreadable", "an adapter"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "wrong_format", f"no {WEIGHTS}"),
    "no tokeniser": (
        lambda f: (f / "tokenizer.json").unlink(),
        "model_unreadable",
        "must be tokenised",
    ),
    "no configuration": (
        lambda f: (f / "config.json").unlink(),
        "model_unreadable",
        "cannot be read",
    ),
    "no object": (
        lambda f: (f / "config.json").write_text("[]", "utf-8"),
        "model_unreadable",
        "not a JSON object",
    ),
    "missing shard": (
        index('{"weight_map": {"a": "1.safetensors"}}'),
        "bad_config",
        r"no file '1\.safetensors'",
    ),
    "path in the index": (
        index('{"weight_map": {"a": "../1.safetensors"}}'),
        "bad_config",
        r"no file '\.\./1\.safetensors'",
    ),
    "pickle in the index": (
        index('{"weight_map": {"a": "1.bin"}}'),
        "bad_config",
        r"no file '1\.bin'",
    ),
    "empty index": (index('{"weight_map": {}}'), "bad_config", "no list of files"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_plain_data_is_refused(what: str, folder: Path) -> None:
    change, reason, message = REFUSED[what]
    change(folder)
    with pytest.raises(HarnessError, match=message) as caught:
        open_folder(folder)
    assert caught.value.reason == reason
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("what", ["code", "pickles", "quantised"])
def test_refusals_name_the_next_step(what: str, folder: Path) -> None:
    REFUSED[what][0](folder)
    with pytest.raises(HarnessError) as caught:
        open_folder(folder)
    assert caught.value.allowed
    assert caught.value.hint


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.pth", "model.ckpt"])
def test_every_kind_of_pickle_is_called_one(name: str, folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / name)
    with pytest.raises(BackendError, match="pickles") as caught:
        open_folder(folder)
    assert caught.value.reason == "weights_pickled"
