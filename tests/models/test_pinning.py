"""Pins change nothing else of a models file, however it is written."""

from __future__ import annotations

import difflib
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import PrerequisiteError, SpecError
from harness.models import pinning
from harness.models.pinning import Pin
from harness.spec import Catalogue
from harness.specfile import built_in, load_catalogue

COMMIT = "0123456789abcdef" * 2 + "01234567"
HASH = "ab" * 32
HEX = "0123456789abcdef"

NAMES = st.sampled_from(
    [
        *("toy.gguf", "onnx/model_q4.onnx", "onnx/model_q4.onnx_data", "config.json", "1e5.json"),
        *("null.txt", "with space.gguf", "it's.json", 'say "hi".json', "[a], {b}.gguf", "# no.txt"),
        *("한글.gguf", "- dash.json", "&a.json", "*b.json", "!tag.gguf", "%x.gguf", "a#b.txt"),
    ]
)


def quoted(draw: st.DrawFn, text: str) -> str:
    """A text as YAML, in any way that is right for it."""
    ways = ["'" + text.replace("'", "''") + "'", '"' + text.replace('"', '\\"') + '"']
    if all(char.isalnum() or char in "_./-" for char in text) and text[0].isalpha():
        ways.append(text)
    return draw(st.sampled_from(ways))


@st.composite
def sources(draw: st.DrawFn, names: list[str]) -> list[tuple[str, str | None, list[str] | None]]:
    """Key, flow text and block lines of each field of a source."""

    def scalar(text: str) -> str:
        return quoted(draw, text)

    listed = ", ".join(map(scalar, names))
    fields: list[tuple[str, str | None, list[str] | None]] = [
        ("repo", scalar("maker/model"), None),
        ("files", f"[{listed}]", [f"- {scalar(name)}" for name in names]),
    ]
    if draw(st.booleans()):
        fields.append(("revision", draw(st.sampled_from([COMMIT, f"'{COMMIT}'", "''"])), None))
    if draw(st.booleans()):
        some = draw(st.lists(st.sampled_from(names), unique=True))
        pairs = [f"{scalar(name)}: {HASH}" for name in some]
        fields.append(("sha256", "{" + ", ".join(pairs) + "}", pairs or None))
    fields = draw(st.permutations(fields))
    place = draw(st.integers(0, len(fields)))
    return [*fields[:place], ("kind", scalar("hub"), None), *fields[place:]]


def comment(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(["", "", "  # why: {not}, 'yaml' \"here\"", "  #\ttab"]))


@st.composite
def catalogues(draw: st.DrawFn) -> tuple[str, dict[str, list[str]]]:
    """A models file, and the files of each of its models."""
    lines = [f"# top{comment(draw)}", f"models:{comment(draw)}"]
    files: dict[str, list[str]] = {}
    for index in range(draw(st.integers(1, 3))):
        model_id = f"m{index}.q4_0.gguf"
        names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
        files[model_id] = names
        source = draw(sources(names))
        head = [("id", model_id), ("family", "m"), ("format", "gguf"), ("quantisation", "q4_0")]
        flow = "{" + ", ".join(f"{key}: {text}" for key, text, _ in source)
        flow += draw(st.sampled_from(["}", ",}", " }", ", }"]))
        if draw(st.booleans()):
            fields = ", ".join(f"{key}: {text}" for key, text in head)
            lines.append(f"  - {{{fields}, source: {flow}}}{comment(draw)}")
            continue
        pad = "    "
        first, *rest = head
        lines.append(f"  - {first[0]}: {first[1]}{comment(draw)}")
        lines += [f"{pad}{key}: {text}" for key, text in rest]
        if draw(st.booleans()):
            lines.append(f"{pad}source: {flow}{comment(draw)}")
        else:
            lines.append(f"{pad}source:{comment(draw)}")
            inner = pad + " " * draw(st.integers(1, 4))
            for key, text, block in source:
                if draw(st.booleans()):
                    lines.append(f"{inner}# about {key}")
                if block and draw(st.booleans()):
                    lines.append(f"{inner}{key}:{comment(draw)}")
                    lines += [f"{inner}  {line}{comment(draw)}" for line in block]
                else:
                    lines.append(f"{inner}{key}: {text}{comment(draw)}")
        lines += draw(st.sampled_from([[], [""], [f"{pad}note: last"], ["", "  # next"]]))
    text = draw(st.sampled_from(["\n", "\r\n"])).join(lines)
    text += draw(st.sampled_from(["", "\n", "\n\n# end\n"]))
    return draw(st.sampled_from(["", "\ufeff"])) + text, files


HEXES = st.text(st.sampled_from("0123456789" * 4 + HEX), min_size=64, max_size=64)


@settings(max_examples=20, deadline=None)
@given(made=catalogues(), data=st.data())
def test_only_pins_come_in(
    made: tuple[str, dict[str, list[str]]], data: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text, files = made
    path = tmp_path_factory.getbasetemp() / "models.yaml"
    path.write_bytes(text.encode())
    catalogue = load_catalogue(path)
    chosen = data.draw(st.lists(st.sampled_from(sorted(files)), unique=True))
    pins = {}
    for model_id in chosen:
        known = catalogue.models[model_id].source.sha256
        found = {name: known.get(name) or data.draw(HEXES) for name in files[model_id]}
        commit = catalogue.models[model_id].source.revision or data.draw(HEXES)[:40]
        pins[model_id] = Pin(commit, found)
    before, after = pinning.pin(catalogue, pins)
    pinning.write(catalogue, after)
    written = path.read_bytes()
    assert written == (text[: text.startswith("\ufeff")] + after).encode()
    read = load_catalogue(path)
    assert read.sets == catalogue.sets
    for model_id, model in catalogue.models.items():
        source = model.source
        if found_pin := pins.get(model_id):
            source = replace(source, revision=found_pin.revision, sha256=found_pin.sha256)
        assert read.models[model_id] == replace(model, source=source)
    _assert_only_additions(before, after, pins)
    assert pinning.pin(read, pins) == (after, after), "pinning again changes nothing"


def _assert_only_additions(before: str, after: str, pins: dict[str, Pin]) -> None:
    """What was there is there, in its order; what came in are the pins."""
    rest = iter(after)
    spared = before.replace("revision: ''", "revision: ").replace("sha256: {}", "sha256: {")
    assert all(char in rest for char in spared), "something of the old text is gone"
    news = [
        line[2:]
        for line in difflib.ndiff(before.splitlines(), after.splitlines())
        if line[:2] == "+ "
    ]
    known = {value for found in pins.values() for value in (found.revision, *found.sha256.values())}
    assert all(line.strip() == "sha256:" or any(value in line for value in known) for line in news)


def test_the_shipped_file_takes_pins(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_bytes(built_in("models.yaml").read_bytes())
    catalogue = load_catalogue(path)
    hub = {name: model for name, model in catalogue.models.items() if model.source.kind == "hub"}
    pins = {
        name: Pin(COMMIT, dict.fromkeys(model.source.files, HASH)) for name, model in hub.items()
    }
    before, after = pinning.pin(catalogue, pins)
    added = [
        line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] != " "
    ]
    assert all(line.startswith("+ ") for line in added)
    assert len(added) == sum(2 + len(model.source.files) for model in hub.values())


def one(tmp_path: Path, source: str) -> Catalogue:
    path = tmp_path / "models.yaml"
    path.write_text(
        f"models:\n  - id: m.q.gguf\n    family: m\n    format: gguf\n    quantisation: q\n{source}"
    )
    return load_catalogue(path)


PINS = {"m.q.gguf": Pin(COMMIT, {"a.gguf": HASH})}


QUESTIONED = """\
    source:
      ? kind
      : hub
      ? repo
      : a/b
      files: [a.gguf]
"""
FOLDED = """\
    source:
      kind: hub
      repo: >-
        a/b
      files:
        [a.gguf,
        ]
"""


@pytest.mark.parametrize("source", [QUESTIONED, FOLDED], ids=["questioned", "folded"])
def test_what_cannot_be_added_to_is_left_alone(tmp_path: Path, source: str) -> None:
    catalogue = one(tmp_path, source)
    with pytest.raises(SpecError, match="pins cannot be put into") as caught:
        pinning.pin(catalogue, PINS)
    assert f"revision: {COMMIT}, sha256: {{a.gguf: {HASH}}}" in str(caught.value)
    assert caught.value.reason == "cannot_pin"


PLAIN = "    source: {kind: hub, repo: a/b, files: [a.gguf]}\n"


def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path: Path) -> None:
    catalogue = one(tmp_path, PLAIN)
    path = Path(catalogue.path)
    before, after = pinning.pin(catalogue, PINS)
    path.chmod(0o640)
    pinning.write(catalogue, after)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.read_text() == after
    assert list(tmp_path.iterdir()) == [path], "nothing else is left behind"
    link = tmp_path / "linked" / "models.yaml"
    link.parent.mkdir()
    link.symlink_to(path)
    pinning.write(replace(catalogue, path=str(link)), before)
    assert (link.is_symlink(), path.read_text()) == (True, before)
    path.chmod(0o444)
    if os.access(path, os.W_OK):
        return  # the superuser may write everything
    with pytest.raises(PrerequisiteError, match="cannot be written") as caught:
        pinning.write(catalogue, after)
    assert "--models" in caught.value.hint
    assert path.read_text() == before


def test_the_programs_own_file_is_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel carries models.yaml inside the package."""
    catalogue = one(tmp_path, PLAIN)
    monkeypatch.setattr("harness.__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(PrerequisiteError, match="belongs to the installed program") as caught:
        pinning.write(catalogue, "")
    assert caught.value.hint.startswith("harness init")
