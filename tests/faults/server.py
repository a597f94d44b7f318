"""Forks for each command that comes in, a JSON list a line: file for stdout, for stderr, words."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback

MODULES = (
    *("harness.__main__", "harness.session", "harness.prepare", "harness.terminal"),
    *("harness.report.html", "harness.report.markdown", "harness.plan", "harness.baselines"),
    *(
        "harness.bundle.create",
        "harness.bundle.verify",
        "harness.bundle.sbom",
        "harness.environment",
    ),
)


def _child(out: str, err: str, words: list[str]) -> int:
    from harness.__main__ import main

    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), stream.fileno())
    sys.argv = ["harness", *words]
    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return code if isinstance(code, int) else 1


def _serve() -> None:
    for name in MODULES:
        importlib.import_module(name)
    for line in sys.stdin:
        out, err, *words = json.loads(line)
        process = os.fork()
        if not process:
            os._exit(_child(out, err, words))
        _, status = os.waitpid(process, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
