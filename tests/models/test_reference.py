"""The embedded artefacts: made once, verified always, mended when damaged.

Most tests ship toy weights instead of the trained ones; the last checks the real hashes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import HarnessError, PrerequisiteError, SpecError
from harness.models import quantise, reference
from tests.models.toys import save

if TYPE_CHECKING:
    from harness.models.network import Network

pytest.importorskip("gguf")
pytest.importorskip("onnx")

EVERYWHERE = [name for name in reference.artefact_ids() if "_k_" not in name]


@pytest.fixture(scope="module")
def toys(make_toy: Callable[..., Network], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder with toy networks and their hashes, made once."""
    folder = tmp_path_factory.mktemp("weights")
    for layers, name in zip((2, 1), reference.NETWORKS, strict=True):
        network = dataclasses.replace(make_toy(num_hidden_layers=layers), name=name)
        save(network, folder / f"{name}.safetensors")
        (folder / "tokenizer.json").write_bytes(network.tokenizer.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "WEIGHTS", folder)
        reference.write_hashes()
    return folder


@pytest.fixture
def shipped(toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in place of the trained networks."""
    folder = shutil.copytree(toys, tmp_path / "weights")
    monkeypatch.setattr(reference, "WEIGHTS", folder)
    return folder


@pytest.fixture
def cache(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, chosen by the environment."""
    folder = shipped.parent / "cache"
    monkeypatch.setenv("HARNESS_CACHE", str(folder))
    return folder


def files_of(path: Path) -> dict[str, bytes]:
    members = [path] if path.is_file() else sorted(path.iterdir())
    return {member.name: member.read_bytes() for member in members}


def weights_in(folder: Path) -> Path:
    (found,) = (path for path in folder.glob("model.*") if path.suffix != ".json")
    return found


def test_ids_name_network_quantisation_and_format() -> None:
    ids = reference.artefact_ids()
    assert len(set(ids)) == 16
    assert {"ref-4m.f16.gguf", "ref-2m.q4_k_m.gguf", "ref-4m.int4.onnx"} <= set(ids)
    assert "ref-2m.f32.safetensors" in ids


@pytest.mark.parametrize("model_id", EVERYWHERE)
def test_made_once_then_reused(cache: Path, model_id: str) -> None:
    path = reference.materialise(model_id)
    assert path == cache / model_id
    assert path.is_file() == model_id.endswith(".gguf")
    member = path if path.is_file() else weights_in(path)
    made = member.stat().st_mtime_ns
    assert reference.materialise(model_id) == path
    assert member.stat().st_mtime_ns == made
    assert {child.name for child in cache.iterdir()} == {model_id}, "nothing temporary is left"


@pytest.mark.parametrize(
    "model_id", ["ref-2m.q4_0.gguf", "ref-2m.int4.onnx", "ref-2m.f32.safetensors"]
)
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_file_is_made_anew(cache: Path, model_id: str, damage: str) -> None:
    path = reference.materialise(model_id)
    assert path.parent == cache
    good = files_of(path)
    member = path if path.is_file() else weights_in(path)
    if damage == "flip":
        member.write_bytes(bytes([good[member.name][0] ^ 1]) + good[member.name][1:])
    elif damage == "truncate":
        member.write_bytes(good[member.name][:1000])
    else:
        member.unlink()
    assert files_of(reference.materialise(model_id)) == good


def test_many_at_once_agree(cache: Path) -> None:
    ids = ["ref-2m.int8.onnx", "ref-2m.q8_0.gguf"] * 8
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(reference.materialise, ids))
    hashes = reference.shipped_hashes()
    for path in paths:
        assert files_of(path).keys() == hashes[path.name].keys()
    assert {child.name for child in cache.iterdir()} == set(ids)


def test_two_processes_at_once(shipped: Path, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from harness.models import reference as r;"
        "r.WEIGHTS = pathlib.Path(sys.argv[1]);"
        "print(r.materialise('ref-2m.fp32.onnx', pathlib.Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, str(shipped), str(tmp_path / "shared")]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [child.communicate(timeout=60)[0].strip() for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert set(said) == {str(tmp_path / "shared" / "ref-2m.fp32.onnx")}


def test_hashes_do_not_depend_on_vector_instructions(shipped: Path, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from harness.models import reference as r;"
        "r.WEIGHTS = pathlib.Path(sys.argv[1]);"
        "[r.materialise(name, pathlib.Path(sys.argv[2])) for name in sys.argv[3:]]"
    )
    ids = [name for name in EVERYWHERE if name.startswith("ref-2m")]
    command = [sys.executable, "-W", "ignore", "-c", code, str(shipped), str(tmp_path / "c"), *ids]
    # Names of old and new releases of NumPy; what a machine lacks is ignored.
    less = "X86_V4 X86_V3 AVX512F AVX512_SKX AVX2 FMA3 ASIMDHP ASIMDDP"
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": less}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_hash_that_does_not_match_names_file_and_both_hashes(shipped: Path, cache: Path) -> None:
    path = shipped / "artefacts.json"
    hashes = json.loads(path.read_text())
    found = hashes["ref-2m.int8.onnx"]["model.onnx"]
    hashes["ref-2m.int8.onnx"]["model.onnx"] = "0" * 64
    path.write_text(json.dumps(hashes))
    with pytest.raises(HarnessError) as caught:
        reference.materialise("ref-2m.int8.onnx")
    message = str(caught.value)
    for word in ("model.onnx of ref-2m.int8.onnx", found, "0" * 64, "pip install"):
        assert word in message
    assert caught.value.reason == "hash_mismatch"
    assert not (cache / "ref-2m.int8.onnx").exists(), "unverified bytes never reach the cache"


def test_an_unknown_id_is_met_with_the_nearest(cache: Path) -> None:
    with pytest.raises(SpecError, match=r"did you mean 'ref-4m.q4_0.gguf'"):
        reference.materialise("ref-4m.q4_O.gguf", cache)


def test_a_missing_hash_names_the_command(shipped: Path, cache: Path) -> None:
    (shipped / "artefacts.json").unlink()
    with pytest.raises(PrerequisiteError, match="--write-hashes"):
        reference.materialise("ref-4m.f16.gguf", cache)


def test_an_unwritable_cache_names_the_variable(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(shipped / "tokenizer.json"))
    with pytest.raises(PrerequisiteError, match="set HARNESS_CACHE"):
        reference.materialise("ref-4m.f16.gguf")


@pytest.mark.parametrize(
    ("package", "model_id"), [("gguf", "ref-4m.f16.gguf"), ("onnx", "ref-4m.int4.onnx")]
)
@pytest.mark.usefixtures("cache")
def test_a_missing_package_names_the_command(
    monkeypatch: pytest.MonkeyPatch, package: str, model_id: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PrerequisiteError, match=r"pip install (gguf|onnx)"):
        reference.materialise(model_id)


def test_the_cache_folder_is_the_user_s_unless_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", "~/models")
    assert reference.cache_folder() == Path("~/models").expanduser()
    monkeypatch.delenv("HARNESS_CACHE")
    assert "sllm-harness" in reference.cache_folder().parts


def test_k_quants_are_made_by_this_build_of_llama_cpp(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("llama_cpp")
    model_id = "ref-2m.q4_k_m.gguf"
    path = reference.materialise(model_id)
    good = path.read_bytes()
    record = json.loads((cache / f"{model_id}.json").read_text())
    assert record["origin"]["llama_cpp"] == quantise.library_hash()

    def mtime_after(change: Callable[[], object]) -> int:
        change()
        assert reference.materialise(model_id).read_bytes() == good
        return path.stat().st_mtime_ns

    first = mtime_after(lambda: None)
    second = mtime_after(lambda: path.write_bytes(b"damaged"))
    third = mtime_after(lambda: (cache / f"{model_id}.json").write_text("[]"))
    other = "f" * 64
    fourth = mtime_after(lambda: monkeypatch.setattr(quantise, "library_hash", lambda: other))
    assert path.stat().st_mtime_ns == fourth
    assert first < second < third < fourth


def test_k_quants_without_llama_cpp_name_the_command(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(PrerequisiteError, match="pip install llama-cpp-python"):
        reference.materialise("ref-4m.q4_k_m.gguf", cache)


def test_a_failing_quantiser_says_why(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    source = tmp_path / "m.gguf"
    source.write_bytes(b"GGUFnonsense")
    with pytest.raises(HarnessError, match=r"could not quantise to q4_k_m \(exit") as caught:
        quantise.quantise(source, tmp_path / "out.gguf", "q4_k_m")
    assert str(source) in str(caught.value)


@pytest.mark.parametrize("model_id", EVERYWHERE)
def test_trained_weights_give_the_shipped_hashes(model_id: str, tmp_path: Path) -> None:
    assert reference.materialise(model_id, tmp_path).exists()
