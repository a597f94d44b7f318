"""Whom a verifier trusts: files of public keys, and signed lists of those that were revoked.

A public key file and a trust file are the same thing with one key or several, so that
`--keys evaluators.json --keys startup.pub` needs no tool to put them together. A list of revoked
keys is named in the same way, and counts if an evaluator who is trusted has signed it.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from harness.bundle import attest
from harness.bundle.keys import FORMAT, MOST_BYTES, PublicKey, Role, key_id, load_private, read
from harness.durable import write_whole
from harness.errors import RecordError, SpecError, printable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

REVOCATION_TYPE = "urn:sllm-harness:revocation:v1"
"""Predicate of a list of revoked keys. Its subjects are the keys: an id is a sha256."""
_KEY_ID = re.compile(r"[0-9a-f]{64}")
_NEARLY_ID = re.compile(r"[0-9a-fA-F]{8,}")
_MOST_CHARS = 200
_ASK = "ask for the .pub file of the key's owner; `harness bundle keygen NAME` makes your own"
_FIELDS = {"id", "name", "role", "public_key", "valid_from", "valid_until"}
_STRANGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading a file that is none of ours may raise."""


def load_trusted(paths: Sequence[Path]) -> dict[str, PublicKey]:
    """Public keys by id; a key that one file revokes is revoked whatever the others say.

    Raises:
        PrerequisiteError: a file is missing.
        SpecError: it is no trust file, or a list of revoked keys that nobody who is trusted has
            signed (`bad_trust_file`).
    """
    keys: dict[str, PublicKey] = {}
    revoked: dict[str, str] = {}
    lists: list[tuple[Path, bytes]] = []
    for path in paths:
        data = read(path, hint=_ASK)
        try:
            found = json.loads(data, object_pairs_hook=_once)
            if isinstance(found, dict) and "payload" in found:
                lists.append((path, data))
            else:
                _take(found, keys, revoked)
        except _STRANGE as error:
            raise _refused(path, f"not a file of trusted keys: {error}") from error
    # Once all keys are known; one that was revoked revokes no other.
    evaluators = [key for key in keys.values() if key.role == "evaluator" and key.id not in revoked]
    for path, data in lists:
        revoked |= _signed(path, data, evaluators)
    return {name: replace(key, revoked=revoked.get(name, "")) for name, key in keys.items()}


class Revoked(NamedTuple):
    """A list that was signed: by which key's id, and how many keys it revokes."""

    signer: str
    keys: int


def revoke(wanted: Mapping[str, str], key: Path, path: Path) -> Revoked:
    """Sign a list of revoked keys; those that it has already stay in it, with their reasons.

    Args:
        wanted: reasons by the keys' ids.
        key: file of the evaluator's private key. path: the list, new or signed by this key.

    Raises:
        PrerequisiteError: a file is missing. RecordError: it cannot be written.
        SpecError: an id or a reason is none, or the list becomes too long (`bad_revocation`); or
            the list there is not this key's alone (`bad_trust_file`).
    """
    secret, entries = load_private(key), dict(wanted)
    own = _own(secret)
    if os.path.lexists(path):
        data = read(path, hint="choose a new file with --to")
        entries |= _signed(path, data, [own], "not a list that this key alone has signed")
        if path.is_symlink() or attest.signers(data) != (own.id,):
            raise _refused(path, "not a list that this key alone has signed")
    try:
        for name, reason in entries.items():
            _check_revocation(name, reason)
    except ValueError as error:
        raise _no_revocation(str(error)) from None
    signed = attest.sign(_statement(entries), secret)
    if len(signed) > MOST_BYTES:
        raise _no_revocation(f"with {len(entries)} keys the list is too large to be read again")
    try:
        write_whole(path, signed)
    except RecordError as error:
        error.hint = "choose a file that you may write to with --to"
        raise
    return Revoked(own.id, len(entries))


def key_of(text: str) -> str:
    """The id that a user means: itself, or that of a .pub file.

    Raises:
        PrerequisiteError: the file is missing. SpecError: it is not one key.
    """
    if _KEY_ID.fullmatch(text):
        return text
    if _NEARLY_ID.fullmatch(text) and not os.path.lexists(text):
        raise _no_revocation("the id of a key is its 64 hex digits, in lower case")
    found = list(load_trusted([Path(text)]))
    if len(found) != 1:
        raise _no_revocation(f"{printable(text)}: {len(found)} keys are in it, one is meant")
    return found[0]


def _statement(revoked: Mapping[str, str]) -> dict[str, Any]:
    """The in-toto statement of a list of revoked keys."""
    names = sorted(revoked)
    return {
        "_type": attest.STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": name}} for name in names],
        "predicateType": REVOCATION_TYPE,
        "predicate": {"revoked": [{"id": name, "reason": revoked[name]} for name in names]},
    }


def _signed(
    path: Path,
    data: bytes,
    evaluators: Sequence[PublicKey],
    unsigned: str = "a list of revoked keys that no trusted evaluator has signed",
) -> dict[str, str]:
    """Reasons by the ids of the keys that a signed list revokes.

    Raises:
        SpecError: none of these keys has signed it (then `unsigned` is said), one of their
            signatures does not fit, or it is no such list.
    """
    try:
        names = attest.signers(data)
        statements = [attest.verify(data, key) for key in evaluators if key.id in names]
        if not statements:
            raise _refused(path, unsigned)
        said = statements[0]
        found = {entry["id"]: entry["reason"] for entry in said["predicate"]["revoked"]}
        if not found:
            raise ValueError("it revokes no key")
        for name, reason in found.items():
            _check_revocation(name, reason)
        if said != _statement(found):
            raise ValueError("it says something else, too")
    except (attest.SignatureRefusedError, *_STRANGE) as error:
        raise _refused(path, f"not a signed list of revoked keys: {error}") from error
    return found


def _own(secret: Ed25519PrivateKey) -> PublicKey:
    """The public half of a key, for reading what it has signed."""
    raw = secret.public_key().public_bytes_raw()
    return PublicKey(
        id=key_id(raw),
        name="",
        role="evaluator",
        raw=raw,
        valid_from=date.min,
        valid_until=date.max,
    )


def _no_revocation(why: str) -> SpecError:
    return SpecError(
        why,
        allowed="the .pub file of a key, or its id, and a reason in one short line",
        hint="harness bundle revoke KEY.pub --reason WHY --key EVALUATOR.key --to revoked.json",
        reason="bad_revocation",
    )


def _refused(path: Path, why: str) -> SpecError:
    return SpecError(
        printable(why)[:_MOST_CHARS],
        where=printable(str(path)),
        allowed="a .pub file of `harness bundle keygen`, several in one, or a list of "
        "`harness bundle revoke` (docs/bundles.md)",
        reason="bad_trust_file",
    )


def _take(data: Mapping[str, Any], keys: dict[str, PublicKey], revoked: dict[str, str]) -> None:
    """Add what one trust file says.

    Raises:
        ValueError, KeyError, TypeError: it is not one.
    """
    if not isinstance(data, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - as all that is wrong with a file
    if type(data["format"]) is not int or data["format"] != FORMAT:
        raise ValueError(f"format {data['format']!r}, known is {FORMAT}")
    if others := data.keys() - {"format", "keys", "revoked"}:
        raise ValueError(f"fields that are not known: {', '.join(sorted(others))}")
    if not all(isinstance(data.get(name, []), list) for name in ("keys", "revoked")):
        raise ValueError("keys and revoked are lists")
    for entry in data["keys"]:
        key = _public(entry)
        if keys.setdefault(key.id, key) != key:
            raise ValueError(f"key {key.id[:12]} is there twice, and differs")
    for entry in data.get("revoked", ()):
        _check_revocation(entry["id"], entry["reason"])
        revoked[entry["id"]] = entry["reason"]


def _check_revocation(name: object, reason: object) -> None:
    """Refuse one that would revoke nothing, so that nobody knew.

    Raises:
        ValueError: the id is shortened or misspelt, or there is no reason.
    """
    if not isinstance(name, str) or not _KEY_ID.fullmatch(name):
        raise ValueError("the id of a revoked key is its 64 hex digits, in lower case")
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError(f"key {name[:12]} is revoked without a reason")
    if not reason.isprintable() or len(reason) > _MOST_CHARS:
        raise ValueError(f"a reason is one line of at most {_MOST_CHARS} characters")


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object no key of which is there twice: of two lists the first would be passed over.

    Raises:
        ValueError: one is.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key of an object is there twice")
    return found


def _public(entry: Mapping[str, Any]) -> PublicKey:
    """One key; every field has to be there and to be sound.

    Raises:
        ValueError, KeyError, TypeError: it is not.
    """
    if entry.keys() != _FIELDS:
        raise ValueError(f"a key has the fields {sorted(_FIELDS)}")
    raw = base64.b64decode(entry["public_key"], validate=True)
    if len(raw) != 32 or entry["id"] != key_id(raw):
        raise ValueError("a key's id is not the sha256 of its 32 bytes")
    if entry["role"] not in get_args(Role):
        raise ValueError(f"role {entry['role']!r}; allowed: {', '.join(get_args(Role))}")
    first, last = (date.fromisoformat(entry[name]) for name in ("valid_from", "valid_until"))
    if last < first:
        raise ValueError("valid_until is before valid_from")
    return PublicKey(
        id=entry["id"],
        name=str(entry["name"])[:120],
        role=entry["role"],
        raw=raw,
        valid_from=first,
        valid_until=last,
    )
