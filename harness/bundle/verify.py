"""Whether a bundle is what was run: each check in turn, closed at the first that fails.

    files as the manifest says ─▶ records unbroken ─▶ claims as recorded ─▶ scorecard rebuilt
    ─▶ signed by a trusted key that is valid ─▶ nonce ─▶ verified

What is broken was changed after it was made; what is only unverified is whole, but nobody
who is trusted vouches for it.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import harness
from harness import score
from harness.bundle import attest
from harness.bundle.create import EVIDENCE, KIND, about
from harness.bundle.keys import PublicKey, load_private
from harness.durable import sweep, write_whole
from harness.errors import Exit, HarnessError, SpecError, printable
from harness.kit.install import MANIFEST, Refused, examine, read_manifest, sha256_of
from harness.records import Record, read, run_record, strict_json
from harness.spec import canonical

State = Literal["verified", "unverified", "broken"]
EXITS = {
    "verified": Exit.DONE,
    "unverified": Exit.INCOMPARABLE,
    "broken": Exit.REGRESSED,
}
SIGNED_LATER = frozenset({attest.ENVELOPE})
_MOST_ENVELOPE_BYTES = 1 << 20
_STRANGE = (
    HarnessError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What records of a stranger may make of scoring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a bundle is worth.

    Attributes:
        reason, detail: why it is not verified; empty where it is.
        path: the first file that is broken.
        tier: of the scorecard; never `verified` without an evaluator's signature.
        signers: names of the trusted keys whose signatures fit.
    """

    state: State
    reason: str = ""
    detail: str = ""
    path: str = ""
    tier: str = "unverified"
    signers: tuple[str, ...] = ()
    claims: Mapping[str, Any]

    @property
    def exit_code(self) -> Exit:
        """0 verified, 5 whole but unverified, 1 broken."""
        return EXITS[self.state]


class _BrokenError(Exception):
    """A check that failed: file, reason code and a sentence."""

    def __init__(self, path: str, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.path, self.reason, self.detail = path, reason, detail


def verify(
    folder: Path,
    trusted: Mapping[str, PublicKey],
    *,
    today: date,
    nonce: str | None = None,
    models: Sequence[Path] = (),
) -> Verdict:
    """Verify a bundle. Nothing in it is written to, and nothing in it is run.

    Args:
        trusted: public keys by id; without any, nothing is verified.
        nonce: what the evaluator gave out for this very run; None = not asked for.
        models: files that have to be among those that were measured.

    Raises:
        SpecError: the folder is not a bundle at all.
    """
    claims: dict[str, Any] = {}
    try:
        claims = _claims(folder)
        _check_files(folder)
        rebuilt = _check_scorecard(folder, claims, _check_records(folder))
        _check_models(models, claims)
        signed = _check_signatures(folder, trusted, claims)
    except _BrokenError as error:
        return Verdict(
            state="broken",
            reason=error.reason,
            detail=error.detail,
            path=error.path,
            claims=claims,
        )
    names = tuple(sorted(trusted[name].name for name in signed))
    doubts = [
        *_unsigned(folder, trusted, signed),
        *_uncounted([trusted[name] for name in signed], claims, today),
        *_stale(claims, nonce, rebuilt=rebuilt),
    ]
    if doubts:
        reason, detail = doubts[0]
        # What nobody vouches for is never called verified, whatever it says of itself.
        tier = "unverified" if claims["tier"] == "verified" else claims["tier"]
        return Verdict(
            state="unverified",
            reason=reason,
            detail=detail,
            tier=tier,
            signers=names,
            claims=claims,
        )
    return Verdict(state="verified", tier=claims["tier"], signers=names, claims=claims)


def _claims(folder: Path) -> dict[str, Any]:
    """What the manifest says of the run.

    Raises:
        SpecError: `not_a_bundle`.
        _BrokenError: it was one: records are there, and no manifest of them.
    """
    try:
        claims: dict[str, Any] = read_manifest(folder)["about"]
        if claims.get("kind") == KIND:
            return claims
        why = f"its manifest is of a {printable(str(claims.get('kind'))[:40])!r}"
    except Refused as refused:
        why = str(refused)
    if (folder / MANIFEST).is_file() and (folder / "records.jsonl").is_file():
        raise _BrokenError(MANIFEST, "manifest_broken", why)
    raise _no_bundle(folder, why)


def _no_bundle(folder: Path, why: str) -> SpecError:
    return SpecError(
        f"not a bundle: {why}",
        where=printable(str(folder)),
        allowed="a folder of `harness bundle create`",
        hint="harness bundle create RUN --to FOLDER",
        reason="not_a_bundle",
    )


def _check_files(folder: Path) -> None:
    try:
        examine(folder, SIGNED_LATER)
    except Refused as refused:
        text = str(refused)
        raise _BrokenError(text.partition(":")[0], "manifest_broken", text) from None
    for name in EVIDENCE:
        if not (folder / name).is_file():
            raise _BrokenError(name, "part_missing", "a bundle cannot be without it")


def _check_records(folder: Path) -> list[Record]:
    """The records, whose chain is whole to its end."""
    try:
        journal = read(folder / "records.jsonl")
    except HarnessError as error:
        raise _BrokenError("records.jsonl", error.reason, error.message) from None
    if journal.torn:
        raise _BrokenError("records.jsonl", "records_torn", "its last line is unfinished")
    return journal.records


def _check_scorecard(folder: Path, claims: Mapping[str, Any], records: Sequence[Record]) -> bool:
    """Whether this version of harness builds the same scorecard from the records."""
    found = (folder / "scorecard.json").read_bytes()
    try:
        same = score.dump(score.scorecard(records)) == found
        claimed = about(run_record(records), strict_json(found.decode()))
        _require_sound(claimed)
    except _STRANGE as error:
        raise _BrokenError(
            "records.jsonl", "records_damaged", f"they cannot be scored: {type(error).__name__}"
        ) from error
    if not same and claims.get("harness") == harness.__version__:
        raise _BrokenError("scorecard.json", "scorecard_differs", "the records give another one")
    if canonical(claimed) != canonical(dict(claims)):
        names = sorted(claimed.keys() | claims.keys())
        differs = ", ".join(name for name in names if claimed.get(name) != claims.get(name))
        raise _BrokenError(MANIFEST, "claim_differs", f"not as recorded: {differs}")
    return same


def _require_sound(claims: Mapping[str, Any]) -> None:
    """Claims of which every later step can read what it needs.

    Raises:
        ValueError, TypeError, LookupError: they are not.
    """
    datetime.fromisoformat(claims["started_utc"])
    words = [claims[name] for name in ("run", "harness", "nonce", "device", "tier", "verdict")]
    digests = [digest for files in claims["models"].values() for digest in files.values()]
    if not all(isinstance(word, str) for word in (*words, *digests)):
        raise TypeError
    if any(type(claims["attempt"][name]) is not int for name in ("number", "of")):
        raise TypeError


def _check_models(models: Sequence[Path], claims: Mapping[str, Any]) -> None:
    measured = {digest for files in claims["models"].values() for digest in files.values()}
    for path in models:
        try:
            digest = sha256_of(path)
        except Refused as refused:
            raise SpecError(
                str(refused), where=printable(str(path)), reason="model_missing"
            ) from None
        if digest not in measured:
            name = printable(path.name)
            raise _BrokenError(name, "other_model", "this file is not one that was measured")


def _check_signatures(
    folder: Path, trusted: Mapping[str, PublicKey], claims: Mapping[str, Any]
) -> list[str]:
    """Ids of the trusted keys whose signatures fit; one that does not fit breaks the bundle."""
    path = folder / attest.ENVELOPE
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_ENVELOPE_BYTES:
            raise _BrokenError(attest.ENVELOPE, "bad_signature", "no plain file of 1 MiB or less")
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _BrokenError(attest.ENVELOPE, "bad_signature", str(error.strerror)) from None
    wanted = attest.statement(claims, sha256_of(folder / MANIFEST))
    out = []
    try:
        for name in attest.signers(data):
            if key := trusted.get(name):
                if canonical(attest.verify(data, key)) != canonical(wanted):
                    raise _BrokenError(
                        attest.ENVELOPE, "other_bundle", "it was signed for another bundle"
                    )
                out.append(name)
    except attest.SignatureRefusedError as error:
        raise _BrokenError(attest.ENVELOPE, "bad_signature", error.message) from None
    return out


Doubts = Iterator[tuple[str, str]]
"""Reason codes and sentences why a whole bundle is not verified, the gravest first."""


def _unsigned(folder: Path, trusted: Mapping[str, PublicKey], signed: Sequence[str]) -> Doubts:
    if not (folder / attest.ENVELOPE).exists():
        yield "not_signed", "nobody has signed it"
    if not trusted:
        yield "no_trusted_keys", "no file of trusted keys was given (--keys)"
    if not signed:
        yield "unknown_key", "no key that is trusted has signed it"


def _uncounted(keys: Sequence[PublicKey], claims: Mapping[str, Any], today: date) -> Doubts:
    measured = datetime.fromisoformat(str(claims["started_utc"])).date()
    refusals = [_refusal(key, measured, today) for key in keys]
    if keys and all(refusals):
        yield next(filter(None, refusals))
    good = [key for key, refusal in zip(keys, refusals, strict=True) if refusal is None]
    if not any(key.role == "evaluator" for key in good):
        yield "no_evaluator", "only a startup has signed it: a self-test"


def _stale(claims: Mapping[str, Any], nonce: str | None, *, rebuilt: bool) -> Doubts:
    if nonce is not None and nonce != claims["nonce"]:
        yield "other_nonce", "it was not run for this nonce: another run, or an old one"
    if not rebuilt:
        yield "other_version", f"install harness {claims['harness']} to build the scorecard again"


def _refusal(key: PublicKey, measured: date, today: date) -> tuple[str, str] | None:
    """Why a signature that fits does not count."""
    if key.revoked:
        return "key_revoked", f"the key of {key.name} was revoked: {key.revoked}"
    if not key.valid_from <= measured <= key.valid_until or today < key.valid_from:
        return "key_expired", f"the key of {key.name} was not valid when this was measured"
    return None


def sign(folder: Path, key: Path) -> Path:
    """Sign a bundle that is whole, beside the signatures that it has.

    Returns:
        The envelope's file.

    Raises:
        SpecError: not a bundle, or not a key; or it is broken (`bundle_broken`).
        PrerequisiteError: the key's file is missing.
    """
    secret = load_private(key)
    path = folder / attest.ENVELOPE
    sweep(path)
    found = verify(folder, {}, today=datetime.now(UTC).date())
    if found.state == "broken":
        raise SpecError(
            f"what is broken is not signed: {found.path}: {found.detail}",
            where=printable(str(folder)),
            hint="harness bundle create RUN --to NEW_FOLDER",
            reason="bundle_broken",
        )
    earlier = path.read_bytes() if path.exists() else b""
    wanted = attest.statement(found.claims, sha256_of(folder / MANIFEST))
    write_whole(path, attest.sign(wanted, secret, earlier))
    return path


def to_json(verdict: Verdict) -> dict[str, Any]:
    """For programs: state, reason, first broken path, tier, signers and claims."""
    return {
        "state": verdict.state,
        "reason": verdict.reason,
        "detail": verdict.detail,
        "path": verdict.path,
        "tier": verdict.tier,
        "signers": list(verdict.signers),
        "claims": dict(verdict.claims),
    }


def text(verdict: Verdict) -> str:
    """For people: the verdict, why, and what was claimed."""
    where = f"{printable(verdict.path)}: " if verdict.path else ""
    why = f" ({verdict.reason}): {where}{printable(verdict.detail)}" if verdict.reason else ""
    lines = [f"{verdict.state}{why}"]
    if verdict.state != "broken":
        claims = verdict.claims
        number = f"run {claims['attempt']['number']} of {claims['attempt']['of']}"
        lines += [
            f"  run      {claims['run']}, {number}, harness {claims['harness']}",
            f"  profile  {claims['profile']['id']} v{claims['profile']['version']}",
            f"  device   {claims['device']}",
            f"  tier     {verdict.tier}; the run itself: {claims['verdict']}",
            f"  signers  {', '.join(verdict.signers) or 'nobody who is trusted'}",
        ]
    return "\n".join(printable(line) for line in "\n".join(lines).splitlines())
