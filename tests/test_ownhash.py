"""The hash of the program: any file counts, line ends and compiled files do not."""

import shutil
import subprocess
from pathlib import Path

import pytest

import harness
from harness.ownhash import harness_sha256

ROOT = Path(harness.__file__).parent


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    leave = shutil.ignore_patterns("__pycache__", "weights")
    return shutil.copytree(ROOT, tmp_path / "harness", ignore=leave)


def test_what_counts(copy: Path) -> None:
    own = harness_sha256()
    assert harness_sha256(copy) == own
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__" / "score.cpython-311.pyc").write_bytes(b"compiled")
    (copy / "data").mkdir()
    (copy / "data" / "models.yaml").write_text("of an installation")
    for path in [copy / "score.py", copy / "messages" / "ko.json"]:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert harness_sha256(copy) == own


def add(copy: Path) -> None:
    (copy / "more.py").write_text("")


def rename(copy: Path) -> None:
    (copy / "score.py").rename(copy / "scores.py")


def change(copy: Path) -> None:
    path = copy / "profiles" / "quick.yaml"
    path.write_text(path.read_text("utf-8") + "\n", "utf-8")


@pytest.mark.parametrize("edit", [add, rename, change])
def test_every_edit_is_seen(copy: Path, edit) -> None:
    edit(copy)
    assert harness_sha256(copy) != harness_sha256()


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum here")
def test_anybody_can_count_again() -> None:
    """The command of docs/bundles.md."""
    command = (
        "LC_ALL=C find . -type f -not -path '*/__pycache__/*' -not -path '*/weights/*' "
        "-not -path './data/*' -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    )
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == harness_sha256()
