"""The machine that a kit is for, and wheels for one that is unlike this."""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path
from typing import Final, NamedTuple

from packaging import tags
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from harness.errors import PrerequisiteError, SpecError
from harness.kit import wheels
from harness.kit.wheels import HARNESS, Closure

# Name for --platform: what Python calls it there, and the tags whose wheels it takes.
_MANYLINUX: Final = (*(f"manylinux_2_{minor}" for minor in range(28, 16, -1)), "manylinux2014")
_PLATFORMS: Final[Mapping[str, tuple[str, str, str, str, tuple[str, ...]]]] = {
    "win_amd64": ("Windows", "AMD64", "win32", "nt", ("win_amd64",)),
    "win_arm64": ("Windows", "ARM64", "win32", "nt", ("win_arm64",)),
    "linux_x86_64": (
        "Linux", "x86_64", "linux", "posix", tuple(f"{name}_x86_64" for name in _MANYLINUX)
    ),
    "linux_aarch64": (
        "Linux", "aarch64", "linux", "posix", tuple(f"{name}_aarch64" for name in _MANYLINUX)
    ),
    "macosx_arm64": (
        "Darwin", "arm64", "darwin", "posix", tuple(tags.mac_platforms((14, 0), "arm64"))
    ),
}  # fmt: skip
PLATFORMS: Final = tuple(_PLATFORMS)
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
OPTIONAL: Final = "llama-cpp-python"
"""Has no wheel in the package index: a kit for another machine may go without."""


class Target(NamedTuple):
    """A machine.

    Attributes:
        python: `major.minor`. system, machine: as `platform` calls them there.
        tags: platform tags of wheels that it takes; empty for this machine.
        environment: values of environment markers.
    """

    python: str
    system: str
    machine: str
    tags: tuple[str, ...]
    environment: Mapping[str, str]

    @property
    def is_here(self) -> bool:
        """Whether the wheels of what is installed here fit."""
        return not self.tags


def of(name: str | None, python: str | None) -> Target:
    """The machine of a platform's name and a Python; this one where neither is given."""
    markers: dict[str, str] = {key: str(value) for key, value in default_environment().items()}
    here = Target(
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        system=platform.system(),
        machine=platform.machine(),
        tags=(),
        environment=markers,
    )
    ours = next((key for key, row in _PLATFORMS.items() if row[:2] == here[1:3]), None)
    name, python = name or ours, python or here.python
    if (name, python) == (ours, here.python):
        return here
    if name is None:
        raise SpecError(
            f"{here.system} {here.machine} is no platform that wheels are looked up for",
            allowed=", ".join(PLATFORMS),
            hint="harness kit OUT --platform PLATFORM",
            reason="unknown_platform",
        )
    system, machine, sys_platform, os_name, tags = _PLATFORMS[name]
    markers |= {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_version": f"{python}.0",
        "os_name": os_name,
        "sys_platform": sys_platform,
        "platform_system": system,
        "platform_machine": machine,
        "platform_release": "",
        "platform_version": "",
    }
    return Target(python, system, machine, tags, markers)


def fetch(target: Target, extras: Sequence[str], store: Path) -> tuple[Closure, list[Path]]:
    """Download the wheels of everything but the harness, in the versions that are installed here.

    pip does it by the user's own settings. What is only needed over there is looked at once
    it has come, since it may need more.

    Returns:
        What the kit needs, and the wheels.

    Raises:
        PrerequisiteError: there is no pip, or a package has no wheel for the target.
    """
    lacking: set[str] = set()
    asked: set[str] = set()

    def find(name: str) -> Distribution | None:
        return wheels.installed(name) or _metadata(fitting(store, target), name)

    while True:
        closure = wheels.closure(extras, target.environment, find)
        wanted = {
            name: Requirement(f"{name}=={found.version}")
            for name, found in closure.found.items()
            if name != HARNESS
        } | closure.missing
        have = {
            name: path
            for path in fitting(store, target)
            for name, version, *_ in [parse_wheel_filename(path.name)]
            if name in wanted and wanted[name].specifier.contains(version, prereleases=True)
        }
        ahead = {name: wanted[name] for name in wanted.keys() - have.keys() - lacking}
        if not ahead:
            break
        if ahead.pop(OPTIONAL, None) and _download(target, [wanted[OPTIONAL]], store):
            lacking.add(OPTIONAL)
        problem = _download(target, list(ahead.values()), store)
        if again := sorted(ahead.keys() & asked):
            problem = problem or f"what came for {again[0]} does not fit"
        asked |= ahead.keys()
        if problem:
            raise PrerequisiteError(
                f"not every package has a wheel for {target.system} {target.machine} and "
                f"Python {target.python}: {problem}",
                hint="another --python or --platform, or make the kit on such a machine",
                reason="wheel_missing",
            )
    found = {name: entry for name, entry in closure.found.items() if name not in lacking}
    return Closure(found, {name: wanted[name] for name in lacking}), list(have.values())


def fitting(store: Path, target: Target) -> list[Path]:
    """Wheels in a folder that a machine takes."""
    version = [int(part) for part in target.python.split(".")]
    interpreter = f"cp{''.join(map(str, version))}"
    taken = {
        *tags.cpython_tags(version, platforms=target.tags),
        *tags.compatible_tags(version, interpreter, target.tags),
    }
    paths = sorted(store.glob("[!.]*.whl"))
    return [path for path in paths if parse_wheel_filename(path.name)[3] & taken]


def _metadata(paths: Sequence[Path], name: str) -> Distribution | None:
    """Metadata inside a wheel that was downloaded."""
    for path in paths:
        if canonicalize_name(parse_wheel_filename(path.name)[0]) == name:
            with zipfile.ZipFile(path) as archive:
                info = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
            return PathDistribution(zipfile.Path(path, info.removesuffix("METADATA")))
    return None


def _download(target: Target, wanted: Sequence[Requirement], store: Path) -> str:
    """Have pip download wheels; what it says when it cannot, else an empty text."""
    if not wanted:
        return ""
    options = ["--no-deps", "--only-binary=:all:", "--quiet", f"--dest={store}"]
    options += ["--implementation=cp", f"--python-version={target.python}"]
    options += [f"--platform={tag}" for tag in target.tags]
    done = subprocess.run(
        [*_pip(), "download", *options, *map(str, wanted)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return (lines or ["pip failed"])[-1].removeprefix("ERROR: ") if done.returncode else ""


def _pip() -> list[str]:
    """The pip of this environment, or of the Python that it was made from: uv makes none."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    base = str(getattr(sys, "_base_executable", sys.executable))
    probe = subprocess.run([base, "-m", "pip", "--version"], capture_output=True, check=False)
    if probe.returncode:
        raise PrerequisiteError(
            "wheels for another machine are downloaded by pip, which is not here",
            hint="uv pip install pip",
            reason="pip_missing",
        )
    return [base, "-m", "pip"]
