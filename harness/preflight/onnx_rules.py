"""The rules that an ONNX submission can break, each with the words a startup reads.

`broken` makes the error of a rule; every check of this package that concerns ONNX raises it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from harness.errors import SpecError, printable

_SHOWN_CHARS: Final = 200

RULES: Final[Mapping[str, str]] = {
    # the graph's file
    "onnx_damaged": "a whole protobuf message of onnx.proto",
    "onnx_unknown_field": "fields that onnx.proto of IR version 14 has",
    "onnx_ambiguous": "a file that every reader reads alike: one value a field, of its own type",
    "onnx_limit": "less than 2 GiB, 1 million fields, 32 MiB of text, 100,000 nodes with all "
    "local functions inlined, 8 subgraphs deep",
    "onnx_version": "IR version 3 to 14, opset 7 to 28",
    "onnx_setting": "metadata describe the model and set nothing in an engine (`ort_config`)",
    "onnx_training": "a graph for inference, without training information",
    # what it computes
    "onnx_domain": "operators of ONNX and of com.microsoft, and local functions in a domain of "
    "their own; libraries of custom operators are never loaded",
    "onnx_operator": "operators of a decoder: none reads files, decodes media, calls another "
    "engine or holds a generation loop",
    "onnx_function": "local functions are defined once and none calls itself",
    "onnx_attribute": "attributes have one value, of the type that they declare",
    "onnx_name": "names are not empty, and no two tensors, inputs or results of a graph share one",
    "onnx_shape": "shapes and attributes of one operator fit each other",
    "onnx_checker": "what the ONNX checker accepts",
    # tensors and the files beside the graph
    "onnx_tensor": "a known element type, dimensions from 0, and exactly the bytes that they need",
    "onnx_memory": "at most 32 GiB of tensors, and twice the bytes of their files",
    "onnx_external": "external data has a location, an offset and a length, and nothing else",
    "onnx_external_path": "external data lies in the graph's folder, by a plain relative path "
    "that every system can have",
    "onnx_external_link": "external data is a regular file: no symbolic or hard link, no device",
    "onnx_external_missing": "every file that the graph names is beside it",
    "onnx_external_range": "a range of external data ends inside its file and fits its tensor",
    "onnx_external_unhashed": "every file that the graph names is among those that are hashed: "
    "beside the graph, and in the entry's `files` if it has them",
    # genai_config.json
    "genai_setting": "a decoder's description; how it is run, the harness alone decides",
    "genai_path": "model.decoder.filename is a plain name; nothing else names a file or library",
    "genai_name": "names of inputs and outputs of letters, digits and `._/-`, with one %d in those "
    "of the cache",
}
"""Rule by id, in words."""

_WEIGHTS: Final = "save all weights into one file beside the graph, under a plain name"
_HINTS: Final = {
    "onnx_external_path": _WEIGHTS,
    "onnx_external": _WEIGHTS,
    "onnx_external_link": "put the file itself into the folder",
    "onnx_external_missing": "add the file to the folder",
    "onnx_external_unhashed": "put it beside the graph, or name it in the entry",
    "onnx_function": "inline the local functions (onnx.inliner)",
    "genai_setting": "remove the setting: it is not used",
    "genai_path": "remove the path: it is not used",
}


def broken(rule: str, where: str, message: str) -> SpecError:
    """The error of a rule that is broken; its text is printable, whatever the file holds."""
    return SpecError(
        printable(message),
        where=printable(where),
        allowed=RULES[rule],
        hint=_HINTS.get(rule, "export the model again, or fetch it from its maker"),
        reason=rule,
    )


def shown(text: str) -> str:
    """A name out of the file, short enough for one line."""
    return f"'{text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + '…'}'"
