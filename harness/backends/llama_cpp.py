"""llama.cpp through its low-level C API.

One context, one batch allocated at load. A call ends when the engine has finished
(`llama_synchronize`), and what it evaluated is read from the engine's own counters.
Timed suites use one sequence; scoring gives branches of a prefix sequences of their own,
which share its cells. Weights and cache stay on the CPU: other devices need their own options.

The engine aborts the process on misuse (ids outside the vocabulary, more tokens than
a batch holds) and on some damaged files: the first is refused here, the second is
why every job runs in a process of its own.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import (
    Backend,
    LoadReport,
    Logits,
    Node,
    Step,
    require_context,
    require_finite,
    require_pinned,
)
from harness.backends.llama_batch import Batch, grouped
from harness.backends.llama_library import LOG, identity, library, pointer_function
from harness.errors import BackendError, CapabilityError
from harness.spec import BackendOptions

LOGICAL_BATCH = 2048
"""Most tokens in one `llama_decode`, as llama-bench has it; longer prompts are cut."""

_PLAIN = (False, False)
"""Neither remove special tokens nor write them."""

_KV_TYPES = {"f32": 0, "f16": 1}  # GGML_TYPE_F32, GGML_TYPE_F16


class LlamaCppBackend(Backend):
    """GGUF files. `Step.evaluated` is llama.cpp's own count."""

    name = "llama_cpp"

    def __init__(self) -> None:
        super().__init__()
        self._engine: Any = None
        self._model: int | None = None
        self._handle: int | None = None
        self._options = BackendOptions()
        self._vocabulary = 0

    # --- life cycle -----------------------------------------------------------------

    def load(self, path: Path, options: BackendOptions) -> LoadReport:
        """Open a GGUF file and allocate its cache."""
        self._require_none(path)
        _check_file(path)
        require_pinned(path, options)
        self.import_engine()
        self._options = options
        started = time.perf_counter()
        try:
            self._open(path)
            read = time.perf_counter()
            self._make_context(path)
        except BackendError:
            self.close()
            raise
        ended = time.perf_counter()
        return LoadReport(
            import_s=self._import_s,
            weights_s=ended - started,
            compile_s=ended - read,
            model_bytes=self._engine.llama_model_size(self._model),
            kv_bytes_per_token=self._kv_bytes_per_token(),
        )

    def _import(self) -> None:
        self._engine = library()

    def _open(self, path: Path) -> None:
        engine = self._engine
        LOG.take()
        self._model = engine.llama_model_load_from_file(os.fsencode(path), self._model_params())
        if not self._model:
            raise _refusal("llama.cpp cannot load this file", path)
        require_context(path, self._options, engine.llama_model_n_ctx_train(self._model))
        if engine.llama_model_has_encoder(self._model):
            raise CapabilityError("not a decoder-only network", where=str(path))

    def _make_context(self, path: Path) -> None:
        engine = self._engine
        self._handle = engine.llama_init_from_model(self._model, self._context_params())
        if not self._handle:
            raise _refusal("llama.cpp cannot make a context", path)
        self._memory = engine.llama_get_memory(self._handle)
        self._vocab = engine.llama_model_get_vocab(self._model)
        self._vocabulary = engine.llama_vocab_n_tokens(self._vocab)
        self._batch_size = engine.llama_n_batch(self._handle)
        self._batch = Batch(engine, self._batch_size)
        self._single = Batch(engine, 1)
        self._single.wanted[0] = 1
        self._single.struct.n_tokens = 1
        self._branches: Batch | None = None
        # Their state cannot be cut at a token: a copy is kept instead.
        self._copies_state = engine.llama_model_is_recurrent(
            self._model
        ) or engine.llama_model_is_hybrid(self._model)
        self._decode = engine.llama_decode
        self._synchronise = engine.llama_synchronize
        self._perf = engine.llama_perf_context
        self._logits_at = pointer_function(engine.llama_get_logits_ith)
        self._row_address = 0
        self._row = np.empty(0, np.float32)
        engine.llama_perf_context_reset(self._handle)
        self._counted = 0
        self._loaded = True
        self._forget()

    def _model_params(self) -> Any:
        params = self._engine.llama_model_default_params()
        params.n_gpu_layers = 0
        if hasattr(params, "load_mode"):  # LLAMA_LOAD_MODE_NONE, …_MMAP; older builds: a flag
            params.load_mode = int(self._options.mmap)
        else:
            params.use_mmap = self._options.mmap
        return params

    def _context_params(self) -> Any:
        options = self._options
        params = self._engine.llama_context_default_params()
        params.n_ctx = options.context
        params.n_batch = max(LOGICAL_BATCH, options.batch_tokens)
        params.n_ubatch = options.batch_tokens
        params.n_seq_max = options.sequences
        params.kv_unified = options.sequences > 1  # or sequences could share no cells
        params.n_threads = options.threads
        params.n_threads_batch = options.threads_prefill or options.threads
        params.flash_attn_type = int(options.flash_attention)
        params.type_k = params.type_v = _KV_TYPES[options.kv_type]
        params.offload_kqv = False
        params.op_offload = False
        params.no_perf = False  # without the counters nothing proves what was evaluated
        params.swa_full = True  # a pruned sliding window cannot be rewound
        return params

    def describe(self) -> dict[str, str]:
        """The engine's identity, and the settings that it reports itself."""
        facts = identity()
        if self._handle is None:
            return facts
        engine, options = self._engine, self._options
        name = ctypes.create_string_buffer(256)
        engine.llama_model_desc(self._model, name, len(name))
        return facts | {
            "device": "CPU",
            "model": name.value.decode("utf-8", "replace"),
            "threads": str(engine.llama_n_threads(self._handle)),
            "threads_prefill": str(engine.llama_n_threads_batch(self._handle)),
            "context_allocated": str(engine.llama_n_ctx(self._handle)),
            "batch": str(self._batch_size),
            "micro_batch": str(engine.llama_n_ubatch(self._handle)),
            "flash_attention": str(options.flash_attention).lower(),
            "kv_type": options.kv_type,
            "mmap": str(options.mmap).lower(),
            "sequences": str(options.sequences),
            "branches": self.geometry,
            "rewind": "copied state" if self._copies_state else "exact",
        }

    def close(self) -> None:
        """Free the batches, the context and the model."""
        if self._handle:
            self._row = np.empty(0, np.float32)
            self._batch.free()
            self._single.free()
            if self._branches:
                self._branches.free()
            self._engine.llama_free(self._handle)
        if self._model:
            self._engine.llama_model_free(self._model)
        self._handle = self._model = None
        self._loaded = False
        for name in ("end_ids", "begin_ids"):
            self.__dict__.pop(name, None)

    # --- text -----------------------------------------------------------------------

    @property
    def context(self) -> int:
        """What was asked for; llama.cpp rounds the allocation up."""
        return self._options.context

    @property
    def vocabulary(self) -> int:
        """Number of token ids of the model."""
        return self._vocabulary

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """Every id that the engine calls end of generation; found on first use."""
        self._require_model()
        is_end = self._engine.llama_vocab_is_eog
        return frozenset(i for i in range(self._vocabulary) if is_end(self._vocab, i))

    @cached_property
    def begin_ids(self) -> tuple[int, ...]:
        """The file's begin-of-sequence token, where it says that every text has one."""
        self._require_model()
        if not self._engine.llama_vocab_get_add_bos(self._vocab):
            return ()
        return (int(self._engine.llama_vocab_bos(self._vocab)),)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of a text; `special` parses special tokens, otherwise they stay text."""
        self._require_model()
        data = text.encode("utf-8", "replace")
        size = len(data) + 8
        while True:
            buffer = (ctypes.c_int32 * size)()
            count = self._engine.llama_tokenize(
                self._vocab,
                data,
                len(data),
                buffer,
                size,
                False,  # noqa: FBT003  (C has no keywords) add none
                special,
            )
            if count >= 0:
                return buffer[:count]
            size = -count

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; special tokens have none."""
        self._require_model()
        self._check_range(ids)
        tokens = (ctypes.c_int32 * len(ids))(*ids)
        size = 16 * len(ids) + 16
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = self._engine.llama_detokenize(
                self._vocab, tokens, len(ids), buffer, size, *_PLAIN
            )
            if count >= 0:
                return buffer.raw[:count].decode("utf-8", "replace")
            size = -count

    # --- evaluation -----------------------------------------------------------------

    def step(self, token: int, *, sample: bool = True) -> Step:
        """Evaluate one token: nothing is allocated but the result."""
        self._check((token,))
        single = self._single
        single.tokens[0] = token
        single.positions[0] = self._position
        status = self._decode(self._handle, single.struct)
        if status:
            self._fail(status)
        self._synchronise(self._handle)
        next_id = self._greedy() if sample else -1
        self._position += 1
        return Step(next_id, self._evaluated())

    def _advance(self, ids: Sequence[int], *, sample: bool) -> Step:
        last = len(ids) - 1
        for start in range(0, len(ids), self._batch_size):
            part = ids[start : start + self._batch_size]
            self._submit(part, start, [last - start] if start + len(part) > last else [])
        self._synchronise(self._handle)
        next_id = self._greedy() if sample else -1
        self._position += len(ids)
        return Step(next_id, self._evaluated())

    def _evaluate(self, ids: Sequence[int], rows: Sequence[int]) -> Logits:
        logits = np.empty((len(rows), self._vocabulary), np.float32)
        taken = 0
        for start in range(0, len(ids), self._batch_size):
            part = ids[start : start + self._batch_size]
            here = [row - start for row in rows if start <= row < start + len(part)]
            self._submit(part, start, here)
            for row in here:
                logits[taken] = self._logits_row(row)
                taken += 1
        self._synchronise(self._handle)
        self._evaluated()
        return logits

    def _submit(self, ids: Sequence[int], offset: int, rows: Sequence[int]) -> None:
        """Decode at most one batch, `offset` tokens behind the position."""
        self._batch.fill(0, ids, self._position + offset, rows)
        status = self._decode(self._handle, self._batch.struct)
        if status:
            self._fail(status)

    def _greedy(self) -> int:
        row = self._logits_row(-1)
        index = int(row.argmax())
        require_finite(row[index])
        return index

    def _logits_row(self, index: int) -> Logits:
        """View of one row in the engine's memory, valid until the next decode."""
        address = self._logits_at(self._handle, index)
        if address != self._row_address:
            if not address:
                raise BackendError(f"no logits for row {index}", reason="logits_missing")
            values = (ctypes.c_float * self._vocabulary).from_address(address)
            self._row = np.ctypeslib.as_array(values)
            self._row_address = address
        return self._row

    def _evaluated(self) -> int:
        """Tokens that the engine counted since the last call; it must be idle.

        llama.cpp reports a count of 0 as 1, but no time is spent where nothing was
        evaluated: that tells them apart.
        """
        perf = self._perf(self._handle)
        counted = 0
        if perf.t_p_eval_ms:
            counted += perf.n_p_eval
        if perf.t_eval_ms:
            counted += perf.n_eval
        evaluated = counted - self._counted
        self._counted = counted
        return evaluated

    @property
    def geometry(self) -> str:
        """Branches share a call, up to the sequences that the context was made with."""
        most = self._options.sequences - 1
        return super().geometry if most < 2 or self._copies_state else f"{most} branches a call"

    def branches(
        self, node: Node, paths: Sequence[Sequence[int]], rows: Sequence[Sequence[int]]
    ) -> Iterator[Logits]:
        """Branches in sequences of their own: one call evaluates several, the prefix is shared."""
        most = self._options.sequences - 1  # the prefix itself is sequence 0
        room = min(self._batch_size, self.context - node.length)
        if most < 2 or self._copies_state:
            yield from super().branches(node, paths, rows)
            return
        for group in grouped(paths, rows, sequences=most, tokens=room):
            some, wanted = [paths[i] for i in group], [rows[i] for i in group]
            together = self._together if len(group) > 1 else super().branches
            yield from together(node, some, wanted)

    def _together(
        self, node: Node, paths: Sequence[Sequence[int]], rows: Sequence[Sequence[int]]
    ) -> Iterator[Logits]:
        engine, memory = self._engine, self._memory
        if self._tip is not node:
            raise BackendError("only the deepest node can be extended", reason="node_order")
        self._go_to(node)
        for path in paths:
            self._check(path)
        if self._branches is None:
            self._branches = Batch(engine, self._batch_size)
        batch, starts, used = self._branches, [], 0
        for sequence, (path, wanted) in enumerate(zip(paths, rows, strict=True), 1):
            engine.llama_memory_seq_cp(memory, 0, sequence, -1, -1)
            batch.fill(used, path, node.length, wanted)
            batch.assign(used, len(path), sequence)
            starts.append(used)
            used += len(path)
        try:
            status = self._decode(self._handle, batch.struct)
            if status:
                self._fail(status)
            self._synchronise(self._handle)
            self._evaluated()
            for start, wanted in zip(starts, rows, strict=True):
                logits = np.empty((len(wanted), self._vocabulary), np.float32)
                for place, row in enumerate(wanted):
                    logits[place] = self._logits_row(start + row)
                yield logits
        finally:
            for sequence in range(1, len(paths) + 1):
                engine.llama_memory_seq_rm(memory, sequence, -1, -1)

    def _keep(self, node: Node) -> None:
        """Copy the state of a network that cannot rewind, once a node."""
        if not self._copies_state or (node.state and node.state[0] == node.length):
            return
        size = self._engine.llama_state_seq_get_size(self._handle, 0)
        copy = (ctypes.c_uint8 * size)()
        self._engine.llama_state_seq_get_data(self._handle, copy, size, 0)
        node.state = (node.length, copy)

    def _go_to(self, node: Node) -> None:
        """Return to a node: by rewinding, or by its copy of the state."""
        if self._position == node.length or not node.state or not node.length:
            super()._go_to(node)
            return
        copy = node.state[1]
        self._engine.llama_memory_clear(self._memory, True)  # noqa: FBT003  (data too)
        if not self._engine.llama_state_seq_set_data(self._handle, copy, len(copy), 0):
            raise BackendError("the kept state cannot be restored", reason="decode_failed")
        self._position = node.length

    def _rewind(self, length: int) -> None:
        engine = self._engine
        if length == 0:
            engine.llama_memory_clear(self._memory, True)  # noqa: FBT003  (C has no keywords) data too
        elif not engine.llama_memory_seq_rm(self._memory, 0, length, -1):
            raise CapabilityError("this network's memory cannot be rewound", reason="no_rewind")

    def _fail(self, status: int) -> None:
        """Go back to the last good position and raise."""
        self._engine.llama_memory_seq_rm(self._memory, 0, self._position, -1)
        self._synchronise(self._handle)
        self._evaluated()
        why = {1: "no room in the cache", 2: "aborted", -1: "invalid batch"}.get(status, "failed")
        raise BackendError(
            f"llama_decode returned {status} ({why}) {LOG.take()}".rstrip(), reason="decode_failed"
        )

    def _kv_bytes_per_token(self) -> int:
        """Keys and values of every layer; 0 where layers differ (recurrent, hybrid)."""
        engine, model = self._engine, self._model
        if engine.llama_model_is_recurrent(model) or engine.llama_model_is_hybrid(model):
            return 0
        heads = engine.llama_model_n_head(model)
        width = engine.llama_model_n_embd(model) // heads if heads else 0
        size = self._meta("attention.key_length", width) + self._meta(
            "attention.value_length", width
        )
        item = 4 if self._options.kv_type == "f32" else 2
        layers: int = engine.llama_model_n_layer(model)
        return layers * int(engine.llama_model_n_head_kv(model)) * size * item

    def _meta(self, key: str, default: int) -> int:
        """Integer of the file's metadata, under the architecture's prefix."""
        text = ctypes.create_string_buffer(64)
        read = self._engine.llama_model_meta_val_str
        read(self._model, b"general.architecture", text, len(text))
        name = text.value + b"." + key.encode()
        found = read(self._model, name, text, len(text)) >= 0
        return int(text.value) if found and text.value.isdigit() else default


def _check_file(path: Path) -> None:
    """Refuse what is plainly no GGUF file before the engine sees it."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise BackendError(
            f"cannot be read: {error.strerror}", where=str(path), reason="model_unreadable"
        ) from error
    if magic != b"GGUF":
        what = "the file is empty" if not magic else f"starts with {magic!r}"
        raise BackendError(f"not a GGUF file: {what}", where=str(path), reason="model_unreadable")


def _refusal(what: str, path: Path) -> BackendError:
    detail = LOG.take()
    return BackendError(
        f"{what}: {detail}" if detail else what, where=str(path), reason="load_failed"
    )
