"""`harness models check` and `unpack`: judge and open what strangers submitted."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli_shared import as_json as _as_json
from harness.cli_shared import emit as _emit
from harness.errors import Exit, HarnessError
from harness.messages.commands import Command, echo


@click.command("check", cls=Command)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@_as_json
def check(*, paths: tuple[str, ...], as_json: bool) -> None:
    """Judge GGUF files, ONNX folders and safetensors folders without loading them.

    A line each: what is wrong, where in the file, and the rule that it breaks
    (docs/preflight.md). Exit code 0 where all of them pass, 2 otherwise.
    """
    from harness.models import resolve

    verdicts = []
    for path in paths:
        try:
            found = resolve.judged(path)
        except HarnessError as error:
            verdict = {
                "path": path,
                "ok": False,
                "reason": error.reason,
                "message": error.message,
                "where": error.where,
                "rule": error.allowed,
                "next": error.hint,
            }
            line = (
                f"refused  {error.reason}: {error.where}: {error.message} (rule: {error.allowed})"
            )
        else:
            verdict = {"path": path, "ok": True, "facts": found._asdict()}
            line = f"ok       {path}"
        verdicts.append(verdict)
        if not as_json:
            echo(line)
    if as_json:
        _emit({"verdicts": verdicts})
    if not all(verdict["ok"] for verdict in verdicts):
        raise SystemExit(Exit.SPECIFICATION)


@click.command("unpack", cls=Command)
@click.argument("archive", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@_as_json
def unpack(*, archive: Path, folder: Path, as_json: bool) -> None:
    """Unpack a submitted ARCHIVE (.zip, .tar and packed .tar) into the new FOLDER.

    Links, devices, names that lead out of the folder and files that no model has are
    refused, and nothing is left behind then.
    """
    from harness.preflight import archive as packed

    packed.bound_memory()
    files = packed.unpack(archive, folder)
    if as_json:
        _emit({"folder": str(folder), "files": files})
    else:
        echo(f"unpacked: {files}\nnext: harness models check {folder}")
