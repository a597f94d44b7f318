"""Which program measured: one hash over its own files, so that an altered one can be told.

It proves nothing against whoever alters this file, too; it is what a verifier compares with
the hashes of released versions. Weights are left out: every model has its own hashes.
"""

from __future__ import annotations

from pathlib import Path

from harness.spec import sha256

_ROOT = Path(__file__).parent
_LEFT_OUT = frozenset({"__pycache__", "weights"})
# What an installation adds to a checkout: the models and devices of its top level.
_ADDED = "data"


def harness_sha256(root: Path = _ROOT) -> str:
    """sha256 of the lines `<sha256>  <path>` of all files of the package, sorted by path.

    Line ends count as line feeds, for git may have changed them.
    """
    files = {
        place.as_posix(): path
        for path in root.rglob("*")
        if path.is_file()
        for place in [path.relative_to(root)]
        if _LEFT_OUT.isdisjoint(place.parts) and place.parts[0] != _ADDED
    }
    lines = [f"{_text_sha256(path)}  {name}\n" for name, path in sorted(files.items())]
    return sha256("".join(lines).encode())


def _text_sha256(path: Path) -> str:
    return sha256(path.read_bytes().replace(b"\r\n", b"\n"))
