"""Records survive truncation at every byte and show every flipped one."""

from __future__ import annotations

import errno
from pathlib import Path
from unittest.mock import Mock

import pytest

from harness.errors import RecordError
from harness.records import JournalWriter, decode_line, encode_line, read

RECORDS = [
    {"type": "run", "schema": 1, "run": "r"},
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
        patch.setattr("harness.records.os.fsync", Mock(side_effect=stopped))
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
