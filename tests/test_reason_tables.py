"""What the tables of docs/ say of reason codes and exit codes is what the program raises."""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import harness
from harness import errors
from harness.backends import hub_files  # noqa: F401 - defines errors of its own
from harness.bundle import attest  # noqa: F401 - likewise

ROOT = Path(harness.__file__).parent
DOCS = ROOT.parent / "docs"
_CODES = re.compile(r"`([a-z_]+)`")


def kinds(base: type[errors.HarnessError]) -> Iterator[type[errors.HarnessError]]:
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


@functools.cache
def raised() -> dict[str, set[int]]:
    """Every word of the program, with the exit codes that it has as a reason code."""
    found: dict[str, set[int]] = defaultdict(set)
    for kind in kinds(errors.HarnessError):
        found[kind.default_reason].add(kind.exit_code)
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if word := _text(node):
                found[word] |= set()
            for reason, code in _reasons(node):
                found[reason].add(code)
            if path.name == "verify.py" and isinstance(node, ast.Yield | ast.Return):
                for doubt in ast.walk(node):  # about a bundle that is whole
                    found[_text(doubt)].add(errors.Exit.INCOMPARABLE)
    return found


def _reasons(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Reason and exit code of an error that is made here."""
    exits = {kind.__name__: kind.exit_code for kind in kinds(errors.HarnessError)}
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return
    if node.func.id == "BrokenError":
        yield _text(node.args[1]), errors.Exit.REGRESSED
    for keyword in node.keywords:
        if keyword.arg == "reason" and node.func.id in exits:
            for part in ast.walk(keyword.value):
                yield _text(part), exits[node.func.id]


def _text(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def documented(page: Path) -> Iterator[tuple[str, list[int]]]:
    """Reason codes of a page's tables, and the exit codes of their rows where it has them."""
    columns: list[str] = []
    for line in page.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line[:1] == "|" else []
        if not cells or not columns:
            columns = cells
        place = next((i for i, name in enumerate(columns) if name.startswith("reason")), None)
        if cells == columns or place is None or not cells:
            continue
        exit_place = columns.index("exit") if "exit" in columns else None
        exits = [] if exit_place is None else [int(n) for n in re.findall(r"\d", cells[exit_place])]
        for code in _CODES.findall(cells[place]):
            yield code, exits


@pytest.mark.parametrize("name", ["resume", "ledger", "bundles", "records"])
def test_tables_say_what_the_program_does(name: str) -> None:
    known = raised()
    rows = list(documented(DOCS / f"{name}.md"))
    assert rows
    for code, exits in rows:
        assert code in known, f"docs/{name}.md: {code}: no such reason"
        can = known[code]
        if name == "bundles" and errors.Exit.FAILED in can:  # a damaged file inside of one
            can = can | {errors.Exit.REGRESSED}
        assert not exits or not can or can & set(exits), f"docs/{name}.md: {code}: {sorted(can)}"
