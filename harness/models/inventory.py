"""What is here of a models file, and whether it is what the file says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from harness.errors import HarnessError
from harness.models import synth
from harness.models.hub import is_pinned
from harness.models.resolve import check_files, hub_files, resolve
from harness.spec import Model

State = Literal["ok", "changed", "missing", "not_pinned"]
Digest = Callable[[Path], str]
"""The sha256 of a file; the caller shows how far it is."""


class Checked(NamedTuple):
    """One file of a model.

    Attributes:
        sha256: found. expected: of the entry. Each is empty where there is none.
    """

    name: str
    state: State
    sha256: str = ""
    expected: str = ""


class Presence(NamedTuple):
    """What a list says of a model.

    Attributes:
        size_bytes: of its files; None where it is not known without making or fetching them.
        pinned: its bytes are fixed; None where the harness makes them itself.
    """

    here: bool
    size_bytes: int | None
    pinned: bool | None


def presence(model: Model, base: Path) -> Presence:
    """Whether a model's files are here, without opening or hashing them."""
    if model.source.kind not in {"hub", "file", "folder"}:
        made = model.source.kind != "synthetic" or synth.recipe_of(model).path().exists()
        return Presence(here=made, size_bytes=None, pinned=None)
    try:
        files = _files(model, base)
    except HarnessError:
        files = {}
    whole = bool(files) and all(name in files for name in model.source.files)
    size_bytes = sum(path.stat().st_size for path in files.values()) if whole else None
    hashes = model.source.sha256
    pinned = is_pinned(model.source) if model.source.kind == "hub" else bool(hashes)
    return Presence(here=whole, size_bytes=size_bytes, pinned=pinned)


def to_verify(model: Model, base: Path) -> bool:
    """Whether something of a model is here to be judged: whole, or refused as it is."""
    if model.source.kind in {"hub", "file", "folder"}:
        try:
            _files(model, base)
        except HarnessError:
            return True  # an entry that is passed over would look verified
    return presence(model, base).here


def verify(model: Model, base: Path, digest: Digest) -> list[Checked]:
    """Hash what is here of a model against its entry.

    Raises:
        HarnessError: what is here is no model of the entry's form, or leads out of the cache.
    """
    if model.source.kind not in {"hub", "file", "folder"}:
        made = resolve(model, base)  # checks its own hashes where it has any
        return [Checked(name, "ok", value) for name, value in made.sha256.items()]
    files = _files(model, base)
    expected = model.source.sha256
    if not files and not expected and model.source.path:
        return [Checked(model.source.path, "missing")]
    names = dict.fromkeys((*(model.source.files or files), *expected))
    return [_check(name, files.get(name), expected.get(name, ""), digest) for name in names]


def _check(name: str, path: Path | None, expected: str, digest: Digest) -> Checked:
    if path is None:
        return Checked(name, "missing", expected=expected)
    found = digest(path)
    if not expected:
        return Checked(name, "not_pinned", found)
    return Checked(name, "ok" if found == expected else "changed", found, expected)


def _files(model: Model, base: Path) -> Mapping[str, Path]:
    """Files of an entry that are here, by the names that its hashes have."""
    source = model.source
    if source.kind != "hub":
        path = (base / source.path).expanduser()
        return check_files(path, model.format)[1] if path.exists() else {}
    return hub_files(model, base)
