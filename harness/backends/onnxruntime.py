"""ONNX Runtime through IO binding: one session, preallocated buffers, no generation library.

The graph is probed at load: which inputs it has, whether its attention can write into
the cache it reads (`onnx_cache`), whether it takes `logits_rows` and so computes only
the rows asked for. Graphs without that input return every row, so their prompts are
fed in parts of `batch_tokens`. The runtime counts nothing: `Step.evaluated` is the
number of rows fed. Runs are synchronous; only the CPU is used.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from harness.backends import hub_files
from harness.backends.base import (
    Backend,
    Capabilities,
    LoadReport,
    Logits,
    Node,
    Step,
    require_context,
    require_finite,
    require_pinned,
)
from harness.backends.onnx_cache import GrowingCache, SharedCache, Slot
from harness.backends.onnx_folder import Names, OnnxFolder, open_folder
from harness.backends.onnx_library import identity, import_engine, open_session
from harness.errors import BackendError
from harness.spec import BackendOptions

LOGITS_ROWS = "logits_rows"
"""Input of this project's own graphs: int64 indices of the rows that pass the head."""

SHARING = "GroupQueryAttention"
"""The operator that can write into the cache it reads."""

_FAN_ROWS = 64
"""Most logits rows of branches that are evaluated together: such graphs return every row."""

_FAN_BYTES = 64 << 20
"""Most bytes of the past's copies, one a branch, that are evaluated together."""

_ROWS_BYTES = 128 << 20
"""Most bytes of logits in one call of scoring, where a graph returns every row."""

_DTYPES: dict[str, npt.DTypeLike] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxRuntimeBackend(Backend):
    """Folders with an ONNX decoder and its `tokenizer.json`."""

    name = "onnxruntime"
    capabilities: ClassVar[Capabilities] = Capabilities(counts_evaluated=False)

    def __init__(self) -> None:
        super().__init__()
        self._ort: Any = None
        self._session: Any = None
        self._folder: OnnxFolder | None = None
        self._options = BackendOptions()
        self._vocabulary = 0

    # --- life cycle -----------------------------------------------------------------

    def load(self, path: Path, options: BackendOptions) -> LoadReport:
        """Open a folder (or one `.onnx` file in it) and allocate its cache."""
        self._require_none(path)
        require_pinned(path, options)
        self.import_engine()
        started = time.perf_counter()
        folder = open_folder(path)
        require_context(path, options, folder.context)
        self._options = options
        self._tokenizer = hub_files.open_tokenizer(self._tokenizers, folder.tokenizer)
        session = open_session(self._ort, folder.graph, options.threads)
        slots = self._probe(session, folder)
        hub_files.require_vocabulary(self._tokenizer, self._vocabulary, folder.tokenizer)
        self._allocate(session, slots, shared=SHARING in folder.operators)
        self._folder, self._session = folder, session
        self._loaded = True
        self._forget()
        return LoadReport(
            import_s=self._import_s,
            weights_s=time.perf_counter() - started,
            model_bytes=folder.bytes_on_disk,
            kv_bytes_per_token=self._kv_bytes_per_token,
        )

    def _import(self) -> None:
        self._ort, self._tokenizers = import_engine()

    def _probe(self, session: Any, folder: OnnxFolder) -> list[Slot]:
        """Check that every input is one we can feed; return the slots of the cache."""
        names = folder.names
        inputs = {item.name: item for item in session.get_inputs()}
        outputs = {item.name: item for item in session.get_outputs()}
        slots: list[Slot] = []
        while names.past_key % (len(slots) // 2) in inputs:
            layer = len(slots) // 2
            for past, present in (
                (names.past_key % layer, names.present_key % layer),
                (names.past_value % layer, names.present_value % layer),
            ):
                _, heads, _, width = inputs[past].shape
                slots.append(Slot(past, present, heads, width, _dtype(inputs[past], folder)))
        optional = {names.attention_mask, names.position_ids, LOGITS_ROWS}
        fed = {names.input_ids, *(slot.past for slot in slots)}
        read = {names.logits, *(slot.present for slot in slots)}
        if (
            not slots
            or fed - inputs.keys()
            or read - outputs.keys()
            or inputs.keys() - fed - optional
        ):
            raise BackendError(
                "not a decoder with a cache that can be fed: "
                f"inputs {', '.join(inputs)}; outputs {', '.join(outputs)}",
                where=str(folder.graph),
                reason="graph_unknown",
            )
        self._names: Names = names
        self._has_rows = LOGITS_ROWS in inputs
        self._has_mask = names.attention_mask in inputs
        self._has_positions = names.position_ids in inputs
        width = outputs[names.logits].shape[-1]
        self._vocabulary = width if isinstance(width, int) else folder.vocabulary
        self._logits_dtype = _dtype(outputs[names.logits], folder)
        self._kv_dtype = slots[0].dtype
        self._kv_bytes_per_token = sum(
            s.heads * s.width * np.dtype(s.dtype).itemsize for s in slots
        )
        # GroupQueryAttention refuses several rows behind a past; a fixed batch is no batch.
        fixed = {isinstance(inputs[name].shape[0], int) for name in fed}
        self._fans = SHARING not in folder.operators and not any(fixed)
        return slots

    def _allocate(self, session: Any, slots: Sequence[Slot], *, shared: bool) -> None:
        """Make the cache, and everything that a step needs: it then allocates nothing."""
        value = self._value = self._ort.OrtValue.ortvalue_from_numpy
        names, context = self._names, self._options.context
        self._cache: SharedCache | GrowingCache = (
            SharedCache(slots, context, value) if shared else GrowingCache(slots, value)
        )
        self._mask = np.ones((1, context), np.int64)
        self._places = np.arange(context, dtype=np.int64).reshape(1, context)
        self._every_row = np.empty((0, self._vocabulary), self._logits_dtype)
        self._one_id = np.zeros((1, 1), np.int64)
        self._first_row = np.zeros(1, np.int64)
        self._row = np.empty(self._vocabulary, self._logits_dtype)
        self._order = np.empty(self._vocabulary, np.int16)
        self._run = session.run_with_iobinding
        self._many = session.io_binding()
        self._single = session.io_binding()
        for binding in (self._many, self._single):
            # First of all: outputs are returned in the order of binding.
            binding.bind_ortvalue_output(names.logits, value(self._row.reshape(1, 1, -1)))
            self._cache.attach(binding)
        self._single.bind_cpu_input(names.input_ids, self._one_id)
        if self._has_rows:
            self._single.bind_cpu_input(LOGITS_ROWS, self._first_row)

    def describe(self) -> dict[str, str]:
        """The engine's identity, and what was found in the graph."""
        self._require_model()
        assert self._folder is not None
        return identity(self._ort, self._session) | {
            "context_allocated": str(self._options.context),
            "layout": self._folder.layout,
            "graph": self._folder.graph.name,
            "cache": self._cache.name,
            "branches": self.geometry,
            "kv_type": np.dtype(self._kv_dtype).name,
            "logits_rows": str(self._has_rows).lower(),
            "micro_batch": str(self._options.batch_tokens),
        }

    def close(self) -> None:
        """Drop the session and its buffers."""
        if self._session is not None:
            self._session = self._folder = None
            self._loaded = False
            self.__dict__.pop("begin_ids", None)
            del self._run, self._many, self._single, self._cache, self._tokenizer

    # --- text -----------------------------------------------------------------------

    @property
    def context(self) -> int:
        """Tokens that the buffers hold."""
        return self._options.context

    @property
    def vocabulary(self) -> int:
        """Width of the logits; it may exceed the tokeniser's own ids."""
        return self._vocabulary

    @property
    def end_ids(self) -> frozenset[int]:
        """`eos_token_id` of every configuration in the folder."""
        self._require_model()
        return self._folder.end_ids if self._folder else frozenset()

    @cached_property
    def begin_ids(self) -> tuple[int, ...]:
        """What the tokeniser's own template puts before a text."""
        self._require_model()
        return hub_files.begin_ids(self._tokenizer)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of a text; `special` parses special tokens, otherwise they stay text."""
        self._require_model()
        return hub_files.encode(self._tokenizer, text, special=special)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; special tokens have none."""
        self._require_model()
        self._check_range(ids)
        return hub_files.decode(self._tokenizer, ids)

    # --- evaluation -----------------------------------------------------------------

    def step(self, token: int, *, sample: bool = True) -> Step:
        """Evaluate one token in buffers that are bound already; only the mask grows."""
        self._check((token,))
        position = self._position
        self._one_id[0, 0] = token
        self._bind_and_run(self._single, position, position + 1)
        next_id = self._greedy() if sample else -1
        self._position = position + 1
        return Step(next_id, 1)

    def _advance(self, ids: Sequence[int], *, sample: bool) -> Step:
        self._feed(ids, [len(ids) - 1], self._row.reshape(1, -1), len(ids))
        next_id = self._greedy() if sample else -1
        self._position += len(ids)
        return Step(next_id, len(ids))

    def _evaluate(self, ids: Sequence[int], rows: Sequence[int]) -> Logits:
        logits = np.empty((len(rows), self._vocabulary), np.float32)
        most = len(ids)
        if not self._has_rows:
            most = max(1, _ROWS_BYTES // (self._vocabulary * np.dtype(self._logits_dtype).itemsize))
        self._feed(ids, rows, logits, most)
        return logits

    def _feed(
        self, ids: Sequence[int], rows: Sequence[int], out: npt.NDArray[Any], most: int
    ) -> None:
        """Evaluate ids in parts of `batch_tokens`, or `most`, and write rows into `out`."""
        binding, size, taken = self._many, min(self._options.batch_tokens, most), 0
        for start in range(0, len(ids), size):
            part = np.array([ids[start : start + size]], np.int64)
            count = part.shape[1]
            here = np.array([r - start for r in rows if start <= r < start + count], np.int64)
            wanted = out[taken : taken + here.size]
            binding.bind_cpu_input(self._names.input_ids, part)
            target = self._bind_logits(here, count, wanted)
            first = self._position + start
            self._bind_and_run(binding, first, first + count)
            if target is not wanted:
                wanted[...] = target if self._has_rows else target[here]
            taken += here.size

    def _bind_logits(
        self, rows: npt.NDArray[np.int64], count: int, wanted: npt.NDArray[Any]
    ) -> npt.NDArray[Any]:
        """Bind a place for the logits of one part: `wanted` itself where the graph allows it."""
        width = len(rows) if self._has_rows else count
        if self._has_rows:
            self._many.bind_cpu_input(LOGITS_ROWS, rows)
        if not width:
            self._many.bind_output(self._names.logits)
            return wanted
        target = wanted
        if not self._has_rows or wanted.dtype != self._logits_dtype:
            if len(self._every_row) < width:
                self._every_row = np.empty((width, self._vocabulary), self._logits_dtype)
            target = self._every_row[:width]
        self._many.bind_ortvalue_output(self._names.logits, self._value(target[np.newaxis]))
        return target

    def _bind_and_run(self, binding: Any, start: int, end: int) -> None:
        """Run on tokens `start … end` of the sequence; ids and logits are bound already."""
        names, cache = self._names, self._cache
        if self._has_mask:
            binding.bind_cpu_input(names.attention_mask, self._mask[:, :end])
        if self._has_positions:
            binding.bind_cpu_input(names.position_ids, self._places[:, start:end])
        cache.before(binding)
        try:
            self._run(binding)
        except Exception as error:
            cache.rewind(self._position, end)
            raise BackendError(f"ONNX Runtime failed: {error}", reason="run_failed") from error
        cache.after(binding)

    def _greedy(self) -> int:
        row = self._row
        index = int(row.argmax()) if row.dtype == np.float32 else self._half_argmax(row)
        require_finite(row[index])
        return index

    def _half_argmax(self, row: npt.NDArray[Any]) -> int:
        """Argmax of float16 as integers of the same order: NumPy's own takes 30 times longer.

        Its bits are sign and magnitude; flipping the magnitude of negative numbers
        gives two's complement, which vector instructions compare.
        """
        bits, order = row.view(np.int16), self._order
        np.right_shift(bits, 15, out=order)
        np.bitwise_and(order, 0x7FFF, out=order)
        np.bitwise_xor(order, bits, out=order)
        return int(order.argmax())

    # --- branches -------------------------------------------------------------------

    @property
    def geometry(self) -> str:
        """Branches are padded into one batch where the graph's attention allows it."""
        return f"batches of {_FAN_ROWS} rows" if self._fans else super().geometry

    def branches(
        self, node: Node, paths: Sequence[Sequence[int]], rows: Sequence[Sequence[int]]
    ) -> Iterator[Logits]:
        """Branches of similar length as one batch behind copies of the past."""
        widest = max((len(path) for path in paths), default=1)
        past = node.length * self._kv_bytes_per_token
        if not self._fans or not past:
            yield from super().branches(node, paths, rows)
            return
        most = min(_FAN_ROWS // widest, _FAN_BYTES // past)
        if most < 2:
            yield from super().branches(node, paths, rows)
            return
        for start in range(0, len(paths), most):
            part = slice(start, start + most)
            logits = self._fan(node, paths[part])
            for row, wanted in zip(logits, rows[part], strict=True):
                yield row[list(wanted)].astype(np.float32)

    def _fan(self, node: Node, paths: Sequence[Sequence[int]]) -> npt.NDArray[Any]:
        """Every row of branches padded on the right, `[paths, longest, vocabulary]`."""
        self.drop(self.fork(node))  # checks that it is the deepest one, and returns to it
        for path in paths:
            self._check(path)
        names, widest = self._names, max(len(path) for path in paths)
        ids = np.zeros((len(paths), widest), np.int64)
        mask = np.ones((len(paths), node.length + widest), np.int64)
        for index, path in enumerate(paths):
            ids[index, : len(path)] = path
            mask[index, node.length + len(path) :] = 0
        feeds = {names.input_ids: ids}
        if self._has_mask:
            feeds[names.attention_mask] = mask
        if self._has_positions:
            places = self._places[:, node.length : node.length + widest]
            feeds[names.position_ids] = np.repeat(places, len(paths), axis=0)
        assert isinstance(self._cache, GrowingCache)
        past = dict(zip(self._cache.past_names, self._cache.fan(len(paths)), strict=True))
        try:
            found = self._session.run_with_ort_values(
                [names.logits], {name: self._value(x) for name, x in feeds.items()} | past
            )
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed: {error}", reason="run_failed") from error
        logits: npt.NDArray[Any] = found[0].numpy()
        return logits

    def _keep(self, node: Node) -> None:
        if node.state is None or node.state[0] != node.length:
            node.state = (node.length, self._cache.keep())

    def _go_to(self, node: Node) -> None:
        """Return to a node: by its tensors where the cache grows, by its length elsewhere."""
        kept = node.state[1] if node.state else None
        if kept is None or node.state[0] != node.length or self._position == node.length:
            super()._go_to(node)
            return
        assert isinstance(self._cache, GrowingCache)
        self._cache.restore(kept)
        self._position = node.length

    def _rewind(self, length: int) -> None:
        self._cache.rewind(length, self._position)


def _dtype(item: Any, folder: OnnxFolder) -> npt.DTypeLike:
    """NumPy type of an input or output."""
    if item.type not in _DTYPES:
        raise BackendError(
            f"{item.name} is {item.type}",
            where=str(folder.graph),
            allowed=", ".join(_DTYPES),
            reason="graph_unknown",
        )
    return _DTYPES[item.type]
