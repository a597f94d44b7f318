"""Which program measured, and whether it is one that was released."""

from pathlib import Path

import pytest

from harness import score
from harness.bundle import attest
from harness.bundle import verify as checking
from harness.errors import SpecError
from harness.records import read
from tests.bundle.test_verify import repacked, rewritten, verdict


def with_hashes(folder: Path, run: str, *around: str) -> None:
    """A bundle whose run, and the environments around it, name these programs."""

    def change(records):
        hashes = iter(around)
        return [
            record | {"harness_sha256": run}
            if record["type"] == "run"
            else record | {"builds": {"harness_sha256": next(hashes, run)}}
            if record["type"] == "environment"
            else record
            for record in records
        ]

    rewritten(folder, change)
    card = score.scorecard(read(folder / "records.jsonl").records)
    (folder / "scorecard.json").write_bytes(score.dump(card))
    repacked(folder, harness_sha256=run)
    (folder / attest.ENVELOPE).unlink()


def test_an_altered_harness(bundle: Path, made: Path, tmp_path: Path, trusted) -> None:
    ours, other = "a" * 64, "b" * 64
    with_hashes(bundle, ours)
    checking.sign(bundle, made / "jury.key")
    (tmp_path / "releases").write_text(f"# 0.1.0\n{ours}  0.1.0\n\n{'c' * 64}\n")
    for texts in ([ours], [other, ours], [str(tmp_path / "releases")]):
        found = verdict(bundle, trusted, released=checking.read_released(texts))
        assert found.state == "verified"
    assert f"harness  0.1.0 {ours}" in checking.text(found)
    found = verdict(bundle, trusted, released=checking.read_released([other]))
    assert (found.state, found.reason, found.exit_code) == ("unverified", "other_harness", 5)
    assert ours in found.detail


def test_a_harness_that_was_changed_while_it_measured(bundle: Path, made: Path, trusted) -> None:
    with_hashes(bundle, "a" * 64, "a" * 64, "b" * 64)
    checking.sign(bundle, made / "jury.key")
    found = verdict(bundle, trusted)
    assert (found.state, found.reason) == ("unverified", "other_harness")


def test_a_run_that_does_not_say_what_measured(bundle: Path, trusted) -> None:
    assert verdict(bundle, trusted).state == "verified"
    found = verdict(bundle, trusted, released={"a" * 64})
    assert (found.state, found.reason) == ("unverified", "other_harness")
    assert "one that does not say" in found.detail


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="it is there on POSIX")
def test_a_list_of_releases_has_an_end() -> None:
    with pytest.raises(SpecError, match="neither a hash of harness"):
        checking.read_released(["/dev/zero"])


@pytest.mark.parametrize("text", ["abc", "A" * 64, "nothing-here", ""])
def test_what_is_no_release(tmp_path: Path, text: str) -> None:
    (tmp_path / "notes").write_text("no hash\n")
    for asked in (text, str(tmp_path / "notes")):
        with pytest.raises(SpecError) as caught:
            checking.read_released([asked])
        assert (caught.value.reason, caught.value.exit_code) == ("bad_release", 2)
