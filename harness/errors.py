"""The exceptions a user can meet, and the exit code that each one gives.

    HarnessError                   4  nothing measured, or jobs failed
    ├── SpecError                  2  bad specification or usage
    ├── PrerequisiteError          3  engine, driver or model file missing
    ├── RecordError                4  a record file that cannot be read or written
    │   └── SchemaError            2  a file that a newer harness has written
    ├── IncomparableError          5  other build, device, suite version or profile
    └── BackendError               4  an engine refused; in a worker it ends one job
        └── CapabilityError        –  the engine cannot do this: the case is skipped

Exit codes: 0 done · 1 regressed · 2 specification · 3 prerequisite · 4 failed ·
5 incomparable · 6 inconclusive · 130 interrupted. Finer causes are reason codes:
words in `reason`, kept in records and printed in messages.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    REGRESSED = 1
    SPECIFICATION = 2
    PREREQUISITE = 3
    FAILED = 4
    INCOMPARABLE = 5
    INCONCLUSIVE = 6
    INTERRUPTED = 130


class HarnessError(Exception):
    """Base of everything that is reported to the user without a traceback.

    Args:
        message: what is wrong, with the value and where it stands.
        where: `file:line` or a path; printed before the message.
        allowed: what would be right.
        hint: the next command to type.
        reason: machine-readable reason code.
    """

    exit_code: Exit = Exit.FAILED
    default_reason = "failed"

    def __init__(
        self,
        message: str,
        *,
        where: str = "",
        allowed: str = "",
        hint: str = "",
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.allowed = allowed
        self.hint = hint
        self.reason = reason or self.default_reason

    def __str__(self) -> str:
        return self.text(str)

    def text(self, say: Callable[[str], str]) -> str:
        """The whole message, each part of it as `say` says it: in another language."""
        message = say(self.message)
        path, between, place = self.where.rpartition(": ")
        where = f"{path}{between}{say(place) if between else place}"
        lines = [f"{where}: {message}" if where else message]
        if self.allowed:
            lines.append(say(f"  allowed: {say(self.allowed)}"))
        if self.hint:
            lines.append(say(f"  next: {say(self.hint)}"))
        return "\n".join(lines)


class SpecError(HarnessError):
    """A file or an argument says something impossible."""

    exit_code = Exit.SPECIFICATION
    default_reason = "bad_specification"


class PrerequisiteError(HarnessError):
    """Something has to be installed, fetched or freed first; `hint` says how."""

    exit_code = Exit.PREREQUISITE
    default_reason = "prerequisite_missing"


class RecordError(HarnessError):
    """A record file is missing, damaged, of an unknown version, or cannot be written."""

    default_reason = "records_unreadable"


class SchemaError(RecordError):
    """A file of a newer version than this program reads."""

    exit_code = Exit.SPECIFICATION
    default_reason = "schema_too_new"


class IncomparableError(HarnessError):
    """Two results must not be put side by side."""

    exit_code = Exit.INCOMPARABLE
    default_reason = "incomparable"


class BackendError(HarnessError):
    """An engine refused a model or a call."""

    default_reason = "backend_failed"


class CapabilityError(BackendError):
    """The engine lacks what a case needs: the case is recorded as skipped."""

    default_reason = "capability_missing"


def install_hint(*packages: str) -> str:
    """The command that installs packages with the installer that this environment has.

    An environment made by uv has no pip.
    """
    installer = "python -m pip" if importlib.util.find_spec("pip") else "uv pip"
    return f"{installer} install {' '.join(packages)}"


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest known word, or an empty string."""
    # Not at the top: a bare worker has no use for it.
    import difflib

    close = difflib.get_close_matches(value, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def printable(text: str) -> str:
    """Text of others that no terminal obeys: what is not printable becomes an escape."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def quoted(path: object) -> str:
    """A path as one word of a command that people copy."""
    # Not at the top: a measured child never asks.
    import re
    import shlex

    text = printable(str(path))
    if sys.platform == "win32":  # cmd.exe knows double quotes only
        return text if re.fullmatch(r"[\w.:\\/~-]+", text) else f'"{text}"'
    return shlex.quote(text)
