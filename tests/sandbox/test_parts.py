"""The parts of the sandbox: numbers, rules, what is inherited, and children that answer."""

from __future__ import annotations

import ctypes
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness import sandbox
from harness.sandbox import landlock, policy, seccomp
from harness.sandbox.environment import clean

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="level 1 is Linux's")
HEADERS = {
    "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "aarch64": "/usr/include/asm-generic/unistd.h",
}
TABLES = (
    *(seccomp._DENIED, seccomp._ON_ITSELF, seccomp._LIMITS, seccomp._CLONE, seccomp._PAIR),
    *(seccomp._PRIORITY, seccomp._FCNTL, seccomp._IOCTL),
)


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_those_of_the_kernel(machine: str) -> None:
    header = Path(HEADERS[machine])
    if not header.exists():
        pytest.skip("the kernel's headers are not installed")
    defined = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text("utf-8"))
    known = {name: int(number) for name, number in defined}
    ours = {
        name: number
        for table in (*TABLES, seccomp._PRCTL)
        for name, number in seccomp.numbers(table, machine).items()
    }
    ours["seccomp"] = seccomp._SECCOMP[machine]
    newer = ours.keys() - known.keys()
    assert {name: known[name] for name in ours if name in known} == {
        name: number for name, number in ours.items() if name in known
    }
    # Calls that are younger than the headers here.
    assert newer <= {"fchmodat2", "setxattrat", "removexattrat", "open_tree_attr"}
    assert known["clone3"] == seccomp._CLONE3 if "clone3" in known else True


def run_filter(
    machine: str, pid: int, *, arch: int, number: int, first: int = 0, second: int = 0
) -> int:
    """What the kernel would decide: its interpreter of classic BPF, for our instructions."""
    code = seccomp.program(machine, pid)
    steps = list(struct.iter_unpack("<HBBI", code))
    data = {0: number, 4: arch, 16: first, 24: second}
    at = held = 0
    while True:
        kind, if_true, if_false, value = steps[at]
        at += 1
        if kind == seccomp._RETURN:
            return int(value)
        if kind == seccomp._LOAD:
            held = data[value]
            continue
        met = {
            seccomp._EQUAL: held == value,
            seccomp._AT_LEAST: held >= value,
            seccomp._ANY_BIT: bool(held & value),
        }[kind]
        at += if_true if met else if_false


@pytest.mark.parametrize("machine", HEADERS)
def test_the_filter_decides_as_it_says(machine: str) -> None:
    arch = seccomp._MACHINES[machine]

    def decided(number: int, first: int = 0) -> int:
        return run_filter(machine, 77, arch=arch, number=number, first=first)

    for number in seccomp.numbers(seccomp._DENIED, machine).values():
        assert decided(number) == seccomp._DENY
    for number in seccomp.numbers(seccomp._ON_ITSELF, machine).values():
        assert decided(number, 77) == seccomp._ALLOW
        assert decided(number, 78) == seccomp._DENY
    for number in seccomp.numbers(seccomp._LIMITS, machine).values():
        assert [decided(number, pid) for pid in (0, 77)] == [seccomp._ALLOW] * 2
        assert decided(number, 1) == seccomp._DENY
    (clone,) = seccomp.numbers(seccomp._CLONE, machine).values()
    assert decided(clone, seccomp._CLONE_THREAD | 0x100) == seccomp._ALLOW
    assert decided(clone, 17) == seccomp._DENY
    (pair,) = seccomp.numbers(seccomp._PAIR, machine).values()
    assert (decided(pair, 1), decided(pair, 2)) == (seccomp._ALLOW, seccomp._DENY)
    (prctl,) = seccomp.numbers(seccomp._PRCTL, machine).values()
    assert (decided(prctl, 15), decided(prctl, 1)) == (seccomp._ALLOW, seccomp._DENY)
    assert decided(seccomp._CLONE3) == seccomp._ABSENT
    everyday = {"x86_64": (0, 1, 9, 202, 257), "aarch64": (63, 64, 222, 98, 56)}
    for number in everyday[machine]:  # read, write, mmap, futex, openat
        assert decided(number) == seccomp._ALLOW
    assert run_filter(machine, 77, arch=0x40000003, number=1) == seccomp._KILL_PROCESS
    if machine == "x86_64":
        assert decided(0x40000000 | 1) == seccomp._DENY, "x32's numbers are others"


@pytest.mark.parametrize("machine", HEADERS)
def test_the_filter_reads_second_arguments(machine: str) -> None:
    arch = seccomp._MACHINES[machine]

    def allowed(table: str, first: int, second: int) -> bool:
        (number,) = seccomp.numbers(table, machine).values()
        return (
            run_filter(machine, 77, arch=arch, number=number, first=first, second=second)
            == seccomp._ALLOW
        )

    assert allowed(seccomp._PRIORITY, 0, 0)
    assert not any(allowed(seccomp._PRIORITY, which, whom) for which, whom in ((0, 1), (2, 0)))
    assert all(allowed(seccomp._FCNTL, 3, command) for command in (1, 2, 3, 4, 9, 1030, 1033))
    assert not any(allowed(seccomp._FCNTL, 3, command) for command in (8, 10, 15, 1026))
    assert all(allowed(seccomp._IOCTL, 3, command) for command in (0x5401, 0x541B, 0x8903))
    assert not any(allowed(seccomp._IOCTL, 3, command) for command in (0x8901, 0x8902))


class Kernel:
    """Answers Landlock's calls and keeps what it was told."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.ruleset = b""
        self.rules: list[int] = []

    def syscall(self, number: int, *arguments: Any) -> int:
        if number == 444 and arguments[0] is None:
            return self.version
        if number == 444:
            self.ruleset = arguments[0]
            return os.dup(0)
        if number == 445:
            self.rules.append(struct.unpack("<Qi", arguments[2])[0])
        return 0


@LINUX
@pytest.mark.parametrize(
    ("version", "size", "rights"),
    [(1, 8, 0x1FFF), (2, 8, 0x3FFF), (3, 8, 0x7FFF), (4, 16, 0x7FFF), (5, 16, 0xFFFF)]
    + [(later, 24, 0xFFFF) for later in (6, 7, 9)],
)
def test_a_kernel_is_asked_for_what_it_knows(
    version: int, size: int, rights: int, tmp_path: Path
) -> None:
    kernel = Kernel(version)
    assert landlock.abi(kernel) == version
    file = tmp_path / "file"
    file.touch()
    places = (str(tmp_path), str(file), str(tmp_path / "absent"))
    rules = [landlock.Rule(place, landlock.CHANGE) for place in places]
    landlock.restrict(kernel, version, rules)
    assert len(kernel.ruleset) == size
    assert struct.unpack("<Q", kernel.ruleset[:8])[0] == rights
    on_folder, on_file = kernel.rules
    assert on_folder == landlock.CHANGE & rights
    assert on_file == landlock.CHANGE & rights & landlock._OF_FILES, "no rights of folders"


@LINUX
def test_no_rule_covers_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    inside = home / "venv" / "site-packages"
    inside.mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(home), str(inside), str(tmp_path)])
    given = {rule.path for rule in policy._rules(policy.Access(home=str(home)))}
    assert str(inside) in given
    assert not given & {str(home), str(tmp_path)}


@LINUX
def test_of_a_checkout_only_code_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "results").mkdir()
    for name in ("single.py", "seed.txt", "models.yaml"):
        (tmp_path / name).touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    given = {rule.path: rule.rights for rule in policy._rules(policy.Access())}
    assert given[str(tmp_path)] == landlock.LIST
    below = {Path(path).name for path in given if Path(path).parent == tmp_path}
    assert below == {"package", "single.py"}


def test_a_model_is_its_files(tmp_path: Path) -> None:
    graph = tmp_path / "model" / "onnx" / "model.onnx"
    blob = tmp_path / "blobs" / "abc"
    for file in (graph, blob, tmp_path / "model" / "tokenizer.json", tmp_path / "model" / ".key"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (graph.parent / "model.onnx.data").symlink_to(blob)
    gguf = str(graph.with_name("a.gguf"))
    assert list(policy.model_files(gguf, "")) == [gguf], "one file is one file"
    found = set(policy.model_files(str(graph), ""))
    tokenizer = str(tmp_path / "model" / "tokenizer.json")
    assert found == {str(graph.parent), str(graph), str(blob), tokenizer}
    # Whoever keeps a model in his home gives its visible files away, and nothing else.
    assert str(graph.parent) not in set(policy.model_files(str(graph), str(graph.parent)))


def test_secrets_are_not_inherited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hidden = {
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "LLAMA_API_KEY",
        "NVIDIA_API_KEY",
        "SSH_AUTH_SOCK",
    }
    kept = {"OMP_NUM_THREADS", "GGML_SOMETHING", "LD_LIBRARY_PATH", "LC_ALL", "PYTHONHASHSEED"}
    for name in hidden | kept:
        monkeypatch.setenv(name, "1")
    found = clean({"HF_HUB_OFFLINE": "1", "PYTHONHASHSEED": "0"}, str(tmp_path))
    assert not hidden & found.keys()
    assert kept <= found.keys()
    assert (found["HF_HUB_OFFLINE"], found["PYTHONHASHSEED"]) == ("1", "0")
    assert {found[name] for name in ("HOME", "TMPDIR", "TEMP", "TMP")} == {str(tmp_path)}
    assert clean({})["HOME"] == os.environ["HOME"]


# --- children that answer ---------------------------------------------------------------


def _answer(request: Mapping[str, Any]) -> dict[str, str]:
    from tests.sandbox.hostile import outcome

    return {
        "readable": outcome(lambda: Path(request["file"]).read_bytes()),
        "other": outcome(lambda: Path(request["other"]).read_bytes()),
        "write": outcome(lambda: Path(request["file"]).write_text("x")),
        "shell": outcome(lambda: subprocess.run(["true"], check=True)),
    }


@LINUX
def test_who_answers_reads_what_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_text("given")
    other.write_text("not given")
    asked = {"file": str(file), "other": str(other)}
    found = sandbox.ask("tests.sandbox.test_parts", asked, timeout_s=30, readable=[file])
    assert found == {"readable": "done", "other": "EACCES", "write": "EACCES", "shell": "EPERM"}


@LINUX
@pytest.mark.parametrize("missing", ["landlock", "seccomp"])
def test_half_a_sandbox_is_level_0(missing: str) -> None:
    """A kernel without the one is played by a child; the other is in force all the same."""
    script = (
        "import json, subprocess\n"
        "from harness.sandbox import landlock, policy, seccomp\n"
        f"missing = {missing!r}\n"
        "if missing == 'landlock': landlock.abi = lambda libc: 0\n"
        "else: seccomp.is_known = lambda machine: False\n"
        "print(json.dumps(policy.confine(policy.Access())))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    found = json.loads(done.stdout)
    assert (found["level"], found["reason"], found["detail"]) == (0, f"no_{missing}", "")
    assert found["seccomp"] == (missing == "landlock")
    assert bool(found["landlock"]) == (missing == "seccomp")


@LINUX
@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_older_kernels_deny_files_as_well(version: int, tmp_path: Path) -> None:
    """This kernel is asked for no more than an older one knows."""
    file = tmp_path / "file"
    file.write_text("not given")
    script = (
        "import json, os, pathlib, sys\n"
        "from harness.sandbox import landlock, policy\n"
        "from tests.sandbox.hostile import outcome\n"
        f"landlock.abi = lambda libc: {version}\n"
        "level = policy.confine(policy.Access())['level']\n"
        f"file = pathlib.Path({str(file)!r})\n"
        "found = [file.read_bytes, lambda: file.write_text('x'), lambda: os.truncate(file, 0)]\n"
        "print(json.dumps([level, *map(outcome, found)]))\n"
    )
    if version > landlock.abi(ctypes.CDLL(None)):
        pytest.skip("this kernel is older still")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=False,
        text=True,
        env=environment,
    )
    assert json.loads(done.stdout) == [1, "EACCES", "EACCES", "EPERM"], done.stderr


@LINUX
def test_what_a_worker_reads_of_itself_and_the_machine_stays_readable() -> None:
    script = (
        "import json, os, pathlib, threading\n"
        "from harness.probes import counters, memory\n"
        "before = counters.read().keys()\n"
        "from harness.sandbox import policy\n"
        "level = policy.confine(policy.Access())['level']\n"
        "thread = threading.Thread(target=print)\n"
        "thread.start(); thread.join()\n"
        "lost = sorted(before - counters.read().keys())\n"
        "pathlib.Path('/dev/null').write_text('x')\n"
        "split = memory.resident_split(os.getpid())\n"
        "rollup = pathlib.Path('/proc/self/smaps_rollup').read_text()\n"
        "print(json.dumps([level, lost, memory.reset_peak(), bool(split), 'Pss' in rollup]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert json.loads(done.stdout) == [1, [], True, True, True]


@LINUX
def test_core_dumps_and_files_are_limited() -> None:
    script = (
        "import resource\n"
        "from harness.sandbox import policy\n"
        "policy.limits()\n"
        "kinds = (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)\n"
        "print(*(resource.getrlimit(kind)[1] for kind in kinds))\n"
        "print(open('/proc/self/oom_score_adj').read())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    core, files, size, score = map(int, done.stdout.split())
    assert (core, size, score) == (0, 4 << 30, 500)
    assert files <= 1024


if __name__ == "__main__":
    sandbox.serve(_answer)
