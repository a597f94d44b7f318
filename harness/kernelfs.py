"""Small files in which Linux tells of itself: `/proc` and `/sys`.

What cannot be read is None or "unknown", never an exception and never "there is none".
Standard library and plain strings for paths: the measured child imports this.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from os import PathLike
from typing import NamedTuple

Path = str | PathLike[str]
_MAX_BYTES = 1 << 20


def data(*parts: Path) -> bytes:
    """A file's content; empty where it cannot be read."""
    try:
        with open(os.path.join(*parts), "rb", buffering=0) as file:  # noqa: PTH118, PTH123 - path objects cost memory in the child
            return file.read(_MAX_BYTES)
    except OSError:
        return b""


def text(*parts: Path) -> str:
    """A file's content without what surrounds it; empty where it cannot be read."""
    return data(*parts).decode("utf-8", "replace").strip("\n\0 ")


def number(*parts: Path) -> int | None:
    """A whole number; None where there is none."""
    found = text(*parts)
    return int(found) if found.removeprefix("-").isdecimal() else None


def listed(*parts: Path) -> list[str] | None:
    """Names in a folder, sorted; None where it is not there or may not be listed."""
    try:
        return sorted(os.listdir(os.path.join(*parts)))  # noqa: PTH118, PTH208 - as above
    except OSError:
        return None


def sizes(content: bytes) -> dict[str, int]:
    """Lines of the form `VmHWM:   1640 kB`, in bytes."""
    found = {}
    for line in content.splitlines():
        name, _, rest = line.partition(b":")
        words = rest.split()
        if len(words) == 2 and words[1] == b"kB" and words[0].isdigit():
            found[name.decode("ascii", "replace")] = int(words[0]) * 1024
    return found


class Supplies(NamedTuple):
    """Folders of chargers and of the machine's own batteries."""

    chargers: tuple[str, ...]
    batteries: tuple[str, ...]


def supplies(root: Path) -> Supplies | None:
    """Power supplies; None where they, or what one of them is, cannot be read."""
    folder = os.path.join(root, "sys/class/power_supply")  # noqa: PTH118 - as above
    kinds: dict[str, list[str]] = {"Mains": [], "USB": [], "Battery": []}
    names = listed(folder)
    for name in names or ():
        kind = text(folder, name, "type")
        if not kind:
            return None
        # A battery of scope Device belongs to a mouse or a headset.
        if kind in kinds and text(folder, name, "scope") != "Device":
            kinds[kind].append(os.path.join(folder, name))  # noqa: PTH118 - as above
    if names is None:
        return None
    return Supplies((*kinds["Mains"], *kinds["USB"]), tuple(kinds["Battery"]))


def power_source(found: Supplies | None) -> str:
    """`ac`, `battery` or `unknown`; a machine without a battery runs on the mains."""
    if found is None:
        return "unknown"
    if not found.batteries:
        return "ac"
    # Chargers first: a battery's state can take milliseconds to ask for.
    online = {text(charger, "online") for charger in found.chargers}
    if "1" in online:
        return "ac"
    states = {text(battery, "status") for battery in found.batteries}
    if "Discharging" in states:
        return "battery"
    if states & {"Charging", "Full", "Not charging"}:
        return "ac"
    return "battery" if "0" in online else "unknown"


@functools.cache
def _throttle_files(root: str) -> Sequence[str]:
    cpus = os.path.join(root, "sys/devices/system/cpu")  # noqa: PTH118 - as above
    return [
        os.path.join(cpus, cpu, "thermal_throttle", name)  # noqa: PTH118 - as above
        for cpu in listed(cpus) or ()
        if cpu[:3] == "cpu" and cpu[3:].isdecimal()
        for name in listed(cpus, cpu, "thermal_throttle") or ()
        if name.endswith("_throttle_count")
    ]


def throttle_count(root: Path) -> int | None:
    """Events of all cores and packages. None where one of them cannot be read: the sum
    without a core that went offline would seem to fall, and to rise when it is back.
    """
    counts = [number(file) for file in _throttle_files(os.fspath(root))]
    known = [count for count in counts if count is not None]
    return sum(known) if counts and len(known) == len(counts) else None
