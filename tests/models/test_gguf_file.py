"""A GGUF header is read as the `gguf` package reads it, and a forged one is refused."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.models.export_gguf import export_gguf
from harness.models.gguf_file import BLOCKS, Array, read_header
from harness.preflight.rules import RULES
from tests.preflight.forged import array, document, entry, info, text

if TYPE_CHECKING:
    from harness.models.network import Network

gguf = pytest.importorskip("gguf")
LARGEST = (1 << 64) - 1


def read(folder: Path, content: bytes) -> Any:
    path = folder / "m.gguf"
    path.write_bytes(content)
    return read_header(path)


@pytest.mark.parametrize("quant", ["f16", "q8_0", "q4_0"])
def test_it_reads_what_the_gguf_package_reads(toy: Network, tmp_path: Path, quant: str) -> None:
    path = tmp_path / "toy.gguf"
    export_gguf(toy, path, quant)
    found, theirs = read_header(path), gguf.GGUFReader(path)
    assert found.data_start == theirs.data_offset
    assert [
        (t.name, t.shape, t.kind, t.size_bytes, t.offset + found.data_start) for t in found.tensors
    ] == [
        (t.name, tuple(t.shape), int(t.tensor_type), int(t.n_bytes), int(t.data_offset))
        for t in theirs.tensors
    ]
    keys = {key for key in theirs.fields if not key.startswith("GGUF.")}
    assert set(found.metadata) == keys
    for key, value in found.metadata.items():
        expected = theirs.fields[key].contents()
        if isinstance(value, Array):
            assert value.length == len(expected)
        else:
            assert (type(value), value) == (type(expected), expected)
    tokens = theirs.fields["tokenizer.ggml.tokens"].contents()
    for index in (0, 1, 300, len(tokens) - 1):
        assert found.string_at("tokenizer.ggml.tokens", index) == tokens[index]


def test_no_text_where_there_is_none(toy: Network, tmp_path: Path) -> None:
    export_gguf(toy, tmp_path / "toy.gguf", "f16")
    found = read_header(tmp_path / "toy.gguf")
    assert found.string_at("tokenizer.ggml.tokens", 320) is None
    assert found.string_at("tokenizer.ggml.tokens", -1) is None
    assert found.string_at("tokenizer.ggml.token_type", 0) is None
    assert found.string_at("general.name", 0) is None
    assert found.string_at("absent", 0) is None


def test_block_sizes_are_those_of_ggml() -> None:
    sizes = {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    assert sizes.keys() >= BLOCKS.keys()
    assert {kind: sizes[kind] for kind in BLOCKS} == dict(BLOCKS)


def test_every_scalar_type(tmp_path: Path) -> None:
    values = [
        (0, "<B", 255, 255),
        (1, "<b", -1, -1),
        (2, "<H", 65535, 65535),
        (3, "<h", -2, -2),
        (4, "<I", 7, 7),
        (5, "<i", -7, -7),
        (6, "<f", 0.5, 0.5),
        (7, "<?", True, True),
        (10, "<Q", LARGEST, LARGEST),
        (11, "<q", -8, -8),
        (12, "<d", 1e300, 1e300),
    ]
    entries = [entry(f"k{kind}", kind, struct.pack(form, v)) for kind, form, v, _ in values]
    found = read(tmp_path, document(*entries, entries=len(entries), version=2))
    assert list(found.metadata.values()) == [value for *_, value in values]


REFUSED: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "gguf_truncated", "cut off: 4 bytes of a file of 0"),
    "other magic": (b"GGML" + bytes(40), "gguf_magic", "begins with b'GGML'"),
    "old version": (document(version=1), "gguf_version", "GGUF version 1"),
    "big-endian": (document(version=3 << 24), "gguf_version", "for big-endian machines"),
    "many tensors": (document(tensors=LARGEST), "gguf_count", "tensors, more than 65536"),
    "many entries": (document(entries=LARGEST), "gguf_count", "metadata entries, more than"),
    "absent entry": (document(entries=1), "gguf_truncated", "8 bytes of a file of 24"),
    "long key": (document(b"\xff" * 8, entries=1), "gguf_count", "bytes of a key"),
    "long text": (
        document(entry("k", 8, struct.pack("<Q", 1 << 62)), entries=1),
        "gguf_count",
        "bytes of k",
    ),
    "text of the next megabyte": (
        document(entry("k", 8, struct.pack("<Q", 1 << 20)), entries=1),
        "gguf_truncated",
        "1048576 bytes of a file of 45",
    ),
    "no UTF-8": (document(text(b"\xff"), entries=1), "gguf_key", "a key is not UTF-8"),
    "two of a key": (
        document(*[entry("k", 0, b"\x01")] * 2, entries=2),
        "gguf_key",
        "two entries 'k'",
    ),
    "unknown type": (document(entry("k", 13, b""), entries=1), "gguf_value", "type 13"),
    "nested array": (document(entry("k", 9, array(9, 1)), entries=1), "gguf_value", "type 9"),
    "long array": (
        document(entry("k", 9, array(4, LARGEST)), entries=1),
        "gguf_count",
        "elements of k",
    ),
    "array behind the end": (
        document(entry("k", 9, array(12, 1 << 24)), entries=1),
        "gguf_truncated",
        "16777216 elements of k",
    ),
    "strings behind the end": (
        document(entry("k", 9, array(8, 2, text("a") + struct.pack("<Q", LARGEST))), entries=1),
        "gguf_truncated",
        "texts of k",
    ),
    "fewer strings": (
        document(entry("k", 9, array(8, 1 << 24, text("a"))), entries=1),
        "gguf_truncated",
        "texts of k",
    ),
    "alignment of 0": (
        document(entry("general.alignment", 4, bytes(4)), entries=1),
        "gguf_alignment",
        "general.alignment is 0",
    ),
    "alignment of 33": (
        document(entry("general.alignment", 4, b"\x21\0\0\0"), entries=1),
        "gguf_alignment",
        "general.alignment is 33",
    ),
    "alignment of 2 GiB": (
        document(entry("general.alignment", 4, b"\0\0\0\x80"), entries=1),
        "gguf_alignment",
        "general.alignment is 2147483648",
    ),
    "alignment of text": (
        document(entry("general.alignment", 8, text("32")), entries=1),
        "gguf_alignment",
        "general.alignment has type 8",
    ),
    "many dimensions": (
        document(info(dimensions=0xFFFFFFFF), tensors=1),
        "gguf_tensor_shape",
        "4294967295 dimensions",
    ),
    "no dimension": (document(info(shape=()), tensors=1), "gguf_tensor_shape", "0 dimensions"),
    "empty tensor": (document(info(shape=(0, 4)), tensors=1), "gguf_tensor_shape", "shape (0, 4)"),
    "overflowing shape": (
        document(info(shape=(1 << 62, 1 << 62)), tensors=1, data=64),
        "gguf_tensor_shape",
        "in blocks of 1",
    ),
    "partial block": (document(info(shape=(31,), kind=2), tensors=1), "gguf_tensor_shape", "of 32"),
    "removed type": (document(info(kind=4), tensors=1), "gguf_tensor_type", "unknown type 4"),
    "data behind the end": (
        document(info(), tensors=1, data=255),
        "gguf_tensor_outside",
        "ends at byte 352 of a file of 351",
    ),
    "gap": (
        document(info(offset=32), tensors=1, data=512),
        "gguf_tensor_place",
        "at 32, expected 0",
    ),
    "overlap": (
        document(info("a"), info("b", offset=0), tensors=2, data=512),
        "gguf_tensor_place",
        "it is at 0, expected 256",
    ),
    "two of a name": (
        document(info("a"), info("a", offset=256), tensors=2, data=512),
        "gguf_tensor_name",
        "two tensors of one name",
    ),
}


@pytest.mark.parametrize(("content", "reason", "message"), REFUSED.values(), ids=REFUSED)
def test_a_forged_header_is_refused(
    tmp_path: Path, content: bytes, reason: str, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        read(tmp_path, content)
    assert caught.value.reason == reason
    assert message in caught.value.message
    where, _, place = caught.value.where.partition(": ")
    assert where == str(tmp_path / "m.gguf")
    assert place.startswith(("byte ", "tensor '"))
    assert caught.value.allowed == RULES[reason]
    assert caught.value.hint


def test_a_header_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    numbers = entry("k", 9, array(12, 1 << 24))
    words = entry("k", 9, array(8, 1 << 24, struct.pack("<Q", 1 << 29)))
    for content in (numbers, words):
        with (tmp_path / "m.gguf").open("wb") as file:
            file.write(document(content, entries=1))
            file.truncate(1 << 30)
        with pytest.raises(SpecError, match="a header of more than 67108864 bytes") as caught:
            read_header(tmp_path / "m.gguf")
        assert caught.value.reason == "gguf_count"


def small() -> bytes:
    """A whole file with every kind of entry, of 576 bytes."""
    parts = [
        entry("general.architecture", 8, text("llama")),
        entry("general.alignment", 4, b"\x40\0\0\0"),
        entry("tokens", 9, array(8, 2, text("a") + text("한국어"))),
        entry("scores", 9, array(6, 2, bytes(8))),
        info("a.weight", (32, 2)),
        info("b.weight", (32,), kind=8, offset=256),
    ]
    header = document(*parts, entries=4, tensors=2)
    return header + bytes(-len(header) % 64) + bytes(256 + 34)


def test_alignment_moves_the_data(tmp_path: Path) -> None:
    found = read(tmp_path, small())
    assert found.data_start % 64 == 0
    assert [tensor.elements for tensor in found.tensors] == [64, 32]
    assert found.string_at("tokens", 1) == "한국어"


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = small()
    for length in range(len(whole)):
        with pytest.raises(SpecError) as caught:
            read(tmp_path, whole[:length])
        assert caught.value.reason in {"gguf_truncated", "gguf_tensor_outside"}, length


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(st.tuples(st.integers(0, 250), st.binary(min_size=1, max_size=8))))
def test_any_bytes_are_read_or_refused(tmp_path: Path, changes: list[tuple[int, bytes]]) -> None:
    content = bytearray(small())
    for place, data in changes:
        content[place : place + len(data)] = data
    try:
        found = read(tmp_path, bytes(content))
    except SpecError:
        return
    assert all(
        found.data_start + tensor.offset + tensor.size_bytes <= len(content)
        for tensor in found.tensors
    )


def test_a_large_vocabulary_is_not_kept(tmp_path: Path) -> None:
    length = 60_000
    words = np.zeros((length, 16), np.uint8)
    words[:, 0] = 8
    words[:, 8:] = 97
    content = document(entry("tokens", 9, array(8, length, words.tobytes())), entries=1)
    (tmp_path / "m.gguf").write_bytes(content)
    peak = peak_bytes(lambda: read_header(tmp_path / "m.gguf").string_at("tokens", length - 1))
    assert peak < 1 << 20


def peak_bytes(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        assert call() == "aaaaaaaa"
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
