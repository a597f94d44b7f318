"""Bundles and key files by somebody who knows how they are checked."""

import contextlib
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from harness import score
from harness.bundle import attest, content, keys, reported, trust
from harness.bundle import create as making
from harness.bundle import verify as checking
from harness.errors import RecordError, SchemaError, SpecError
from harness.kit import manifest
from harness.ledger import NAME as LEDGER
from harness.records import JournalWriter, Record, decode_line, parse, read, run_record
from tests.bundle.conftest import TODAY, small_run
from tests.bundle.test_bad_input import packed, refused
from tests.golden_records import GOLDEN

Keys = dict[str, keys.PublicKey]


def forged(bundle: Path, records: list[Record], ledger: list[Record] | None = None) -> None:
    """A bundle all of whose sums are right, and whose signature was taken off."""
    for name, lines in (("records.jsonl", records), (LEDGER, ledger)):
        (bundle / name).unlink()
        if lines is not None:
            with contextlib.closing(JournalWriter(bundle / name)) as journal:
                journal.append(*lines)
    (bundle / attest.ENVELOPE).unlink(missing_ok=True)
    records = parse((bundle / "records.jsonl").read_bytes(), Path()).records
    card = score.scorecard(records)
    (bundle / "scorecard.json").write_bytes(score.dump(card))
    about = json.loads(json.dumps(making.about(run_record(records), card)))
    (bundle / manifest.MANIFEST).unlink()
    manifest.write(bundle, about)


def test_a_run_that_no_ledger_counted_is_not_verified(
    bundle: Path, made: Path, trusted: Keys
) -> None:
    forged(bundle, small_run())
    checking.sign(bundle, made / "jury.key")
    found = checking.verify(bundle, trusted, today=TODAY)
    assert (found.state, found.reason, found.exit_code) == ("unverified", "not_counted", 5)
    assert "run 1 of 1, counted in no ledger" in checking.text(found)


def test_a_run_that_was_resumed_says_so(bundle: Path) -> None:
    """Who interrupts jobs until he likes their figures is seen."""
    run, *rest = read(GOLDEN / "v2" / "records.jsonl").records
    attempt = {name: value for name, value in run["attempt"].items() if name != "ledger"}
    forged(bundle, [run | {"attempt": attempt}, *rest])
    said = checking.text(checking.verify(bundle, {}, today=TODAY))
    assert "  sessions resumed 1×, jobs begun again: 1" in said.splitlines()


@pytest.mark.parametrize("name", ["run", "device"])
def test_no_claim_makes_a_line_of_its_own(bundle: Path, name: str) -> None:
    text = "x\n  signers  jury\x1b[2K"
    run, *rest = small_run()
    forged(bundle, [run | ({"run": text} if name == "run" else {"device": {"id": text}}), *rest])
    said = checking.text(checking.verify(bundle, {}, today=TODAY))
    assert said.count("\n  signers") == 1
    assert "\x1b" not in said


def test_what_a_run_says_of_earlier_ones_may_have_any_form(bundle: Path, tmp_path: Path) -> None:
    """Without `gone`, and with another start than the ledger has."""
    with_earlier(bundle, {})
    found = checking.verify(bundle, {}, today=TODAY)
    assert found.state == "unverified"
    assert "1 of its plan before it (0 without records)" in checking.text(found)


def test_an_earlier_run_started_when_the_ledger_says(bundle: Path) -> None:
    with_earlier(bundle, {"started_utc": "2020-01-01T00:00:00+00:00", "gone": False})
    found = checking.verify(bundle, {}, today=TODAY)
    assert (found.state, found.reason, found.path) == ("broken", "ledger_differs", LEDGER)
    assert "earlier" in found.detail


def with_earlier(bundle: Path, fields: dict[str, Any]) -> None:
    head, line = (decode_line(text) for text in (bundle / LEDGER).read_bytes().splitlines())
    before = {**line, "run": "20260101T000000Z-000000"}
    plain = [{k: v for k, v in one.items() if k not in {"seq", "prev"}} for one in (head, before)]
    plain.append({k: v for k, v in line.items() if k not in {"seq", "prev"}})
    run, *rest = small_run()
    earlier = {"run": before["run"], "started_utc": before["started_utc"], "announced": False}
    with contextlib.closing(JournalWriter(bundle.parent / "ledger")) as journal:
        journal.append(*plain)
    named = read(bundle.parent / "ledger").tip
    attempt = {"number": 2, "of": 2, "announced": False, "ledger": named}
    forged(bundle, [run | {"attempt": {**attempt, "earlier": [earlier | fields]}}, *rest], plain)


def test_a_newer_ledger_is_no_broken_one(bundle: Path) -> None:
    head, line = (decode_line(text) for text in (bundle / LEDGER).read_bytes().splitlines())
    records = read(bundle / "records.jsonl").records
    forged(bundle, records, [{**head, "schema": 99}, line])
    with pytest.raises(SchemaError) as caught:
        checking.verify(bundle, {}, today=TODAY)
    assert (caught.value.reason, caught.value.exit_code) == ("schema_too_new", 2)


def test_a_report_shows_what_the_records_give(bundle: Path, monkeypatch) -> None:
    """A scorecard of another version cannot be checked, and is not shown."""
    card = json.loads((bundle / "scorecard.json").read_bytes())
    true = card["entries"][0]["score"]
    card["entries"][0]["score"] = true + 1000
    (bundle / "scorecard.json").write_bytes(score.dump(card))
    about = json.loads((bundle / manifest.MANIFEST).read_bytes())["about"]
    manifest.write(bundle, about, frozenset({attest.ENVELOPE}))
    (bundle / attest.ENVELOPE).unlink()
    monkeypatch.setattr(checking.harness, "__version__", "9.9.9")
    shown = reported.card_of(bundle, [])
    assert shown["entries"][0]["score"] == true
    assert shown["attempt"]["later"] == 0


def test_what_is_signed_is_what_was_verified(bundle: Path, made: Path, monkeypatch) -> None:
    """Files that are swapped meanwhile are not signed unseen."""
    (bundle / attest.ENVELOPE).unlink()
    verify = checking.verify

    def swapped(path: Path, *args: Any, **asked: Any) -> checking.Verdict:
        found = verify(path, *args, **asked)
        (bundle / "sbom.cdx.json").write_text("{}")
        about = json.loads((bundle / manifest.MANIFEST).read_bytes())["about"]
        manifest.write(bundle, about)
        return found

    monkeypatch.setattr(checking, "verify", swapped)
    checking.sign(bundle, made / "jury.key")
    monkeypatch.undo()
    found = checking.verify(bundle, trust.load_trusted([made / "jury.pub"]), today=TODAY)
    assert (found.state, found.reason) == ("broken", "other_bundle")


def test_records_that_are_torn_make_no_bundle(made: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "records.jsonl").write_bytes((made / "run" / "records.jsonl").read_bytes() + b"0123")
    (tmp_path / LEDGER).write_bytes((made / LEDGER).read_bytes())
    with pytest.raises(RecordError) as caught:
        making.create(run, tmp_path / "bundle")
    assert (caught.value.reason, caught.value.hint) == (
        "records_torn",
        f"harness run --resume {run}",
    )


# --- a .zip that breaks its reader ---------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_takes_what_memory_it_likes(bundle: Path, method: int) -> None:
    (bundle / attest.ENVELOPE).unlink()

    def change(archive: zipfile.ZipFile) -> None:
        archive.writestr(attest.ENVELOPE, b"{}", compress_type=method)

    found = checking.verify(packed(bundle, change=change), {}, today=TODAY)
    assert (found.state, found.path) == ("broken", attest.ENVELOPE)
    assert found.detail == "neither stored nor deflated"


def test_a_small_zip_that_would_fill_the_memory(bundle: Path) -> None:
    """48 MiB of empty lists are 50 KB packed, and more than a gigabyte once they are read."""
    path, body = bundle / "records.jsonl", b'{"type":"x","a":[' + b"[]," * (1 << 24) + b"[]]}"
    path.write_bytes(b"%08x %s\n" % (zlib.crc32(body), body))
    about = json.loads((bundle / manifest.MANIFEST).read_bytes())["about"]
    manifest.write(bundle, about, frozenset({attest.ENVELOPE}))
    with zipfile.ZipFile(bundle.parent / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(bundle.iterdir()):
            archive.write(file, file.name)
    assert refused(bundle) == (1, "too_large", "records.jsonl")
    assert refused(bundle.parent / "bomb.zip") == (1, "too_large", "records.jsonl")


def test_a_zip_whose_places_lie_outside(bundle: Path) -> None:
    """Every bit of its list of entries: none ends in an error of Python's."""
    path = packed(bundle)
    whole = path.read_bytes()
    start = whole.index(b"PK\1\2")
    for place in range(start, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
        with contextlib.suppress(content.BrokenError, SpecError):
            content.read(path)
