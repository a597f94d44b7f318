"""What goes into a bundle, and what keeps one from being made."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness import privacy
from harness.bundle import create as making
from harness.errors import HarnessError, SpecError
from harness.kit.manifest import MANIFEST
from harness.records import JournalWriter
from tests.bundle.conftest import small_run


def run_with(folder: Path, text: str, *, hidden=None) -> Path:
    """A run whose device carries a text of somebody."""
    records = small_run()
    for record in records:
        if record["type"] == "run":
            record["device"] = {**record["device"], "note": text}
    folder.mkdir()
    journal = JournalWriter(folder / "records.jsonl", hidden=hidden)
    journal.append(*records)
    journal.close()
    return folder


def test_what_is_inside(made: Path) -> None:
    names = sorted(path.name for path in (made / "unsigned").iterdir())
    assert names == [MANIFEST, "ledger.jsonl", "records.jsonl", "sbom.cdx.json", "scorecard.json"]
    about = json.loads((made / "unsigned" / MANIFEST).read_bytes())["about"]
    assert about["kind"] == "bundle"
    assert (about["attempt"]["number"], about["attempt"]["of"]) == (1, 1)
    assert len(about["attempt"]["ledger"]) == 64
    assert about["scored"]
    bom = json.loads((made / "unsigned" / "sbom.cdx.json").read_bytes())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert any(part["purl"].startswith("pkg:pypi/numpy@") for part in bom["components"])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("/home/kim/models/x.gguf", "path"),
        (r"C:\Users\kim\x.gguf", "path"),
        (r"\\fileserver\share", "path"),
        (r"D:\models\kim\x.gguf", "path"),
        ("/data/kim/x.gguf", "path"),
        ("/opt/kim/x.gguf", "path"),
        ("file:///home/kim/x.gguf", "path"),
        ("/home/김하늘/x.gguf", "path"),
        ("made by haneul on the gram", "user name"),
        ("measured on GRAM-OF-KIM", "host name"),
        ("at 3c:52:82:aa:bb:cc", "network address"),
    ],
)
def test_private_data_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, kind: str
) -> None:
    monkeypatch.setattr(privacy.getpass, "getuser", lambda: "haneul")
    monkeypatch.setattr(privacy.socket, "gethostname", lambda: "gram-of-kim.example.org")
    monkeypatch.setattr(privacy.uuid, "getnode", lambda: 0x3C5282AABBCC)
    run = run_with(tmp_path / "run", text)
    with pytest.raises(SpecError, match=f"records.jsonl:1: a {kind}") as caught:
        making.create(run, tmp_path / "bundle")
    assert caught.value.reason == "private_data"
    assert not (tmp_path / "bundle").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_name_that_everybody_has_is_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy.getpass, "getuser", lambda: "user")
    making.create(run_with(tmp_path / "run", "what a user feels"), tmp_path / "bundle")


def test_folders_are_named_by_what_they_are(tmp_path: Path) -> None:
    hidden = privacy.folders([tmp_path / "secret"])
    run = run_with(
        tmp_path / "run", f"{tmp_path / 'secret' / 'x.gguf'} {Path.home()}/y", hidden=hidden
    )
    text = (run / "records.jsonl").read_text("utf-8")
    assert "<model>/x.gguf <home>/y" in text
    assert str(tmp_path) not in text
    making.create(run, tmp_path / "bundle")


def test_there_already(made: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("bundle").mkdir()
    with pytest.raises(HarnessError, match="there already") as caught:
        making.create(made / "run", tmp_path / "bundle")
    assert caught.value.exit_code == 3


def test_the_commands(made: Path, tmp_path: Path) -> None:
    def harness(*words: object) -> tuple[int, str]:
        command = [sys.executable, "-m", "harness", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    bundle = tmp_path / "bundle"
    code, said = harness("bundle", "keygen", tmp_path / "jury", "--role", "evaluator")
    assert (code, "keep it secret" in said) == (0, True)
    assert harness("bundle", "create", made / "run", "--to", bundle)[0] == 0
    code, said = harness("bundle", "verify", bundle, "--keys", tmp_path / "jury.pub")
    assert (code, said.splitlines()[0]) == (5, "unverified (not_signed): nobody has signed it")
    assert harness("bundle", "sign", bundle, "--key", tmp_path / "jury.key")[0] == 0
    code, said = harness("bundle", "verify", bundle, "--keys", tmp_path / "jury.pub", "--json")
    # The golden run was measured before this key was made.
    assert (code, json.loads(said)["reason"]) == (5, "key_expired")
    (bundle / "sbom.cdx.json").write_text("{}")
    code, said = harness("bundle", "verify", bundle, "--keys", tmp_path / "jury.pub")
    assert (code, said.partition("sbom")[0]) == (1, "broken (manifest_broken): ")
    code, said = harness("bundle", "verify", tmp_path)
    assert (code, "not a bundle" in said) == (2, True)
