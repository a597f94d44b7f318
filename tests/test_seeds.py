"""Secret seeds: what is committed to cannot be changed unseen, and never leaks."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import seeds, session
from harness.errors import Exit, HarnessError, PrerequisiteError, SpecError
from harness.prepare import prepare
from harness.records import read
from harness.seeds import proof
from harness.spec import AccuracySuite, Profile, sha256, to_json
from harness.specfile import resolve_profile
from harness.suites.tasks import PUBLIC_SEED, TASKS
from tests.conftest import FakeModel
from tests.strategies import profile

SEED = bytes(range(32))
SUITE = AccuracySuite(tasks=("arith", "josa"), languages=("ko", "en"), items=7, context=512)


def asking(suite: AccuracySuite = SUITE, **changes: Any) -> Profile:
    made = profile()
    return replace(made, suites=replace(made.suites, accuracy=replace(suite, **changes)))


@pytest.fixture
def toy_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TASKS:
        monkeypatch.setitem(TASKS, name, "tests.toy_task")


# --- what the commitment binds --------------------------------------------------------


def test_the_commitment_is_the_published_formula() -> None:
    parts = SEED + bytes.fromhex(seeds.generator_sha256())
    parts += bytes.fromhex(seeds.profile_sha256(asking()))
    assert seeds.commitment_of(SEED, asking()) == sha256(parts)


def test_pasting_the_commitment_into_the_profile_keeps_it() -> None:
    commitment = seeds.commitment_of(SEED, asking())
    assert seeds.commitment_of(SEED, asking(commitment=commitment)) == commitment
    seeds.check(commitment, SEED, asking(commitment=commitment))


@pytest.mark.parametrize(
    "changed",
    [asking(items=8), asking(context=513), asking(shots=1), replace(asking(), version=9)],
    ids=["items", "context", "shots", "version"],
)
def test_another_profile_has_another_commitment(changed: Profile) -> None:
    commitment = seeds.commitment_of(SEED, asking())
    assert seeds.commitment_of(SEED, changed) != commitment
    with pytest.raises(SpecError) as caught:
        seeds.check(commitment, SEED, changed)
    assert caught.value.reason == "seed_mismatch"
    assert commitment in caught.value.message
    assert "harness accuracy verify" in caught.value.hint
    assert SEED.hex() not in str(caught.value)


@given(seed=st.binary(min_size=32, max_size=32))
def test_another_seed_has_another_commitment(seed: bytes) -> None:
    same = seeds.commitment_of(seed, asking()) == seeds.commitment_of(SEED, asking())
    assert same == (seed == SEED)


def test_every_file_that_makes_items_is_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "suites" / "tasks"
    folder.mkdir(parents=True)
    (folder / "a.py").write_bytes(b"x = 1\ny = 2\n")
    (folder / "a.json").write_bytes(b"[1]")
    monkeypatch.setattr(seeds, "__file__", str(tmp_path / "seeds" / "__init__.py"))

    def found() -> str:
        seeds.generator_sha256.cache_clear()
        return seeds.generator_sha256()

    try:
        first = found()
        assert found() == first
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"0")
        (folder / "a.py").write_bytes(b"x = 1\r\ny = 2\r\n")  # a checkout on Windows
        assert found() == first
        (folder / "a.json").write_bytes(b"[2]")
        second = found()
        (folder / "a.json").rename(folder / "b.json")
        third = found()
        (folder / "c.txt").write_bytes(b"")
        assert len({first, second, third, found()}) == 4
    finally:
        seeds.generator_sha256.cache_clear()


# --- files ----------------------------------------------------------------------------


def test_a_seed_is_drawn_into_a_new_private_file(tmp_path: Path) -> None:
    path = tmp_path / "seed.hex"
    found = seeds.commit(asking(), path)
    seed = seeds.read_seed(path)
    assert len(seed) == 32
    assert path.read_text() == f"{seed.hex()}\n"
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert found["commitment"] == seeds.commitment_of(seed, asking())
    assert found["profile"] == {
        "id": "quick", "version": 1, "sha256": seeds.profile_sha256(asking())
    }  # fmt: skip
    assert found["generator"] == seeds.generator_sha256()
    assert found["harness"]
    assert len(found["date_utc"]) == 10
    assert seed.hex() not in json.dumps(found)
    assert seeds.commit(asking(), tmp_path / "other")["commitment"] != found["commitment"]


def test_a_seed_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "seed.hex"
    path.write_text("mine")
    with pytest.raises(SpecError) as caught:
        seeds.commit(asking(), path)
    assert caught.value.reason == "file_exists"
    assert caught.value.message == "the file exists, and nothing is overwritten"
    assert path.read_text() == "mine"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "seed.hex").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SpecError, match="nothing is overwritten"):
        seeds.draw(tmp_path / "seed.hex")
    assert not (tmp_path / "elsewhere").exists()


def test_a_statement_that_cannot_be_written_leaves_no_seed(tmp_path: Path) -> None:
    (tmp_path / "statement.json").write_text("old")
    with pytest.raises(SpecError, match="nothing is overwritten"):
        seeds.commit(asking(), tmp_path / "seed.hex", tmp_path / "statement.json")
    assert not (tmp_path / "seed.hex").exists()
    found = seeds.commit(asking(), tmp_path / "seed.hex", tmp_path / "new.json")
    assert json.loads((tmp_path / "new.json").read_text()) == found
    with pytest.raises(SpecError, match="cannot write: No such file or directory"):
        seeds.draw(tmp_path / "no" / "folder")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "this is no seed: 0 characters"),
        (b"0a" * 31, "this is no seed: 62 characters"),
        (b"0A" * 32, "this is no seed: 64 characters"),
        (bytes(range(32)), "this is no seed: "),
        (b"0" * 64, "this is the public seed, which hides nothing"),
    ],
    ids=["empty", "short", "upper case", "raw bytes", "public"],
)
def test_what_is_no_seed(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "seed"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        seeds.read_seed(path)
    error = caught.value
    assert error.message.startswith(message)
    assert error.where == str(path)
    assert error.reason == "bad_seed"
    assert error.allowed
    assert "harness accuracy commit" in error.hint
    assert "0a0a" not in str(error)


def test_seed_files_of_other_editors(tmp_path: Path) -> None:
    path = tmp_path / "seed"
    path.write_bytes(b"\xef\xbb\xbf" + SEED.hex().encode() + b"\r\n")
    assert seeds.read_seed(path) == SEED


def test_an_absent_seed_file_is_a_prerequisite(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        seeds.read_seed(tmp_path / "absent")
    assert caught.value.reason == "seed_missing"
    assert caught.value.exit_code == Exit.PREREQUISITE
    with pytest.raises(SpecError, match="this is not a file"):
        seeds.read_seed(tmp_path)


# --- a run ----------------------------------------------------------------------------


def test_a_run_without_a_seed_asks_the_public_items() -> None:
    assert seeds.for_run(asking(), None) is seeds.PUBLIC
    assert seeds.PUBLIC.value == PUBLIC_SEED
    assert seeds.PUBLIC.public
    assert seeds.PUBLIC.facts() == {
        "public": True, "committed": False, "commitment": "",
        "generator": seeds.generator_sha256(),
    }  # fmt: skip


def test_a_committed_profile_needs_its_seed(tmp_path: Path) -> None:
    path = tmp_path / "seed.hex"
    commitment = seeds.commit(asking(), path)["commitment"]
    committed = asking(commitment=commitment)
    with pytest.raises(PrerequisiteError) as caught:
        seeds.for_run(committed, None)
    assert caught.value.exit_code == 3
    assert caught.value.reason == "seed_missing"
    assert caught.value.hint == "harness run --profile quick --seed-file PATH"
    assert commitment in caught.value.message
    found = seeds.for_run(committed, path)
    assert (found.value, found.commitment) == (seeds.read_seed(path), commitment)
    assert found.committed
    assert not found.public
    # What asks no items needs no seed.
    assert seeds.for_run(committed, None, ["latency"]) is seeds.PUBLIC
    with pytest.raises(PrerequisiteError):
        seeds.for_run(committed, None, ["latency", "accuracy"])
    seeds.draw(tmp_path / "other.hex")
    with pytest.raises(SpecError) as mismatch:
        seeds.for_run(committed, tmp_path / "other.hex")
    assert mismatch.value.reason == "seed_mismatch"


def test_a_seed_that_was_not_committed_to_is_allowed_and_said(tmp_path: Path) -> None:
    seed = seeds.draw(tmp_path / "seed.hex")
    found = seeds.for_run(asking(), tmp_path / "seed.hex")
    assert not found.committed
    assert found.facts()["commitment"] == seeds.commitment_of(seed, asking())


def test_a_seed_that_nothing_asks_for_is_refused(tmp_path: Path) -> None:
    seeds.draw(tmp_path / "seed.hex")
    with pytest.raises(SpecError, match="--seed-file has no use: only latency is run"):
        seeds.for_run(asking(), tmp_path / "seed.hex", ["latency"])
    bare = replace(asking(), suites=replace(asking().suites, accuracy=None))
    with pytest.raises(SpecError, match="asks no accuracy items"):
        seeds.for_run(bare, tmp_path / "seed.hex")
    assert seeds.for_run(bare, None) is seeds.PUBLIC


PROFILE = """\
id: secret
version: 1
title: Secret items
reference: ref.fake
tier: unverified
protocol:
  processes: {latency: 1, accuracy: 1}
  requests: 1
  warmup_max: 1
  grouping: suite
  job_timeout_s: 30
suites:
  latency: {prompt_tokens: [4], output_tokens: [2]}
  accuracy: {tasks: [arith], languages: [ko], items: 2}
weights: {ttft_s: 1}
"""


def test_a_secret_seed_is_in_no_file_of_its_run(
    tmp_path: Path, fake_model: FakeModel, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_model("ref", step_s=0.01, prefill_s_per_token=0.001)
    (tmp_path / "models.yaml").write_text(
        "models: [{id: ref.fake, family: ref, format: fake, quantisation: f, "
        "source: {kind: file, path: ref.fake.json}}]\nsets: {default: [ref.fake]}\n"
    )
    (tmp_path / "secret.yaml").write_text(PROFILE)
    loaded = resolve_profile(str(tmp_path / "secret.yaml"))
    seed = seeds.Seed(value=SEED, commitment=seeds.commitment_of(SEED, loaded), committed=False)
    plan = prepare(profile=str(tmp_path / "secret.yaml"), catalogue_path=tmp_path / "models.yaml")
    result = session.run(plan, tmp_path / "results", seed=seed)
    run = read(result.folder / "records.jsonl").records[0]
    assert run["seed"] == seed.facts()
    printed = "".join(capfd.readouterr())
    for path in (tmp_path / "results").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for shape in (SEED, SEED.hex().encode(), base64.b64encode(SEED)):
            assert shape not in content, path
    assert SEED.hex() not in printed + repr(seed) + str(seed)


def test_a_run_that_asks_no_items_says_nothing_of_seeds(
    tmp_path: Path, fake_model: FakeModel
) -> None:
    path = fake_model("toy", step_s=0.01, prefill_s_per_token=0.001)
    plan = prepare(models=[str(path)], suites=["memory"])
    plan = replace(plan, jobs=tuple(job for job in plan.jobs if job.model == "toy.fake"))
    result = session.run(plan, tmp_path / "results")
    assert "seed" not in read(result.folder / "records.jsonl").records[0]


# --- afterwards -----------------------------------------------------------------------


def test_a_revealed_seed_is_verified(tmp_path: Path) -> None:
    commitment = seeds.commitment_of(SEED, asking())
    found = proof.reveal(SEED, asking(commitment=commitment))
    assert (found["seed"], found["commitment"]) == (SEED.hex(), commitment)
    assert found["committed"]
    assert not proof.reveal(SEED, asking())["committed"]
    with pytest.raises(SpecError) as caught:
        proof.reveal(SEED, asking(commitment="0a" * 32))
    assert caught.value.reason == "seed_mismatch"
    revealed = tmp_path / "revealed.json"
    revealed.write_text(json.dumps(found))
    seed_file = tmp_path / "seed.hex"
    seed_file.write_text(SEED.hex())
    for shown in (SEED.hex(), str(revealed), str(seed_file)):
        for published in (commitment, None):
            said = proof.examine(shown, asking(commitment=commitment), published=published)
            assert said["verified"]
            assert proof.exit_code(said) == Exit.DONE
            assert proof.text(said).startswith(f"the seed matches: {commitment}")


@pytest.mark.parametrize(
    ("what", "change", "words"),
    [
        ("seed", {"commitment": "0b" * 32}, "this is not the seed that was committed to"),
        ("generator", {"generator": "0c" * 32}, "install the version that the statement names"),
        ("profile", {"profile": {"sha256": "0d" * 32}}, "the profile is another one"),
    ],
)
def test_what_differs_is_said(
    tmp_path: Path, what: str, change: dict[str, Any], words: str
) -> None:
    published = seeds.statement(SEED, asking()) | change
    if what != "seed":  # honest, but made elsewhere
        published["commitment"] = seeds.joined(
            SEED, published["generator"], published["profile"]["sha256"]
        )
    path = tmp_path / "statement.json"
    path.write_text(json.dumps(published))
    said = proof.examine(SEED.hex(), asking(), published=str(path))
    assert not said["verified"]
    assert said["differs"] == [what]
    assert proof.exit_code(said) == 1
    assert words in proof.text(said)
    assert "the statement is of harness" not in proof.text(said)
    path.write_text(json.dumps(published | {"harness": "9\x1b[31m"}))
    elsewhere = proof.text(proof.examine(SEED.hex(), asking(), published=str(path)))
    assert "the statement is of harness 9\\u001b[31m, this is " in elsewhere
    bare = proof.examine(SEED.hex(), asking(), published=published["commitment"])
    assert (bare["verified"], bare["differs"]) == (False, [])
    assert "--commitment STATEMENT.json" in proof.text(bare)


def test_a_profile_with_another_line_than_the_published_one_is_found() -> None:
    commitment = seeds.commitment_of(SEED, asking())
    said = proof.examine(SEED.hex(), asking(commitment="0a" * 32), published=commitment)
    assert (said["verified"], said["differs"]) == (False, ["line"])


@pytest.mark.parametrize(
    ("seed", "published", "message", "code"),
    [
        ("nothing", None, "the revealed seed cannot be read: No such file or directory", 3),
        ("0" * 64, None, "this is the public seed", 2),
        ("seed.json", None, "this is no seed: 0 characters", 2),
        ("broken.json", None, "this is nothing that `harness accuracy commit` or `reveal`", 2),
        (SEED.hex(), None, "profile 'quick' has no commitment to compare with", 2),
        (SEED.hex(), "absent", "the published statement cannot be read: No such file", 3),
        (SEED.hex(), "seed.json", "this is nothing that `harness accuracy commit`", 2),
        (SEED.hex(), "broken.json", "this is nothing that `harness accuracy commit`", 2),
        (SEED.hex(), "deep.json", "this is nothing that `harness accuracy commit`", 2),
    ],
)
def test_what_cannot_be_verified(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: str,
    published: str | None,
    message: str,
    code: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("seed.json").write_text("{}")
    Path("broken.json").write_text("{")
    Path("deep.json").write_text("{" + "[" * 60_000)
    with pytest.raises(HarnessError) as caught:
        proof.examine(seed, asking(), published=published)
    assert caught.value.message.startswith(message)
    assert caught.value.exit_code == code
    assert caught.value.hint


@pytest.mark.usefixtures("toy_tasks")
def test_every_item_is_rebuilt_byte_for_byte(tmp_path: Path) -> None:
    counts = proof.write_items(tmp_path / "a", SUITE, SEED)
    assert counts == {
        f"{language}-{task}-{form}.jsonl": count
        for language in ("ko", "en")
        for task in ("arith", "josa")
        for form, count in (("choice", 4), ("free", 3))
    }
    proof.write_items(tmp_path / "b", SUITE, SEED)
    for name in counts:
        content = (tmp_path / "a" / name).read_bytes()
        assert content == (tmp_path / "b" / name).read_bytes()
        rows = [json.loads(line) for line in content.splitlines()]
        assert [row["index"] for row in rows] == list(range(counts[name]))
        assert all(row["check"] == {"longest": 512} for row in rows)
    other = proof.write_items(tmp_path / "c", SUITE, bytes(31) + b"\1")
    assert other == counts
    assert (tmp_path / "c" / name).read_bytes() != content
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="cannot make the folder"):
        proof.write_items(tmp_path / "file", SUITE, SEED)


def recorded(suite: AccuracySuite, seed: bytes, model: str = "m") -> list[dict[str, Any]]:
    return [
        {
            "type": "sample", "kind": "item", "model": model, "case": found.case,
            "index": found.number, "form": found.form, "template": found.item.template,
            "level": found.item.level,
        }
        for found in proof.rebuild(suite, seed)
    ]  # fmt: skip


@pytest.mark.usefixtures("toy_tasks")
def test_the_items_of_a_run_are_those_of_the_seed() -> None:
    rows = [*recorded(SUITE, SEED), *recorded(SUITE, SEED, "n"), {"type": "job", "model": "m"}]
    assert proof.check_run(rows, SUITE, SEED) == (56, 0, 0, ())
    found = proof.check_run(rows, SUITE, b"\1" * 32)
    assert not found.matches
    assert found.different > 30
    assert len(found.examples) == 10
    swapped = [dict(row) for row in rows]
    swapped[3]["template"], swapped[5]["level"] = "ko-99", 9
    found = proof.check_run(swapped, SUITE, SEED)
    assert (found.checked, found.different, found.missing) == (54, 2, 0)
    assert found.examples[0].startswith("m ko-arith choice #3: ('ko-99', ")


@pytest.mark.usefixtures("toy_tasks")
def test_skipped_and_foreign_items_are_no_difference() -> None:
    rows = recorded(SUITE, SEED)
    rows[0] = rows[0] | {"kind": "item_skipped", "reason": "context_exceeded"}
    rows.append(rows[1] | {"case": "exam"})
    assert proof.check_run(rows, SUITE, SEED) == (27, 0, 0, ())
    assert proof.check_run(rows[1:], SUITE, SEED) == (27, 0, 1, ())
    odd = rows[2] | {"index": [1], "template": ["x"]}
    assert proof.check_run([odd], SUITE, SEED).different == 1
    beyond = rows[2] | {"index": 99}
    assert proof.check_run([beyond], SUITE, SEED).different == 1
    nothing = proof.check_run([], SUITE, SEED)
    assert (nothing.checked, nothing.matches) == (0, False)


@pytest.mark.usefixtures("toy_tasks")
def test_a_run_with_a_time_budget_is_verified_by_what_it_chose_from() -> None:
    most = replace(SUITE, items=300, budget_s=60.0)
    run = {"type": "run", "profile": {"suites": {"accuracy": to_json(most)}}}
    rows = [row for row in recorded(most, SEED) if row["index"] < 20]
    assert len(rows) == 160
    assert proof.check_run([run, *rows], SUITE, SEED) == (160, 0, 0, ())
    other = [row | {"model": "n"} for row in rows[:150]]
    assert proof.check_run([run, *rows, *other], SUITE, SEED) == (310, 0, 10, ())
    assert proof.check_run([run, *rows], SUITE, b"\1" * 32).different > 100
    beyond = rows[2] | {"index": 150}
    assert proof.check_run([run, beyond], SUITE, SEED).different == 1
    assert proof.check_run(rows, SUITE, SEED).different == 160 - 28, "without one they are too many"


@pytest.mark.usefixtures("toy_tasks")
def test_examine_says_all_of_it(tmp_path: Path) -> None:
    commitment = seeds.commitment_of(SEED, asking())
    said = proof.examine(
        SEED.hex(),
        asking(commitment=commitment),
        items=tmp_path / "items",
        records=recorded(SUITE, SEED),
    )
    assert said["verified"]
    json.dumps(said)
    text = proof.text(said)
    assert "wrote 4 items: ko-arith-choice.jsonl" in text
    assert "the run's items are those of the seed: 28 equal, 0 different, 0 not recorded" in text
    said = proof.examine(
        SEED.hex(), asking(commitment=commitment), records=recorded(SUITE, b"\1" * 32)
    )
    assert (said["matches"], said["verified"], proof.exit_code(said)) == (True, False, 1)
    assert "the run's items are not all those of the seed" in proof.text(said)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "seed")
    with pytest.raises(SpecError, match="this is not a file"):
        seeds.read_seed(tmp_path / "seed")
