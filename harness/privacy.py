"""What a result must not tell: who sits at the machine, what it is called, where things lie.

Folders of this machine are written by what they are (`<home>`) while records are kept, for a
record cannot be changed later; what is left all the same keeps a bundle from being made.

Names that every machine has (`root`, `user`) tell nothing and occur in ordinary text, so that
only a path with them counts.
"""

from __future__ import annotations

import contextlib
import getpass
import re
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_LEAST_CHARS = 4
_ANYBODY = frozenset(
    {
        *("root", "user", "admin", "administrator", "runner", "ubuntu", "build", "test"),
        "localhost",
        # Makers of computers and firmware, which are on record.
        *("dell", "lenovo", "acer", "asus", "samsung", "phoenix", "insyde", "american", "intel"),
    }
)
_PATHS = re.compile(
    rb"(?:(?<![\w/.])|file://)/(?:home|Users|Volumes|root|tmp|var|work|mnt|media|private|opt|srv"
    rb"|data)/[\w.\x80-\xff-]"
    rb"|(?<!\w)[A-Za-z]:(?:\\\\?|/)(?:Users|Documents)(?:\\|/)"
    rb"|(?<!\w)[A-Za-z]:\\\\[^\\\s\"]{2,}\\\\"
    rb"|\\\\\\\\[\w.-]+\\\\"
)


class Private(NamedTuple):
    """Something that tells too much: what kind it is, and the text itself."""

    kind: str
    text: str


def secrets() -> list[Private]:
    """Of this machine and its user; what cannot be read is left out."""
    found = [Private("home folder", str(Path.home()))]
    with contextlib.suppress(OSError, KeyError):
        found.append(Private("user name", getpass.getuser()))
    host = socket.gethostname()
    found += [Private("host name", host), Private("host name", host.partition(".")[0])]
    node = uuid.getnode()
    if not node >> 40 & 1:  # else the number was made up, for want of an adapter
        plain = f"{node:012x}"
        pairs = [plain[i : i + 2] for i in range(0, 12, 2)]
        found += [
            Private("network address", text) for text in (plain, ":".join(pairs), "-".join(pairs))
        ]
    return [item for item in dict.fromkeys(found) if _tells(item)]


def folders(models: Iterable[Path] = ()) -> dict[str, str]:
    """Folders of this machine, and what is written in their place: the longest first.

    Args:
        models: where the files of models lie.
    """
    found = {
        str(Path.home()): "<home>",
        tempfile.gettempdir(): "<temporary>",
        sys.base_prefix: "<python>",
        str(Path.cwd()): "<here>",
        sys.prefix: "<python>",
        **{str(folder): "<model>" for folder in models},
    }
    named = {path: name for path, name in found.items() if len(path) >= _LEAST_CHARS}
    return dict(sorted(named.items(), key=lambda item: (-len(item[0]), item[0])))


def _tells(item: Private) -> bool:
    text = item.text.lower()
    return len(text) >= _LEAST_CHARS and text not in _ANYBODY


def leaks(data: bytes, known: list[Private]) -> Iterator[tuple[int, str]]:
    """Line number and kind of everything private in a text file, in order of the lines."""
    patterns = [
        (
            item.kind,
            re.compile(rb"(?<!\w)" + re.escape(item.text.encode()) + rb"(?!\w)", re.IGNORECASE),
        )
        for item in known
    ]
    patterns.append(("path", _PATHS))
    if not any(pattern.search(data) for _, pattern in patterns):
        return
    for number, line in enumerate(data.split(b"\n"), 1):
        for kind, pattern in patterns:
            if pattern.search(line):
                yield number, kind
