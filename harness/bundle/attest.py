"""Signing a manifest: an in-toto statement in a DSSE envelope, by securesystemslib.

The bytes that were signed are verified before they are parsed, and what is parsed are those
bytes: nothing is serialised again in between (DSSE v1, PAE).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.spec import canonical

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from harness.bundle.keys import PublicKey

ENVELOPE = "attestation.dsse.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
_RESULTS = {"valid": "PASSED", "warn": "WARNED"}

Json = dict[str, Any]


class SignatureRefusedError(HarnessError):
    """An envelope that is not one, or a signature that does not fit."""

    default_reason = "bad_signature"


def statement(about: Mapping[str, Any], manifest_sha256: str) -> Json:
    """The in-toto statement: the manifest and the model files it speaks of, and the result.

    Test Result predicate v0.1: `result`, `configuration`, and the entries that have a score.
    """
    models = about["models"]
    subjects = [{"name": "MANIFEST.json", "digest": {"sha256": manifest_sha256}}]
    subjects += [
        {"name": f"{model}/{file}", "digest": {"sha256": digest}}
        for model, files in sorted(models.items())
        for file, digest in sorted(files.items())
    ]
    scored, verdict = about["scored"], about["verdict"]
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "result": _RESULTS.get(verdict, "FAILED"),
            "configuration": [
                {
                    "name": f"profile {about['profile']['id']} v{about['profile']['version']}",
                    "digest": {"sha256": about["profile"]["sha256"]},
                }
            ],
            "passedTests": scored if verdict == "valid" else [],
            "warnedTests": scored if verdict == "warn" else [],
            "failedTests": sorted(models.keys() - set(scored)),
        },
    }


def sign(value: Mapping[str, Any], key: Ed25519PrivateKey, earlier: bytes = b"") -> bytes:
    """An envelope with this key's signature beside those that `earlier` holds.

    Raises:
        SignatureRefusedError: the earlier envelope is of another statement.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner, SSlibKey

    from harness.bundle.keys import key_id

    envelope = Envelope(canonical(value), PAYLOAD_TYPE, {})
    if earlier:
        found = _envelope(earlier)
        if found.payload != envelope.payload:
            raise SignatureRefusedError("the bundle was signed in another state before")
        envelope = found
    public = key.public_key()
    name = key_id(public.public_bytes_raw())
    envelope.sign(CryptoSigner(key, SSlibKey.from_crypto(public, keyid=name)))
    return _bytes(envelope)


def signers(data: bytes) -> tuple[str, ...]:
    """Ids of the keys that an envelope names, which proves nothing.

    Raises:
        SignatureRefusedError: it is no envelope of an in-toto statement.
    """
    return tuple(sorted(_envelope(data).signatures))


def verify(data: bytes, key: PublicKey) -> Json:
    """The statement of an envelope, once this key's signature fits it.

    Raises:
        SignatureRefusedError: it is no envelope, or the key did not sign it.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
    from securesystemslib.signer import SSlibKey

    envelope = _envelope(data)
    public = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(key.raw), keyid=key.id)
    try:
        envelope.verify([public], 1)
    except (VerificationError, UnverifiedSignatureError) as error:
        raise SignatureRefusedError("the signature does not fit what it stands under") from error
    found: Json = json.loads(envelope.payload)
    if canonical(found) != envelope.payload:
        raise SignatureRefusedError("what was signed is not written as harness writes it")
    return found


def _envelope(data: bytes) -> Any:
    """A strict reading: the same value written again gives the same bytes."""
    from securesystemslib.dsse import Envelope

    try:
        envelope = Envelope.from_dict(json.loads(data))
        same = _bytes(envelope) == data
    except Exception as error:
        # The library names no class for all that can be wrong with strangers' bytes.
        raise SignatureRefusedError("not a DSSE envelope") from error
    if not same or envelope.payload_type != PAYLOAD_TYPE:
        raise SignatureRefusedError("not a DSSE envelope of an in-toto statement, as written here")
    return envelope


def _bytes(envelope: Any) -> bytes:
    value = envelope.to_dict()
    value["signatures"].sort(key=lambda signature: signature["keyid"])
    return canonical(value) + b"\n"
