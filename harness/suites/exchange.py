"""Questions from the parent, answers back: one JSON line each way over the worker's pipes.

The worker never sees a file of items, nor an answer: the parent sends one prompt, waits,
and marks what comes back. Standard output is taken away from the engine first, which may
print whatever it likes: that goes to standard error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Final

Message = Mapping[str, Any]
MAX_BYTES: Final = 1 << 26
"""Of a message: more than the longest question with its shots."""

_pipes: tuple[IO[bytes], IO[bytes]] | None = None


def open_pipes() -> None:
    """Keep standard input and output for questions; to be called before an engine is loaded."""
    global _pipes  # noqa: PLW0603  (a process has one standard input)
    if _pipes is None:
        questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        _pipes = questions, answers


def pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Where questions come from and answers go to.

    Raises:
        RuntimeError: `open_pipes` was not called.
    """
    if _pipes is None:
        raise RuntimeError("the worker was not started to be asked questions")
    return _pipes


def write(pipe: IO[bytes], message: Message) -> None:
    """Send one message."""
    pipe.write(json.dumps(message, ensure_ascii=True).encode() + b"\n")
    pipe.flush()


def read(pipe: IO[bytes]) -> dict[str, Any] | None:
    """The next message; None where the other side has ended.

    Raises:
        ValueError: it is no JSON object, or too long.
    """
    line = pipe.readline(MAX_BYTES)
    if not line.endswith(b"\n"):
        if len(line) == MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        return None
    try:
        message = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(message, dict):
        raise ValueError("no JSON object")  # noqa: TRY004  (whatever it is, it is no message)
    return message


def serve(case: str, answer: Callable[[Message], Message]) -> Iterator[int]:
    """Answer the questions of a case until the parent says that there are no more.

    Yields:
        How many were answered so far, after each.
    """
    questions, answers = pipes()
    write(answers, {"ready": case})
    count = 0
    while (question := read(questions)) is not None and "end" not in question:
        write(answers, answer(question))
        count += 1
        yield count
