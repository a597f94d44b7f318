"""JSON files that came with a model: bounded before they are parsed, and after."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from harness.preflight.rules import refuse

BYTES_MAX: Final = 8 << 20
_DEPTH_MAX: Final = 32
_VALUES_MAX: Final = 1 << 23


def read(path: Path, bytes_max: int = BYTES_MAX) -> dict[str, Any]:
    """An object with keys that differ.

    Raises:
        SpecError: `json_size`, `json_invalid` or `json_depth`.
        OSError: it cannot be opened.
    """
    with path.open("rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        refuse(path, "json_size", f"more than {bytes_max >> 20} MiB")
    try:
        # `utf-8-sig` would let a mark pass that other parsers refuse.
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_object)
    except RecursionError:
        refuse(path, "json_depth", "nested hundreds deep")
    except ValueError as error:
        refuse(path, "json_invalid", f"it cannot be read: {str(error)[:120]}")
    if not isinstance(found, dict):
        refuse(path, "json_invalid", "it holds no object")
    _check_depth(path, found)
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        # Parsers differ in which of the two they take.
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"two entries {twice[:40]!r}")
    return found


def _check_depth(path: Path, document: object) -> None:
    level, values = [document], 0
    for _ in range(_DEPTH_MAX):
        values += len(level)
        if values > _VALUES_MAX:
            refuse(path, "json_depth", f"more than {_VALUES_MAX} values")
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
        if not inner:
            return
        level = inner
    refuse(path, "json_depth", f"nested more than {_DEPTH_MAX} deep")


def context(home: Path) -> int:
    """The longest context that a folder's configuration declares; 0 = it does not say.

    Raises:
        SpecError: a configuration that cannot be read.
    """
    found: object = None
    if (path := home / "genai_config.json").is_file():
        model = read(path).get("model")
        found = model.get("context_length") if isinstance(model, dict) else None
    elif (path := home / "config.json").is_file():
        config = read(path)
        text = config.get("text_config")
        key = "max_position_embeddings"
        found = config.get(key, text.get(key) if isinstance(text, dict) else None)
    return found if type(found) is int and found > 0 else 0
