"""Files of trusted keys, and signed lists of those that were revoked."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.bundle import attest, keys, trust
from harness.bundle import verify as checking
from harness.cli import cli
from harness.errors import HarnessError, SpecError
from harness.spec import canonical
from tests.bundle.conftest import TODAY
from tests.bundle.test_verify import verdict


def test_a_revoked_key(bundle: Path, made: Path, tmp_path: Path) -> None:
    public = json.loads((made / "jury.pub").read_bytes())
    revoked = {
        "format": 1,
        "keys": [],
        "revoked": [{"id": public["keys"][0]["id"], "reason": "stolen"}],
    }
    (tmp_path / "revoked.json").write_text(json.dumps(revoked))
    found = verdict(bundle, trust.load_trusted([tmp_path / "revoked.json", made / "jury.pub"]))
    assert (found.state, found.reason) == ("unverified", "key_revoked")
    assert "stolen" in found.detail


def test_keys_are_refused_with_their_reason(made: Path, tmp_path: Path) -> None:
    with pytest.raises(HarnessError) as caught:
        keys.load_private(made / "jury.pub")
    assert caught.value.reason == "bad_key"
    with pytest.raises(HarnessError) as caught:
        keys.load_private(tmp_path / "none.key")
    assert (caught.value.reason, caught.value.exit_code) == ("key_missing", 3)
    public = json.loads((made / "jury.pub").read_bytes())
    for change in ({"role": "king"}, {"id": "0" * 64}, {"valid_until": "2020-01-01"}, {"extra": 1}):
        (tmp_path / "bad.pub").write_text(
            json.dumps({"format": 1, "keys": [public["keys"][0] | change]})
        )
        with pytest.raises(SpecError) as caught:
            trust.load_trusted([tmp_path / "bad.pub"])
        assert caught.value.reason == "bad_trust_file"


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.update(reason=""),
        lambda entry: entry.update(reason=" "),
        lambda entry: entry.update(reason=None),
        lambda entry: entry.update(id=entry["id"][:12]),
        lambda entry: entry.update(id=entry["id"].upper()),
        lambda entry: entry.update(id=None),
        lambda entry: entry.pop("reason"),
    ],
)
def test_a_revocation_that_would_revoke_nothing(made: Path, tmp_path: Path, change) -> None:
    entry = {"id": json.loads((made / "jury.pub").read_bytes())["keys"][0]["id"], "reason": "lost"}
    change(entry)
    path = tmp_path / "revoked.json"
    path.write_text(json.dumps({"format": 1, "keys": [], "revoked": [entry]}))
    with pytest.raises(SpecError) as caught:
        trust.load_trusted([made / "jury.pub", path])
    assert caught.value.reason == "bad_trust_file"


@pytest.mark.parametrize("head", ['"format": 2', '"format": true', '"format": 1.0'])
def test_a_trust_file_of_another_format(tmp_path: Path, head: str) -> None:
    (tmp_path / "a.pub").write_text(f'{{{head}, "keys": []}}')
    with pytest.raises(SpecError, match="format") as caught:
        trust.load_trusted([tmp_path / "a.pub"])
    assert caught.value.reason == "bad_trust_file"


def test_a_list_of_revoked_keys_that_is_there_twice(made: Path, tmp_path: Path) -> None:
    name = json.loads((made / "jury.pub").read_bytes())["keys"][0]["id"]
    revoked = json.dumps([{"id": name, "reason": "stolen"}])
    path = tmp_path / "revoked.json"
    path.write_text(f'{{"format": 1, "keys": [], "revoked": {revoked}, "revoked": []}}')
    with pytest.raises(SpecError, match="there twice"):
        trust.load_trusted([path])


def test_a_revoked_evaluator_beside_a_startup(bundle: Path, made: Path, tmp_path: Path) -> None:
    """What is said is why the evaluator does not count."""
    checking.sign(bundle, made / "startup.key")
    name = json.loads((made / "jury.pub").read_bytes())["keys"][0]["id"]
    path = tmp_path / "revoked.json"
    value = {"format": 1, "keys": [], "revoked": [{"id": name, "reason": "stolen"}]}
    path.write_text(json.dumps(value))
    known = trust.load_trusted([made / "jury.pub", made / "startup.pub", path])
    found = checking.verify(bundle, known, today=TODAY)
    assert (found.state, found.reason) == ("unverified", "key_revoked")


# --- signed lists of revoked keys ------------------------------------------------------------


def id_of(made: Path, name: str) -> str:
    found: str = json.loads((made / f"{name}.pub").read_bytes())["keys"][0]["id"]
    return found


def revoked_by(made: Path, signer: str, *names: str, to: Path) -> Path:
    trust.revoke({id_of(made, name): "stolen" for name in names}, made / f"{signer}.key", to)
    return to


def test_what_an_evaluator_revoked_counts_no_longer(
    bundle: Path, made: Path, tmp_path: Path
) -> None:
    known = [made / "jury.pub", made / "stranger.pub"]
    found = revoked_by(made, "stranger", "jury", to=tmp_path / "revoked.json")
    # Wherever the list is named: its signer may come behind it.
    for paths in ([*known, found], [found, *known]):
        said = verdict(bundle, trust.load_trusted(paths))
        assert (said.state, said.reason) == ("unverified", "key_revoked")
        assert "stolen" in said.detail
    assert verdict(bundle, trust.load_trusted(known)).state == "verified"


def test_a_list_grows(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "revoked.json"
    jury = id_of(made, "jury")
    assert trust.revoke({"a" * 64: "lost"}, made / "jury.key", path) == (jury, 1)
    assert trust.revoke({id_of(made, "startup"): "left"}, made / "jury.key", path) == (jury, 2)
    again = {id_of(made, "startup"): "another reason"}
    assert trust.revoke(again, made / "jury.key", path) == (jury, 2)
    known = trust.load_trusted([made / "jury.pub", made / "startup.pub", path])
    assert {key.name: key.revoked for key in known.values()} == {"jury": "", "startup": "left"}
    whole = path.read_bytes()
    with pytest.raises(SpecError, match="this key alone has signed") as caught:
        trust.revoke({"b" * 64: "lost"}, made / "stranger.key", path)
    assert caught.value.reason == "bad_trust_file"
    assert path.read_bytes() == whole


def test_who_signed_beside_a_revoked_key(bundle: Path, made: Path, tmp_path: Path) -> None:
    """What another evaluator signed stays verified; who was revoked is not named."""
    checking.sign(bundle, made / "stranger.key")
    checking.sign(bundle, made / "startup.key")
    public = [made / f"{name}.pub" for name in ("jury", "stranger", "startup")]
    whole = verdict(bundle, trust.load_trusted(public))
    assert (whole.state, whole.signers) == ("verified", ("jury", "startup", "stranger"))
    path = revoked_by(made, "jury", "stranger", "startup", to=tmp_path / "revoked.json")
    found = verdict(bundle, trust.load_trusted([*public, path]))
    assert (found.state, found.signers) == ("verified", ("jury",))


def test_every_signature_of_a_list_has_to_fit(made: Path, tmp_path: Path) -> None:
    """In whichever order the keys are named."""
    path = revoked_by(made, "stranger", "startup", to=tmp_path / "revoked.json")
    value = json.loads(path.read_bytes())
    other = json.loads((made / "bundle" / attest.ENVELOPE).read_bytes())
    value["signatures"] = [*value["signatures"], *other["signatures"]]
    value["signatures"].sort(key=lambda one: one["keyid"])
    path.write_bytes(canonical(value) + b"\n")
    for names in (("jury", "stranger"), ("stranger", "jury")):
        with pytest.raises(SpecError, match="does not fit"):
            trust.load_trusted([*(made / f"{name}.pub" for name in names), path])


def test_evaluators_who_revoke_each_other(made: Path, tmp_path: Path) -> None:
    one = revoked_by(made, "jury", "stranger", to=tmp_path / "one.json")
    other = revoked_by(made, "stranger", "jury", to=tmp_path / "other.json")
    known = trust.load_trusted([made / "jury.pub", made / "stranger.pub", one, other])
    assert [key.revoked for key in known.values()] == ["stolen", "stolen"]


def test_what_revokes_nothing_is_not_signed(made: Path, tmp_path: Path) -> None:
    path, plain = tmp_path / "revoked.json", tmp_path / "plain.json"
    both = [json.loads((made / f"{n}.pub").read_bytes())["keys"][0] for n in ("jury", "startup")]
    for found in ([], both):
        plain.write_text(json.dumps({"format": 1, "keys": found}))
        with pytest.raises(SpecError, match="one is meant") as caught:
            trust.key_of(str(plain))
        assert caught.value.reason == "bad_revocation"
    for text in ("A" * 64, "42ca2564"):
        with pytest.raises(SpecError, match="64 hex digits"):
            trust.key_of(text)
    for reason in ("", "\ud800", "two\nlines", "x" * 201):
        with pytest.raises(SpecError) as caught:
            trust.revoke({"a" * 64: reason}, made / "jury.key", path)
        assert caught.value.reason == "bad_revocation"
    many = {f"{number:064x}": "left the challenge" for number in range(4000)}
    with pytest.raises(SpecError, match="too large to be read again"):
        trust.revoke(many, made / "jury.key", path)
    assert not path.exists()


def test_what_stands_where_the_list_should(made: Path, tmp_path: Path) -> None:
    whole = revoked_by(made, "jury", "startup", to=tmp_path / "revoked.json")
    link = tmp_path / "link.json"
    link.symlink_to(whole)
    for path, reason, code in (
        (link, "bad_trust_file", 2),
        (made / "jury.pub", "bad_trust_file", 2),
        (tmp_path, "key_missing", 3),
        (tmp_path / ("x" * 300), "unwritable", 4),
    ):
        is_file = os.path.isfile(path)  # noqa: PTH113 - which never raises
        before = path.read_bytes() if is_file else b""
        with pytest.raises(HarnessError) as caught:
            trust.revoke({"a" * 64: "lost"}, made / "jury.key", path)
        assert (caught.value.reason, caught.value.exit_code) == (reason, code)
        assert "--to" in f"{caught.value.hint}" or is_file
        assert before == (path.read_bytes() if is_file else b"")


@pytest.mark.parametrize("signer", ["startup", "stranger"])
def test_whose_word_does_not_count(made: Path, tmp_path: Path, signer: str) -> None:
    """A startup's, a stranger's: a list that is passed over in silence would revoke nothing."""
    path = revoked_by(made, signer, "jury", to=tmp_path / "revoked.json")
    with pytest.raises(SpecError, match="no trusted evaluator has signed"):
        trust.load_trusted([made / "jury.pub", made / "startup.pub", path])


def test_a_key_that_was_revoked_revokes_no_other(made: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.json"
    entry = {"id": id_of(made, "stranger"), "reason": "stolen"}
    plain.write_text(json.dumps({"format": 1, "keys": [], "revoked": [entry]}))
    path = revoked_by(made, "stranger", "jury", to=tmp_path / "revoked.json")
    with pytest.raises(SpecError, match="no trusted evaluator has signed"):
        trust.load_trusted([made / "jury.pub", made / "stranger.pub", path, plain])


def test_every_flipped_bit_of_a_list_is_found(made: Path, tmp_path: Path) -> None:
    path = revoked_by(made, "stranger", "jury", to=tmp_path / "revoked.json")
    whole = path.read_bytes()
    for place in range(0, len(whole), 1 if os.environ.get("HARNESS_TESTS") == "full" else 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(SpecError) as caught:
            trust.load_trusted([made / "jury.pub", made / "stranger.pub", path])
        assert caught.value.reason == "bad_trust_file"


def test_a_signature_on_something_else_revokes_nothing(bundle: Path, made: Path) -> None:
    """A bundle's envelope, by an evaluator who is trusted."""
    with pytest.raises(SpecError, match="not a signed list of revoked keys"):
        trust.load_trusted([made / "jury.pub", bundle / attest.ENVELOPE])


def test_the_command(bundle: Path, made: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "revoked.json")
    words = ["bundle", "revoke", str(made / "jury.pub"), "--to", target]
    signed = [*words, "--key", str(made / "stranger.key"), "--reason", "the laptop was stolen"]
    done = CliRunner().invoke(cli, signed)
    assert done.exit_code == 0, done.output
    assert "revoked keys: 1" in done.output
    assert f"trusts key {id_of(made, 'stranger')[:12]} as an evaluator's" in done.output
    trusted = ["--keys", str(made / "jury.pub"), "--keys", str(made / "stranger.pub")]
    done = CliRunner().invoke(cli, ["bundle", "verify", str(bundle), *trusted, "--keys", target])
    assert done.exit_code == 5
    assert "the laptop was stolen" in done.output
    done = CliRunner().invoke(cli, [*words, "--key", str(made / "jury.key"), "--reason", " "])
    assert isinstance(done.exception, SpecError)
    assert (done.exception.reason, done.exception.exit_code) == ("bad_trust_file", 2), "another's"
    Path(target).unlink()
    done = CliRunner().invoke(cli, [*words, "--key", str(made / "jury.key"), "--reason", " "])
    assert isinstance(done.exception, SpecError)
    assert done.exception.reason == "bad_revocation"
    assert not Path(target).exists()
