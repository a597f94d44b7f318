"""Mutated tokenisers and safetensors: `python -m tests.fuzz.folders --count 500 --seed 1`.

Half of the submissions are an ONNX folder with another `tokenizer.json`, half a safetensors
folder whose header or data were changed. Values of the JSON are replaced where they stand,
or the bytes are damaged without knowing what they mean.
"""

from __future__ import annotations

import json
import random
import shutil
import struct
from pathlib import Path
from typing import Any

from harness.models.reference import materialise
from tests.fuzz import campaign, gguf

VALUES = (
    None,
    True,
    0,
    -1,
    1 << 31,
    1 << 64,
    1.5,
    "",
    "x",
    "(a+)+b",
    "\0",
    "가" * 50,
    [],
    {},
    [[]],
)
PATTERNS = (r"(a+)+b", r"(\s+)+x$", r"(a|aa)+$", r"\p{L}+", "(", r"(?:)", r"[^\x00-\x{10FFFF}]")
TYPES = ("BPE", "Unigram", "WordLevel", "Custom", "Split", "ByteLevel", "Sequence", "Strip", "x")


def _places(value: Any, depth: int = 0) -> list[tuple[Any, Any]]:
    """Every container with each of its keys; of long ones the first few."""
    if depth > 6 or not isinstance(value, dict | list):
        return []
    keys = list(value)[:40] if isinstance(value, dict) else range(min(len(value), 40))
    found = [(value, key) for key in keys]
    for key in keys:
        found += _places(value[key], depth + 1)
    return found


def replaced(rng: random.Random, document: Any) -> None:
    """One value changed, moved or taken away."""
    container, key = rng.choice(_places(document))
    how = rng.randrange(6)
    if key == "type":
        container[key] = rng.choice(TYPES)
    elif key in {"Regex", "String"}:
        container[key] = rng.choice(PATTERNS)
    elif how == 0:
        del container[key]
    elif how == 1 and isinstance(container, list):
        container.append(container[key])
    elif how == 2:
        value: Any = rng.choice(VALUES)
        for _ in range(rng.choice([1, 31, 5000])):
            value = [value]
        # `json` itself cannot write what is nested too deep.
        container[key] = value if rng.random() < 0.1 else rng.choice(VALUES)
    else:
        container[key] = rng.choice(VALUES)


def tokenizer(rng: random.Random, folder: Path) -> None:
    """Another tokeniser; sometimes first one that cuts words by a pattern."""
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text("utf-8"))
    if rng.random() < 0.3:
        part = {"type": "Split", "behavior": "Isolated", "invert": False}
        document["pre_tokenizer"] = part | {"pattern": {"Regex": rng.choice(PATTERNS)}}
    for _ in range(rng.choice([0, 1, 1, 2])):
        replaced(rng, document)
    try:
        data = json.dumps(document).encode()
    except (RecursionError, UnicodeEncodeError):
        data = b"[" * 100_000
    path.write_bytes(gguf.damaged(rng, data) if rng.random() < 0.2 else data)


def safetensors(rng: random.Random, folder: Path) -> None:
    """Another header, or other bytes."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + length])
    for _ in range(rng.choice([0, 1, 1, 2])):
        replaced(rng, header)
    try:
        text = json.dumps(header).encode()
    except (RecursionError, UnicodeEncodeError):
        text = b"[" * 100_000
    said = len(text) if rng.random() < 0.9 else rng.choice(gguf.NUMBERS)
    data = struct.pack("<Q", said) + text + data[8 + length :]
    path.write_bytes(gguf.damaged(rng, data) if rng.random() < 0.3 else data)


def make(rng: random.Random, folder: Path) -> Path:
    """One folder; returns what a backend opens."""
    change, base = rng.choice(
        [(tokenizer, "ref-2m.int8.onnx"), (safetensors, "ref-2m.f32.safetensors")]
    )
    made = shutil.copytree(materialise(base), folder / "model")
    change(rng, made)
    return made / "model.onnx" if base.endswith(".onnx") else made


if __name__ == "__main__":
    campaign.main(make, "folders", 500)
