"""ONNX Runtime and `tokenizers`: imported on use, opened with nothing left to chance."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from harness.backends import engine_hint
from harness.errors import BackendError, PrerequisiteError
from harness.spec import file_sha256

PROVIDER = "CPUExecutionProvider"

_SETTINGS = {
    "session.intra_op.allow_spinning": "1",  # the default, set so that it can be recorded
    "session.inter_op.allow_spinning": "0",
}


def import_engine() -> tuple[Any, Any]:
    """The modules `onnxruntime` and `tokenizers`.

    Raises:
        PrerequisiteError: one of them is missing or does not load.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # on by default; it also starts a thread
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import onnxruntime
        import tokenizers
    except (ImportError, OSError) as error:
        raise PrerequisiteError(
            f"ONNX Runtime cannot be loaded: {error}",
            hint=engine_hint("onnxruntime"),
            reason="engine_missing",
        ) from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime, tokenizers


def open_session(ort: Any, graph: Path, threads: int) -> Any:
    """An inference session on the CPU with pinned threads.

    Raises:
        BackendError: the file is refused, or another provider would be used.
    """
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    for key, value in _SETTINGS.items():
        settings.add_session_config_entry(key, value)
    try:
        session = ort.InferenceSession(str(graph), settings, providers=[PROVIDER])
    except Exception as error:
        raise BackendError(
            f"ONNX Runtime cannot load this file: {error}", where=str(graph), reason="load_failed"
        ) from error
    session.disable_fallback()
    if session.get_providers() != [PROVIDER]:
        raise BackendError(
            f"runs on {', '.join(session.get_providers())} instead of {PROVIDER}",
            where=str(graph),
            reason="fallback",
        )
    return session


def identity(ort: Any, session: Any) -> dict[str, str]:
    """Version, build, library, provider and threads, as the engine reports them."""
    library = Path(ort.capi.onnxruntime_pybind11_state.__file__)
    used = session.get_session_options()
    return {
        "engine": "onnxruntime",
        "engine_version": ort.__version__,
        "build": ort.get_build_info(),
        "library": str(library),
        "library_sha256": file_sha256(library),
        "provider": ", ".join(session.get_providers()),
        "device": "CPU",
        "threads": str(used.intra_op_num_threads),
        "spinning": used.get_session_config_entry("session.intra_op.allow_spinning"),
    }
