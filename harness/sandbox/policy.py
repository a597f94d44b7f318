"""What a child that meets files of strangers may touch, and how it gives up the rest.

Level 0 holds everywhere: a session of its own that is ended whole, a clean environment
(`environment`), closed descriptors, limits on files and core dumps. Level 1 is Linux's:
Landlock and a filter of system calls, both in force before an engine is imported, because
they bind this thread and what it starts later. A Job object on Windows (`windows`) belongs
to level 0: it bounds processes, not files.

Standard library only, and ctypes only on Linux: the measured child imports this.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from harness.sandbox import landlock, seccomp
from harness.sandbox.landlock import CHANGE, DEVICE, LIST, READ, UPDATE, Rule

SWITCH: Final = "HARNESS_SANDBOX"
"""Environment variable; `off` is the one value that means something."""
_FILE_BYTES_MAX = 4 << 30
_OPEN_FILES_MAX = 1024
_OOM_SCORE = b"500"
_PR_SET_NO_NEW_PRIVS = 38

_SYSTEM = (
    *("/usr", "/lib", "/lib64", "/nix/store", "/opt/intel", "/opt/rocm"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/OpenCL", "/etc/vulkan"),
    *("/sys/devices", "/sys/class", "/sys/bus", "/sys/dev", "/sys/module", "/sys/fs/cgroup"),
    *("/sys/kernel/mm", "/proc/driver", "/proc/sys/vm/overcommit_memory"),
    *(f"/proc/{name}" for name in ("cpuinfo", "filesystems", "loadavg", "meminfo", "stat")),
    *(f"/proc/{name}" for name in ("uptime", "version", "vmstat")),
    *("/dev/urandom", "/dev/random", "/dev/zero"),
)
"""Libraries, and what engines and probes read of the machine. Not /etc, /home, /tmp or /run."""
_DEVICES = ("accel", "dri", "dxg", "kfd", "nvidia")
"""How the names of graphics and neural processors in /dev begin."""
_ON_PROCESSORS = frozenset({"llama_cpp", "onnxruntime", "transformers", "fake"})
"""Backends that need no device: ours run on the processor."""
_LIBRARY_VARIABLES = ("LD_LIBRARY_PATH", "LLAMA_CPP_LIB_PATH")
_PACKAGES = frozenset({"site-packages", "dist-packages"})
_CODE = (".py", ".so", ".pyc", ".zip")


class Access(NamedTuple):
    """What one child may touch besides the runtime.

    Attributes:
        read: files and folders. change: folders in which files may be made and removed.
        module: where the backend is; its files may lie outside Python's usual folders.
        devices: whether graphics and neural processors may be opened.
        home: folder of the user, which no rule may cover.
    """

    read: Sequence[str] = ()
    change: Sequence[str] = ()
    module: str = ""
    devices: bool = False
    home: str = ""


def of_job(job: Mapping[str, Any], target: str, scratch: str, home: str) -> Access:
    """What the worker of a job needs; only the reference's leaves something for others.

    Args:
        job: its JSON. target: `module:class` of its backend.
    """
    read = list(model_files(job["path"], home))
    change = [scratch] if scratch else []
    if job["suite"] == "fidelity" and job.get("shared"):
        leaves = any(case.get("reference") == job["model"] for case in job["cases"])
        (change if leaves else read).append(job["shared"])
    return Access(
        read,
        change,
        module=target.partition(":")[0].partition(".")[0],
        devices=job["backend"] not in _ON_PROCESSORS,
        home=home,
    )


def confine(access: Access) -> dict[str, Any]:
    """Give up what is not needed, for ever.

    Returns:
        For the records: the `level` reached and the `reason` why it is not 1; on Linux what
        the kernel refused, the ABI of `landlock` (0 = none), whether `seccomp` filters calls,
        and what follows for the network and other programs.
    """
    if os.environ.get(SWITCH) == "off":
        return {"level": 0, "reason": "switched_off"}
    if sys.platform != "linux":
        return {"level": 0, "reason": "not_linux"}
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    rules = list(_rules(access))  # reads what is out of reach afterwards
    version, filtered, refused = 0, False, ""
    try:
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # both of these demand it
        if found := landlock.abi(libc):
            landlock.restrict(libc, found, rules)
            version = found
        if seccomp.is_known(os.uname().machine):
            seccomp.install(libc)
            filtered = True
    except OSError as error:
        refused = error.strerror or str(error)
    reason = "" if version and filtered else "no_seccomp" if version else "no_landlock"
    return {
        "level": 0 if reason else 1,
        "reason": reason,
        "detail": refused,
        "landlock": version,
        "seccomp": filtered,
        "network": "denied" if filtered else "no TCP" if version >= 4 else "allowed",
        "execve": "denied" if version or filtered else "allowed",
    }


def starts_processes() -> bool:
    """Whether what `confine` leaves a child lets it start processes."""
    if os.environ.get(SWITCH) == "off" or sys.platform != "linux":
        return True
    import ctypes

    return not seccomp.is_there(ctypes.CDLL(None))


def limits() -> None:
    """Limits of every level: no core dump, few open files, files of a size that fills no disk.

    RLIMIT_NPROC is left alone: it counts the threads of all processes of a user, and not
    those of root. Being dumpable is, too: without it `/proc/self/clear_refs` belongs to
    root, and a phase's peak of memory could not be read.
    """
    if sys.platform == "win32":
        return
    import resource

    for kind, wanted in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES_MAX),
        (resource.RLIMIT_FSIZE, _FILE_BYTES_MAX),
    ):
        allowed = resource.getrlimit(kind)[1]
        most = wanted if allowed == resource.RLIM_INFINITY else min(wanted, allowed)
        resource.setrlimit(kind, (most, most))
    if sys.platform == "linux":
        # A machine that runs out of memory ends what was measured, not who measures.
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb") as file:  # noqa: PTH123 - a path object costs memory in the child
            file.write(_OOM_SCORE)


def _rules(access: Access) -> Iterator[Rule]:
    yield from (Rule(path, READ) for path in (*_SYSTEM, *access.read))
    yield from (Rule(path, CHANGE) for path in access.change)
    yield Rule("/dev/null", UPDATE)
    # Held open, or the kernel could forget the entry and make another one, without a rule.
    for path, rights in (("/proc/self", READ), ("/proc/self/clear_refs", UPDATE)):
        with contextlib.suppress(OSError):
            os.open(path, os.O_PATH | os.O_CLOEXEC)
            yield Rule(path, rights)
    if access.devices:
        nodes = (f"/dev/{name}" for name in os.listdir("/dev") if name.startswith(_DEVICES))  # noqa: PTH208 - as above
        yield from (Rule(path, DEVICE) for path in nodes)
    for path, rights in (*_python(access.module), *_coverage()):
        # A home that is itself a folder of modules stays closed.
        if not _holds(path, access.home):
            yield Rule(path, rights)


def _python(module: str) -> Iterator[Rule]:
    """The interpreter, its packages, and folders of libraries that a variable names."""
    ours = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - as above
    whole = {sys.prefix, sys.base_prefix, sys.exec_prefix, ours}
    for name in _LIBRARY_VARIABLES:
        whole |= {folder for folder in os.environ.get(name, "").split(os.pathsep) if folder}
    mixed = set(sys.path) - {""}
    if module and (spec := importlib.util.find_spec(module)) and spec.origin:
        place = os.path.dirname(spec.origin)  # noqa: PTH120 - as above
        mixed.add(os.path.dirname(place) if spec.submodule_search_locations else place)  # noqa: PTH120
    packages = {path for path in mixed if os.path.basename(path) in _PACKAGES}  # noqa: PTH119
    yield from (Rule(path, READ) for path in whole | packages)
    for folder in mixed - packages:
        if not any(_holds(path, folder) for path in whole):
            yield Rule(folder, LIST)
            yield from (Rule(path, READ) for path in _code(folder))


def _code(folder: str) -> Iterator[str]:
    """What of a folder of a checkout is code: beside it may lie results and secrets."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            package = os.path.exists(os.path.join(entry.path, "__init__.py"))  # noqa: PTH110, PTH118
            if package or entry.name == "__pycache__" or entry.name.endswith(_CODE):
                yield entry.path


def model_files(path: str, home: str) -> Iterator[str]:
    """A model's files. What an ONNX graph needs lies beside it, its tokeniser maybe one folder
    up; a hub's cache has links in the place of files.
    """
    folder = os.path.dirname(path) if path.endswith(".onnx") else path  # noqa: PTH120
    if not os.path.isdir(folder):  # noqa: PTH112
        yield path
        return
    if not _holds(folder, home):
        yield folder
    visible = _visible(folder)
    if not os.path.exists(os.path.join(folder, "tokenizer.json")):  # noqa: PTH110, PTH118
        visible += _visible(os.path.dirname(folder))  # noqa: PTH120
    yield from map(os.path.realpath, visible)


def _visible(folder: str) -> list[str]:
    """Files of a folder, links to files among them, that a listing shows."""
    with os.scandir(folder) as entries:
        return [entry.path for entry in entries if entry.is_file() and entry.name[0] != "."]


def _coverage() -> Iterator[Rule]:
    """Where the lines that tests reach are noted, when they are."""
    if "COVERAGE_PROCESS_CONFIG" in os.environ or "COVERAGE_PROCESS_START" in os.environ:
        import coverage

        if current := coverage.Coverage.current():
            yield Rule(os.path.dirname(current.get_data().base_filename()), CHANGE)  # noqa: PTH120


def _holds(folder: str, path: str) -> bool:
    """Whether a path is a folder or lies in it; nothing holds an empty path."""
    folder, path = os.path.realpath(folder), path and os.path.realpath(path)
    return bool(path) and os.path.commonpath((folder, path)) == folder
