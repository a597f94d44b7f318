"""A backend that attacks while it loads, and reports the errno of each attempt."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import resource
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.backends.base import LoadReport
from harness.backends.fake import FakeBackend
from harness.spec import BackendOptions

PTRACE_SEIZE, PR_SET_PDEATHSIG = 0x4206, 1
IO_URING_SETUP = 425


class _Window(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def outcome(attempt: Callable[[], object]) -> str:
    """Name of the errno that an attempt ended with, or `done`."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def _peek(whose: int, address: int) -> None:
    into = ctypes.create_string_buffer(8)
    mine, theirs = _Window(ctypes.addressof(into), 8), _Window(address, 8)
    whom = ctypes.c_int(whose)
    _call(
        "process_vm_readv",
        *(whom, ctypes.byref(mine), ctypes.c_ulong(1), ctypes.byref(theirs), ctypes.c_ulong(1)),
        ctypes.c_ulong(0),
    )


def _ask_tcp(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass


def _tell_udp(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.sendto(b"x", ("127.0.0.1", port))


def _ask_unix(address: str) -> None:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(address)


def _own(whom: int) -> None:
    """Signals for what happens to a pipe go to another process."""
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(reader, fcntl.F_SETOWN, whom)
    finally:
        os.close(reader)
        os.close(writer)


def _own_socket(whom: int) -> None:
    pair = socket.socketpair()
    try:
        fcntl.ioctl(pair[0], 0x8901, whom.to_bytes(4, "little"))
    finally:
        for end in pair:
            end.close()


def _spawn() -> None:
    os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "true"], {}), 0)


def _fork() -> None:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _in_thread(attempt: Callable[[], object]) -> None:
    found: list[OSError] = []

    def run() -> None:
        try:
            attempt()
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    for error in found:
        raise error


def attacks(told: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """What to try, by name; each attempt does no harm where it succeeds."""
    home, parent = Path(told["home"]), told["parent"]
    secret = home / ".ssh" / "id_x"
    part = Path(told["part"])
    return {
        "read the home": secret.read_bytes,
        "list the home": lambda: list(home.iterdir()),
        "read the real home": lambda: list(Path(told["account"]).iterdir()),
        "read accounts": Path("/etc/passwd").read_bytes,
        "in a thread": lambda: _in_thread(secret.read_bytes),
        "through a magic link": Path(f"/proc/self/root{secret}").read_bytes,
        "write to /tmp": lambda: Path(told["outside"]).write_text("x"),
        "read beside the model": Path(told["neighbour"]).read_bytes,
        "write beside the model": lambda: Path(told["beside"]).write_text("x"),
        "write to the results": lambda: Path(told["journal"]).open("ab").close(),
        "read the results": lambda: Path(told["journal"]).open("rb").close(),
        "cut its part file": lambda: os.truncate(part, part.stat().st_size),
        "open its part file again": lambda: part.open("r+b").close(),
        "replace its part file": lambda: part.rename(part.with_name("x")).rename(part),
        "change the home's mode": lambda: home.chmod(0o700),
        "link to the home": lambda: Path(tempfile.gettempdir(), "x").symlink_to(home),
        "connect by TCP": lambda: _ask_tcp(told["tcp"]),
        "send by UDP": lambda: _tell_udp(told["udp"]),
        "connect by a socket file": lambda: _ask_unix(told["unix"]),
        "connect by an abstract socket": lambda: _ask_unix("\0" + told["abstract"]),
        "run a shell": lambda: subprocess.run(["/bin/sh", "-c", "true"], check=True),
        "become a program": lambda: os.execv("/nonexistent", ["x"]),
        "spawn a program": _spawn,
        "fork": _fork,
        "trace the parent": lambda: _call("ptrace", PTRACE_SEIZE, parent, None, None),
        "open the parent's memory": lambda: Path(f"/proc/{parent}/mem").open("rb").close(),
        "read the parent's variables": Path(f"/proc/{parent}/environ").read_bytes,
        "copy the parent's memory": lambda: _peek(parent, told["address"]),
        "signal the parent": lambda: os.kill(parent, 0),
        "have the parent signalled": lambda: _own(parent),
        "have the parent signalled by a socket": lambda: _own_socket(parent),
        "slow the parent down": lambda: os.setpriority(
            os.PRIO_PROCESS, parent, os.getpriority(os.PRIO_PROCESS, parent)
        ),
        "limit the parent": lambda: resource.prlimit(parent, resource.RLIMIT_CORE),
        "outlive the parent": lambda: _call("prctl", PR_SET_PDEATHSIG, 9, 0, 0, 0),
        "ring buffers": lambda: _call("syscall", IO_URING_SETUP, 1, None),
    }


class Hostile(FakeBackend):
    """Attacks at its first chance that belongs to a model."""

    def load(self, path: Path, options: BackendOptions) -> LoadReport:
        """Attack, then load."""
        told = json.loads(os.environ["HARNESS_TOLD"])
        self._found = {name: outcome(attempt) for name, attempt in attacks(told).items()}
        self._found["secret variables"] = " ".join(
            sorted(name for name in os.environ if "SECRET" in name)
        )
        Path(tempfile.gettempdir(), "own").write_text("may be written")
        self._found["temporary"] = str(Path(tempfile.gettempdir()))
        return super().load(path, options)

    def describe(self) -> dict[str, str]:
        """What came of it."""
        return super().describe() | self._found
