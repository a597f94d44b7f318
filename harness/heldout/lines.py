"""Lines of a JSONL file, and everything that is wrong with them.

A file with any fault is refused whole, before anything is measured: a silently smaller
set of items would give a wrong number. `Report` gathers the faults of all lines, so
that the one error names the first, counts the others by code, and shows what is right.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from harness.errors import SpecError, printable
from harness.spec import sha256

MAX_LINE_BYTES: Final = 1 << 20
MAX_FILE_BYTES: Final = 256 << 20
MAX_LINES: Final = 100_000

EXAMPLE: Final = '{"question": "…", "choices": ["…", "…"], "answer": 0}'
"""A right line, for messages."""

_SHOWN_CHARS: Final = 60
_MAX_DEPTH: Final = 20
_TOO_DEEP: Final = f"the line has more than {_MAX_DEPTH} levels of nesting"
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_ND_OR_NC: Final = re.compile(
    r"(?<![a-z])(?:nd|nc|no[ -]?deriv\w*|non[ -]?commercial|proprietary|all[ -]rights[ -]reserved"
    r"|unknown|none)(?![a-z])|비영리|변경 ?금지"
)


def may_print(licence: str) -> bool:
    """Whether texts under a licence may be shown: not with ND, NC, or no licence named."""
    words = licence.lower().replace("_", "-")
    return bool(words.strip()) and not _ND_OR_NC.search(words)


class Wrong(Exception):  # noqa: N818 - it never leaves this package
    """What is wrong with one line.

    Args:
        code: reason code. column: of the line, from 1; 0 = the whole line.
        allowed: what would be right.
    """

    def __init__(self, code: str, message: str, *, allowed: str = EXAMPLE, column: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.allowed = allowed
        self.column = column


class Row(NamedTuple):
    """One JSON object and its line, from 1."""

    line: int
    data: dict[str, Any]


class Report:
    """Faults of one file.

    Args:
        printable: texts of the file may be shown; otherwise messages name their hashes.
    """

    def __init__(self, path: Path, *, printable: bool) -> None:
        self.path = path
        self.printable = printable
        self._first: tuple[int, Wrong] | None = None
        self._codes: Counter[str] = Counter()

    def add(self, line: int, wrong: Wrong) -> None:
        """Note a fault."""
        if self._first is None or line < self._first[0]:
            self._first = (line, wrong)
        self._codes[wrong.code] += 1

    def refuse(self) -> None:
        """End here if anything was wrong.

        Raises:
            SpecError: the first fault; the message counts all of them by code.
        """
        if self._first is None:
            return
        line, wrong = self._first
        total = self._codes.total()
        listed = ", ".join(f"{code} {count}" for code, count in self._codes.most_common())
        counted = f" ({total} problems in this file: {listed})" if total > 1 else ""
        self.fail(
            wrong.message + counted,
            line=line,
            column=wrong.column,
            allowed=wrong.allowed,
            reason=wrong.code,
        )

    def fail(
        self, message: str, *, reason: str, line: int = 0, column: int = 0, allowed: str = EXAMPLE
    ) -> NoReturn:
        """Refuse the file.

        Raises:
            SpecError: always.
        """
        raise SpecError(
            message,
            where=":".join(str(part) for part in (self.path, line, column) if part),
            allowed=allowed,
            hint=f"correct it, then: harness accuracy check {self.path}",
            reason=reason,
        )

    def quote(self, text: str) -> str:
        """A text for a message: cut, without control characters, and only if it may be shown."""
        if not self.printable:
            return f"[text with sha256 {sha256(text.encode())[:12]}…]"
        cut = text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
        return f"'{printable(cut)}'"


def read_bytes(path: Path, report: Report) -> bytes:
    """The bytes of a file of at most 256 MiB.

    Raises:
        SpecError: it is missing, no file, unreadable or larger.
    """
    try:
        # Opening a pipe would wait for a writer.
        if path.exists() and not path.is_file():
            report.fail("this is not a file", reason="data_unreadable", allowed="a file's path")
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        report.fail(
            "there is no such file",
            reason="data_missing",
            allowed="a path relative to the file that names it",
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        report.fail(f"the file cannot be read: {why}", reason="data_unreadable", allowed="a file")
    if len(raw) > MAX_FILE_BYTES:
        report.fail(
            f"the file is larger than {MAX_FILE_BYTES >> 20} MiB",
            reason="data_too_large",
            allowed=f"at most {MAX_FILE_BYTES >> 20} MiB; split it",
        )
    return raw


def check_sha256(raw: bytes, expected: str, report: Report, *, named_in: str) -> str:
    """The hash of a file's bytes, which has to be the expected one.

    Raises:
        SpecError: `dataset_changed`, with both hashes.
    """
    found = sha256(raw)
    if found != expected:
        raise SpecError(
            f"the file is not the one that {named_in} names: its sha256 is {found}",
            where=str(report.path),
            allowed=f"the file with sha256 {expected}",
            hint=f"bring back that file, or have {named_in} name the new one: "
            f"harness accuracy check {report.path}",
            reason="dataset_changed",
        )
    return found


def rows(raw: bytes, report: Report) -> list[Row]:
    """One JSON object a line; blank lines, a byte order mark and CRLF are accepted.

    Faults of single lines go to the report.

    Raises:
        SpecError: UTF-16, no lines, or more than 100,000.
    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        report.fail(
            "the file is UTF-16",
            line=1,
            reason="not_utf8",
            allowed="UTF-8: save it again as UTF-8",
        )
    start = len(codecs.BOM_UTF8) if raw.startswith(codecs.BOM_UTF8) else 0
    found: list[Row] = []
    filled = 0
    for number, line in enumerate(raw[start:].split(b"\n"), 1):
        if line.strip():
            filled += 1
            try:
                found.append(Row(number, _object(line.rstrip(b"\r"), start)))
            except Wrong as wrong:
                report.add(number, wrong)
        start += len(line) + 1
    if not filled:
        report.fail("the file has no lines", reason="no_items", allowed=f"lines such as {EXAMPLE}")
    if filled > MAX_LINES:
        report.fail(
            f"the file has {filled:,} lines",
            reason="data_too_large",
            allowed=f"at most {MAX_LINES:,}",
        )
    return found


def _object(line: bytes, offset: int) -> dict[str, Any]:
    """The JSON object of one line, which begins at a byte of the file."""
    if len(line) > MAX_LINE_BYTES:
        raise Wrong("line_too_long", f"the line has {len(line):,} bytes", allowed="at most 1 MiB")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        byte = line[error.start]
        raise Wrong(
            "not_utf8",
            f"byte 0x{byte:02x} at offset {offset + error.start} of the file is not UTF-8",
            allowed="UTF-8: save the file again as UTF-8",
            column=error.start + 1,
        ) from None
    try:
        value = json.loads(
            text, object_pairs_hook=_once, parse_constant=_refuse_number, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        raise Wrong("bad_json", f"this is not JSON: {error.msg}", column=error.colno) from None
    except ValueError:
        # Python refuses to convert integers of more than 4,300 digits.
        raise Wrong("bad_json", "a number is too large", allowed="numbers below 1e308") from None
    except RecursionError:
        raise Wrong("bad_json", _TOO_DEEP) from None
    if not isinstance(value, dict):
        raise Wrong("bad_json", "the line holds no JSON object")
    if line.count(b"[") + line.count(b"{") > _MAX_DEPTH:
        _refuse_depth(value, _MAX_DEPTH)
    if _SURROGATE.search(line):
        _refuse_half_characters(value)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise Wrong("bad_json", f"field '{printable(name[:_SHOWN_CHARS])}' is given twice")
    return found


def _refuse_number(name: str) -> NoReturn:
    raise Wrong("bad_json", f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _refuse_depth(value: object, left: int) -> None:
    if not left:
        raise Wrong("bad_json", _TOO_DEEP)
    if isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            _refuse_depth(child, left - 1)


def _refuse_half_characters(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Wrong(
            "bad_text",
            "an escape names half a character (a lone surrogate)",
            allowed="the character itself, or both halves",
        ) from None
