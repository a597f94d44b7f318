"""Mutated ONNX submissions: python -m tests.fuzz.onnx --count 2000 --seed 1 --jobs 2.

Seeds are the embedded reference model in float32, int8 and int4, the same with its weights
beside the graph, and a graph of standard operators. Each file gets one to three mutations:
of numbers, texts, lengths and tags on the wire, of tensors, nodes, imports and places of
external data as a forger would write them, and of bytes without knowing what they mean.
"""

from __future__ import annotations

import functools
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness.models.reference import materialise
from harness.models.synth import byte_tokenizer
from tests.backends.plain_graph import VOCABULARY, write_plain_folder
from tests.fuzz.campaign import main
from tests.fuzz.wire import Part, encode, other_number, parse, varint, walk

NAMES = ("fp32", "int8", "int4", "external", "plain")
LOCATIONS = ("../secret", "/etc/passwd", "weights", "a/../weights", "nul", "C:\\x", "", "%2e/x")
DOMAINS = ("", "ai.onnx", "com.microsoft", "com.evil", "ai.onnx.contrib", "ai.onnx.ml")
OPERATORS = ("EPContext", "PyOp", "If", "Loop", "MatMulNBits", "Identity", "Gather", "Reshape")


@functools.cache
def seed(name: str) -> tuple[Part, dict[str, bytes]]:
    """The graph as a tree, and the files around it (`graph`: its name)."""
    with tempfile.TemporaryDirectory() as temporary:
        source = materialise(f"ref-2m.{name if name.startswith(('fp', 'int')) else 'int4'}.onnx")
        if name == "plain":
            tokenizer = byte_tokenizer(Path(temporary) / "tokenizer.json", VOCABULARY)
            source = write_plain_folder(Path(temporary) / "plain", tokenizer, 64)
        files = {file.name: file.read_bytes() for file in source.iterdir()}
    (graph,) = (file for file in files if file.endswith(".onnx"))
    tree = parse(files.pop(graph))
    files["graph"] = graph.encode()
    if name == "external":
        files["weights"] = _externalise(tree)
    return tree, files


def _externalise(tree: Part) -> bytes:
    """Move what tensors of the graph hold into one file; returns it."""
    weights = bytearray()
    for around, part in list(walk(tree)):
        if part.name == "raw_data" and len(part.content) >= 1024:
            entries = {"location": "weights", "offset": len(weights), "length": len(part.content)}
            weights += part.content
            around.inner.remove(part)
            around.inner += [entry(key, str(value)) for key, value in entries.items()]
            around.inner.append(Part(14, 0, "data_location", value=1))
    return bytes(weights)


def entry(key: str, value: str) -> Part:
    """One entry of a tensor's external data."""
    parts = [Part(1, 2, "key", key.encode()), Part(2, 2, "value", value.encode())]
    return Part(13, 2, "external_data", kind="StringStringEntry", inner=parts)


def make(chance: random.Random, folder: Path) -> Path:
    """Write one mutated submission."""
    tree, files = seed(chance.choice(NAMES))
    tree, files = tree.copy(), dict(files)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        chance.choice(TREE)(chance, tree)
    graph = encode(tree)
    if chance.random() < 0.15:
        graph = chance.choice(BYTES)(chance, graph)
    if chance.random() < 0.1:
        files["genai_config.json"] = _config(chance, files["genai_config.json"])
    if "weights" in files and chance.random() < 0.2:
        files["weights"] = _cut(chance, files["weights"])
    return write(folder, graph, files)


def write(folder: Path, graph: bytes, files: dict[str, bytes]) -> Path:
    """Write a submission; returns the graph's path."""
    path = folder / files["graph"].decode()
    path.write_bytes(graph)
    for name in files.keys() - {"graph"}:
        (folder / name).write_bytes(files[name])
    return path


# --- mutations of the tree ------------------------------------------------------------


def _some(chance: random.Random, tree: Part, *names: str) -> tuple[Part, Part] | None:
    """A field of one of the names, or any; rare kinds are as likely as common ones."""
    fields = [pair for pair in walk(tree) if not names or pair[1].name in names]
    kinds = sorted({(around.kind, part.name) for around, part in fields})
    if not kinds:
        return None
    kind = chance.choice(kinds)
    return chance.choice([pair for pair in fields if (pair[0].kind, pair[1].name) == kind])


def _numbers(chance: random.Random, tree: Part) -> None:
    numbers = [part for _, part in walk(tree) if part.wire == 0]
    part = chance.choice(numbers)
    part.value = other_number(chance, part.value)


def _dimensions(chance: random.Random, tree: Part) -> None:
    if found := _some(chance, tree, "dims", "dim_value", "data_type", "elem_type"):
        part = found[1]
        if part.wire == 0:
            part.value = other_number(chance, part.value)
        else:
            sizes = [other_number(chance, byte) for byte in part.content[:3]]
            part.content = b"".join(varint(size) for size in sizes)


def _attributes(chance: random.Random, tree: Part) -> None:
    """Change an integer that a kernel computes with."""
    nodes = [around for around, part in walk(tree) if part.name == "i" and around.kind]
    if nodes:
        for part in chance.choice(nodes).inner:
            if part.name == "i":
                part.value = other_number(chance, part.value)


def _texts(chance: random.Random, tree: Part) -> None:
    if found := _some(chance, tree, "input", "output", "name", "key", "value", "dim_param"):
        part = found[1]
        other = _some(chance, tree, part.name)
        words = [b"", b"\xff\xfe", b"x" * 70_000, b"%s%n", other[1].content if other else b"y"]
        part.kind, part.inner, part.content = "", [], chance.choice(words)


def _operators(chance: random.Random, tree: Part) -> None:
    nodes = [part for _, part in walk(tree) if part.kind == "Node"]
    node = chance.choice(nodes)
    other = [part.content.decode() for part in chance.choice(nodes).inner if part.number == 4]
    name, domain = chance.choice((*OPERATORS, *other)), chance.choice(DOMAINS)
    node.inner = [part for part in node.inner if part.number not in {4, 7}]
    node.inner.append(Part(4, 2, "op_type", name.encode()))
    node.inner.append(Part(7, 2, "domain", domain.encode()))


def _imports(chance: random.Random, tree: Part) -> None:
    number, version = Part(1, 2, "domain"), Part(2, 0, "version")
    number.content = chance.choice(DOMAINS).encode()
    version.value = other_number(chance, 21)
    inner = [number, version]
    tree.inner.append(Part(8, 2, "opset_import", kind="OperatorSetId", inner=inner))


def _external(chance: random.Random, tree: Part) -> None:
    """Let a tensor lie, or lie elsewhere, outside the file."""
    tensors = [part for _, part in walk(tree) if part.kind == "Tensor"]
    if not tensors:
        return
    tensor = chance.choice(tensors)
    key = chance.choice(("location", "offset", "length", "checksum", "prepacked_0"))
    value = chance.choice((*LOCATIONS, "0", "-1", "1", "64", str(2**63), "1e3"))
    if chance.random() < 0.5:
        tensor.inner = [part for part in tensor.inner if part.name != "raw_data"]
        tensor.inner.append(Part(14, 0, "data_location", value=1))
        tensor.inner.append(entry("location", chance.choice(LOCATIONS)))
    else:
        tensor.inner.append(entry(key, value))


def _structure(chance: random.Random, tree: Part) -> None:
    """Drop, double, move or exchange a field."""
    if not (found := _some(chance, tree)):
        return
    around, part = found
    choice = chance.randrange(4)
    if choice == 0:
        around.inner.remove(part)
    elif choice == 1:
        around.inner.append(part.copy())
    elif choice == 2:
        chance.shuffle(around.inner)
    elif other := _some(chance, tree):
        around.inner[around.inner.index(part)] = other[1].copy()


def _wire(chance: random.Random, tree: Part) -> None:
    """A wrong length, tag or wire type."""
    if not (found := _some(chance, tree)):
        return
    part = found[1]
    choice = chance.randrange(4)
    if choice == 0:
        part.length = other_number(chance, len(part.content))
    elif choice == 1:
        part.number = chance.choice((0, 1, 5, 18, 100, 2**29))
    elif choice == 2:
        part.tag = varint(part.number << 3 | chance.randrange(8))
    else:
        part.tag = varint(part.number << 3 | part.wire, size=chance.randrange(2, 12))


def _weights(chance: random.Random, tree: Part) -> None:
    """Shorten, lengthen or spoil what a tensor holds."""
    if found := _some(chance, tree, "raw_data"):
        part = found[1]
        content = part.content
        cut = chance.randrange(len(content) + 1)
        part.content = chance.choice((content[:cut], content + content[:cut], bytes(len(content))))
        if chance.random() < 0.3:
            part.content = b"\xff" * len(content)  # NaN, and indices out of every range


TREE: tuple[Callable[[random.Random, Part], None], ...] = (
    _numbers,
    _dimensions,
    _attributes,
    _attributes,
    _texts,
    _operators,
    _imports,
    _external,
    _structure,
    _structure,
    _wire,
    _weights,
)


# --- mutations of bytes -----------------------------------------------------------------


def _cut(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _flip(chance: random.Random, data: bytes) -> bytes:
    """Bits near the end, where nodes and names of such files lie, and anywhere."""
    flipped = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data))
        flipped[at] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def _splice(chance: random.Random, data: bytes) -> bytes:
    start, to = chance.randrange(len(data)), chance.randrange(len(data))
    size = chance.randrange(1, 4096)
    return data[:to] + data[start : start + size] + data[to:]


BYTES = (_cut, _flip, _splice)


def _config(chance: random.Random, content: bytes) -> bytes:
    config = json.loads(content)
    decoder = config["model"]["decoder"]
    place = chance.choice((config, config["model"], decoder, decoder.setdefault("inputs", {})))
    key = chance.choice((*place, "session_options", "custom_ops_library", "vision"))
    values: list[object] = [None, -1, 10**30, "../x", "C:\\x.dll", [], {"a": {}}, "%d%d%n", "a"]
    place[key] = chance.choice(values)
    return json.dumps(config).encode()


if __name__ == "__main__":
    main(make, "onnx", 2000)
