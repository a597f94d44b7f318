"""Wheels out of what is installed: the very files that were tested, and no index asked.

    requirements ─▶ closure ─▶ each distribution's RECORD, checked ─▶ a wheel again

Scripts in `bin/` are left out: pip writes those of entry points again.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterable, Mapping
from email.parser import HeaderParser
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import harness
from harness import specfile
from harness.errors import PrerequisiteError, install_hint

HARNESS: Final = "sllm-harness"
EXTRAS: Final[Mapping[str, str]] = {
    "gguf": "llama-cpp",
    "onnx": "onnx",
    "safetensors": "transformers",
}
"""Format of a model → the extra with the engine that runs it."""

Find = Callable[[str], Distribution | None]

# What an installer adds. `direct_url.json` holds paths of this machine.
_INSTALLERS = frozenset(
    {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_build.json", "uv_cache.json"}
)
_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest of a zip file: equal files give equal wheels
_FAST = 1  # zlib's level: a kit is copied once, and mostly models


class Closure(NamedTuple):
    """What a kit needs.

    Attributes:
        found: distributions by canonical name.
        missing: requirements that nothing was found for, by canonical name.
    """

    found: dict[str, Distribution]
    missing: dict[str, Requirement]


def installed(name: str) -> Distribution | None:
    """The distribution of a name in this environment."""
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def closure(extras: Iterable[str], environment: Mapping[str, str], find: Find) -> Closure:
    """The harness with extras, and everything that they require in turn.

    Args:
        environment: values of environment markers of the machine that the kit is for.
        find: gives a distribution's metadata by name.
    """
    result = Closure({}, {})
    ahead = [Requirement(f"{HARNESS}[{','.join(extras)}]")]
    seen: set[tuple[str, frozenset[str]]] = set()
    while ahead:
        wanted = ahead.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        found = result.found.get(name) or find(name)
        if found is None:
            result.missing[name] = wanted
            continue
        result.found[name] = found
        for text in found.requires or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(
                marker.evaluate({**environment, "extra": extra}) for extra in wanted.extras or {""}
            ):
                requirement.marker = None  # decided; pip would ask this machine again
                ahead.append(requirement)
    return result


def size_bytes(needed: Closure) -> int:
    """Bytes of all files before they are packed: more than their wheels take."""
    return sum(file.size or 0 for found in needed.found.values() for file in found.files or ())


def built_here(found: Distribution) -> list[str]:
    """Libraries that hold the path of the user's folder: they were compiled on this machine."""
    if Path.home() == Path("/root"):
        return []  # nobody's name, and where containers compile what an index has
    home = f"{Path.home()}{os.sep}".encode()
    return [
        name
        for name, path in _members(found).items()
        if path.suffix in {".so", ".dylib", ".dll", ".pyd"} and home in path.read_bytes()
    ]


def repack(found: Distribution, folder: Path) -> Path:
    """Write the wheel of an installed distribution; a whole one of the same files is kept.

    Raises:
        PrerequisiteError: it was installed without RECORD, or changed since.
    """
    members = _members(found)
    info = next(name.split("/")[0] for name in members if name.endswith(".dist-info/METADATA"))
    contents = {name: path.read_bytes() for name, path in sorted(members.items())}
    record = f"{info}/RECORD"
    rows = [f"{_quoted(name)},{_hash(data)},{len(data)}" for name, data in contents.items()]
    contents[record] = "".join(f"{row}\n" for row in (*rows, f"{record},,")).encode()
    tags = _tags(contents[f"{info}/WHEEL"].decode())
    wheel = folder / f"{info.removesuffix('.dist-info')}-{tags}.whl"
    if _is_whole(wheel, contents):
        return wheel
    partial = wheel.with_name(f".{wheel.name}.part")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=_FAST) as archive:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            runs = name in members and members[name].stat().st_mode & stat.S_IXUSR
            entry.external_attr = (stat.S_IFREG | (0o755 if runs else 0o644)) << 16
            archive.writestr(entry, data)
    partial.replace(wheel)
    return wheel


def _members(found: Distribution) -> dict[str, Path]:
    """Files by their name in the wheel, each as it was installed."""
    if found.files is None:
        raise _unfit(found, "it was installed without a list of its files")
    listed = {file.as_posix(): file for file in found.files if file.suffix != ".pyc"}
    is_source = "harness/__init__.py" not in listed
    if canonicalize_name(found.name) == HARNESS and is_source:
        return _checkout(found, listed)
    members = {}
    for name, file in listed.items():
        parts = file.parts
        if parts[0] == ".." or (parts[0].endswith(".dist-info") and _is_installers(name)):
            continue
        path = Path(str(file.locate()))
        if not path.is_file():
            raise _unfit(found, f"{name} is missing")
        if file.hash and file.hash.mode == "sha256":
            actual = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest())
            if actual.rstrip(b"=").decode() != file.hash.value:
                raise _unfit(found, f"{name} was changed after the installation")
        members[name] = path
    if not any(not name.split("/")[0].endswith((".dist-info", ".pth")) for name in members):
        raise _unfit(found, "it is installed as a checkout (editable)")
    return members


def _is_installers(name: str) -> bool:
    return name.split("/", 1)[1] in _INSTALLERS


def _checkout(found: Distribution, listed: Mapping[str, object]) -> dict[str, Path]:
    """The harness from a checkout: its package, and the data that its wheel carries."""
    if found.version != harness.__version__:
        raise _unfit(found, f"this program is {harness.__version__}")
    package = Path(harness.__file__).parent
    members = {
        f"harness/{path.relative_to(package).as_posix()}": path
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    members["harness/data/models.yaml"] = specfile.built_in("models.yaml")
    for device in specfile.built_in("devices").glob("*.yaml"):
        if device.stem != "local":  # what `devices probe` wrote about this machine
            members[f"harness/data/devices/{device.name}"] = device
    for name in listed:
        if ".dist-info/" in name and not _is_installers(name):
            members[name] = Path(str(found.locate_file(name)))
    return members


def _unfit(found: Distribution, why: str) -> PrerequisiteError:
    return PrerequisiteError(
        f"{found.name} {found.version} cannot be packed: {why}",
        hint=install_hint("--force-reinstall", f"{found.name}=={found.version}"),
        reason="distribution_unfit",
    )


def _tags(wheel: str) -> str:
    """`py2.py3-none-any`: all tags of a WHEEL file in the form of a file name."""
    tags = [tag.split("-") for tag in HeaderParser().parsestr(wheel).get_all("Tag", [])]
    return "-".join(".".join(sorted(set(parts))) for parts in zip(*tags, strict=True))


def _hash(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={digest}"


def _quoted(name: str) -> str:
    return f'"{name}"' if re.search(r'[,"]', name) else name


def _is_whole(wheel: Path, contents: Mapping[str, bytes]) -> bool:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.namelist() == list(contents) and all(
                archive.read(name) == data for name, data in contents.items()
            )
    except (OSError, zipfile.BadZipFile):
        return False
