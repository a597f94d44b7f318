"""Declared laptops: which of them this machine is, and a declaration of this very one.

`harness devices list` compares each device file with what is observed; `harness devices
probe` writes `devices/local.yaml`, so that a run says when the machine no longer is as
declared: another power mode, the battery, half of the memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from harness import environment, specfile
from harness.environment import UNKNOWN
from harness.environment.base import Facts, attempt
from harness.environment.rules import MEMORY_SEEN, identity, power_mode, unverified
from harness.errors import HarnessError
from harness.messages import pad, tr
from harness.spec import Device

LOCAL: Final = "local"
"""Id and file name of the probed device; git ignores the file."""
_GIB = 1 << 30
_SOLD_GIB = (1, 2, 3, 4, 6, 8, 12, 16, 18, 20, 24, 32, 36, 40, 48, 64, 96, 128, 192, 256, 384, 512)
"""Memory that computers are sold with; a system sees a little less of it."""


def listing() -> list[dict[str, Any]]:
    """Every device file, by name, and whether it declares this machine.

    Returns:
        `id`, `name`, `file`, `matches` (None where what it declares cannot be read here) and
        `why_not` (texts, empty where it matches) each.
        A file that is wrong matches nothing and says what is wrong.
    """
    facts = environment.observe()
    return [_row(name, path, facts) for name, path in sorted(specfile.device_files().items())]


def _row(name: str, path: Path, facts: Mapping[str, object]) -> dict[str, Any]:
    try:
        device = specfile.load_device(path)
    except HarnessError as error:
        known, why_not, hidden = (name, ""), [str(error)], []
    else:
        known = (device.id, device.name)
        why_not = [finding["detail"] for finding in identity(device, facts)]
        hidden = [finding["detail"] for finding in unverified(device, facts)]
    return {
        "id": known[0],
        "name": known[1],
        "file": str(path),
        "matches": False if why_not else None if hidden else True,
        "why_not": why_not or hidden,
    }


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The listing for people."""
    width = max((len(row["id"]) for row in rows), default=0) + 2
    lines = []
    for row in rows:
        word = {True: "this one", False: "another", None: "unknown"}[row["matches"]]
        lines.append(f"{pad(tr(word), 10)}{row['id']:<{width}}{row['name']}")
        lines += [f"{'':<{10 + width}}{tr(why)}" for why in row["why_not"]]
    return "\n".join([*lines, "", tr("next: harness devices probe, or harness run --device ID")])


def probe(folder: Path = Path("devices")) -> tuple[Device, Path]:
    """Declare this machine as it is now, in `local.yaml` of a folder.

    Returns:
        The device as it is read back, and the path of its file.

    Raises:
        HarnessError: `folder_not_writable`.
    """
    path = folder / f"{LOCAL}.yaml"
    content = _content(environment.observe(), has_battery=_has_battery())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    except OSError as error:
        raise HarnessError(
            f"{path} cannot be written: {error.strerror or error}",
            hint="work in a folder of your own, or make this one writable",
            reason="folder_not_writable",
        ) from error
    return specfile.load_device(path), path


def _content(facts: Facts, *, has_battery: bool | None) -> str:
    """The device file, with a word on where each value comes from."""
    size = _memory_sold(facts.get("memory_bytes"))
    budget = size // 2 if size else None
    whole_gib = size // _GIB if size and size % _GIB == 0 else None
    name = next((n for key in ("product", "cpu") if (n := _known(facts, key))), "This machine")
    mode = (power_mode(facts) or ("", None))[1]
    cores = _known(facts, "physical_cores")
    lines = [
        "# This machine, as `harness devices probe` observed it. Probing again overwrites",
        "# this file: keep what you change under another name.",
        f"id: {LOCAL}",
        f"name: {_yaml(name)}",
        f"device_class: {f'laptop-{whole_gib}gb' if has_battery and whole_gib else 'unknown'}",
        f"cpu: {_yaml(_known(facts, 'cpu'))}",
        f"physical_cores: {_yaml(cores)}",
        f"memory_bytes: {_size(size)}  # as sold; the system sees a little less",
        f"memory_budget_bytes: {_size(budget)}  # half: the system and a browser still fit",
        "npu: null  # not observed",
        _power(has_battery=has_battery),
        f"power_mode: {_yaml(mode)}  # another mode during a run makes it invalid; null = any",
    ]
    return "\n".join(lines) + "\n"


def _power(*, has_battery: bool | None) -> str:
    if has_battery:
        return "power: ac  # it has a battery: a run on it would be slower"
    reason = "no battery was found" if has_battery is False else "nobody knows of a battery"
    return f"power: any  # {reason}"


def _memory_sold(seen: object) -> int | None:
    """Installed memory, from what the system sees of it; None where nobody knows.

    What fits no size that is sold, as in a virtual machine, is taken as it is.
    """
    if not isinstance(seen, int) or seen <= 0:
        return None
    least, most = MEMORY_SEEN
    sizes = (size * _GIB for size in _SOLD_GIB)
    return next((size for size in sizes if least * size <= seen <= most * size), seen)


def _has_battery() -> bool | None:
    """Whether the machine has one; None where the system does not tell."""
    import psutil

    known: bool | None = attempt(lambda: psutil.sensors_battery() is not None)
    return known


def _known(facts: Mapping[str, object], name: str) -> object | None:
    value = facts.get(name, UNKNOWN)
    return None if value == UNKNOWN else value


def _yaml(value: object) -> str:
    """JSON is YAML: quotes keep any name what it is."""
    return json.dumps(value, ensure_ascii=False)


def _size(size: int | None) -> str:
    if size is None:
        return "null"
    return f"{size // _GIB} GiB" if size % _GIB == 0 else str(size)
