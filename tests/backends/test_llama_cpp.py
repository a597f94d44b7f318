"""What is particular to llama.cpp: its counters, its memory, its log, its import."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.backends import llama_library
from harness.backends.base import Step
from harness.backends.llama_cpp import LlamaCppBackend
from harness.errors import BackendError, CapabilityError, PrerequisiteError
from harness.spec import BackendOptions
from tests.backends.conftest import CONTEXT, ONE_THREAD, Open

MODEL = "f16.gguf"


def test_counter_is_the_engines_own(opened: Open) -> None:
    """An adapter that silently feeds less than it was given cannot report the full count."""
    backend: Any = opened(MODEL)
    submit = backend._submit
    backend._submit = lambda ids, offset, rows: submit(ids[3:], offset, [len(ids) - 4])
    assert backend.prefill(list(range(10, 30))) == (backend._greedy(), 17)


def test_work_behind_the_adapters_back_is_seen(opened: Open) -> None:
    backend: Any = opened(MODEL)
    backend._submit([5] * 12, 0, [])
    backend._synchronise(backend._handle)
    assert backend._evaluated() == 12
    assert backend._evaluated() == 0


class PrefixKeeper(LlamaCppBackend):
    """The naive adapter: like the high-level API, it keeps the matching prefix."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[int] = []

    def reset(self) -> None:
        """Keep everything."""

    def prefill(self, ids: Sequence[int], *, sample: bool = True) -> Step:
        same = 0
        while same < len(ids) - 1 and self._kept[same : same + 1] == [ids[same]]:
            same += 1
        if self._kept:
            self._rewind(same)
            self._position = same
        self._kept = list(ids)
        return super().prefill(ids[same:], sample=sample)


def test_naive_adapter_is_caught(models: dict[str, Path]) -> None:
    backend = PrefixKeeper()
    backend.load(models[MODEL], ONE_THREAD)
    ids = list(range(10, 50))
    first = backend.prefill(ids)
    backend.reset()
    second = backend.prefill(ids)
    backend.close()
    assert first.evaluated == 40
    assert second == (first.next_id, 1), "right answer, but the prompt was not evaluated"


def test_reset_empties_the_memory(opened: Open) -> None:
    backend: Any = opened(MODEL)
    engine = backend._engine

    def state() -> tuple[int, int]:
        last = engine.llama_memory_seq_pos_max(backend._memory, 0)
        return last, engine.llama_state_seq_get_size(backend._handle, 0)

    empty = state()
    assert empty[0] == -1
    backend.prefill(list(range(10, 50)))
    assert state()[0] == 39
    assert state()[1] > empty[1] + 40 * 2 * 2 * 2 * 64 * 2 - 1
    backend.reset()
    assert state() == empty


def test_batch_of_the_engine_cuts_long_prompts(opened: Open) -> None:
    backend: Any = opened(MODEL)
    ids = list(range(2, 82))
    whole = backend.prefill(ids)
    rows = backend.extend(backend.root(), ids, [0, 31, 32, 79])
    backend._batch_size = 32
    backend.reset()
    assert backend.prefill(ids) == whole
    assert abs(backend.extend(backend.root(), ids, [0, 31, 32, 79]) - rows).max() < 0.02


def test_failed_decode_leaves_the_position(opened: Open) -> None:
    backend: Any = opened(MODEL)
    ids = list(range(10, 20))
    before = backend.prefill(ids)
    decode = backend._decode
    backend._decode = lambda *_: 1
    for call in (lambda: backend.step(4), lambda: backend.prefill([4, 5])):
        with pytest.raises(BackendError, match=r"returned 1 \(no room in the cache\)") as caught:
            call()
        assert caught.value.reason == "decode_failed"
    backend._decode = decode
    after = backend.step(4)
    backend.reset()
    assert backend.prefill(ids) == before
    assert backend.step(4) == after


def test_logits_that_are_not_numbers_are_refused(opened: Open) -> None:
    backend: Any = opened(MODEL)
    backend.prefill([5])
    backend._logits_row(-1)[7] = float("nan")
    with pytest.raises(BackendError, match="not finite"):
        backend._greedy()


def test_memory_that_cannot_be_rewound_is_a_missing_capability(opened: Open) -> None:
    backend: Any = opened(MODEL)
    root = backend.root()
    backend.extend(root, [5, 6, 7], [])
    child = backend.fork(root)
    backend.extend(child, [5], [])
    backend.drop(child)
    engine = backend._engine
    remove, engine.llama_memory_seq_rm = engine.llama_memory_seq_rm, lambda *_: False
    try:
        with pytest.raises(CapabilityError, match="cannot be rewound"):
            backend.extend(root, [8], [])
    finally:
        engine.llama_memory_seq_rm = remove


def test_options_reach_the_engine(opened: Open) -> None:
    options = BackendOptions(
        threads=2, context=64, batch_tokens=32, mmap=True, flash_attention=False, kv_type="f32"
    )
    facts = opened(MODEL, options).describe()
    assert facts["engine"] == "llama.cpp"
    assert (facts["threads"], facts["threads_prefill"]) == ("2", "2")
    apart = BackendOptions(threads=1, threads_prefill=2, context=64)
    facts_apart = opened(MODEL, apart).describe()
    assert (facts_apart["threads"], facts_apart["threads_prefill"]) == ("1", "2")
    assert facts["micro_batch"] == "32"
    assert (facts["flash_attention"], facts["kv_type"], facts["mmap"]) == ("false", "f32", "true")
    assert int(facts["context_allocated"]) >= 64
    assert len(facts["library_sha256"]) == len(facts["libraries_sha256"]) == 64
    assert "=" in facts["instruction_set"]


def test_message_carries_the_engines_last_words(
    models: dict[str, Path], tmp_path: Path, opened: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(models[MODEL].read_bytes()[:-5000])
    with pytest.raises(BackendError, match="not within the file bounds") as caught:
        opened(path)
    assert str(path) in str(caught.value)
    assert "not within the file bounds" in capsys.readouterr().err


def test_engine_is_silent_when_all_is_well(opened: Open, capfd: pytest.CaptureFixture[str]) -> None:
    opened(MODEL, BackendOptions(threads=1, context=CONTEXT)).prefill([5, 6])
    said = capfd.readouterr()
    assert said.out == ""
    assert "print_info" not in said.err


def test_log_keeps_warnings_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    log = llama_library.EngineLog()
    for level, text in ((2, b"info\n"), (3, b"warn "), (5, b"more\n"), (1, b"no\n"), (4, b"bad\n")):
        log.receive(level, text, None)
    assert capsys.readouterr().err == "warn more\nbad\n"
    assert log.take() == "warn | more | bad"
    assert log.take() == ""


def test_only_the_bindings_are_imported() -> None:
    """And the whole package can still be imported later, with the same bindings."""
    code = """
import os, sys
from harness.backends.llama_library import library
bindings = library()
assert os.environ["GGML_NO_BACKTRACE"] == "1"
assert "jinja2" not in sys.modules and "llama_cpp.llama" not in sys.modules
import llama_cpp
assert llama_cpp.llama_cpp is bindings and llama_cpp.Llama
assert sys.modules["llama_cpp.llama_cpp"] is bindings
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_missing_engine_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError("no package 'llama_cpp'")

    monkeypatch.setattr(llama_library, "_import_bindings", missing)
    with pytest.raises(PrerequisiteError, match="pip install llama-cpp-python gguf"):
        llama_library.library.__wrapped__()


def test_pointer_function_returns_addresses(opened: Open) -> None:
    backend: Any = opened(MODEL)
    backend.prefill([5, 6])
    engine = backend._engine
    pointer = engine.llama_get_logits_ith(backend._handle, -1)
    assert backend._logits_at(backend._handle, -1) == ctypes.addressof(pointer.contents)
