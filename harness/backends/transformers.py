"""Reference precision: safetensors folders through PyTorch and `transformers`, in float32.

What other engines are compared with, not what a product would ship. The cache is
`transformers`' own and is cut exactly; only logits rows that are asked for pass the
head. PyTorch counts nothing: `Step.evaluated` is the number of rows fed.

Networks that keep a state instead of a row a token can be reset but not cut. Behind a
first prompt they are fed token by token: longer parts start from nothing in some versions.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.backends import hub_files
from harness.backends.base import (
    Backend,
    Capabilities,
    LoadReport,
    Logits,
    Step,
    require_context,
    require_finite,
    require_pinned,
)
from harness.backends.safetensors_folder import SafetensorsFolder, open_folder
from harness.backends.transformers_library import (
    Libraries,
    cache_argument,
    identity,
    import_engine,
    kv_bytes_per_token,
    new_cache,
    open_network,
)
from harness.errors import BackendError, CapabilityError
from harness.spec import BackendOptions


class TransformersBackend(Backend):
    """Folders with `config.json`, safetensors weights and `tokenizer.json`."""

    name = "transformers"
    capabilities: ClassVar[Capabilities] = Capabilities(counts_evaluated=False)

    def __init__(self) -> None:
        super().__init__()
        self._libraries: Libraries | None = None
        self._network: Any = None
        self._folder: SafetensorsFolder | None = None
        self._options = BackendOptions()
        self._vocabulary = 0

    # --- life cycle -----------------------------------------------------------------

    def load(self, path: Path, options: BackendOptions) -> LoadReport:
        """Open a folder. Threads are PyTorch's, and so the process's."""
        self._require_none(path)
        require_pinned(path, options)
        self.import_engine()
        assert self._libraries is not None
        started = time.perf_counter()
        folder = open_folder(path)
        require_context(path, options, folder.context)
        self._tokenizer = hub_files.open_tokenizer(self._libraries.tokenizers, folder.tokenizer)
        self._torch = self._libraries.torch
        self._torch.set_num_threads(options.threads)
        network = open_network(self._libraries, folder, mapped=options.mmap)
        self._vocabulary = network.config.get_text_config().vocab_size
        hub_files.require_vocabulary(self._tokenizer, self._vocabulary, folder.tokenizer)
        self._cache_argument = cache_argument(network)
        self._cache, self._croppable = new_cache(self._libraries, network)
        self._options, self._folder, self._network = options, folder, network
        self._loaded = True
        self._forget()
        return LoadReport(
            import_s=self._import_s,
            weights_s=time.perf_counter() - started,
            model_bytes=folder.bytes_on_disk,
            kv_bytes_per_token=kv_bytes_per_token(network) if self._croppable else 0,
        )

    def _import(self) -> None:
        self._libraries = import_engine()

    def describe(self) -> dict[str, str]:
        """The engine's identity, and how the network is run."""
        self._require_model()
        assert self._libraries is not None
        return identity(self._libraries, self._network) | {
            "context_allocated": str(self._options.context),
            "cache": "rows" if self._croppable else "state",
            "branches": self.geometry,
            "kv_type": "float32",
            "micro_batch": str(self._options.batch_tokens),
            "mmap": str(self._options.mmap).lower(),
        }

    def close(self) -> None:
        """Drop the network and its cache."""
        if self._network is not None:
            self._network = self._folder = None
            self._loaded = False
            del self._cache, self._tokenizer

    # --- text -----------------------------------------------------------------------

    @property
    def context(self) -> int:
        """What was asked for; the cache grows up to it."""
        return self._options.context

    @property
    def begin_ids(self) -> tuple[int, ...]:
        """What the tokeniser's own template puts before a text."""
        self._require_model()
        return hub_files.begin_ids(self._tokenizer)

    @property
    def vocabulary(self) -> int:
        """Width of the logits; it may exceed the tokeniser's own ids."""
        return self._vocabulary

    @property
    def end_ids(self) -> frozenset[int]:
        """`eos_token_id` of every configuration in the folder."""
        self._require_model()
        return self._folder.end_ids if self._folder else frozenset()

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
        """Evaluate one token; what is checked for prompts is checked here."""
        self._check((token,))
        return self._advance((token,), sample=sample)

    def _advance(self, ids: Sequence[int], *, sample: bool) -> Step:
        last = self._feed(ids, [len(ids) - 1])
        next_id = self._greedy(last[-1][0]) if sample else -1
        self._position += len(ids)
        return Step(next_id, len(ids))

    def _evaluate(self, ids: Sequence[int], rows: Sequence[int]) -> Logits:
        logits = np.empty((len(rows), self._vocabulary), np.float32)
        taken = 0
        for part in self._feed(ids, rows):
            logits[taken : taken + len(part)] = part.numpy()
            taken += len(part)
        return logits

    def _feed(self, ids: Sequence[int], rows: Sequence[int]) -> list[Any]:
        """Evaluate ids in parts; returns a tensor `[rows, vocabulary]` for each part with rows."""
        torch, found = self._torch, []
        size = self._options.batch_tokens
        if not self._croppable:
            size = 1 if self._position else len(ids)
        try:
            with torch.inference_mode():
                for start in range(0, len(ids), size):
                    part = ids[start : start + size]
                    here = [row - start for row in rows if start <= row < start + len(part)]
                    output = self._network(
                        input_ids=torch.tensor([part]),
                        logits_to_keep=torch.tensor(here, dtype=torch.int64),
                        use_cache=True,
                        **{self._cache_argument: self._cache},
                    )
                    if here:
                        found.append(output.logits[0])
        except Exception as error:
            self._rewind(self._position)
            raise BackendError(f"PyTorch failed: {error}", reason="run_failed") from error
        return found

    def _greedy(self, row: Any) -> int:
        top, index = row.max(0)
        require_finite(top.item())
        return int(index)

    def _rewind(self, length: int) -> None:
        assert self._libraries is not None
        if length == 0:
            self._cache, _ = new_cache(self._libraries, self._network)
        elif not self._croppable:
            raise CapabilityError("this network's memory cannot be rewound", reason="no_rewind")
        elif surplus := self._cache.get_seq_length() - length:
            self._cache.crop(-surplus)
