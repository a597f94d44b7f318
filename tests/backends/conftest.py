"""Small models of every format, made once a session, and backends opened on them."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.backends import BACKENDS
from harness.backends.base import Backend
from harness.models.export_gguf import export_gguf
from harness.models.export_onnx import export_onnx
from harness.models.export_safetensors import export_safetensors
from harness.models.network import Network
from harness.spec import BackendOptions
from tests.backends.plain_graph import write_plain_folder
from tests.backends.recurrent_gguf import write_mamba
from tests.models.toys import toy_network

CONTEXT = 96
ONE_THREAD = BackendOptions(threads=1, context=CONTEXT)
"""Two threads spin at each other's barriers when the machine is busy."""

Open = Callable[..., Backend]


NO_TORCH = "PyTorch not available here: transformers backend not tested"


def require_torch() -> None:
    """Skip where the optional engine is not installed; looking for it must not import it."""
    if not all(map(importlib.util.find_spec, ("torch", "transformers"))):
        pytest.skip(NO_TORCH)


def backend_name(path: Path) -> str:
    """The backend that opens a model of these tests."""
    by_suffix = {".json": "fake", ".gguf": "llama_cpp", ".safetensors": "transformers"}
    return by_suffix.get(path.suffix, "onnxruntime")


def make_backend(name: str) -> Backend:
    module, _, kind = BACKENDS[name].partition(":")
    backend: Backend = getattr(importlib.import_module(module), kind)()
    return backend


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """Random weights, drawn once and not at every access."""
    made = toy_network(tmp_path_factory.mktemp("toy"), max_position_embeddings=CONTEXT)
    return dataclasses.replace(made, tensors=dict(made.tensors))


@pytest.fixture(scope="session")
def models(toy: Network, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Path by a name that tests use."""
    folder = tmp_path_factory.mktemp("models")
    made = {}
    for quant in ("f32", "f16"):
        made[f"{quant}.gguf"] = folder / f"toy.{quant}.gguf"
        export_gguf(toy, made[f"{quant}.gguf"], quant)
    variants = {
        "onnx": {},
        "onnx-all-rows": {"logits_rows": False},
        "onnx-positions": {"position_ids": True},
        "onnx-js": {},
        "onnx-js-all": {"logits_rows": False, "position_ids": True},
    }
    for name, options in variants.items():
        made[name] = folder / name
        export_onnx(toy, made[name], "fp32", **options)
        if "-js" in name:
            _as_transformers_js(made[name], toy)
    for half in (False, True):
        name = "onnx-plain-half" if half else "onnx-plain"
        made[name] = write_plain_folder(folder / name, toy.tokenizer, CONTEXT, half=half)
    made["onnx-fan"] = write_plain_folder(
        folder / "onnx-fan", toy.tokenizer, CONTEXT, batch="batch"
    )
    made["mamba.gguf"] = write_mamba(toy, folder / "mamba.gguf", CONTEXT)
    made["safetensors"] = export_safetensors(toy, folder / "toy.safetensors", "f32")
    made["fake"] = folder / "toy.fake.json"
    made["fake"].write_text(json.dumps({"context": CONTEXT}), "utf-8")
    return made


def _as_transformers_js(folder: Path, network: Network) -> None:
    """The other layout in use: the graph in a folder of its own, Hugging Face's config."""
    (folder / "genai_config.json").unlink()
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    (folder / "config.json").write_text(network.config.to_json(), "utf-8")


@pytest.fixture
def opened(models: dict[str, Path]) -> Iterator[Open]:
    """Open a model by name (or path) and close it after the test."""
    backends: list[Backend] = []

    def open_model(model: str | Path, options: BackendOptions = ONE_THREAD) -> Backend:
        path = models[model] if isinstance(model, str) else model
        name = backend_name(path)
        if name == "transformers":
            require_torch()
        backend = make_backend(name)
        backend.load(path, options)
        backends.append(backend)
        return backend

    yield open_model
    for backend in backends:
        backend.close()
