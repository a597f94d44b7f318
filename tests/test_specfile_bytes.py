"""Files that are no specification at all: bytes, pipes, bombs and mutants."""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.specfile import load_device, load_profile
from tests.test_specfile import DEVICE, LOADERS, PROFILE, VALID, complaint


@pytest.mark.parametrize(
    ("content", "line", "message", "allowed"),
    [
        (b"", "", "the file is empty", "lines of the form 'key: value'"),
        (b"# only a comment\n", "", "the file is empty", "lines of the form 'key: value'"),
        (b"- a\n- b\n", ":1", "the file holds a list at its top level", "lines of the form"),
        (b"42\n", ":1", "the file holds a whole number at its top level", "lines of the form"),
        ("models:\n# 모델\n".encode("cp949"), ":2", "byte 0xb8 is not UTF-8",
         "UTF-8: save the file again as UTF-8"),
        (codecs.BOM_UTF16_LE + "models: []".encode("utf-16-le"), ":1", "the file is UTF-16",
         "UTF-8: save it again as UTF-8"),
        (b"#" * (1 << 20) + b"\n", "", "the file is larger than 1 MiB", "at most 1 MiB"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_specification(
    tmp_path: Path, content: bytes, line: str, message: str, allowed: str
) -> None:
    error = complaint(tmp_path, "models", content)
    assert error.where == f"{tmp_path / 'models.yaml'}{line}"
    assert error.message == message
    assert allowed in error.allowed
    assert error.hint == ("correct it, then: harness models list" if line else "harness init")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "absent.yaml", "there is no such file"),
        (tmp_path, "this is not a file"),
        (Path("nul\0byte.yaml"), "the file cannot be read: embedded null byte"),
    ):
        with pytest.raises(SpecError, match=message) as caught:
            load_profile(path)
        assert caught.value.where == str(path)
        assert "YAML file" in caught.value.allowed
        assert caught.value.hint == "harness init"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(SpecError, match="this is not a file"):
        load_device(tmp_path / "pipe.yaml")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "device.yaml"
    path.write_text(DEVICE)
    path.chmod(0)
    with pytest.raises(SpecError, match="the file cannot be read: Permission denied"):
        load_device(path)


def test_an_alias_bomb_ends_at_its_first_alias(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    error = complaint(tmp_path, "models", "\n".join(rows))
    assert error.where.endswith(":2")
    assert "alias '*a0' is not allowed" in error.message


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(LOADERS)),
    place=st.integers(0, len(PROFILE)),
    drop=st.integers(0, 12),
    insert=st.text("abz019:-#{}[]&*!|>'\"%@`,?\\ \n\t\x07\u200b한", max_size=6),
)
def test_no_mutation_escapes_as_anything_but_a_complaint(
    tmp_path_factory: pytest.TempPathFactory, kind: str, place: int, drop: int, insert: str
) -> None:
    text = VALID[kind]
    path = tmp_path_factory.getbasetemp() / "mutant.yaml"
    path.write_text(text[:place] + insert + text[place + drop :], "utf-8")
    try:
        LOADERS[kind](path)
    except SpecError as error:
        complaints = [error]
    else:
        complaints = []
    for complained in complaints:
        assert complained.where.startswith(str(path))
        assert complained.hint
        assert "\x07" not in str(complained)
