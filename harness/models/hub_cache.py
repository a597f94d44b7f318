"""Where pulled files lie: the hub's own cache on this machine. Nothing here uses the network.

CACHE/models--OWNER--NAME/blobs/HASH              the files
                          snapshots/COMMIT/NAME   links to them
                          refs/main               what `main` was when it was last pulled
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from harness.errors import SpecError
from harness.spec import Source

_COMMIT = re.compile(r"[0-9a-f]{40}")
_COMMIT_BYTES = 40


def cache_folder() -> Path:
    """The user's cache, as `HF_HUB_CACHE`, `HF_HOME` and `XDG_CACHE_HOME` say.

    These are huggingface_hub's rules, kept here so that a run need not import it.
    """
    given = os.environ.get
    home = given("HF_HOME") or str(Path(given("XDG_CACHE_HOME") or "~/.cache", "huggingface"))
    folder = given("HF_HUB_CACHE") or given("HUGGINGFACE_HUB_CACHE") or str(Path(home, "hub"))
    return Path(os.path.expandvars(folder)).expanduser()


def repo_folder(repo: str) -> Path:
    """Folder of one repository in the cache, whether it is there or not."""
    return cache_folder() / f"models--{repo.replace('/', '--')}"


def snapshot(source: Source) -> Path | None:
    """Folder of an entry's commit; of an entry without one, of what `main` was when pulled."""
    folder = repo_folder(source.repo)
    commit = source.revision
    if not commit:
        try:
            with (folder / "refs" / "main").open("rb") as file:
                commit = file.read(_COMMIT_BYTES).decode("ascii", "replace")
        except OSError:
            return None
    return folder / "snapshots" / commit if _COMMIT.fullmatch(commit) else None


def pulled(source: Source) -> dict[str, Path]:
    """The files of a hub entry that are in the cache, by their names in the repository.

    Raises:
        SpecError: a link leads out of the repository's part of the cache.
    """
    root = snapshot(source)
    if root is None:
        return {}
    found = {}
    for name in source.files:
        path = root / name
        if not os.path.lexists(path):
            continue
        if not stays_inside(path, source.repo):
            raise SpecError(
                f"this link of the cache leads to {path.resolve()}, out of its repository",
                where=str(path),
                allowed=f"links to files in {repo_folder(source.repo)}",
                hint="remove it, then pull the model again",
                reason="link_escapes",
            )
        if path.is_file():
            found[name] = path
    return found


def stays_inside(path: Path, repo: str) -> bool:
    """Whether a path of the cache ends in its repository's folder, or in the store of blobs
    that newer versions of the hub's client share among repositories.
    """
    target = path.resolve()
    places = (repo_folder(repo), cache_folder() / "blobs")
    return any(target.is_relative_to(place.resolve()) for place in places)
