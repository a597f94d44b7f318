"""What is no bundle, or one that plays tricks: refused with its reason, and nothing changed."""

import json
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.bundle import attest, content
from harness.bundle import create as making
from harness.bundle import verify as checking
from harness.cli import cli
from harness.errors import HarnessError, SpecError
from harness.kit import manifest
from harness.kit.manifest import MANIFEST
from tests.bundle.conftest import TODAY
from tests.conftest import tree


def refused(path: Path) -> tuple[int, str, str]:
    """Exit code, reason and path that `bundle verify --json` gives; nothing may change."""
    before = tree(path.parent)
    done = CliRunner().invoke(cli, ["bundle", "verify", str(path), "--json"])
    assert tree(path.parent) == before
    assert not isinstance(done.exception, Exception) or isinstance(done.exception, SpecError)
    if isinstance(done.exception, SpecError):
        return int(done.exception.exit_code), done.exception.reason, ""
    said = json.loads(done.stdout)
    return done.exit_code, said["reason"], said["path"]


def listing(folder: Path, change) -> None:
    """Write the manifest again with its files changed, sorted as they have to be."""
    path = folder / MANIFEST
    value = json.loads(path.read_bytes())
    change(value["files"])
    value["files"].sort(key=lambda entry: entry["path"])
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


NAMES = [
    "../records.jsonl",
    "/etc/passwd",
    "a/../../x",
    "..\\x",
    "C:\\x",
    "C:x",
    "CON",
    "aux.txt",
    "scorecard.json.",
    "scorecard.json ",
    "./scorecard.json",
    "scorecard.json::$DATA",
    "ｓcorecard.json",
    "scοrecard.json",
    "re\u0301cords.jsonl",
    "SCORECARD.JSON",
    "a\u202eb",
    "a\nb",
    "",
    ".",
    "report.html",
    MANIFEST,
    attest.ENVELOPE,
]


@pytest.mark.parametrize("name", NAMES)
def test_names_in_the_manifest(bundle: Path, name: str) -> None:
    entry = {"path": name, "size_bytes": 0, "sha256": "0" * 64}
    listing(bundle, lambda files: files.append(entry))
    code, reason, _ = refused(bundle)
    assert (code, reason) == (1, "manifest_broken")


@pytest.mark.parametrize("name", ["ｓcorecard.json", "SCORECARD.JSON", "report.html", "x\ny"])
def test_names_in_the_folder(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"{}")
    code, reason, path = refused(bundle)
    assert (code, reason) == (1, "manifest_broken")
    assert path in {name, ascii(name)}


def test_a_part_that_no_bundle_has_is_refused_even_where_it_is_listed(bundle: Path) -> None:
    (bundle / "report.html").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    entry = {"path": "report.html", "size_bytes": 0, "sha256": empty}
    listing(bundle, lambda files: files.append(entry))
    assert refused(bundle) == (1, "manifest_broken", "report.html")


@pytest.mark.parametrize("name", [MANIFEST, attest.ENVELOPE])
def test_keys_that_are_there_twice(bundle: Path, name: str) -> None:
    path = bundle / name
    text = path.read_text("utf-8")
    first = '"format"' if name == MANIFEST else '"payload"'
    assert first in text
    path.write_text(text.replace(first, f"{first}: 0, {first}", 1), "utf-8")
    wanted = "manifest_broken" if name == MANIFEST else "bad_signature"
    assert refused(bundle) == (1, wanted, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "NaN",
        '{"format": 2, "about": {}, "files": []}',
        '{"format": 1, "about": {"kind": "bundle", "x": NaN}, "files": []}',
        '{"format": 1, "about": {"kind": "bundle", "x": "\\ud800"}, "files": []}',
        '{"format": 1, "about": {"kind": "bundle"}, "files": {}}',
        "[" * 100_000,
        '{"format": 1, "about": {"kind": "bundle", "x": '
        + "[" * 900
        + "]" * 900
        + '}, "files": []}',
        '{"format": 1, "about": {"kind": "bundle"}, "files": []}',
        " " * (2 << 20),
    ],
)
def test_manifests_of_another_form(bundle: Path, text: str) -> None:
    (bundle / MANIFEST).write_text(text, "utf-8")
    code, reason, _ = refused(bundle)
    assert (code, reason) == (1, "manifest_broken")


def hard_link(path: Path) -> None:
    os.link(path, path.parent.parent / "elsewhere")


def link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def device(path: Path) -> None:
    path.unlink()
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")


def sparse(path: Path) -> None:
    os.truncate(path, 100 << 30)


@pytest.mark.skipif(os.name == "nt", reason="made as POSIX makes them")
@pytest.mark.parametrize("name", ["records.jsonl", MANIFEST, attest.ENVELOPE])
@pytest.mark.parametrize("change", [hard_link, link, folder_instead, fifo, device, sparse])
def test_what_is_no_plain_file(bundle: Path, name: str, change) -> None:
    change(bundle / name)
    code, reason, path = refused(bundle)
    wanted = {
        "records.jsonl": "too_large" if change is sparse else "manifest_broken",
        MANIFEST: "manifest_broken",
        attest.ENVELOPE: "bad_signature",
    }[name]
    assert (code, reason, path) == (1, wanted, name)


def test_a_million_entries_end_at_the_first_that_is_unknown(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    lstat = os.lstat
    monkeypatch.setattr(content.os, "lstat", lambda path: looked.append(path) or lstat(path))
    for number in range(3000):
        (bundle / f"{number}").touch()
    found = checking.verify(bundle, {}, today=TODAY)
    assert (found.state, found.reason) == ("broken", "manifest_broken")
    assert len(looked) <= 1010


def test_deep_nesting_in_a_record(bundle: Path) -> None:
    """A line with a checksum that fits, as only a forger writes it."""
    body = b'{"type":"x","a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    data = b"%08x %s\n" % (zlib.crc32(body), body)
    (bundle / "records.jsonl").write_bytes(data)
    about = json.loads((bundle / MANIFEST).read_bytes())["about"]
    manifest.write(bundle, about, frozenset({attest.ENVELOPE}))
    assert refused(bundle) == (1, "records_damaged", "records.jsonl")


@pytest.mark.parametrize("command", ["verify", "sign", "create", "report"])
def test_a_name_that_is_too_long_is_no_bug(made: Path, tmp_path: Path, command: str) -> None:
    name = str(tmp_path / ("a" * 5000))
    words = {
        "verify": ["bundle", "verify", name],
        "sign": ["bundle", "sign", name, "--key", str(made / "jury.key")],
        "create": ["bundle", "create", str(made / "run"), "--to", name],
        "report": ["report", name],
    }[command]
    done = CliRunner().invoke(cli, words)
    assert isinstance(done.exception, HarnessError)
    assert list(tmp_path.iterdir()) == []


def test_what_takes_long_is_announced(
    bundle: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["bundle", "verify", str(bundle), "--keys", str(made / "jury.pub")]
    said = "records and building the scorecard again"
    assert said not in CliRunner().invoke(cli, words).output
    monkeypatch.setattr("harness.cli_bundle._MANY_RECORDS", 1)
    assert said in CliRunner().invoke(cli, words).stderr
    assert said not in CliRunner().invoke(cli, [*words, "--json"]).output


@pytest.mark.parametrize("name", ["nothing", "run.tar", "notes.txt", "empty.zip", "other.zip"])
def test_what_is_no_bundle_at_all(bundle: Path, name: str) -> None:
    path = bundle.parent / name
    if name.endswith(".tar"):
        with tarfile.open(path, "w") as archive:
            archive.add(bundle, "bundle")
    elif name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            if name == "other.zip":
                archive.writestr("a/readme.txt", "no bundle")
    elif name != "nothing":
        path.write_text("no bundle")
    assert refused(path) == (2, "not_a_bundle", "")


# --- a bundle in one file -----------------------------------------------------------------


def packed(bundle: Path, *, top: str = "", change=lambda archive: None) -> Path:
    """A .zip of a bundle, as a zip program makes it, with something more."""
    path = bundle.parent / "bundle.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(bundle.iterdir()):
            archive.write(file, top + file.name)
        change(archive)
    return path


@pytest.mark.parametrize("top", ["", "my-result/"])
def test_a_zip_is_verified_as_its_folder(bundle: Path, trusted, top: str) -> None:
    found = checking.verify(packed(bundle, top=top), trusted, today=TODAY)
    assert found == checking.verify(bundle, trusted, today=TODAY)
    assert found.state == "verified"


def test_a_zip_is_made_and_signed(made: Path, tmp_path: Path, trusted) -> None:
    path = making.create(made / "run", tmp_path / "mine.zip").path
    again = making.create(made / "run", tmp_path / "again.zip").path
    assert path.read_bytes() == again.read_bytes()
    checking.sign(path, made / "startup.key")
    checking.sign(path, made / "jury.key")
    found = checking.verify(path, trusted, today=TODAY)
    assert (found.state, found.signers) == ("verified", ("jury", "startup"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.zip", "mine.zip"]


def entry(name: str, data: bytes = b"x", mode: int = 0):
    def change(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, data)

    return change


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (entry("../evil"), "manifest_broken"),
        (entry("/evil"), "manifest_broken"),
        (entry("..\\evil"), "manifest_broken"),
        (entry("records.jsonl"), "manifest_broken"),
        (entry("sub/records.jsonl"), "manifest_broken"),
        (entry("link", b"/etc/passwd", stat.S_IFLNK | 0o777), "manifest_broken"),
        (entry("__MACOSX/._records.jsonl"), "manifest_broken"),
    ],
)
def test_tricks_in_a_zip(bundle: Path, change, reason: str) -> None:
    assert refused(packed(bundle, change=change))[:2] == (1, reason)


def test_a_link_in_place_of_a_part(bundle: Path) -> None:
    (bundle / attest.ENVELOPE).unlink()
    (bundle / "sbom.cdx.json").unlink()
    change = entry("sbom.cdx.json", b"/etc/passwd", stat.S_IFLNK | 0o777)
    assert refused(packed(bundle, change=change)) == (1, "manifest_broken", "sbom.cdx.json")


def test_a_zip_bomb_is_never_unpacked(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MOST_BYTES", 1 << 26)  # a whole GiB takes long to pack
    (bundle / "sbom.cdx.json").unlink()
    path = bundle.parent / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(bundle.iterdir()):
            archive.write(file, file.name)
        with archive.open("sbom.cdx.json", "w", force_zip64=True) as file:
            for _ in range(65):
                file.write(bytes(1 << 20))
    assert refused(path) == (1, "too_large", "sbom.cdx.json")


def test_a_zip_of_a_million_entries_is_not_listed(bundle: Path) -> None:
    def many(archive: zipfile.ZipFile) -> None:
        for number in range(2000):
            archive.writestr(f"{number:06d}", b"")

    code, reason, path = refused(packed(bundle, change=many))
    assert (code, reason, path) == (1, "archive_broken", "bundle.zip")


def test_a_flipped_zip_is_broken_or_holds_the_same_files(bundle: Path, trusted) -> None:
    """Dates and the like of the .zip itself are no part of the bundle."""
    path = packed(bundle)
    whole, files = path.read_bytes(), content.read(path).files
    for place in range(0, len(whole), len(whole) // 80):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        code, reason, _ = refused(path)
        if code == 5:
            assert content.read(path).files == files
        else:
            reasons = {"archive_broken", "manifest_broken", "bad_signature", "not_a_bundle"}
            assert reason in reasons, place
    path.write_bytes(whole[: len(whole) // 2])
    assert refused(path) == (2, "not_a_bundle", "")


def test_a_report_of_a_bundle_lies_beside_it(bundle: Path, made: Path, tmp_path: Path) -> None:
    before = tree(bundle)
    command = ["report", str(bundle), "--keys", str(made / "jury.pub"), "--format", "markdown"]
    done = CliRunner().invoke(cli, [*command, "--lang", "en"])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "bundle.report" / "scorecard.md").read_text("utf-8")
    assert "Signature of jury checked" in text
    assert tree(bundle) == before
    assert CliRunner().invoke(cli, ["score", str(bundle)]).exit_code == 0
    assert tree(bundle) == before
    done = CliRunner().invoke(cli, ["report", str(bundle), "--format", "markdown", "--lang", "ko"])
    text = (tmp_path / "bundle.report" / "scorecard.md").read_text("utf-8")
    assert "평가자의 검증을 받지 않은 결과입니다" in text
    shutil.rmtree(tmp_path / "bundle.report")
    (bundle / "sbom.cdx.json").write_text("{}")
    done = CliRunner().invoke(cli, ["report", str(bundle)])
    assert isinstance(done.exception, SpecError)
    assert done.exception.reason == "bundle_broken"
    assert not (tmp_path / "bundle.report").exists()
