"""Special tokens as lm-evaluation-harness understands them, read from a model's files.

Backends add nothing to a text. Other harnesses do: a start token where the tokeniser is
made so (Gemma and Llama 3 lose much of their skill without it), and one token in front of
a text that has no context.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.backends.base import Backend
from harness.errors import BackendError
from harness.models.gguf_file import read_header
from harness.spec import Artefact

_PROBE = "a"
_STARTED = frozenset({"llama3", "llama-v3", "llama-bpe", "falcon3"})
"""Byte-level pre-tokenisers of GGUF files to which llama.cpp adds a start token unasked."""


class SpecialIds(NamedTuple):
    """Ids that are put around texts.

    Attributes:
        start: put before every text.
        prefix: stands for an empty context.
        end: ends a text.
    """

    start: tuple[int, ...]
    prefix: int
    end: int


def special_ids(artefact: Artefact, backend: Backend) -> SpecialIds:
    """What the artefact's files say; `backend` has it loaded.

    Raises:
        BackendError: the files name no token that ends a text.
    """
    if artefact.model.format == "gguf":
        start, first, end = _of_gguf(Path(artefact.path))
    else:
        start, first, end = _of_folder(Path(artefact.path), backend)
    if end is None:
        end = min(backend.end_ids, default=None)
    if end is None:
        raise BackendError(
            "the model names no end-of-sequence token",
            where=artefact.path,
            reason="no_end_token",
        )
    return SpecialIds(start, end if first is None else first, end)


_Found = tuple[tuple[int, ...], int | None, int | None]


def _of_gguf(path: Path) -> _Found:
    values = read_header(path).metadata
    first = values.get("tokenizer.ggml.bos_token_id")
    end = values.get("tokenizer.ggml.eos_token_id")
    begins = values.get("tokenizer.ggml.add_bos_token")
    if not isinstance(begins, bool):
        kind, pre = (values.get(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
        begins = kind == "llama" or pre in _STARTED
    end = end if isinstance(end, int) else None
    if not begins or not isinstance(first, int):
        # Files name a start token also where the tokeniser that they were made from has none.
        return (), None, end
    return (first,), first, end


def _of_folder(path: Path, backend: Backend) -> _Found:
    home = path if path.is_dir() else path.parent
    if not (home / "tokenizer.json").is_file():
        home = home.parent
    config = _object(home / "tokenizer_config.json")
    named = {**_object(home / "special_tokens_map.json"), **config}
    first, end = (_id(named.get(name), backend) for name in ("bos_token", "eos_token"))
    begins = config.get("add_bos_token")
    start: tuple[int, ...]
    if isinstance(begins, bool):
        start = (first,) if begins and first is not None else ()
    else:
        start = _put_before(home / "tokenizer.json")
    return start, start[0] if first is None and start else first, end


def _put_before(path: Path) -> tuple[int, ...]:
    """Ids that the tokeniser's own post-processing puts before a text."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    bare: list[int] = tokenizer.encode(_PROBE, add_special_tokens=False).ids
    full: list[int] = tokenizer.encode(_PROBE).ids
    return tuple(full[: full.index(bare[0])]) if bare and bare[0] in full else ()


def _id(token: Any, backend: Backend) -> int | None:
    """The id of a special token's text, where it is one."""
    text = token.get("content") if isinstance(token, dict) else token
    ids = backend.encode(text, special=True) if isinstance(text, str) else []
    return ids[0] if len(ids) == 1 else None


def _object(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BackendError(
            f"cannot be read: {error}", where=str(path), reason="model_unreadable"
        ) from error
    return found if isinstance(found, dict) else {}
