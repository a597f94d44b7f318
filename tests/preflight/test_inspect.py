"""The limited child: its facts arrive, and however it ends, the harness goes on."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from harness import preflight, sandbox
from harness.errors import SpecError
from harness.preflight.rules import RULES
from tests.preflight.forged import model, write

posix = pytest.mark.skipif(sys.platform == "win32", reason="limits are of POSIX")


@pytest.fixture
def misbehave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_CHILD", "tests.preflight.misbehaving")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def test_facts_come_back(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", model(harness__synthetic=(7, b"\1")))
    assert preflight.inspect(path, "gguf") == preflight.Facts(
        context=128, synthetic=True, weights={"kv_bytes": 64}
    )


def test_a_refusal_comes_back_as_the_child_said_it(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", model(data=0)[:500])
    with pytest.raises(SpecError) as caught:
        preflight.inspect(path, "gguf")
    error = caught.value
    assert (error.reason, error.allowed) == ("gguf_truncated", RULES["gguf_truncated"])
    assert error.where == f"{path}: byte 485"
    assert "of a file of 500 bytes" in error.message


@posix
@pytest.mark.usefixtures("misbehave")
@pytest.mark.parametrize(
    ("how", "rule", "words"),
    [
        ("hang", "preflight_limit", "takes more than 1 s"),
        ("tokenizer-hang", "tokenizer_limit", "takes more than 1 s"),
        ("spin", "preflight_limit", "takes more than 1 s"),
        ("flood", "preflight_crashed", "ended with status"),
        ("abort", "preflight_crashed", "ended with status -6"),
        ("killed", "preflight_limit", "ended with status -9"),
        ("grow", "preflight_crashed", "ended with status 1"),
        ("nonsense", "preflight_crashed", "gave no answer"),
        ("stranger", "preflight_crashed", "gave no answer"),
    ],
)
def test_a_child_that_misbehaves_is_a_refusal(
    tmp_path: Path, how: str, rule: str, words: str
) -> None:
    began = time.monotonic()
    with pytest.raises(SpecError) as caught:
        preflight.inspect(write(tmp_path / f"{how}.gguf", b"x"), "gguf", timeout_s=1.0)
    assert caught.value.reason == rule
    assert words in caught.value.message
    assert "harness models check" in caught.value.hint
    assert time.monotonic() - began < 10


@pytest.mark.usefixtures("misbehave")
def test_a_child_that_behaves_is_believed(tmp_path: Path) -> None:
    assert preflight.inspect(write(tmp_path / "fine.gguf", b"x"), "gguf").context == 7


@posix
@pytest.mark.usefixtures("misbehave")
def test_secrets_are_not_handed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(sandbox, "_WORDS_CHARS", 1 << 16)
    request = {"path": str(tmp_path / "environment")}
    with pytest.raises(ChildProcessError) as caught:
        sandbox.ask("tests.preflight.misbehaving", request, timeout_s=10)
    inherited = json.loads(caught.value.args[1])
    assert "HF_TOKEN" not in inherited
    assert inherited["PYTHONPATH"] == os.environ["PYTHONPATH"]


def test_only_files_and_folders_are_opened(tmp_path: Path) -> None:
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "m.gguf")
        with pytest.raises(SpecError, match="no regular file") as caught:
            preflight.inspect(tmp_path / "m.gguf", "gguf")
        assert caught.value.reason == "file_kind"


def test_a_person_may_link_to_a_file_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", model())
    (tmp_path / "soft.gguf").symlink_to(path)
    os.link(path, tmp_path / "hard.gguf")
    for name in ("m", "soft", "hard"):
        assert preflight.inspect(tmp_path / f"{name}.gguf", "gguf").context == 128
