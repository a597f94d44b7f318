"""A bundle as a report sees it: its scorecard, and who vouches for it. Nothing in it is written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.bundle.trust import load_trusted
from harness.bundle.verify import verify
from harness.errors import HarnessError, SpecError, printable
from harness.kit.install import MANIFEST
from harness.messages import Lang
from harness.report import reading, words


def is_bundle(path: Path) -> bool:
    """Whether a path is one that only a bundle has: a folder with a manifest, or a .zip."""
    is_file = os.path.isfile  # which never raises
    return is_file(path / MANIFEST) or (is_file(path) and path.suffix.lower() == ".zip")


def card_of(path: Path, keys: Sequence[Path]) -> dict[str, Any]:
    """The scorecard of a bundle that is whole, and beside it `trust`: who vouches for it.

    It is built anew: what was handed in may be another version's, which nobody here can check.

    Raises:
        SpecError: not a bundle, not a trust file, or it is broken (`bundle_broken`).
    """
    found = verify(path, load_trusted(keys), today=datetime.now(UTC).date())
    if found.state == "broken":
        raise SpecError(
            f"what is broken is not reported: {found.path}: {found.detail}",
            where=printable(str(path)),
            hint=f"harness bundle verify {printable(str(path))}",
            reason="bundle_broken",
        )
    later = found.attempts.later if found.attempts else 0
    trust = {"state": found.state, "reason": found.reason, "signers": list(found.signers)}
    attempt = {**found.card["attempt"], "later": later}
    return {**found.card, "attempt": attempt, "trust": trust}


def vouched(card: Mapping[str, Any], lang: Lang) -> str:
    """Who vouches for a bundle, as its report says."""
    return words.trust(reading.read(dict(card)), lang)


def target_of(path: Path) -> Path:
    """Where reports of a bundle go: a folder beside it, since one more file would break it.

    Raises:
        HarnessError: something else lies there.
    """
    target = path.with_name(f"{path.name.removesuffix('.zip')}.report")
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise HarnessError(
            f"no folder for the report can be made: {error.strerror}",
            where=printable(str(target)),
            hint="copy the bundle to a folder that you may write to",
            reason="unwritable",
        ) from error
    return target
