"""Machines to read: trees of small files, unpacked from one text file each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Unpack = Callable[[str], Path]
FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def machine(tmp_path: Path) -> Unpack:
    """Unpack a fixture below a folder of its own and return that root."""

    def unpack(name: str) -> Path:
        root = tmp_path / name
        root.mkdir()
        for part in (FIXTURES / f"{name}.txt").read_text("utf-8").split("== ")[1:]:
            place, _, content = part.partition("\n")
            path = root / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, "utf-8")
        return root

    return unpack
