"""Records survive truncation at every byte and show every flipped one."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import records
from harness.errors import RecordError
from harness.records import SCHEMA, JournalWriter, decode_line, encode_line, read

RECORDS = [
    {"type": "run", "schema": SCHEMA, "run": "r"},
    {"type": "sample", "text": "한글 \u2028 줄", "values": [1, 2.5, None]},
    {"type": "job", "outcome": "ok"},
]


def write(path: Path, records: list[dict[str, object]]) -> bytes:
    journal = JournalWriter(path)
    for record in records:
        journal.append(record)
    journal.close()
    return path.read_bytes()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "records.jsonl", RECORDS)
    journal = read(tmp_path / "records.jsonl")
    assert journal.records == RECORDS
    assert not journal.torn


def test_truncation_at_every_byte_drops_only_the_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    data = write(path, RECORDS)
    ends = [i + 1 for i, byte in enumerate(data) if byte == 0x0A]
    for length in range(len(data)):
        path.write_bytes(data[:length])
        journal = read(path)
        assert len(journal.records) == sum(end <= length for end in ends)
        assert journal.torn == (length not in [0, *ends])


def test_a_journal_continues_behind_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    data = write(path, RECORDS)
    path.write_bytes(data[:-5])
    write(path, [{"type": "job", "outcome": "again"}])
    journal = read(path)
    assert [record["type"] for record in journal.records] == ["run", "sample", "job"]
    assert journal.records[-1]["outcome"] == "again"
    assert not journal.torn


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left")])
def test_a_line_that_was_stopped_leaves_the_chain_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: BaseException
) -> None:
    path = tmp_path / "records.jsonl"
    journal = JournalWriter(path)
    journal.append(RECORDS[0])
    with monkeypatch.context() as patch:
        patch.setattr("harness.records.os.fsync", mock.Mock(side_effect=stopped))
        with pytest.raises((KeyboardInterrupt, RecordError)):
            journal.append(RECORDS[1])
    journal.append(RECORDS[2])
    journal.close()
    assert read(path).records == [RECORDS[0], RECORDS[2]]


def test_every_flipped_bit_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    data = write(path, RECORDS)
    silent = []
    for position in range(len(data) - 1):
        damaged = bytearray(data)
        damaged[position] ^= 1
        path.write_bytes(bytes(damaged))
        try:
            read(path)
        except RecordError:
            continue
        silent.append(position)
    assert silent == []


def test_a_removed_or_swapped_line_breaks_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    lines = write(path, RECORDS).splitlines(keepends=True)
    for order in ([0, 2], [1, 0, 2], [0, 1, 1, 2], [1, 2]):
        path.write_bytes(b"".join(lines[i] for i in order))
        with pytest.raises(RecordError, match="chain is broken") as caught:
            read(path)
        assert caught.value.reason == "records_damaged"


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "r", [{"type": "run", "schema": 99}])
    with pytest.raises(RecordError, match="newer than"):
        read(tmp_path / "r")


def test_missing_file_names_the_next_command(tmp_path: Path) -> None:
    with pytest.raises(RecordError) as caught:
        read(tmp_path / "absent")
    assert "next: harness run" in str(caught.value)


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        encode_line({"type": "sample", "value": float("nan")})


@pytest.mark.parametrize(
    "line", [b"", b"zz", b"00000000 {}", b"00000000", encode_line({"a": 1})[:-1]]
)
def test_bad_lines_are_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        decode_line(line)


json_texts = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(1 << 70), 1 << 70)
    | st.sampled_from([(1 << 64) - 1, 1 << 64, -(1 << 63), -(1 << 63) - 1, 10**19, -(10**18)])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
).map(lambda value: json.dumps(value, ensure_ascii=False))
odd_texts = st.sampled_from(
    [
        *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "-0", "-0.0", "01", "1.", ".5", "+1"),
        *("[1,]", "{", "", " 1 ", '"\\ud800"', '"\\ud83d\\ude00"', '"a\x00"', '"\x7f"', "'a'"),
        *('{"a":1,"a":2}', '{"a":1,}', "nul", "tru", "123456789012345678901234567890.5e-3"),
        *("0.00012345678901234567890123", "\ufeff1", "1 2", "[" * 900 + "]" * 900),
        "[" * 100_000,
    ]
)


def exactly(value: Any) -> str:
    """A spelling that tells 1 from 1.0 and from True, and 0.0 from -0.0."""
    return repr(value)


def quick(body: bytes) -> Any:
    return records._json_reader(narrow=False)(body)


@given(json_texts | odd_texts | st.text())
def test_quick_reading_is_the_standard_librarys(text: str) -> None:
    def of(read: Callable[[], Any]) -> str:
        try:
            return exactly(read())
        except ValueError:
            return "refused"

    body = text.encode("utf-8", "surrogatepass")
    assert of(lambda: quick(body)) == of(lambda: records.strict_json(body.decode()))


@given(json_texts, st.integers(0), st.integers(0, 255))
def test_damaged_text_is_read_alike(text: str, place: int, byte: int) -> None:
    body = bytearray(text.encode())
    body[place % len(body)] = byte

    def of(read: Callable[[], Any]) -> str:
        try:
            return exactly(read())
        except ValueError:
            return "refused"

    found = of(lambda: quick(bytes(body)))
    assert found == of(lambda: records.strict_json(bytes(body).decode()))


digits = st.integers(15, 22).flatmap(lambda n: st.text("0123456789", min_size=n, max_size=n))
around = st.text('0123456789:,[ -a".\n{}', max_size=4)


@given(st.lists(st.tuples(around, digits, around), max_size=4), st.sampled_from([20, 33, 1 << 16]))
def test_long_text_is_searched_for_wide_integers_as_short_text_is(
    parts: list[tuple], chunk_bytes: int
) -> None:
    text = "".join(map("".join, parts)).encode()
    with mock.patch.object(records, "_CHUNK_BYTES", chunk_bytes):
        assert records._has_wide(text + b"}" * 5000) == records.may_be_wide(text + b"}")
