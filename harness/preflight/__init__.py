"""Judge a submitted model before native code, or this process, parses it.

A file from a stranger is read in a child with limits on time and memory, by arithmetic on
integers that cannot overflow. `inspect` returns the few facts that the parent needs, or
raises what the child found. Data: path → link and type rules (here) → child (`judge`) →
`Facts`. A child that dies, hangs or floods is a refusal too.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from harness import sandbox
from harness.errors import SpecError
from harness.preflight.rules import refuse
from harness.sandbox.policy import model_files

if TYPE_CHECKING:
    from harness.spec import Format

_CHILD: Final = "harness.preflight"
_TIMEOUT_S: Final = 60.0
_MEMORY_BYTES: Final = 1 << 30
_LIMIT_STATUS: Final = (-signal.SIGKILL, -getattr(signal, "SIGXCPU", 0))
READING: Final = "reading "
"""The last line of a child's that begins so names the part of a model that it was at."""
_HINT: Final = "`harness models check PATH` repeats this; export the model again"


class Facts(NamedTuple):
    """What a model's files say, as far as the parent needs it.

    Attributes:
        context: longest context in tokens; 0 = not declared.
        synthetic: stamped as random weights.
        weights: see `models.token_cost`.
        quantisation: how the weights are stored, where the file says it, else `unknown`.
        files: that an ONNX graph names, relative to its folder.
    """

    context: int = 0
    synthetic: bool = False
    weights: Mapping[str, int] = {}
    quantisation: str = "unknown"
    files: Sequence[str] = ()


def inspect(
    path: Path, kind: Format, *, submitted: bool = True, timeout_s: float = _TIMEOUT_S
) -> Facts:
    """Judge a model in a child with limits.

    Args:
        path: what a backend opens: a GGUF file, an ONNX graph or a safetensors folder.
        submitted: `path` comes from a stranger as it is: `folder.check` holds for it.

    Raises:
        SpecError: the rule that is broken, as `reason` (see `rules.RULES`).
    """
    if submitted:
        from harness.preflight import folder

        folder.check(path)
    request = {"path": str(path), "kind": kind, "memory_bytes": _MEMORY_BYTES}
    readable = [*map(Path, model_files(str(path), str(Path.home())))]
    try:
        answer = sandbox.ask(_CHILD, request, timeout_s=timeout_s, readable=readable)
    except TimeoutError as error:
        _ended(path, f"judging it {str(error).removeprefix('it ')}", error, "preflight_limit")
    except ChildProcessError as error:
        _ended(path, f"what judged it ended with status {error.args[0]}", error)
    try:
        if wrong := answer.get("refused"):
            raise SpecError(wrong.pop("message"), **wrong)
        return Facts(**answer["facts"])
    except (AttributeError, LookupError, TypeError):
        refuse(path, "preflight_crashed", "what judged it gave no answer", hint=_HINT)


def _ended(path: Path, message: str, error: OSError, rule: str = "preflight_crashed") -> NoReturn:
    """Refuse a file whose child gave no answer; its last words say which part it was at."""
    words = getattr(error, "__notes__", error.args[-1:]) or [""]
    # Behind them may stand what a library said of its end.
    said = [line for line in str(words[-1]).splitlines() if line.startswith(READING)]
    place = said[-1].removeprefix(READING) if said else ""
    if place == "tokenizer.json":
        rule = "tokenizer_limit"
    elif error.args[0] in _LIMIT_STATUS:
        rule = "preflight_limit"
    refuse(path, rule, message, place=place, hint=_HINT)
