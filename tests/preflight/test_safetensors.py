"""A safetensors header lists what is there, once each, and nothing else."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.errors import SpecError
from harness.models.safetensors_file import read_header
from harness.preflight.rules import RULES


def written(folder: Path, header: object, data: int = 0) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))
    return path


def tensor(start: int, end: int, kind: str = "F32", shape: tuple[Any, ...] = (2,)) -> object:
    return {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}


HEADER, PLACE = "safetensors_header", "safetensors_place"
REFUSED = {
    "empty": (b"", 0, HEADER, "a header of 0 bytes"),
    "deep": (b"[" * 9000, 0, HEADER, "cannot be read"),
    "list": ([], 0, HEADER, "cannot be read"),
    "unknown type": ({"a": tensor(0, 8, "F31")}, 8, HEADER, "F31"),
    "negative shape": ({"a": tensor(0, 8, shape=(-2, -1))}, 8, HEADER, "shape"),
    "half a shape": ({"a": tensor(0, 8, shape=(2.0,))}, 8, HEADER, "shape"),
    "wrong size": ({"a": tensor(0, 9)}, 9, HEADER, "9 bytes of F32"),
    "overflow": ({"a": tensor(0, 0, shape=(1 << 32, 1 << 32))}, 0, HEADER, "0 bytes of F32"),
    "three offsets": ({"a": {"dtype": "F32", "shape": [], "data_offsets": [1]}}, 4, HEADER, ""),
    "overlap": ({"a": tensor(0, 8), "b": tensor(4, 12)}, 12, PLACE, "begin at 4, expected 8"),
    "gap": ({"a": tensor(0, 8), "b": tensor(16, 24)}, 24, PLACE, "begin at 16, expected 8"),
    "the same twice": ({"a": tensor(0, 8), "b": tensor(0, 8)}, 8, PLACE, "begin at 0"),
    "behind the end": ({"a": tensor(0, 8)}, 7, PLACE, "8 bytes of data are declared, 7 are"),
    "more data": ({"a": tensor(0, 8)}, 9, PLACE, "8 bytes of data are declared, 9 are"),
}


@pytest.mark.parametrize(("header", "data", "rule", "words"), REFUSED.values(), ids=REFUSED)
def test_a_forged_header_is_refused(
    tmp_path: Path, header: object, data: int, rule: str, words: str
) -> None:
    with pytest.raises(SpecError) as caught:
        read_header(written(tmp_path, header, data))
    assert (caught.value.reason, caught.value.allowed) == (rule, RULES[rule])
    assert words in caught.value.message


def test_a_header_longer_than_the_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    with pytest.raises(SpecError, match="a header of 4611686018427387904 bytes"):
        read_header(path)


def test_what_the_package_writes_passes(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    arrays = {
        "b": np.zeros((3, 5), np.float16),
        "a": np.zeros(7, np.float32),
        "none": np.zeros((0, 4), np.int8),
        "c": np.zeros((2, 2, 2), np.int64),
    }
    save_file(arrays, path, metadata={"format": "np"})
    found = read_header(path)
    assert {name: item.shape for name, item in found.items()} == {
        name: item.shape for name, item in arrays.items()
    }
