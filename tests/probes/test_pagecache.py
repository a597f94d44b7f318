"""The page cache of real files: what is claimed is what the kernel then says."""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

import pytest

from harness.probes import pagecache
from harness.probes.pagecache import evict, resident_share, warm

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
SIZE_BYTES = (8 << 20) + 100  # the last page is not full


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file just written: all of it is in the cache, and not yet on the disk."""
    path = tmp_path / "model.bin"
    path.write_bytes(os.urandom(SIZE_BYTES))
    if sys.platform == "linux" and not evict([path]):
        pytest.skip("the temporary folder is on a file system without a cache of its own")
    warm([path])
    return path


@linux
def test_what_was_just_written_can_be_evicted(tmp_path: Path, model: Path) -> None:
    second = tmp_path / "second.bin"
    second.write_bytes(os.urandom(SIZE_BYTES))
    assert resident_share(second) == 1.0
    assert evict([model, second])
    assert resident_share(model) == 0.0
    assert resident_share(second) == 0.0


@linux
def test_warming_brings_all_of_it_back(model: Path) -> None:
    evict([model])
    assert warm([model])
    assert resident_share(model) == 1.0


@linux
def test_a_share_lies_between(model: Path) -> None:
    with model.open("rb", buffering=0) as file:
        half = SIZE_BYTES // 2 // mmap.PAGESIZE * mmap.PAGESIZE
        os.posix_fadvise(file.fileno(), 0, half, os.POSIX_FADV_DONTNEED)
    assert resident_share(model) == pytest.approx(0.5, abs=0.01)


@linux
def test_looking_changes_nothing(model: Path) -> None:
    evict([model])
    assert [resident_share(model) for _ in range(3)] == [0.0] * 3


@linux
def test_a_file_that_someone_has_mapped_does_not_count_as_evicted(
    tmp_path: Path, model: Path
) -> None:
    other = tmp_path / "other.bin"
    other.write_bytes(os.urandom(SIZE_BYTES))
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        assert sum(view[:: mmap.PAGESIZE]) > 0  # touches every page
        assert not evict([model, other])
        assert resident_share(other) == 0.0, "one that stays does not spare the others"
    assert evict([model])


@linux
def test_a_file_of_someone_else_is_not_judged(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux says that all of it is resident, whatever the truth is."""
    monkeypatch.setattr(os, "geteuid", lambda: model.stat().st_uid + 1)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert resident_share(model) is None
    assert not evict([model])
    assert warm([model]), "it was read, and nothing says that it is not there"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        assert not evict([path])
        assert not warm([path])
        assert resident_share(path) is None


@linux
def test_an_empty_file_has_no_share(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert resident_share(path) is None
    assert warm([path])
    assert evict([path])


def test_another_platform_cannot_say(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagecache, "_PLATFORM", "win32")
    assert resident_share(model) is None
    assert not evict([model])
    assert warm([model])
