"""Ed25519 keys, and the file of those that a verifier trusts.

A public key file and a trust file are the same thing with one key or several, so that
`--keys evaluators.json --keys startup.pub` needs no tool to put them together.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from harness.durable import make_folder, unwritable, write_new
from harness.errors import PrerequisiteError, SpecError, printable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Role = Literal["evaluator", "startup"]
FORMAT = 1
_MOST_BYTES = 1 << 20
_KEY_ID = re.compile(r"[0-9a-f]{64}")
_ASK = "ask for the .pub file of the key's owner; `harness bundle keygen NAME` makes your own"
_FIELDS = {"id", "name", "role", "public_key", "valid_from", "valid_until"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """Who may sign, and when.

    Attributes:
        id: sha256 of the raw key, in hex.
        role: an evaluator's signature verifies a result; a startup's only names who measured.
        raw: 32 bytes. valid_from, valid_until: first and last day, UTC.
        revoked: why the key counts no longer; empty = it counts.
    """

    id: str
    name: str
    role: Role
    raw: bytes
    valid_from: date
    valid_until: date
    revoked: str = ""


def generate(path: Path, *, name: str, role: Role, days: int, today: date) -> tuple[Path, Path]:
    """Write a new key pair: `PATH.key`, which only its owner can read, and `PATH.pub`.

    Raises:
        PrerequisiteError: a file of either name is there already.
        RecordError: a file cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private, public = path.with_name(f"{path.name}.key"), path.with_name(f"{path.name}.pub")
    for taken in (private, public):
        if taken.exists():
            raise PrerequisiteError(
                "a key is there already",
                where=printable(str(taken)),
                hint="choose another name; a key that is lost cannot be made again",
                reason="target_exists",
            )
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    entry = {
        "id": key_id(key.public_key().public_bytes_raw()),
        "name": name,
        "role": role,
        "public_key": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
        "valid_from": today.isoformat(),
        "valid_until": (today + timedelta(days=days)).isoformat(),
    }
    text = json.dumps({"format": FORMAT, "keys": [entry]}, indent=1, ensure_ascii=False)
    try:
        make_folder(private.parent)
        write_new(public, f"{text}\n".encode())
        try:
            write_new(private, secret, mode=0o600)
        except BaseException:
            public.unlink()
            raise
    except OSError as error:
        raise unwritable(
            private, error, "choose a NAME in a folder that you may write to"
        ) from error
    return private, public


def key_id(raw: bytes) -> str:
    """sha256 of a raw public key, in hex."""
    return hashlib.sha256(raw).hexdigest()


def load_private(path: Path) -> Ed25519PrivateKey:
    """A private key out of its PEM file.

    Raises:
        PrerequisiteError: the file is missing. SpecError: it is not an Ed25519 key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SpecError(
            "not a private Ed25519 key without a password",
            where=printable(str(path)),
            allowed="a .key file of `harness bundle keygen`",
            hint="harness bundle keygen NAME",
            reason="bad_key",
        )
    return key


def load_trusted(paths: Sequence[Path]) -> dict[str, PublicKey]:
    """Public keys by id; a key that one file revokes is revoked whatever the others say.

    Raises:
        PrerequisiteError: a file is missing. SpecError: it is not a trust file.
    """
    keys: dict[str, PublicKey] = {}
    revoked: dict[str, str] = {}
    for path in paths:
        try:
            _take(json.loads(_read(path, hint=_ASK), object_pairs_hook=_once), keys, revoked)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise SpecError(
                f"not a file of trusted keys: {printable(str(error))}",
                where=printable(str(path)),
                allowed="a .pub file of `harness bundle keygen`, or several (docs/bundles.md)",
                reason="bad_trust_file",
            ) from error
    return {
        name: PublicKey(**{**_fields(key), "revoked": revoked.get(name, "")})
        for name, key in keys.items()
    }


def _take(data: Mapping[str, Any], keys: dict[str, PublicKey], revoked: dict[str, str]) -> None:
    """Add what one trust file says.

    Raises:
        ValueError, KeyError, TypeError: it is not one.
    """
    if type(data["format"]) is not int or data["format"] != FORMAT:
        raise ValueError(f"format {data['format']!r}, known is {FORMAT}")
    if others := data.keys() - {"format", "keys", "revoked"}:
        raise ValueError(f"fields that are not known: {', '.join(sorted(others))}")
    for entry in data["keys"]:
        key = _public(entry)
        if keys.setdefault(key.id, key) != key:
            raise ValueError(f"key {key.id[:12]} is there twice, and differs")
    for entry in data.get("revoked", ()):
        # One that is shortened or misspelt would revoke nothing, and nobody would know.
        if not isinstance(entry["id"], str) or not _KEY_ID.fullmatch(entry["id"]):
            raise ValueError("the id of a revoked key is its 64 hex digits, in lower case")
        if not isinstance(entry["reason"], str) or not entry["reason"].strip():
            raise ValueError(f"key {entry['id'][:12]} is revoked without a reason")
        revoked[entry["id"]] = entry["reason"]


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object no key of which is there twice: of two lists the first would be passed over.

    Raises:
        ValueError: one is.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key of an object is there twice")
    return found


def _fields(key: PublicKey) -> dict[str, Any]:
    return {name: getattr(key, name) for name in PublicKey.__slots__}


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


def _read(path: Path, *, hint: str = "harness bundle keygen NAME") -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot read the key: {error.strerror}",
            where=printable(str(path)),
            hint=hint,
            reason="key_missing",
        ) from error
    if len(data) > _MOST_BYTES:
        raise SpecError(
            "too large for a key", where=printable(str(path)), allowed="1 MiB", reason="bad_key"
        )
    return data
