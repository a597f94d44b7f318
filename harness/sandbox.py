"""Jinja templates that others wrote, rendered in a child with limits.

A template is a program. It runs in Jinja's immutable sandbox, in a process of its own with
limits on time, memory and output: a module asks itself, run with `-m`, by `ask`, and
answers there by `serve`.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

TEXT_CHARS_MAX: Final = 1 << 20
_MEMORY_BYTES: Final = 512 << 20
_WORDS_CHARS: Final = 300


def ask(module: str, request: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
    """The answer of a child that runs `module`.

    Raises:
        TimeoutError: there was none in time.
        ChildProcessError: there was none; its arguments are exit status and last words.
    """
    # The parent ends it first, unless the parent has been killed.
    limited = {**request, "cpu_s": math.ceil(timeout_s) + 1}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module],
            input=json.dumps(limited).encode(),
            capture_output=True,
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
    json.dump(answer(request), sys.stdout)


def limit(cpu_s: int) -> None:
    """Have the system end this process where it takes too much; Windows has only the timeout."""
    if sys.platform == "win32":
        return
    import resource

    # Address space would also count what is only mapped, such as this interpreter.
    for kind, most in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_DATA, _MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
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
