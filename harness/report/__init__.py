"""Reports: what people read of a scorecard.

scorecard.json (a dict) ─▶ reading ─▶ view ─▶ console | markdown | html ─▶ text, written whole

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
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(made)
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        # mkstemp makes private files; a report is for all who may read the folder.
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise HarnessError(
            f"cannot write the report: {error.strerror or error}",
            where=str(path),
            hint="name a folder that you may write to",
            reason="report_unwritable",
        ) from error
    return path
