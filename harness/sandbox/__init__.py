"""Files that others wrote, met in a child that can do little else.

A template is a program, and a model file may attack its parser. A module asks itself, run
with `-m`, by `ask`, and answers there by `serve`: with limits on time, memory and output,
and confined as the measured worker is (`policy`). docs/sandbox.md says what is denied.

Standard library only: the measured child imports this package.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Final

from harness.sandbox.children import end
from harness.sandbox.environment import clean
from harness.sandbox.keeper import attend
from harness.sandbox.policy import Access, confine, limits

if TYPE_CHECKING:
    from pathlib import Path

TEXT_CHARS_MAX: Final = 1 << 20
_MEMORY_BYTES: Final = 512 << 20
_OUTPUT_BYTES: Final = 64 << 20
_OPEN_FILES: Final = 128
_WORDS_CHARS: Final = 300


def ask(
    module: str, request: Mapping[str, Any], *, timeout_s: float, readable: Sequence[Path] = ()
) -> dict[str, Any]:
    """The answer of a child that runs `module`.

    It writes into files, whose size the system bounds: a flood cannot fill this process.

    Args:
        readable: files and folders that the child may read, besides Python and its packages.

    Raises:
        TimeoutError: there was none in time; its note is the child's last words.
        ChildProcessError: there was none; its arguments are exit status and last words.
    """
    # Not at the top: the child has no use for them, and it is to start quickly.
    import subprocess
    import tempfile

    # The parent ends it first, unless the parent has been killed.
    limited = {
        **request,
        "parent": os.getpid(),
        "cpu_s": math.ceil(timeout_s) + 1,
        "readable": [os.path.realpath(path) for path in readable],
    }
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=complained,
            env=clean({"TOKENIZERS_PARALLELISM": "false"}),
            start_new_session=True,
        )
        try:
            child.communicate(json.dumps(limited).encode(), timeout_s)
        except subprocess.TimeoutExpired:
            late = TimeoutError(f"it takes more than {timeout_s:.0f} s")
            late.add_note(_last_words(complained))
            raise late from None
        finally:
            end(child)
        said.seek(0)
        try:
            answer: dict[str, Any] = json.loads(said.read())
        except (ValueError, RecursionError):
            raise ChildProcessError(child.returncode, _last_words(complained)) from None
    return answer


def _last_words(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - _WORDS_CHARS))
    return file.read().decode("utf-8", "replace").strip()


# --- the child ----------------------------------------------------------------------


def serve(answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Answer one request on standard input, within the limits."""
    request = json.load(sys.stdin)
    attend(request["parent"])
    own = {name: request[name] for name in ("memory_bytes",) if name in request}
    limit(request["cpu_s"], **own)
    confine(Access(request["readable"], home=os.path.expanduser("~")))  # noqa: PTH111
    json.dump(answer(request), sys.stdout)


def limit(cpu_s: int, memory_bytes: int = _MEMORY_BYTES) -> None:
    """Have the system end this process where it takes too much; Windows has only the timeout."""
    if sys.platform == "win32":
        return
    import resource

    limits()
    # Address space would also count what is only mapped, such as this interpreter.
    for kind, most in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_FSIZE, _OUTPUT_BYTES),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        resource.setrlimit(kind, (most, most))


def joined(parts: Iterable[str], most: int = TEXT_CHARS_MAX) -> str:
    """A text out of what a template generates.

    Raises:
        OverflowError: it has more characters.
        UnicodeEncodeError: it holds half a character.
    """
    kept: list[str] = []
    length = 0
    for part in parts:
        kept.append(part)
        length += len(part)
        if length > most:
            raise OverflowError(f"more than {most} characters")
    text = "".join(kept)
    text.encode()  # a lone surrogate is no text
    return text


def words_of(error: Exception) -> str:
    """What a template raised, in words that stay short."""
    return f"{type(error).__name__}: {str(error)[:_WORDS_CHARS]}"
