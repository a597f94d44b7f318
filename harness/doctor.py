"""What this machine can measure, and how to mend what it cannot: `harness doctor`.

Engines are imported in a child each: a broken library can end a process, and none of
their memory or threads stay behind.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import json
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
from harness.backends import ENGINES, OPTIONAL, engine_hint
from harness.environment import FACTS, UNKNOWN
from harness.errors import Exit, HarnessError, install_hint, printable
from harness.messages import pad, tr
from harness.metrics import show_bytes
from harness.models.reference import cache_folder
from harness.ownhash import harness_sha256
from harness.probes import counters, energy, memory, pagecache
from harness.sandbox.environment import clean
from harness.sandbox.policy import SWITCH

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
_WATCHED: Final[Mapping[str, tuple[str, str]]] = {
    "on_battery": ("battery", "whether the machine runs on battery"),
    "power_mode": ("power mode", "whether the power mode changes"),
    "throttle_count": ("throttling", "whether heat slows the processor down"),
    "temperature_c": ("temperature", "whether the processor is cool before a job"),
    "cpu_busy_ns": ("programs", "time that other programs take"),
    "cpu_steal_ns": ("steal", "time that a hypervisor takes for others"),
    "available_bytes": ("memory", "memory that is left"),
    "swap_in_bytes": ("swap", "whether memory is swapped"),
    "hard_faults": ("page faults", "whether pages are read from the disk again"),
    "boot_offset_ns": ("suspend", "whether the machine slept"),
}
"""What a run watches: the counter or fact, what it is called here, what it tells."""
_EVICTED_BYTES = 1 << 20
_TO_LEVEL_1: Final[Mapping[str, str]] = {
    "switched_off": f"unset {SWITCH}",
    "not_linux": "run on Linux: other systems have level 0 so far",
    "no_landlock": "boot Linux 5.13 or newer with landlock among its security modules (lsm=)",
    "no_seccomp": "run on x86-64 or aarch64, on a kernel with CONFIG_SECCOMP_FILTER",
}

Import = Callable[[Sequence[str]], str]
"""Imports modules somewhere and returns what went wrong, or an empty string."""


def diagnose(
    results: Path = Path("results"), *, import_in_child: Import | None = None
) -> dict[str, Any]:
    """Examine the machine; nothing is left behind, changed or measured.

    Args:
        results: folder that runs would be written to.
        import_in_child: stands in for the child process in tests.

    Returns:
        JSON data: `harness`, `harness_sha256`, `engines`, `folders`, `facts`, `watched`,
        `memory`, `energy`, `sandbox`, `unobserved`, `findings`, `ready`.
    """
    facts = environment.observe()
    engines = [_engine(name, import_in_child or _import_in_child) for name in ENGINES]
    folders = [
        _folder("cache", cache_folder(), "set HARNESS_CACHE to a folder that can be written"),
        _folder("results", results, "harness run --results FOLDER"),
    ]
    return {
        "harness": harness.__version__,
        "harness_sha256": harness_sha256(),
        "engines": engines,
        "folders": folders,
        "facts": facts,
        "watched": _watched(facts, counters.read()),
        "memory": [*_memory(), _page_cache(cache_folder())],
        "energy": energy.sources(),
        "sandbox": [_sandbox()],
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
    lines = [tr(f"harness {found['harness']} on {facts['python']}")]
    lines += [f"  sha256 {found['harness_sha256']}", "", tr("Engines")]
    for engine in found["engines"]:
        lines += _row(engine["status"], engine["backend"], engine["detail"], engine["hint"])
    lines += ["", tr("Folders")]
    for folder in found["folders"]:
        lines += _row(folder["status"], folder["name"], folder["detail"], folder["hint"])
    lines += ["", tr("This machine")]
    lines += [f"  {name:<24}{tr(_shown(name, facts[name]))}" for name in _SHOWN]
    for title, part in (
        ("What a run watches", "watched"),
        ("Memory of a model", "memory"),
        ("Energy of a model", "energy"),
        ("Sandbox of a model", "sandbox"),
    ):
        lines += ["", tr(title), *_rows(found[part])]
    lines += _unobserved_rows([o for o in found["unobserved"] if o["fact"] not in _WATCHED])
    lines += ["", tr("Findings")]
    lines += [
        f"  {pad(tr(finding['severity']), 9)}{finding['code']}: {tr(finding['detail'])}"
        for finding in found["findings"]
    ] or [f"  {tr('none')}"]
    lines += ["", tr(f"next: {_next(found)}")]
    # Error texts of engines may hold escape sequences.
    return "\n".join(printable(line) for line in lines)


def _next(found: Mapping[str, Any]) -> str:
    if found["ready"]:
        return "harness selftest, then harness devices probe, then harness run --device local"
    return " or ".join(e["hint"] for e in found["engines"] if e["backend"] not in OPTIONAL)


def _unobserved_rows(unobserved: Sequence[Mapping[str, str]]) -> list[str]:
    """One remedy often helps several facts: it is printed once under all of them."""
    if not unobserved:
        return []
    lines = ["", tr("Cannot be observed here")]
    for hint in dict.fromkeys(item["hint"] for item in unobserved):
        lines += [
            f"  {item['fact']:<24}{tr(item['what'])}" for item in unobserved if item["hint"] == hint
        ]
        lines.append(f"  {'':<24}{tr(f'next: {hint}')}")
    return lines


def _rows(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """One remedy of several rows in turn is printed once under them."""
    lines = []
    for hint, same in itertools.groupby(rows, key=lambda row: row["hint"]):
        *others, last = same
        for row in others:
            lines += _row(row["status"], row["name"], row["detail"], "")
        lines += _row(last["status"], last["name"], last["detail"], hint)
    return lines


def _row(status: str, name: str, detail: str, hint: str) -> list[str]:
    lines = [f"  {pad(tr(status), 9)}{pad(tr(name), 13)}{tr(detail)}"]
    if hint:
        lines.append(f"  {'':<22}{tr(f'next: {hint}')}")
    return lines


# --- engines ------------------------------------------------------------------------


def _engine(name: str, import_in_child: Import) -> dict[str, str]:
    packages = ENGINES[name]
    absent = [
        package for module, package in packages.items() if not importlib.util.find_spec(module)
    ]
    if absent:
        hint = engine_hint(name) if name in OPTIONAL else install_hint(*absent)
        return _engine_row(name, "absent", f"not installed: {', '.join(absent)}", hint)
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
    existing = _existing(path)
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
        "detail": f"{path}: {problem or f'{show_bytes(free or 0)} are free'}",
        "hint": "" if status == "ready" else hint,
    }


def _existing(path: Path) -> Path:
    """The folder, or the parent in which it would be made."""
    places = (path, *path.absolute().parents)
    # Not Path.exists: it raises where a parent may not be looked into.
    return next((place for place in places if os.path.exists(place)), path)  # noqa: PTH110


# --- sensors ------------------------------------------------------------------------


def _watched(facts: Mapping[str, object], read: Mapping[str, int]) -> list[dict[str, str]]:
    rows = []
    for key, (name, what) in _WATCHED.items():
        known = key in read or facts.get(key, UNKNOWN) != UNKNOWN
        # Where the desktop has no power modes, the governor says the same.
        known |= key == "power_mode" and facts.get("governor", UNKNOWN) != UNKNOWN
        rows.append(_sensor(name, what, known=known, hint=_mend(key, facts)))
    return rows


def _memory() -> list[dict[str, str]]:
    elsewhere = "only Linux does: the peak of the whole process is recorded instead"
    rows = (
        ("peak", "largest memory of a process, from the system itself", memory.resident()),
        ("phases", "a peak for each phase: load, prefill, decode", memory.reset_peak()),
        ("kinds", "allocated, mapped and shared memory apart", memory.resident_split(os.getpid())),
    )
    hints = ("run on Linux, Windows or macOS", elsewhere, elsewhere)
    return [
        _sensor(name, what, known=bool(found), hint=hint)
        for (name, what, found), hint in zip(rows, hints, strict=True)
    ]


def _page_cache(folder: Path) -> dict[str, str]:
    """Whether files can be taken out of memory, tried with a file of its own."""
    known = False
    try:
        with tempfile.NamedTemporaryFile(dir=_existing(folder)) as file:
            file.write(b"\1" * _EVICTED_BYTES)
            file.flush()
            known = pagecache.evict([Path(file.name)])
    except OSError:
        pass  # the folder's own row says that it cannot be written
    return _sensor(
        "cold loads",
        "a model's files taken out of memory before it is loaded",
        known=known,
        hint="set HARNESS_CACHE to a folder on a disk of a Linux system",
    )


def _sandbox() -> dict[str, str]:
    """The level that a child of ours reaches, which then gives up what a worker does."""
    command = [sys.executable, "-P", "-m", "harness.sandbox"]
    done = subprocess.run(command, env=clean({}), capture_output=True, check=True)
    reached = json.loads(done.stdout)
    if reached["level"]:
        detail = "a worker has no network, no other programs, no files but the model's"
        known = f"Landlock ABI {reached['landlock']}, seccomp"
        return {"name": "level 1", "status": "ready", "detail": f"{detail} ({known})", "hint": ""}
    why = " ".join(filter(None, (reached["reason"], reached.get("detail"))))
    return {
        "name": "level 0",
        "status": "absent",
        "detail": f"an official run is unverified below level 1: {why}",
        "hint": _TO_LEVEL_1[reached["reason"]],
    }


def _sensor(name: str, what: str, *, known: bool, hint: str) -> dict[str, str]:
    return {
        "name": name,
        "status": "ready" if known else "absent",
        "detail": what if known else f"{what}: not on this machine",
        "hint": "" if known else hint,
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
        return show_bytes(value)
    return str(value)
