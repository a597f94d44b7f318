"""Results folders that cannot be used: refused with a reason, and left as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.bundle import verify as checking
from harness.records import SCHEMA, JournalWriter, Record, decode_line, encode_line
from harness.score import SCHEMA as CARD_SCHEMA
from harness.spec import sha256
from tests.conftest import Harness, tree
from tests.golden_records import FILES, GOLDEN

RUN = "20261127T082615Z-196f7d"
COMMANDS = {
    "score": ("score", RUN),
    "report": ("report", RUN),
    "compare": ("compare", RUN, RUN),
    "gate": ("gate", RUN),
    "baseline save": ("baseline", "save", RUN),
    "bundle create": ("bundle", "create", RUN, "--to", "made"),
    "gap": ("accuracy", "gap", RUN, RUN),
    "export": ("accuracy", "export", RUN, "--output", "made"),
}
Spoil = Callable[[Path], None]


def rewritten(change: Callable[[list[Record]], list[Record]]) -> Spoil:
    """Records that somebody else has written: the chain is whole."""

    def spoil(run: Path) -> None:
        path = run / "records.jsonl"
        records = [decode_line(line) for line in path.read_bytes().splitlines()]
        plain = [{k: v for k, v in r.items() if k not in {"seq", "prev"}} for r in records]
        prev, lines = "", b""
        for seq, record in enumerate(change(plain)):
            line = encode_line(record | {"seq": seq, "prev": prev})
            prev, lines = sha256(line), lines + line
        path.write_bytes(lines)

    return spoil


def newer(records: list[Record]) -> list[Record]:
    return [records[0] | {"schema": SCHEMA + 1, "attempt": "of another form"}, *records[1:]]


def without_records(run: Path) -> None:
    (run / "records.jsonl").unlink()


def edited(run: Path) -> None:
    data = bytearray((run / "records.jsonl").read_bytes())
    data[len(data) // 2] ^= 1
    (run / "records.jsonl").write_bytes(data)


SPOILT: dict[str, tuple[Spoil, str, int]] = {
    "of a newer schema": (rewritten(newer), "schema_too_new", 2),
    "without records": (without_records, "part_missing", 4),
    "without its run record": (rewritten(lambda r: r[1:]), "no_run_record", 4),
    "without a profile": (
        rewritten(lambda r: [{k: v for k, v in r[0].items() if k != "profile"}, *r[1:]]),
        "bad_run_record",
        4,
    ),
    "of two runs": (rewritten(lambda r: [*r, r[0] | {"run": "other"}]), "several_runs", 4),
    "edited": (edited, "records_damaged", 4),
    "empty": (lambda run: (run / "records.jsonl").write_bytes(b"") and None, "no_run_record", 4),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder whose `results/` hold the golden run, as it was left."""
    run = tmp_path / "results" / RUN
    run.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(GOLDEN / f"v{SCHEMA}" / name, run / name)
    return tmp_path


@pytest.mark.parametrize("spoilt", SPOILT)
@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_refused_and_left_alone(
    home: Path, run_harness: Harness, command: str, spoilt: str
) -> None:
    spoil, reason, code = SPOILT[spoilt]
    spoil(home / "results" / RUN)
    before = tree(home)
    done = run_harness(*COMMANDS[command], "--json", cwd=home, check=code)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["reason"] == reason
    assert RUN in answer["message"]
    assert "next: " in answer["message"]
    assert tree(home) == before


@pytest.mark.parametrize(
    "words",
    [
        ("report", RUN, "--format", "html", "--format", "htlm"),
        ("report", RUN, "--llama-bench", "absent.json"),
        ("bundle", "create", RUN, "--to", "results"),
    ],
)
def test_a_wrong_word_changes_nothing_either(
    home: Path, run_harness: Harness, words: tuple[str, ...]
) -> None:
    before = tree(home)
    done = run_harness(*words, cwd=home, check=None)
    assert done.returncode in {2, 3}
    assert tree(home) == before


def test_fields_of_a_later_harness_are_not_in_the_way(home: Path, run_harness: Harness) -> None:
    """Within a schema fields may be added."""
    path = home / "results" / RUN / "records.jsonl"
    run_harness("score", RUN, cwd=home, check=None)
    before = (path.parent / "scorecard.json").read_bytes()
    rewritten(lambda records: [record | {"added": [1]} for record in records])(path.parent)
    run_harness("score", RUN, cwd=home, check=None)
    assert (path.parent / "scorecard.json").read_bytes() == before


# --- bundles, baselines and scorecards ----------------------------------------------------------


@pytest.fixture
def bundle(home: Path, run_harness: Harness) -> Path:
    """A bundle of the golden run, whose ledger is not at hand."""
    path = home / "results" / RUN / "records.jsonl"
    rewritten(
        lambda records: [
            records[0] | {"attempt": records[0]["attempt"] | {"ledger": ""}},
            *records[1:],
        ]
    )(path.parent)
    run_harness("bundle", "create", RUN, "--to", "made", cwd=home)
    return home / "made"


def sealed(bundle: Path, spoil: Spoil) -> None:
    """Change a bundle and write what its manifest says of the file anew."""
    spoil(bundle)
    path = bundle / "MANIFEST.json"
    manifest: dict[str, Any] = json.loads(path.read_bytes())
    for entry in manifest["files"]:
        data = (bundle / entry["path"]).read_bytes()
        entry |= {"size_bytes": len(data), "sha256": sha256(data)}
    path.write_text(json.dumps(manifest))


def older(records: list[Record]) -> list[Record]:
    attempt = {"number": 1, "of": 1, "earlier": []}
    return [records[0] | {"schema": 1, "attempt": attempt}, *records[1:]]


@pytest.mark.parametrize(
    ("change", "reason", "code"), [(newer, "schema_too_new", 2), (older, "schema_older", 5)]
)
@pytest.mark.parametrize("command", ["verify", "sign"])
def test_a_bundle_of_another_schema_is_refused(
    bundle: Path,
    run_harness: Harness,
    command: str,
    change: Callable[[list[Record]], list[Record]],
    reason: str,
    code: int,
) -> None:
    home = bundle.parent
    run_harness("bundle", "keygen", "me", cwd=home)
    sealed(bundle, rewritten(change))
    before = tree(bundle)
    words = {"verify": ("--keys", "me.pub"), "sign": ("--key", "me.key")}[command]
    done = run_harness("bundle", command, "made", *words, "--json", cwd=home, check=code)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["reason"] == reason
    assert "install the harness" in answer["message"]
    assert tree(bundle) == before


def test_a_run_of_an_older_schema_is_not_bundled(home: Path, run_harness: Harness) -> None:
    """Its scorecard is another one today: whoever verified it would find it changed."""
    for name in FILES:
        shutil.copyfile(GOLDEN / "v1" / name, home / "results" / RUN / name)
    before = tree(home)
    done = run_harness("bundle", "create", RUN, "--to", "made", cwd=home, check=5)
    assert "records of schema 1" in done.stderr
    assert "install the harness that wrote them: 0.1.0" in done.stderr
    assert tree(home) == before


def test_creating_a_bundle_leaves_the_run_alone(bundle: Path) -> None:
    run = bundle.parent / "results" / RUN
    assert sorted(path.name for path in run.iterdir()) == sorted(FILES)
    assert checking.verify(bundle, {}, today=checking.date(2026, 11, 28)).state == "unverified"


def test_a_baseline_of_a_newer_schema_is_refused(home: Path, run_harness: Harness) -> None:
    path = home / "results" / "baselines" / "main.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"kind": "baseline", "schema": 99, "of": "another form"}))
    before = tree(home)
    for words in (("gate", RUN, "--baseline", "main"), ("compare", "main", RUN)):
        done = run_harness(*words, "--json", cwd=home, check=2)
        answer = json.loads(done.stdout.splitlines()[-1])
        assert answer["reason"] == "schema_too_new"
        assert "main.json: baseline schema 99 is newer than 1" in answer["message"]
    assert "cannot be used: schema_too_new" in run_harness("baseline", "list", cwd=home).stdout
    assert tree(home) == before


def test_a_scorecard_of_a_newer_schema_is_refused_and_an_older_one_is_read(home: Path) -> None:
    import harness
    from harness.errors import SchemaError

    for version in range(1, CARD_SCHEMA + 1):
        assert harness.load(GOLDEN / f"v{version}" / "scorecard.json").id
    path = home / "scorecard.json"
    path.write_text(json.dumps({"kind": "scorecard", "schema": CARD_SCHEMA + 1}))
    before = tree(home)
    with pytest.raises(SchemaError) as caught:
        harness.load(path)
    assert caught.value.reason == "schema_too_new"
    assert caught.value.where == str(path)
    assert tree(home) == before


def test_a_journal_of_a_newer_schema_is_not_written_to(home: Path) -> None:
    run = home / "results" / RUN
    rewritten(newer)(run)
    before = tree(home)
    with pytest.raises(Exception, match="newer"):
        JournalWriter(run / "records.jsonl")
    assert tree(home) == before
