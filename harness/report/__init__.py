"""Reports: what people read of a scorecard.

scorecard.json (a dict) ─▶ view ─▶ console | markdown | html ─▶ text, written whole

A report is a pure function of one scorecard: it measures nothing and needs no engine,
so any machine can render what another one measured.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from harness.errors import HarnessError

__all__ = ["write_text"]


def write_text(path: Path, text: str) -> Path:
    """Write a report so that a reader sees the old file or the whole new one.

    Raises:
        HarnessError: the folder or the file cannot be written; names the path.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        # mkstemp makes files private; a report is for anyone who may read the folder.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise HarnessError(
            f"cannot write the report: {error.strerror or error}",
            where=str(path),
            hint="name a folder that you may write to",
            reason="report_unwritable",
        ) from error
    return path


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current
