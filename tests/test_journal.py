"""The journal of a real run: cut at any byte, torn by a power cut, edited."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import RecordError
from harness.records import JournalWriter, encode_line, read
from harness.runs import scored
from harness.spec import sha256
from tests.conftest import Harness, in_process
from tests.test_cli import fill

BLOCK = 512
"""The least that a disk writes at once."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on the fake engine."""
    folder = tmp_path_factory.mktemp("journal")
    fill(folder)
    done = in_process(["run", "--profile", "fast.yaml", "--model", "ref.f.fake"], folder)
    assert done.returncode == 0, done.stderr
    return next((folder / "results").glob("*/records.jsonl")).parent


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of its records."""
    return Path(shutil.copy(run / "records.jsonl", tmp_path))


def starts(data: bytes) -> list[int]:
    """Where each line begins, and where the last one ends."""
    return [0, *(at + 1 for at, byte in enumerate(data) if byte == ord("\n"))]


def batch(path: Path) -> tuple[int, int]:
    """Lines, from 0, of the last append that holds a job: the first, and the one behind."""
    records = read(path).records
    end = max(at for at, record in enumerate(records) if record["type"] == "job")
    begin = end
    while records[begin - 1].get("job") == records[end]["job"]:
        begin -= 1
    return begin, end + 1


def test_every_truncation_of_the_last_three_records_loads_and_scores(copy: Path) -> None:
    data = copy.read_bytes()
    whole = read(copy).records
    ends = starts(data)
    scores = set()
    for length in range(ends[-4], len(data) + 1):
        copy.write_bytes(data[:length])
        journal = read(copy)
        kept = sum(end <= length for end in ends[1:])
        assert journal.records == whole[:kept]
        assert journal.torn == (length not in ends)
        assert journal.size == max(end for end in ends if end <= length)
        if (kept, journal.torn) not in scores:
            scores.add((kept, journal.torn))
            _, card = scored(copy)
            codes = {finding["code"] for finding in card["verdict"]["findings"]}
            assert ("records_torn" in codes) == journal.torn
    assert len(scores) == 7  # torn or not behind each record, and the whole


def test_scoring_a_torn_journal_changes_nothing_in_it(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / run.name
    shutil.copytree(run, folder)
    torn = (folder / "records.jsonl").read_bytes()[:-3]
    (folder / "records.jsonl").write_bytes(torn)
    done = in_process(["score", str(folder), "--json"], tmp_path)
    assert "records_torn" in done.stdout
    assert (folder / "records.jsonl").read_bytes() == torn


def test_zeros_where_blocks_did_not_reach_the_disk_are_a_tear(copy: Path) -> None:
    """The length grows before the blocks are there, and later ones may be there before."""
    data = copy.read_bytes()
    begin, end = batch(copy)
    ends = starts(data)
    torn = data[: ends[end]]
    whole = read(copy).records
    for first in range(-(-ends[begin] // BLOCK) * BLOCK, len(torn), BLOCK):
        for count in (1, 4, 99):
            last = min(first + count * BLOCK, len(torn))
            copy.write_bytes(torn[:first] + bytes(last - first) + torn[last:])
            journal = read(copy)
            kept = sum(at <= first for at in ends[1:])
            assert journal.torn
            assert journal.records == whole[:kept]
    copy.write_bytes(data[: ends[begin]] + bytes(len(torn) - ends[begin]))
    assert len(read(copy).records) == begin


def test_a_journal_goes_on_behind_a_tear(copy: Path) -> None:
    data = bytearray(copy.read_bytes())
    begin, end = batch(copy)
    ends = starts(data)
    del data[ends[end] :]
    at = -(-ends[begin] // BLOCK) * BLOCK
    data[at : at + BLOCK] = bytes(BLOCK)
    copy.write_bytes(data)
    kept = read(copy).records
    journal = JournalWriter(copy)
    assert copy.stat().st_size == read(copy).size
    journal.append({"type": "event", "kind": "resumed"})
    journal.close()
    found = read(copy)
    assert not found.torn
    assert found.records == [*kept, {"type": "event", "kind": "resumed"}]


def test_zeros_in_what_was_acknowledged_are_damage(copy: Path) -> None:
    """Later appends stand behind them: a disk that lost those would have lost these."""
    data = copy.read_bytes()
    ends = starts(data)
    begin, end = batch(copy)
    for number in range(1, begin):
        middle = (ends[number - 1] + ends[number]) // 2
        copy.write_bytes(data[:middle] + b"\0" + data[middle + 1 :])
        with pytest.raises(RecordError, match="checksum") as caught:
            read(copy)
        assert caught.value.where == f"{copy}:{number}"
    # The append that ended with a job was acknowledged once anything stands behind it.
    middle = (ends[end - 1] + ends[end]) // 2
    copy.write_bytes(data[:middle] + b"\0" + data[middle + 1 :])
    with pytest.raises(RecordError, match="checksum"):
        read(copy)


def test_garbage_that_no_power_cut_leaves_is_damage(copy: Path) -> None:
    data = bytearray(copy.read_bytes())
    data[-9] ^= 1
    copy.write_bytes(data)
    with pytest.raises(RecordError, match="checksum"):
        read(copy)


def edits(lines: list[bytes]) -> Iterator[tuple[str, list[bytes], int, str]]:
    """Name, what the lines became, the line that is named, and what is said of it."""
    for at in range(len(lines) - 2):
        number = at + 1
        yield "one removed", [*lines[:at], *lines[at + 1 :]], number, f"line {number} was taken out"
        yield (
            "two removed",
            [*lines[:at], *lines[at + 2 :]],
            number,
            f"lines {number} to {number + 1} were taken out",
        )
        doubled = [*lines[: at + 1], *lines[at:]]
        yield "doubled", doubled, number + 1, f"this is line {number} again"
        swapped = [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]
        yield "swapped", swapped, number, f"this is line {number + 1}, lines were moved"
        moved = [*lines[:at], *lines[at + 1 :], lines[at]]
        yield "moved to the end", moved, number, f"this is line {number + 1}, lines were moved"
        record = read_line(lines[at])
        forged = [*lines[:at], encode_line(record | {"forged": True}), *lines[at + 1 :]]
        yield "rewritten with a checksum", forged, number, "broken behind this line"


def read_line(line: bytes) -> dict[str, object]:
    from harness.records import decode_line

    return decode_line(line.rstrip(b"\n"))


def test_an_edit_is_located_whatever_it_was(copy: Path) -> None:
    lines = copy.read_bytes().splitlines(keepends=True)
    tried = 0
    for name, changed, number, said in edits(lines):
        copy.write_bytes(b"".join(changed))
        with pytest.raises(RecordError) as caught:
            read(copy)
        assert caught.value.where == f"{copy}:{number}", name
        assert said in caught.value.message, name
        assert "edited or damaged" in caught.value.message
        assert caught.value.reason == "records_damaged"
        tried += 1
    assert tried == 6 * (len(lines) - 2)


def test_the_chain_is_that_of_the_documentation(copy: Path) -> None:
    """`prev` is what sha256sum says of the line before, line feed included."""
    lines = copy.read_bytes().splitlines(keepends=True)
    assert read_line(lines[0])["prev"] == ""
    for before, line in itertools.pairwise(lines):
        assert read_line(line)["prev"] == sha256(before)


def test_damage_is_said_in_korean(copy: Path, run_harness: Harness) -> None:
    lines = copy.read_bytes().splitlines(keepends=True)
    copy.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    done = run_harness("--lang", "ko", "score", copy.parent, check=4)
    said = "파일이 고쳐졌거나 손상되었습니다: 해시 사슬이 끊어졌습니다: 4번째 줄이 없습니다"
    assert f"{copy}:4: {said}" in done.stderr
