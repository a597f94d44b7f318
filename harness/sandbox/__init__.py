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
from typing import TYPE_CHECKING, Any, Final

from harness.sandbox.environment import clean
from harness.sandbox.policy import Access, confine, limits

if TYPE_CHECKING:
    from pathlib import Path

TEXT_CHARS_MAX: Final = 1 << 20
_MEMORY_BYTES: Final = 512 << 20
_WORDS_CHARS: Final = 300


def ask(
    module: str, request: Mapping[str, Any], *, timeout_s: float, readable: Sequence[Path] = ()
) -> dict[str, Any]:
    """The answer of a child that runs `module`.

    Args:
        readable: files and folders that the child may read, besides Python and its packages.

    Raises:
        TimeoutError: there was none in time.
        ChildProcessError: there was none; its arguments are exit status and last words.
    """
    # Not at the top: the measured child asks nobody.
    import subprocess

    limited = {
        **request,
        # The parent ends it first, unless the parent has been killed.
        "cpu_s": math.ceil(timeout_s) + 1,
        "readable": [os.path.realpath(path) for path in readable],
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module],
            input=json.dumps(limited).encode(),
            capture_output=True,
            env=clean({}),
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"it takes more than {timeout_s:.0f} s") from error
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        words = done.stderr.decode("utf-8", "replace").strip()[-_WORDS_CHARS:]
        raise ChildProcessError(done.returncode, words) from None
    return answer


# --- the child ----------------------------------------------------------------------


def serve(answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Answer one request on standard input, within the limits."""
    request = json.load(sys.stdin)
    limit(request["cpu_s"])
    confine(Access(request["readable"], home=os.path.expanduser("~")))  # noqa: PTH111
    json.dump(answer(request), sys.stdout)


def limit(cpu_s: int) -> None:
    """Have the system end this process where it takes too much; Windows has only the timeout."""
    if sys.platform == "win32":
        return
    import resource

    limits()
    # Address space would also count what is only mapped, such as this interpreter.
    for kind, most in ((resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_DATA, _MEMORY_BYTES)):
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
