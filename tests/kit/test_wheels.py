"""Wheels of what is installed: the same files, and nothing that tells of this machine."""

from __future__ import annotations

import zipfile
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from packaging.markers import default_environment

from harness.errors import PrerequisiteError
from harness.kit import wheels
from tests.kit.helpers import distribution, members

ENVIRONMENT = {key: str(value) for key, value in default_environment().items()}


def test_a_wheel_has_the_files_and_a_record_of_them(tmp_path: Path) -> None:
    found = distribution(
        tmp_path / "site",
        "a-b",
        files={
            "a_b/data, more.txt": "x",
            "a_b/__pycache__/__init__.pyc": "compiled",
            "../../bin/a-b": "#!/home/somebody/python",
        },
        tags=("cp311-abi3-manylinux2014_x86_64", "cp311-abi3-manylinux_2_17_x86_64"),
    )
    wheel = wheels.repack(found, tmp_path)
    assert wheel.name == "a_b-1.0-cp311-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
    held = members(wheel)
    assert set(held) == {
        "a_b/__init__.py",
        "a_b/data, more.txt",
        "a_b-1.0.dist-info/METADATA",
        "a_b-1.0.dist-info/WHEEL",
        "a_b-1.0.dist-info/RECORD",
    }
    assert "somebody" not in "".join(held.values())
    record = held["a_b-1.0.dist-info/RECORD"].splitlines()
    assert len(record) == 5
    assert record[-1] == "a_b-1.0.dist-info/RECORD,,"
    assert '"a_b/data, more.txt",sha256=' in held["a_b-1.0.dist-info/RECORD"]


def test_equal_files_give_equal_wheels_and_a_whole_one_is_kept(tmp_path: Path) -> None:
    found = distribution(tmp_path / "site", "a")
    wheel = wheels.repack(found, tmp_path)
    first, made = wheel.read_bytes(), wheel.stat().st_mtime_ns
    wheels.repack(found, tmp_path)
    assert wheel.stat().st_mtime_ns == made
    wheel.write_bytes(first[:-30])
    wheels.repack(found, tmp_path)
    assert wheel.read_bytes() == first


def test_a_file_that_changed_since_the_installation_is_refused(tmp_path: Path) -> None:
    found = distribution(tmp_path, "a")
    (tmp_path / "a" / "__init__.py").write_text("import socket")
    with pytest.raises(
        PrerequisiteError, match=r"a/__init__\.py was changed after the installation"
    ):
        wheels.repack(found, tmp_path)
    (tmp_path / "a" / "__init__.py").unlink()
    with pytest.raises(PrerequisiteError, match=r"a/__init__\.py is missing") as caught:
        wheels.repack(found, tmp_path)
    assert "install --force-reinstall a==1.0" in caught.value.hint


def test_what_is_not_installed_from_a_wheel_is_refused(tmp_path: Path) -> None:
    found = distribution(tmp_path, "a", files={"a.pth": "/home/somebody/a"})
    record = tmp_path / "a-1.0.dist-info" / "RECORD"
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(line for line in lines if "__init__" not in line))
    with pytest.raises(PrerequisiteError, match=r"installed as a checkout \(editable\)"):
        wheels.repack(found, tmp_path)
    record.unlink()
    with pytest.raises(PrerequisiteError, match="without a list of its files"):
        wheels.repack(found, tmp_path)


def test_the_harness_is_packed_from_its_checkout(tmp_path: Path) -> None:
    import harness

    wheel = wheels.repack(wheels.installed("sllm-harness") or pytest.fail("missing"), tmp_path)
    held = members_names(wheel)
    package = Path(harness.__file__).parent
    assert {
        f"harness/{path.relative_to(package).as_posix()}" for path in package.rglob("*.py")
    } <= held
    assert {"harness/data/models.yaml", "harness/data/devices/this-machine.yaml"} <= held
    assert "harness/models/weights/ref-4m.safetensors" in held
    assert not [
        name for name in held if name.endswith((".pyc", ".pth", "local.yaml", "direct_url.json"))
    ]


def members_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_a_program_of_another_version_is_not_packed(tmp_path: Path) -> None:
    found = distribution(tmp_path, "sllm-harness", "9.0")
    with pytest.raises(
        PrerequisiteError, match=r"sllm-harness 9\.0 cannot be packed: this program"
    ):
        wheels.repack(found, tmp_path)


def test_a_closure_follows_extras_and_markers_of_the_other_machine(tmp_path: Path) -> None:
    universe = {
        "sllm-harness": distribution(
            tmp_path,
            "sllm-harness",
            requires=["b[fast]", "engine; extra == 'onnx'", "no; extra == 'x'"],
        ),
        "b": distribution(
            tmp_path, "b", requires=["c; extra == 'fast'", "w; sys_platform == 'win32'"]
        ),
        "c": distribution(tmp_path, "c", requires=["B", "gone>=2"]),
        "engine": distribution(tmp_path, "engine"),
        "w": distribution(tmp_path, "w"),
    }
    linux = wheels.closure(["onnx"], {**ENVIRONMENT, "sys_platform": "linux"}, universe.get)
    assert set(linux.found) == {"sllm-harness", "b", "c", "engine"}
    assert {name: str(entry) for name, entry in linux.missing.items()} == {"gone": "gone>=2"}
    windows = wheels.closure([""], {**ENVIRONMENT, "sys_platform": "win32"}, universe.get)
    assert set(windows.found) == {"sllm-harness", "b", "c", "w"}


def test_libraries_with_the_path_of_the_home_folder_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "kim"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    found: Distribution = distribution(
        tmp_path, "a", files={"a/x.so": f"..{home}/.cache/a.c..", "a/y.so": "clean"}
    )
    assert wheels.built_here(found) == ["a/x.so"]
