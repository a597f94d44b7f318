"""`install.py` on a bare Python without a network, and what it refuses before it begins."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.kit import building as kits
from harness.kit import install, manifest, wheels
from harness.kit.folder import Folder
from harness.spec import file_sha256
from tests.kit.helpers import distribution

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
BASE = str(getattr(sys, "_base_executable", sys.executable))
"""The Python that this environment was made from: it has none of our packages."""
PROGRAM = """\
import os, sys
import markupsafe._speedups
print(*sys.argv[1:], os.environ["HARNESS_CACHE"], os.environ["HF_HUB_OFFLINE"], os.getcwd())
print(sys.flags.isolated, sys.prefix)
"""


def about(**changed: object) -> dict[str, Any]:
    """What the manifest of a kit for this machine says."""
    return {
        "kind": "kit",
        "harness": harness.__version__,
        "system": platform.system(),
        "machine": platform.machine(),
        "python": PYTHON,
        "llama_cpp": "",
        "models": [],
        "profile": "quick",
    } | changed


@pytest.fixture
def make_kit(tmp_path: Path) -> Callable[..., Path]:
    """A kit with a program of two lines instead of the harness, and one compiled package."""

    def make(**changed: object) -> Path:
        root = tmp_path / "a kit" / "측정"
        root.parent.mkdir()
        folder = Folder(root)
        toy = distribution(tmp_path / "site", "harness", files={"harness/__main__.py": PROGRAM})
        for found in (toy, wheels.installed("markupsafe") or pytest.fail("missing")):
            wheels.repack(found, root / "wheels")
        lines = [
            f"{name}=={version} --hash=sha256:{file_sha256(path)}\n"
            for path in sorted((root / "wheels").iterdir())
            for name, version in [path.name.split("-")[:2]]
        ]
        folder.write("requirements.txt", "".join(lines))
        folder.write("artefacts/model.gguf", "weights")
        kits.place_texts(folder, about(**changed))
        kits.place_pip(folder)
        (root / ".unfinished").unlink()
        manifest.write(root, about(**changed))
        return root

    return make


def outside(command: list[object], home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run with an empty home and, where the system lets us, without any network."""
    home.mkdir(exist_ok=True)
    words = [str(word) for word in command]
    if can_unshare():
        words = ["unshare", "-rn", *words]
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **more}
    if os.name == "nt":
        environment = {**os.environ, **more}
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment)


def can_unshare() -> bool:
    """Whether a namespace without a network can be made here."""
    return (
        bool(shutil.which("unshare"))
        and not subprocess.run(
            ["unshare", "-rn", "true"], capture_output=True, check=False
        ).returncode
    )


def test_a_kit_installs_and_runs_without_a_network(
    make_kit: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_kit()
    # Neither an index, nor pip's settings, nor modules of this machine have a say.
    hostile = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_NO_BINARY": ":all:", "PYTHONPATH": "/x"}
    done = outside([BASE, root / "install.py"], tmp_path / "home", **hostile)
    assert done.returncode == 0, done.stderr
    launcher = [root / "harness.cmd"] if os.name == "nt" else ["sh", root / "harness"]
    assert done.stderr.splitlines()[-1].startswith("done; next: ")
    ran = outside([*launcher, "run", "--json"], tmp_path / "home", PYTHONPATH="/x")
    assert ran.returncode == 0, ran.stderr
    said, flags = ran.stdout.splitlines()
    assert said == f"run --json {root / 'installed' / 'cache'} 1 {root}"
    assert flags == f"1 {root / 'installed' / 'env'}"
    assert (root / "installed" / "cache" / "model.gguf").read_text() == "weights"
    assert list((tmp_path / "home").iterdir()) == []
    assert kits.verify(root)["kind"] == "kit"


def test_the_launcher_of_a_kit_that_is_not_installed_says_what_to_do(
    make_kit: Callable[..., Path], tmp_path: Path
) -> None:
    if os.name == "nt":
        pytest.skip("the launcher of Windows is not run here")
    done = outside(["sh", make_kit() / "harness"], tmp_path / "home")
    assert done.returncode == 3
    assert done.stderr == f"harness: not installed yet; next: python{PYTHON} install.py\n"


def _append(name: str) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        with (root / name).open("ab") as file:
            file.write(b"x")

    return change


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (_append("models.yaml"), "install.py: models.yaml: extra, the manifest does not have it"),
        (_append("artefacts/model.gguf"), "changed, 8 bytes instead of 7"),
        (
            lambda root: (root / "requirements.txt").unlink(),
            "install.py: requirements.txt: missing",
        ),
        # A module beside install.py would be run before anything was checked.
        (
            lambda root: (root / "hashlib.py").write_text("raise SystemExit('taken over')"),
            "install.py: hashlib.py: extra, the manifest does not have it",
        ),
    ],
)
def test_a_damaged_kit_is_refused_in_one_line(
    make_kit: Callable[..., Path], tmp_path: Path, change: Callable[[Path], object], line: str
) -> None:
    root = make_kit()
    change(root)
    done = outside([BASE, root / "install.py"], tmp_path / "home")
    assert done.returncode == 2
    first, message = done.stderr.splitlines()
    assert first == "1/3  checking every file"
    assert line in message
    assert not (root / "installed").exists()


@pytest.mark.parametrize("name", ["installed", "installed/env", "installed/cache"])
def test_an_installation_never_clears_or_writes_outside_the_kit(
    make_kit: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    root = make_kit()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("the only copy")
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).symlink_to(precious)
    done = outside([BASE, root / "install.py"], tmp_path / "home")
    assert done.returncode == 2
    line = f"install.py: {name}: a link or a file, allowed is a plain folder; next: remove it"
    assert line in done.stderr.splitlines()
    assert [file.name for file in precious.iterdir()] == ["thesis.txt"]


def test_a_link_inside_an_earlier_cache_is_not_written_through(
    make_kit: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_kit()
    (root / "installed" / "cache").mkdir(parents=True)
    precious = tmp_path / "precious.txt"
    precious.write_text("the only copy")
    (root / "installed" / "cache" / "model.gguf").symlink_to(precious)
    done = outside([BASE, root / "install.py"], tmp_path / "home")
    assert done.returncode == 2
    assert "install.py: model.gguf: a link, allowed are plain files" in done.stderr
    assert precious.read_text() == "the only copy"


def test_a_folder_that_cannot_be_written_is_named(
    make_kit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    root = make_kit()
    monkeypatch.setattr("venv.create", full)
    with pytest.raises(install.Refused, match="cannot be written: No space left") as caught:
        install.install(root, lambda _line: None)
    assert caught.value.exit_code == 3
    assert "next: copy the kit to a disk that has room" in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"system": "Windows", "machine": "AMD64"}, "this kit is for Windows AMD64, this is "),
        ({"python": "3.99"}, f"this kit needs Python 3.99, this is {PYTHON}; next: install"),
    ],
)
def test_a_kit_for_another_machine_is_refused(changed: Mapping[str, object], message: str) -> None:
    install.check_machine(about())
    with pytest.raises(install.Refused, match=message) as caught:
        install.check_machine(about(**changed))
    assert caught.value.exit_code == 3


def test_wheels_that_were_swapped_are_refused_by_pip(
    make_kit: Callable[..., Path], tmp_path: Path
) -> None:
    """The manifest is right, the hash that holds pip is not."""
    root = make_kit()
    text = (root / "requirements.txt").read_text()
    (root / "requirements.txt").write_text(
        "\n".join(line.split("sha256:")[0] + f"sha256:{'0' * 64}" for line in text.splitlines())
    )
    manifest.write(root, about())
    done = outside([BASE, root / "install.py"], tmp_path / "home")
    assert done.returncode == 3
    assert "install.py: pip: ERROR: THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr


def test_features_that_the_processor_lacks_are_named() -> None:
    built = "CPU : SSE3 = 1 | AVX_VNNI = 1 | AVX2 = 1 | AVX512 = 1 | AVX512_BF16 = 1 | OPENMP = 1"
    laptop = "flags\t\t: fpu pni ssse3 avx avx2 avx_vnni"
    assert install.missing_features(built, laptop) == ["AVX512", "AVX512_BF16"]
    assert install.missing_features(built, laptop + " avx512f avx512_bf16") == []
    assert install.missing_features("unknown", laptop) == []
