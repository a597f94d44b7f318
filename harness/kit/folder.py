"""The folder that a kit is built in: whole files only, and what is right already is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.durable import unwritable, write_whole
from harness.errors import PrerequisiteError, SpecError
from harness.kit.install import MANIFEST, WRITTEN_HERE, Refused, files_below, read_manifest
from harness.spec import file_sha256

_UNFINISHED = ".unfinished"
_PARTS = ("artefacts", "devices", "licences", "models", "profiles", "wheels")
"""Folders that are a kit's own: what an earlier kit left in them is removed."""
_SPARE_BYTES = 64 << 20


class Folder:
    """A new kit, an unfinished one, or a finished one to be made again.

    Args:
        root: an empty folder, one that does not exist, or a kit.

    Raises:
        SpecError: it holds something else. RecordError: it cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.placed: set[str] = set()
        self._refuse_foreign()
        try:
            for part in _PARTS:
                (root / part).mkdir(parents=True, exist_ok=True)
            (root / _UNFINISHED).touch()
            (root / MANIFEST).unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(root, error) from error

    def _refuse_foreign(self) -> None:
        if not self.root.exists() or (self.root / _UNFINISHED).is_file():
            return
        try:
            if not any(self.root.iterdir()):
                return
            if read_manifest(self.root)["about"].get("kind") == "kit":
                return
        except (OSError, Refused):
            pass  # no folder, or not a kit: the same answer
        raise SpecError(
            "something else than a kit is here, and would be mixed with it",
            where=str(self.root),
            allowed="a new or empty folder, or a kit",
            hint="harness kit NEW_FOLDER",
            reason="foreign_folder",
        )

    def require_space(self, needed_bytes: int) -> None:
        """Refuse a disk that cannot hold a kit of this size; what is here already counts.

        Raises:
            PrerequisiteError: `disk_full`.
        """
        here = sum(self._below().values())
        free = shutil.disk_usage(self.root).free
        if free + here < needed_bytes + _SPARE_BYTES:
            raise PrerequisiteError(
                f"the kit needs {needed_bytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
                where=str(self.root),
                hint="choose a folder on another disk, or fewer models",
                reason="disk_full",
            )

    def copy(self, source: Path, name: str, sha256: str = "") -> None:
        """Place a copy of a file, links followed, unless the right one is there.

        Args:
            sha256: of its bytes, where known; a copy that differs is refused.

        Raises:
            SpecError: the file has changed since it was hashed. RecordError: disk full.
        """
        wanted = sha256 or file_sha256(source)
        target = self.root / name
        self.placed.add(name)
        try:
            if target.is_file() and not target.is_symlink() and file_sha256(target) == wanted:
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.part")
            shutil.copyfile(source, partial)
            if file_sha256(partial) != wanted:
                raise SpecError(
                    f"sha256 is not {wanted}: the file has changed",
                    where=str(source),
                    hint="get the file again, or correct what names it, and make the kit again",
                    reason="hash_mismatch",
                )
            partial.replace(target)
        except OSError as error:
            raise unwritable(target, error) from error

    def write(self, name: str, text: str, *, runs: bool = False) -> None:
        """Place a text file with the line ends that it has; `runs` lets it be executed."""
        self.placed.add(name)
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.root / name, text.encode())
        if runs:
            (self.root / name).chmod(0o755)

    def finish(self) -> None:
        """Remove what an earlier kit left in the kit's own folders.

        Raises:
            SpecError: there is a file elsewhere that nobody placed.
        """
        for name in self._below().keys() - self.placed - {_UNFINISHED}:
            if name.split("/")[0] not in _PARTS and not name.endswith(".part"):
                raise SpecError(
                    f"'{name}' is in the kit's folder and no part of it",
                    where=str(self.root),
                    allowed="nothing but the kit",
                    hint="move it to another folder, and make the kit again",
                    reason="foreign_folder",
                )
            (self.root / name).unlink()

    def _below(self) -> dict[str, int]:
        try:
            return files_below(self.root, WRITTEN_HERE)
        except Refused as refused:
            raise SpecError(
                str(refused),
                where=str(self.root),
                hint="take it out of the folder, and make the kit again",
                reason="foreign_folder",
            ) from None

    def seal(self) -> None:
        """The kit is whole: its manifest has been written."""
        (self.root / _UNFINISHED).unlink()


UNFINISHED_NAMES = WRITTEN_HERE | {_UNFINISHED}
"""What the manifest of a kit leaves out while it is written."""
