"""Files that Hugging Face's libraries put beside weights: JSON configurations, `tokenizer.json`.

Shared by the engines that open folders. The tokeniser is used as its file describes it,
by the `tokenizers` package alone: nothing is added to a text and nothing is cut.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from harness.errors import BackendError


def read_json(path: Path, *, optional: bool = False) -> Mapping[str, Any]:
    """The object in a file; empty where an optional file is not there.

    Raises:
        BackendError: missing, unreadable, or not an object.
    """
    if optional and not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        refuse(path, f"cannot be read: {error}")
    if not isinstance(values, dict):
        refuse(path, "not a JSON object")
    return values


def end_ids(config: Mapping[str, Any]) -> frozenset[int]:
    """`eos_token_id`, which is one id or a list of them."""
    value = config.get("eos_token_id")
    values = value if isinstance(value, list) else [value]
    return frozenset(item for item in values if isinstance(item, int))


def refuse(path: Path, message: str, *, allowed: str = "") -> NoReturn:
    """Raise the error of a file that is missing or damaged."""
    raise BackendError(message, where=str(path), allowed=allowed, reason="model_unreadable")


def open_tokenizer(tokenizers: Any, path: Path) -> Any:
    """A tokeniser that adds nothing, cuts nothing and reads special tokens as text.

    Args:
        tokenizers: the package, imported by the engine.

    Raises:
        BackendError: the file is no tokeniser.
    """
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:
        raise BackendError(
            f"not a tokeniser: {error}", where=str(path), reason="model_unreadable"
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def require_vocabulary(tokenizer: Any, vocabulary: int, path: Path) -> None:
    """Refuse a tokeniser of another network: its ids would mean other words, or none.

    A network may have more ids than its tokeniser, since matrices are padded.

    Raises:
        BackendError: `vocabulary_differs`.
    """
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if highest >= vocabulary:
        raise BackendError(
            f"its tokens have ids up to {highest}, the network knows {vocabulary}",
            where=str(path),
            allowed=f"ids in 0..{vocabulary - 1}",
            reason="vocabulary_differs",
        )


def begin_ids(tokenizer: Any) -> tuple[int, ...]:
    """What the tokeniser's own template puts before a text; mostly nothing."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a", add_special_tokens=True).ids
    start = next((i for i in range(len(whole)) if whole[i:][: len(plain)] == plain), 0)
    return tuple(whole[:start])


def encode(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    """Ids of a text; `special` parses special tokens, otherwise they stay text."""
    clean = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates have no UTF-8
    # The name means the opposite of what it says: whether to treat them as text.
    tokenizer.encode_special_tokens = not special
    ids: list[int] = tokenizer.encode(clean, add_special_tokens=False).ids
    return ids


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """Text of ids; special tokens have none."""
    text: str = tokenizer.decode(list(ids), skip_special_tokens=True)
    return text
