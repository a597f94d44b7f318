"""Ends with a worker whatever it started, where no filter forbids it to start anything (Linux).

A process started twice over, in a session of its own, has left the worker's group, and nobody
asks after it. So such a worker is born twice: the process that the harness started stays behind
as its keeper, to which the kernel hands every descendant whose parent has ended. Groups and
sessions can be left, descent cannot; and what else the harness's process has started is not
among the keeper's descendants. The keeper sleeps until the worker has ended, the harness has,
or the harness says so (SIGTERM). Then it kills its children until it has none.

It kills nobody else: only the keeper can reap its children, so that a number that it kills
cannot have become a stranger's.

Standard library only: the measured child imports this.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import Any, Final, NoReturn

from harness import kernelfs
from harness.sandbox.policy import starts_processes

NAME: Final = b"harness-keeper"
"""As `ps` shows it."""
_GIVES_UP_S = 10.0
"""A child of another user, or one that a driver holds, cannot be killed."""
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
_PR_SET_NAME, _PR_GET_NAME = 15, 16


def attend(parent: int) -> None:
    """What a child does first: it is not to outlive the harness, nor what it starts itself.

    Args:
        parent: the harness's process.

    Raises:
        OSError: no process could be started.
    """
    end_with(parent)
    if is_used():
        keep(parent)


def is_used() -> bool:
    """Whether children have keepers."""
    return sys.platform == "linux" and starts_processes()


def end_with(parent: int, number: int = 9) -> None:
    """Be killed when the parent dies, or the next run would be measured beside us.

    Linux means the thread that started this process: it must outlive us. On macOS it takes the
    interpreter's lock, which an engine may hold. On Windows a job object does it.

    Args:
        parent: its process. Where that has ended by now, this process ends at once.
        number: another signal in the place of SIGKILL, on Linux.
    """
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)
    elif sys.platform == "darwin":
        import threading

        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: int) -> None:
    """Sleep until a process has ended, and end. Untested on hardware."""
    if sys.platform == "darwin":
        import select

        its_end = (parent, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        with contextlib.suppress(ProcessLookupError):  # it has ended
            select.kqueue().control([select.kevent(*its_end)], 1)
        os._exit(1)


def keep(parent: int) -> None:
    """Go on in a new process, whose keeper this one becomes; Linux.

    Args:
        parent: the harness.

    Raises:
        OSError: no process could be started.
    """
    import ctypes

    before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # inherited, it might be ignored
    prctl, own_name = _libc().prctl, ctypes.create_string_buffer(16)
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(_PR_GET_NAME, own_name)
    prctl(_PR_SET_NAME, NAME)
    end_with(parent, signal.SIGTERM)
    keeper = os.getpid()
    if worker := os.fork():
        _watch(worker)
    prctl(_PR_SET_NAME, own_name)
    os.setsid()  # signals to its group are not the keeper's
    end_with(keeper)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch(worker: int) -> NoReturn:
    """Sleep until it is time, end all children, and end as the worker did."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):  # the worker's pipes end with the worker
        os.dup2(nowhere, descriptor)
    status, left = None, True
    while status is None and signal.sigwait({signal.SIGCHLD, signal.SIGTERM}) == signal.SIGCHLD:
        ended, left = _reaped()
        status = ended.get(worker)
    deadline_s = time.monotonic() + _GIVES_UP_S
    while left and time.monotonic() < deadline_s:
        for child in _children() or [worker]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        # Those of a child that dies become ours: there may be more next time.
        signal.sigtimedwait({signal.SIGCHLD}, 0.01)
        ended, left = _reaped()
        status = ended.get(worker, status)
    _end_as(status)


def _children() -> list[int]:
    """This process's; of a single thread."""
    me = os.getpid()
    return [int(word) for word in kernelfs.data(f"/proc/{me}/task/{me}/children").split()]


def _reaped() -> tuple[dict[int, int], bool]:
    """Statuses of children that have ended, and whether there are others."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.update([found])
        return ended, True
    return ended, False


def _end_as(status: int | None) -> NoReturn:
    """End with another process's status; by the same signal where that ended it."""
    if status is not None and os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        _libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # there is nothing to see in our memory
        with contextlib.suppress(OSError):  # SIGKILL has no other action
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os._exit(1 if status is None else os.WEXITSTATUS(status))


def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None)
