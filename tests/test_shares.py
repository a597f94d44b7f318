"""A record file scored by several processes: the same scorecard, or none."""

import random
from pathlib import Path

import pytest

from harness import runs, score, shares
from harness.errors import HarnessError
from harness.records import JournalWriter, parse
from tests.answered import formed
from tests.golden_records import GOLDEN
from tests.strategies import Candidate, profile, records

MODELS = [
    Candidate(id="ref", skill=0.7),
    Candidate(id="fast", speed=1.4, skill=0.6),
    Candidate(id="slow", speed=0.7, skill=0.8),
]


def written(path: Path, rows: list[dict]) -> bytes:
    journal = JournalWriter(path)
    journal.append(*rows)
    journal.close()
    return path.read_bytes()


def rows() -> list[dict]:
    return list(formed(records(MODELS, profile())))


@pytest.fixture(autouse=True)
def every_share_is_worth_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "LEAST_BYTES", 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("run") / "records.jsonl", rows())


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_several_processes_make_the_same_scorecard(data: bytes, processes: int) -> None:
    found = shares.scored(data, processes=processes)
    journal = parse(data, Path())
    assert score.dump(found.card) == score.dump(score.scorecard(journal.records))
    told = [r for r in journal.records if r["type"] not in {"sample", "telemetry"}]
    key = score.canonical
    assert sorted(found.told, key=key) == sorted(told, key=key)
    assert found.lines == len(journal.records)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_resumed_runs_and_older_ones(version: str) -> None:
    """One of schema 2 holds jobs that were begun again; older ones are brought up to date first."""
    data = (GOLDEN / version / "records.jsonl").read_bytes()
    found = shares.scored(data, processes=2)
    if version == "v1":
        assert found is None
    else:
        expected = (GOLDEN / version / "scorecard.json").read_bytes()
        assert score.dump(found.card) == expected


def test_small_files_are_not_shared(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "LEAST_BYTES", len(data))
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert shares.scored(data) is None


def test_large_files_are(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run folder's scorecard, whoever made it."""
    (tmp_path / "records.jsonl").write_bytes(data)
    alone = runs.card_of(tmp_path / "records.jsonl")
    monkeypatch.setattr(shares, "LEAST_BYTES", len(data) // 2)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(runs, "scored", lambda path: pytest.fail("one thing after another"))
    assert score.dump(runs.card_of(tmp_path / "records.jsonl")) == score.dump(alone)


def moved(lines: list[bytes]) -> None:
    lines[40], lines[41] = lines[41], lines[40]


def doubled(lines: list[bytes]) -> None:
    lines.insert(60, lines[60])


def taken(lines: list[bytes]) -> None:
    del lines[60]


def first_taken(lines: list[bytes]) -> None:
    del lines[0]


def job_taken(lines: list[bytes]) -> None:
    """All lines of one job: what is left of each share is unbroken."""
    ends = [n for n, line in enumerate(lines) if b' {"type":"job"' in line]
    del lines[ends[2] + 1 : ends[3] + 1]


def torn(lines: list[bytes]) -> None:
    lines[-1] = lines[-1][:-3]


@pytest.mark.parametrize("edit", [moved, doubled, taken, first_taken, job_taken, torn])
def test_what_is_damaged_is_left_to_the_slow_way(data: bytes, edit) -> None:
    lines = data.splitlines(keepends=True)
    edit(lines)
    assert shares.scored(b"".join(lines), processes=2) is None


def test_flipped_bits(data: bytes) -> None:
    draw = random.Random(3)
    for _ in range(12):
        edited = bytearray(data)
        edited[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        with pytest.raises(HarnessError):
            score.scorecard(parse(bytes(edited), Path()).records)
        assert shares.scored(bytes(edited), processes=2) is None


def reworded(row: dict) -> dict:
    """Another model is named last."""
    return row | {"note": {"model": "slow"}} if row["type"] == "job" else row


def run_disguised(row: dict) -> dict:
    """The run's record does not begin as it does."""
    if row["type"] != "run":
        return row
    return {name: row[name] for name in ("run", "type", *row.keys() - {"run", "type"})}


def of_two_models(row: dict) -> dict:
    return row | {"job": "the same"} if "job" in row else row


def newer(row: dict) -> dict:
    return row | {"schema": 99} if row["type"] == "run" else row


def misfit(row: dict) -> dict:
    return row | {"case": ["a list"]} if row.get("kind") == "request" else row


@pytest.mark.parametrize("change", [reworded, run_disguised, of_two_models, newer])
def test_what_is_written_otherwise_is_left_to_the_slow_way(tmp_path: Path, change) -> None:
    data = written(tmp_path / "records.jsonl", [change(row) for row in rows()])
    assert shares.scored(data, processes=2) is None


def test_samples_without_a_place_are_refused_there_too(tmp_path: Path) -> None:
    data = written(tmp_path / "records.jsonl", [misfit(row) for row in rows()])
    found = shares.scored(data, processes=2)
    assert score.dump(found.card) == score.dump(score.scorecard(parse(data, Path()).records))
    assert "bad_sample" in score.dump(found.card).decode()


def test_a_model_of_which_nothing_is_on_record(tmp_path: Path) -> None:
    kept = [row for row in rows() if row.get("model") != "slow"]
    data = written(tmp_path / "records.jsonl", kept)
    found = shares.scored(data, processes=3)
    assert score.dump(found.card) == score.dump(score.scorecard(parse(data, Path()).records))


def test_helpers_that_die_are_missed(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert shares.scored(data, processes=2) is None
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    assert shares.scored(data, processes=2) is None
