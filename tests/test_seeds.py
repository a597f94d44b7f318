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
from harness.errors import Exit, PrerequisiteError, SpecError
from harness.prepare import prepare
from harness.records import read
from harness.spec import AccuracySuite, Profile, sha256
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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "seed")
    with pytest.raises(SpecError, match="this is not a file"):
        seeds.read_seed(tmp_path / "seed")
