"""Words of commands that people copy."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest

from harness import errors


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("results/20261127T163630Z-1bb05c", "results/20261127T163630Z-1bb05c"),
        ("my results/a", "'my results/a'"),
        ("it's; rm -rf ~", "'it'\"'\"'s; rm -rf ~'"),
        ("a\x1b[2Jb", "'a\\u001b[2Jb'"),
    ],
)
def test_a_path_is_one_word_of_a_shell(
    monkeypatch: pytest.MonkeyPatch, path: str, word: str
) -> None:
    monkeypatch.setattr(errors.sys, "platform", "linux")
    assert errors.quoted(PurePosixPath(path)) == word


@pytest.mark.parametrize(
    ("path", "word"),
    [
        (r"C:\results\20261127T163630Z-1bb05c", r"C:\results\20261127T163630Z-1bb05c"),
        (r"C:\내 결과\a", '"C:\\내 결과\\a"'),
        (r"C:\R&D\a", '"C:\\R&D\\a"'),
        (r"C:\100%\a", '"C:\\100%\\a"'),
        (r"C:\결과\a", r"C:\결과\a"),
    ],
)
def test_a_path_is_one_word_of_cmd_exe(
    monkeypatch: pytest.MonkeyPatch, path: str, word: str
) -> None:
    monkeypatch.setattr(errors.sys, "platform", "win32")
    assert errors.quoted(PureWindowsPath(path)) == word
