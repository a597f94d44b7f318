"""`harness accuracy` and `run --seed-file` as their users meet them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness import seeds, session
from harness.cli import cli
from harness.records import SCHEMA, JournalWriter
from harness.seeds import proof
from harness.specfile import resolve_profile
from harness.suites.tasks import TASKS
from tests.conftest import Harness
from tests.heldout.helpers import CAPITAL, FRANCE, jsonl
from tests.test_scoring_gap import CHEAT, HONEST, runs
from tests.test_seeds import PROFILE


def last_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    value = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(value, dict)
    return value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a profile that asks items, a fake model, and a models file."""
    (tmp_path / "secret.yaml").write_text(PROFILE)
    (tmp_path / "ref.fake.json").write_text('{"step_s": 0.01, "prefill_s_per_token": 0.001}')
    (tmp_path / "models.yaml").write_text(
        "models: [{id: ref.fake, family: ref, format: fake, quantisation: f, "
        "source: {kind: file, path: ref.fake.json}}]\nsets: {default: [ref.fake]}\n"
    )
    return tmp_path


def committed(folder: Path, commitment: str) -> None:
    """Paste the printed line into the profile."""
    text = PROFILE.replace("items: 2}", f"items: 2, commitment: {commitment}}}")
    assert text != PROFILE
    (folder / "secret.yaml").write_text(text)


def test_commit_reveal_verify(folder: Path, run_harness: Harness) -> None:
    done = run_harness("accuracy", "commit", "--profile", "secret.yaml", "--seed-file", "seed.hex")
    (line,) = done.stdout.splitlines()
    key, _, commitment = line.strip().partition(": ")
    assert key == "commitment"
    seed = (folder / "seed.hex").read_text().strip()
    assert seed not in done.stdout + done.stderr
    assert "keep it secret" in done.stderr
    assert "publish it before submissions close" in done.stderr
    assert "next: harness run --profile secret.yaml --seed-file seed.hex" in done.stderr
    assert commitment == seeds.commitment_of(
        bytes.fromhex(seed), resolve_profile(str(folder / "secret.yaml"))
    )
    committed(folder, commitment)
    where = ("--profile", "secret.yaml")
    revealed = run_harness("accuracy", "reveal", "--seed-file", "seed.hex", *where).stdout
    assert json.loads(revealed)["seed"] == seed
    (folder / "revealed.json").write_text(revealed)
    verified = run_harness("accuracy", "verify", "revealed.json", *where)
    assert verified.stdout.startswith(f"the seed matches: {commitment}")
    found = last_json(run_harness("accuracy", "verify", seed, *where, "--json"))
    assert found["verified"]
    other = run_harness("accuracy", "verify", "0b" * 32, *where, "--json", check=1)
    assert last_json(other)["verified"] is False
    changed = (folder / "secret.yaml").read_text().replace("requests: 1", "requests: 2")
    (folder / "secret.yaml").write_text(changed)
    done = run_harness("accuracy", "verify", seed, *where, "--commitment", "revealed.json", check=1)
    assert "the profile is another one than at the commitment" in done.stdout
    done = run_harness("accuracy", "reveal", "--seed-file", "seed.hex", *where, check=2)
    assert "the seed does not match the commitment of profile 'secret'" in done.stderr


def test_the_statement_is_json(folder: Path, run_harness: Harness) -> None:
    done = run_harness(
        "accuracy", "commit", "--profile", "secret.yaml", "--seed-file", "s", "--statement",
        "public.json", "--json",
    )  # fmt: skip
    found = last_json(done)
    assert found.pop("seed_file") == "s"
    assert found == json.loads((folder / "public.json").read_text())
    assert set(found) == {
        "commitment", "algorithm", "generator", "profile", "harness", "date_utc"
    }  # fmt: skip


BAD_INPUT = [
    (["commit", "--seed-file", "exists", "--profile", "secret.yaml"], 2,
     ["exists: the file exists, and nothing is overwritten", "--seed-file ANOTHER_PATH"]),
    (["commit", "--seed-file", "new", "--profile", "secrt.yaml"], 2, ["there is no such file"]),
    (["commit", "--seed-file", "new", "--profile", "challange"], 2, ["did you mean 'challenge'?"]),
    (["commit"], 2, ["Missing option '--seed-file'"]),
    (["reveal", "--seed-file", "absent", "--profile", "secret.yaml"], 3,
     ["absent: the seed file cannot be read", "harness accuracy commit"]),
    (["reveal", "--seed-file", "exists", "--profile", "secret.yaml"], 2,
     ["exists: this is no seed", "64 digits out of 0-9 and a-f"]),
    (["verify", "0a" * 32, "--profile", "secret.yaml"], 2,
     ["profile 'secret' has no commitment", "--commitment HEX_OR_FILE"]),
    (["verify", "0a" * 32, "--profile", "secret.yaml", "--commitment", "exists"], 2,
     ["exists: this is nothing that `harness accuracy commit` or `reveal` wrote"]),
    (["verify", "0a" * 32, "--commitment", "0a" * 32, "--run", "nope"], 2,
     ["no run with records here"]),
    (["gap", "nope", "nope"], 2, ["no run with records here", "harness run"]),
    (["check", "absent.jsonl"], 2, ["absent.jsonl: there is no such file"]),
    (["check", "exists"], 2, ["exists: this is data of no known kind", "a .jsonl file"]),
    (["check", "bad.jsonl"], 2, ["bad.jsonl:1: field 'answer' is missing", '"answer": 0']),
    (["check", "task.yaml"], 2, ["task.yaml:1: tag '!function' is not allowed", "runs no code"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "parts"), BAD_INPUT, ids=[" ".join(b[0])[:40] for b in BAD_INPUT]
)
def test_bad_input_has_one_clear_message(
    folder: Path, run_harness: Harness, arguments: list[str], code: int, parts: list[str]
) -> None:
    (folder / "exists").write_text("mine")
    (folder / "bad.jsonl").write_text('{"question": "?", "choices": ["a", "b"]}\n')
    (folder / "task.yaml").write_text("doc_to_text: !function utils.text\n")
    done = run_harness("accuracy", *arguments, "--json", check=code)
    for part in parts:
        assert part in done.stderr, done.stderr
    assert last_json(done)["exit_code"] == code
    assert (folder / "exists").read_text() == "mine"
    assert not (folder / "new").exists()


def test_a_run_of_a_committed_profile_asks_for_its_seed(folder: Path, run_harness: Harness) -> None:
    made = last_json(
        run_harness("accuracy", "commit", "--profile", "secret.yaml", "--seed-file", "s", "--json")
    )
    committed(folder, made["commitment"])
    where = ("run", "--profile", "secret.yaml")
    done = run_harness(*where, "--json", check=3)
    assert last_json(done)["reason"] == "seed_missing"
    assert "next: harness run --profile secret --seed-file PATH" in done.stderr
    (folder / "other").write_text("0c" * 32)
    done = run_harness(*where, "--seed-file", "other", "--json", check=2)
    assert last_json(done)["reason"] == "seed_mismatch"
    assert "0c0c" not in done.stderr
    assert not (folder / "results").exists()
    # What asks no items, and what measures nothing, needs no seed.
    run_harness(*where, "--dry-run")
    run_harness(*where, "--suite", "latency")
    done = run_harness(*where, "--suite", "latency", "--seed-file", "s", check=2)
    assert "--seed-file has no use: only latency is run" in done.stderr


def test_the_seed_reaches_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    seed = seeds.draw(Path("seed.hex"))
    seen: list[seeds.Seed] = []

    def run(*_: object, seed: seeds.Seed, **__: object) -> None:
        seen.append(seed)
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "run", run)
    arguments = ["run", "--profile", "secret.yaml"]
    CliRunner().invoke(cli, arguments)
    CliRunner().invoke(cli, [*arguments, "--seed-file", "seed.hex"])
    public, secret = seen
    assert public is seeds.PUBLIC
    assert (secret.value, secret.committed) == (seed, False)


def test_verify_writes_the_items_and_compares_a_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setitem(TASKS, "arith", "tests.toy_task")
    suite = resolve_profile("secret.yaml").suites.accuracy
    assert suite is not None
    # Two items of two seeds may be alike, but not of these.
    monkeypatch.setattr("secrets.token_bytes", lambda count: b"\1" * count)
    seed = seeds.draw(Path("seed.hex"))
    run = Path("results") / "20261126T000000Z-0a0b0c"
    run.mkdir(parents=True)
    journal = JournalWriter(run / "records.jsonl")
    first = {"type": "run", "schema": SCHEMA, "run": run.name}
    journal.append(first | {"profile": {}, "device": {}, "models": []})
    for found in proof.rebuild(suite, seed):
        journal.append(
            {
                "type": "sample", "kind": "item", "model": "m", "case": found.case,
                "index": found.number, "form": found.form, "template": found.item.template,
                "level": found.item.level,
            }
        )  # fmt: skip
    journal.close()
    commitment = seeds.commitment_of(seed, resolve_profile("secret.yaml"))
    arguments = [
        "accuracy", "verify", "seed.hex", "--profile", "secret.yaml", "--commitment", commitment,
        "--items", "items", "--run", "latest",
    ]  # fmt: skip
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "wrote 1 items: ko-arith-choice.jsonl" in done.output
    assert "the run's items are those of the seed: 2 equal, 0 different" in done.output
    assert len(list(Path("items").iterdir())) == 2
    arguments[2] = "0c" * 32
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert said["run"]["different"] == 2


def test_gap_is_a_table_or_json(folder: Path, run_harness: Harness) -> None:
    for name, made in (
        ("20261126T000000Z-0a0b0c", runs([HONEST, CHEAT], {"public": True})),
        (
            "20261126T010000Z-0a0b0c",
            runs([HONEST, replace(CHEAT, skill=0.4, seed=9)], {"public": False}),
        ),
    ):
        (folder / "results" / name).mkdir(parents=True)
        journal = JournalWriter(folder / "results" / name / "records.jsonl")
        for record in made:
            journal.append(record)
        journal.close()
    both = ("20261126T000000Z-0a0b0c", "latest")
    done = run_harness("accuracy", "gap", *both)
    assert done.stdout.splitlines()[1].startswith("cheat ")
    assert "better on the public items" in done.stdout
    found = last_json(run_harness("accuracy", "gap", *both, "--json"))
    assert [entry["model"] for entry in found["entries"]] == ["cheat", "honest"]
    done = run_harness("accuracy", "gap", *reversed(both), check=2)
    assert "the first run asked secret items" in done.stderr


def test_check_prints_the_entry_that_a_profile_takes(folder: Path, run_harness: Harness) -> None:
    (folder / "My Exam.jsonl").write_bytes(jsonl(CAPITAL, FRANCE, CAPITAL))
    options = ("--choices", "letter", "--shots", "1", "--licence", "CC-BY-ND-4.0")
    done = run_harness("accuracy", "check", "My Exam.jsonl", *options)
    first, *_ = done.stdout.splitlines()
    assert first == "My Exam.jsonl: 2 items (choice), 1 shots"
    assert "note: a question is asked again in 1 items" in done.stdout
    assert "note: texts of this licence, or of none, are never shown" in done.stdout
    assert "서울" not in done.stdout
    entry = "".join(f"    {line}\n" for line in done.stdout.splitlines() if line[:2] == "  ")
    text = PROFILE.replace(
        "accuracy: {tasks: [arith], languages: [ko], items: 2}",
        f"accuracy:\n    tasks: [arith]\n    languages: [ko]\n    items: 2\n    data:\n{entry}",
    )
    (folder / "own.yaml").write_text(text)
    suite = resolve_profile(str(folder / "own.yaml")).suites.accuracy
    assert suite is not None
    (data,) = suite.data
    assert (data.id, data.path, data.choices, data.shots) == (
        "my-exam", "My Exam.jsonl", "letter", 1
    )  # fmt: skip
    found = last_json(run_harness("accuracy", "check", "My Exam.jsonl", *options, "--json"))
    assert found["entry"]["sha256"] == data.sha256
    assert found["items"] == 2
    assert found["language"] == "en"


@pytest.mark.skipif(sys.platform == "win32", reason="no umask there")
def test_the_seed_file_is_private_whatever_the_umask(folder: Path) -> None:
    script = (
        "import os; os.umask(0); from harness.__main__ import main; import sys; "
        "sys.argv = ['harness', 'accuracy', 'commit', '--profile', 'secret.yaml', "
        "'--seed-file', 's']; main()"
    )
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True, capture_output=True)
    assert (folder / "s").stat().st_mode & 0o777 == 0o600
