"""What lies in a folder with an ONNX language model, found without loading any weight.

Two layouts exist: ONNX Runtime GenAI's Model Builder (`genai_config.json` beside the
graph, with the names of its inputs and outputs) and Transformers.js (`onnx/model*.onnx`,
`config.json`, fixed names). Operators are read by walking the protobuf's fields and
seeking over the weights: the `onnx` package would read them all and stay resident.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from harness.backends.hub_files import end_ids, read_json, refuse


class Names(NamedTuple):
    """Names of inputs and outputs; the cache's hold one `%d` for the layer."""

    input_ids: str = "input_ids"
    attention_mask: str = "attention_mask"
    position_ids: str = "position_ids"
    past_key: str = "past_key_values.%d.key"
    past_value: str = "past_key_values.%d.value"
    logits: str = "logits"
    present_key: str = "present.%d.key"
    present_value: str = "present.%d.value"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFolder:
    """A model's files and what its configuration says.

    Attributes:
        context: longest context that the configuration declares; 0 = not declared.
        vocabulary: number of token ids; 0 = not declared.
        operators: types of all nodes of the graph.
        bytes_on_disk: the graph and the weights beside it.
    """

    graph: Path
    tokenizer: Path
    layout: str
    names: Names
    context: int
    vocabulary: int
    end_ids: frozenset[int]
    operators: frozenset[str]
    bytes_on_disk: int


def open_folder(path: Path) -> OnnxFolder:
    """Find the graph, the tokeniser and the configuration.

    Args:
        path: a folder, or the `.onnx` file itself where a folder holds several.

    Raises:
        BackendError: something is missing, ambiguous or unreadable; it is named.
    """
    home = _home(path)
    genai: Mapping[str, Any] = {}
    if (home / "genai_config.json").is_file():
        genai = _object(read_json(home / "genai_config.json"), "model")
    decoder = _object(genai, "decoder")
    graph = path if path.is_file() else _find_graph(home, decoder)
    tokenizer = home / "tokenizer.json"
    if not tokenizer.is_file():
        refuse(tokenizer, "no such file: the text must be tokenised")
    config = read_json(home / "config.json", optional=True)
    generation = read_json(home / "generation_config.json", optional=True)
    return OnnxFolder(
        graph=graph,
        tokenizer=tokenizer,
        layout="model_builder" if genai else "transformers_js",
        names=_names(decoder),
        context=_integer(genai.get("context_length"), config.get("max_position_embeddings")),
        vocabulary=_integer(genai.get("vocab_size"), config.get("vocab_size")),
        end_ids=frozenset().union(*map(end_ids, (genai, config, generation))),
        operators=_operators(graph),
        bytes_on_disk=sum(item.stat().st_size for item in graph.parent.glob(graph.name + "*")),
    )


def _home(path: Path) -> Path:
    """Where the tokeniser lies: the folder given, or around the graph given."""
    if path.is_dir():
        return path
    if not path.is_file():
        refuse(path, "no such file or folder")
    if path.suffix != ".onnx":
        refuse(path, "not an ONNX model", allowed="a folder, or a file named *.onnx")
    beside = path.parent
    return beside if (beside / "tokenizer.json").is_file() else beside.parent


def _find_graph(home: Path, decoder: Mapping[str, Any]) -> Path:
    if decoder:
        name = str(decoder.get("filename", "model.onnx"))
        graph = home / name
        if Path(name).name != name:
            refuse(home / "genai_config.json", f"filename {name!r} leaves the folder")
        if not graph.is_file():
            refuse(graph, "no such file, but genai_config.json names it")
        return graph
    found = sorted([*home.glob("onnx/model*.onnx"), *home.glob("model*.onnx")])
    if not found:
        refuse(
            home, "no ONNX model", allowed="genai_config.json with its graph, or onnx/model*.onnx"
        )
    if len(found) > 1:
        refuse(
            home,
            f"{len(found)} ONNX models",
            allowed="the path of one: "
            + ", ".join(item.relative_to(home).as_posix() for item in found),
        )
    return found[0]


def _names(decoder: Mapping[str, Any]) -> Names:
    """Names of a Model Builder graph; Transformers.js uses the defaults."""
    inputs, outputs = _object(decoder, "inputs"), _object(decoder, "outputs")
    default = Names()
    return Names(
        input_ids=inputs.get("input_ids", default.input_ids),
        attention_mask=inputs.get("attention_mask", default.attention_mask),
        position_ids=inputs.get("position_ids", default.position_ids),
        past_key=inputs.get("past_key_names", default.past_key),
        past_value=inputs.get("past_value_names", default.past_value),
        logits=outputs.get("logits", default.logits),
        present_key=outputs.get("present_key_names", default.present_key),
        present_value=outputs.get("present_value_names", default.present_value),
    )


def _integer(*values: object) -> int:
    return next((value for value in values if isinstance(value, int)), 0)


def _object(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def _operators(path: Path) -> frozenset[str]:
    """Types of all nodes: ModelProto.graph (7) → GraphProto.node (1) → NodeProto.op_type (4)."""
    found: set[str] = set()
    size = path.stat().st_size
    if not size:
        refuse(path, "the file is empty")
    with path.open("rb") as file:
        try:
            for field, start, end in _fields(file, 0, size):
                if field == 7:
                    found |= _node_types(file, start, end)
        except (ValueError, UnicodeDecodeError) as error:
            refuse(path, f"not an ONNX file, or cut off: {error}")
    if not found:
        refuse(path, "not an ONNX file: no graph in it")
    return frozenset(found)


def _node_types(file: BinaryIO, start: int, end: int) -> set[str]:
    found = set()
    for field, node, node_end in _fields(file, start, end):
        if field != 1:
            continue
        for inner, at, stop in _fields(file, node, node_end):
            if inner == 4:
                file.seek(at)
                found.add(file.read(stop - at).decode("ascii"))
    return found


def _fields(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of every length-delimited field of a protobuf message."""
    at = start
    while at < end:
        file.seek(at)
        key = _varint(file)
        kind = key & 7
        if kind == 0:
            _varint(file)
            at = file.tell()
        elif kind == 2:
            size = _varint(file)
            value = file.tell()
            at = value + size
            if at > end:
                raise ValueError(f"a field ends at byte {at} of {end}")
            yield key >> 3, value, at
        elif kind in {1, 5}:
            at = file.tell() + (8 if kind == 1 else 4)
        else:
            raise ValueError(f"no protobuf field at byte {at}")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("it ends inside a number")
