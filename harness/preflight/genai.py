"""ONNX Runtime GenAI's `genai_config.json`, which steers whoever loads a model.

It can name libraries, providers' options, files to write profiles and optimised graphs to,
and more models. This harness takes names, sizes and token ids from it and nothing else:
`backends.onnx_library.open_session` sets every option itself. What would steer an engine is
refused all the same, because a startup would measure its model with it elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from harness.preflight import documents
from harness.preflight.onnx_rules import broken, shown

_SECTIONS: Final = {
    "": {"model", "search"},
    "model": {"decoder"},
    "model.decoder": {"session_options", "run_options", "inputs", "outputs", "sliding_window"},
    "model.decoder.session_options": {"provider_options"},
}
"""Where sections may stand; plain values (no objects or lists of them) may stand anywhere."""

_SETTINGS: Final = {
    "model.decoder.session_options": {
        "log_id",
        "log_severity_level",
        "log_verbosity_level",
        "intra_op_num_threads",
        "inter_op_num_threads",
        "enable_cpu_mem_arena",
        "enable_mem_pattern",
        "graph_optimization_level",
        "provider_options",
        "providers",
    },
    "model.decoder.run_options": {"log_id", "log_severity_level", "log_verbosity_level"},
}
_PROVIDERS: Final = {
    "cpu": set[str](),
    "cuda": {"device_id", "enable_cuda_graph", "enable_skip_layer_norm_strict_mode"},
    "dml": {"device_id", "enable_graph_capture"},
    "webgpu": {"enableGraphCapture", "validationMode"},
}
_FILENAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\.onnx")
_NAME: Final = re.compile(r"[A-Za-z0-9_./-]{1,100}")
_PATHLIKE: Final = re.compile(
    r"^[/~]|^[A-Za-z]:|\\|(^|/)\.\.(/|$)|\.(dll|so(\.[0-9]+)*|dylib|exe|sh|bat|ps1|py|onnx|bin)$",
    re.IGNORECASE,
)


def check(path: Path) -> None:
    """Check every setting of a configuration.

    Raises:
        SpecError: damaged, or a setting, path or name that is not allowed.
        OSError: it cannot be read.
    """
    config = documents.read(path)
    _section(config, "", str(path))
    model = _object(config, "model", str(path))
    decoder = _object(model, "decoder", str(path))
    filename = decoder.get("filename", "model.onnx")
    if not isinstance(filename, str) or not _FILENAME.fullmatch(filename):
        message = f"model.decoder.filename is {shown(str(filename))}"
        raise broken("genai_path", str(path), message)
    for place, value in _texts(
        {**config, "model": {**model, "decoder": {**decoder, "filename": ""}}}
    ):
        if _PATHLIKE.search(value):
            raise broken("genai_path", str(path), f"{place} is {shown(value)}")
    for part in ("inputs", "outputs"):
        _names(decoder.get(part, {}), f"{path}: model.decoder.{part}")


def _section(values: Mapping[str, Any], place: str, where: str) -> None:
    """Refuse settings and sections that are not on the list."""
    allowed = _SECTIONS.get(place, set())
    settings = _SETTINGS.get(place)
    for key, value in values.items():
        name = f"{place}.{key}".lstrip(".")
        if settings is not None and key not in settings:
            raise broken("genai_setting", where, f"the setting {shown(name)}")
        if name == "model.decoder.session_options.provider_options":
            _providers(value, where)
        elif isinstance(value, dict):
            if key not in allowed:
                raise broken("genai_setting", where, f"the section {shown(name)}")
            _section(value, name, where)
        elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
            raise broken("genai_setting", where, f"the list {shown(name)}")


def _providers(value: object, where: str) -> None:
    """A list of objects, each `{provider: {option: value}}`."""
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, dict):
            raise broken("genai_setting", where, "provider_options is no list of objects")
        for provider, options in item.items():
            known = _PROVIDERS.get(provider.lower())
            if known is None or not isinstance(options, dict) or options.keys() - known:
                names = ", ".join(map(str, options)) if isinstance(options, dict) else ""
                message = f"the provider {shown(provider)} with the options {shown(names)}"
                raise broken("genai_setting", where, message)


def _names(values: object, where: str) -> None:
    """Names of the graph's inputs and outputs; the harness puts the layer in place of `%d`."""
    if not isinstance(values, dict):
        raise broken("genai_name", where, "no object")
    for key, value in values.items():
        layered = key.startswith(("past_", "present_")) and key.endswith("_names")
        text = value if isinstance(value, str) else ""
        plain = text.replace("%d", "0", 1) if layered else text
        if not _NAME.fullmatch(plain) or (layered and "%d" not in text):
            raise broken("genai_name", where, f"{shown(key)} is {shown(str(value))}")


def _object(values: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    found = values.get(key, {})
    if not isinstance(found, dict):
        raise broken("genai_setting", where, f"'{key}' is no object")
    return found


def _texts(value: object, place: str = "") -> Iterator[tuple[str, str]]:
    """Every string, with where it stands."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, place)
