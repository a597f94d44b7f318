"""Wheels for another machine, by a real pip and a folder of wheels instead of an index."""

from __future__ import annotations

from importlib.metadata import Distribution
from pathlib import Path

import click
import pytest

from harness.cli_kit import build
from harness.errors import PrerequisiteError
from harness.kit import target, wheels
from tests.kit.helpers import distribution

WINDOWS = ("cp312-cp312-win_amd64",)


@pytest.fixture
def universe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Distribution]:
    """What is installed here instead of the real packages; pip looks into `index` only."""
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    found = {
        "sllm-harness": distribution(
            tmp_path / "site",
            "sllm-harness",
            requires=["binary", "only-there; sys_platform == 'win32'", "llama-cpp-python"],
        ),
        "binary": distribution(tmp_path / "site", "binary", "2.0"),
        "llama-cpp-python": distribution(tmp_path / "site", "llama-cpp-python"),
    }
    monkeypatch.setattr(wheels, "installed", found.get)
    return found


def publish(tmp_path: Path, name: str, version: str = "1.0", **more: object) -> None:
    """Put a wheel into the folder that pip looks into."""
    found = distribution(tmp_path / f"site-{name}-{version}", name, version, **more)  # type: ignore[arg-type]
    wheels.repack(found, tmp_path / "index")


def test_the_machine_is_this_one_unless_another_is_named() -> None:
    here = target.of(None, None)
    assert here.is_here
    assert target.of(None, here.python).is_here
    there = target.of("win_amd64", "3.12")
    assert not there.is_here
    assert there.environment["platform_system"] == "Windows"
    assert there.environment["python_version"] == "3.12"
    other = "3.13" if here.python != "3.13" else "3.12"
    assert target.of(None, other).tags, "another Python on this system needs other wheels"


def test_the_command_offers_every_platform_and_python() -> None:
    """It lists them itself, since its help must not import what packs."""
    offered = {
        option.name: tuple(option.type.choices)
        for option in build.params
        if isinstance(option.type, click.Choice)
    }
    assert offered == {"platform": target.PLATFORMS, "python": target.PYTHONS}


def test_wheels_come_in_the_installed_version_with_what_only_the_other_machine_needs(
    universe: dict[str, Distribution], tmp_path: Path
) -> None:
    publish(tmp_path, "binary", "2.0", tags=WINDOWS)
    publish(tmp_path, "binary", "3.0", tags=WINDOWS)
    publish(tmp_path, "only-there", requires=["deeper>=1"])
    publish(tmp_path, "deeper")
    store = tmp_path / "wheels"
    store.mkdir()
    aim = target.of("win_amd64", "3.12")
    closure, packed = target.fetch(aim, [""], store)
    assert sorted(path.name for path in packed) == [
        "binary-2.0-cp312-cp312-win_amd64.whl",
        "deeper-1.0-py3-none-any.whl",
        "only_there-1.0-py3-none-any.whl",
    ]
    assert set(closure.found) == {"sllm-harness", "binary", "only-there", "deeper"}
    # llama.cpp's has no wheel: the kit goes without, and says so.
    assert set(closure.missing) == {"llama-cpp-python"}
    made = {path: path.stat().st_mtime_ns for path in packed}
    assert target.fetch(aim, [""], store)[1] == packed
    assert {path: path.stat().st_mtime_ns for path in packed} == made


def test_a_package_without_a_wheel_for_the_machine_is_named(
    universe: dict[str, Distribution], tmp_path: Path
) -> None:
    publish(tmp_path, "binary", "2.0", tags=("cp312-cp312-manylinux2014_x86_64",))
    publish(tmp_path, "only-there")
    with pytest.raises(PrerequisiteError, match=r"No matching distribution found for binary==2\.0"):
        target.fetch(target.of("win_amd64", "3.12"), [""], tmp_path)


def test_wheels_of_another_machine_are_not_taken_for_its_own(tmp_path: Path) -> None:
    for tag in (
        "cp312-cp312-win_amd64",
        "cp312-cp312-manylinux_2_28_x86_64",
        "cp38-abi3-win_amd64",
    ):
        wheels.repack(distribution(tmp_path / tag, "a", tags=(tag,)), tmp_path)
    names = [path.name for path in target.fitting(tmp_path, target.of("win_amd64", "3.12"))]
    assert names == ["a-1.0-cp312-cp312-win_amd64.whl", "a-1.0-cp38-abi3-win_amd64.whl"]
