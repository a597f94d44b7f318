"""What the limited child does with one model: each format's checks, then its facts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import SpecError
from harness.preflight import READING
from harness.preflight.rules import RULES

if TYPE_CHECKING:
    from harness.spec import Format


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a model, or why it is refused, as JSON data."""
    path = Path(request["path"])
    try:
        found = facts(path, request["kind"], _reading)
        if request["kind"] in {"onnx", "safetensors"}:
            from harness.preflight import tokenizer

            _reading("tokenizer.json")
            tokenizer.check(_home(path) / "tokenizer.json")
    except SpecError as error:
        names = ("message", "where", "allowed", "hint", "reason")
        return {"refused": {name: getattr(error, name) for name in names}}
    except MemoryError:
        rule = "preflight_limit"
        message, allowed = "judging it takes more memory than is allowed", RULES[rule]
    except OSError as error:
        rule, allowed = "model_unreadable", "files that can be read"
        message = f"the model cannot be read: {error.strerror}"
    else:
        return {"facts": found}
    return {"refused": {"message": message, "where": str(path), "allowed": allowed, "reason": rule}}


def _reading(name: str) -> None:
    """Tell the parent what is read next, in case this process does not come back."""
    sys.stderr.write(f"{READING}{name}\n")
    sys.stderr.flush()


def facts(
    path: Path, kind: Format, reading: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """`preflight.Facts` of a model whose files keep every rule but those of tokenisers.

    Args:
        reading: told each file before it is read.

    Raises:
        SpecError: the rule that is broken.
    """
    if kind == "gguf":
        from harness.preflight import gguf

        reading(path.name)
        return gguf.check(path)
    if kind == "fake":
        return {}
    from harness.preflight import documents

    reading("config.json")
    context = documents.context(_home(path))
    found = _folder(path, reading) if kind == "safetensors" else _graph(path, reading)
    return {"context": context, **found}


def _home(path: Path) -> Path:
    """The folder of the tokeniser: that of a graph, or the one around it."""
    home = path if path.is_dir() else path.parent
    return home if (home / "tokenizer.json").is_file() else home.parent


def _folder(path: Path, reading: Callable[[str], None]) -> dict[str, Any]:
    from harness.models.safetensors_file import (
        Tensor,
        is_stamped,
        read_header,
        stored_type,
        weight_files,
    )
    from harness.models.token_cost import weights_of

    tensors: dict[str, Tensor] = {}
    for file in weight_files(path):
        reading(file.name)
        tensors |= read_header(file)
    return {
        "weights": weights_of(path, "safetensors"),
        "quantisation": stored_type(tensors),
        "synthetic": is_stamped(path),
    }


def _graph(graph: Path, reading: Callable[[str], None]) -> dict[str, Any]:
    """What the graph itself says."""
    from harness.preflight import onnx

    reading(graph.name)
    return onnx.check(graph, _home(graph))
