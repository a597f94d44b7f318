"""An engine that does to its process what its model's name says, while loading."""

from __future__ import annotations

import ctypes
import itertools
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from harness.backends.base import LoadReport
from harness.backends.fake import FakeBackend
from harness.spec import BackendOptions

GROUP = "HARNESS_TEST_MEMORY_GROUP"
"""Variable with a control group's folder, whose memory is little."""
_FOR_EVER_S = 3600
_KEPT: list[object] = []


def ignore_everything() -> None:
    """Every signal that can be blocked or ignored."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    spin()


def spin() -> NoReturn:
    """In C, without looking at signals or giving up the interpreter's lock."""
    sum(itertools.repeat(0))
    raise AssertionError


def stop() -> None:
    """As a debugger or Ctrl-Z does."""
    os.kill(os.getpid(), signal.SIGSTOP)


def daemon(work: Callable[[], object] = lambda: time.sleep(_FOR_EVER_S)) -> None:
    """A process started twice over in a session of its own; here one goes on, and is good."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            work()
        os._exit(0)
    os.wait()


def daemons() -> None:
    """Ten of them, and no end."""
    for _ in range(10):
        daemon()
    spin()


def run_away() -> None:
    """A process that is another one every moment, each in a session of its own."""
    if os.fork() == 0:
        while os.fork() == 0:
            os.setsid()
        os._exit(0)
    spin()


def fork_on_and_on() -> None:
    """Children and grandchildren, as many as come up to the deadline."""
    while True:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(_FOR_EVER_S)
            time.sleep(_FOR_EVER_S)
        time.sleep(0.005)


def leave_a_zombie() -> None:
    """A child that has ended, and that nobody asks after."""
    if os.fork() == 0:
        os._exit(0)


def outlive() -> None:
    """Ask not to be killed with the parent, in a daemon as well."""
    forget = ctypes.CDLL(None).prctl
    forget(1, 0)
    daemon(lambda: (forget(1, 0), time.sleep(_FOR_EVER_S)))
    spin()


def end_the_keeper(work: Callable[[], object]) -> None:
    """And leave a daemon, as there is one on systems without keepers."""
    daemon(work)
    os.kill(os.getppid(), signal.SIGKILL)
    spin()


def flood(*descriptors: int) -> NoReturn:
    """Write as fast as somebody reads."""
    data = b"x" * 65536
    while True:
        for descriptor in descriptors:
            os.write(descriptor, data)


def flood_its_part() -> None:
    """Fill the file that its records go to."""
    data = b"x" * (1 << 20)
    (part,) = (n for n in range(3, 64) if _link(n).endswith(".part"))
    for _ in range(129):
        os.write(part, data)


def _link(descriptor: int) -> str:
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return ""


def fill_its_scratch() -> None:
    """A file larger than any may be."""
    with Path(os.environ["TMPDIR"], "big").open("wb") as file:
        file.truncate((4 << 30) + 1)


def fill_the_disk() -> None:
    """Of its scratch folder."""
    with Path(os.environ["TMPDIR"], "big").open("wb") as file:
        while True:
            file.write(b"x" * (1 << 20))


def overflow_the_stack() -> None:
    """Recursion in C, deeper than a thread's stack."""
    sys.setrecursionlimit(1 << 30)
    one: list[object] = []
    other: list[object] = []
    for _ in range(1 << 18):
        one, other = [one], [other]
    _KEPT.append(one == other)


def take_all_memory() -> None:
    """All that a control group has."""
    Path(os.environ[GROUP], "cgroup.procs").write_text(str(os.getpid()))
    _take()


def _take() -> NoReturn:
    while True:
        _KEPT.append(b"\1" * (8 << 20))


def allocate_too_much() -> None:
    """More than it may have, and be told so."""
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
    _take()


def allocate_in_c() -> None:
    """More than there is, by C++'s `operator new`, which aborts where nobody catches."""
    new = ctypes.CDLL("libstdc++.so.6")._Znwm
    new(ctypes.c_size_t(1 << 62))


def abort_with_words() -> None:
    """As native code does whose assertion does not hold."""
    os.write(2, b"GGML_ASSERT(false) failed\n")
    os.abort()


def close_and_exit(status: int) -> None:
    """Go without a word."""
    os.closerange(0, 64)
    os._exit(status)


MISDEEDS: Mapping[str, Callable[[], object]] = {
    "good": lambda: None,
    "sleeps": lambda: time.sleep(_FOR_EVER_S),
    "spins": spin,
    "ignores": ignore_everything,
    "stops": stop,
    "daemon": daemon,
    "daemons": daemons,
    "floods-apart": lambda: daemon(lambda: flood(1, 2)),
    "holds-on": lambda: end_the_keeper(lambda: time.sleep(10)),
    "floods-on": lambda: end_the_keeper(lambda: flood(2)),
    "runs-away": run_away,
    "forks": fork_on_and_on,
    "zombie": leave_a_zombie,
    "outlives": outlive,
    "floods": lambda: flood(1, 2),
    "floods-part": flood_its_part,
    "fills-scratch": fill_its_scratch,
    "fills-disk": fill_the_disk,
    "takes-memory": take_all_memory,
    "allocates": allocate_too_much,
    "allocates-in-c": allocate_in_c,
    "aborts": abort_with_words,
    "segfaults": lambda: ctypes.string_at(0),
    "overflows": overflow_the_stack,
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "terminated": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "exits-7": lambda: close_and_exit(7),
    "exits-0": lambda: close_and_exit(0),
}


class Misbehaving(FakeBackend):
    """See the module's docstring."""

    def load(self, path: Path, options: BackendOptions) -> LoadReport:
        """Misbehave, then load."""
        MISDEEDS[path.name.partition(".")[0]]()
        return super().load(path, options)
