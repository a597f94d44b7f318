"""Secret seeds: committed to beforehand, revealed afterwards, verified by anybody.

    commit   seed ─▶ sha256(seed ‖ generator ‖ profile), published before submissions close
    run      the seed has to match; it stays in the parent and in no file of the run
    reveal   the seed, published once everything is scored
    verify   seed, generator and profile give the published hash, and every item again

A seed is 32 random bytes, kept as 64 hex digits in a file of its own. `generator` is the
hash of the code and data that make items, `profile` that of the profile without its
commitment: neither can be changed after the commitment without showing.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from harness import __version__, durable
from harness.errors import PrerequisiteError, SpecError
from harness.spec import AccuracySuite, Profile, digest, sha256
from harness.suites.tasks import PUBLIC_SEED

SEED_BYTES: Final = 32
ALGORITHM: Final = "sha256(seed || generator || profile), 32 bytes each"
HEX64: Final = re.compile(r"[0-9a-f]{64}")
_MAX_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """What the items of a run are drawn from.

    Attributes:
        value: 32 bytes; never shown, never written.
        commitment: of this seed with this generator and profile; empty for the public one.
        committed: the profile named the commitment before the run.
    """

    value: bytes = field(repr=False)
    commitment: str = ""
    committed: bool = False

    @property
    def public(self) -> bool:
        """Everybody knows the items."""
        return self.value == PUBLIC_SEED

    def facts(self) -> dict[str, Any]:
        """What a run's record says of it."""
        return {
            "public": self.public,
            "committed": self.committed,
            "commitment": self.commitment,
            "generator": generator_sha256(),
        }


PUBLIC: Final = Seed(value=PUBLIC_SEED)


# --- hashes ---------------------------------------------------------------------------


@cache
def generator_sha256() -> str:
    """Hash of every file that makes items: names and contents, in order of their names.

    Line ends are those of Unix, so that a checkout on Windows has the same hash.
    """
    folder = Path(__file__).parents[1] / "suites" / "tasks"
    files = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    )
    return digest(
        [[name, sha256((folder / name).read_bytes().replace(b"\r\n", b"\n"))] for name in files]
    )


def profile_sha256(profile: Profile) -> str:
    """Hash of a profile as its file gives it, without its commitment.

    Raises:
        SpecError: it has no accuracy suite.
    """
    suite = replace(suite_of(profile), commitment="")
    return digest(replace(profile, suites=replace(profile.suites, accuracy=suite)))


def suite_of(profile: Profile) -> AccuracySuite:
    """The profile's accuracy suite.

    Raises:
        SpecError: it has none.
    """
    if profile.suites.accuracy is None:
        raise SpecError(
            f"profile '{profile.id}' asks no accuracy items, so that a seed has no use",
            allowed="a profile with suites: accuracy",
            hint="harness init, for a profile to start from",
            reason="no_accuracy_suite",
        )
    return profile.suites.accuracy


def commitment_of(seed: bytes, profile: Profile) -> str:
    """The hash that is published: of seed, generator and profile together."""
    return joined(seed, generator_sha256(), profile_sha256(profile))


def statement(seed: bytes, profile: Profile) -> dict[str, Any]:
    """What an organiser publishes: the commitment and what went into it, but the seed."""
    return {
        "commitment": commitment_of(seed, profile),
        "algorithm": ALGORITHM,
        "generator": generator_sha256(),
        "profile": {
            "id": profile.id,
            "version": profile.version,
            "sha256": profile_sha256(profile),
        },
        "harness": __version__,
        "date_utc": datetime.now(UTC).date().isoformat(),
    }


def joined(seed: bytes, generator: str, profile: str) -> str:
    """The commitment of a seed with two hashes in hex."""
    return sha256(seed + bytes.fromhex(generator) + bytes.fromhex(profile))


# --- files ----------------------------------------------------------------------------


def draw(path: Path) -> bytes:
    """A new secret seed, written to a new file that only its owner may read.

    Raises:
        SpecError: the file exists, or cannot be made.
    """
    seed = secrets.token_bytes(SEED_BYTES)
    write_new(path, f"{seed.hex()}\n".encode(), mode=0o600)
    return seed


def commit(profile: Profile, seed_file: Path, statement_file: Path | None = None) -> dict[str, Any]:
    """Draw a secret seed into a new file; the statement to publish, also into a file.

    Raises:
        SpecError: a file exists or cannot be made, or the profile asks no items.
    """
    suite_of(profile)
    seed = draw(seed_file)
    found = statement(seed, profile)
    if statement_file:
        try:
            write_new(statement_file, (json.dumps(found, indent=2) + "\n").encode())
        except SpecError:
            seed_file.unlink()  # nothing was committed to
            raise
    return found


def write_new(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file that does not exist yet.

    Raises:
        SpecError: it exists, or cannot be made.
    """
    try:
        durable.write_new(path, content, mode=mode)
    except (OSError, ValueError) as error:
        exists = isinstance(error, FileExistsError)
        why = getattr(error, "strerror", None) or error
        raise SpecError(
            "the file exists, and nothing is overwritten" if exists else f"cannot write: {why}",
            where=str(path),
            allowed="the path of a new file",
            hint="harness accuracy commit --seed-file ANOTHER_PATH",
            reason="file_exists" if exists else "unwritable",
        ) from error


def read_seed(path: Path) -> bytes:
    """The seed of a file.

    Raises:
        PrerequisiteError: there is no such file. SpecError: it holds no secret seed.
    """
    return seed_from_hex(read_text(path, what="seed file").strip(), where=str(path))


def seed_from_hex(text: str, *, where: str = "") -> bytes:
    """The seed of 64 hex digits.

    Raises:
        SpecError: it is none, or the public one.
    """
    if not HEX64.fullmatch(text):
        # The text itself is not shown: it may be a damaged secret.
        raise SpecError(
            f"this is no seed: {len(text)} characters",
            where=where,
            allowed="64 digits out of 0-9 and a-f, as `harness accuracy commit` writes them",
            hint="harness accuracy commit --seed-file NEW_FILE",
            reason="bad_seed",
        )
    seed = bytes.fromhex(text)
    if seed == PUBLIC_SEED:
        raise SpecError(
            "this is the public seed, which hides nothing",
            where=where,
            allowed="no seed file for the public items, or a secret seed",
            hint="harness accuracy commit --seed-file NEW_FILE",
            reason="bad_seed",
        )
    return seed


def read_text(path: Path, *, what: str) -> str:
    """The first 64 KiB of a file.

    Raises:
        PrerequisiteError: it cannot be read. SpecError: it is no file.
    """
    try:
        if path.exists() and not path.is_file():
            raise SpecError(
                "this is not a file",
                where=str(path),
                allowed=f"the path of a {what}",
                hint="harness accuracy --help",
                reason="bad_seed",
            )
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8-sig", "replace")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise PrerequisiteError(
            f"the {what} cannot be read: {why}",
            where=str(path),
            hint="bring the file that `harness accuracy commit` wrote",
            reason="seed_missing",
        ) from error


# --- a run ----------------------------------------------------------------------------


def check(commitment: str, seed: bytes, profile: Profile) -> None:
    """Refuse a seed that is not the one committed to.

    Raises:
        SpecError: `seed_mismatch`.
    """
    found = commitment_of(seed, profile)
    if found != commitment:
        raise SpecError(
            f"the seed does not match the commitment of profile '{profile.id}': {found} is not "
            f"{commitment}",
            allowed="the seed, the profile and the harness version that the commitment was made "
            f"with (here: generator {generator_sha256()[:12]}…, "
            f"profile {profile_sha256(profile)[:12]}…, harness {__version__})",
            hint="harness accuracy verify SEED_FILE --commitment STATEMENT.json says what differs",
            reason="seed_mismatch",
        )


def for_run(profile: Profile, path: Path | None, suites: Sequence[str] = ()) -> Seed:
    """The seed of a run: the file's where one is given, else the public one.

    Args:
        profile: as its file gives it, before its reference is chosen.
        suites: names that are run; empty = all of the profile.

    Raises:
        PrerequisiteError: `seed_missing`: the profile has a commitment, and no file is given.
        SpecError: the file holds no seed, another one, or one that nothing asks for.
    """
    if path is None:
        asked = profile.suites.accuracy if not suites or "accuracy" in suites else None
        if asked and asked.commitment:
            raise PrerequisiteError(
                f"the items of profile '{profile.id}' are drawn from a secret seed, "
                f"whose commitment is {asked.commitment}",
                allowed="the file that `harness accuracy commit` wrote",
                hint=f"harness run --profile {profile.id} --seed-file PATH",
                reason="seed_missing",
            )
        return PUBLIC
    if suites and "accuracy" not in suites:
        raise SpecError(
            f"--seed-file has no use: only {', '.join(suites)} is run",
            allowed="--suite accuracy, or no --suite",
            hint="leave --seed-file out",
            reason="seed_unused",
        )
    suite = suite_of(profile)
    value = read_seed(path)
    if suite.commitment:
        check(suite.commitment, value, profile)
    return Seed(
        value=value,
        commitment=commitment_of(value, profile),
        committed=bool(suite.commitment),
    )


def for_resumed(digest: str, path: Path | None) -> bytes:
    """The seed of a run that goes on: never kept, only known by its hash.

    Args:
        digest: sha256 of the seed; empty where nothing is drawn.

    Raises:
        PrerequisiteError: `seed_missing`: it is a secret one, and no file is given.
        SpecError: the file holds no seed, or another one.
    """
    if digest in {"", sha256(PUBLIC_SEED)}:
        return PUBLIC_SEED
    if path is None:
        raise PrerequisiteError(
            "the items of this run are drawn from a secret seed, which is not kept with it",
            allowed="the file that the run was begun with",
            hint="harness run --resume RUN --seed-file PATH",
            reason="seed_missing",
        )
    value = read_seed(path)
    if sha256(value) != digest:
        raise SpecError(
            "this is not the seed that the run was begun with",
            where=str(path),
            allowed="the file that the run was begun with",
            hint="harness run --resume RUN --seed-file PATH",
            reason="seed_mismatch",
        )
    return value
