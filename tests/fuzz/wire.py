"""Protobuf messages as trees that can be changed and written again, right or wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from harness.preflight.onnx_wire import SCHEMA, Reader, Span

VARINTS = (0, 1, 2, 127, 128, 255, 2**31 - 1, 2**31, 2**32 + 1, 2**62, 2**63, 2**64 - 1)


@dataclass
class Part:
    """A field. `inner`: of a message its parts; otherwise `content` are its bytes.

    `length`: written instead of the true length; `tag`: instead of the true tag.
    """

    number: int
    wire: int
    name: str
    content: bytes = b""
    value: int = 0
    kind: str = ""
    inner: list[Part] = field(default_factory=list)
    length: int | None = None
    tag: bytes | None = None

    def copy(self) -> Part:
        """A tree of its own; `deepcopy` takes ten times as long."""
        return replace(self, inner=[part.copy() for part in self.inner])

    def encode(self) -> bytes:
        tag = varint(self.number << 3 | self.wire) if self.tag is None else self.tag
        if self.wire == 0:
            return tag + varint(self.value)
        content = b"".join(part.encode() for part in self.inner) if self.kind else self.content
        if self.wire != 2:
            return tag + content
        return tag + varint(len(content) if self.length is None else self.length) + content


def parse(data: bytes) -> Part:
    """The whole model as one part."""
    reader = Reader(data, "seed")
    return Part(0, 2, "model", kind="Model", inner=_inner(reader, "Model", Span(0, len(data))))


def _inner(reader: Reader, kind: str, span: Span) -> list[Part]:
    found = []
    for number, wire, _, value in reader.fields(span):
        known = SCHEMA[kind][number]
        part = Part(number, wire, known.name)
        if not isinstance(value, Span):
            part.value = value
        elif known.kind in SCHEMA:
            part.kind = known.kind
            part.inner = _inner(reader, known.kind, value)
        else:
            part.content = reader.bytes(value)
        found.append(part)
    return found


def encode(model: Part) -> bytes:
    """The file."""
    return b"".join(part.encode() for part in model.inner)


def walk(part: Part) -> Iterator[tuple[Part, Part]]:
    """Every field with the message around it."""
    for inner in part.inner:
        yield part, inner
        yield from walk(inner)


def varint(value: int, size: int = 0) -> bytes:
    """`size`: pad it to so many bytes."""
    parts = bytearray()
    while value >= 0x80 or len(parts) + 1 < size:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def other_number(chance: random.Random, value: int) -> int:
    """A number near a value, or one at the limits of types."""
    near = (value + 1, max(0, value - 1), value * 2, value // 2, value ^ 1 << chance.randrange(32))
    return chance.choice((*near, *VARINTS, chance.getrandbits(16)))
