"""A `tokenizer.json`: bounded, of known parts, and quick on text that tempts its patterns.

Its patterns are regular expressions of a stranger, and `tokenizers` runs them without a
limit. So they are tried here, in the child, under a bound on processor time.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from harness.preflight import documents
from harness.preflight.rules import refuse

_BYTES_MAX: Final = 128 << 20
_IDS_END: Final = 1 << 20
_MODELS: Final = frozenset({"BPE", "Unigram", "WordLevel", "WordPiece"})
_OPEN_S: Final = 10.0
_ENCODE_S: Final = 2.0
_PARTS: Final = ("normalizer", "pre_tokenizer", "post_processor", "decoder")

_PROBES: Final = (
    "a" * 4096 + "!",
    "가" * 2048 + "!",
    " " * 4096 + "x",
    "0" * 4096 + ".",
    "ab" * 2048 + "\n",
    "\n\r" * 2048 + "\0",
    "한국어 English 12,345.67 'll 안녕하세요? ☃ \t" * 64,
)
"""Runs that end in something else: what makes nested repetitions backtrack."""


def check(path: Path) -> None:
    """Judge a file; where `tokenizers` is missing, only its text is.

    Raises:
        SpecError: `tokenizer_type`, `tokenizer_ids`, `tokenizer_invalid`, `tokenizer_limit`
            or one of `documents.read`.
    """
    _check_text(path)  # whose objects are gone before the package makes its own
    _try(path)


def _check_text(path: Path) -> None:
    document = documents.read(path, _BYTES_MAX)
    model = document.get("model")
    if not isinstance(model, dict):
        refuse(path, "tokenizer_invalid", "it has no model")
    kind = model.get("type", "BPE")  # old files leave it out
    if kind not in _MODELS:
        refuse(path, "tokenizer_type", f"a model of type {kind!r:.60}", place="model.type")
    for name in _PARTS:
        if any(part == "Custom" for part in _types(document.get(name))):
            refuse(path, "tokenizer_type", "a custom part", place=name)
    _check_ids(path, model, document.get("added_tokens"))


def _types(part: object) -> Iterator[object]:
    """The types of a part and of what it is made of; depth was bounded before."""
    if isinstance(part, dict):
        yield part.get("type")
        for value in part.values():
            yield from _types(value)
    elif isinstance(part, list):
        for value in part:
            yield from _types(value)


def _check_ids(path: Path, model: Mapping[str, Any], added: object) -> None:
    vocabulary = model.get("vocab", {})
    ids: list[object]
    if isinstance(vocabulary, list):  # Unigram: an id is a place
        ids = list(range(len(vocabulary)))
    elif isinstance(vocabulary, dict):
        ids = list(vocabulary.values())
    else:
        refuse(path, "tokenizer_invalid", "its vocabulary is no list", place="model.vocab")
    tokens = added if isinstance(added, list) else []
    special = [token.get("id") if isinstance(token, dict) else None for token in tokens]
    for value in (*ids, *special):
        if type(value) is not int or not 0 <= value < _IDS_END:
            refuse(path, "tokenizer_ids", f"an id {value!r:.60}")
    # An added token may name one of the vocabulary again.
    for values, place in ((ids, "model.vocab"), (special, "added_tokens")):
        if len(set(values)) < len(values):
            refuse(path, "tokenizer_ids", "two tokens of one id", place=place)


def _try(path: Path) -> None:
    """Open and encode, each within its share of processor time."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return
    with _at_most(_OPEN_S):
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except BaseException as error:  # noqa: BLE001  (it raises nothing narrower, or panics)
            refuse(path, "tokenizer_invalid", f"it cannot be opened: {str(error)[:200]}")
    for probe in _PROBES:
        began = time.process_time()
        with _at_most(_ENCODE_S):
            # Its pattern gives up by a panic, which Python sees as no common exception.
            try:
                found = tokenizer.encode(probe, add_special_tokens=False)
                tokenizer.decode(found.ids)  # whose parts have patterns, too
            except BaseException as error:  # noqa: BLE001
                gave_up = f"{type(error).__name__}: {str(error)[:120]}"
            else:
                gave_up = ""
        if gave_up or time.process_time() - began > _ENCODE_S:
            end = gave_up or f"take more than {_ENCODE_S:g} s"
            message = f"{len(probe)} characters like {probe[:8]!r} {end}"
            refuse(path, "tokenizer_limit", message)


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """End the process where native code takes longer; Windows has only the parent's timeout."""
    if sys.platform == "win32":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    until = int(time.process_time() + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (min(until, hard) if hard >= 0 else until, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
