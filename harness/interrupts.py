"""Ctrl-C, SIGTERM and SIGHUP, held back while a worker runs and its records are adopted.

Python raises an interrupt between any two instructions: between a child's start and the `try`
that would end it, or within the `finally` that does. While they are held, a handler only notes
that one came; what waits for a long time is left at once.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # SIGHUP: the terminal was closed
_Result = TypeVar("_Result")


class Held:
    """Interrupts that are held back."""

    def __init__(self) -> None:
        self.came = False
        """Whether there was one. Who holds them back ends when he has done his work."""
        self._leaving = False

    def wait(self, wait: Callable[[], _Result]) -> _Result | None:
        """What `wait` returns; None where an interrupt came, before or meanwhile."""
        try:
            self._leaving = True
            found = None if self.came else wait()
            self._leaving = False
        except KeyboardInterrupt:
            return None
        finally:
            self._leaving = False
        return found

    def note(self, _signal: int, _frame: FrameType | None) -> None:
        """Handler of a signal."""
        self.came = True
        if self._leaving:
            self._leaving = False  # a second one must not meet whoever handles the first
            raise KeyboardInterrupt


_held: Held | None = None


@contextlib.contextmanager
def held() -> Iterator[Held]:
    """Hold interrupts back; within another `held`, it is the same.

    Nothing is raised at the end: look at `came`. In a thread that is not the main one, where
    Python raises none, nothing happens. Signals that somebody ignores stay ignored.
    """
    global _held  # noqa: PLW0603 - a process has one set of handlers
    if threading.current_thread() is not threading.main_thread():
        yield Held()
        return
    if _held:
        yield _held
        return
    hold = Held()
    before = {
        number: handler
        for name in _NAMES
        if (number := getattr(signal, name, None)) and callable(handler := signal.getsignal(number))
    }
    try:
        for number in before:
            signal.signal(number, hold.note)
        _held = hold
        yield hold
    finally:
        _held = None
        while before:
            # A handler that is back may raise before the next one is.
            try:
                for number in tuple(before):
                    signal.signal(number, before[number])
                    del before[number]
            except KeyboardInterrupt:
                hold.came = True
