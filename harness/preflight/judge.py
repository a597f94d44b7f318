"""What the limited child does with one model: each format's checks, then its facts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
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
        return {"facts": facts(path, request["kind"])}
    except SpecError as error:
        names = ("message", "where", "allowed", "hint", "reason")
        return {"refused": {name: getattr(error, name) for name in names}}
    except MemoryError:
        rule = "preflight_limit"
        message, allowed = "judging it takes more memory than is allowed", RULES[rule]
    except OSError as error:
        rule, allowed = "model_unreadable", "files that can be read"
        message = f"the model cannot be read: {error.strerror}"
    return {
        "refused": {"message": message, "where": str(path), "allowed": allowed, "reason": rule}
    }


def facts(path: Path, kind: Format) -> dict[str, Any]:
    """Check every rule of a format; what the parent needs to know of the model.

    Raises:
        SpecError: the rule that is broken.
    """
    if kind == "gguf":
        from harness.preflight import gguf

        return gguf.check(path)
    if kind == "safetensors":
        from harness.preflight import safetensors

        return safetensors.check(path)
    if kind == "onnx":
        return _onnx(path)
    return {}


def _onnx(graph: Path) -> dict[str, Any]:
    from harness.preflight import documents, tokenizer

    home = graph.parent if (graph.parent / "tokenizer.json").is_file() else graph.parent.parent
    reading(graph.name)
    found = _onnx_facts(graph, home)
    context = documents.context(home)
    reading("tokenizer.json")
    tokenizer.check(home / "tokenizer.json")
    return {"context": context, **found}


def reading(name: str) -> None:
    """Tell the parent what is read next, in case this process does not come back."""
    sys.stderr.write(f"{READING}{name}\n")
    sys.stderr.flush()
