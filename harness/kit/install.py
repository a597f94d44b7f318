"""Check a folder against its manifest, then install the kit in it: `python install.py`.

Standard library only: this very file is copied into every kit, where no harness is
installed yet. The harness itself checks folders by the same `examine`.

    MANIFEST.json ─▶ examine ─▶ fits this machine? ─▶ installed/env, from wheels/
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not getattr(sys.flags, "safe_path", False):
    del sys.path[0]  # nothing beside this file may pass for a module before it is checked

import hashlib
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import venv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

MANIFEST: Final = "MANIFEST.json"
FORMAT: Final = 1
"""Version of the manifest's form."""
INSTALLED: Final = "installed"
WRITTEN_HERE: Final = frozenset({INSTALLED, "results", "devices/local.yaml"})
"""What an installed kit writes: in no manifest, and never checked."""

LITTER = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})  # made by looking at a folder
_MOST_MANIFEST_BYTES = 16 << 20
_HEX64 = re.compile(r"[0-9a-f]{64}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE | re.ASCII)
_CHUNK_BYTES = 1 << 20


class Refused(Exception):  # noqa: N818 - the word that a user reads
    """A folder is not what its manifest says, or does not fit this machine: one line."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


# --- the manifest -----------------------------------------------------------------------


def examine(folder: Path, ignored: frozenset[str] = WRITTEN_HERE) -> dict[str, Any]:
    """Compare every file below a folder with the folder's manifest.

    Args:
        ignored: names, relative to the folder, that are left out with what is in them.

    Returns:
        What the manifest says about the folder, its `about`.

    Raises:
        Refused: a file is missing, extra, changed or a link, or the manifest is not sound.
    """
    manifest = read_manifest(folder)
    entries: dict[str, dict[str, Any]] = {entry["path"]: entry for entry in manifest["files"]}
    found = files_below(folder, ignored)
    for name in sorted(entries.keys() | found.keys()):
        if name not in found:
            raise Refused(f"{shown(name)}: missing")
        if name not in entries:
            raise Refused(f"{shown(name)}: extra, the manifest does not have it")
        if found[name] != entries[name]["size_bytes"]:
            size = entries[name]["size_bytes"]
            raise Refused(f"{shown(name)}: changed, {found[name]} bytes instead of {size}")
    for name, entry in entries.items():
        if sha256_of(folder / name) != entry["sha256"]:
            raise Refused(f"{shown(name)}: changed, its sha256 is another")
    about: dict[str, Any] = manifest["about"]
    return about


def read_manifest(folder: Path) -> dict[str, Any]:
    """A folder's manifest: `format`, `about`, and `files` with safe names in order.

    Raises:
        Refused: it is missing, unreadable, or names what no folder may hold.
    """
    path = folder / MANIFEST
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_MANIFEST_BYTES:
            raise Refused(f"{MANIFEST}: not a plain file of at most 16 MiB")
        data = path.read_bytes()
    except FileNotFoundError:
        raise Refused(f"{MANIFEST}: missing") from None
    except OSError as error:
        raise Refused(f"{MANIFEST}: cannot be read: {error}") from None
    return parse_manifest(data)


def parse_manifest(data: bytes) -> dict[str, Any]:
    """What a manifest's bytes say.

    Raises:
        Refused: they are none, or name what no folder may hold.
    """
    try:
        manifest = json.loads(
            data.decode(), object_pairs_hook=_object, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise Refused(f"{MANIFEST}: cannot be read: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise Refused(f"{MANIFEST}: not a manifest of format {FORMAT}")
    files = manifest.get("files")
    if not isinstance(files, list) or not isinstance(manifest.get("about"), dict):
        raise Refused(f"{MANIFEST}: 'files' is no list, or 'about' no object")
    names = [_checked(entry) for entry in files]
    if names != sorted(names):
        raise Refused(f"{MANIFEST}: its files are not in order")
    seen: set[str] = set()
    for name in names:
        # Two names that differ by case are one file on Windows and macOS.
        if name.casefold() in seen:
            raise Refused(f"{MANIFEST}: {shown(name)} is there twice")
        seen.add(name.casefold())
    return manifest


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _checked(entry: object) -> str:
    """The name of an entry that is well formed and stays in the folder."""
    if not isinstance(entry, dict) or entry.keys() != {"path", "size_bytes", "sha256"}:
        raise Refused(f"{MANIFEST}: an entry is not 'path', 'size_bytes' and 'sha256'")
    name, size, digest = entry["path"], entry["size_bytes"], entry["sha256"]
    if not isinstance(name, str) or not is_safe(name) or name == MANIFEST:
        raise Refused(f"{MANIFEST}: {shown(str(name))} is no name inside the folder")
    if type(size) is not int or size < 0:
        raise Refused(f"{MANIFEST}: the size of {shown(name)} is no number of bytes")
    if not isinstance(digest, str) or not _HEX64.fullmatch(digest):
        raise Refused(f"{MANIFEST}: the sha256 of {shown(name)} is not 64 hex digits")
    return name


def is_safe(name: str) -> bool:
    """Whether a name is relative, stays inside its folder and means the same on every system."""
    return (
        name.isprintable()
        and not set(name) & set('\\:*?"<>|')
        and all(
            part.strip(".") and part == part.rstrip(". ") and not _RESERVED.fullmatch(part)
            for part in name.split("/")
        )
    )


def files_below(folder: Path, ignored: frozenset[str] = frozenset()) -> dict[str, int]:
    """Size in bytes of every plain file below a folder, by name, without the manifest.

    Raises:
        Refused: there is a link, or something that is neither a file nor a folder.
    """
    found: dict[str, int] = {}
    ahead = [""]
    while ahead:
        prefix = ahead.pop()
        try:
            entries = list(os.scandir(folder / prefix))
        except OSError as error:
            raise Refused(f"{shown(prefix or '.')}: cannot be read: {error.strerror}") from None
        for entry in entries:
            name = prefix + entry.name
            if name in ignored or name == MANIFEST or entry.name in LITTER:
                continue
            status = entry.stat(follow_symlinks=False)
            # On Windows a junction is a folder by its mode; only this attribute tells.
            marks = getattr(status, "st_file_attributes", 0)
            if stat.S_ISLNK(status.st_mode) or marks & stat.FILE_ATTRIBUTE_REPARSE_POINT:
                raise Refused(f"{shown(name)}: a link, allowed are plain files")
            if stat.S_ISDIR(status.st_mode):
                ahead.append(name + "/")
            elif stat.S_ISREG(status.st_mode):
                found[name] = status.st_size
            else:
                raise Refused(f"{shown(name)}: neither a file nor a folder")
    return found


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, in hex.

    Raises:
        Refused: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_CHUNK_BYTES):
                digest.update(block)
    except OSError as error:
        raise Refused(f"{path.name}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def shown(name: str) -> str:
    """A name that no terminal obeys."""
    return name if name.isprintable() else ascii(name)


# --- the installation -------------------------------------------------------------------

_LINUX_FLAGS: Final[Mapping[str, str]] = {"avx512": "avx512f", "sse3": "pni"}
"""How Linux calls what llama.cpp calls otherwise, without underscores."""
_FEATURES = re.compile(r"\b((?:AVX|AMX|SSE|SSSE|F16C|FMA|BMI)\w*) = 1")


def install(folder: Path, say: Callable[[str], None]) -> None:
    """Make `installed/` in a kit's folder: an environment, and a cache with the artefacts.

    Raises:
        Refused: the kit is damaged, or is for another machine or Python.
    """
    say("1/3  checking every file")
    about = examine(folder)
    _refuse_links(folder / INSTALLED)
    check_machine(about)
    say("2/3  installing, about a minute; no network is used")
    environment = folder / INSTALLED / "env"
    own_pip = next((folder / "wheels").glob("pip-*.whl"), None)
    try:
        venv.create(environment, clear=True, with_pip=own_pip is None, symlinks=os.name != "nt")
    except subprocess.CalledProcessError as error:
        raise Refused(
            f"no environment can be made: {error}; next: install Python's venv "
            "(Debian, Ubuntu: sudo apt install python3-venv)",
            3,
        ) from None
    except OSError as error:
        raise _unwritable(error) from None
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    _pip(python, folder, own_pip)
    try:
        shutil.copytree(folder / "artefacts", folder / INSTALLED / "cache", dirs_exist_ok=True)
    except OSError as error:
        raise _unwritable(error) from None
    say("3/3  trying the engines")
    for warning in (*_processor_warning(about), *_try_llama_cpp(python, about)):
        say(f"warning: {warning}")


def _refuse_links(installed: Path) -> None:
    """An installation is cleared and written over: it must not lead out of the kit.

    Raises:
        Refused: there is a link where an earlier installation would be.
    """
    for place in (installed, installed / "env", installed / "cache"):
        name = place.relative_to(installed.parent).as_posix()
        if not os.path.lexists(place):
            continue
        status = place.lstat()
        marks = getattr(status, "st_file_attributes", 0)
        if not stat.S_ISDIR(status.st_mode) or marks & stat.FILE_ATTRIBUTE_REPARSE_POINT:
            raise Refused(f"{name}: a link or a file, allowed is a plain folder; next: remove it")
    if (installed / "cache").is_dir():
        files_below(installed / "cache")


def _unwritable(error: OSError) -> Refused:
    why = error.strerror or "its files cannot be copied"
    return Refused(
        f"the kit's folder cannot be written: {why}; next: copy the kit to a disk that has room "
        "and that you may write to, and install it there",
        3,
    )


def check_machine(about: Mapping[str, Any]) -> None:
    """Whether this system, processor and Python are those of the kit.

    Raises:
        Refused: they are not, with exit code 3.
    """
    here = (platform.system(), platform.machine(), f"{sys.version_info[0]}.{sys.version_info[1]}")
    wanted = tuple(str(about.get(name)) for name in ("system", "machine", "python"))
    if here[:2] != wanted[:2]:
        raise Refused(f"this kit is for {' '.join(wanted[:2])}, this is {' '.join(here[:2])}", 3)
    if here[2] != wanted[2]:
        raise Refused(
            f"this kit needs Python {wanted[2]}, this is {here[2]}; "
            f"next: install Python {wanted[2]} and run install.py with it",
            3,
        )


def _pip(python: Path, folder: Path, own_pip: Path | None) -> None:
    """Install the requirements; neither settings nor an index of this machine are read."""
    start = [str(own_pip / "pip")] if own_pip else ["-m", "pip"]
    options = "install --isolated --no-index --no-cache-dir --no-input --quiet --require-hashes"
    done = subprocess.run(
        [
            str(python),
            *start,
            *options.split(),
            "--only-binary=:all:",
            f"--find-links={folder / 'wheels'}",
            f"--requirement={folder / 'requirements.txt'}",
        ],
        env=_clean_environment(PIP_CONFIG_FILE=os.devnull, PIP_DISABLE_PIP_VERSION_CHECK="1"),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise Refused(f"pip: {(lines or done.stderr.splitlines() or ['failed'])[0]}", 3)


def _clean_environment(**more: str) -> dict[str, str]:
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))
    }
    return {**kept, **more}


def _processor_warning(about: Mapping[str, Any]) -> list[str]:
    """llama.cpp is compiled for the processor that it was compiled on."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            flags = next(line for line in file if line.startswith("flags"))
    except (OSError, StopIteration):
        return []
    missing = missing_features(str(about.get("llama_cpp", "")), flags)
    if not missing:
        return []
    lacking = ", ".join(missing)
    mend = "next: compile it with -DGGML_NATIVE=OFF and make the kit again"
    return [f"llama.cpp needs {lacking}, which this processor lacks: GGUF models crash; {mend}"]


def missing_features(instruction_set: str, flags: str) -> list[str]:
    """Features in llama.cpp's description of itself that a Linux `flags` line does not have."""
    have = {flag.replace("_", "") for flag in flags.split()}
    wanted = _FEATURES.findall(instruction_set)
    plain = {name: name.replace("_", "").lower() for name in wanted}
    return [name for name in wanted if _LINUX_FLAGS.get(plain[name], plain[name]) not in have]


def _try_llama_cpp(python: Path, about: Mapping[str, Any]) -> list[str]:
    if not about.get("llama_cpp"):
        return []
    script = "from harness.backends import llama_library; llama_library.library()"
    done = subprocess.run(
        [str(python), "-I", "-c", script],
        env=_clean_environment(),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if not done.returncode:
        return []
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return [f"llama.cpp does not load on this machine, GGUF models will fail: {last}"]


def main() -> int:
    """Install the kit that this file lies in; the exit code is the harness's."""

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    if sys.version_info < (3, 11):  # noqa: UP036 - a laptop's Python may well be older
        say(f"install.py: this needs Python 3.11 or newer, this is {platform.python_version()}")
        return 3
    folder = Path(__file__).resolve().parent
    try:
        install(folder, say)
    except Refused as refused:
        say(f"install.py: {refused}")
        return refused.exit_code
    say("done; next: " + (r".\harness.cmd run" if os.name == "nt" else "sh harness run"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
