"""What is particular to ONNX: two folder layouts, graphs of several kinds, two kinds of cache."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends import onnx_folder, onnx_library, onnxruntime
from harness.backends.onnx_cache import GrowingCache, SharedCache
from harness.errors import BackendError, PrerequisiteError
from harness.models.reference import WEIGHTS
from harness.spec import BackendOptions
from tests.backends.conftest import CONTEXT, Open


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


@pytest.mark.parametrize(
    ("model", "facts"),
    [
        ("onnx", ("model_builder", "model.onnx", "shared", "float32", "true")),
        ("onnx-all-rows", ("model_builder", "model.onnx", "shared", "float32", "false")),
        ("onnx-js", ("transformers_js", "model.onnx", "shared", "float32", "true")),
        ("onnx-plain", ("model_builder", "decoder.onnx", "growing", "float32", "false")),
        ("onnx-plain-half", ("model_builder", "decoder.onnx", "growing", "float16", "false")),
    ],
)
def test_graph_is_probed(model: str, facts: tuple[str, ...], opened: Open) -> None:
    found = opened(model).describe()
    names = ("layout", "graph", "cache", "kv_type", "logits_rows")
    assert tuple(found[name] for name in names) == facts


def test_engine_is_identified_and_pinned(opened: Open) -> None:
    facts = opened("onnx", BackendOptions(threads=2, context=64)).describe()
    assert (facts["threads"], facts["spinning"]) == ("2", "1")
    assert "threads_prefill" not in facts, "one pool serves both"
    assert facts["provider"] == "CPUExecutionProvider"
    assert len(facts["library_sha256"]) == 64
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_file_can_be_named_itself(models: dict[str, Path], opened: Open) -> None:
    for model, file in (
        ("onnx", "model.onnx"),
        ("onnx-js", "onnx/model.onnx"),
        ("onnx-plain", "decoder.onnx"),
    ):
        backend = opened(models[model] / file)
        assert backend.encode("가")
        assert 1 in backend.end_ids


def test_several_graphs_need_a_choice(
    models: dict[str, Path], tmp_path: Path, opened: Open
) -> None:
    folder = copied(models["onnx-js"], tmp_path / "two")
    shutil.copyfile(folder / "onnx/model.onnx", folder / "onnx/model_q4.onnx")
    with pytest.raises(BackendError, match="2 ONNX models") as caught:
        opened(folder)
    assert "onnx/model.onnx, onnx/model_q4.onnx" in str(caught.value)
    assert opened(folder / "onnx/model_q4.onnx").prefill([5]).evaluated == 1


def test_folder_without_a_graph(models: dict[str, Path], tmp_path: Path, opened: Open) -> None:
    folder = copied(models["onnx-js"], tmp_path / "none")
    shutil.rmtree(folder / "onnx")
    with pytest.raises(BackendError, match="no ONNX model"):
        opened(folder)


def test_the_tokeniser_of_another_network_is_refused(
    models: dict[str, Path], tmp_path: Path, opened: Open
) -> None:
    """Its ids would be outside the logits, or mean other words."""
    folder = copied(models["onnx"], tmp_path / "mixed")
    shutil.copyfile(WEIGHTS / "tokenizer.json", folder / "tokenizer.json")
    with pytest.raises(BackendError, match="the network knows 320") as caught:
        opened(folder)
    assert caught.value.reason == "vocabulary_differs"


def test_folder_without_a_tokeniser(models: dict[str, Path], tmp_path: Path, opened: Open) -> None:
    folder = copied(models["onnx"], tmp_path / "mute")
    (folder / "tokenizer.json").write_text("{}", "utf-8")
    with pytest.raises(BackendError, match="not a tokeniser"):
        opened(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BackendError, match=r"tokenizer\.json: no such file"):
        opened(folder)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_broken_configuration_is_named(
    text: str, models: dict[str, Path], tmp_path: Path, opened: Open
) -> None:
    folder = copied(models["onnx"], tmp_path / "broken")
    (folder / "genai_config.json").write_text(text, "utf-8")
    with pytest.raises(BackendError, match=r"genai_config\.json"):
        opened(folder)


def test_configuration_cannot_leave_the_folder(
    models: dict[str, Path], tmp_path: Path, opened: Open
) -> None:
    folder = copied(models["onnx"], tmp_path / "sly")
    config = json.loads((folder / "genai_config.json").read_text("utf-8"))
    config["model"]["decoder"]["filename"] = "../other/model.onnx"
    (folder / "genai_config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(BackendError, match="leaves the folder"):
        opened(folder)


def test_no_option_of_a_session_comes_from_the_folder(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Open
) -> None:
    """The preflight refuses such a configuration; it would have no effect either."""
    folder = copied(models["onnx"], tmp_path / "model")
    config = json.loads((folder / "genai_config.json").read_text("utf-8"))
    config["model"]["decoder"]["session_options"] = {
        "intra_op_num_threads": 7,
        "enable_profiling": str(tmp_path / "profile"),
        "optimized_model_filepath": str(tmp_path / "optimised.onnx"),
        "custom_ops_library": str(tmp_path / "missing.so"),
        "provider_options": [{"qnn": {"backend_path": "missing.so"}}],
    }
    edit(folder / "genai_config.json", **config)
    monkeypatch.chdir(tmp_path)
    facts = opened(folder, BackendOptions(threads=2, context=64)).describe()
    assert (facts["threads"], facts["provider"]) == ("2", "CPUExecutionProvider")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_end_ids_of_all_configurations_count(
    models: dict[str, Path], tmp_path: Path, opened: Open
) -> None:
    assert opened("onnx-plain").end_ids == {0, 1}
    folder = copied(models["onnx-js"], tmp_path / "ends")
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 9]}', "utf-8")
    assert opened(folder).end_ids == {1, 7, 9}
    edit(folder / "config.json", eos_token_id=None)
    assert opened(folder).end_ids == {7, 9}


def test_other_file_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"x")
    with pytest.raises(BackendError, match=r"a file named \*\.onnx"):
        onnx_folder.open_folder(path)


def test_strange_graph_is_refused(models: dict[str, Path], tmp_path: Path, opened: Open) -> None:
    import onnx

    folder = copied(models["onnx"], tmp_path / "strange")
    model = onnx.load(folder / "model.onnx")
    extra = onnx.helper.make_tensor_value_info("use_cache_branch", onnx.TensorProto.BOOL, [1])
    model.graph.input.append(extra)
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(BackendError, match="use_cache_branch") as caught:
        opened(folder)
    assert caught.value.reason == "graph_unknown"


def test_type_of_the_cache_must_be_known(
    models: dict[str, Path], tmp_path: Path, opened: Open
) -> None:
    import onnx

    folder = copied(models["onnx-plain"], tmp_path / "double")
    model = onnx.load(folder / "decoder.onnx")
    for item in model.graph.input:
        if item.name == "key_0":
            item.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    onnx.save(model, folder / "decoder.onnx")
    with pytest.raises(BackendError, match=r"key_0 is tensor\(double\)"):
        opened(folder)


def test_reset_wipes_the_shared_buffers(opened: Open) -> None:
    backend: Any = opened("onnx")
    assert isinstance(backend._cache, SharedCache)
    backend.prefill(list(range(10, 50)))
    assert all(buffer[:, :, :40].any(axis=(0, 1, 3)).all() for buffer in backend._cache.buffers)
    assert not any(buffer[:, :, 40:].any() for buffer in backend._cache.buffers)
    backend.reset()
    assert not any(buffer.any() for buffer in backend._cache.buffers)


def test_reset_empties_the_growing_tensors(opened: Open) -> None:
    backend: Any = opened("onnx-plain")
    assert isinstance(backend._cache, GrowingCache)
    backend.prefill(list(range(10, 50)))
    assert [value.shape()[2] for value in backend._cache._past] == [40, 40]
    backend.reset()
    assert [value.shape()[2] for value in backend._cache._past] == [0, 0]


def test_shared_buffers_are_written_in_place(opened: Open) -> None:
    backend: Any = opened("onnx")
    backend.prefill([5, 6, 7])
    address = backend._cache.buffers[0].ctypes.data
    backend.step(8)
    present = backend._single.get_outputs()[1]
    assert present.data_ptr() == address


@pytest.mark.parametrize("model", ["onnx", "onnx-plain"])
def test_failed_run_leaves_the_position(model: str, opened: Open) -> None:
    backend: Any = opened(model, BackendOptions(threads=1, context=CONTEXT, batch_tokens=4))
    ids = list(range(10, 20))
    before = backend.prefill(ids)
    run, calls = backend._run, []

    def fails_second(binding: object) -> None:
        calls.append(binding)
        if len(calls) > 1:
            raise RuntimeError("broken node")
        run(binding)

    backend._run = fails_second
    with pytest.raises(BackendError, match="ONNX Runtime failed: broken node") as caught:
        backend.prefill([4, 5, 6, 7, 8, 9])
    assert caught.value.reason == "run_failed"
    backend._run = run
    after = backend.step(4)
    backend.reset()
    assert backend.prefill(ids) == before
    assert backend.step(4) == after


def test_logits_that_are_not_numbers_are_refused(opened: Open) -> None:
    for model in ("onnx", "onnx-plain-half"):
        backend: Any = opened(model)
        for value in (np.nan, np.inf):
            backend.prefill([5])
            backend._row[7] = value
            with pytest.raises(BackendError, match="not finite"):
                backend._greedy()


def test_half_logits_are_compared_as_numbers(opened: Open) -> None:
    backend: Any = opened("onnx-plain-half")
    random = np.random.default_rng(3)
    for shift in (-100, -3, 0, 3, 100):
        backend._row[:] = random.standard_normal(backend.vocabulary) + shift
        assert backend._greedy() == backend._row.argmax()


def test_other_provider_is_refused(
    models: dict[str, Path], opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    monkeypatch.setattr(
        onnxruntime.InferenceSession, "get_providers", lambda _: ["MagicExecutionProvider"]
    )
    with pytest.raises(BackendError, match="runs on MagicExecutionProvider") as caught:
        opened("onnx")
    assert caught.value.reason == "fallback"


def test_missing_engine_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PrerequisiteError, match="pip install onnxruntime onnx tokenizers"):
        onnx_library.import_engine()


def test_operators_are_those_of_the_graph(models: dict[str, Path]) -> None:
    import onnx

    for name in ("onnx/model.onnx", "onnx-plain/decoder.onnx"):
        folder, _, file = name.partition("/")
        path = models[folder] / file
        expected = {node.op_type for node in onnx.load(path).graph.node}
        assert onnx_folder.open_folder(models[folder]).operators == expected


@pytest.mark.parametrize("length", [1, 2, 40, 1000, 100_000])
def test_cut_graphs_are_refused_before_the_engine(
    length: int, models: dict[str, Path], tmp_path: Path
) -> None:
    folder = copied(models["onnx"], tmp_path / "cut")
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data[:length])
    with pytest.raises(BackendError, match=r"not an ONNX file, or cut off|no graph in it"):
        onnx_folder.open_folder(folder)


def test_scoring_holds_few_logits_where_the_graph_returns_every_row(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt of 512 tokens at a vocabulary of 152 k would be 311 MB of logits."""
    ids = [int(i) for i in np.random.default_rng(3).integers(0, 300, 50)]
    whole = opened("onnx-all-rows")
    expected = whole.extend(whole.root(), ids, range(50))
    bounded = opened("onnx-all-rows")
    monkeypatch.setattr(onnxruntime, "_ROWS_BYTES", 8 * bounded.vocabulary * 4)
    found = bounded.extend(bounded.root(), ids, range(50))
    assert len(bounded._every_row) == 8  # type: ignore[attr-defined]
    assert np.allclose(found, expected, atol=1e-4)


def test_copies_of_a_long_past_are_bounded(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty options of two tokens behind 2 k tokens were thirty copies of the whole cache."""
    backend = opened("onnx-fan")
    assert isinstance(backend, onnxruntime.OnnxRuntimeBackend)
    root, paths = backend.root(), [[token] for token in range(20)]
    backend.extend(root, list(range(40)), [])
    past = 40 * backend._kv_bytes_per_token
    sizes: list[int] = []
    fan = backend._fan
    monkeypatch.setattr(
        backend, "_fan", lambda node, some: (sizes.append(len(some)), fan(node, some))[1]
    )
    expected = list(backend.branches(root, paths, [[0]] * 20))
    assert sizes == [20]
    for copies, most in ((3, 3), (1, 0)):
        sizes.clear()
        monkeypatch.setattr(onnxruntime, "_FAN_BYTES", past * copies)
        found = list(backend.branches(root, paths, [[0]] * 20))
        assert max(sizes, default=0) == most
        assert np.allclose(found, expected, atol=1e-4)
