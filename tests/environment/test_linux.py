"""The Linux reader, on copies of `/proc` and `/sys`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness.environment import linux
from harness.environment.base import FACTS, NONE, UNKNOWN, firmware
from tests.environment.conftest import Unpack

KIB = 1024


def put(root: Path, **files: str) -> None:
    """Write files; `__` in a name stands for `/`."""
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")


def test_a_laptop_with_two_kinds_of_cores(machine: Unpack) -> None:
    facts = linux.read(machine("core-ultra-laptop"), frozenset(range(6)))
    assert facts == {
        "os": "Ubuntu 24.04.2 LTS",
        "kernel": "6.11.0-17-generic",
        "product": "LG Electronics 16Z90S-G.AA75K",
        "bios": "Phoenix Technologies Ltd. C2ZE0120 X64 01/17/2025",
        "cpu": "Intel(R) Core(TM) Ultra 7 155H",
        "isa": ["avx", "avx2", "avx_vnni", "f16c", "fma", "sse4_2"],
        "virtual_machine": False,
        "container": NONE,
        "logical_cores": 6,
        "physical_cores": 4,
        "performance_cores": 2,
        "usable_cpus": 6,
        "memory_bytes": 15892360 * KIB,
        "memory_available_bytes": 9000000 * KIB,
        "swap_bytes": 4194300 * KIB,
        "swap_used_bytes": 194300 * KIB,
        "cpu_quota": NONE,
        "memory_limit_bytes": NONE,
        "power_source": "ac",
        "power_mode": "balanced",
        "governor": "powersave",
        "energy_preference": "balance_performance, balance_power",
        "turbo": "on",
        "power_limit_w": 28.0,
        "power_limit_short_w": 64.0,
        "temperature_c": 51.0,
        "throttle_count": 7,
        "load_1m": 0.21,
        "traced": False,
    }
    assert set(facts) <= set(FACTS)


def test_the_lower_power_limit_holds(machine: Unpack) -> None:
    root = machine("core-ultra-laptop")
    zone = "sys__class__powercap__intel-rapl-mmio:0__constraint_0"
    put(root, **{f"{zone}_name": "long_term\n", f"{zone}_power_limit_uw": "17000000\n"})
    found = linux.read_telemetry(root)
    assert (found["power_limit_w"], found["power_limit_short_w"]) == (17.0, 64.0)


def test_firmware_that_somebody_compiled_does_not_name_where() -> None:
    assert firmware("", "?-20190711_202441-kims-thinkpad", "") == "?-20190711_202441"
    assert firmware(" ", "", "") == UNKNOWN


def test_threads_of_one_core_count_once(machine: Unpack) -> None:
    root = machine("core-ultra-laptop")
    assert linux.read(root, frozenset({0, 1}))["performance_cores"] == 1
    assert linux.read(root, frozenset({0, 2, 4}))["performance_cores"] == 2
    # Pinned to efficiency cores, those are what there is.
    assert linux.read(root, frozenset({4, 5}))["performance_cores"] == 2
    assert linux.read(root, frozenset({4, 5}))["usable_cpus"] == 2


def test_an_arm_board(machine: Unpack) -> None:
    facts = linux.read(machine("arm-board"), frozenset(range(5)))
    assert facts["cpu"] == "Example board"
    assert facts["isa"] == ["asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve"]
    assert facts["performance_cores"] == 3
    assert facts["physical_cores"] == 5
    assert facts["temperature_c"] == 61.5
    assert facts["swap_used_bytes"] == 0
    # Neither a flag nor a maker's name: nobody knows.
    assert facts["virtual_machine"] == UNKNOWN
    assert facts["power_source"] == UNKNOWN
    assert facts["throttle_count"] == UNKNOWN
    assert facts["load_1m"] == UNKNOWN
    assert facts["container"] == UNKNOWN


def test_a_container_of_version_2(machine: Unpack) -> None:
    facts = linux.read(machine("container-v2"), frozenset(range(4)))
    assert facts["cpu_quota"] == 2.5
    assert facts["memory_limit_bytes"] == 4 << 30
    assert facts["container"] == "docker"
    assert facts["virtual_machine"] is True
    assert facts["performance_cores"] == 2  # 4.9 GHz is a favoured 5.1 GHz core's sibling
    assert facts["turbo"] == "off"
    assert "swap_used_bytes" not in facts


def test_a_container_of_version_1(machine: Unpack) -> None:
    facts = linux.read(machine("container-v1"), frozenset({0}))
    assert facts["cpu_quota"] == 1.5
    assert facts["memory_limit_bytes"] == 2 << 30


def test_what_a_group_uses_is_not_available(tmp_path: Path) -> None:
    put(
        tmp_path,
        proc__meminfo="MemTotal: 16000000 kB\nMemAvailable: 9000000 kB\n",
        proc__self__cgroup="0::/box\n",
        **{
            "sys__fs__cgroup__box__memory.max": str(1 << 30),
            "sys__fs__cgroup__box__memory.current": str(700 << 20),
            "sys__fs__cgroup__box__memory.stat": f"anon 5\ninactive_file {100 << 20}\n",
        },
    )
    facts = linux.read(tmp_path, frozenset({0}))
    assert facts["memory_available_bytes"] == (1024 - 700 + 100) << 20
    assert linux.read_telemetry(tmp_path)["memory_available_bytes"] == 424 << 20


def test_groups_that_cannot_be_read_grant_nothing_known(tmp_path: Path) -> None:
    put(tmp_path, proc__self__cgroup="0::/box\n")
    facts = linux.read(tmp_path, frozenset({0}))
    assert not {"cpu_quota", "memory_limit_bytes"} & set(facts)
    (tmp_path / "sys/fs/cgroup/box").mkdir(parents=True)
    facts = linux.read(tmp_path, frozenset({0}))
    assert (facts["cpu_quota"], facts["memory_limit_bytes"]) == (NONE, NONE)


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"proc__1__cgroup": "0::/\n", "run__systemd__container": "lxc\n"}, "lxc"),
        ({"proc__1__cgroup": "0::/\n"}, UNKNOWN),
        ({"proc__1__cgroup": "0::/\n", "run__systemd__system__x": ""}, NONE),
        ({"proc__1__cgroup": "0::/init.scope\n"}, NONE),
    ],
)
def test_a_group_that_seems_the_root_of_all_may_be_a_containers(
    tmp_path: Path, files: dict[str, str], kind: str
) -> None:
    put(tmp_path, **files)
    assert linux.read(tmp_path, frozenset({0}))["container"] == kind


READ_AS_NOBODY = """
import os, pathlib, sys
from harness.environment import linux
from harness.probes import counters
root = pathlib.Path(sys.argv[1])
(root / sys.argv[2]).chmod(0)
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
source = linux.read(root, frozenset({0}))["power_source"]
print(source, counters.read(str(root)).get("on_battery"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="changes who reads")
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("sys/class/power_supply", ["unknown", "None"]),
        ("sys/class/power_supply/BAT0", ["unknown", "None"]),
        ("sys/hypervisor", ["battery", "1"]),
        ("run", ["battery", "1"]),
    ],
)
def test_what_may_not_be_read_is_unknown_and_ends_nothing(place: str, said: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:  # which other users may enter
        root = Path(temporary)
        root.chmod(0o755)
        battery = {"BAT0__type": "Battery", "BAT0__status": "Discharging"}
        put(root / "sys/class/power_supply", **battery, AC__type="Mains", AC__online="0")
        put(root, sys__hypervisor__type="xen", run__x="")
        command = [sys.executable, "-c", READ_AS_NOBODY, temporary, place]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        (root / place).chmod(0o755)
    assert done.stdout.split() == said, done.stderr


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"BAT0__type": "Battery", "BAT0__status": "Discharging"}, "battery"),
        ({"BAT0__type": "Battery", "BAT0__status": "Full"}, "ac"),
        ({"BAT0__type": "Battery", "BAT0__status": "Not charging"}, "ac"),
        ({"BAT0__type": "Battery", "BAT0__status": "Unknown"}, UNKNOWN),
        (
            {"BAT0__type": "Battery", "BAT0__status": "Unknown", "AC__type": "Mains",
             "AC__online": "0"},
            "battery",
        ),
        (
            {"BAT0__type": "Battery", "BAT0__status": "Discharging", "C1__type": "USB",
             "C1__online": "1"},
            "ac",
        ),
        ({"AC__type": "Mains", "AC__online": "1"}, "ac"),
        ({"mouse__type": "Battery", "mouse__scope": "Device",
          "mouse__status": "Discharging"}, "ac"),
    ],
)  # fmt: skip
def test_power_sources(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    put(tmp_path / "sys/class/power_supply", **files)
    assert linux.read(tmp_path, frozenset({0}))["power_source"] == expected


@pytest.mark.parametrize(
    ("place", "content"),
    [
        ("proc__sys__kernel__osrelease", "5.15.153.1-microsoft-standard-WSL2"),
        ("sys__hypervisor__type", "xen"),
        ("sys__class__dmi__id__sys_vendor", "QEMU"),
        ("proc__cpuinfo", "flags : sse2 hypervisor"),
    ],
)
def test_signs_of_a_virtual_machine(tmp_path: Path, place: str, content: str) -> None:
    put(tmp_path, **{place: content})
    assert linux.read(tmp_path, frozenset({0}))["virtual_machine"] is True


@pytest.mark.parametrize(
    ("mark", "kind"), [(".dockerenv", "docker"), ("run/.containerenv", "podman")]
)
def test_files_that_mark_a_container(tmp_path: Path, mark: str, kind: str) -> None:
    put(tmp_path, **{mark: ""})
    assert linux.read(tmp_path, frozenset({0}))["container"] == kind


def test_an_attached_debugger(tmp_path: Path) -> None:
    put(tmp_path, proc__self__status="TracerPid:\t77\n")
    assert linux.read(tmp_path, frozenset({0}))["traced"] is True


def test_what_cannot_be_read_is_unknown_and_nothing_fails(tmp_path: Path) -> None:
    facts = linux.read(tmp_path, frozenset({0}))
    known = {name: value for name, value in facts.items() if value != UNKNOWN}
    assert known.pop("kernel")
    assert known == {
        "os": "Linux",
        "logical_cores": 1,
        "physical_cores": 1,
        "performance_cores": 1,
        "usable_cpus": 1,
    }


def test_rubbish_in_the_files_fails_nothing(tmp_path: Path) -> None:
    put(
        tmp_path,
        proc__cpuinfo=":::\n\x00",
        proc__meminfo="MemTotal: many kB\nMemAvailable:\nSwapTotal: 1\n",
        proc__self__cgroup="nonsense\n::\n7:cpu:/a/../../..\n",
        sys__devices__system__cpu__online="0-,x,2-1,1-1",
        sys__fs__cgroup__cpu__cpu_max="max",
        sys__class__thermal__thermal_zone0__temp="hot",
    )
    facts = linux.read(tmp_path, frozenset({0}))
    assert facts["memory_bytes"] == UNKNOWN
    assert facts["logical_cores"] == 2
    assert facts["cpu_quota"] == NONE


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0-3,8", [0, 1, 2, 3, 8]), ("0", [0]), ("", []), ("a-b,2", [2]), (" 1 , 3-4 ", [1, 3, 4])],
)
def test_lists_of_processors(text: str, cpus: list[int]) -> None:
    assert linux.parse_cpu_list(text) == cpus


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_machine() -> None:
    facts = linux.read()
    assert set(facts) <= set(FACTS)
    assert isinstance(facts["memory_bytes"], int)
    assert isinstance(facts["memory_available_bytes"], int)
    assert facts["memory_bytes"] > facts["memory_available_bytes"] > 0
    assert isinstance(facts["performance_cores"], int)
    assert isinstance(facts["logical_cores"], int)
    assert 1 <= facts["performance_cores"] <= facts["logical_cores"]
    assert isinstance(facts["load_1m"], float)
