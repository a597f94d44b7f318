"""Whether a bundle is what was run: each check in turn, closed at the first that fails.

    files as the manifest says ─▶ records unbroken ─▶ claims as recorded ─▶ scorecard rebuilt
    ─▶ counted in the ledger ─▶ signed by a trusted key that is valid ─▶ nonce ─▶ verified

What is broken was changed after it was made; what is only unverified is whole, but nobody
who is trusted vouches for it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import harness
from harness import ledger, runs, score, shares
from harness.bundle import attempts, attest, content
from harness.bundle.attempts import Attempts
from harness.bundle.content import BrokenError, Content, check_hashes, hashing
from harness.bundle.create import about, require_present
from harness.bundle.keys import PublicKey, load_private
from harness.durable import sweep
from harness.errors import Exit, HarnessError, SchemaError, SpecError, printable, quoted
from harness.kit.install import MANIFEST, Refused, sha256_of
from harness.records import STRANGE, Journal, parse, run_record, strict_json
from harness.spec import canonical, sha256

State = Literal["verified", "unverified", "broken"]
EXITS = {
    "verified": Exit.DONE,
    "unverified": Exit.INCOMPARABLE,
    "broken": Exit.REGRESSED,
}
_MOST_LIST_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a bundle is worth.

    Attributes:
        reason, detail: why it is not verified; empty where it is.
        path: the first file that is broken.
        tier: of the scorecard; never `verified` without an evaluator's signature.
        signers: names of the trusted keys whose signatures fit and count.
        attempts: what the ledger tells; None where the run was counted in none.
        content: what was verified, so that nobody reads it a second time; None where broken.
        card: the scorecard as this version builds it from the records.
    """

    state: State
    reason: str = ""
    detail: str = ""
    path: str = ""
    tier: str = "unverified"
    signers: tuple[str, ...] = ()
    attempts: Attempts | None = None
    claims: Mapping[str, Any]
    content: Content | None = None
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> Exit:
        """0 verified, 5 whole but unverified, 1 broken."""
        return EXITS[self.state]


@runs.collector_at_rest()
def verify(
    folder: Path,
    trusted: Mapping[str, PublicKey],
    *,
    today: date,
    nonce: str | None = None,
    models: Sequence[Path] = (),
    released: Collection[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Verdict:
    """Verify a bundle. Nothing in it is written to, and nothing in it is run.

    Args:
        trusted: public keys by id; without any, nothing is verified.
        nonce: what the evaluator gave out for this very run; None = not asked for.
        models: files that have to be among those that were measured.
        released: hashes of harness's own files that may have measured; None = any.
        progress: told how many records there are, before they are checked and scored.

    Raises:
        SpecError: the folder is not a bundle at all.
        SchemaError, IncomparableError: its records are of a newer schema, or of an older one.
    """
    claims: dict[str, Any] = {}
    try:
        with shares.Helpers.for_file(folder / "records.jsonl") as helpers:
            found = content.read(folder)
            claims = found.claims
            if progress:
                progress(found.files["records.jsonl"].count(b"\n"))
            read = _check_records(found, helpers)
            card, rebuilt = _check_scorecard(found, read)
            counted = _check_ledger(found, run_record(read.told))
            _check_models(models, claims)
            signed = _check_signatures(found, trusted)
    except BrokenError as error:
        return Verdict(
            state="broken",
            reason=error.reason,
            detail=error.detail,
            path=error.path,
            claims=claims,
        )
    keys = [trusted[name] for name in signed]
    doubts = [
        *_unsigned(found, trusted, signed),
        *_uncounted(keys, claims, today),
        *_stale(claims, nonce, rebuilt=rebuilt),
        *_unlisted(counted),
        *_altered(read.told, released),
    ]
    state: State = "unverified" if doubts else "verified"
    reason, detail = doubts[0] if doubts else ("", "")
    return Verdict(
        state=state,
        reason=reason,
        detail=detail,
        # What nobody vouches for is never called verified, whatever it says of itself.
        tier=state if claims["tier"] == "verified" else claims["tier"],
        signers=tuple(sorted(key.name for key in keys if not _refusal(key, claims, today))),
        attempts=counted,
        claims=claims,
        content=found,
        card=card,
    )


class _Read(NamedTuple):
    """Records whose chain is whole to its end: all of them, or those that are neither samples
    nor telemetry, and the scorecard that came of them.
    """

    told: Sequence[Mapping[str, Any]]
    card: dict[str, Any] | None = None


def _check_records(content: Content, helpers: shares.Helpers) -> _Read:
    """The records, whose chain is whole to its end.

    They are read while the files are hashed; what a hash says comes first.
    """
    data = content.files["records.jsonl"]
    found: Journal | HarnessError
    with hashing(content) as digests:
        if not (scored := shares.score(data, helpers)):
            try:
                found = parse(data, Path("records.jsonl"))
            except HarnessError as error:
                found = error
        check_hashes(content, digests)
    if scored:
        return _Read(scored.told, scored.card)
    if isinstance(found, SchemaError):
        raise found
    if isinstance(found, HarnessError):
        line = found.where.rpartition(":")[2]
        where = f"line {line}: " if line.isdigit() else ""
        raise BrokenError("records.jsonl", found.reason, f"{where}{found.message}")
    if found.torn:
        raise BrokenError("records.jsonl", "records_torn", "its last line is unfinished")
    require_present(found, "records.jsonl")
    return _Read(found.records)


def _check_scorecard(found: Content, read: _Read) -> tuple[dict[str, Any], bool]:
    """The scorecard that this version of harness builds, and whether the bundle has the same one,
    as a bundle of this version must.
    """
    data, claims = found.files["scorecard.json"], found.claims
    try:
        card = read.card or score.scorecard(read.told)
        same = score.dump(card) == data
        claimed = about(run_record(read.told), card if same else strict_json(data.decode()))
        _require_sound(claimed)
    except STRANGE as error:
        raise BrokenError(
            "records.jsonl", "records_damaged", f"they cannot be scored: {type(error).__name__}"
        ) from error
    if not same and claims.get("harness") == harness.__version__:
        raise BrokenError("scorecard.json", "scorecard_differs", "the records give another one")
    if canonical(claimed) != canonical(claims):
        names = sorted(claimed.keys() | claims.keys())
        differs = ", ".join(name for name in names if claimed.get(name) != claims.get(name))
        raise BrokenError(MANIFEST, "claim_differs", f"not as recorded: {differs}")
    return card, same


def _check_ledger(found: Content, run: Mapping[str, Any]) -> Attempts | None:
    """What the ledger tells of the run; None for runs that were counted in none."""
    data = found.files.get(attempts.NAME)
    if not ledger.named(run):
        if data is not None:
            raise BrokenError(attempts.NAME, "ledger_differs", "the run names no line of it")
        return None
    if data is None:
        raise BrokenError(attempts.NAME, "part_missing", "the run was counted in it")
    try:
        attempts.require_all(data, run, found.files["records.jsonl"], "records.jsonl")
        return attempts.check(data, run)
    except SchemaError:
        raise
    except HarnessError as error:
        raise BrokenError(attempts.NAME, error.reason, f"{error.where}: {error.message}") from None
    except STRANGE as error:
        raise BrokenError(attempts.NAME, "ledger_differs", str(error)) from None


def _require_sound(claims: Mapping[str, Any]) -> None:
    """Claims of which every later step can read what it needs.

    Raises:
        ValueError, TypeError, LookupError: they are not.
    """
    datetime.fromisoformat(claims["started_utc"])
    words = [
        claims[name]
        for name in ("run", "harness", "harness_sha256", "nonce", "device", "tier", "verdict")
    ]
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
            said = str(refused).removeprefix(f"{path.name}: ")
            raise SpecError(said, where=printable(str(path)), reason="model_missing") from None
        if digest not in measured:
            name = printable(path.name)
            raise BrokenError(name, "other_model", "this file is not one that was measured")


def _check_signatures(found: Content, trusted: Mapping[str, PublicKey]) -> list[str]:
    """Ids of the trusted keys whose signatures fit; one that does not fit breaks the bundle."""
    if (data := found.files.get(attest.ENVELOPE)) is None:
        return []
    wanted = canonical(attest.statement(found.claims, sha256(found.files[MANIFEST])))
    out = []
    try:
        for name in attest.signers(data):
            if key := trusted.get(name):
                if canonical(attest.verify(data, key)) != wanted:
                    raise BrokenError(
                        attest.ENVELOPE, "other_bundle", "it was signed for another bundle"
                    )
                out.append(name)
    except attest.SignatureRefusedError as error:
        raise BrokenError(attest.ENVELOPE, "bad_signature", error.message) from None
    return out


Doubts = Iterator[tuple[str, str]]
"""Reason codes and sentences why a whole bundle is not verified, the gravest first."""


def _unsigned(found: Content, trusted: Mapping[str, PublicKey], signed: Sequence[str]) -> Doubts:
    if attest.ENVELOPE not in found.files:
        yield "not_signed", "nobody has signed it"
    if not trusted:
        yield "no_trusted_keys", "no file of trusted keys was given (--keys)"
    if not signed:
        yield "unknown_key", "no key that is trusted has signed it"


def _uncounted(keys: Sequence[PublicKey], claims: Mapping[str, Any], today: date) -> Doubts:
    """A signature that does not count is as good as none: whoever made it could take it off."""
    evaluators = [key for key in keys if key.role == "evaluator"]
    refusals = [_refusal(key, claims, today) for key in evaluators or keys]
    if keys and all(refusals):
        yield next(filter(None, refusals))
    if not evaluators:
        yield "no_evaluator", "only a startup has signed it: a self-test"


def _stale(claims: Mapping[str, Any], nonce: str | None, *, rebuilt: bool) -> Doubts:
    if nonce is not None and nonce != claims["nonce"]:
        yield "other_nonce", "it was not run for this nonce: another run, or an old one"
    if not rebuilt:
        yield "other_version", f"install harness {claims['harness']} to build the scorecard again"


def _unlisted(counted: Attempts | None) -> Doubts:
    if counted is None:
        yield "not_counted", "the run was counted in no ledger: nobody knows how many there were"


def _altered(records: Sequence[Mapping[str, Any]], released: Collection[str] | None) -> Doubts:
    """Whether one program measured throughout, and whether it is one that was released."""
    said = {str(run_record(records).get("harness_sha256", ""))} | {
        str(record["builds"].get("harness_sha256", ""))
        for record in records
        if record["type"] == "environment" and isinstance(record.get("builds"), dict)
    }
    if len(said) > 1:
        yield "other_harness", "the program was changed while it measured"
    if released is not None and (others := sorted(said - set(released))):
        named = ", ".join(printable(name)[:64] or "one that does not say" for name in others)
        yield "other_harness", f"measured by a program that was not released: {named}"


def read_released(texts: Sequence[str]) -> frozenset[str]:
    """Hashes of programs: each text is one, or a file whose lines begin with one.

    Raises:
        SpecError: it is neither (`bad_release`).
    """
    found: set[str] = set()
    for text in texts:
        if _SHA256.fullmatch(text):
            found.add(text)
            continue
        try:
            with Path(text).open("rb") as file:
                lines = file.read(_MOST_LIST_BYTES).decode().splitlines()
        except (OSError, ValueError):
            lines = []
        hashes = [line.split()[0] for line in lines if line.strip() and line[0] != "#"]
        if not hashes or not all(map(_SHA256.fullmatch, hashes)):
            raise SpecError(
                "neither a hash of harness nor a file of them",
                where=printable(text),
                allowed="64 hex digits, or a file whose lines begin with them",
                hint="harness doctor shows the hash of this one",
                reason="bad_release",
            )
        found.update(hashes)
    return frozenset(found)


def _refusal(key: PublicKey, claims: Mapping[str, Any], today: date) -> tuple[str, str] | None:
    """Why a signature that fits does not count."""
    if key.revoked:
        return "key_revoked", f"the key of {key.name} was revoked: {key.revoked}"
    measured = datetime.fromisoformat(str(claims["started_utc"])).date()
    if not key.valid_from <= measured <= key.valid_until or today < key.valid_from:
        return "key_expired", f"the key of {key.name} was not valid when this was measured"
    return None


def sign(path: Path, key: Path) -> Path:
    """Sign a bundle that is whole, beside the signatures that it has.

    Returns:
        The file that was written: the envelope, or the .zip with it.

    Raises:
        SpecError: not a bundle, or not a key; or it is broken (`bundle_broken`).
        PrerequisiteError: the key's file is missing.
        RecordError: it cannot be written.
    """
    secret = load_private(key)
    with contextlib.suppress(OSError):  # then it is no bundle, as is said below
        sweep(path / attest.ENVELOPE)
    found = verify(path, {}, today=datetime.now(UTC).date())
    if found.content is None:
        raise SpecError(
            f"what is broken is not signed: {found.path}: {found.detail}",
            where=printable(str(path)),
            hint="harness bundle create RUN --to NEW_FOLDER",
            reason="bundle_broken",
        )
    # What is signed are the bytes that were verified, whatever lies there by now.
    wanted = attest.statement(found.claims, sha256(found.content.files[MANIFEST]))
    envelope = attest.sign(wanted, secret, found.content.files.get(attest.ENVELOPE, b""))
    return content.add(path, found.content, attest.ENVELOPE, envelope)


def next_step(verdict: Verdict, path: Path) -> str:
    """What to do about a bundle that is not verified; empty where its detail says it all."""
    name = quoted(path)
    if verdict.reason == "other_model":
        return "give the file that was measured, or ask for a run of this one"
    if verdict.state == "broken":
        return "ask whoever handed it in for an untouched copy"
    steps = {
        "not_signed": f"harness bundle sign {name} --key NAME.key",
        "no_trusted_keys": f"harness bundle verify {name} --keys TRUSTED.pub",
        "unknown_key": f"name the signer's key: harness bundle verify {name} --keys KEY.pub",
        "key_expired": "ask for a signature by a key that was valid then",
        "key_revoked": "ask for a signature by a key that is not revoked",
        "no_evaluator": f"the evaluator signs it: harness bundle sign {name} --key EVALUATOR.key",
        "other_nonce": "ask for a run that was started with `harness run --nonce` and this word",
        "other_harness": "ask for a run by a released harness: `harness doctor` shows its hash",
    }
    return steps.get(verdict.reason, "")


def to_json(verdict: Verdict) -> dict[str, Any]:
    """For programs: state, reason, first broken path, tier, signers and claims."""
    return {
        "state": verdict.state,
        "reason": verdict.reason,
        "detail": verdict.detail,
        "path": verdict.path,
        "tier": verdict.tier,
        "signers": list(verdict.signers),
        "attempts": verdict.attempts._asdict() if verdict.attempts else None,
        "claims": dict(verdict.claims),
    }


def text(verdict: Verdict) -> str:
    """For people: the verdict, why, and what was claimed."""
    reason, detail = verdict.reason, printable(verdict.detail)
    heads = {
        "verified": "verified",
        "unverified": f"unverified ({reason}): {detail}",
        "broken": f"broken ({reason}): {printable(verdict.path)}: {detail}",
    }
    lines = [heads[verdict.state]]
    if verdict.state != "broken":
        claims = verdict.claims
        lines += [
            f"  run      {claims['run']}",
            f"  attempt  {_attempt_text(claims['attempt'], verdict.attempts)}",
            f"  sessions {_sessions_text(verdict.card['sessions'])}",
            f"  harness  {claims['harness']} {claims['harness_sha256']}".rstrip(),
            f"  profile  {claims['profile']['id']} v{claims['profile']['version']}",
            f"  device   {claims['device']}",
            f"  tier     {verdict.tier}; the run itself: {claims['verdict']}",
            f"  signers  {', '.join(verdict.signers) or 'nobody who is trusted'}",
        ]
    return "\n".join(map(printable, lines))


def _sessions_text(began: Mapping[str, Any]) -> str:
    resumed, again = len(began["resumed"]), len(began["again"])
    return f"resumed {resumed}×, jobs begun again: {again}" if resumed or again else "one"


def _attempt_text(claimed: Mapping[str, Any], counted: Attempts | None) -> str:
    """Which run it was in its results folder, and what else was started there."""
    which = f"run {claimed['number']} of {claimed['of']}"
    if counted is None:
        return f"{which}, counted in no ledger"
    if claimed["announced"]:
        which = f"run {claimed['number']} of {claimed['of']} announced"
    else:
        which = f"run {claimed['number']} in this folder, not announced"
    gone = sum(run.get("gone") is True for run in claimed["earlier"])
    return (
        f"{which}; {len(claimed['earlier'])} of its plan before it ({gone} without records), "
        f"{counted.later} later; {counted.elsewhere} of other plans with its models"
    )
