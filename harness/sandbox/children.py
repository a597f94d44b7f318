"""A parent's side of a confined child: wait for it without polling, and leave nothing of it.

A child and what it starts are a session and a group, ended whole; where the child may start
processes on Linux, its keeper finds those that left the group (`keeper`). macOS has neither:
what leaves the group there outlives it. On Windows a job object holds a single process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from harness.sandbox import keeper

if TYPE_CHECKING:
    import subprocess

_KEEPER_ENDS_S = 3.0
_ENDS_S = 1.0
"""What is killed ends at once, unless a driver or a file server holds it."""


def wait(child: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Block until the child ends; False when the deadline passed first.

    On Linux through a process descriptor: `Popen.wait` with a timeout polls there, and
    waking up twenty times a second beside a measurement is a disturbance.
    """
    import select
    import subprocess

    if hasattr(os, "pidfd_open") and child.returncode is None:
        descriptor = os.pidfd_open(child.pid)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(timeout_s * 1000))
        finally:
            os.close(descriptor)
    try:
        child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def end(child: subprocess.Popen[bytes]) -> int | None:
    """End a child that was started in a session of its own, and all that it started.

    Returns:
        Its exit status; None where the system does not let go of it, some seconds later.
    """
    if sys.platform == "win32":
        child.kill()
    else:
        kept = keeper.is_used()
        if kept:
            child.terminate()  # its keeper, unless it has ended
            wait(child, _KEEPER_ENDS_S)
        # Not yet reaped, its number is its own; the group has it for as long as it has members.
        if not kept or child.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
    return child.wait() if wait(child, _ENDS_S) else None
