"""Folders of strangers: links, devices, programs and odd names are refused, models are not."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.models import resolve
from harness.models.reference import materialise
from harness.preflight import folder
from harness.preflight.rules import RULES

posix = pytest.mark.skipif(sys.platform == "win32", reason="links and fifos of POSIX")


@pytest.fixture
def submitted(tmp_path: Path) -> Path:
    """A folder as a startup sends it: a model, a card, a licence, what tools leave behind."""
    made = shutil.copytree(materialise("ref-2m.f32.safetensors"), tmp_path / "sent")
    for name in ("README.md", "LICENSE", "LICENCE.txt", "NOTICE", ".gitattributes"):
        (made / name).write_text("text")
    (made / ".cache" / "huggingface").mkdir(parents=True)
    (made / ".cache" / "huggingface" / "x.lock").touch()
    (made / "onnx").mkdir()
    return made


def refused(made: Path) -> SpecError:
    with pytest.raises(SpecError) as caught:
        folder.check(made)
    assert caught.value.allowed == RULES[caught.value.reason]
    assert caught.value.hint
    return caught.value


def test_an_honest_folder_passes(submitted: Path) -> None:
    folder.check(submitted)
    resolve.resolve(resolve.model_from_path(str(submitted)), Path())


@posix
@pytest.mark.parametrize(
    ("do", "rule", "words"),
    [
        (lambda f: (f / "a.json").symlink_to("/etc/passwd"), "file_link", "symbolic"),
        (lambda f: (f / "a.json").symlink_to("config.json"), "file_link", "symbolic"),
        (lambda f: (f / "onnx" / "x").symlink_to(".."), "file_link", "symbolic"),
        (lambda f: (f / ".cache2").symlink_to("/"), "file_link", "symbolic"),
        (lambda f: (f / ".git").symlink_to("/"), "file_link", "symbolic"),
        (lambda f: os.link(f / "config.json", f / "x.json"), "file_link", "2 names (hard links)"),
        (lambda f: os.link(__file__, f / "x.json"), "file_link", "2 names (hard links)"),
        (lambda f: os.mkfifo(f / "x.json"), "file_kind", "no regular file"),
        (lambda f: (f / "a\x1b[2J.json").touch(), "file_name", "its name is"),
        (lambda f: (f / os.fsdecode(b"\xff.json")).touch(), "file_name", "not UTF-8"),
        (lambda f: (f / "pytorch_model.bin").touch(), "file_type", "a pickle can run code"),
        (lambda f: (f / "modeling.py").touch(), "file_type", "a program"),
        (lambda f: (f / "onnx" / "ops.so").touch(), "file_type", "native code"),
        (lambda f: (f / "OPS.DLL").touch(), "file_type", "native code"),
        (lambda f: (f / "more.zip").touch(), "file_type", "an archive"),
        (lambda f: (f / "run").touch(), "file_type", "'run' is no type"),
        (lambda f: (f / ".env").touch(), "file_type", "no type of file"),
        (lambda f: (f / "/".join("abcdefghi")).mkdir(parents=True), "folder_size", "8 deep"),
    ],
)
def test_what_no_submission_holds(
    submitted: Path, tmp_path: Path, do: Callable[[Path], None], rule: str, words: str
) -> None:
    do(submitted)
    error = refused(submitted)
    assert error.reason == rule
    assert words in error.message
    assert "\x1b" not in str(error)
    with pytest.raises(SpecError) as caught:
        resolve.resolve(resolve.model_from_path(str(submitted)), Path())
    assert caught.value.reason == rule


def test_a_million_files_are_not_counted(submitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "FILES_MAX", 5)
    assert refused(submitted).reason == "folder_size"


@pytest.mark.parametrize(
    "name",
    [
        "model.onnx",
        "model_q4.onnx_data",
        "model.onnx_data_1",
        "model.onnx.data",
        "tokenizer.model",
        "chat_template.jinja",
        "LICENSE-MODEL",
        "README.ko.md",
        "USAGE_POLICY",
        "한국어.json",
    ],
)
def test_types_that_models_have(tmp_path: Path, name: str) -> None:
    folder.check_type(tmp_path / name, name)


@pytest.mark.parametrize("name", ["a.gguf.exe", "x.json.py", "data", "LICENSE.sh", "README.so"])
def test_types_by_the_end_of_the_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError) as caught:
        folder.check_type(tmp_path / name, name)
    assert caught.value.reason == "file_type"
