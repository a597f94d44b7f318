"""Distributions, wheels and kits small enough to be made in a test."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path


def distribution(
    site: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
    tags: Sequence[str] = ("py3-none-any",),
) -> Distribution:
    """A distribution as an installer leaves it in a folder, with RECORD and its own notes."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {entry}\n" for entry in requires)
    contents = {
        f"{name.replace('-', '_')}/__init__.py": f"__version__ = '{version}'\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        + "".join(f"Tag: {tag}\n" for tag in tags),
        f"{info}/INSTALLER": "uv",
        f"{info}/direct_url.json": '{"url": "file:///home/somebody/secret"}',
        **(files or {}),
    }
    rows = []
    for place, text in contents.items():
        path = site / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        digest = hashlib.sha256(text.encode()).digest()
        value = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        rows.append(f'"{place}",sha256={value},{len(text)}')
    (site / info / "RECORD").write_text("\n".join([*rows, f"{info}/RECORD,,", ""]))
    return PathDistribution(site / info)


def members(wheel: Path) -> dict[str, str]:
    """Text of every file in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}
