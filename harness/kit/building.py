"""A folder that installs and runs on a laptop with no network: `harness kit`.

    what is installed ─▶ wheels/      embedded models ─▶ artefacts/
    models.yaml       ─▶ models/      profile, devices, licences ─▶ beside them
                                      everything ─▶ MANIFEST.json, written last

On the laptop `install.py` checks the manifest and makes `installed/`; the launchers set
the working folder and the cache, so that a run finds all of this by its usual names.
"""

from __future__ import annotations

import ensurepip
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from packaging.utils import parse_wheel_filename

import harness
from harness.backends import ENGINES, llama_library
from harness.errors import PrerequisiteError, install_hint
from harness.kit import install, manifest, supply, target, wheels
from harness.kit.folder import UNFINISHED_NAMES, Folder
from harness.kit.install import WRITTEN_HERE
from harness.kit.supply import Choice
from harness.kit.target import Target
from harness.kit.wheels import Closure
from harness.spec import DEFAULT_BACKEND, file_sha256

_TEMPLATES = resources.files("harness.kit") / "templates"


class Kit(NamedTuple):
    """A finished kit.

    Attributes:
        about: what its manifest says about it. size_bytes: of all its files.
        warnings: what its user has to know.
    """

    folder: Path
    about: Mapping[str, Any]
    files: int
    size_bytes: int
    warnings: list[str]


def build(
    out: Path,
    *,
    models: Sequence[str] = (),
    set_name: str = "",
    profile: str = "quick",
    devices: Sequence[str] = (),
    platform: str | None = None,
    python: str | None = None,
    catalogue_path: Path | None = None,
    progress: Callable[[str], None] = lambda _line: None,
) -> Kit:
    """Make a kit, or bring an unfinished or older one up to date.

    Raises:
        SpecError: an unknown name, a wrong file, or a folder with something else in it.
        PrerequisiteError: a model is not here, an engine cannot be packed, or no space.
        RecordError: the folder cannot be written.
    """
    aim = target.of(platform, python)
    choice = supply.choose(models, set_name, profile, catalogue_path)
    folder = Folder(out)
    names = [
        extra for kind, extra in wheels.EXTRAS.items() if kind in {"gguf", "onnx"} | choice.formats
    ]
    closure = wheels.closure(names, aim.environment, wheels.installed)
    _refuse_incomplete(closure, aim)
    folder.require_space(choice.size_bytes + wheels.size_bytes(closure) + _ARTEFACT_BYTES)
    profile_name, secrets = supply.place_profile(folder, profile, choice.profile)
    supply.place_devices(folder, devices)
    progress(f"packing {len(closure.found)} packages for {aim.system} and Python {aim.python}")
    closure, packed = _place_wheels(folder, aim, names, closure)
    formats = {kind for kind in wheels.EXTRAS if _runs(kind, closure)}
    progress("copying the reference models")
    supply.place_artefacts(folder, formats, k_quants=aim.is_here)
    progress(f"copying {choice.size_bytes / 1e9:.1f} GB of models")
    supply.place_models(folder, choice)
    supply.place_licences(folder, packed, choice)
    about = _about(aim, choice, profile_name, closure)
    place_texts(folder, about)
    folder.finish()
    progress("hashing every file")
    manifest.write(out, about, UNFINISHED_NAMES)
    folder.seal()
    size = sum((out / name).stat().st_size for name in folder.placed)
    warnings = _warnings(closure, aim, choice, secrets, about)
    return Kit(out, about, len(folder.placed), size, warnings)


def verify(folder: Path) -> dict[str, Any]:
    """What a kit says about itself, once every file is as its manifest says.

    Raises:
        SpecError: the first file that is missing, extra, changed or a link.
    """
    return manifest.verify(folder, WRITTEN_HERE)


_ARTEFACT_BYTES = 100 << 20  # of both networks in every form


def _place_wheels(
    folder: Folder, aim: Target, extras: Sequence[str], closure: Closure
) -> tuple[Closure, list[Path]]:
    """All wheels, and the requirements that hold pip to their hashes."""
    store = folder.root / "wheels"
    if aim.is_here:
        packed = [wheels.repack(found, store) for _, found in sorted(closure.found.items())]
    else:
        closure, packed = target.fetch(aim, extras, store)
        packed.append(wheels.repack(closure.found[wheels.HARNESS], store))
    lines = []
    for wheel in sorted(packed):
        name, version, *_ = parse_wheel_filename(wheel.name)
        lines.append(f"{name}=={version} --hash=sha256:{file_sha256(wheel)}")
        folder.placed.add(f"wheels/{wheel.name}")
    folder.write("requirements.txt", "\n".join(lines) + "\n")
    place_pip(folder)
    return closure, packed


def place_pip(folder: Folder) -> None:
    """Add the pip that Python brings along: Debian's Python has none on the laptop."""
    for own in sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))[-1:]:
        folder.copy(own, f"wheels/{own.name}")


def _refuse_incomplete(closure: Closure, aim: Target) -> None:
    """An engine may be missing, and its models are then left out; nothing else may.

    What only another machine needs is downloaded, the harness itself never.
    """
    engines = {name for modules in ENGINES.values() for name in modules.values()}
    lost = sorted(closure.missing.keys() - engines)
    if lost and (aim.is_here or wheels.HARNESS in lost):
        raise PrerequisiteError(
            f"packages that the harness needs are not installed: {', '.join(lost)}",
            hint=install_hint(*lost),
            reason="distribution_unfit",
        )


def _runs(kind: str, closure: Closure) -> bool:
    """Whether the kit has the engine of a format."""
    return set(ENGINES[DEFAULT_BACKEND[kind]].values()) <= closure.found.keys()


def _about(aim: Target, choice: Choice, profile: str, closure: Closure) -> dict[str, Any]:
    """What the manifest says: `install.py` compares it with the laptop."""
    instructions = ""
    if _runs("gguf", closure):
        instructions = llama_library.identity()["instruction_set"] if aim.is_here else "unknown"
    return {
        "kind": "kit",
        "harness": harness.__version__,
        "system": aim.system,
        "machine": aim.machine,
        "python": aim.python,
        "llama_cpp": instructions,
        "models": list(choice.sets["default"]),
        "profile": profile,
    }


def place_texts(folder: Folder, about: Mapping[str, Any]) -> None:
    """Installer, launchers, and three steps for who has never seen a terminal."""
    options = "" if about["profile"] == "quick" else f" --profile {about['profile']}"
    names = {"python": about["python"], "version": about["harness"], "options": options}
    folder.write("install.py", Path(install.__file__).read_text("utf-8"))
    for name in ("README.txt", "harness.cmd", "harness"):
        text = Template((_TEMPLATES / name).read_text("utf-8")).safe_substitute(names)
        windows = name != "harness"
        folder.write(name, text.replace("\n", "\r\n") if windows else text, runs=not windows)


def _warnings(
    closure: Closure, aim: Target, choice: Choice, secrets: int, about: Mapping[str, Any]
) -> list[str]:
    mend = (
        install_hint(*sorted(closure.missing))
        if aim.is_here
        else f"set PIP_FIND_LINKS to a folder with a wheel of it for {aim.system} {aim.machine}, "
        "or make the kit on such a machine"
    )
    found = [
        f"{name} is not in the kit: its models cannot run; next: {mend}"
        for name in sorted(closure.missing)
    ]
    found += [
        f"{model.id} must not be used commercially: {model.licence}"
        for model in choice.models
        if model.commercial is False
    ]
    if secrets:
        found.append(f"{secrets} files of held-out items are in the kit: keep it as secret as they")
    if wide := [name for name in ("AVX512", "AMX_INT8") if f" {name} = 1" in about["llama_cpp"]]:
        found.append(
            f"llama.cpp was compiled for this processor and uses {', '.join(wide)}: GGUF models "
            "crash on a laptop that has less; next: compile it with -DGGML_NATIVE=OFF"
        )
    built = [entry for entry in closure.found.values() if aim.is_here and wheels.built_here(entry)]
    found += [f"{entry.name} holds the path under which it was compiled" for entry in built]
    return found
