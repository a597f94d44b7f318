"""GGUF files put together by hand, right ones and wrong ones."""

from __future__ import annotations

import struct
from pathlib import Path


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def array(kind: int, length: int, data: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, length) + data


def info(
    name: str = "a", shape: tuple[int, ...] = (32, 2), kind: int = 0, offset: int = 0, **dims: int
) -> bytes:
    count = dims.get("dimensions", len(shape))
    numbers = struct.pack(f"<I{len(shape)}Q", count, *shape)
    return text(name) + numbers + struct.pack("<IQ", kind, offset)


def document(
    *parts: bytes, entries: int = 0, tensors: int = 0, version: int = 3, data: int = 0
) -> bytes:
    header = struct.pack("<4sIQQ", b"GGUF", version, tensors, entries) + b"".join(parts)
    return header + bytes(-len(header) % 32) + bytes(data) if data else header


TOKENS = ["<unk>", "<s>", "</s>", "<0x0A>", "a", "b", "ab", "한"]


def texts(*values: str | bytes) -> bytes:
    """An array of strings."""
    return array(8, len(values), b"".join(map(text, values)))


def numbers(kind: int, *values: float) -> bytes:
    """An array of type 4 (uint32), 5 (int32) or 6 (float32)."""
    return array(kind, len(values), struct.pack(f"<{len(values)}{' IIIIif'[kind]}", *values))


def u32(value: int) -> tuple[int, bytes]:
    """A type and a value for `model`."""
    return 4, struct.pack("<I", value)


def word(value: str | bytes) -> tuple[int, bytes]:
    """A text for `model`."""
    return 8, text(value)


def model(
    *infos: bytes, data: int | None = None, tail: bytes = b"", **changes: tuple[int, bytes] | None
) -> bytes:
    """The smallest file that passes; `changes` replace entries (`.` written `__`), None drops one.

    Its only tensor is the table of 8 tokens of width 32; `infos` come behind it.
    """
    entries: dict[str, tuple[int, bytes]] = {
        "general.architecture": word("llama"),
        "llama.block_count": u32(1),
        "llama.context_length": u32(128),
        "llama.embedding_length": u32(32),
        "llama.attention.head_count": u32(4),
        "llama.attention.head_count_kv": u32(2),
        "llama.rope.freq_base": (6, struct.pack("<f", 1e4)),
        "tokenizer.ggml.model": word("gpt2"),
        "tokenizer.ggml.tokens": (9, texts(*TOKENS)),
        "tokenizer.ggml.scores": (9, numbers(6, *[0.0] * 8)),
        "tokenizer.ggml.token_type": (9, numbers(5, 2, 3, 3, 6, 1, 1, 1, 1)),
        "tokenizer.ggml.bos_token_id": u32(1),
    }
    for name, value in changes.items():
        key = name.replace("__", ".")
        entries.pop(key, None)
        if value is not None:
            entries[key] = value
    parts = [entry(key, *value) for key, value in entries.items()]
    parts += infos or (info("token_embd.weight", (32, 8)),)
    size = 1024 if data is None else data
    return document(*parts, entries=len(entries), tensors=len(infos) or 1, data=size) + tail


def write(path: Path, content: bytes) -> Path:
    """`path`, now with `content`."""
    path.write_bytes(content)
    return path
