"""Where a run does not go on, and that nothing is changed there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import environment, ledger, planfile, records, resume, seeds, session
from harness.errors import HarnessError
from harness.records import JournalWriter
from tests.conftest import tree
from tests.stopped import planned, stop_after


def edit_plan(folder: Path, patch: pytest.MonkeyPatch) -> None:
    path = folder / planfile.NAME
    path.write_bytes(path.read_bytes().replace(b'"requests":20', b'"requests":21'))


def lose_plan(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / planfile.NAME).unlink()


def lose_records(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "records.jsonl").unlink()


def edit_records(folder: Path, patch: pytest.MonkeyPatch) -> None:
    path = folder / "records.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"ok"', b'"no"', 1))


def cut_records(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Whole lines off its end, so that its last job would be measured once more."""
    path = folder / "records.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:-40], b""]))


def damage_ledger(folder: Path, patch: pytest.MonkeyPatch) -> None:
    path = folder.parent / ledger.NAME
    path.write_bytes(path.read_bytes().replace(b'"announced":false', b'"announced":true '))


def move_away(folder: Path, patch: pytest.MonkeyPatch) -> None:
    facts = environment.observe() | {"cpu": "another processor"}
    patch.setattr(environment, "observe", lambda: facts)


def update(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(resume, "builds", lambda plan: {"harness": "99", "numpy": "1"})


def begin_earlier(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """As the version before left it."""
    kept = records.read(folder / "records.jsonl").records
    del kept[0]["plan_sha256"]
    (folder / "records.jsonl").unlink()
    writer = JournalWriter(folder / "records.jsonl")
    writer.append(*kept)
    writer.close()


REFUSED: dict[Callable[[Path, pytest.MonkeyPatch], None], tuple[str, int]] = {
    edit_plan: ("plan_changed", 4),
    lose_plan: ("part_missing", 4),
    lose_records: ("records_missing", 4),
    edit_records: ("records_damaged", 4),
    cut_records: ("records_cut", 4),
    damage_ledger: ("ledger_damaged", 4),
    begin_earlier: ("schema_older", 5),
    move_away: ("other_machine", 5),
    update: ("other_build", 5),
}


@pytest.mark.parametrize("change", REFUSED)
def test_it_goes_on_only_where_and_with_what_it_was_begun(
    begun: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[..., None]
) -> None:
    change(begun, monkeypatch)
    before = tree(begun.parent)
    with pytest.raises(HarnessError) as caught:
        session.resume(begun)
    assert (caught.value.reason, caught.value.exit_code) == REFUSED[change]
    assert caught.value.hint
    assert tree(begun.parent) == before


def test_an_older_copy_of_the_folder_is_not_gone_on_with(begun: Path, tmp_path: Path) -> None:
    """Whoever keeps a copy and goes on until he likes the rest has gone on already."""
    copy = Path(shutil.copytree(begun, tmp_path / "copy"))
    assert session.resume(begun, stop_after(1)).status == "interrupted"
    shutil.rmtree(begun)
    shutil.copytree(copy, begun)
    with pytest.raises(HarnessError) as caught:
        session.resume(begun)
    assert caught.value.reason == "records_cut"


def test_a_killed_resumption_leaves_its_trace_in_the_ledger(begun: Path) -> None:
    noted = ledger.load(begun.parent / ledger.NAME).ends[begun.name]

    def die(*_: object) -> None:
        os._exit(9)

    if not (pid := os.fork()):
        session.resume(begun, die)
    os.waitpid(pid, 0)
    lines, _ = ledger.load(begun.parent / ledger.NAME).ends[begun.name]
    assert lines == noted[0] + 1  # that it was resumed
    assert records.read(begun / "records.jsonl").records[lines - 1]["kind"] == "resumed"
    assert session.resume(begun).status == "done"


def test_model_files_have_to_be_the_same(tmp_path: Path) -> None:
    plan = planned(tmp_path, suites=("latency",))
    result = session.run(plan, tmp_path / "results", stop_after(1))
    model = tmp_path / "slow.fake.json"
    sound = model.read_bytes()
    for change, reason in ((lambda: model.write_bytes(b"{}"), "hash_mismatch"),
                           (model.unlink, "model_missing")):  # fmt: skip
        change()
        with pytest.raises(HarnessError) as caught:
            session.resume(result.folder)
        assert caught.value.reason == reason
        assert str(model) in str(caught.value)
    model.write_bytes(sound)
    assert session.resume(result.folder).status == "done"


def test_a_secret_seed_has_to_be_given_again(tmp_path: Path) -> None:
    secret, other = tmp_path / "seed", tmp_path / "other"
    value = seeds.draw(secret)
    seeds.draw(other)
    plan = planned(tmp_path, seed=value, suites=("accuracy",))
    seed = seeds.Seed(value=value)
    result = session.run(plan, tmp_path / "results", stop_after(1), seed=seed)
    assert value.hex().encode() not in b"".join(
        path.read_bytes() for path in result.folder.iterdir() if path.is_file()
    )
    for file, reason in ((None, "seed_missing"), (other, "seed_mismatch")):
        with pytest.raises(HarnessError) as caught:
            session.resume(result.folder, seed_file=file)
        assert caught.value.reason == reason
    assert session.resume(result.folder, seed_file=secret).status == "done"
