"""Ed25519 keys: made, and read again."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.durable import make_folder, unwritable, write_new
from harness.errors import PrerequisiteError, SpecError, printable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Role = Literal["evaluator", "startup"]
FORMAT = 1
MOST_BYTES = 1 << 20


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
        key = load_pem_private_key(read(path), password=None)
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


def read(path: Path, *, hint: str = "harness bundle keygen NAME") -> bytes:
    """The bytes of a file of keys, which is small.

    Raises:
        PrerequisiteError: it cannot be read. SpecError: it is too large for one.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot read this file of keys: {error.strerror}",
            where=printable(str(path)),
            hint=hint,
            reason="key_missing",
        ) from error
    if len(data) > MOST_BYTES:
        raise SpecError(
            "too large for a file of keys",
            where=printable(str(path)),
            allowed="1 MiB",
            reason="bad_key",
        )
    return data
