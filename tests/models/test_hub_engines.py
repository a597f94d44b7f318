"""Both engines open a model through the links of the hub's cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest

from harness.models import hub
from harness.models.export_gguf import export_gguf
from harness.models.export_onnx import export_onnx
from harness.models.resolve import resolve
from harness.spec import Format, Model, Source
from tests.backends.conftest import ONE_THREAD, make_backend
from tests.models.hub_server import COMMIT, REPO, Hub, serving, sha256

if TYPE_CHECKING:
    from harness.models.network import Network


def files_of(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("kind", ["gguf", "onnx"])
def test_a_pulled_model_runs(
    kind: Format,
    make_toy: Callable[..., Network],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toy = make_toy(max_position_embeddings=96)
    made = tmp_path / "made"
    made.mkdir()
    if kind == "gguf":
        export_gguf(toy, made / "toy.gguf", "f16")
    else:
        graph = export_onnx(toy, made, "fp32")
        # Weights beside the graph: one more link that the engine has to follow.
        onnx.save_model(
            onnx.load(graph), graph, save_as_external_data=True,
            location=f"{graph.name}_data", size_threshold=1024, convert_attribute=False,
        )  # fmt: skip
    files = files_of(made)
    assert kind == "gguf" or "model.onnx_data" in files
    source = Source(
        kind="hub", repo=REPO, revision=COMMIT, files=tuple(files),
        sha256={name: sha256(data) for name, data in files.items()},
    )  # fmt: skip
    model = Model(id=f"toy.f.{kind}", family="toy", format=kind, quantisation="f", source=source)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serving(Hub(commits={COMMIT: files})) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        hub.pull(model, lambda _: None)
    artefact = resolve(model, tmp_path)
    assert artefact.sha256 == dict(source.sha256)
    assert artefact.model.context == 96
    backend = make_backend(model.backend_name)
    backend.import_engine()
    backend.load(Path(artefact.path), ONE_THREAD)
    try:
        assert backend.prefill([5, 6, 7]).next_id >= 0
    finally:
        backend.close()
