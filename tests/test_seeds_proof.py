"""After a run: a revealed seed is verified, and the items are drawn from it again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import seeds
from harness.errors import Exit, HarnessError, SpecError
from harness.seeds import proof
from harness.spec import AccuracySuite, to_json
from tests.test_seeds import SEED, SUITE, asking, toy_tasks  # noqa: F401 - a fixture


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
