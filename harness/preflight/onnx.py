"""Judge an ONNX graph, and what lies beside it, before ONNX Runtime or protobuf sees it.

`check` runs in the limited child. The file is walked once by this package's own parser
(`onnx_wire`); then every tensor (`onnx_tensors`), every place outside the file
(`onnx_external`) and every node (`onnx_operators`) is compared with the rules, in the
graph, its subgraphs and its functions alike. Last comes the ONNX checker, which sees the
graph without its weights (`onnx_checker`).
"""

from __future__ import annotations

import math
from collections import ChainMap, Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from harness.models.token_cost import onnx_weights
from harness.preflight import genai, onnx_checker
from harness.preflight.onnx_operators import (
    DEFAULT,
    ENGINE_DOMAINS,
    MICROSOFT,
    WITH_GRAPHS,
    Node,
    check_shapes,
    require_known,
)
from harness.preflight.onnx_rules import broken, shown
from harness.preflight.onnx_tensors import BITS, STRING, Tensor, Tensors
from harness.preflight.onnx_wire import Message, read_model

_IR_VERSIONS: Final = range(3, 15)
_OPSETS: Final = range(7, 29)
_OTHER_OPSETS: Final = range(1, 101)
_NODES_MAX: Final = 100_000
_SUBGRAPHS_MAX: Final = 8
_CALLS_MAX: Final = 64
_INPUT_ELEMENTS_MAX: Final = 1 << 28

_VALUES: Final = {
    1: "f",
    2: "i",
    3: "s",
    4: "t",
    5: "g",
    6: "floats",
    7: "ints",
    8: "strings",
    9: "tensors",
    10: "graphs",
    11: "sparse_tensor",
    12: "sparse_tensors",
    13: "tp",
    14: "type_protos",
}
"""Field of an attribute's value by its type (`AttributeProto.AttributeType`)."""

_INTEGER: Final = 2
_UNKNOWN: Final = -(1 << 62)
"""For an integer that a function's caller gives: it lies outside every operator's limits."""

_Key: TypeAlias = tuple[str, str, str]
"""Domain, name and overload of a local function."""


def check(graph: Path, root: Path) -> dict[str, Any]:
    """Judge the graph, its external data and `genai_config.json`.

    Args:
        graph: the `.onnx` file; its external data are looked for beside it.
        root: the model's folder, with its configuration.

    Returns:
        `synthetic`, `weights` of `models.token_cost`, and `files`, which the graph names.

    Raises:
        SpecError: the first rule that is broken, with its place. OSError: unreadable.
    """
    for folder in {graph.parent, root}:
        if (folder / "genai_config.json").exists():
            genai.check(folder / "genai_config.json")
    model, reader = read_model(graph)
    walk = _Walk(graph=graph, tensors=Tensors(graph=graph))
    walk.tensors.files[graph] = model.span.size
    walk.model(model)
    if not walk.tensors.external_inside:
        onnx_checker.check(model, reader)
    found = {entry.text("key"): entry.text("value") for entry in model.each("metadata_props")}
    return {
        "synthetic": found.get("synthetic") == "true",
        "weights": onnx_weights(model),
        "files": sorted(
            file.relative_to(graph.parent).as_posix()
            for file in walk.tensors.files
            if file != graph
        ),
    }


_Scope: TypeAlias = ChainMap[str, Tensor | None]
"""Values by name, of the graph and those around it; None = not a constant."""


class _Around(NamedTuple):
    """Where nodes stand: what names mean there, how deep, and whether a function is called."""

    scope: _Scope
    depth: int = 0
    called: bool = False


@dataclass(slots=True, kw_only=True)
class _Walk:
    """One pass over a model; counts nodes and notes who calls which function."""

    graph: Path
    tensors: Tensors
    functions: dict[_Key, Message] = field(default_factory=dict)
    nodes: int = 0
    calls: Counter[_Key] = field(default_factory=Counter)

    def model(self, model: Message) -> None:
        """Check versions, domains, the graph and every function."""
        where = str(self.graph)
        if model.number("ir_version") not in _IR_VERSIONS:
            raise broken("onnx_version", where, f"IR version {model.number('ir_version')}")
        if model.each("training_info"):
            raise broken("onnx_training", where, "it holds training information")
        keys = [entry.text("key") for entry in model.each("metadata_props")]
        if len(set(keys)) < len(keys):
            raise broken("onnx_ambiguous", where, "two entries of metadata_props share a key")
        if "ort_config" in keys:  # ONNX Runtime can be told to take its options from there
            raise broken("onnx_setting", where, "ort_config in metadata_props")
        graph = model.one("graph")
        if graph is None:
            raise broken("onnx_damaged", where, "there is no graph in it")
        for function in model.each("functions"):
            self._declare(function)
        domains = {domain for domain, _, _ in self.functions}
        self._imports(model, domains)
        self._graph(graph, _Around(ChainMap()))
        _interface(graph, where)
        total, own = self.nodes, {}
        main = self.calls
        for key, function in self.functions.items():
            self.nodes, self.calls = 0, Counter()
            self._imports(function, domains)
            inside = _Around(ChainMap(dict.fromkeys(function.texts("input"))), called=True)
            for attribute in function.each("attribute_proto"):
                self._value(attribute, "", inside)
            self._nodes(function.each("node"), inside)
            own[key] = (self.nodes, self.calls)
        _require_end(where, total, main, own)

    def _declare(self, function: Message) -> None:
        key = (function.text("domain"), function.text("name"), function.text("overload"))
        where = f"{self.graph}: function {shown(key[1])}, byte {function.span.start}"
        known = key[0] in DEFAULT or key[0].startswith(("ai.onnx.", "com.microsoft", "com.ms."))
        if known or not key[0].isprintable():
            raise broken("onnx_domain", where, f"a function in the domain {shown(key[0])}")
        if key in self.functions or not key[1]:
            raise broken("onnx_function", where, "it has no name, or one that is taken")
        self.functions[key] = function

    def _imports(self, owner: Message, functions: set[str]) -> None:
        seen = set()
        for entry in owner.each("opset_import"):
            domain, version = entry.text("domain"), entry.number("version")
            where = f"{self.graph}: opset import, byte {entry.span.start}"
            if domain not in DEFAULT | ENGINE_DOMAINS | {MICROSOFT} | functions:
                raise broken("onnx_domain", where, f"the domain {shown(domain)}")
            if version not in (_OPSETS if domain in DEFAULT else _OTHER_OPSETS):
                raise broken("onnx_version", where, f"opset {version} of {shown(domain)}")
            domain = "" if domain in DEFAULT else domain
            if domain in seen:
                raise broken("onnx_ambiguous", where, f"a second opset of {shown(domain)}")
            seen.add(domain)

    def _graph(self, graph: Message, around: _Around) -> None:
        """Check tensors and nodes of a graph; names of the graphs around it are visible."""
        if around.depth > _SUBGRAPHS_MAX:
            where = f"{self.graph}: byte {graph.span.start}"
            raise broken("onnx_limit", where, f"{around.depth} subgraphs inside each other")
        scope = around.scope.new_child()
        inputs = [item.text("name") for item in graph.each("input")]
        self._unique(inputs, "input", graph)
        scope.update(dict.fromkeys(inputs))
        names = []
        for tensor in graph.each("initializer"):
            names.append(tensor.text("name"))
            scope[names[-1]] = self.tensors.check(tensor, "tensor")
        for sparse in graph.each("sparse_initializer"):
            names.append(self.tensors.check_sparse(sparse))
            scope[names[-1]] = None
        self._unique(names, "tensor", graph)
        self._nodes(graph.each("node"), around._replace(scope=scope))

    def _unique(self, names: list[str], what: str, graph: Message) -> None:
        where = f"{self.graph}: graph, byte {graph.span.start}"
        if "" in names:
            raise broken("onnx_name", where, f"{what} without a name")
        if len(set(names)) < len(names):
            name, count = Counter(names).most_common(1)[0]
            raise broken("onnx_name", where, f"{count} {what}s named {shown(name)}")

    def _nodes(self, nodes: Iterable[Message], around: _Around) -> None:
        scope = around.scope
        made = set(scope.maps[0])
        for node in nodes:
            self.nodes += 1
            name = node.text("name") or node.text("op_type")
            where = f"{self.graph}: node {shown(name)}, byte {node.span.start}"
            if self.nodes > _NODES_MAX:
                raise broken("onnx_limit", where, f"more than {_NODES_MAX} nodes")
            constant = self._node(node, where, around)
            for output in filter(None, node.texts("output")):
                if output in made:
                    raise broken("onnx_name", where, f"{shown(output)} is made a second time")
                made.add(output)
                scope[output] = constant

    def _node(self, node: Message, where: str, around: _Around) -> Tensor | None:
        """Check one node; returns the constant that it makes, if it makes one."""
        operator, domain = node.text("op_type"), node.text("domain")
        key = (domain, operator, node.text("overload"))
        if key in self.functions:
            self.calls[key] += 1
        else:
            require_known(operator, domain, where)
        plain = operator if domain in DEFAULT else ""
        value, numbers = self._attributes(node, plain, where, around)
        inputs = node.texts("input")
        constants = [around.scope.get(name) if name else None for name in inputs]
        if domain == MICROSOFT:
            check_shapes(Node(operator, inputs, constants, numbers, where))
        return _constant(plain, value, constants, numbers)

    def _attributes(
        self, node: Message, operator: str, where: str, around: _Around
    ) -> tuple[Tensor | None, dict[str, int]]:
        """Check a node's attributes; returns the tensor among them, and the integers."""
        value: Tensor | None = None
        numbers: dict[str, int] = {}
        seen: set[str] = set()
        for attribute in node.each("attribute"):
            name = attribute.text("name")
            if not name or name in seen:
                raise broken("onnx_attribute", where, f"attribute {shown(name)} again, or unnamed")
            seen.add(name)
            value = self._value(attribute, operator, around) or value
            if attribute.text("ref_attr_name"):
                numbers[name] = _UNKNOWN
            elif attribute.number("type") == _INTEGER:
                numbers[name] = attribute.number("i")
        return value, numbers

    def _value(self, attribute: Message, operator: str, around: _Around) -> Tensor | None:
        """Check an attribute's value; returns the tensor, if it is one.

        Args:
            operator: of the default domain that has it; empty = another domain's.
        """
        where = f"{self.graph}: attribute {shown(attribute.text('name'))}"
        where += f", byte {attribute.span.start}"
        kind, before = attribute.number("type"), self.tensors.external
        expected = _VALUES.get(kind)
        given = attribute.values.keys() & set(_VALUES.values())
        refers = bool(attribute.text("ref_attr_name"))
        allowed = set() if refers else {expected}
        if expected is None or given - allowed or (refers and not around.called):
            message = f"type {kind} with {', '.join(sorted(given)) or 'nothing'}"
            raise broken("onnx_attribute", where, message)
        graphs = attribute.all("g", "graphs")
        if graphs and operator not in WITH_GRAPHS:
            raise broken("onnx_attribute", where, f"a graph inside of {operator or 'a function'}")
        for graph in graphs:
            self._graph(graph, around._replace(depth=around.depth + 1))
        for sparse in attribute.all("sparse_tensor", "sparse_tensors"):
            self.tensors.check_sparse(sparse)
        dense = attribute.all("t", "tensors")
        found = [self.tensors.check(tensor, "tensor of an attribute,") for tensor in dense]
        self.tensors.external_inside |= self.tensors.external > before
        return found[-1] if found else None


def _constant(
    operator: str,
    value: Tensor | None,
    constants: Sequence[Tensor | None],
    numbers: Mapping[str, int],
) -> Tensor | None:
    """What the engine folds into a constant before its kernels repack it."""
    first = constants[0] if constants else None
    if operator == "Constant":
        return value
    if operator == "Cast" and first:
        return first._replace(type=numbers.get("to", 0))
    return first if operator == "Identity" else None


def _interface(graph: Message, where: str) -> None:
    """Inputs and outputs are tensors whose fixed dimensions could be allocated."""
    for item in [*graph.each("input"), *graph.each("output")]:
        place = f"{where}: {shown(item.text('name'))}, byte {item.span.start}"
        kind = (item.one("type") or item).one("tensor_type")
        if kind is None or kind.number("elem_type") not in {*BITS, STRING}:
            raise broken("onnx_shape", place, "an input or output that is no tensor")
        shape = kind.one("shape")
        sizes = [size.number("dim_value", 1) for size in shape.each("dim")] if shape else []
        if any(size < 0 for size in sizes) or math.prod(sizes) > _INPUT_ELEMENTS_MAX:
            raise broken("onnx_shape", place, f"dimensions {sizes}")


def _require_end(
    where: str, nodes: int, calls: Counter[_Key], own: dict[_Key, tuple[int, Counter[_Key]]]
) -> None:
    """Refuse functions that call themselves, and a graph that grows too far once inlined."""
    known: dict[_Key, int] = {}

    def size(key: _Key, above: tuple[_Key, ...]) -> int:
        if key in above or len(above) > _CALLS_MAX:
            message = f"function {shown(key[1])} calls itself, or {_CALLS_MAX} others in turn"
            raise broken("onnx_function", where, message)
        if key not in known:
            count, inner = own[key]
            known[key] = count + sum(
                times * size(called, (*above, key)) for called, times in inner.items()
            )
        return known[key]

    for key in own:
        size(key, ())
    total = nodes + sum(times * known[key] for key, times in calls.items())
    if total > _NODES_MAX:
        raise broken("onnx_limit", where, f"{total} nodes once its functions are inlined")
