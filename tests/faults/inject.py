"""Faults in what the harness writes: a library between Python and the system, told what to do.

tester ── Page (shared memory) ──▶ inject.so, preloaded into harness and worker ──▶ the kernel

`Server` starts one interpreter with the library in it, which has imported what the commands
import and forks for each of them: thousands of commands then take a third of the time.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HERE = Path(__file__).parent
_FORM = struct.Struct("@6l")
OPEN, WRITE, SYNC, RENAME, TRUNCATE, MAKE, REMOVE, LINK = (1 << bit for bit in range(8))
ALL = 255
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
POSSIBLE = sys.platform == "linux" and COMPILER is not None
WHY_NOT = "needs Linux and a C compiler: its faults come from a library that is preloaded"


class Call(NamedTuple):
    """One call that would change something: number from 1, and the monotonic clock in ns."""

    at_ns: int
    number: int
    process: int
    name: str
    size: int
    path: str


class Page:
    """The page that all processes under test share; see `inject.c`."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(mmap.PAGESIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def arm(self, at: int = 0, error: int = 0, *, every: int = 0, kinds: int = ALL) -> None:
        """Count from 1 again; the call `at` fails with `error`, or is short where that is 0.

        Args:
            every: 0 = it alone, 1 = all later ones too, 2 = every second one.
            kinds: of calls that are counted.
        """
        _FORM.pack_into(self._map, 0, 0, at, error, every, kinds, 0)

    @property
    def calls(self) -> int:
        """Calls so far."""
        return int(_FORM.unpack_from(self._map)[0])

    @property
    def fired(self) -> int:
        """Those that failed, or were short."""
        return int(_FORM.unpack_from(self._map)[5])


class Done(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str
    calls: list[Call]


class Server:
    """Runs commands in `folder` with the library in them and in all that they start."""

    def __init__(self, scratch: Path, folder: Path) -> None:
        self.folder = folder
        self._scratch = scratch
        library = build(scratch)
        self.page = Page(scratch / "page")
        self._log = scratch / "log"
        self._server = subprocess.Popen(
            [sys.executable, str(_HERE / "server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
            | environment(library, folder, scratch),
        )

    def run(self, *words: object) -> Done:
        """Run one command to its end."""
        assert self._server.stdin
        assert self._server.stdout
        self._log.write_bytes(b"")
        orders = [str(self._scratch / "out"), str(self._scratch / "err"), *map(str, words)]
        self._server.stdin.write(json.dumps(orders) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        out, err = (Path(path).read_text("utf-8") for path in orders[:2])
        return Done(code, out, err, read_log(self._log))

    def close(self) -> None:
        """End the interpreter."""
        self._server.communicate(timeout=30)


def environment(library: Path, folder: Path, scratch: Path) -> dict[str, str]:
    """Variables that put the library between a program, what it starts, and `folder`."""
    return {
        "LD_PRELOAD": str(library),
        "HARNESS_INJECT_FOLDER": str(folder),
        "HARNESS_INJECT_PAGE": str(scratch / "page"),
        "HARNESS_INJECT_LOG": str(scratch / "log"),
    }


@contextlib.contextmanager
def serving(scratch: Path, folder: Path) -> Iterator[Server]:
    """A server for as long as the block runs."""
    server = Server(scratch, folder)
    try:
        yield server
    finally:
        server.close()


def build(folder: Path) -> Path:
    """Compile the library."""
    library = folder / "inject.so"
    assert COMPILER
    command = [COMPILER, "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", str(library), str(_HERE / "inject.c")], check=True)
    return library


def read_log(path: Path) -> list[Call]:
    """The calls of a log, in their order."""
    calls = []
    for line in path.read_text("utf-8").splitlines():
        at_ns, number, process, name, size, file = line.split(" ", 5)
        calls.append(Call(int(at_ns), int(number), int(process), name, int(size), file))
    return sorted(calls, key=lambda call: call.number)
