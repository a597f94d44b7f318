"""A folder's manifest: what is right passes, and every kind of change is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.kit import manifest
from harness.kit.install import is_safe

ABOUT = {"kind": "kit", "models": ["a", "가"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a manifest."""
    root = tmp_path / "folder"
    (root / "models" / "하나").mkdir(parents=True)
    (root / "models" / "하나" / "a.gguf").write_bytes(b"weights")
    (root / "b.txt").write_text("text")
    manifest.write(root, ABOUT)
    return root


def test_the_manifest_is_sorted_and_the_same_each_time(folder: Path) -> None:
    first = (folder / "MANIFEST.json").read_bytes()
    manifest.write(folder, ABOUT)
    assert (folder / "MANIFEST.json").read_bytes() == first
    value = json.loads(first)
    assert [entry["path"] for entry in value["files"]] == ["b.txt", "models/하나/a.gguf"]
    assert value["files"][0]["size_bytes"] == 4
    assert value["about"] == ABOUT


def test_an_untouched_folder_is_right(folder: Path) -> None:
    assert manifest.verify(folder) == ABOUT
    (folder / ".DS_Store").write_text("what looking at a folder leaves behind")
    (folder / "empty").mkdir()
    assert manifest.verify(folder) == ABOUT


def test_what_is_ignored_is_neither_written_nor_checked(folder: Path) -> None:
    (folder / "results").mkdir()
    (folder / "results" / "run.json").write_text("{}")
    with pytest.raises(SpecError, match=r"results/run.json: extra"):
        manifest.verify(folder)
    assert manifest.verify(folder, frozenset({"results"})) == ABOUT
    manifest.write(folder, ABOUT, frozenset({"results"}))
    assert "run.json" not in (folder / "MANIFEST.json").read_text("utf-8")


def _change_byte(root: Path) -> None:
    (root / "b.txt").write_text("test")


def _link(root: Path) -> None:
    (root / "b.txt").rename(root.parent / "elsewhere")
    (root / "b.txt").symlink_to(root.parent / "elsewhere")


def _folder_link(root: Path) -> None:
    (root / "models").rename(root.parent / "others")
    (root / "models").symlink_to(root.parent / "others")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "b.txt").unlink(), r"b\.txt: missing"),
        (lambda root: (root / "c.txt").touch(), r"c\.txt: extra, the manifest does not have it"),
        (_change_byte, r"b\.txt: changed, its sha256 is another"),
        (
            lambda root: (root / "b.txt").write_text("texts"),
            r"b\.txt: changed, 5 bytes instead of 4",
        ),
        (_link, r"b\.txt: a link, allowed are plain files"),
        (_folder_link, r"models: a link"),
        (lambda root: os.mkfifo(root / "pipe"), r"pipe: neither a file nor a folder"),
        (lambda root: (root / "a\nb").touch(), r"'a\\nb': extra"),
        (lambda root: (root / "MANIFEST.json").unlink(), r"MANIFEST\.json: missing"),
        (lambda root: (root / "MANIFEST.json").write_text("{"), r"cannot be read: Expecting"),
        (lambda root: (root / "MANIFEST.json").write_text("[" * 99999), "cannot be read"),
        (lambda root: (root / "MANIFEST.json").write_text("[]"), "not a manifest of format 1"),
        (
            lambda root: (root / "MANIFEST.json").write_text('{"format": 1, "format": 1}'),
            "a key is there twice",
        ),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="links and pipes are made")
def test_every_change_is_named(
    folder: Path, change: Callable[[Path], object], message: str
) -> None:
    change(folder)
    with pytest.raises(SpecError, match=message) as caught:
        manifest.verify(folder)
    assert caught.value.reason == "manifest_broken"
    assert "copy the folder again" in str(caught.value)


def _entry(**changed: object) -> dict[str, Any]:
    return {"path": "a", "size_bytes": 1, "sha256": "0" * 64, **changed}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([_entry(path="../a")], r"\.\./a is no name inside the folder"),
        ([_entry(path="/etc/passwd")], "no name inside"),
        ([_entry(path="a//b")], "no name inside"),
        ([_entry(path="a/./b")], "no name inside"),
        ([_entry(path="a\\b")], "no name inside"),
        ([_entry(path="C:a")], "no name inside"),
        ([_entry(path="aux.txt")], "no name inside"),
        ([_entry(path="a. ")], "no name inside"),
        ([_entry(path="a\x1b[2J")], r"'a\\x1b\[2J' is no name"),
        ([_entry(path="MANIFEST.json")], "no name inside"),
        ([_entry(path=7)], "no name inside"),
        ([_entry(), _entry()], "a is there twice"),
        ([_entry(path="A"), _entry()], "a is there twice"),
        ([_entry(path="b"), _entry()], "not in order"),
        ([_entry(size_bytes=-1)], "the size of a is no number of bytes"),
        ([_entry(size_bytes=True)], "the size of a is no number of bytes"),
        ([_entry(sha256="0" * 63)], "the sha256 of a is not 64 hex digits"),
        ([_entry(more=1)], "an entry is not 'path', 'size_bytes' and 'sha256'"),
        (["a"], "an entry is not"),
        ({"a": 1}, "'files' is no list"),
    ],
)
def test_a_manifest_that_lies_is_refused(folder: Path, files: object, message: str) -> None:
    value = {"format": 1, "about": {}, "files": files}
    (folder / "MANIFEST.json").write_text(json.dumps(value))
    with pytest.raises(SpecError, match=message):
        manifest.verify(folder)


@given(st.text(alphabet="ab./\\:. \x00가~", min_size=1, max_size=12))
def test_a_safe_name_stays_inside(name: str) -> None:
    if is_safe(name):
        root = os.path.normpath("/any/kit")
        assert os.path.normpath(f"{root}/{name}").startswith(root + os.sep)
        assert name == os.path.normpath(name).replace(os.sep, "/")


@pytest.mark.parametrize("name", ["a", "models/qwen2.5-0.5b.gguf", "가/나.json", "a..b", ".hidden"])
def test_ordinary_names_are_safe(name: str) -> None:
    assert is_safe(name)


def test_a_link_is_never_written_down(folder: Path) -> None:
    (folder / "link").symlink_to("b.txt")
    with pytest.raises(SpecError, match="link: a link, allowed are plain files"):
        manifest.write(folder, ABOUT)


def test_a_name_that_windows_refuses_is_never_written_down(folder: Path) -> None:
    (folder / "a:b").touch()
    with pytest.raises(SpecError, match="a:b: a name that not every system can have"):
        manifest.write(folder, ABOUT)
