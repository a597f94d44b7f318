"""The texts that a user can meet, read from the syntax trees: `python -m tests.messages`.

A developer writes English where it is needed, and nothing else. This collects every text that
has words in it, prints what `harness/messages/ko.json` lacks as lines to fill in, and what it
holds that no source says any more. With `--write FILE`, a JSON object of new translations, it
takes those over, drops what is stale, and sorts the catalogue.
"""

from __future__ import annotations

import ast
import errno
import functools
import importlib.util
import inspect
import itertools
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import harness

ROOT = Path(harness.__file__).parent
CATALOGUE = ROOT / "messages" / "ko.json"

EXEMPT_MODULES = {
    "heldout/marking.py": "patterns",
    "kernelfs.py": "words of the kernel's files",
    "messages/catalogue.py": "patterns",
    "metrics.py": "metrics have their names in strings.json and codes.json",
    "times.py": "why samples are refused: reasons have their words in codes.json",
    "onecase.py": "raised in a test by the pytest plugin: for programmers, in pytest's English",
    "pytest_plugin.py": "options and failures of a pytest session: for programmers",
    "report/": "reports have strings.json and codes.json",
    "sandbox/environment.py": "names of variables",
    "sandbox/seccomp.py": "tables of system calls",
    "schema/": "content of a file: a JSON Schema is English",
    "specschema.py": "content of a file: a JSON Schema is English",
    "suites/": "what models are asked, and errors of those who write suites",
}
EXEMPT = {
    "a code before a message, each of which has its own": ("harness: {0}: {1}",),
    "programs": ("import ", "from harness.", "install --isolated"),
    "words of others": ("oom_kill ", "model name", "ERROR: ", "macOS {", "Windows {", "(git) "),
    "power modes of Windows": (
        *("best per", "best power", "better perf", "high perf", "power saver", "ultimate perf"),
    ),
    "content of files": (
        *("# ", "id: ", "name: ", "cpu: ", "npu: ", "power: ", "power_mode: ", "device_class: "),
        *("memory_bytes: ", "memory_budget_bytes: ", "physical_cores: ", "title: "),
        *("no battery was found", "nobody knows of a battery", "{0}\n\\ No newline"),
        *("{{revision", "{0}=={1} ", "한국어 English", "{0} {1} {2}B "),
    ),
    "tables": ("qwen2.5-0.5b  ", "Abs Acos ", "Attention BiasAdd ", "Model: 1 ir_version"),
    "patterns and formulas": ("(con|prn", r"\b((?:", "(?<!", r"(\d{{1,6}}", "sha256(seed"),
    "labels in records": ("each branch alone", "copied state", "comparable {0}"),
    "columns of frames.py": ("run model ", "run: category, "),
    "values and examples": (
        *("ko, en", "q4_0, ", "q4_k_m, ", '{{"', "doc_to_choice: ", "doc_to_text: "),
        *("doc_to_target: ", "dataset_path: ", "dataset_kwargs: ", "metadata: {{checker: number}}"),
        *("metadata: {{sha256", "task: my_task", "fewshot_config: ", "data_files: "),
        *("test_split: ", "output_type: ", "until: ["),
    ),
}
"""Why nobody translates a text, and what such texts begin with. A text that has Korean all the
same, as its sibling needs it, is not exempt."""
_COMMAND = re.compile(
    r"(\{\d\})?(harness|llama-bench|python|uv|pip|sh|sudo|hf|lm-eval|HF_HUB_CACHE=FOLDER|\.\\harness\.cmd"
    r"|\{0\} install) | ?--[a-z]"
)
_LETTERS = re.compile(r"[A-Za-z]{2}")
_CLICK = ("core", "exceptions", "types", "parser", "decorators", "formatting")
FOR_PROGRAMMERS = (
    *("Arguments take exactly", "Boolean option", "Could not determine name", "Deprecation"),
    *("Invalid start character", "Name '", "No options defined", "Value must be an iterable"),
    *("Choice(", "%(prog)s", "Confirm the action", "Do you want to continue", "(dynamic)"),
)
"""Texts of Click that no user of this program can meet."""


@functools.cache
def needed() -> dict[str, str]:
    """Templates that need Korean, and where each stands first."""
    prefixes = tuple(itertools.chain.from_iterable(EXEMPT.values()))
    return {
        text: place
        for text, place in {**of_click(), **of_code()}.items()
        if not text.startswith(prefixes) and not _COMMAND.match(text)
    }


def of_code() -> dict[str, str]:
    """Templates of `harness/` that have words in them."""
    found: dict[str, str] = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(tuple(EXEMPT_MODULES)):
            for text, line in _spoken(ast.parse(path.read_text("utf-8"))):
                found.setdefault(text, f"{name}:{line}")
    return found


@functools.cache
def of_click() -> dict[str, str]:
    """Templates of the installed Click that a user can meet."""
    found: dict[str, str] = {}
    for path in _click():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if _name(node) not in {"_", "ngettext"}:
                continue
            assert isinstance(node, ast.Call)
            for text in (a.value for a in node.args if isinstance(a, ast.Constant)):
                if isinstance(text, str) and not text.startswith(FOR_PROGRAMMERS):
                    found[_numbered(text)] = f"click.{path.stem}"
    return found


@functools.cache
def sources() -> set[str]:
    """Texts of the code, Click, PyYAML and the system: what a Korean entry may stand for."""
    every = set(of_click()) | {os.strerror(number) for number in errno.errorcode} | of_yaml()
    for path in itertools.chain(ROOT.rglob("*.py"), _click()):
        tree = ast.parse(path.read_text("utf-8"))
        every |= {text.strip() for text, _ in _spoken(tree)}
        every |= {text.strip() for node in ast.walk(tree) for text in templates(node)}
    return every


def of_yaml() -> set[str]:
    """What PyYAML says is wrong with a file; each `%r` of it is a hole."""
    found = set()
    for module in ("scanner", "parser"):
        spec = importlib.util.find_spec(f"yaml.{module}")
        assert spec is not None
        assert spec.origin is not None
        for node in ast.walk(ast.parse(Path(spec.origin).read_text("utf-8"))):
            for text in templates(node):
                numbers = itertools.count()
                found.add(re.sub("%[rsd]", lambda _, n=numbers: f"{{{next(n)}}}", text))
    return found


def _click() -> Iterator[Path]:
    for module in _CLICK:
        spec = importlib.util.find_spec(f"click.{module}")
        assert spec is not None
        assert spec.origin is not None
        yield Path(spec.origin)


def korean() -> dict[str, str]:
    """The catalogue."""
    found: dict[str, str] = json.loads(CATALOGUE.read_text("utf-8"))
    return found


def _numbered(text: str) -> str:
    """`{name!r}` of a text that Click formats, as the hole that it is."""
    numbers = itertools.count()
    return re.sub(r"\{[^{}]*\}", lambda _: f"{{{next(numbers)}}}", text)


def _spoken(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Texts with words, as templates without space around them, and their lines."""
    silent = _silent(tree)
    said = {id(n.args[0]) for n in ast.walk(tree) if _name(n) in {"tr", "echo"} and n.args}  # type: ignore[attr-defined]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and _is_command(node):
            yield inspect.cleandoc(ast.get_docstring(node) or ""), node.lineno
        elif id(node) not in silent:
            for text in templates(node):
                core = text.strip()
                # A single word may be anything, a key or a name, unless it is said.
                if _is_prose(core) or (id(node) in said and _LETTERS.search(core)):
                    yield core, node.lineno  # type: ignore[attr-defined]


def _is_prose(text: str) -> bool:
    """Words beside the holes, and not only the pieces of a path, a key or a number."""
    outside = re.sub(r"\{\d\}", " ", text)
    return " " in text and _LETTERS.search(outside) is not None


def _silent(tree: ast.Module) -> set[int]:
    """Docstrings, and the parts of f-strings."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            found |= {id(part) for part in node.values}
            found |= {id(part.value) for part in node.values if _plural(part)}
        elif isinstance(node, ast.FormattedValue) and node.format_spec:
            found |= {id(part) for part in ast.walk(node.format_spec)}
    return found


def _is_command(node: ast.FunctionDef) -> bool:
    made = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return any(isinstance(m, ast.Attribute) and m.attr in {"command", "group"} for m in made)


def _name(node: ast.AST) -> str:
    """The function that a call calls by its bare name."""
    return getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""


def templates(node: ast.AST) -> Iterator[str]:
    """Templates of a string or an f-string; of one with a plural, both."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield _escaped(node.value)
    elif isinstance(node, ast.JoinedStr):
        for plural in ("", "s") if any(map(_plural, node.values)) else ("",):
            numbers = itertools.count()
            yield "".join(
                _escaped(str(part.value))
                if isinstance(part, ast.Constant)
                else plural
                if _plural(part)
                else f"{{{next(numbers)}}}"
                for part in node.values
            )


def _plural(part: ast.expr) -> bool:
    """A hole for the s of a plural: `{'s' if more > 1 else ''}`."""
    if not isinstance(part, ast.FormattedValue) or not isinstance(part.value, ast.IfExp):
        return False
    ends = (part.value.body, part.value.orelse)
    return {end.value for end in ends if isinstance(end, ast.Constant)} == {"s", ""}


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def main() -> None:
    """Print what is missing and what is stale; take over what is given."""
    entries = korean()
    if sys.argv[1:2] == ["--write"]:
        for path in sys.argv[2:]:
            entries |= json.loads(Path(path).read_text("utf-8"))
        kept = {text: entries[text] for text in sorted(set(entries) & sources())}
        text = json.dumps(kept, ensure_ascii=False, indent=0)
        CATALOGUE.write_text(f"{text}\n", "utf-8")
        entries = kept
    for text, place in needed().items():
        if text not in entries:
            sys.stdout.write(f'{json.dumps(text, ensure_ascii=False)}: "",  {place}\n')
    for text in sorted(set(entries) - sources()):
        sys.stdout.write(f"stale: {json.dumps(text, ensure_ascii=False)}\n")


if __name__ == "__main__":
    main()
