"""K-quants, written by llama.cpp's own quantiser in a child process.

`quantise` starts `python -m harness.models.quantise IN OUT TYPE`: native code that
aborts takes the child with it and nothing else, and the parent never loads an
engine. The result depends on the build of llama.cpp; `library_hash` names it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from harness.errors import HarnessError, PrerequisiteError, install_hint
from harness.spec import file_sha256

FORMATS: Final = {"q4_k_m": 15, "q5_k_m": 17, "q6_k": 18}
"""Names and llama.cpp's numbers for them (`enum llama_ftype`)."""

_TIMEOUT_S: Final = 600.0


def quantise(source: Path, target: Path, quant: str) -> None:
    """Write the float GGUF `source` to `target` as `quant` (one of `FORMATS`).

    Raises:
        PrerequisiteError: llama-cpp-python is missing.
        HarnessError: the child failed; the message ends with its last words.
    """
    library_folder()
    command = [sys.executable, "-m", "harness.models.quantise", str(source), str(target), quant]
    # Without it an abort in ggml forks a debugger, which may wait for ever.
    environment = {**os.environ, "GGML_NO_BACKTRACE": "1"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise HarnessError(
            f"llama.cpp took more than {_TIMEOUT_S:.0f} s to quantise",
            where=str(source),
            reason="timeout",
        ) from error
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace")[-500:].strip()
        raise HarnessError(
            f"llama.cpp could not quantise to {quant} (exit {done.returncode}): {words}",
            where=str(source),
            reason="quantise_failed",
        )


def library_folder() -> Path:
    """Where llama-cpp-python keeps its libraries, found without loading them.

    Raises:
        PrerequisiteError: it is not installed.
    """
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        raise PrerequisiteError(
            "K-quants need llama-cpp-python", hint=install_hint("llama-cpp-python")
        )
    return Path(spec.origin).parent / "lib"


def library_hash() -> str:
    """sha256 over the names and contents of llama.cpp's libraries.

    Raises:
        PrerequisiteError: llama-cpp-python is not installed.
    """
    digest = hashlib.sha256()
    for path in sorted(library_folder().iterdir()):
        if path.is_file():
            digest.update(path.name.encode())
            digest.update(bytes.fromhex(file_sha256(path)))
    return digest.hexdigest()


def _main(source: str, target: str, quant: str) -> int:
    import ctypes

    import llama_cpp

    lines: list[str] = []

    # Held in a local until the call returns: llama.cpp keeps only the pointer.
    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]  # a ctypes prototype
    def log(_level: int, text: bytes, _data: ctypes.c_void_p) -> None:
        lines.append(text.decode("utf-8", "replace"))

    llama_cpp.llama_log_set(log, ctypes.c_void_p(0))
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = FORMATS[quant]
    status = llama_cpp.llama_model_quantize(
        source.encode(), target.encode(), ctypes.byref(parameters)
    )
    if status:
        sys.stderr.write("".join(lines[-10:]))
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
