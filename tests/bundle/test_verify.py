"""Whatever is changed in a bundle is found, and named."""

import contextlib
import json
import os
import random
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from harness import messages, score, shares
from harness.bundle import attest, keys, trust
from harness.bundle import create as making
from harness.bundle import verify as checking
from harness.errors import HarnessError, SpecError
from harness.kit import manifest
from harness.records import JournalWriter, read, run_record
from harness.spec import canonical
from tests.bundle.conftest import TODAY, counted

FLIPS = int(os.environ.get("HARNESS_FLIPS", "100"))
"""`HARNESS_FLIPS=1000 pytest tests/bundle -k flip` is the figure of docs/bundles.md."""


def verdict(folder: Path, trusted, **asked):
    return checking.verify(folder, trusted, today=asked.pop("today", TODAY), **asked)


def test_signed_by_an_evaluator(bundle: Path, trusted) -> None:
    found = verdict(bundle, trusted)
    assert (found.state, found.reason, found.signers) == ("verified", "", ("jury",))
    assert found.exit_code == 0
    assert found.tier == json.loads((bundle / "scorecard.json").read_bytes())["tier"]


def test_the_same_run_gives_the_same_bundle(made: Path, tmp_path: Path) -> None:
    making.create(made / "run", tmp_path / "again")
    for path in sorted((made / "unsigned").iterdir()):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def told_by(name: str, whole: bytes, data: bytes) -> set[tuple[str, str]]:
    """Reason and file that a changed file has to give, by where it was changed."""
    if name not in {manifest.MANIFEST, attest.ENVELOPE}:
        return {("manifest_broken", name)}
    try:
        before, after = json.loads(whole), json.loads(data)
    except ValueError:
        after = None
    if name == attest.ENVELOPE:
        # The key's name is a hint that nobody signs: of another name it is a stranger's.
        if isinstance(after, dict) and canonical(after) + b"\n" == data:
            for signature in before["signatures"] + after.get("signatures", []):
                signature.pop("keyid", None)
            if before == after:
                return {("unknown_key", "")}
        return {("bad_signature", name)}
    if isinstance(after, dict) and after.keys() == before.keys():
        about = [value.pop("about") for value in (before, after)]
        if before == after and about[1].get("kind") == "bundle":
            return {("claim_differs", name)}
        if before["format"] == after["format"] and about[0] == about[1]:
            # An entry that is not sound, or does not fit the file that it names.
            files = {entry["path"] for entry in before["files"]}
            files |= {str(entry.get("path")) for entry in after["files"]}
            return {("manifest_broken", file) for file in {name, *files}}
    return {("manifest_broken", name)}


@pytest.fixture
def scored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same records give the same scorecard: here it is made once, in the product always."""
    known: dict[bytes, Any] = {}
    make = score.scorecard

    def remembered(records, **options):
        key = canonical(records)
        if key not in known:
            known[key] = make(records, **options)
        return known[key]

    monkeypatch.setattr(checking.score, "scorecard", remembered)


@pytest.mark.usefixtures("scored_once")
def test_every_flipped_bit_is_found(bundle: Path, trusted) -> None:
    rng = random.Random(7)
    files = sorted(bundle.iterdir())
    for _ in range(FLIPS):
        path = rng.choice(files)
        whole, data = path.read_bytes(), bytearray(path.read_bytes())
        place, bit = rng.randrange(len(data)), rng.randrange(8)
        data[place] ^= 1 << bit
        path.write_bytes(data)
        found = verdict(bundle, trusted)
        path.write_bytes(whole)
        allowed = told_by(path.name, whole, bytes(data))
        assert (found.reason, found.path) in allowed, (path.name, place, bit)
        assert found.state == ("unverified" if found.reason == "unknown_key" else "broken")
    assert verdict(bundle, trusted).state == "verified"


def repacked(folder: Path, **claims) -> None:
    """What a forger does: a manifest that fits what is there now."""
    about = json.loads((folder / manifest.MANIFEST).read_bytes())["about"] | claims
    manifest.write(folder, about, frozenset({attest.ENVELOPE}))


def rewritten(folder: Path, change) -> None:
    """Records that were changed by somebody who knows how lines are chained."""
    records = read(folder / "records.jsonl").records
    (folder / "records.jsonl").unlink()
    journal = JournalWriter(folder / "records.jsonl")
    journal.append(*change(records))
    journal.close()


def faster(records):
    for record in records:
        if record.get("token_ns"):
            record["token_ns"] = [
                record["ids_ns"] + (at - record["ids_ns"]) // 2 + 1 for at in record["token_ns"]
            ]
    return records


def drop(folder: Path) -> None:
    (folder / "sbom.cdx.json").unlink()


def add(folder: Path) -> None:
    (folder / "report.html").write_text("<h1>first</h1>")


def rename(folder: Path) -> None:
    (folder / "scorecard.json").rename(folder / "Scorecard.json")


def link(folder: Path) -> None:
    shutil.move(folder / "scorecard.json", folder.parent / "scorecard.json")
    (folder / "scorecard.json").symlink_to(folder.parent / "scorecard.json")


def say_more(folder: Path) -> None:
    """Behind the last line, which ends no job."""
    with (folder / "records.jsonl").open("ab") as file:
        file.write(b'00000000 {"type":"hidden"')
    repacked(folder)


def cut(folder: Path) -> None:
    path = folder / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    repacked(folder)


def lose_a_line(folder: Path) -> None:
    path = folder / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:40] + lines[41:]))
    repacked(folder)


def swap_lines(folder: Path) -> None:
    path = folder / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[40], lines[41] = lines[41], lines[40]
    path.write_bytes(b"".join(lines))
    repacked(folder)


def better_score(folder: Path) -> None:
    card = json.loads((folder / "scorecard.json").read_bytes())
    card["entries"][-1]["score"] = 2000.0
    (folder / "scorecard.json").write_bytes(score.dump(card))
    repacked(folder)


def faster_records(folder: Path) -> None:
    rewritten(folder, faster)
    repacked(folder)


def faster_throughout(folder: Path) -> None:
    rewritten(folder, faster)
    card = score.scorecard(read(folder / "records.jsonl").records)
    (folder / "scorecard.json").write_bytes(score.dump(card))
    repacked(
        folder,
        **json.loads(
            canonical(making.about(run_record(read(folder / "records.jsonl").records), card))
        ),
    )


def other_model(folder: Path) -> None:
    about = json.loads((folder / manifest.MANIFEST).read_bytes())["about"]
    name = next(iter(about["models"]))
    repacked(folder, models={**about["models"], name: {"model.gguf": "0" * 64}})


def other_nonce(folder: Path) -> None:
    repacked(folder, nonce="of another run")


EDITS = [
    (drop, "manifest_broken", "sbom.cdx.json"),
    (add, "manifest_broken", "report.html"),
    (rename, "manifest_broken", "Scorecard.json"),
    (link, "manifest_broken", "scorecard.json"),
    (cut, "records_torn", "records.jsonl"),
    (say_more, "records_torn", "records.jsonl"),
    (lose_a_line, "records_damaged", "records.jsonl"),
    (swap_lines, "records_damaged", "records.jsonl"),
    (better_score, "scorecard_differs", "scorecard.json"),
    (faster_records, "scorecard_differs", "scorecard.json"),
    (faster_throughout, "other_bundle", attest.ENVELOPE),
    (other_model, "claim_differs", manifest.MANIFEST),
    (other_nonce, "claim_differs", manifest.MANIFEST),
]


@pytest.mark.parametrize(
    ("edit", "reason", "path"), EDITS, ids=lambda value: getattr(value, "__name__", "")
)
def test_edits_are_found(bundle: Path, trusted, edit, reason: str, path: str) -> None:
    edit(bundle)
    found = verdict(bundle, trusted)
    assert (found.state, found.reason, found.path) == ("broken", reason, path)
    assert found.exit_code == 1
    assert found.detail
    with several_processes():
        assert verdict(bundle, trusted) == found


@contextlib.contextmanager
def several_processes() -> Iterator[None]:
    """As if the bundle were large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shares, "LEAST_BYTES", 1)
        patch.setattr(shares, "count_for", lambda size_bytes, models: 2)
        yield


def test_several_processes_come_to_the_same(
    bundle: Path, trusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = verdict(bundle, trusted)
    assert found.state == "verified"
    monkeypatch.setattr(checking, "parse", lambda *_: pytest.fail("one thing after another"))
    with several_processes():
        again = verdict(bundle, trusted)
    assert score.dump(again.card) == score.dump(found.card)
    assert (again.state, again.signers, again.attempts) == (
        found.state, found.signers, found.attempts
    )  # fmt: skip


def test_a_signature_that_is_taken_off(bundle: Path, trusted) -> None:
    (bundle / attest.ENVELOPE).unlink()
    found = verdict(bundle, trusted)
    assert (found.state, found.reason, found.exit_code) == ("unverified", "not_signed", 5)


def strange(**changes):
    """Records whose run record is of another form, in a bundle that fits them."""

    def edit(folder: Path) -> None:
        def change(records):
            return [r | changes if r["type"] == "run" else r for r in records]

        rewritten(folder, change)
        about = json.loads((folder / manifest.MANIFEST).read_bytes())["about"]
        repacked(folder, **{name: changes[name] for name in changes.keys() & about.keys()})

    return edit


@pytest.mark.parametrize(
    "changes",
    [
        {"started_utc": "yesterday"},
        {"started_utc": None},
        {"attempt": []},
        {"attempt": {"number": "1", "of": 1}},
        {"nonce": 5},
        {"models": {}},
        {"profile": []},
        {"device": 3},
    ],
)
def test_records_of_another_form_are_no_bug(bundle: Path, trusted, changes) -> None:
    strange(**changes)(bundle)
    (bundle / attest.ENVELOPE).unlink()
    found = verdict(bundle, trusted)
    assert (found.state, found.path) in {
        ("broken", "records.jsonl"),
        ("broken", "scorecard.json"),
        ("broken", manifest.MANIFEST),
    }


def test_another_version_cannot_say(bundle: Path, trusted, monkeypatch) -> None:
    """Neither verified nor broken: its own version would have to build the scorecard."""
    card = json.loads((bundle / "scorecard.json").read_bytes())
    card["entries"][0]["score"] += 1
    (bundle / "scorecard.json").write_bytes(score.dump(card))
    repacked(bundle)
    (bundle / attest.ENVELOPE).unlink()
    monkeypatch.setattr(checking.harness, "__version__", "9.9.9")
    found = verdict(bundle, trusted)
    assert (found.state, found.exit_code) == ("unverified", 5)


@pytest.mark.parametrize("large", [True, False])
def test_an_envelope_is_a_small_plain_file(bundle: Path, trusted, large: bool) -> None:
    envelope = bundle / attest.ENVELOPE
    if large:
        envelope.write_bytes(b" " * (2 << 20))
    else:
        envelope.rename(bundle.parent / "elsewhere")
        envelope.symlink_to(bundle.parent / "elsewhere")
    found = verdict(bundle, trusted)
    assert (found.state, found.reason, found.path) == ("broken", "bad_signature", attest.ENVELOPE)


def test_a_forgery_without_a_signature_is_only_unverified(bundle: Path, trusted) -> None:
    """Who rewrites everything needs the signer's key: without it nobody vouches."""
    faster_throughout(bundle)
    (bundle / attest.ENVELOPE).unlink()
    found = verdict(bundle, trusted)
    assert (found.state, found.reason, found.exit_code) == ("unverified", "not_signed", 5)


def test_no_trusted_keys(bundle: Path) -> None:
    found = verdict(bundle, {})
    assert (found.state, found.reason) == ("unverified", "no_trusted_keys")


def test_an_unknown_key(bundle: Path, made: Path) -> None:
    found = verdict(bundle, trust.load_trusted([made / "stranger.pub"]))
    assert (found.state, found.reason) == ("unverified", "unknown_key")


def test_a_startup_alone_verifies_nothing(made: Path, tmp_path: Path, trusted) -> None:
    folder = shutil.copytree(made / "unsigned", tmp_path / "own")
    checking.sign(folder, made / "startup.key")
    found = verdict(folder, trusted)
    assert (found.state, found.reason, found.signers) == (
        "unverified",
        "no_evaluator",
        ("startup",),
    )
    checking.sign(folder, made / "jury.key")
    found = verdict(folder, trusted)
    assert (found.state, found.signers) == ("verified", ("jury", "startup"))


def test_expired_and_not_yet_valid(bundle: Path, trusted) -> None:
    jury = next(key for key in trusted.values() if key.name == "jury")
    fields = {name: getattr(jury, name) for name in keys.PublicKey.__slots__}
    early = keys.PublicKey(**{**fields, "valid_until": date(2026, 1, 2)})
    late = keys.PublicKey(
        **{**fields, "valid_from": date(2027, 1, 1), "valid_until": date(2028, 1, 1)}
    )
    for key in (early, late):
        found = verdict(bundle, {key.id: key})
        assert (found.state, found.reason) == ("unverified", "key_expired")


def test_another_runs_nonce(bundle: Path, trusted) -> None:
    found = verdict(bundle, trusted, nonce="for this run")
    assert (found.state, found.reason) == ("unverified", "other_nonce")


def test_the_signature_of_another_bundle(bundle: Path, made: Path, tmp_path: Path, trusted) -> None:
    run = shutil.copytree(made / "run", tmp_path / "run")
    rewritten(
        run,
        lambda records: counted(
            [{**r, "nonce": "x"} if r["type"] == "run" else r for r in records], tmp_path
        ),
    )
    making.create(run, tmp_path / "other")
    shutil.copy(bundle / attest.ENVELOPE, tmp_path / "other")
    found = verdict(tmp_path / "other", trusted)
    assert (found.state, found.reason) == ("broken", "other_bundle")


def test_what_was_measured_is_the_submitted_file(bundle: Path, trusted, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"another")
    found = verdict(bundle, trusted, models=[tmp_path / "model.gguf"])
    assert (found.state, found.reason, found.path) == ("broken", "other_model", "model.gguf")


@pytest.mark.parametrize("content", [{}, {"MANIFEST.json": b"{}"}, {"records.jsonl": b""}])
def test_not_a_bundle(tmp_path: Path, content) -> None:
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(SpecError, match="not a bundle") as caught:
        verdict(tmp_path, {})
    assert (caught.value.reason, caught.value.exit_code) == ("not_a_bundle", 2)


def test_an_offline_kit_is_not_a_bundle(tmp_path: Path) -> None:
    manifest.write(tmp_path, {"kind": "kit"})
    with pytest.raises(SpecError, match="not a bundle: its manifest is of a 'kit'"):
        verdict(tmp_path, {})


def test_what_is_broken_is_not_signed(bundle: Path, made: Path) -> None:
    better_score(bundle)
    with pytest.raises(SpecError, match=r"what is broken is not signed: scorecard\.json") as caught:
        checking.sign(bundle, made / "jury.key")
    assert caught.value.reason == "bundle_broken"


def test_nothing_is_written_while_verifying(bundle: Path, trusted) -> None:
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in bundle.iterdir()}
    verdict(bundle, trusted)
    assert before == {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in bundle.iterdir()}


def test_only_its_owner_reads_a_private_key(made: Path) -> None:
    assert (made / "jury.key").stat().st_mode & 0o077 == 0
    with pytest.raises(HarnessError) as caught:
        keys.generate(made / "jury", name="jury", role="evaluator", days=1, today=TODAY)
    assert caught.value.reason == "target_exists"


@pytest.fixture
def in_korean() -> Iterator[None]:
    messages.speak("ko")
    yield
    messages.speak("en")


@pytest.mark.usefixtures("in_korean")
def test_a_verdict_and_what_to_do_are_said_in_korean(bundle: Path, trusted) -> None:
    def said(found: checking.Verdict) -> list[str]:
        text = f"{checking.text(found)}\n{checking.next_step(found, bundle)}"
        return [messages.tr(line) for line in text.splitlines()]

    whole = said(verdict(bundle, trusted))
    assert whole[0] == "검증됨"
    assert whole[-1].startswith("  서명자"), "nothing is left to be done"
    doubtful = said(verdict(bundle, {}))
    assert doubtful[0].startswith("미검증(no_trusted_keys): 신뢰하는 키")
    assert doubtful[-1] == f"harness bundle verify {bundle} --keys TRUSTED.pub"
    (bundle / "scorecard.json").write_bytes(b"{}")
    broken = said(verdict(bundle, trusted))
    assert broken[0].startswith("손상됨(manifest_broken): scorecard.json: ")
    assert broken[-1] == "제출한 사람에게 손대지 않은 사본을 요청하십시오"
