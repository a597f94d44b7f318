"""What a GGUF header says, judged before an engine acts on it.

`models.gguf_file` has checked that everything lies inside the file. Here the values are:
is it a language model in one file, are its hyperparameters in the range that networks
have, and does its vocabulary hang together? llama.cpp ends the process on several of
them (`GGML_ASSERT`), and has written outside its memory on others.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from harness.models.gguf_file import STRING, Array, GgufFile, Tensor, read_header
from harness.models.token_cost import gguf_costs
from harness.preflight.rules import TEMPLATE_CHARS_MAX, refuse

_ARCHITECTURE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_NO_DECODERS: Final = re.compile(
    r"clip|adapter|controlvector|imatrix|t5.*|.*bert.*|.*-embed(ding)?|wavtokenizer-dec"
    r"|eagle3|dflash|.*-assistant|qwen3tts|pockettts"
)
"""Architectures of llama.cpp that are no decoder of text: files that belong to another."""

_TOKENIZERS: Final = frozenset({"llama", "gpt2", "gemma4", "plamo2", "rwkv"})
_TOKENS_MAX: Final = 1 << 20
_TOKEN_BYTES_MAX: Final = 4096
_BYTE: Final = 6
"""Type of tokens that stand for one byte (`LLAMA_TOKEN_TYPE_BYTE`)."""
_BYTES: Final = frozenset(f"<0x{value:02X}>".encode() for value in range(256))
_BYTE_TEXT: Final = re.compile(rb"<0x[0-9A-Fa-f]{2}>")
_LIKE_BYTES: Final = re.compile(rb"\0<0x(?![0-9A-Fa-f]{2}>\0)[^<>\0]{0,16}>(?=\0)")
_ABSENT: Final = (1 << 32) - 1
"""What some converters write for a special token that there is not; llama.cpp ignores it."""

_F32: Final = 0
_NO_WEIGHTS: Final = frozenset({9, 15, 24, 25, 27, 28})
"""Types that ggml only computes with, or never multiplies: it ends the process."""
_I32: Final = 26
_TABLES: Final = "tid2eid"
"""In the names of tensors that hold numbers of experts, which are looked up."""

_TYPES: Final = {0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 8: "q8_0", 30: "bf16"}


def check(path: Path) -> dict[str, Any]:
    """Judge a whole file; returns `preflight.Facts` as JSON data.

    Raises:
        SpecError: the rule that is broken.
    """
    file = read_header(path)
    family = _family(file)
    _check_numbers(file, family)
    tokens = _check_vocabulary(file)
    _check_tensors(file, family, tokens)
    template = file.metadata.get("tokenizer.chat_template", "")
    if not isinstance(template, str) or len(template) > TEMPLATE_CHARS_MAX:
        _refuse(file, "template_size", "it is no text, or too long", "tokenizer.chat_template")
    return {
        "context": file.metadata[f"{family}.context_length"],
        "synthetic": file.metadata.get("harness.synthetic") is True,
        "weights": gguf_costs(file),
    }


def _refuse(file: GgufFile, rule: str, message: str, key: str) -> NoReturn:
    refuse(file.path, rule, message, place=f"'{key}'")


def _family(file: GgufFile) -> str:
    """The architecture of a whole decoder."""
    kind = file.metadata.get("general.type", "model")
    if kind != "model":
        _refuse(file, "gguf_no_model", f"it holds {_shown(kind)}", "general.type")
    family = file.metadata.get("general.architecture")
    if not isinstance(family, str) or not _ARCHITECTURE.fullmatch(family):
        _refuse(file, "gguf_no_model", f"it says {_shown(family)}", "general.architecture")
    if _NO_DECODERS.fullmatch(family):
        message = f"{family} is not a language model that generates text"
        _refuse(file, "gguf_no_model", message, "general.architecture")
    parts = file.metadata.get("split.count", 1)
    if type(parts) is not int or parts > 1:
        _refuse(file, "gguf_split", f"one of {_shown(parts)} files", "split.count")
    return family


# --- hyperparameters ----------------------------------------------------------------

_REQUIRED: Final = {
    "block_count": (1, 512),
    "context_length": (1, 1 << 27),
    "embedding_length": (1, 1 << 17),
}
_COUNTS: Final = {
    "attention.head_count": (0, 1024),
    "attention.head_count_kv": (0, 1024),
    "attention.key_length": (1, 1 << 14),
    "attention.value_length": (1, 1 << 14),
    "expert_count": (0, 1024),
    "expert_used_count": (0, 1024),
    "expert_group_count": (0, 1024),
    "feed_forward_length": (0, 1 << 20),
    "nextn_predict_layers": (0, 512),
    "rope.dimension_count": (0, 1 << 14),
    "rope.scaling.original_context_length": (0, 1 << 27),
    "vocab_size": (1, _TOKENS_MAX),
}
_SIZES: Final = {
    "attention.layer_norm_epsilon": (0.0, 1.0),
    "attention.layer_norm_rms_epsilon": (0.0, 1.0),
    "rope.freq_base": (1e-6, 1e12),
    "rope.scaling.attn_factor": (1e-6, 1e6),
    "rope.scaling.factor": (0.0, 1e6),
}
_SCALINGS: Final = frozenset({"none", "linear", "yarn", "longrope"})


def _check_numbers(file: GgufFile, family: str) -> None:
    blocks = 1
    for name, (least, most) in (_REQUIRED | _COUNTS).items():
        key = f"{family}.{name}"
        if key not in file.metadata and name not in _REQUIRED:
            continue
        values = _layers(file, key, blocks) if name in _COUNTS else [file.metadata.get(key)]
        for value in values:
            if type(value) is not int or not least <= value <= most:
                _refuse(file, "gguf_number", f"{_shown(value)}, not {least} to {most}", key)
            blocks = value if name == "block_count" else blocks
    for name, (low, high) in _SIZES.items():
        size = file.metadata.get(key := f"{family}.{name}", low)
        if type(size) is not float or not low <= size <= high or not math.isfinite(size):
            _refuse(file, "gguf_number", f"{_shown(size)}, not {low:g} to {high:g}", key)
    scaling = file.metadata.get(key := f"{family}.rope.scaling.type", "none")
    if scaling not in _SCALINGS:
        allowed = ", ".join(sorted(_SCALINGS))
        _refuse(file, "gguf_number", f"{_shown(scaling)}, not one of {allowed}", key)
    _check_heads(file, family)


def _layers(file: GgufFile, key: str, blocks: int) -> list[object]:
    """A hyperparameter may be an array with one number a layer."""
    value = file.metadata[key]
    if not isinstance(value, Array):
        return [value]
    if value.kind not in {4, 5} or value.length < blocks or value.length > 512:
        _refuse(file, "gguf_number", f"{value.length} numbers for {blocks} layers", key)
    return list(file.integers(value))


def _check_heads(file: GgufFile, family: str) -> None:
    """Heads, their widths and experts divide as the kernels assume."""

    def number(name: str, default: int) -> int:
        value = file.metadata.get(f"{family}.{name}", default)
        return value if isinstance(value, int) else 0  # one number a layer

    heads = number("attention.head_count", 0)
    shared = number("attention.head_count_kv", heads)
    if heads and shared and heads % shared:
        message = f"{heads} heads cannot share {shared} keys"
        _refuse(file, "gguf_number", message, f"{family}.attention.head_count_kv")
    width = number("attention.key_length", number("embedding_length", 0) // heads if heads else 0)
    turned = number("rope.dimension_count", width)
    if heads and (turned > width or turned % 2):
        message = f"{turned} rotated dimensions of heads of {width}"
        _refuse(file, "gguf_number", message, f"{family}.rope.dimension_count")
    blocks = number("block_count", 0)
    if (further := number("nextn_predict_layers", 0)) >= blocks:
        message = f"{further} of {blocks} layers predict further tokens"
        _refuse(file, "gguf_number", message, f"{family}.nextn_predict_layers")
    if file.metadata.get(key := f"{family}.attention.causal", True) is not True:
        _refuse(file, "gguf_number", "a decoder looks back only", key)
    if file.metadata.get(key := f"{family}.pooling_type", 0) != 0:
        _refuse(file, "gguf_number", "a decoder pools nothing", key)
    experts, used = number("expert_count", 0), number("expert_used_count", 0)
    groups = number("expert_group_count", 0)
    if used > experts or (experts and not used) or (groups and (experts % groups or not experts)):
        message = f"{used} used of {experts} experts in {groups} groups"
        _refuse(file, "gguf_number", message, f"{family}.expert_used_count")


# --- vocabulary ---------------------------------------------------------------------


def _check_vocabulary(file: GgufFile) -> int:
    """How many tokens there are, all of them well formed."""
    kind = file.metadata.get("tokenizer.ggml.model")
    if kind not in _TOKENIZERS:
        _refuse(file, "gguf_tokenizer", f"it says {_shown(kind)}", "tokenizer.ggml.model")
    key = "tokenizer.ggml.tokens"
    found = file.metadata.get(key)
    if not isinstance(found, Array) or found.kind != STRING:
        _refuse(file, "gguf_vocabulary", "there is no list of tokens", key)
    if not 1 <= found.length <= _TOKENS_MAX:
        _refuse(file, "gguf_vocabulary", f"{found.length} tokens", key)
    for name, kinds in (("scores", {5, 6}), ("token_type", {5})):
        values = file.metadata.get(beside := f"tokenizer.ggml.{name}")
        if values is None:
            continue
        if not isinstance(values, Array) or values.kind not in kinds:
            _refuse(file, "gguf_vocabulary", "it is no list of numbers", beside)
        if values.length != found.length:
            message = f"{values.length} numbers for {found.length} tokens"
            _refuse(file, "gguf_vocabulary", message, beside)
    merges = file.metadata.get("tokenizer.ggml.merges")
    if merges is not None and (not isinstance(merges, Array) or merges.kind != STRING):
        _refuse(file, "gguf_vocabulary", "it is no list of texts", "tokenizer.ggml.merges")
    _check_tokens(file, found)
    _check_special(file, found.length)
    return found.length


def _check_tokens(file: GgufFile, found: Array) -> None:
    """llama.cpp ends the process where two tokens are the same, or one ends at a NUL early."""
    key = "tokenizer.ggml.tokens"
    tokens = file.strings(found)
    text = b"\0".join([b"", *tokens, b""])
    if text.count(b"\0") != len(tokens) + 1:
        index = next(i for i, token in enumerate(tokens) if b"\0" in token)
        _refuse(file, "gguf_token", f"token {index} has a NUL in it", key)
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        index = text.count(b"\0", 0, error.start) - 1
        _refuse(file, "gguf_token", f"token {index} is not UTF-8: {tokens[index][:40]!r}", key)
    if len(longest := max(tokens, key=len)) > _TOKEN_BYTES_MAX:
        message = f"token {tokens.index(longest)} has {len(longest)} bytes"
        _refuse(file, "gguf_token", message, key)
    named = [token for token in tokens if token]  # empty ones get a name of their own
    if len(set(named)) < len(named):
        twice = Counter(named).most_common(1)[0][0]
        _refuse(file, "gguf_token", f"two tokens {_shown(twice.decode())}", key)
    if odd := _LIKE_BYTES.search(text):
        _refuse(file, "gguf_token", f"a byte token {_shown(odd[0][1:].decode())}", key)
    if file.metadata["tokenizer.ggml.model"] == "llama" and (lost := _BYTES.difference(tokens)):
        # What the vocabulary cannot spell is spelt in bytes.
        _refuse(file, "gguf_token", f"there is no token {min(lost).decode()}", key)
    for index in _byte_tokens(file):
        if not _BYTE_TEXT.fullmatch(tokens[index]):
            message = f"token {index} stands for a byte but is {_shown(tokens[index].decode())}"
            _refuse(file, "gguf_token", message, key)


def _byte_tokens(file: GgufFile) -> Iterator[int]:
    types = file.metadata.get("tokenizer.ggml.token_type")
    if isinstance(types, Array):
        kinds = file.integers(types)
        index = -1
        for _ in range(kinds.count(_BYTE)):
            index = kinds.index(_BYTE, index + 1)
            yield index


def _check_special(file: GgufFile, tokens: int) -> None:
    for key, value in file.metadata.items():
        if not key.startswith("tokenizer.ggml.") or not key.endswith("_token_id"):
            continue
        if type(value) is not int or (not 0 <= value < tokens and value != _ABSENT):
            message = f"id {_shown(value)} in a vocabulary of {tokens}"
            _refuse(file, "gguf_special_token", message, key)


# --- tensors ------------------------------------------------------------------------


def _check_tensors(file: GgufFile, family: str, tokens: int) -> None:
    by_name = {tensor.name: tensor for tensor in file.tensors}
    for tensor in file.tensors:
        vector = len(tensor.shape) == 1 and tensor.kind != _F32
        counted = tensor.kind == _I32 and _TABLES not in tensor.name
        if tensor.kind in _NO_WEIGHTS or vector or counted:
            what = "a vector" if vector else "weights"
            message = f"{what} of type {tensor.kind}"
            refuse(file.path, "gguf_tensor_type", message, place=f"tensor {tensor.name!r}")
    table = by_name.get("token_embd.weight")
    if table is None:
        refuse(file.path, "gguf_vocabulary", "there is no tensor 'token_embd.weight'")
    _check_rows(file, table, (_width(file.metadata, family), tokens))


def _check_rows(file: GgufFile, table: Tensor, expected: tuple[int, int]) -> None:
    if table.shape != expected:
        message = f"its shape is {table.shape}, the metadata say {expected}"
        refuse(file.path, "gguf_vocabulary", message, place=f"tensor {table.name!r}")


def _width(metadata: Mapping[str, Any], family: str) -> int:
    return int(metadata[f"{family}.embedding_length"])


def _shown(value: object) -> str:
    """A value of the file, short enough for a line."""
    return repr(value)[:60]
