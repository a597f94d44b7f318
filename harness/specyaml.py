"""YAML with line numbers, validated into frozen dataclasses. Only the parent imports this.

The grammar is smaller than YAML's: no aliases (so no alias bombs), no tags, no key
twice, and only `true`, `false`, `null` and decimal numbers are not text, so that `no`
stays a word. Every complaint is a `SpecError` at `file:line`.
"""

from __future__ import annotations

import codecs
import dataclasses
import json
import math
import re
import types
import typing
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, NoReturn, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from harness.errors import SpecError, did_you_mean
from harness.spec import MODEL_ID

MAX_BYTES = 1 << 20
MAX_DEPTH = 16
MAX_ID_LENGTH = 100
MOST = 1 << 50
MOST_TOKENS = 1 << 20
"""Numbers above these are slips of the finger, and would make a plan that never ends."""

Keys = tuple[str | int, ...]
"""Place of a value in a file: keys and list positions from the top."""

_T = TypeVar("_T")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_SIZE = re.compile(r"(\d{1,6}(?:\.\d{1,6})?) ?(KiB|MiB|GiB)", re.ASCII)
_SIZE_UNIT = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_STR, _BOOL, _NULL, _INT, _FLOAT = (
    f"tag:yaml.org,2002:{name}" for name in ("str", "bool", "null", "int", "float")
)


class _GrammarError(yaml.MarkedYAMLError):
    """Right YAML that is not accepted here."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the smaller grammar."""

    # The base class shares one table among all loaders; this one has its own.
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]  # PyYAML's stubs
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node; the base class follows aliases and nests without end."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            self._refuse(f"alias '*{event.anchor}' is not allowed; write the value out")
        if getattr(event, "tag", None) is not None:
            self._refuse(f"tag '{event.tag}' is not allowed; write a plain value")
        if self.depth >= MAX_DEPTH:
            self._refuse(f"more than {MAX_DEPTH} levels of nesting")
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def mark(self) -> yaml.Mark:
        """Where the next event stands."""
        found: yaml.Mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        return found

    def _refuse(self, problem: str) -> NoReturn:
        raise _GrammarError(problem=problem, problem_mark=self.mark())


for _tag, _pattern, _first in (
    (_BOOL, r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (_NULL, r"~|null|Null|NULL|", "~nN"),
    (_INT, r"[-+]?(?:0|[1-9][0-9_]{0,30})", "-+0123456789"),
    (
        _FLOAT,
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), [*_first, ""])

_SCALARS: Mapping[str, Callable[[str], object]] = {
    _STR: str,
    _BOOL: lambda text: text.lower() == "true",
    _NULL: lambda _: None,
    _INT: int,
    _FLOAT: float,
}

_EXPECTED: Mapping[str, str] = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping",
}
"""What pydantic's kinds of error ask for, in words."""


def compose(text: str) -> yaml.Node | None:
    """The nodes of a text that `Document` accepts, with their places in it."""
    return yaml.compose(text, Loader=_Loader)


class _Fault(NamedTuple):
    """One thing that is wrong, before it becomes an error."""

    keys: Keys
    message: str
    allowed: str


class Document:
    """Plain data of one file, and the line of every value in it.

    Args:
        hint: the command to try once the file is corrected.
        plain: what may stand in place of tags, aliases and deep nesting.
    """

    def __init__(self, path: Path, *, hint: str, plain: str = "plain keys and values") -> None:
        self.path = path
        self.data: dict[str, Any] = {}
        self._hint = hint
        self._plain = plain
        self._lines: dict[Keys, int] = {}

    @classmethod
    def read(cls, path: Path, *, hint: str) -> Document:
        """Parse a file whose top level is a mapping.

        Raises:
            SpecError: unreadable, not UTF-8, too large, or not of this grammar.
        """
        document = cls(path, hint=hint)
        document.parse(document._bytes())
        return document

    def parse(self, raw: bytes) -> None:
        """Take the bytes of the file for its content.

        Raises:
            SpecError: not UTF-8, too large, or not of this grammar.
        """
        text = self._text(raw)
        try:
            node = compose(text)
        except yaml.MarkedYAMLError as error:
            self._fail_syntax(error, text)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            self._fail(
                line,
                f"character U+{error.character:04X} is not allowed in YAML",
                allowed="printable text",
            )
        if node is None:
            self._fail(0, "the file is empty", allowed="lines of the form 'key: value'")
        value = self._value(node, ())
        if not isinstance(value, dict):
            self._fail(
                1,
                f"the file holds {_kind(value)} at its top level",
                allowed="lines of the form 'key: value'",
            )
        self.data = value

    # --- reading --------------------------------------------------------------------

    def _bytes(self) -> bytes:
        try:
            # Opening a pipe would wait for a writer; a folder gives a cryptic error.
            if self.path.exists() and not self.path.is_file():
                self._fail(0, "this is not a file", allowed="the path of a YAML file")
            with self.path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            self._fail(0, "there is no such file", allowed="the path of a YAML file")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self._fail(0, f"the file cannot be read: {reason}", allowed="a readable YAML file")

    def _text(self, raw: bytes) -> str:
        if len(raw) > MAX_BYTES:
            self._fail(0, "the file is larger than 1 MiB", allowed="at most 1 MiB")
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            self._fail(1, "the file is UTF-16", allowed="UTF-8: save it again as UTF-8")
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self._fail(
                raw.count(b"\n", 0, error.start) + 1,
                f"byte 0x{raw[error.start]:02x} is not UTF-8",
                allowed="UTF-8: save the file again as UTF-8",
            )

    def _value(self, node: yaml.Node, keys: Keys) -> Any:
        line = node.start_mark.line + 1
        # A key's line, set before, is where a reader looks for its value.
        self._lines.setdefault(keys, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, keys)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*keys, place)) for place, item in enumerate(node.value)]
        value = _SCALARS[node.tag](node.value)
        if isinstance(value, float) and not math.isfinite(value):
            self._fail(line, f"{node.value} is too large", allowed="a finite number")
        if isinstance(value, str):
            self._refuse_control(line, value)
        return value

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._fail(line, "a list or mapping is used as a key", allowed="text as a key")
            # A key is text whatever it looks like: `3:` and `null:` are names too.
            key = str(key_node.value)
            self._refuse_control(line, key)
            if key in found:
                first = self._lines[(*keys, key)]
                self._fail(
                    line,
                    f"key '{key}' is given twice, first in line {first}",
                    allowed="each key once",
                )
            self._lines[(*keys, key)] = line
            found[key] = _size(key, self._value(value_node, (*keys, key)))
        return found

    def _refuse_control(self, line: int, text: str) -> None:
        """Names and notes are printed: escape sequences and text that turns the writing
        direction stay out of terminals and reports.
        """
        for character in text:
            if unicodedata.category(character) in {"Cc", "Cf", "Cs"} and character not in "\n\t":
                self._fail(
                    line,
                    f"text with the invisible character U+{ord(character):04X}",
                    allowed="printable text",
                )

    # --- validation -----------------------------------------------------------------

    def validate(self, kind: type[_T]) -> _T:
        """The data as a frozen dataclass: no unknown keys, no conversion of types.

        Raises:
            SpecError: for the first fault of the file; the message counts the others.
        """
        # pydantic takes a configuration beside a container of plain dataclasses only,
        # and accepts lists as tuples without lax conversions only when it reads JSON.
        adapter: TypeAdapter[list[_T]] = TypeAdapter(
            list[kind],  # type: ignore[valid-type]  # known at run time only
            config=ConfigDict(extra="forbid", strict=True),
        )
        try:
            return adapter.validate_json(json.dumps([self.data]))[0]
        except ValidationError as error:
            self._fail_first(list(self._faults(error, kind)))

    def _fail_first(self, faults: list[_Fault]) -> NoReturn:
        # A missing key is often a misspelt one: the misspelling explains it better.
        first = min(
            faults, key=lambda item: (item.message.endswith("missing"), self.line(item.keys))
        )
        more = len(faults) - 1
        rest = f" (and {more} more problem{'s' if more > 1 else ''} in this file)" if more else ""
        self.fail(first.keys, first.message + rest, allowed=first.allowed)

    def _faults(self, error: ValidationError, kind: type) -> Iterator[_Fault]:
        for item in error.errors(include_url=False, include_context=True):
            keys: Keys = item["loc"][1:]
            name = str(keys[-1]) if keys else ""
            value, what = item["input"], item["type"]
            if what == "unexpected_keyword_argument":
                known = _field_names(kind, keys[:-1])
                yield _Fault(
                    keys,
                    f"unknown key '{name}'{self._inside(keys)}{did_you_mean(name, known)}",
                    ", ".join(known),
                )
            elif what == "missing":
                yield _Fault(keys, f"key '{name}'{self._inside(keys)} is missing", "")
            elif what == "literal_error":
                words = re.findall(r"'([^']*)'", item["ctx"]["expected"])
                yield _Fault(
                    keys,
                    f"{_label(keys)} is {_shown(value)}{did_you_mean(str(value), words)}",
                    ", ".join(words),
                )
            else:
                expected = _EXPECTED.get(what, item["msg"])
                if what == "string_type" and isinstance(value, int | float):
                    expected = f"text; put it in quotes: '{str(value).lower()}'"
                yield _Fault(keys, f"{_label(keys)} is {_shown(value)}, {_kind(value)}", expected)

    def _inside(self, keys: Keys) -> str:
        """` of source in 'ref-4m.f16.gguf'`: where a key stands, in words."""
        parts = []
        value: Any = self.data
        for place, key in enumerate(keys[:-1]):
            value = value[key]
            if isinstance(key, int):
                named = isinstance(value, dict) and isinstance(value.get("id"), str)
                parts.append(f"'{value['id']}'" if named else f"entry {key + 1}")
            elif not isinstance(keys[place + 1], int):
                parts.append(f"'{key}'")
        return f" in {' of '.join(reversed(parts))}" if parts else ""

    # --- complaints -----------------------------------------------------------------

    def line(self, keys: Keys) -> int:
        """Line of a value, or of the nearest one around it."""
        while keys not in self._lines:
            keys = keys[:-1]
        return self._lines[keys]

    def fail(self, keys: Keys, message: str, *, allowed: str = "", reason: str = "") -> NoReturn:
        """Complain about the value at a place.

        Raises:
            SpecError: always.
        """
        self._fail(self.line(keys), message, allowed=allowed, reason=reason)

    def require_id(self, keys: Keys, value: str, *, what: str = "") -> None:
        """Refuse what cannot be an id; ids become parts of file names."""
        if not MODEL_ID.fullmatch(value) or len(value) > MAX_ID_LENGTH:
            self.fail(
                keys,
                f"{what or _label(keys)} '{value[:MAX_ID_LENGTH]}' cannot be used as a name",
                allowed="lower-case letters, digits, '.', '_' and '-', starting with a letter "
                f"or digit, at most {MAX_ID_LENGTH}",
            )

    def require_hex64(self, keys: Keys, name: str, value: str) -> None:
        """Refuse what is not 64 lower-case hex digits."""
        if not _HEX64.fullmatch(value):
            self.fail(keys, f"{name} is '{value[:80]}'", allowed="64 digits out of 0-9 and a-f")

    def require_range(self, keys: Keys, value: float, least: float, most: float) -> None:
        """Refuse a number outside `least … most`."""
        if not least <= value <= most:
            self.fail(keys, f"{_label(keys)} is {value}", allowed=f"{least:,} to {most:,}")

    def _fail(self, line: int, message: str, *, allowed: str = "", reason: str = "") -> NoReturn:
        where = f"{self.path}:{line}" if line else str(self.path)
        # Without a line there is no file to correct: `init` writes one to start from.
        hint = f"correct it, then: {self._hint}" if line else "harness init"
        raise SpecError(message, where=where, allowed=allowed, hint=hint, reason=reason)

    def _fail_syntax(self, error: yaml.MarkedYAMLError, text: str) -> NoReturn:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        # PyYAML numbers lines as splitlines() does, and may point behind the last one.
        row = [*text.splitlines(), ""][line - 1 : line]
        if row and "\t" in row[0][: len(row[0]) - len(row[0].lstrip())]:
            self._fail(line, "the line is indented with a tab", allowed="spaces only")
        problem = str(error.problem or error.context)
        if isinstance(error, _GrammarError):
            self._fail(line, problem, allowed=self._plain)
        self._fail(line, f"this is not YAML: {problem}", allowed="lines of the form 'key: value'")


def _field_names(kind: Any, keys: Keys) -> list[str]:
    """Fields of the dataclass that stands at a place below `kind`."""
    for key in keys:
        if dataclasses.is_dataclass(kind):
            kind = typing.get_type_hints(kind)[str(key)]
        else:
            kind = typing.get_args(kind)[0 if typing.get_origin(kind) is tuple else 1]
        if typing.get_origin(kind) in {types.UnionType, typing.Union}:
            kind = next(choice for choice in typing.get_args(kind) if choice is not type(None))
    return [field.name for field in dataclasses.fields(kind)]


def _size(key: str, value: Any) -> Any:
    """`8 GiB` as bytes where the key says that bytes are wanted."""
    if key.endswith("_bytes") and isinstance(value, str) and (found := _SIZE.fullmatch(value)):
        return round(float(found[1]) * _SIZE_UNIT[found[2]])
    return value


def _label(keys: Keys) -> str:
    """The name nearest to a value: list items are called by the name of their list."""
    return next((str(key) for key in reversed(keys) if isinstance(key, str)), "the file")


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return "given"
    return json.dumps(value, ensure_ascii=False)[:80].replace('"', "'")


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a whole number", float: "a number", list: "a list"}
    return names.get(type(value), "nothing" if value is None else "a mapping")


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names in order, for a message: `a, b and 3 more`."""
    known = sorted(names)
    shown = ", ".join(known[:most]) or "none"
    return f"{shown} and {len(known) - most} more" if len(known) > most else shown
