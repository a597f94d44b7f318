"""`init` writes a folder that works as it is, and never overwrites."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import scaffold, specfile
from harness.errors import Exit, SpecError

FILES = [
    "models.yaml",
    "models.schema.json",
    "profiles/profile.schema.json",
    "devices/this-machine.yaml",
    "profiles/my-profile.yaml",
    "results/README.md",
]


def test_a_new_folder_works_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "new" / "folder"
    written, kept = scaffold.init(folder)
    assert written == [folder / name for name in FILES]
    assert kept == []
    monkeypatch.chdir(folder)
    assert specfile.default_catalogue_path() == Path("models.yaml")
    catalogue = specfile.load_catalogue("models.yaml")
    assert len(specfile.find_set(catalogue, "default")) >= 8
    first = Path("models.yaml").read_text("utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=models.schema.json"
    assert specfile.device_files()["this-machine"] == Path("devices/this-machine.yaml")
    assert specfile.resolve_device("this-machine").power == "any"
    profile = specfile.resolve_profile("my-profile")
    assert (profile.id, profile.title) == ("my-profile", "My profile")
    quick = specfile.resolve_profile("quick")
    assert (profile.suites, profile.protocol) == (quick.suites, quick.protocol)
    text = Path("profiles/my-profile.yaml").read_text("utf-8")
    assert "harness run --profile my-profile --dry-run" in text
    assert "published no scoring formula" in text


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text("mine")
    written, kept = scaffold.init(tmp_path)
    assert kept == [tmp_path / "models.yaml"]
    assert len(written) == len(FILES) - 1
    assert (tmp_path / "models.yaml").read_text() == "mine"
    written, kept = scaffold.init(tmp_path)
    assert written == []
    assert kept == [tmp_path / name for name in FILES]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "models.yaml").symlink_to(elsewhere)
    with pytest.raises(SpecError, match="something else than a file is in its place"):
        scaffold.init(folder)
    assert not elsewhere.exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError) as caught:
        scaffold.init(tmp_path / "file")
    error = caught.value
    assert error.exit_code == Exit.SPECIFICATION
    assert error.message.startswith("cannot write models.yaml: its folder cannot be made")
    assert error.where == str(tmp_path / "file" / "models.yaml")
    assert error.allowed == "a folder in which files can be made"
    assert error.hint == "harness init FOLDER"


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really_open = Path.open

    def full(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "x" in mode:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really_open(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(SpecError, match=r"cannot write models\.yaml: No space left on device"):
        scaffold.init(tmp_path)


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").mkdir()
    with pytest.raises(SpecError, match=r"cannot write models\.yaml: something else"):
        scaffold.init(tmp_path)


def test_the_repository_s_own_results_folder_says_the_same() -> None:
    readme = Path(__file__).parents[1] / "results" / "README.md"
    assert readme.read_text("utf-8") == scaffold.RESULTS_README
