"""This process's share of the processors, which a worker of the same user could change.

No filter can tell a worker's threads from others by their numbers, and engines place their
threads. But what is changed here would be inherited by the next job: one model's engine
could slow down all the others. So it is looked at before and after each job.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NamedTuple


class Standing(NamedTuple):
    """Processors, priority and policy of scheduling."""

    processors: frozenset[int] = frozenset()
    niceness: int = 0
    policy: int = 0


def standing() -> Standing:
    """Of this process; the same everywhere but on Linux."""
    if sys.platform != "linux":
        return Standing()
    return Standing(
        frozenset(os.sched_getaffinity(0)),
        os.getpriority(os.PRIO_PROCESS, 0),
        os.sched_getscheduler(0),
    )


def restore(before: Standing) -> str:
    """Take back what has changed; returns what it was, empty for nothing."""
    found = standing()
    if sys.platform != "linux" or found == before:
        return ""
    # Who is not root may not raise a priority again: then it is said, and stays.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, before.policy, os.sched_param(0))
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, before.niceness)
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, before.processors)
    changed = [
        f"{name} {was} became {now}"
        for name, was, now in (
            ("processors", sorted(before.processors), sorted(found.processors)),
            ("niceness", before.niceness, found.niceness),
            ("policy", before.policy, found.policy),
        )
        if was != now
    ]
    return "the harness's own " + ", ".join(changed)
