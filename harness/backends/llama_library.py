"""llama.cpp's C library: bound without the rest of its Python package, its log, its identity.

`import llama_cpp` also loads chat formats, Jinja2 and grammars. *Measured* with
0.3.36 on Linux, over NumPy: 16 MiB and 0.25 s, against 7 MiB and 0.05 s for the C
bindings alone. The difference would be charged to every model measured, and is
larger than the 8 MiB that count as a tie, so the package's `__init__` is not run.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.util
import os
import sys
from collections import deque
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.backends import engine_hint
from harness.errors import PrerequisiteError
from harness.spec import file_sha256

_PACKAGE = "llama_cpp"
_BINDINGS = "llama_cpp.llama_cpp"
_SUFFIXES = (".so", ".dylib", ".dll")


class EngineLog:
    """Receives the engine's log: warnings and errors go to stderr, the rest nowhere."""

    _KEPT = (3, 4)  # GGML_LOG_LEVEL_WARN and _ERROR in ggml.h
    _CONTINUE = 5  # GGML_LOG_LEVEL_CONT: the level of the line before

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=8)
        self._level = 0

    def receive(self, level: int, text: bytes, _user_data: object) -> None:
        """Take one message: what `llama_log_callback` calls."""
        if level != self._CONTINUE:
            self._level = level
        if self._level not in self._KEPT:
            return
        message = text.decode("utf-8", "replace")
        if message.strip():
            self._lines.append(message.strip())
        if sys.stderr is not None:
            sys.stderr.write(message)

    def take(self) -> str:
        """The last lines since the last call, in one line."""
        text = " | ".join(self._lines)
        self._lines.clear()
        return text


LOG = EngineLog()
_KEEP_ALIVE: list[object] = []  # the engine calls the log callback until the process ends


@cache
def library() -> Any:
    """The C bindings, with the engine initialised.

    Raises:
        PrerequisiteError: not installed, or a library that does not load.
    """
    # Else an abort of the engine forks a debugger before the process ends.
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    try:
        bindings: Any = _import_bindings()
    except (ImportError, OSError, RuntimeError) as error:
        raise PrerequisiteError(
            f"llama.cpp cannot be loaded: {error}",
            hint=engine_hint("llama_cpp"),
            reason="engine_missing",
        ) from error
    callback = bindings.llama_log_callback(LOG.receive)
    _KEEP_ALIVE.append(callback)
    bindings.llama_log_set(callback, ctypes.c_void_p())
    bindings.llama_backend_init()
    return bindings


def _import_bindings() -> ModuleType:
    """Import the ctypes module; a bare package stands in for the real one meanwhile."""
    if _BINDINGS in sys.modules or _PACKAGE in sys.modules:
        return importlib.import_module(_BINDINGS)
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"no package '{_PACKAGE}'")
    package = ModuleType(_PACKAGE)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[_PACKAGE] = package
    try:
        return importlib.import_module(_BINDINGS)
    finally:
        del sys.modules[_PACKAGE]  # whoever needs the whole package imports it as usual


def pointer_function(function: Any) -> Any:
    """`float *function(void *, int32_t)` again, returning the address as an integer.

    The bindings' prototype builds a pointer object a call; an address can be
    compared with the last one, and the NumPy view of the logits kept.
    """
    address = ctypes.cast(function, ctypes.c_void_p).value
    prototype = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)
    return prototype(address or 0)


def identity() -> dict[str, str]:
    """Version, instruction set, path and hashes of the libraries in use."""
    bindings = library()
    home = Path(bindings.__file__).parent
    folder = Path(os.environ.get("LLAMA_CPP_LIB_PATH", home / "lib"))
    hashes = {
        path.name: file_sha256(path) for path in sorted(folder.iterdir()) if _is_library(path)
    }
    main = next((name for name in hashes if name.split(".")[0] in {"libllama", "llama"}), "")
    every = "".join(f"{name} {value}\n" for name, value in hashes.items())
    return {
        "engine": "llama.cpp",
        "engine_version": bindings.llama_version().decode(),
        "binding": _distribution(home.parent),
        "instruction_set": bindings.llama_print_system_info().decode().strip(" |"),
        "library": str(folder / main),
        "library_sha256": hashes.get(main, ""),
        "libraries_sha256": hashlib.sha256(every.encode()).hexdigest(),
    }


def _is_library(path: Path) -> bool:
    return path.is_file() and any(suffix in path.suffixes for suffix in _SUFFIXES)


def _distribution(site: Path) -> str:
    """`llama-cpp-python 0.3.36`, from a folder's name: `importlib.metadata` costs memory."""
    for path in site.glob("llama_cpp_python-*.dist-info"):
        return "llama-cpp-python " + path.name.removesuffix(".dist-info").split("-")[1]
    return "llama-cpp-python"
