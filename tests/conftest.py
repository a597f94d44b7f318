"""What all tests share: compiled modules, a fake model and the command as its users run it."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import io
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from harness.execute import prime

FakeModel = Callable[..., Path]
Harness = Callable[..., subprocess.CompletedProcess[str]]


# Containers often forbid it: each of a thousand children would then compile anew what it
# imports, which is two thirds of its time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


settings.register_profile("busy", deadline=None)  # a machine that does something else is no bug
settings.load_profile("busy")


def pytest_sessionstart() -> None:
    """Compile what mostly confined children import: they may not write."""
    found = importlib.util.find_spec("jinja2")
    if found and found.cached and not Path(found.cached).exists():
        prime(("jinja2", "onnx", "tokenizers"))


def pytest_collection_finish() -> None:
    """Thousands of tests and modules are here to stay: `gc.collect()` need not look at them."""
    gc.collect()
    gc.freeze()


def examples(few: int, many: int) -> int:
    """How many examples Hypothesis tries where one costs a child: many if HARNESS_TESTS=full."""
    return many if os.environ.get("HARNESS_TESTS") == "full" else few


def tree(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Everything below a folder: kind, size, time of change, and content of small files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        plain = stat.S_ISREG(status.st_mode) and status.st_size < 1 << 24
        found[str(path.relative_to(folder))] = (
            *(status.st_mode, status.st_size, status.st_mtime_ns),
            path.read_bytes() if plain else b"",
        )
    return found


def interruptible() -> None:
    """In a child before it starts: what a script puts in the background ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def fake_model(tmp_path: Path) -> FakeModel:
    """Write a `*.fake.json` model with the given fields and return its path."""

    def write(name: str = "toy", **fields: object) -> Path:
        path = tmp_path / f"{name}.fake.json"
        path.write_text(json.dumps(fields), "utf-8")
        return path

    return write


@pytest.fixture
def run_harness(tmp_path: Path) -> Harness:
    """Run the `harness` command as a user does."""

    def run(
        *arguments: object, cwd: Path = tmp_path, check: int | None = 0, child: bool = False
    ) -> subprocess.CompletedProcess[str]:
        done = (in_child if child else in_process)([str(word) for word in arguments], cwd)
        if check is not None:
            assert done.returncode == check, done.stderr + done.stdout
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


_TERMINAL = {"COLUMNS": "100", "NO_COLOR": "1"}


def in_child(words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-m", "harness", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **_TERMINAL},
    )


def data_limit() -> tuple[int, int] | None:
    """How much memory this process may take; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrlimit(resource.RLIMIT_DATA)


def in_process(words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same entry point without a new interpreter, whose imports take most of the time."""
    from harness import messages
    from harness.__main__ import main

    lang = messages.language()
    said, complained = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    limits = data_limit()
    code: object = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complained),
    ):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["harness", *words])
        for name, value in _TERMINAL.items():
            patch.setenv(name, value)
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            messages.speak(lang)
            for number, handler in before.items():
                signal.signal(number, handler)
    texts = []
    for stream in (said, complained):
        stream.seek(0)
        texts.append(stream.read())
    assert isinstance(code, int), code
    assert data_limit() == limits, "this command limits its process: child=True"
    return subprocess.CompletedProcess(words, code, *texts)
