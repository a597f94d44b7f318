"""Special tokens as lm-evaluation-harness understands them, by the engine and the files.

Backends add nothing to a text. Other harnesses do: a start token where the tokeniser is
made so (Gemma and Llama 3 lose much of their skill without it), and one token in front of
a text that has no context.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from harness.backends.base import Backend
from harness.backends.hub_files import read_json
from harness.errors import BackendError
from harness.models.gguf_file import read_header
from harness.spec import Artefact


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
    """What the artefact's files and `backend`, which has it loaded, say.

    Raises:
        BackendError: the files name no token that ends a text.
    """
    path, start = Path(artefact.path), backend.begin_ids
    if artefact.model.format == "gguf":
        # Files name a start token also where the tokeniser that they were made from has none.
        first = start[0] if start else None
        end = read_header(path).metadata.get("tokenizer.ggml.eos_token_id")
    else:
        start, first, end = _of_folder(path, backend)
    if not isinstance(end, int):
        end = min(backend.end_ids, default=None)
    if end is None:
        raise BackendError(
            "the model names no end-of-sequence token",
            where=artefact.path,
            reason="no_end_token",
        )
    return SpecialIds(start, end if first is None else first, end)


def _of_folder(path: Path, backend: Backend) -> tuple[tuple[int, ...], int | None, int | None]:
    """Start, first and end token; what a configuration says overrules the tokeniser."""
    home = path if path.is_dir() else path.parent
    if not (home / "tokenizer.json").is_file():
        home = home.parent
    config = read_json(home / "tokenizer_config.json", optional=True)
    named = {**read_json(home / "special_tokens_map.json", optional=True), **config}
    first, end = (_id(named.get(name), backend) for name in ("bos_token", "eos_token"))
    start, begins = backend.begin_ids, config.get("add_bos_token")
    if isinstance(begins, bool):
        start = (first,) if begins and first is not None else ()
    return start, start[0] if first is None and start else first, end


def _id(token: Any, backend: Backend) -> int | None:
    """The id of a special token's text, where it is one."""
    text = token.get("content") if isinstance(token, dict) else token
    ids = backend.encode(text, special=True) if isinstance(text, str) else []
    return ids[0] if len(ids) == 1 else None
