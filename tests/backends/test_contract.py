"""What every backend owes to suites, on every engine and every kind of graph."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from harness.backends import BACKENDS
from harness.backends.base import Backend, Logits
from harness.cases import Case
from harness.errors import BackendError
from harness.spec import BackendOptions
from harness.suites import latency
from harness.times import request_times
from tests.backends.conftest import (
    CONTEXT,
    ONE_THREAD,
    Open,
    backend_name,
    make_backend,
    require_torch,
)
from tests.suites.helpers import job

KINDS = [
    "fake",
    "f16.gguf",
    "onnx",
    "onnx-all-rows",
    "onnx-positions",
    "onnx-js",
    "onnx-js-all",
    "onnx-plain",
    "onnx-plain-half",
    "onnx-fan",
    "mamba.gguf",
    "safetensors",
]
TEXT = "한국어와 English가 섞인 글: 12살,\r\n\t가각힣 ㄱㅏ 漢字 🙂👍🏽 \x00\x07"
EXACT = {"rtol": 0, "atol": 0.02}
"""Tokens one by one or together: float16 caches and fused attention differ this much."""


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, opened: Open) -> Backend:
    """Small parts, so that prompts are cut in every engine."""
    return opened(request.param, BackendOptions(threads=1, context=CONTEXT, batch_tokens=16))


def prompt(length: int, seed: int = 0) -> list[int]:
    """Ids that every vocabulary here has."""
    return np.random.default_rng(seed).integers(2, 250, length).tolist()


def logits_of(backend: Backend, ids: list[int]) -> Logits:
    return backend.extend(backend.root(), ids, range(len(ids)))


@pytest.mark.parametrize("length", [1, 2, 16, 17, 64, CONTEXT])
def test_prompt_counts(backend: Backend, length: int) -> None:
    assert backend.prefill(prompt(length)).evaluated == length


def test_step_counts_one(backend: Backend) -> None:
    backend.prefill(prompt(5))
    assert [backend.step(token).evaluated for token in prompt(20)] == [1] * 20


def test_first_call_of_all_counts_one_token(backend: Backend) -> None:
    assert backend.step(7).evaluated == 1
    assert backend.step(8).evaluated == 1


def test_repeated_prompt_is_evaluated_again(backend: Backend) -> None:
    ids = prompt(40)
    first = backend.prefill(ids)
    for _ in range(3):
        backend.reset()
        assert backend.prefill(ids) == first


def test_reset_leaves_nothing_behind(backend: Backend) -> None:
    fresh = logits_of(backend, prompt(30))
    backend.reset()
    backend.prefill(prompt(CONTEXT, seed=1))
    assert np.array_equal(logits_of(backend, prompt(30)), fresh)


def test_prompt_behind_a_prompt(backend: Backend) -> None:
    ids = prompt(50)
    whole = backend.prefill(ids)
    backend.reset()
    backend.prefill(ids[:20])
    rest = backend.prefill(ids[20:])
    assert rest.evaluated == 30
    assert rest.next_id == whole.next_id


def test_kernel_mode_evaluates_and_does_not_sample(backend: Backend) -> None:
    ids = prompt(10)
    backend.prefill(ids)
    expected = backend.step(9)
    backend.reset()
    assert backend.prefill(ids, sample=False) == (-1, 10)
    assert backend.step(9, sample=False) == (-1, 1)
    backend.reset()
    backend.prefill(ids, sample=False)
    assert backend.step(9) == expected


def generate(backend: Backend, ids: list[int], count: int) -> list[int]:
    backend.reset()
    out = [backend.prefill(ids).next_id]
    while len(out) < count:
        out.append(backend.step(out[-1]).next_id)
    return out


def test_greedy_output_repeats(backend: Backend) -> None:
    outputs = [generate(backend, prompt(12), 40) for _ in range(3)]
    assert outputs[0] == outputs[1] == outputs[2]


def test_greedy_is_the_top_of_the_logits(backend: Backend) -> None:
    ids = prompt(12)
    out = generate(backend, ids, 20)
    rows = logits_of(backend, ids + out[:-1])[len(ids) - 1 :]
    chosen = rows[np.arange(len(out)), out]
    assert np.allclose(chosen, rows.max(axis=1), **EXACT)


def test_rows_are_chosen(backend: Backend) -> None:
    ids = prompt(40)
    every = logits_of(backend, ids)
    assert every.shape == (40, backend.vocabulary)
    assert every.dtype == np.float32
    for rows in ([], [39], [0], [3, 15, 16, 17, 38]):
        some = backend.extend(backend.root(), ids, rows)
        assert some.shape == (len(rows), backend.vocabulary)
        assert np.allclose(some, every[rows], **EXACT)


def test_rows_belong_to_the_caller(backend: Backend) -> None:
    first = logits_of(backend, prompt(8))
    copy = first.copy()
    logits_of(backend, prompt(8, seed=3))
    backend.step(5)
    assert np.array_equal(first, copy)


def test_walk_of_a_trie_equals_fresh_evaluation(backend: Backend) -> None:
    shots, stem = prompt(30, 1), prompt(9, 2)
    options = [prompt(length, 10 + length) for length in (1, 3, 20, 2)]
    root = backend.root()
    backend.extend(root, shots, [])
    item = backend.fork(root)
    backend.extend(item, stem, [len(stem) - 1])
    walked = []
    for option in options:
        node = backend.fork(item)
        walked.append(backend.extend(node, option, range(len(option))))
        backend.drop(node)
    backend.drop(item)
    again = backend.fork(root)
    second = backend.extend(again, stem[::-1], range(len(stem)))
    for option, rows in zip(options, walked, strict=True):
        fresh = logits_of(backend, shots + stem + option)
        assert np.allclose(rows, fresh[-len(option) :], **EXACT)
    fresh = logits_of(backend, shots + stem[::-1])
    assert np.allclose(second, fresh[-len(stem) :], **EXACT)


def test_node_grows_to_the_context_after_a_drop(backend: Backend) -> None:
    root = backend.root()
    backend.extend(root, prompt(10), [])
    node = backend.fork(root)
    backend.extend(node, prompt(CONTEXT - 10), [])
    backend.drop(node)
    assert backend.extend(root, prompt(CONTEXT - 10), [0]).shape[0] == 1


def test_misuse_of_nodes_is_refused(backend: Backend) -> None:
    root = backend.root()
    backend.extend(root, prompt(5), [])
    child = backend.fork(root)
    for call in (backend.fork, backend.drop):
        with pytest.raises(BackendError, match="only the deepest node"):
            call(root)
    with pytest.raises(BackendError, match="only the deepest node"):
        backend.extend(root, [3], [0])
    backend.drop(child)
    with pytest.raises(BackendError, match="dropped node"):
        backend.extend(child, [3], [0])
    backend.reset()
    with pytest.raises(BackendError, match="only the deepest node"):
        backend.extend(root, [3], [0])


def test_context_is_a_limit(backend: Backend) -> None:
    assert backend.context == CONTEXT
    with pytest.raises(BackendError, match=f"97 tokens exceed the context of {CONTEXT}"):
        backend.prefill(prompt(CONTEXT + 1))
    backend.prefill(prompt(CONTEXT - 1))
    assert backend.step(4).evaluated == 1
    with pytest.raises(BackendError, match="exceed the context") as caught:
        backend.step(4)
    assert caught.value.reason == "context_exceeded"
    backend.reset()
    assert backend.prefill(prompt(CONTEXT)).evaluated == CONTEXT


@pytest.mark.parametrize("offset", [-1, 0, 10**6])
def test_bad_ids_are_refused(backend: Backend, offset: int) -> None:
    bad = -1 if offset < 0 else backend.vocabulary + offset
    before = backend.prefill(prompt(6))
    calls = (
        lambda: backend.prefill([3, bad]),
        lambda: backend.step(bad),
        lambda: backend.decode([3, bad]),
        lambda: backend.extend(backend.root(), [bad], [0]),
    )
    for call in calls:
        with pytest.raises(BackendError, match="token ids must lie in") as caught:
            call()
        assert caught.value.reason == "token_out_of_range"
    backend.reset()
    assert backend.prefill(prompt(6)) == before


def test_empty_prompt_is_refused(backend: Backend) -> None:
    for call in (
        lambda: backend.prefill([]),
        lambda: backend.extend(backend.root(), [], []),
    ):
        with pytest.raises(BackendError, match="no tokens") as caught:
            call()
        assert caught.value.reason == "empty_prompt"


def test_text_makes_the_round_trip(backend: Backend) -> None:
    ids = backend.encode(TEXT)
    assert min(ids) >= 0
    assert max(ids) < backend.vocabulary
    assert backend.decode(ids) == TEXT
    assert backend.encode("") == []
    assert backend.decode([]) == ""


def test_special_tokens_are_text_in_and_nothing_out(backend: Backend) -> None:
    ids = backend.encode("<eos>")
    assert len(ids) > 1
    assert backend.decode(ids) == "<eos>"
    end = min(backend.end_ids)
    assert end in range(backend.vocabulary)
    assert backend.decode([*ids, end]) == "<eos>"


def test_special_tokens_are_parsed_where_asked(
    backend: Backend, request: pytest.FixtureRequest
) -> None:
    plain = backend.encode("가나<eos>다", special=False)
    rendered = backend.encode("가나<eos>다", special=True)
    if request.node.callspec.params["backend"] == "fake":
        assert rendered == plain, "its text has no special tokens"
        return
    assert set(rendered) & backend.end_ids
    assert not set(plain) & backend.end_ids
    assert backend.decode(rendered) == "가나다"
    assert backend.encode("가나<eos>다") == plain, "one call leaves nothing behind for the next"


def test_nothing_is_added_to_a_rendered_prompt(backend: Backend) -> None:
    assert backend.encode("", special=True) == []
    assert backend.encode(TEXT, special=True) == backend.encode(TEXT)


def test_cut_characters_become_replacements(backend: Backend) -> None:
    whole = backend.encode("🙂")
    assert "\ufffd" in backend.decode(whole[:-1])
    assert backend.decode(whole) == "🙂"


def test_lone_surrogates_do_not_end_the_process(backend: Backend) -> None:
    assert backend.decode(backend.encode("a\ud800b")) == "a?b"


def test_clock_is_monotonic(backend: Backend) -> None:
    before = backend.now_ns()
    backend.prefill(prompt(10))
    assert backend.now_ns() >= before


def test_describe_names_the_engine(backend: Backend) -> None:
    facts = backend.describe()
    assert facts["engine"]
    assert all(isinstance(value, str) and value for value in facts.values()), facts


def test_closed_backend_refuses_and_can_load_again(
    backend: Backend, request: pytest.FixtureRequest, models: dict[str, Path]
) -> None:
    path = models[request.node.callspec.params["backend"]]
    before = backend.prefill(prompt(6))
    with pytest.raises(BackendError, match="already loaded"):
        backend.load(path, ONE_THREAD)
    backend.close()
    backend.close()
    calls = (
        lambda: backend.prefill([3]),
        lambda: backend.step(3),
        lambda: backend.encode("a"),
        lambda: backend.decode([3]),
        backend.reset,
        backend.root,
    )
    for call in calls:
        with pytest.raises(BackendError, match="no model is loaded") as caught:
            call()
        assert caught.value.reason == "not_loaded"
    backend.load(path, ONE_THREAD)
    assert backend.prefill(prompt(6)) == before


@pytest.mark.parametrize("name", list(BACKENDS))
def test_unloaded_backend_refuses(name: str) -> None:
    backend = make_backend(name)
    backend.close()
    with pytest.raises(BackendError, match="no model is loaded"):
        backend.prefill([3])


def unopened(path: Path) -> Backend:
    if (name := backend_name(path)) == "transformers":
        require_torch()
    return make_backend(name)


@pytest.mark.parametrize("kind", KINDS)
def test_load_reports_what_it_found(kind: str, models: dict[str, Path]) -> None:
    backend = unopened(models[kind])
    report = backend.load(models[kind], ONE_THREAD)
    backend.close()
    assert report.import_s >= 0
    assert report.weights_s >= 0
    if "gguf" in kind:
        assert report.compile_s is not None
        assert 0 < report.compile_s < report.weights_s
    else:
        assert report.compile_s is None, "one call does both"
    assert report.model_bytes > 0
    layers, heads, width, item = 2, 2, 64, 4
    expected = {
        "fake": 0,
        "f16.gguf": layers * 2 * heads * width * 2,
        "mamba.gguf": 0,  # its state does not grow
        "onnx-plain": 2 * 2 * 8 * 4,
        "onnx-fan": 2 * 2 * 8 * 4,
        "onnx-plain-half": 2 * 2 * 8 * 2,
    }
    assert report.kv_bytes_per_token == expected.get(kind, layers * 2 * heads * width * item)


@pytest.mark.parametrize("kind", ["fake", "f16.gguf", "onnx", "safetensors"])
def test_the_import_is_timed_once_wherever_it_happens(
    kind: str, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = unopened(models[kind])
    real, calls = backend._import, []

    def slow() -> None:
        calls.append(1)
        time.sleep(0.05)
        real()

    monkeypatch.setattr(backend, "_import", slow)
    backend.import_engine()
    backend.import_engine()
    report = backend.load(models[kind], ONE_THREAD)
    backend.close()
    again = backend.load(models[kind], ONE_THREAD)
    backend.close()
    assert len(calls) == 1
    if kind != "fake":  # its times are those that its file gives
        assert report.import_s == again.import_s >= 0.05


@pytest.mark.parametrize("kind", ["f16.gguf", "onnx", "onnx-all-rows", "onnx-plain", "safetensors"])
@pytest.mark.parametrize("depth", [0, 20])
def test_an_honest_engine_passes_the_suites_proofs(kind: str, depth: int, opened: Open) -> None:
    """Depths are counted, every token is counted, and returned tokens are the likely ones."""
    case = Case(id="fixed", prompt_tokens=24, output_tokens=6, depth_tokens=depth)
    planned = job("latency", case, requests=2, warmup_max=1)
    records = list(latency.measure(case, opened(kind), planned))
    (check,) = (record for record in records if record.get("kind") == "check")
    assert check["same_token"] is True
    assert min(check[f"{name}_ns"] for name in ("prefill", "extend", "step", "extend_step")) > 0
    requests = [record for record in records if record.get("kind") == "request"]
    assert len(requests) == 2
    for record in requests:
        request_times({"type": "sample", **record}, submitted=24, outputs=6, depth=depth)


@pytest.mark.parametrize(
    "options",
    [
        BackendOptions(context=64),
        BackendOptions(threads=1),
        BackendOptions(threads=1, context=64, batch_tokens=0),
    ],
)
@pytest.mark.parametrize("kind", ["f16.gguf", "onnx", "safetensors"])
def test_nothing_is_left_to_the_engine(kind: str, options: BackendOptions, opened: Open) -> None:
    with pytest.raises(BackendError, match="the plan must pin them"):
        opened(kind, options)


@pytest.mark.parametrize("kind", ["f16.gguf", "onnx", "safetensors"])
def test_context_of_the_network_is_a_limit(kind: str, opened: Open) -> None:
    with pytest.raises(BackendError, match=f"context 128 is longer than the network's {CONTEXT}"):
        opened(kind, BackendOptions(threads=1, context=128))


DAMAGE = {
    "missing": None,
    "empty": lambda data: b"",
    "wrong format": lambda data: b"PK\x03\x04" + data[:5000],
    "header only": lambda data: data[:9],
    "truncated": lambda data: data[: len(data) * 2 // 3],
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", ["fake", "f16.gguf", "onnx", "onnx-js", "safetensors"])
def test_damaged_files_are_named(
    kind: str, damage: str, models: dict[str, Path], tmp_path: Path, opened: Open
) -> None:
    source = models[kind]
    target = tmp_path / source.name
    damaged = target
    if source.is_dir():
        for file in (item for item in source.rglob("*") if item.is_file()):
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
        damaged = next(file for file in target.rglob("model.*") if file.suffix != ".json")
    else:
        target.write_bytes(source.read_bytes())
    spoil = DAMAGE[damage]
    if spoil is None:
        damaged.unlink()
    else:
        damaged.write_bytes(spoil(damaged.read_bytes()))
    with pytest.raises(BackendError, match=str(target)) as caught:
        opened(target)
    assert len(str(caught.value)) > len(str(damaged)) + 10


def test_missing_folder_is_named(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="nowhere"):
        opened(tmp_path / "nowhere")
