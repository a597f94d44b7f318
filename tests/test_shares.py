"""A record file scored by several processes: the same scorecard, or none."""

import contextlib
import itertools
import os
import random
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from harness import runs, score, shares
from harness.errors import HarnessError, RecordError, SchemaError
from harness.records import JournalWriter, decode_line, encode_line, parse
from harness.spec import Profile, sha256
from tests.answered import formed
from tests.golden_records import GOLDEN
from tests.strategies import Candidate, profile, records
from tests.test_score_suites import ALL

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


def score_by(data: bytes, processes: int) -> shares.Scored | None:
    """As `shares.score`, by so many processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shares, "count_for", lambda size_bytes, models: processes)
        with shares.Helpers() as helpers:
            return shares.score(data, helpers)


def oddity(data: bytes) -> type[Exception]:
    """What kept several processes from it."""
    with pytest.raises(Exception) as caught, shares.Helpers() as helpers:
        shares._score(data, 2, helpers)
    return caught.type


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("run") / "records.jsonl", rows())


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_several_processes_make_the_same_scorecard(data: bytes, processes: int) -> None:
    found = score_by(data, processes)
    journal = parse(data, Path())
    assert score.dump(found.card) == score.dump(score.scorecard(journal.records))
    told = [r for r in journal.records if r["type"] not in {"sample", "telemetry"}]
    assert sorted(found.told, key=score.canonical) == sorted(told, key=score.canonical)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_resumed_runs_and_older_ones(version: str) -> None:
    """One of schema 2 holds jobs that were begun again; older ones are brought up to date first."""
    data = (GOLDEN / version / "records.jsonl").read_bytes()
    found = score_by(data, 2)
    if version == "v1":
        assert found is None
    else:
        expected = (GOLDEN / version / "scorecard.json").read_bytes()
        assert score.dump(found.card) == expected


def test_only_what_is_worth_it_is_shared(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "LEAST_BYTES", len(data) // 2)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert shares.count_for(len(data), 3) == 2
    assert shares.count_for(9 * len(data), 3) == 3
    assert shares.count_for(9 * len(data), 9) == 4
    assert shares.count_for(len(data) // 3, 3) == 0
    (tmp_path / "records.jsonl").write_bytes(data)
    with monkeypatch.context() as patch:
        patch.setattr(runs, "parse", lambda *_: pytest.fail("one thing after another"))
        several = runs.card_of(tmp_path / "records.jsonl")
    monkeypatch.setattr(shares, "LEAST_BYTES", len(data))
    monkeypatch.setattr(shares, "_score", lambda *_: pytest.fail("several processes"))
    assert score.dump(several) == score.dump(runs.card_of(tmp_path / "records.jsonl"))


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
    edited = b"".join(lines)
    assert score_by(edited, 2) is None
    assert oddity(edited) in {shares.OddError, RecordError, ValueError, LookupError}


def test_flipped_bits(data: bytes) -> None:
    draw = random.Random(3)
    for _ in range(12):
        edited = bytearray(data)
        edited[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        with pytest.raises(HarnessError):
            score.scorecard(parse(bytes(edited), Path()).records)
        assert score_by(bytes(edited), 2) is None


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


def older(row: dict) -> dict:
    """Equal to the number, but none that a harness writes."""
    return row | {"schema": 2.0} if row["type"] == "run" else row


def nested(row: dict) -> dict:
    """Deeper than Python goes down."""
    deep: dict = {}
    for _ in range(900):
        deep = {"x": deep}
    return row | {"facts": deep} if row["type"] == "engine" else row


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (reworded, shares.OddError),
        (run_disguised, RecordError),
        (of_two_models, shares.OddError),
        (newer, SchemaError),
        (older, RecordError),
        (nested, RecursionError),
    ],
)
def test_what_is_written_otherwise_is_left_to_the_slow_way(tmp_path: Path, change, why) -> None:
    data = written(tmp_path / "records.jsonl", [change(row) for row in rows()])
    assert score_by(data, 2) is None
    assert issubclass(oddity(data), why)


def chained(bodies: list[dict | bytes]) -> bytes:
    """A file whose lines fit each other, however they are written."""
    tip, lines = "", []
    for seq, body in enumerate(bodies):
        if isinstance(body, dict):
            line = encode_line({**body, "seq": seq, "prev": tip})
        else:
            text = body[:-1] + b',"seq":%d,"prev":"%s"}' % (seq, tip.encode())
            line = b"%08x %s\n" % (zlib.crc32(text), text)
        lines.append(line)
        tip = sha256(line)
    return b"".join(lines)


HIDDEN = {"when": "after", "type": "environment", "facts": {"power_source": "battery"}}
DECOYS = [
    b'{"type":"environment","type":"event","kind":"x"}',
    b'{"type":"event","kind":"x","zz": {"type":"environment"}}',
]


@pytest.mark.parametrize("decoy", DECOYS)
def test_a_record_that_hides_behind_another_is_found(decoy: bytes) -> None:
    data = chained([*rows(), HIDDEN, decoy])
    parse(data, Path())
    assert score_by(data, 2) is None
    assert oddity(data) is shares.OddError


def test_a_retry_of_no_job_is_left_to_the_slow_way() -> None:
    """It would speak for the job without a name that is in another share."""
    kinds = set()
    for one, other in itertools.permutations(["ref", "fast", "slow"], 2):
        retry = {"type": "event", "kind": "x", "model": one, "retry": 3}
        nameless = {"type": "event", "kind": "skipped", "model": other, "job": "", "case": "y"}
        data = chained([*rows(), retry, nameless])
        found = score_by(data, 2)
        kinds.add(type(found))
        card = score.scorecard(parse(data, Path()).records)
        assert found is None or score.dump(found.card) == score.dump(card)
    assert kinds == {type(None), shares.Scored}


@pytest.mark.parametrize("tail", [b"1", b'00000000 {"type":"environment"', b"\0" * 40])
def test_a_torn_tail_is_said(tail: bytes) -> None:
    """Behind a line that ends no job, nothing else would look at it."""
    looks = [{"type": "environment", "when": "after", "facts": {}, "findings": []}] * 2
    data = chained([*rows(), *looks]) + tail
    assert parse(data, Path()).torn
    assert score_by(data, 2) is None


@pytest.mark.parametrize("kind", ["run", "event"])
def test_a_line_is_cut_once(kind: str) -> None:
    data = chained([{"type": "x", "text": f' {{"type":"{kind}"' * 1000}])
    data = data.replace(b'\\"', b'"')  # what hides in a text is spelt otherwise
    of_the_run, named = shares._cut(data)
    assert len(of_the_run) + sum(map(len, named.values())) <= 2


def test_a_job_called_null_is_in_one_share_only() -> None:
    for one, other in itertools.permutations(["ref", "fast", "slow"], 2):
        changes = {one: {"job": None, "retry": 1}, other: {"job": None}}
        data = chained([row | changes.get(row.get("model"), {}) for row in rows()])
        found = score_by(data, 2)
        card = score.scorecard(parse(data, Path()).records)
        assert found is None or score.dump(found.card) == score.dump(card)


def test_the_first_of_equal_samples_counts_wherever_models_stand() -> None:
    """64 and 64.0 are equal, and only one of them is a number of tokens."""
    run, *rest = rows()
    sample = next(row for row in rest if row.get("kind") == "request" and row["model"] == "fast")
    bare = {name: value for name, value in sample.items() if name != "job"}
    late = {"type": "event", "kind": "x", "model": "slow"}
    for first, second in ((64, 64.0), (64.0, 64)):
        one, other = ({**bare, "index": 7, "submitted": n, "evaluated": n} for n in (first, second))
        data = chained([run, one, late, other, {**late, "model": "fast"}, *rest])
        card = score.scorecard(parse(data, Path()).records)
        found = score_by(data, 2)
        assert found is None or score.dump(found.card) == score.dump(card)


def test_a_checksum_is_spelt_in_one_way(data: bytes) -> None:
    """Blank for 0 and capital for small letter: a single bit each, of the last line too."""
    for start in (b"0", b"a"):
        lines = data.splitlines(keepends=True)
        for n in range(10**5):  # a line whose checksum begins so
            record = decode_line(lines[-1][:-1]) | {"n": n}
            if (line := encode_line(record)).startswith(start):
                break
        whole = b"".join([*lines[:-1], line])
        assert score_by(whole, 2) is not None
        for spelt in (line[:8].upper(), b" " + line[1:8]):
            if spelt == line[:8]:
                continue
            edited = b"".join([*lines[:-1], spelt, line[8:]])
            with pytest.raises(ValueError, match="checksum"):
                decode_line((spelt + line[8:])[:-1])
            assert score_by(edited, 2) is None


def test_helpers_run_the_same_program(tmp_path: Path) -> None:
    """And not the one that is installed, where this one lies beside the script that is run."""
    tree = tmp_path / "copy"
    shutil.copytree(Path(shares.__file__).parent, tree / "harness")
    module = tree / "harness" / "shares.py"
    module.write_text(module.read_text("utf-8").replace("def do_one()", "def do_two()"), "utf-8")
    code = "from harness import shares; h = shares._helper(); print(h.wait(), h.stdout.read())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1 b''\n"


def test_of_two_run_records_of_one_moment_the_same_one_counts(tmp_path: Path) -> None:
    """Where they stand in the file does not decide it."""
    run, *rest = rows()
    others = [run | {"skipped": [{"model": "slow", "case": str(n)}]} for n in range(4)]
    for n, other in enumerate(others):
        data = written(tmp_path / f"{n}.jsonl", [run, *rest[:9], other, *rest[9:]])
        card = score.scorecard(parse(data, Path()).records)
        assert score.dump(score_by(data, 2).card) == score.dump(card)


def test_telemetry_of_no_model_is_left_to_the_slow_way(tmp_path: Path) -> None:
    """It counts as watching, whoever it is of."""
    changed = [
        {name: row[name] for name in row if name != "model"} if row["type"] == "telemetry" else row
        for row in rows()
    ]
    data = written(tmp_path / "records.jsonl", changed)
    card = score.scorecard(parse(data, Path()).records)
    assert "no_telemetry" not in {finding["code"] for finding in card["verdict"]["findings"]}
    found = score_by(data, 2)
    assert found is None or score.dump(found.card) == score.dump(card)


@pytest.mark.parametrize("asked", [profile(), ALL])
def test_shares_of_every_shape(tmp_path: Path, asked: Profile) -> None:
    """Processes with unequal numbers of requests, jobs begun again, and every suite."""
    found = [
        row | ({"retry": 1} if row.get("process") == 1 and row["type"] != "run" else {})
        for row in formed(records(MODELS, asked))
        if not (row.get("kind") == "request" and row["process"] == 2 and row["index"] == 0)
    ]
    again = [row | {"retry": 0} for row in found if row.get("retry") and row["type"] == "sample"]
    data = written(tmp_path / "records.jsonl", [*found[:2], *again, *found[2:]])
    card = score.scorecard(parse(data, Path()).records)
    shared = score_by(data, 2)
    assert shared is None or score.dump(shared.card) == score.dump(card)
    data = written(tmp_path / "plain.jsonl", found)
    card = score.scorecard(parse(data, Path()).records)
    assert score.dump(score_by(data, 3).card) == score.dump(card)


def test_samples_without_a_place_are_refused_there_too(tmp_path: Path) -> None:
    data = written(tmp_path / "records.jsonl", [misfit(row) for row in rows()])
    found = score_by(data, 2)
    assert score.dump(found.card) == score.dump(score.scorecard(parse(data, Path()).records))
    assert "bad_sample" in score.dump(found.card).decode()


def test_a_model_of_which_nothing_is_on_record(tmp_path: Path) -> None:
    kept = [row for row in rows() if row.get("model") != "slow"]
    data = written(tmp_path / "records.jsonl", kept)
    found = score_by(data, 3)
    assert score.dump(found.card) == score.dump(score.scorecard(parse(data, Path()).records))


@pytest.mark.parametrize("command", [["-c", ""], ["-c", "import sys; sys.stdin.buffer.read()"]])
def test_helpers_that_die_are_missed(
    data: bytes, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    def helper() -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
        return subprocess.Popen([sys.executable, *command], **pipes)

    monkeypatch.setattr(shares, "_helper", helper)
    assert score_by(data, 3) is None


def test_helpers_that_cannot_be_started(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    assert score_by(data, 2) is None


def test_no_python_to_start(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedded interpreter has none."""
    (tmp_path / "records.jsonl").write_bytes(data)
    monkeypatch.setattr("sys.executable", None)
    monkeypatch.setattr(shares, "count_for", lambda size_bytes, models: 2)
    card = runs.card_of(tmp_path / "records.jsonl")
    assert score.dump(card) == score.dump(score.scorecard(parse(data, Path()).records))


def test_helpers_end_when_starting_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    helper = shares._helper

    def interrupted() -> subprocess.Popen[bytes]:
        if started:
            raise KeyboardInterrupt
        started.append(helper())
        return started[-1]

    monkeypatch.setattr(shares, "_helper", interrupted)
    monkeypatch.setattr(shares, "count_for", lambda size_bytes, models: 3)
    with pytest.raises(KeyboardInterrupt):
        shares.Helpers.for_file(tmp_path)
    assert started[0].returncode is not None


@pytest.mark.parametrize("ending", [None, KeyboardInterrupt, ValueError])
def test_no_helper_is_left(data: bytes, monkeypatch: pytest.MonkeyPatch, ending) -> None:
    started: list[subprocess.Popen[bytes]] = []
    helper = shares._helper

    def noted() -> subprocess.Popen[bytes]:
        started.append(helper())
        return started[-1]

    monkeypatch.setattr(shares, "_helper", noted)
    if ending:

        def stop(*_: object) -> None:
            raise ending

        monkeypatch.setattr(shares, "_do", stop)
    with contextlib.suppress(KeyboardInterrupt):
        assert (score_by(data, 3) is None) == (ending is not None)
    assert len(started) == 2
    assert all(process.returncode is not None for process in started)


@pytest.mark.parametrize("system", ["takes all", "takes little at once", "takes one after another"])
def test_pieces_arrive_whole(data: bytes, monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    if system == "takes one after another":
        monkeypatch.delattr("os.writev")
    elif system == "takes little at once":
        monkeypatch.setattr(shares, "_MOST_AT_ONCE", 3)
        write = os.writev
        monkeypatch.setattr(os, "writev", lambda to, parts: write(to, [parts[0], parts[1][:99]]))
    found = score_by(data, 2)
    assert score.dump(found.card) == score.dump(score.scorecard(parse(data, Path()).records))


def test_helpers_start_while_the_file_is_read(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    helper = shares._helper
    monkeypatch.setattr(shares, "_helper", lambda: started.append(helper()) or started[-1])
    monkeypatch.setattr(shares, "count_for", lambda size_bytes, models: 2)
    (tmp_path / "records.jsonl").write_bytes(data)
    with shares.Helpers.for_file(tmp_path / "records.jsonl") as helpers:
        assert len(started) == 1
        found = shares.score(data, helpers)
        assert len(started) == 1
    assert score.dump(found.card) == score.dump(runs.card_of(tmp_path / "records.jsonl"))
    assert all(process.returncode is not None for process in started)


@pytest.mark.parametrize("name", ["none", "a file/records.jsonl", "a\0b"])
def test_no_helpers_for_what_is_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "a file").write_bytes(b"")
    with shares.Helpers.for_file(tmp_path / name) as helpers:
        assert not helpers._processes
