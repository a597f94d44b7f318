"""Write commits and hashes into a models file, and not one other byte of it.

The file is parsed into nodes that know their place in the text; only new text is put in
between. The result is read back before anything is written: unless it says the same as
before plus the pins, the file stays as it was and the lines are printed instead.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import yaml

import harness
from harness import specyaml
from harness.errors import PrerequisiteError, SpecError
from harness.spec import Catalogue
from harness.specfile import load_catalogue

_BREAK = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_NUMBER_LIKE = re.compile(r"\d+(?:e\d+)?")


class Pin(NamedTuple):
    """What fixes an entry. `sha256` is by file name."""

    revision: str
    sha256: Mapping[str, str]


class _Edit(NamedTuple):
    """`text` in place of what stands between two places, which may be the same."""

    start: int
    end: int
    text: str


def pin(catalogue: Catalogue, pins: Mapping[str, Pin]) -> tuple[str, str]:
    """The models file's text before and after.

    Raises:
        SpecError: written in a way that cannot be added to; its message has the lines to add.
    """
    raw = Path(catalogue.path).read_bytes()
    before = raw.decode("utf-8-sig")
    after = splice(before, pins)
    wanted = {
        model_id: replace(
            model,
            source=replace(model.source, revision=found.revision, sha256=dict(found.sha256)),
        )
        if (found := pins.get(model_id))
        else model
        for model_id, model in catalogue.models.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "models.yaml")
        copy.write_bytes(after.encode())
        try:
            read = load_catalogue(copy)
        except SpecError:
            read = None
    if read is None or read.models != wanted or read.sets != catalogue.sets:
        lines = "\n".join(f"    {model_id}: {_flow(found)}" for model_id, found in pins.items())
        raise SpecError(
            f"the file is written in a way that pins cannot be put into:\n{lines}",
            where=catalogue.path,
            allowed="sources in the form that `harness init` writes",
            hint="add these to the sources by hand",
            reason="cannot_pin",
        )
    return before, after


def write(catalogue: Catalogue, text: str) -> None:
    """Replace a models file at once: a reader finds the old text or the new one.

    Raises:
        PrerequisiteError: it belongs to the program, or cannot be written.
    """
    path = Path(catalogue.path).resolve()
    if path.is_relative_to(Path(harness.__file__).resolve().parent):
        raise PrerequisiteError(
            "this models file belongs to the installed program",
            where=str(path),
            hint="harness init, then the same command again",
            reason="cannot_write",
        )
    mark = codecs.BOM_UTF8 if path.read_bytes().startswith(codecs.BOM_UTF8) else b""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # A file that may not be written is not to be replaced either.
        with path.open("rb+"):
            pass
        fresh.write_bytes(mark + text.encode())
        shutil.copymode(path, fresh)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise PrerequisiteError(
            f"the models file cannot be written: {error.strerror}",
            where=str(path),
            hint="make it and its folder writable, or copy it and name it with --models",
            reason="cannot_write",
        ) from error


def splice(text: str, pins: Mapping[str, Pin]) -> str:
    """The text with pins put into the sources of entries."""
    root = specyaml.compose(text)
    edits = [edit for node in _entries(root) for edit in _entry_edits(text, node, pins)]
    for edit in sorted(edits, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _entries(root: yaml.Node | None) -> Iterator[yaml.Node]:
    models = _keys(root).get("models")
    if models:
        yield from models[1].value


def _keys(node: yaml.Node | None) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """Key and value nodes of a mapping, by key."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return {key.value: (key, value) for key, value in pairs}


def _entry_edits(text: str, entry: yaml.Node, pins: Mapping[str, Pin]) -> Iterator[_Edit]:
    fields = _keys(entry)
    found = pins.get(fields["id"][1].value)
    source = fields["source"][1]
    if found is None or not isinstance(source, yaml.MappingNode):
        return
    keys = _keys(source)
    fresh = {}
    if "revision" not in keys:
        fresh["revision"] = _scalar(found.revision)
    elif not keys["revision"][1].value:
        yield _over(keys["revision"][1], _scalar(found.revision))
    if "sha256" in keys and isinstance(keys["sha256"][1], yaml.MappingNode):
        yield from _hash_edits(text, keys["sha256"][1], found.sha256)
    elif found.sha256:
        fresh["sha256"] = _flow_hashes(found.sha256)
    if fresh and source.flow_style:
        last = source.value[-1][1].end_mark.index
        yield _Edit(last, last, "".join(f", {key}: {value}" for key, value in fresh.items()))
    elif fresh:
        lines = [f"{key}: {value}" for key, value in fresh.items()]
        if "sha256" in fresh:
            lines[-1:] = ["sha256:", *(f"  {line}" for line in _hash_lines(found.sha256))]
        key, value = keys["repo"]
        yield _below(text, key, value, lines)


def _hash_edits(text: str, node: yaml.MappingNode, hashes: Mapping[str, str]) -> Iterator[_Edit]:
    """Hashes that a mapping of them lacks."""
    there = _keys(node)
    fresh = {name: value for name, value in hashes.items() if name not in there}
    if not fresh:
        return
    if not there:
        yield _over(node, _flow_hashes(fresh))
    elif node.flow_style:
        last = node.value[-1][1].end_mark.index
        yield _Edit(last, last, "".join(f", {line}" for line in _hash_lines(fresh)))
    else:
        key, value = node.value[-1]
        yield _below(text, key, value, _hash_lines(fresh))


def _over(node: yaml.Node, text: str) -> _Edit:
    return _Edit(node.start_mark.index, node.end_mark.index, text)


def _below(text: str, key: yaml.Node, value: yaml.Node, lines: list[str]) -> _Edit:
    """Lines under the one in which a value ends, a comment behind it left alone."""
    found = _BREAK.search(text, value.end_mark.index)
    other = found or _BREAK.search(text)
    line_end = other[0] if other else "\n"
    place = found.start() if found else len(text)
    indent = " " * key.start_mark.column
    return _Edit(place, place, "".join(f"{line_end}{indent}{line}" for line in lines))


def _hash_lines(hashes: Mapping[str, str]) -> list[str]:
    return [f"{_scalar(name)}: {_scalar(value)}" for name, value in hashes.items()]


def _flow_hashes(hashes: Mapping[str, str]) -> str:
    return "{" + ", ".join(_hash_lines(hashes)) + "}"


def _flow(found: Pin) -> str:
    return f"{{revision: {_scalar(found.revision)}, sha256: {_flow_hashes(found.sha256)}}}"


def _scalar(text: str) -> str:
    """Text as YAML: plain where it cannot be taken for anything else."""
    plain = _PLAIN.fullmatch(text) and not _NUMBER_LIKE.fullmatch(text)
    return text if plain else json.dumps(text, ensure_ascii=False)
