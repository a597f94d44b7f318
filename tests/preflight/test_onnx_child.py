"""ONNX submissions by the way that users take: the command, and the child that judges."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import onnx
import pytest

import harness
from harness.errors import SpecError
from harness.models.reference import materialise
from harness.models.resolve import judged
from harness.preflight import inspect
from harness.preflight.onnx_rules import RULES
from tests.conftest import Harness

PAGE = Path(harness.__file__).parents[1] / "docs" / "preflight.md"


def submitted(folder: Path, location: str = "model.onnx.data") -> Path:
    """The embedded int4 model as somebody's folder, with weights beside the graph."""
    source = materialise("ref-2m.int4.onnx")
    shutil.copytree(source, folder)
    made = onnx.load(source / "model.onnx")
    onnx.save(made, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data")
    made = onnx.load(folder / "model.onnx", load_external_data=False)
    for tensor in made.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    return folder


def test_one_line_tells_what_where_and_which_rule(run_harness: Harness, tmp_path: Path) -> None:
    good = submitted(tmp_path / "good")
    bad = submitted(tmp_path / "bad", "../good/model.onnx.data")
    done = run_harness("models", "check", good, bad, check=2)
    first, second = done.stdout.splitlines()
    assert first == f"ok       {good}"
    pattern = (
        rf"refused  onnx_external_path: {bad}/model\.onnx: tensor '\S+', byte \d+: the location "
        r"'\.\./good/model\.onnx\.data' of external data has an empty, dotted or padded part "
        rf"\(rule: {re.escape(RULES['onnx_external_path'])}\)"
    )
    assert re.fullmatch(pattern, second.replace("\\", "/")), second


def test_the_child_says_what_the_parent_needs(tmp_path: Path) -> None:
    folder = submitted(tmp_path / "model")
    facts = inspect(folder / "model.onnx", "onnx")
    assert (facts.context, facts.synthetic) == (2048, False)
    assert facts.files == ["model.onnx.data"]
    assert facts.weights["head_parameters"] == 786_432
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-9])
    with pytest.raises(SpecError, match="a field of 9 bytes where 0 are left") as caught:
        inspect(folder / "model.onnx", "onnx")
    assert caught.value.reason == "onnx_damaged"


@pytest.mark.parametrize("place", ["weights/w.data", "model_q4.onnx_data", "w.md"])
def test_weights_that_no_hash_covers_are_refused(tmp_path: Path, place: str) -> None:
    """In a folder below, with another graph's name, or with the name of a document."""
    folder = submitted(tmp_path / "model", place)
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / "model.onnx.data").rename(folder / place)
    (folder / "model_q4.onnx").write_bytes(b"another one")
    with pytest.raises(SpecError) as caught:
        judged(str(folder / "model.onnx"))
    assert caught.value.reason == "onnx_external_unhashed"
    assert f"'{place}'" in caught.value.message


def test_the_page_lists_the_rules_in_their_order_and_words() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert [row for row in rows if row[0] in RULES] == list(RULES.items())
