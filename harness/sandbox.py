"""Jinja templates that others wrote, rendered in a child with limits.

A template is a program. It runs in Jinja's immutable sandbox, in a process of its own with
limits on time, memory and output: a module asks itself, run with `-m`, by `ask`, and
answers there by `serve`.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import subprocess

TEXT_CHARS_MAX: Final = 1 << 20
_MEMORY_BYTES: Final = 512 << 20
_OUTPUT_BYTES: Final = 64 << 20
_OPEN_FILES: Final = 128
_WORDS_CHARS: Final = 300
_KEPT: Final = frozenset(
    {"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR"}
)


def ask(module: str, request: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
    """The answer of a child that runs `module`.

    It writes into files, whose size the system bounds: a flood cannot fill this process.

    Raises:
        TimeoutError: there was none in time; its note is the child's last words.
        ChildProcessError: there was none; its arguments are exit status and last words.
    """
    # Not at the top: the child has no use for them, and it is to start quickly.
    import subprocess
    import tempfile

    # The parent ends it first, unless the parent has been killed.
    limited = {**request, "cpu_s": math.ceil(timeout_s) + 1}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=complained,
            env=_environment(),
            start_new_session=True,
        )
        try:
            child.communicate(json.dumps(limited).encode(), timeout_s)
        except subprocess.TimeoutExpired:
            late = TimeoutError(f"it takes more than {timeout_s:.0f} s")
            late.add_note(_last_words(complained))
            raise late from None
        finally:
            _end(child)
        said.seek(0)
        try:
            answer: dict[str, Any] = json.loads(said.read())
        except ValueError:
            raise ChildProcessError(child.returncode, _last_words(complained)) from None
    return answer


def _environment() -> dict[str, str]:
    """What an interpreter needs; secrets of the user are none of a template's business."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _KEPT or name.upper().startswith(("PYTHON", "COVERAGE", "LC_"))
    } | {"TOKENIZERS_PARALLELISM": "false"}


def _end(child: subprocess.Popen[bytes]) -> None:
    """Nothing of a child is left, whatever it started."""
    if sys.platform == "win32":
        child.kill()
    else:
        import contextlib
        import signal

        # Its id is also its group's; the system does not give it to another so soon.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _last_words(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - _WORDS_CHARS))
    return file.read().decode("utf-8", "replace").strip()


# --- the child ----------------------------------------------------------------------


def serve(answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Answer one request on standard input, within the limits."""
    request = json.load(sys.stdin)
    own = {name: request[name] for name in ("memory_bytes",) if name in request}
    limit(request["cpu_s"], **own)
    json.dump(answer(request), sys.stdout)


def limit(cpu_s: int, memory_bytes: int = _MEMORY_BYTES) -> None:
    """Have the system end this process where it takes too much; Windows has only the timeout."""
    if sys.platform == "win32":
        return
    import resource

    # Address space would also count what is only mapped, such as this interpreter.
    for kind, most in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, _OUTPUT_BYTES),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        resource.setrlimit(kind, (most, most))


def joined(parts: Iterable[str], most: int = TEXT_CHARS_MAX) -> str:
    """A text out of what a template generates.

    Raises:
        ValueError: it has more characters. UnicodeEncodeError: it holds half a character.
    """
    kept: list[str] = []
    length = 0
    for part in parts:
        kept.append(part)
        length += len(part)
        if length > most:
            raise ValueError(f"more than {most} characters")
    text = "".join(kept)
    text.encode()  # a lone surrogate is no text
    return text


def words_of(error: Exception) -> str:
    """What a template raised, in words that stay short."""
    return f"{type(error).__name__}: {str(error)[:_WORDS_CHARS]}"
