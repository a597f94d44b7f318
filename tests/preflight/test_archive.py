"""Archives of strangers: nothing leaves the new folder, and a refusal leaves nothing behind."""

from __future__ import annotations

import gzip
import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import PrerequisiteError, SpecError
from harness.preflight import archive
from harness.preflight.rules import RULES

FILES = {"m/model.gguf": b"weights" * 50_000, "m/한국어.json": b"{}", "README.md": b"# card"}
Entry = tuple[str, bytes, int]
"""Name, content, and the type of tar."""


def tar(path: Path, *entries: tuple[str, bytes, bytes, str]) -> Path:
    """Write name, type, content and link target of each entry."""
    mode = {"gz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}.get(path.suffix[1:], "w")
    with tarfile.open(path, mode) as made:  # type: ignore[call-overload]
        for name, kind, content, link in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, link, len(content)
            made.addfile(entry, io.BytesIO(content))
    return path


def plain(name: str, content: bytes = b"{}") -> tuple[str, bytes, bytes, str]:
    return name, tarfile.REGTYPE, content, ""


def zipped(path: Path, *names: str, content: bytes = b"{}", mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name in names:
            entry = zipfile.ZipInfo("x")
            entry.filename = name
            entry.external_attr = mode << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(entry, content)
    return path


def test_what_was_packed_comes_out(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name, content in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    for kind, suffix in (("zip", "zip"), ("tar", "tar"), ("gztar", "tar.gz"), ("xztar", "tar.xz")):
        packed = shutil.make_archive(str(tmp_path / kind), kind, source)
        out = tmp_path / "deep" / f"out-{kind}"
        assert archive.unpack(Path(packed), out) == len(FILES), suffix
        found = {
            path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()
        }
        assert {name: path.read_bytes() for name, path in found.items()} == FILES
        for path in found.values():
            status = path.lstat()
            assert stat.S_ISREG(status.st_mode)
            assert status.st_nlink == 1
            assert not status.st_mode & 0o111, "nothing can be run"


def refused(path: Path, target: Path) -> SpecError:
    with pytest.raises(SpecError) as caught:
        archive.unpack(path, target)
    assert list(target.parent.iterdir()) == [], "nothing is left"
    assert caught.value.allowed == RULES[caught.value.reason]
    assert caught.value.hint
    return caught.value


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "model"


TARS = {
    "symbolic link": (("a.json", tarfile.SYMTYPE, b"", "/etc/passwd"), "archive_entry"),
    "hard link": (("a.json", tarfile.LNKTYPE, b"", "../secret"), "archive_entry"),
    "device": (("a.json", tarfile.CHRTYPE, b"", ""), "archive_entry"),
    "block device": (("a.json", tarfile.BLKTYPE, b"", ""), "archive_entry"),
    "fifo": (("a.json", tarfile.FIFOTYPE, b"", ""), "archive_entry"),
    "sparse": (("a.json", tarfile.GNUTYPE_SPARSE, b"", ""), "archive_entry"),
}
NAMES = {
    "parent": "../a.json",
    "parent inside": "m/../../a.json",
    "absolute": "/a.json",
    "drive": "C:a.json",
    "drive and folder": "C:\\a.json",
    "backslash": "m\\a.json",
    "share": "//host/a.json",
    "empty part": "m//a.json",
    "stream": "a.json:hidden.json",
    "reserved": "con.json",
    "reserved folder": "m/LPT1/a.json",
    "trailing dot": "m./a.json",
    "trailing space": "m /a.json",
    "reserved and padded": "con .json",
    "reserved and raised": "com¹.json",
    "control": "a\n.json",
    "escape": "a\x1b[2J.json",
    "long": "a" * 300 + ".json",
}


@pytest.mark.parametrize(("entry", "rule"), TARS.values(), ids=TARS)
def test_tar_entries_that_are_no_files(
    tmp_path: Path, target: Path, entry: tuple[str, bytes, bytes, str], rule: str
) -> None:
    assert refused(tar(tmp_path / "a.tar", plain("b.json"), entry), target).reason == rule


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_that_lead_elsewhere(tmp_path: Path, target: Path, name: str) -> None:
    for path in (
        tar(tmp_path / "a.tar.gz", plain("b.json"), plain(name)),
        zipped(tmp_path / "a.zip", "b.json", name),
    ):
        error = refused(path, target)
        assert error.reason in {"archive_name", "file_name"}
        assert "\x1b" not in str(error)


@pytest.mark.parametrize(
    "names",
    [
        *(("a.json", "a.json/b.json"), ("a.json/b.json", "a.json"), ("m/a.json", "M/b.json")),
        ("a.json", "a.json"),
        ("a.json", "A.JSON"),
        ("각.json", "각.json"),
    ],
)
def test_two_entries_of_one_name(tmp_path: Path, target: Path, names: tuple[str, str]) -> None:
    error = refused(tar(tmp_path / "a.tar", *map(plain, names)), target)
    assert error.reason == "archive_name"
    assert "two entries" in error.message


@pytest.mark.parametrize("name", ["run.sh", "ops.so", "model.bin", "more.zip", "m/x.tar.gz", "run"])
def test_types_that_no_model_has(tmp_path: Path, target: Path, name: str) -> None:
    assert refused(zipped(tmp_path / "a.zip", name), target).reason == "file_type"


def test_a_link_in_a_zip(tmp_path: Path, target: Path) -> None:
    path = zipped(tmp_path / "a.zip", "a.json", content=b"/etc/passwd", mode=stat.S_IFLNK | 0o777)
    assert refused(path, target).reason == "archive_entry"
    path = zipped(tmp_path / "a.zip", "a.json", mode=stat.S_IFCHR)
    assert refused(path, target).reason == "archive_entry"


def test_bombs(tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zipped(tmp_path / "a.zip", "a.json", content=bytes(20 << 20))
    assert refused(bomb, target).reason == "archive_size"
    bomb = tar(tmp_path / "a.tar.gz", plain("a.json", bytes(20 << 20)))
    assert refused(bomb, target).reason == "archive_size"
    monkeypatch.setattr(archive, "_ENTRIES_MAX", 9)
    many = tar(tmp_path / "a.tar", *[plain(f"{i}.json") for i in range(10)])
    assert refused(many, target).reason == "archive_size"


def test_folders_that_names_imply_are_counted_first(tmp_path: Path, target: Path) -> None:
    many = [plain(f"{i}/1/2/3/4/5/6/a.json") for i in range(600)]
    error = refused(tar(tmp_path / "a.tar", *many), target)
    assert (error.reason, "more than 4096" in error.message) == ("archive_size", True)
    deep = tar(tmp_path / "b.tar", plain("a/" * 9 + "a.json"))
    assert refused(deep, target).reason == "folder_size"
    long = tar(tmp_path / "c.tar", plain("/".join(["m" * 200] * 6) + "/a.json"))
    assert "1212 bytes" in refused(long, target).message


def test_an_entry_longer_than_it_says(tmp_path: Path, target: Path) -> None:
    path = zipped(tmp_path / "a.zip", "a.json", content=b"x" * 5000)
    data = path.read_bytes()
    size = (5000).to_bytes(4, "little")
    assert data.count(size) == 2
    path.write_bytes(data.replace(size, (100).to_bytes(4, "little")))
    assert refused(path, target).reason in {"archive_size", "archive_type"}


def test_no_room(tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))
    error = refused(tar(tmp_path / "a.tar", plain("a.json")), target)
    assert error.reason == "archive_disk"
    assert "1000 are free" in error.message


def encrypted(path: Path) -> None:
    zipped(path, "a.json")
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + at] |= 1
    path.write_bytes(data)


def chained(path: Path) -> None:
    """Headers that each announce the name of the next one."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 4
    path.write_bytes((header.tobuf() + b"abc\0".ljust(512, b"\0")) * 2000)


def flipped(path: Path) -> None:
    """Packed data that no longer unpack."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as made:
        made.writestr("a.json", "x" * 100)
    data = bytearray(path.read_bytes())
    data[40] ^= 0x55
    path.write_bytes(data)


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "noise": ("zip", lambda path: path.write_bytes(b"PK" + bytes(100))),
    "empty": ("tar", lambda path: path.write_bytes(b"")),
    "noise in tar": ("tar", lambda path: path.write_bytes(b"\x01" * 2000)),
    "cut off": (
        "tar.gz",
        lambda path: path.write_bytes(gzip.compress(b"x" * 99)[:-9]),
    ),
    "encrypted": ("zip", encrypted),
    "headers of headers": ("tar", chained),
    "packed data": ("zip", flipped),
    "a sum": (
        "tar.gz",
        lambda path: path.write_bytes(gzip.compress(bytes(9999))[:-8] + bytes(8)),
    ),
    "no file in it": ("tar", lambda path: tarfile.open(path, "w").close()),
    "a name of another kind": ("rar", lambda path: path.write_bytes(b"Rar!")),
}


@pytest.mark.parametrize(("suffix", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_archives(
    tmp_path: Path, target: Path, suffix: str, damage: Callable[[Path], object]
) -> None:
    damage(tmp_path / f"a.{suffix}")
    assert refused(tmp_path / f"a.{suffix}", target).reason == "archive_type"


def test_nothing_is_overwritten(tmp_path: Path, target: Path) -> None:
    path = tar(tmp_path / "a.tar", plain("a.json"))
    target.mkdir()
    with pytest.raises(PrerequisiteError, match="there already") as caught:
        archive.unpack(path, target)
    assert "NEW_FOLDER" in caught.value.hint
    assert list(target.iterdir()) == []


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from(["zip", "tar", "tar.gz"]),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6),
)
def test_any_damage_is_refused_or_stays_inside(
    tmp_path: Path, kind: str, changes: list[tuple[int, int]]
) -> None:
    folder = tmp_path / "made"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "out").mkdir(parents=True)
    path = folder / f"a.{kind}"
    if kind == "zip":
        zipped(path, "m/a.json", "b.json")
    else:
        tar(path, plain("m/a.json"), plain("b.json"))
    data = bytearray(path.read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    path.write_bytes(data)
    try:
        archive.unpack(path, folder / "out" / "model")
    except (SpecError, OSError):
        assert list((folder / "out").iterdir()) == []
    assert {entry.name for entry in folder.iterdir()} == {"out", path.name}
