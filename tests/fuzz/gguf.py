"""Mutated GGUF files: `python -m tests.fuzz.gguf --count 5000 --seed 1 --jobs 2`.

A base file is taken apart into entries, tensors and data; one to three of them are changed;
it is put together again, mostly with offsets that fit, so that the change itself is what
the reader and the engine meet. Some files are damaged as plain bytes afterwards.
"""

from __future__ import annotations

import contextlib
import math
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from harness.models import reference
from harness.models.gguf_file import BLOCKS, Array, read_header
from tests.fuzz import campaign
from tests.preflight.forged import entry, info, text

BASES = ("ref-2m.q4_0.gguf", "ref-2m.q8_0.gguf", "ref-2m.q4_k_m.gguf")
FORMS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
NUMBERS = (0, 1, 2, 3, 7, 31, 32, 33, 64, 127, 128, 255, 256, 512, 513, 1 << 15, (1 << 16) - 1)
NUMBERS += (1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 63) - 1, (1 << 64) - 1)
SIZES = (0.0, -0.0, 1e-45, 1e-6, 0.5, 1.0, 2.0, 1e4, 1e30, -1.0, math.inf, -math.inf, math.nan)
WORDS = (b"", b"llama", b"qwen2", b"gemma3", b"phi3", b"mamba", b"clip", b"t5", b"bert", b"rwkv7")
WORDS += (
    b"gpt2",
    b"rwkv",
    b"plamo2",
    b"adapter",
    b"\xff\xfe",
    b"a\0b",
    b"x" * 5000,
    b"%s%n",
    b"yarn",
)
TOKENS = (b"", b"a", b"<0x-1>", b"<0x0A>", b"<0xZZ>", b"\xff", b"a\0", b"\xed\xa0\x80", b"y" * 9000)


@dataclass
class Parts:
    """A GGUF file in pieces; tensors are `[name, shape, kind, offset]`, `offset` None = fits."""

    entries: list[list[object]]
    tensors: list[list[object]]
    data: list[bytes]
    version: int = 3
    counts: dict[str, int] = field(default_factory=dict)
    dimensions: dict[int, int] = field(default_factory=dict)

    def whole(self) -> bytes:
        """The file."""
        offset, infos, body = 0, [], b""
        for index, ((name, shape, kind, place), data) in enumerate(
            zip(self.tensors, self.data, strict=True)
        ):
            at = offset if place is None else place
            more = {"dimensions": self.dimensions[index]} if index in self.dimensions else {}
            infos.append(info(name, tuple(s % (1 << 64) for s in shape), kind, at, **more))  # type: ignore[arg-type, attr-defined]
            body += data + bytes(-len(data) % 32)
            offset = len(body)
        head = struct.pack(
            "<4sIQQ",
            b"GGUF",
            self.version,
            self.counts.get("tensors", len(self.tensors)),
            self.counts.get("entries", len(self.entries)),
        )
        head += b"".join(entry(key, kind, value) for key, kind, value in self.entries)  # type: ignore[arg-type]
        head += b"".join(infos)
        return head + bytes(-len(head) % 32) + body


@cache
def _base(
    name: str,
) -> tuple[bytes, list[tuple[object, ...]], list[tuple[object, ...]], list[bytes]]:
    """A file's bytes, entries, tensors and data."""
    path = reference.materialise(name)
    content = path.read_bytes()
    found = read_header(path)
    entries = []
    for key, value in found.metadata.items():
        place = content.index(text(key)) + len(text(key))
        kind = struct.unpack_from("<I", content, place)[0]
        entries.append((key, kind, _value(content, place + 4, value, kind)))
    tensors = [(t.name, t.shape, t.kind, None) for t in found.tensors]
    starts = [found.data_start + t.offset for t in found.tensors]
    data = [content[s : s + t.size_bytes] for s, t in zip(starts, found.tensors, strict=True)]
    return content, entries, tensors, data


def _value(content: bytes, place: int, value: object, kind: int) -> bytes:
    if kind == 8:
        return text(str(value))
    if not isinstance(value, Array):
        return content[place : place + struct.calcsize("<" + FORMS[kind])]
    end = value.start
    for _ in range(value.length):
        if value.kind == 8:
            end += 8 + struct.unpack_from("<Q", content, end)[0]
        else:
            end += struct.calcsize("<" + FORMS[value.kind])
    return content[place:end]


# --- changes ------------------------------------------------------------------------


def _number(rng: random.Random, kind: int) -> bytes:
    """An interesting number, cut down to its type."""
    form = "<" + FORMS[kind]
    if kind in {6, 12}:
        return struct.pack(form, rng.choice(SIZES))
    size = struct.calcsize(form)
    return (rng.choice(NUMBERS) % (1 << 64)).to_bytes(8, "little")[:size]


def scalar(rng: random.Random, parts: Parts) -> None:
    """Another value of the same type, mostly of a hyperparameter."""
    chosen = [e for e in parts.entries if e[1] in FORMS]
    target = rng.choice(chosen)
    target[2] = _number(rng, target[1])  # type: ignore[arg-type]


def retyped(rng: random.Random, parts: Parts) -> None:
    """Another type; its bytes may or may not fit."""
    target = rng.choice(parts.entries)
    target[1] = rng.choice([*FORMS, 8, 9, 13, 255])
    if target[1] in FORMS and rng.random() < 0.8:
        target[2] = _number(rng, target[1])  # type: ignore[arg-type]


def word(rng: random.Random, parts: Parts) -> None:
    """Another text: architecture, tokeniser, name."""
    target = rng.choice([e for e in parts.entries if e[1] == 8])
    target[2] = text(rng.choice(WORDS))


def family(rng: random.Random, parts: Parts) -> None:
    """Another architecture, with all keys renamed: tensors are then those of another network."""
    new = rng.choice(
        ["qwen2", "qwen3", "gemma2", "gemma3", "phi3", "mamba", "gpt2", "rwkv6", "olmo2"]
    )
    for target in parts.entries:
        if target[0] == "general.architecture":
            target[2] = text(new)
        elif str(target[0]).startswith("llama."):
            target[0] = new + str(target[0])[5:]


def length(rng: random.Random, parts: Parts) -> None:
    """Another length of a text or an array."""
    target = rng.choice([e for e in parts.entries if e[1] in {8, 9}])
    at = 4 if target[1] == 9 else 0
    value: bytes = target[2]  # type: ignore[assignment]
    old = struct.unpack_from("<Q", value, at)[0]
    new = rng.choice([*NUMBERS, max(old - 1, 0), old + 1, old * 2])
    target[2] = value[:at] + struct.pack("<Q", new % (1 << 64)) + value[at + 8 :]


def element(rng: random.Random, parts: Parts) -> None:
    """Another type of an array's elements."""
    target = rng.choice([e for e in parts.entries if e[1] == 9])
    value: bytes = target[2]  # type: ignore[assignment]
    target[2] = struct.pack("<I", rng.choice([*FORMS, 8, 9, 99])) + value[4:]


def added(rng: random.Random, parts: Parts) -> None:
    """An entry that the base does not have."""
    key, kind = rng.choice(
        [
            ("general.alignment", 4),
            ("llama.expert_count", 4),
            ("llama.expert_used_count", 4),
            ("llama.vocab_size", 4),
            ("llama.rope.scaling.factor", 6),
            ("llama.attention.sliding_window", 4),
            ("llama.attention.clamp_kqv", 6),
            ("llama.nextn_predict_layers", 4),
            ("llama.pooling_type", 4),
            ("llama.attention.causal", 7),
            ("llama.leading_dense_block_count", 4),
            ("llama.embedding_length_out", 4),
            ("split.count", 2),
            ("tokenizer.ggml.eot_token_id", 4),
            ("tokenizer.ggml.add_eos_token", 7),
            ("tokenizer.ggml.token_type_count", 4),
        ]
    )
    parts.entries.append([key, kind, _number(rng, kind)])


def layered(rng: random.Random, parts: Parts) -> None:
    """An array with a number a layer instead of one number."""
    target = rng.choice([e for e in parts.entries if e[1] == 4])
    values = [rng.choice(NUMBERS) % (1 << 32) for _ in range(rng.choice([0, 1, 2, 3, 600]))]
    target[1] = 9
    target[2] = struct.pack(f"<IQ{len(values)}I", 4, len(values), *values)


def dropped(rng: random.Random, parts: Parts) -> None:
    """An entry less, or one twice."""
    index = rng.randrange(len(parts.entries))
    if rng.random() < 0.7:
        del parts.entries[index]
    else:
        parts.entries.append(list(parts.entries[index]))


def token(rng: random.Random, parts: Parts) -> None:
    """One token, merge or type changed."""
    name = rng.choice(["tokens", "tokens", "merges", "token_type"])
    found = [e for e in parts.entries if e[0] == f"tokenizer.ggml.{name}"]
    if not found:
        return
    value: bytes = found[0][2]  # type: ignore[assignment]
    count = struct.unpack_from("<Q", value, 4)[0]
    index = rng.randrange(min(count, 400))
    if name == "token_type":
        number = struct.pack("<i", rng.choice([0, 1, 2, 3, 4, 5, 6, 7, -1, 1 << 30]))
        found[0][2] = value[: 12 + 4 * index] + number + value[16 + 4 * index :]
        return
    at = 12
    for _ in range(index):
        at += 8 + struct.unpack_from("<Q", value, at)[0]
    after = at + 8 + struct.unpack_from("<Q", value, at)[0]
    found[0][2] = value[:at] + text(rng.choice(TOKENS)) + value[after:]


def counts(rng: random.Random, parts: Parts) -> None:
    """The header's own numbers."""
    what = rng.choice(["version", "tensors", "entries"])
    number = rng.choice([*NUMBERS, len(parts.entries) - 1, len(parts.tensors) + 1])
    if what == "version":
        parts.version = number % (1 << 32)
    else:
        parts.counts[what] = number % (1 << 64)


def dims(rng: random.Random, parts: Parts) -> None:
    """A dimension, or how many there are."""
    index = rng.randrange(len(parts.tensors))
    shape = list(parts.tensors[index][1])  # type: ignore[call-overload]
    if rng.random() < 0.3:
        parts.dimensions[index] = rng.choice([0, 1, 2, 3, 4, 5, 1 << 31, (1 << 32) - 1])
    elif rng.random() < 0.4:
        rng.shuffle(shape)
    else:
        shape[rng.randrange(len(shape))] = rng.choice(NUMBERS)
    parts.tensors[index][1] = tuple(shape)


def resized(rng: random.Random, parts: Parts) -> None:
    """A whole tensor of another shape, with data that fit."""
    index = rng.randrange(len(parts.tensors))
    kind = parts.tensors[index][2]
    block, size = BLOCKS[kind]  # type: ignore[index]
    shape = [block * rng.choice([1, 2, 8]), rng.choice([1, 2, 255, 256, 300])]
    parts.tensors[index][1] = tuple(shape[: rng.choice([1, 2])])
    needed = math.prod(parts.tensors[index][1]) // block * size  # type: ignore[arg-type]
    parts.data[index] = rng.randbytes(needed)


def kind(rng: random.Random, parts: Parts) -> None:
    """Another number type, mostly with data that fit it."""
    index = rng.randrange(len(parts.tensors))
    new = rng.choice([*BLOCKS, 4, 5, 31, 42, 255])
    parts.tensors[index][2] = new
    block, size = BLOCKS.get(new, (1, 1))
    elements = math.prod(parts.tensors[index][1])  # type: ignore[arg-type]
    if rng.random() < 0.8:
        parts.data[index] = rng.randbytes(elements // block * size)


def place(rng: random.Random, parts: Parts) -> None:
    """An offset, or two tensors in the other order."""
    index = rng.randrange(len(parts.tensors))
    if rng.random() < 0.5:
        parts.tensors[index][3] = rng.choice(NUMBERS)
    else:
        other = rng.randrange(len(parts.tensors))
        for pieces in (parts.tensors, parts.data):
            pieces[index], pieces[other] = pieces[other], pieces[index]  # type: ignore[index]


def named(rng: random.Random, parts: Parts) -> None:
    """Another name, or a tensor less."""
    index = rng.randrange(len(parts.tensors))
    if rng.random() < 0.3:
        del parts.tensors[index], parts.data[index]
    else:
        names = [
            "",
            "x" * 64,
            "x" * 63,
            "blk.600.attn_q.weight",
            "output.weight",
            "rope_freqs.weight",
        ]
        names += [str(tensor[0]) for tensor in parts.tensors]
        parts.tensors[index][0] = rng.choice(names)


def weights(rng: random.Random, parts: Parts) -> None:
    """Numbers that are none."""
    index = rng.randrange(len(parts.data))
    pattern = rng.choice([b"\xff", b"\0", b"\x7f", b"\x00\x7c", b"\x00\x00\x80\x7f"])
    size = len(parts.data[index])
    parts.data[index] = (pattern * (size // len(pattern) + 1))[:size]


CHANGES: tuple[Callable[[random.Random, Parts], None], ...] = (
    *(scalar,) * 4,
    *(kind, resized, token, added) * 2,
    *(retyped, word, family, length, element, layered, dropped, counts),
    *(dims, place, named, weights),
)


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Plain damage, mostly in the header."""
    data = bytearray(content)
    reach = len(data) if rng.random() < 0.2 else min(len(data), 1200)
    how = rng.randrange(5)
    at = rng.randrange(reach)
    if how == 0:
        for _ in range(rng.choice([1, 2, 8, 32])):
            data[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    elif how == 1:
        del data[rng.randrange(len(data)) if rng.random() < 0.5 else at :]
    elif how == 2:
        start = rng.randrange(len(data))
        data[at:at] = data[start : start + rng.choice([1, 8, 64, 4096])]
    elif how == 3:
        del data[at : at + rng.choice([1, 4, 8, 300])]
    else:
        data[at : at + 8] = (rng.choice(NUMBERS) % (1 << 64)).to_bytes(8, "little")
    return bytes(data)


def make(rng: random.Random, folder: Path) -> Path:
    """One mutated file in an empty folder."""
    content, entries, tensors, data = _base(rng.choice(BASES))
    if rng.random() < 0.75:
        parts = Parts([list(e) for e in entries], [list(t) for t in tensors], list(data))
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            # What an earlier change left may be too short for this one.
            with contextlib.suppress(IndexError, struct.error):
                rng.choice(CHANGES)(rng, parts)
        content = parts.whole()
    if rng.random() < 0.25:
        content = damaged(rng, content)
    path = folder / "mutant.gguf"
    path.write_bytes(content)
    return path


if __name__ == "__main__":
    campaign.main(make, "gguf", 5000)
