"""What a path or an entry has to be before an engine sees it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import PrerequisiteError, SpecError
from harness.models.export_gguf import export_gguf
from harness.models.export_onnx import export_onnx
from harness.models.export_safetensors import export_safetensors
from harness.models.resolve import model_from_path, resolve
from harness.spec import MODEL_ID, Model, Source
from tests.preflight import forged

if TYPE_CHECKING:
    from harness.models.network import Network


def gguf(folder: Path, name: str = "toy-0.1b-Q4_K_M.gguf") -> Path:
    return forged.write(folder / name, forged.model())


def entry(source: Source, kind: str = "gguf") -> Model:
    return Model(id="a.b.c", family="a", format=kind, quantisation="b", source=source)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "model_id", "family", "quantisation"),
    [
        ("toy-0.1b-Q4_K_M.gguf", "toy-0.1b-q4_k_m.gguf", "toy-0.1b", "q4_k_m"),
        ("Toy.F16.gguf", "toy.f16.gguf", "toy", "f16"),
        ("no quantisation.gguf", "no-quantisation.gguf", "no quantisation", "unknown"),
        ("한글-q8_0.gguf", "q8_0-069e9f.gguf", "한글", "q8_0"),
        ("한글.gguf", "model-bd87f9.gguf", "한글", "unknown"),
    ],
)
def test_a_path_becomes_an_entry(
    tmp_path: Path, name: str, model_id: str, family: str, quantisation: str
) -> None:
    model = model_from_path(str(gguf(tmp_path, name)))
    assert (model.id, model.family, model.quantisation) == (model_id, family, quantisation)
    assert model.backend_name == "llama_cpp"
    assert MODEL_ID.fullmatch(model.id)
    artefact = resolve(model, Path("/nowhere"))
    assert artefact.path == str(tmp_path / name)
    assert artefact.size_bytes == len(forged.model())


def onnx(toy: Network, folder: Path, *graphs: str) -> bytes:
    """An ONNX folder with these copies of one graph; returns the bytes of its tokeniser."""
    path = export_onnx(toy, folder, "int8")
    content = path.read_bytes()
    path.unlink()
    (folder / "genai_config.json").unlink(missing_ok=True)
    for name in graphs:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return (folder / "tokenizer.json").read_bytes()


def test_an_onnx_folder_hashes_what_belongs_to_it(toy: Network, tmp_path: Path) -> None:
    folder = tmp_path / "toy-int4"
    tokenizer = onnx(toy, folder, "onnx/model_q4.onnx", "onnx/model.onnx")
    (folder / "onnx" / "model_q4.onnx_data").write_bytes(b"weights")
    (folder / "README.md").write_text("not part of the artefact")
    (folder / "onnx" / "model.onnx_data").write_bytes(b"another graph's weights")
    with pytest.raises(SpecError, match="2 ONNX models in this folder") as caught:
        resolve(model_from_path(str(folder)), Path())
    assert str(folder / "onnx" / "model_q4.onnx") in caught.value.allowed
    model = model_from_path(str(folder / "onnx" / "model_q4.onnx"))
    assert model.quantisation == "q4"
    expected = {"onnx/model_q4.onnx", "onnx/model_q4.onnx_data", "tokenizer.json"}
    expected |= {file.name for file in folder.glob("*.json")}
    assert set(resolve(model, Path()).sha256) == expected
    (folder / "onnx" / "model.onnx").unlink()
    (folder / "onnx" / "model.onnx_data").unlink()
    model = model_from_path(str(folder))
    assert (model.format, model.quantisation, model.backend_name) == ("onnx", "int4", "onnxruntime")
    artefact = resolve(model, Path())
    assert set(artefact.sha256) == expected
    assert artefact.sha256["tokenizer.json"] == hashlib.sha256(tokenizer).hexdigest()


def test_a_declared_hash_is_checked(tmp_path: Path) -> None:
    path = gguf(tmp_path)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    good = Source(kind="file", path=path.name, sha256={path.name: right.upper()})
    assert resolve(entry(good), tmp_path).sha256 == {path.name: right}
    bad = Source(kind="file", path=path.name, sha256={path.name: "0" * 64})
    with pytest.raises(SpecError) as caught:
        resolve(entry(bad), tmp_path)
    assert caught.value.reason == "hash_mismatch"
    assert right in str(caught.value)


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = gguf(tmp_path)

    def refuse(_: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("harness.models.resolve.file_sha256", refuse)
    with pytest.raises(PrerequisiteError, match="cannot be read: Permission denied") as caught:
        resolve(entry(Source(kind="file", path=path.name)), tmp_path)
    assert caught.value.where == str(path)


def test_a_folder_is_not_a_gguf_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="a folder, not a gguf file"):
        resolve(entry(Source(kind="file", path=".")), tmp_path)


def test_an_absent_hub_model_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    source = Source(kind="hub", repo="someone/model", files=("m.gguf",), revision="a" * 40)
    with pytest.raises(PrerequisiteError) as caught:
        resolve(entry(source), tmp_path)
    assert caught.value.reason == "not_pulled"
    assert caught.value.hint == "harness models pull a.b.c"
    folder = tmp_path / "models" / "a.b.c"
    folder.mkdir(parents=True)
    gguf(folder, "m.gguf")
    assert resolve(entry(source), tmp_path).path == str(folder / "m.gguf")


def test_names_that_no_system_allows(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="no such file"):
        model_from_path("x" * 300)
    path = tmp_path / os.fsdecode(b"bad\xb8\xf0.gguf")
    path.write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(SpecError, match="not valid text"):
        model_from_path(str(path))


def test_a_model_builder_folder_names_its_graph(toy: Network, tmp_path: Path) -> None:
    config = '{"model": {"decoder": {"filename": "m.onnx"}}}'
    onnx(toy, tmp_path)
    (tmp_path / "genai_config.json").write_text(config)
    with pytest.raises(SpecError, match=r"no file 'm\.onnx'"):
        resolve(model_from_path(str(tmp_path)), Path())
    onnx(toy, tmp_path, "m.onnx", "other.onnx")
    (tmp_path / "genai_config.json").write_text(config)
    artefact = resolve(model_from_path(str(tmp_path)), Path())
    assert artefact.path == str(tmp_path / "m.onnx")
    assert {"genai_config.json", "m.onnx", "tokenizer.json"} <= set(artefact.sha256)
    assert "other.onnx" not in artefact.sha256
    (tmp_path / "genai_config.json").write_text('{"model": []}')
    with pytest.raises(SpecError, match=r"model\.decoder\.filename"):
        resolve(model_from_path(str(tmp_path)), Path())
    (tmp_path / "genai_config.json").write_text("[" * 100_000)
    with pytest.raises(SpecError, match="nested hundreds deep") as caught:
        resolve(model_from_path(str(tmp_path)), Path())
    assert caught.value.reason == "json_depth"


def test_a_safetensors_folder_hashes_what_belongs_to_it(
    make_toy: Callable[..., Network], tmp_path: Path
) -> None:
    folder = export_safetensors(make_toy(), tmp_path / "Toy-Instruct", "f32")
    (folder / "README.md").write_text("not part of the artefact")
    (folder / "consolidated.safetensors").write_bytes(b"the same weights in another layout")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    model = model_from_path(str(folder))
    assert (model.format, model.backend_name) == ("safetensors", "transformers")
    assert (model.id, model.quantisation) == ("toy-instruct.safetensors", "unknown")
    artefact = resolve(model, Path())
    assert artefact.model.quantisation == "f32"
    assert artefact.path == str(folder)
    assert set(artefact.sha256) == {
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    named = model_from_path(str(folder / "model.safetensors"))
    assert named == model, "its file stands for the folder"
    (folder / "model.onnx").write_bytes(b"graph")
    assert model_from_path(str(folder)).format == "onnx"


def test_shards_are_those_of_the_index(make_toy: Callable[..., Network], tmp_path: Path) -> None:
    folder = export_safetensors(make_toy(), tmp_path / "toy", "f32")
    shard = "model-00001-of-00001.safetensors"
    (folder / "model.safetensors").rename(folder / shard)
    index = folder / "model.safetensors.index.json"
    index.write_text(f'{{"weight_map": {{"a": "{shard}"}}}}')
    assert {shard, index.name} <= set(resolve(model_from_path(str(folder)), Path()).sha256)
    for text, reason in (
        ('{"weight_map": {"a": "gone.safetensors"}}', "bad_config"),
        ('{"weight_map": {"a": "../x"}}', "bad_config"),
        ("{}", "bad_config"),
        ("[]", "json_invalid"),
    ):
        index.write_text(text)
        with pytest.raises(SpecError, match=r"index\.json") as caught:
            resolve(model_from_path(str(folder)), Path())
        assert caught.value.reason == reason


SPOILED = {
    "no weights": ("wrong_format", "no model.safetensors"),
    "pickles": ("file_type", "a pickle can run code"),
    "no tokenizer": ("tokenizer_missing", "no tokenizer.json"),
    "empty": ("empty_file", "the file is empty"),
    "noise": ("safetensors_header", "a header of 18446744073709551615 bytes"),
    "no header": ("safetensors_header", "it cannot be read"),
    "truncated": ("safetensors_place", "are there"),
}


@pytest.mark.parametrize("damage", SPOILED)
def test_spoiled_safetensors_are_named(
    damage: str, make_toy: Callable[..., Network], tmp_path: Path
) -> None:
    folder = export_safetensors(make_toy(), tmp_path / "toy", "f32")
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    if damage in {"no weights", "pickles"}:
        weights.unlink()
        if damage == "pickles":
            (folder / "pytorch_model.bin").write_bytes(b"PK")
    elif damage == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    else:
        changed = {"empty": b"", "noise": b"\xff" * 99, "no header": data[:8] + b"x" * len(data)}
        weights.write_bytes(changed.get(damage, data[:-100]))
    reason, message = SPOILED[damage]
    with pytest.raises(SpecError, match=message) as caught:
        resolve(model_from_path(str(folder)), Path())
    assert caught.value.reason == reason
    assert str(folder) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("kind", ["gguf", "onnx", "safetensors"])
def test_the_longest_context_is_read_from_the_files(
    make_toy: Callable[..., Network], tmp_path: Path, kind: str
) -> None:
    """Else a case beyond it would fail in its worker instead of being left out."""
    toy = make_toy(max_position_embeddings=320)
    if kind == "gguf":
        path = tmp_path / "toy.gguf"
        export_gguf(toy, path, "f16")
    elif kind == "onnx":
        path = export_onnx(toy, tmp_path, "fp32")
    else:
        path = export_safetensors(toy, tmp_path, "f32")
    found = resolve(model_from_path(str(path)), tmp_path).model
    assert found.context == 320
    declared = replace(model_from_path(str(path)), context=64)
    assert resolve(declared, tmp_path).model.context == 64, "the entry has the last word"


def test_files_that_declare_no_context_leave_it_open(toy: Network, tmp_path: Path) -> None:
    onnx(toy, tmp_path, "model.onnx")
    (tmp_path / "config.json").write_text("{}")
    assert resolve(model_from_path(str(tmp_path)), tmp_path).model.context == 0
