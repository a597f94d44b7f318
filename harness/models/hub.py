"""Fetch what a models file names: one commit, every file hashed here before it is used.

    entry ─▶ listing of the commit ─▶ room on the disk ─▶ HASH.harness.incomplete
                                                   ─▶ sha256 ─▶ the hub's own cache

The hub's client makes the requests, follows redirects (without the token once they leave
the hub) and resumes what breaks off. A file enters the cache only after its hash is right,
so whatever kills a pull leaves a part to go on from, never a file to trust. The client's
xet transfer is not used: it cannot be resumed by another process and fetches from
wherever a header of the answer points.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import HarnessError, PrerequisiteError, SpecError, did_you_mean, printable
from harness.metrics import show_bytes
from harness.models import hub_cache
from harness.spec import Model, Source, file_sha256

Say = Callable[[str], None]
"""Called with one line of what is going on."""

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_API_TIMEOUT_S = 30.0
_STEP_BYTES = 1 << 20
"""Written at once. The client's own 10 MiB are lost with every connection that breaks."""
_SPARE_BYTES = 64 << 20
"""Left free on the disk beyond what is fetched."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Remote(NamedTuple):
    """One file of a commit, as the hub lists it.

    Attributes:
        blob: what the cache calls it: its sha256, or git's hash of a small file.
        sha256: empty for a small file, which the hub keeps in git itself.
    """

    name: str
    size: int
    blob: str
    sha256: str


class Listing(NamedTuple):
    """The wanted files of one commit."""

    commit: str
    files: tuple[Remote, ...]


class Pulled(NamedTuple):
    """What is in the cache now. `sha256` is what was found on this disk, by file name."""

    commit: str
    folder: Path
    sha256: Mapping[str, str]


def is_pinned(source: Source) -> bool:
    """Whether an entry says exactly which bytes it means."""
    return bool(source.revision) and set(source.files) == set(source.sha256)


def pull(model: Model, say: Say) -> Pulled:
    """Bring all files of a hub entry into the cache; what is there and right stays.

    Raises:
        SpecError: the entry names something that is not there, or a file has another hash.
        PrerequisiteError: access, network, disk or cache is missing; `hint` mends it.
    """
    if is_pinned(model.source) and (here := _all_here(model)):
        return here
    listing = look_up(model)
    found = _ensure(model, listing, listing.files, say)
    folder = hub_cache.repo_folder(model.source.repo)
    if not model.source.revision:
        with _explained(model):
            _write_ref(folder, listing.commit)
    return Pulled(listing.commit, folder / "snapshots" / listing.commit, found)


def pin(model: Model, say: Say) -> Pulled:
    """The commit and the sha256 of every file; only what the hub has no sha256 of is fetched.

    An entry that names a commit keeps it; another takes what `main` is now.

    Raises:
        SpecError, PrerequisiteError: as `pull`; also where the entry has another hash.
    """
    listing = look_up(model)
    small = [file for file in listing.files if not file.sha256]
    known = {file.name: file.sha256 for file in listing.files}
    known |= _ensure(model, listing, small, say)
    folder = hub_cache.repo_folder(model.source.repo)
    return Pulled(listing.commit, folder / "snapshots" / listing.commit, known)


def _all_here(model: Model) -> Pulled | None:
    """The files of a pinned entry if each is there and right: nobody has to be asked."""
    source = model.source
    folder = hub_cache.snapshot(source)
    if folder is None or not all((folder / name).is_file() for name in source.files):
        return None
    if not all(hub_cache.stays_inside(folder / name, source.repo) for name in source.files):
        return None
    found = {name: file_sha256(folder / name) for name in source.files}
    return Pulled(source.revision, folder, found) if found == dict(source.sha256) else None


# --- what the hub says --------------------------------------------------------------------


def look_up(model: Model) -> Listing:
    """Ask the hub for the commit of an entry and its files.

    Raises:
        SpecError: no such repository, commit or file, or a hash that differs from the entry's.
        PrerequisiteError: the hub cannot be asked, or refuses.
    """
    _require_online(model)
    # Read when the client is imported; nothing but the question itself is to leave this machine.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi

    source = model.source
    try:
        with _explained(model):
            info = HfApi(endpoint=_endpoint()).model_info(
                source.repo,
                revision=source.revision or "main",
                files_metadata=True,
                timeout=_API_TIMEOUT_S,
            )
            commit = str(info.sha)
            listed = {file.rfilename: file for file in info.siblings or ()}
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise _not_a_hub(model, "its answer is no listing of files") from error
    if not _HASH.fullmatch(commit) or (source.revision and commit != source.revision):
        raise _not_a_hub(model, f"it answers with commit '{printable(commit[:80])}'")
    files = []
    for name in source.files:
        if name not in listed:
            raise SpecError(
                f"{source.repo} has no file '{name}'{did_you_mean(name, listed)}",
                where=f"{source.repo}@{commit}",
                allowed="a file of that commit",
                hint=f"correct the entry of {model.id}, then: harness models pull {model.id}",
                reason="file_unknown",
            )
        files.append(_remote(model, listed[name]))
    return Listing(commit, tuple(files))


def _remote(model: Model, listed: Any) -> Remote:
    """One file of a listing, whose words become a file name and a limit: checked first."""
    lfs = listed.lfs
    sha256 = str(lfs.sha256) if lfs else ""
    size = lfs.size if lfs else listed.size
    file = Remote(listed.rfilename, size, sha256 or str(listed.blob_id), sha256)
    if not isinstance(size, int) or size < 0 or not _HASH.fullmatch(file.blob):
        raise _not_a_hub(model, f"it lists {file.name} without a size or a hash")
    expected = model.source.sha256.get(file.name)
    if expected and sha256 and sha256 != expected:
        raise _changed(model, file.name, sha256, expected)
    return file


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _require_online(model: Model) -> None:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise PrerequisiteError(
            f"HF_HUB_OFFLINE forbids to ask the hub for {model.id}",
            where=str(hub_cache.repo_folder(model.source.repo)),
            hint=f"unset HF_HUB_OFFLINE, then: harness models pull {model.id}",
            reason="offline",
        )


# --- into the cache -----------------------------------------------------------------------


def _ensure(model: Model, listing: Listing, files: Iterable[Remote], say: Say) -> dict[str, str]:
    """Fetch those files that are not there or not right; the sha256 of each, by name."""
    from filelock import FileLock

    folder = hub_cache.repo_folder(model.source.repo)
    root = folder / "snapshots" / listing.commit
    found: dict[str, str] = {}
    with _explained(model):
        locks = hub_cache.cache_folder() / ".locks" / folder.name
        locks.mkdir(parents=True, exist_ok=True)
        (folder / "blobs").mkdir(parents=True, exist_ok=True)
        with FileLock(locks / "harness.lock"):
            wanted = []
            for file in files:
                if sha256 := _checked(model, root / file.name, file, say):
                    found[file.name] = sha256
                else:
                    wanted.append(file)
            _require_room(model, folder / "blobs", wanted)
            for file in wanted:
                found[file.name] = _fetch(model, listing.commit, file, say)
                say(f"{file.name}: {show_bytes(file.size)}, sha256 {found[file.name]}")
    return found


def _checked(model: Model, path: Path, file: Remote, say: Say) -> str:
    """The sha256 of a file of the cache, or nothing; what is not right is removed."""
    if not os.path.lexists(path):
        return ""
    inside = hub_cache.stays_inside(path, model.source.repo)
    if inside and path.is_file():
        sha256 = file_sha256(path)
        if not _fault(model, file, path, sha256):
            return sha256
        say(f"{file.name}: sha256 is {sha256}, not as pinned or listed: removed, fetched again")
    path.unlink()
    (hub_cache.repo_folder(model.source.repo) / "blobs" / file.blob).unlink(missing_ok=True)
    return ""


def _fault(model: Model, file: Remote, path: Path, sha256: str) -> tuple[str, str] | None:
    """What a file's hash is and should be, if they differ: the pinned one, or the hub's."""
    if expected := model.source.sha256.get(file.name) or file.sha256:
        return None if sha256 == expected else (sha256, expected)
    # Small files have git's hash only: SHA-1, which is as good as the commit that names it.
    data = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return None if blob == file.blob else (f"(git) {blob}", f"(git) {file.blob}")


def _require_room(model: Model, folder: Path, wanted: Iterable[Remote]) -> None:
    parts = [(file.size, _part(folder, file)) for file in wanted]
    need = sum(size - (part.stat().st_size if part.exists() else 0) for size, part in parts)
    free = shutil.disk_usage(folder).free
    if parts and need + _SPARE_BYTES > free:
        raise _no_room(model, f"{show_bytes(need)} are to be fetched, {show_bytes(free)} are free")


def _part(folder: Path, file: Remote) -> Path:
    """Where a file grows. Its name is its hash: never another file's rest."""
    return folder / f"{file.blob}.harness.incomplete"


def _fetch(model: Model, commit: str, file: Remote, say: Say) -> str:
    """Download one file, or its rest, and link it into the snapshot; its sha256."""
    folder = hub_cache.repo_folder(model.source.repo)
    blob = folder / "blobs" / file.blob
    pointer = folder / "snapshots" / commit / file.name
    # A kill after the move and before the link leaves a whole blob behind.
    sha256 = _checked(model, blob, file, say)
    while not sha256:
        part = _part(blob.parent, file)
        resumed = _download(model, commit, file, part)
        found = file_sha256(part)
        fault = _fault(model, file, part, found)
        if not fault:
            part.replace(blob)
            sha256 = found
        else:
            part.unlink()
            if not resumed:
                raise _changed(model, file.name, *fault)
            say(f"{file.name}: the part that was here does not fit: fetched from its start")
    pointer.parent.mkdir(parents=True, exist_ok=True)
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # no right to make links, as on most Windows machines
        blob.replace(pointer)
    return sha256


def _download(model: Model, commit: str, file: Remote, part: Path) -> bool:
    """Fetch what is missing of a part; True if some of it was there already."""
    from huggingface_hub import constants, errors, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # it is documented

    url = hf_hub_url(model.source.repo, file.name, revision=commit, endpoint=_endpoint())
    # Compressed answers have no length and cannot be resumed.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if part.exists() and part.stat().st_size > file.size:
        part.unlink()
    try:
        constants.DOWNLOAD_CHUNK_SIZE = _STEP_BYTES
        with _Part(part, file.size) as target:
            here = target.tell()
            http_get(
                url,
                target,
                resume_size=here,
                headers=headers,
                expected_size=file.size,
                displayed_filename=file.name,
            )
    except errors.HfHubHTTPError as error:
        if error.response.status_code == 416:  # the part is longer than what is there now
            part.unlink()
        raise
    return here > 0


class _Part(io.BufferedWriter):
    """A file to append to that takes no more bytes than were announced."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self._most = most

    def write(self, data: Any) -> int:
        """Append.

        Raises:
            OSError: the sender does not end where it should.
        """
        if self.tell() + len(data) > self._most:
            raise OSError("more bytes came than the hub had announced")
        return super().write(data)


def _write_ref(folder: Path, commit: str) -> None:
    ref = folder / "refs" / "main"
    ref.parent.mkdir(parents=True, exist_ok=True)
    fresh = ref.with_name(f"main.{os.getpid()}.tmp")
    fresh.write_text(commit, "ascii")
    fresh.replace(ref)


# --- what can go wrong ---------------------------------------------------------------------


@contextmanager
def _explained(model: Model) -> Iterator[None]:
    """Turn what the hub's client raises into one message with the next command."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except HarnessError:
        raise
    except errors.HfHubHTTPError as error:
        raise _refusal(model, error) from error
    except httpx2.HTTPError as error:
        raise PrerequisiteError(
            f"the hub cannot be reached: {error or type(error).__name__}",
            where=_endpoint() or model.source.repo,
            hint="connect this machine or set HTTPS_PROXY (what has come is kept), then: "
            + _again(model),
            reason="no_network",
        ) from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _no_room(model, error.strerror or "the disk is full") from error
        if error.errno is None:
            raise PrerequisiteError(
                f"the transfer ended wrongly: {str(error).splitlines()[0]}",
                where=model.source.repo,
                hint=_again(model),
                reason="transfer_failed",
            ) from error
        raise PrerequisiteError(
            f"the cache cannot be used: {error.strerror}",
            where=str(error.filename or hub_cache.cache_folder()),
            hint=f"HF_HUB_CACHE=FOLDER {_again(model)}",
            reason="cache_unusable",
        ) from error


def _again(model: Model) -> str:
    return f"harness models pull {model.id}"


def _refusal(model: Model, error: Any) -> HarnessError:
    """What an HTTP status means for the person who typed the command."""
    from huggingface_hub import constants, errors

    repo, status = model.source.repo, int(error.response.status_code)
    page = f"{_endpoint() or constants.ENDPOINT}/{repo}"
    token = "hf auth login (or set HF_TOKEN)"  # noqa: S105 - the command, not a token
    if isinstance(error, errors.RevisionNotFoundError):
        return SpecError(
            f"{repo} has no commit {model.source.revision or 'main'}",
            where=page,
            hint=f"correct the revision of {model.id}, then: {_again(model)}",
            reason="revision_unknown",
        )
    if isinstance(error, errors.EntryNotFoundError):
        what, hint, reason = "a listed file is not there", _again(model), "file_unknown"
    elif isinstance(error, errors.GatedRepoError):
        what = f"{repo} is gated: its owner wants a licence accepted first"
        hint, reason = f"accept it on that page, then: {token}, then: {_again(model)}", "gated"
    elif isinstance(error, errors.RepositoryNotFoundError):
        what = f"there is no repository {repo}, or it is private"
        hint = f"correct the entry of {model.id}, or: {token}, then: {_again(model)}"
        reason = "repository_unknown"
    elif status in {401, 403}:
        what, reason = f"the hub refuses access to {repo} (HTTP {status})", "access_denied"
        hint = f"{token}, then: {_again(model)}"
    elif status == 429:
        what, reason = "the hub has too many requests from here (HTTP 429)", "rate_limited"
        hint = f"wait some minutes (what has come is kept), then: {_again(model)}"
    else:
        what, reason = f"the hub answers HTTP {status}", "hub_failed"
        hint = f"wait some minutes (what has come is kept), then: {_again(model)}"
    return PrerequisiteError(what, where=page, hint=hint, reason=reason)


def _not_a_hub(model: Model, why: str) -> PrerequisiteError:
    return PrerequisiteError(
        f"what answers is no model hub: {why}",
        where=_endpoint() or model.source.repo,
        hint=f"check HF_ENDPOINT and any login page of this network, then: {_again(model)}",
        reason="hub_failed",
    )


def _changed(model: Model, name: str, found: str, expected: str) -> SpecError:
    return SpecError(
        f"sha256 of {name} is {found}, expected {expected}; nothing of it is kept",
        where=f"{model.source.repo} ({model.id})",
        allowed="the very file that was pinned",
        hint=f"{_again(model)}; if it stays so, the file was changed: ask its publisher",
        reason="hash_mismatch",
    )


def _no_room(model: Model, why: str) -> PrerequisiteError:
    return PrerequisiteError(
        f"not enough room on the disk: {why}",
        where=str(hub_cache.cache_folder()),
        hint=f"free some, or: HF_HUB_CACHE=FOLDER {_again(model)}",
        reason="disk_full",
    )
