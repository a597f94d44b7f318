"""Full and read-only disks, and the lock of a results folder, as a user meets them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import RecordError
from harness.records import JournalWriter, PartWriter, read
from harness.runs import alone
from tests.conftest import Harness, tree
from tests.test_cli import fill

Mount = Callable[[str, str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a file system in memory, of a size, where this user may."""
    made: list[Path] = []

    def mounted(name: str, options: str) -> Path:
        place = tmp_path / name
        place.mkdir()
        tool = shutil.which("mount")
        command = [str(tool), "-t", "tmpfs", "-o", options, "harness-test", str(place)]
        if sys.platform != "linux" or not tool or subprocess.run(command, check=False).returncode:
            pytest.skip("only root on Linux can mount a file system to fill")
        made.append(place)
        return place

    yield mounted
    for place in made:
        subprocess.run(["umount", "--lazy", place], check=True)


def until_it_fails(step: Callable[[], object]) -> tuple[int, Exception]:
    """How often a step went well, and the error that ended it."""
    for done in itertools.count():
        try:
            step()
        except (RecordError, OSError) as error:
            return done, error
    raise AssertionError


def last_json(text: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(text.strip().splitlines()[-1])
    return found


def test_a_disk_of_one_mebibyte_keeps_what_it_has_acknowledged(mount: Mount) -> None:
    disk = mount("disk", "size=1m")
    sample = {"type": "sample", "token_ns": list(range(1000))}
    path = disk / "records.jsonl"
    journal = JournalWriter(path)
    appends, error = until_it_fails(lambda: journal.append(*[sample] * 7))
    acknowledged = 7 * appends
    assert isinstance(error, RecordError)
    assert (error.reason, error.exit_code) == ("disk_full", 4)
    assert "No space left" in error.message
    found = read(path)
    assert acknowledged > 100
    assert (len(found.records), found.torn) == (acknowledged, False)
    journal.close()
    # Room again: the same file goes on.
    subprocess.run(["mount", "-o", "remount,size=2m", disk], check=True)
    journal = JournalWriter(path)
    journal.append(sample)
    journal.close()
    assert len(read(path).records) == acknowledged + 1


def test_a_part_file_on_a_full_disk_ends_with_a_whole_line(mount: Mount) -> None:
    disk = mount("disk", "size=64k")
    writer = PartWriter(disk / "part")
    long = {"type": "sample", "text": "x" * 999}
    acknowledged, error = until_it_fails(lambda: writer.write(long))
    assert "No space left" in str(error)
    writer.write({"type": "event"})  # there is room for a short one
    writer.close()
    lines = (disk / "part").read_bytes().split(b"\n")
    assert len(lines) == acknowledged + 2
    assert lines[-2].endswith(b'{"type":"event"}')


def test_a_run_that_finds_no_room_makes_nothing(mount: Mount, run_harness: Harness) -> None:
    disk = mount("disk", "size=1m")
    fill(disk)
    words = ("run", "--profile", "fast.yaml", "--model", "ref.f.fake", "--json")
    done = run_harness(*words, cwd=disk, check=3)
    assert last_json(done.stdout)["reason"] == "disk_full"
    assert "free space, or choose another folder with --out" in done.stderr
    assert [path.name for path in (disk / "results").iterdir()] == [".lock"]


def test_a_disk_that_fills_up_ends_a_run_whose_records_stay(
    mount: Mount, tmp_path: Path, run_harness: Harness
) -> None:
    """A neighbour takes all the room as soon as the first job is on record."""
    disk = mount("disk", "size=80m")
    fill(tmp_path)
    words = ["run", "--profile", "fast.yaml", "--model", "ref.f.fake", "--json", "--out", str(disk)]
    with subprocess.Popen(
        [sys.executable, "-m", "harness", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        journal = wait_for_a_job(disk)
        with (disk / "balloon").open("wb", buffering=0) as balloon:
            until_it_fails(lambda: balloon.write(bytes(4096)))
        seen = len(read(journal).records)
        out, err = run.communicate(timeout=120)
    assert run.returncode == 4, err
    assert last_json(out)["reason"] == "disk_full"
    assert "next: free space" in err
    assert "Traceback" not in err
    assert len(read(journal).records) >= seen
    (disk / "balloon").unlink()
    resumed = run_harness(
        *("run", "--resume", journal.parent.name, "--out", disk, "--retry-failed"), check=0
    )
    assert "ref.f.fake" in resumed.stdout


def wait_for_a_job(disk: Path) -> Path:
    """The journal of the run on a disk, once a job is on record."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for path in disk.glob("*/records.jsonl"):
            if b'"type":"job"' in path.read_bytes():
                return path
        time.sleep(0.01)
    raise AssertionError("no job ended")


def test_a_disk_that_may_only_be_read_changes_nothing(
    mount: Mount, tmp_path: Path, run_harness: Harness
) -> None:
    disk = mount("disk", "size=80m")
    fill(tmp_path)
    words = ("run", "--profile", "fast.yaml", "--model", "ref.f.fake", "--out", disk)
    run_harness(*words)
    before = tree(disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for command in (
        words,
        ("score", "latest", "--out", disk),
        ("report", "latest", "--out", disk),
        ("baseline", "save", "latest", "--name", "main", "--out", disk),
    ):
        done = run_harness(*command, "--json", check=4)
        assert last_json(done.stdout)["reason"] == "unwritable", command
        assert "Read-only file system" in done.stderr
        assert "choose a folder that you may write to with --out" in done.stderr
    assert tree(disk) == before


def test_whoever_is_refused_by_the_lock_changes_nothing(
    tmp_path: Path, run_harness: Harness
) -> None:
    fill(tmp_path)
    words = ("run", "--profile", "fast.yaml", "--model", "ref.f.fake")
    run_harness(*words)
    code = "import sys; from pathlib import Path; from harness import runs\n"
    code += "with runs.alone(Path('results')):\n    print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        before = tree(tmp_path)
        for command in (words, ("run", "--resume", "latest", "--retry-failed")):
            done = run_harness(*command, "--json", check=3)
            assert last_json(done.stdout)["reason"] == "results_locked"
            assert "wait for it, then the same command again" in done.stderr
        assert tree(tmp_path) == before
        other.kill()
    run_harness(*words)


def test_a_lock_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(RecordError, match="cannot write") as caught, alone(tmp_path):
        pass
    assert caught.value.where == str(tmp_path / ".lock")
    assert caught.value.reason == "unwritable"
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.skipif(os.name != "posix", reason="a link of POSIX")
def test_a_lock_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecordError), alone(tmp_path / "results"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_output_onto_a_full_disk_is_a_message(tmp_path: Path, run_harness: Harness) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    fill(tmp_path)
    run_harness("run", "--profile", "fast.yaml", "--model", "ref.f.fake")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "harness", "score", "latest", "--json"],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 4
    assert "harness: stdout: cannot write: No space left on device" in done.stderr
    assert "a bug" not in done.stderr
    assert "Traceback" not in done.stderr


def _can_mount() -> bool:
    if not shutil.which("unshare"):
        return False
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def apart(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A shell script that may mount what nobody else sees."""
    command = ["unshare", "-rm", "sh", "-c", script]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not _can_mount(), reason="this system lets nobody mount a small disk")
def test_a_disk_that_fills_up_keeps_what_was_measured(tmp_path: Path) -> None:
    """A real small disk: full at the start, and filled by somebody else in the middle."""
    fill(tmp_path)
    python = f"{sys.executable} -m harness"
    run = f"{python} run --profile fast.yaml --set endless --suite latency --out disk"
    full = f"mount -t tmpfs -o size=1m tmpfs disk && {python} run --profile fast.yaml --out disk"
    (tmp_path / "disk").mkdir()
    done = apart(full, tmp_path)
    assert done.returncode == 3
    assert "MiB are free" in done.stderr
    filled = (
        f"mount -t tmpfs -o size=66m tmpfs disk && {{ {run} & }} && job=$! && "
        "while ! ls disk/*/parts/*.part 2>/dev/null; do sleep 0.1; done; sleep 1; "
        "cat /dev/zero > disk/other 2>/dev/null; wait $job; echo status $?; rm disk/other; "
        f"{python} score latest --results disk --json | tail -n 1"
    )
    done = apart(filled, tmp_path)
    assert "status 4" in done.stdout, done.stderr
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["kind"] == "scorecard"
