"""What this machine can measure, and how to mend what it cannot: `harness doctor`.

Engines are imported in a child each: a broken library can end a process, and none of
their memory or threads stay behind.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import harness
from harness import environment, specfile
from harness.backends import ENGINES
from harness.environment import FACTS, UNKNOWN
from harness.errors import Exit, HarnessError, install_hint
from harness.models.reference import cache_folder

LOW_DISK_BYTES = 1 << 30
_IMPORT_TIMEOUT_S = 120.0
_IMPORT = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
_SHOWN = ("os", "cpu", "physical_cores", "performance_cores", "memory_bytes", "power_source")
_MEND_ON_LINUX: Final[Mapping[str, str]] = {
    "power_mode": "install power-profiles-daemon, where the desktop has no power modes",
    "governor": "enable frequency scaling in the firmware's settings",
    "energy_preference": "only processors with their own frequency control have one",
    "turbo": "enable frequency scaling in the firmware's settings",
    "temperature_c": "load the sensor's driver: sudo modprobe coretemp (Intel) or k10temp (AMD)",
    "throttle_count": "only Intel's processors count throttling",
}

Import = Callable[[Sequence[str]], str]
"""Imports modules somewhere and returns what went wrong, or an empty string."""


def diagnose(
    results: Path = Path("results"), *, import_in_child: Import | None = None
) -> dict[str, Any]:
    """Examine the machine; nothing is written, changed or measured.

    Args:
        results: folder that runs would be written to.
        import_in_child: stands in for the child process in tests.

    Returns:
        JSON data: `harness`, `engines`, `folders`, `facts`, `unobserved`, `findings`, `ready`.
    """
    facts = environment.observe()
    engines = [_engine(name, import_in_child or _import_in_child) for name in ENGINES]
    folders = [
        _folder("cache", cache_folder(), "set HARNESS_CACHE to a folder that can be written"),
        _folder("results", results, "harness run --results FOLDER"),
    ]
    return {
        "harness": harness.__version__,
        "engines": engines,
        "folders": folders,
        "facts": facts,
        "unobserved": [
            {"fact": name, "what": FACTS[name], "hint": _mend(name, facts)}
            for name, value in facts.items()
            if value == UNKNOWN
        ],
        "findings": _findings(facts),
        "ready": any(engine["status"] == "ready" for engine in engines),
    }


def exit_code(found: Mapping[str, Any]) -> Exit:
    """3 when no engine works, else 0."""
    return Exit.DONE if found["ready"] else Exit.PREREQUISITE


def text(found: Mapping[str, Any]) -> str:
    """The diagnosis for people."""
    facts = found["facts"]
    lines = [f"harness {found['harness']} on {facts['python']}", "", "Engines"]
    for engine in found["engines"]:
        lines += _row(engine["status"], engine["backend"], engine["detail"], engine["hint"])
    lines += ["", "Folders"]
    for folder in found["folders"]:
        lines += _row(folder["status"], folder["name"], folder["detail"], folder["hint"])
    lines += ["", "This machine"]
    lines += [f"  {name:<20}{_shown(name, facts[name])}" for name in _SHOWN]
    lines += _unobserved_rows(found["unobserved"])
    lines += ["", "Findings"]
    lines += [
        f"  {finding['severity']:<9}{finding['code']}: {finding['detail']}"
        for finding in found["findings"]
    ] or ["  none"]
    lines += ["", f"next: {_next(found)}"]
    return "\n".join(_printable(line) for line in lines)


def _next(found: Mapping[str, Any]) -> str:
    if found["ready"]:
        return "harness run"
    return " or ".join(engine["hint"] for engine in found["engines"])


def _unobserved_rows(unobserved: Sequence[Mapping[str, str]]) -> list[str]:
    """One remedy often helps several facts: it is printed once under all of them."""
    if not unobserved:
        return []
    lines = ["", "Cannot be observed here"]
    for hint in dict.fromkeys(item["hint"] for item in unobserved):
        lines += [
            f"  {item['fact']:<20}{item['what']}" for item in unobserved if item["hint"] == hint
        ]
        lines.append(f"  {'':<20}next: {hint}")
    return lines


def _row(status: str, name: str, detail: str, hint: str) -> list[str]:
    lines = [f"  {status:<9}{name:<13}{detail}"]
    if hint:
        lines.append(f"  {'':<22}next: {hint}")
    return lines


# --- engines ------------------------------------------------------------------------


def _engine(name: str, import_in_child: Import) -> dict[str, str]:
    packages = ENGINES[name]
    absent = [
        package for module, package in packages.items() if not importlib.util.find_spec(module)
    ]
    if absent:
        return _engine_row(
            name, "absent", f"not installed: {', '.join(absent)}", install_hint(*absent)
        )
    if problem := import_in_child(list(packages)):
        hint = f"python -m pip install --force-reinstall {' '.join(packages.values())}"
        return _engine_row(name, "broken", f"cannot be imported: {problem}", hint)
    versions = (f"{package} {importlib.metadata.version(package)}" for package in packages.values())
    return _engine_row(name, "ready", ", ".join(versions), "")


def _engine_row(name: str, status: str, detail: str, hint: str) -> dict[str, str]:
    return {"backend": name, "status": status, "detail": detail, "hint": hint}


def _import_in_child(modules: Sequence[str]) -> str:
    # -P: a file of the same name in the working folder is not the engine.
    command = [sys.executable, "-P", "-c", _IMPORT, *modules]
    quiet = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "GGML_NO_BACKTRACE": "1"}
    try:
        done = subprocess.run(
            command,
            env=quiet,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_IMPORT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)[:200]
    if done.returncode == 0:
        return ""
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return said[-1][:200] if said else f"the import ended with status {done.returncode}"


# --- folders ------------------------------------------------------------------------


def _folder(name: str, path: Path, hint: str) -> dict[str, Any]:
    # The folder itself may not exist yet: what counts is where it would be made.
    places = (path, *path.absolute().parents)
    # Not Path.exists: it raises where a parent may not be looked into.
    existing = next((place for place in places if os.path.exists(place)), path)  # noqa: PTH110
    free: int | None = None
    status, problem = "ready", ""
    try:
        free = shutil.disk_usage(existing).free
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        status, problem = "broken", f"cannot be written: {error.strerror or error}"
    if status == "ready" and free is not None and free < LOW_DISK_BYTES:
        status, hint = "full", f"free some disk space, or {hint}"
    return {
        "name": name,
        "path": str(path),
        "free_bytes": free,
        "status": status,
        "detail": f"{path}: {problem or f'{_size(free or 0)} free'}",
        "hint": "" if status == "ready" else hint,
    }


# --- the machine --------------------------------------------------------------------


def _findings(facts: Mapping[str, object]) -> list[dict[str, str]]:
    try:
        specfile.load_catalogue(specfile.default_catalogue_path())
        device = specfile.resolve_device("this-machine")
    except HarnessError as error:
        # A broken file is what the user came to find out about, not a reason to stop.
        return [{"code": "bad_specification", "severity": "invalid", "detail": str(error)}]
    return environment.preconditions(device, facts)


def _mend(fact: str, facts: Mapping[str, object]) -> str:
    if facts.get("virtual_machine") is True or facts.get("container") not in {"none", UNKNOWN}:
        return "run on the machine itself, outside virtual machines and containers"
    if sys.platform == "linux" and fact in _MEND_ON_LINUX:
        return _MEND_ON_LINUX[fact]
    return "nothing to do: it is recorded as unknown"


def _shown(name: str, value: object) -> str:
    if name.endswith("_bytes") and isinstance(value, int):
        return _size(value)
    return str(value)


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"


def _printable(line: str) -> str:
    """Error texts of engines may hold escape sequences."""
    return "".join(character if character.isprintable() else " " for character in line)
