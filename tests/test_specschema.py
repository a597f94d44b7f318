"""The JSON Schema for editors: current, true to the shipped file, and able to refuse."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from harness import specschema
from harness.specfile import built_in
from tests.test_specfile import CATALOGUE

COMMITTED = Path(__file__).parents[1] / "docs" / "models.schema.json"
VALIDATOR = Draft202012Validator(specschema.schema())


def test_the_committed_schema_is_current() -> None:
    """Write it again with `harness models schema > docs/models.schema.json`."""
    assert COMMITTED.read_text("utf-8") == specschema.text()
    Draft202012Validator.check_schema(json.loads(COMMITTED.read_text("utf-8")))


def test_right_files_are_valid() -> None:
    text = built_in("models.yaml").read_text("utf-8")
    assert text.splitlines()[0] == "# yaml-language-server: $schema=docs/models.schema.json"
    for content in (text, CATALOGUE):
        assert list(VALIDATOR.iter_errors(yaml.safe_load(content))) == []


def test_every_key_is_explained() -> None:
    """An editor shows these while one types."""
    for name, part in specschema.schema()["$defs"].items():
        for key, value in part.get("properties", {}).items():
            plain = key in {"id", "format", "quantisation", "backend", "options", "source", "note"}
            assert plain or value.get("description"), f"{name}.{key}"


WRONG: dict[str, Any] = {
    "no models": lambda data: data.pop("models"),
    "unknown top key": lambda data: data.update(modles=[]),
    "unknown key": lambda data: data["models"][0].update(licens="MIT"),
    "missing key": lambda data: data["models"][0].pop("family"),
    "id": lambda data: data["models"][0].update(id="Upper Case"),
    "format": lambda data: data["models"][0].update(format="ggml"),
    "commercial": lambda data: data["models"][0].update(commercial="yes"),
    "source": lambda data: data["models"][0].update(source="embeded"),
    "branch": lambda data: data["models"][1]["source"].update(revision="main"),
    "short hash": lambda data: data["models"][1]["source"].update(sha256={"a.json": "0a"}),
    "pickle": lambda data: data["models"][1]["source"].update(files=["pytorch_model.bin"]),
    "no repo": lambda data: data["models"][1]["source"].pop("repo"),
    "file with repo": lambda data: data["models"][1]["source"].update(kind="file", path="x.gguf"),
    "options": lambda data: data["models"][0].update(options={"threads": "four"}),
    "sets": lambda data: data.update(sets={"default": "a.f16.gguf"}),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_refused(name: str) -> None:
    data = copy.deepcopy(yaml.safe_load(CATALOGUE))
    assert VALIDATOR.is_valid(data)
    WRONG[name](data)
    assert not VALIDATOR.is_valid(data)
