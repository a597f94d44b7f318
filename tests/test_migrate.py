"""Records of every schema there has been: read, brought up to date, and scored as ever."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import migrate
from harness.errors import Exit, HarnessError, RecordError, SchemaError
from harness.records import SCHEMA, JournalWriter, decode_line, encode_line, read
from harness.runs import scored
from harness.score import SCHEMA as CARD_SCHEMA
from harness.score import dump
from harness.spec import sha256
from tests.golden_records import FILES, GOLDEN

Json = dict[str, Any]
VERSIONS = sorted(int(path.name[1:]) for path in GOLDEN.glob("v*"))
ADDED = {
    "schema": 2,  # the number itself is another
    "sessions": 2,
    "attempt.announced": 2,
    "attempt.ledger": 2,
}
"""Places in a scorecard, and the version that added them."""


def folder(version: int) -> Path:
    return GOLDEN / f"v{version}"


def without(card: Json, places: list[str]) -> Json:
    """A scorecard without some of its places."""
    out: Json = json.loads(json.dumps(card))
    for place in places:
        *outer, last = place.split(".")
        inside = out
        for key in outer:
            inside = inside[key]
        inside.pop(last, None)
    return out


def test_there_is_a_golden_file_of_every_version() -> None:
    """`python -m tests.golden_records` makes that of a new one."""
    assert list(range(1, SCHEMA + 1)) == VERSIONS
    assert set(migrate.STEPS) == set(range(1, SCHEMA))
    assert max(ADDED.values()) == CARD_SCHEMA


@pytest.mark.parametrize("version", VERSIONS)
def test_old_records_give_their_scorecard(version: int) -> None:
    """What later versions added apart, byte for byte."""
    journal, card = scored(folder(version) / "records.jsonl")
    assert journal.schema == version
    assert not journal.torn
    kept = json.loads((folder(version) / "scorecard.json").read_bytes())
    later = [place for place, since in ADDED.items() if since > version]
    assert dump(without(json.loads(dump(card)), later)) == dump(without(kept, later))


def test_the_present_version_s_scorecard_is_rebuilt_byte_for_byte() -> None:
    _, card = scored(folder(SCHEMA) / "records.jsonl")
    assert dump(card) == (folder(SCHEMA) / "scorecard.json").read_bytes()


@pytest.mark.parametrize("version", VERSIONS)
def test_reading_changes_nothing_on_disk(version: int, tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_bytes((folder(version) / name).read_bytes())
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    scored(tmp_path / "records.jsonl")
    assert before == {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()
    }


def test_nothing_is_made_up_of_what_the_first_version_did_not_say() -> None:
    line = (folder(1) / "records.jsonl").read_bytes().splitlines()[0]
    old, new = decode_line(line), read(folder(1) / "records.jsonl").records[0]
    assert "plan_sha256" not in new, "without it a run cannot be resumed"
    assert new["attempt"] == old["attempt"] | {"announced": False, "ledger": ""}
    same = old.keys() - {"schema", "attempt", "seq", "prev"}
    assert {name: old[name] for name in same} == {name: new[name] for name in same}


def test_earlier_runs_of_the_first_version_were_still_there() -> None:
    earlier = {"run": "r", "started_utc": "2026-11-23T08:15:00Z"}
    old = {"type": "run", "schema": 1, "attempt": {"number": 2, "of": 2, "earlier": [earlier]}}
    (new,) = migrate.migrated([old], 1)
    assert new["attempt"]["earlier"] == [earlier | {"announced": False, "gone": False}]
    assert old["attempt"]["earlier"] == [earlier], "a step changes nothing in place"


def test_the_records_of_the_present_version_are_left_alone() -> None:
    records = read(folder(SCHEMA) / "records.jsonl").records
    assert migrate.migrated(records, SCHEMA) == records


def test_a_run_that_was_resumed_is_among_them() -> None:
    """What this version added is in its golden file."""
    records = read(folder(2) / "records.jsonl").records
    assert any("retry" in record for record in records)
    assert any(record.get("kind") == "resumed" for record in records)
    assert records[0]["attempt"]["announced"]


@pytest.mark.parametrize(
    ("schema", "kind", "reason"),
    [
        (SCHEMA + 1, SchemaError, "schema_too_new"),
        (10**30, SchemaError, "schema_too_new"),
        (0, RecordError, "schema_unknown"),
        (-1, RecordError, "schema_unknown"),
        (True, RecordError, "schema_unknown"),
        ("2", RecordError, "schema_unknown"),
        (2.0, RecordError, "schema_unknown"),
        (None, RecordError, "schema_unknown"),
    ],
)
def test_what_is_no_known_version_is_refused(
    tmp_path: Path, schema: Any, kind: type[HarnessError], reason: str
) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(encode_line({"type": "run", "schema": schema, "seq": 0, "prev": ""}))
    with pytest.raises(kind) as caught:
        read(path)
    assert caught.value.reason == reason
    assert str(path) in str(caught.value)
    assert f"1 to {SCHEMA}" in str(caught.value)
    newer = kind is SchemaError
    assert caught.value.exit_code == (Exit.SPECIFICATION if newer else Exit.FAILED)
    assert ("install the harness version" in str(caught.value)) == newer


@pytest.mark.parametrize(
    "attempt", [7, "first", {"earlier": 7}, {"earlier": ["r"]}, {"earlier": [None]}]
)
def test_a_stranger_s_attempt_is_no_traceback(tmp_path: Path, attempt: Any) -> None:
    journal = JournalWriter(tmp_path / "records.jsonl")
    journal.append({"type": "run", "schema": 1, "attempt": attempt})
    journal.close()
    with pytest.raises(RecordError) as caught:
        read(tmp_path / "records.jsonl")
    assert caught.value.reason == "records_damaged"


def test_the_journal_of_an_older_version_stays_a_journal(tmp_path: Path) -> None:
    """The chain is of the lines as they stand there, not as they are read."""
    path = tmp_path / "records.jsonl"
    path.write_bytes((folder(1) / "records.jsonl").read_bytes())
    lines = path.read_bytes().splitlines(keepends=True)
    assert read(path).tip == sha256(lines[-1])


@pytest.mark.skipif(sys.platform == "win32", reason="its commands are those of a POSIX shell")
def test_records_can_be_checked_by_hand() -> None:
    """As docs/records.md says."""
    page = (Path(__file__).parents[1] / "docs" / "records.md").read_text("utf-8")
    script = page.partition("```sh\n")[2].partition("```")[0]
    done = subprocess.run(
        ["sh", "-c", script], cwd=folder(SCHEMA), capture_output=True, text=True, check=True
    )
    first, second, checksum, computed = done.stdout.splitlines()
    assert second == f'"prev":"{first.split()[0]}"'
    assert checksum == computed
    assert all(f"\n| {version} |" in page for version in range(1, SCHEMA + 1))
