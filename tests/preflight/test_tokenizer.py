"""A `tokenizer.json` with endless patterns, huge ids or strange parts never gets to a worker."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import preflight
from harness.errors import SpecError
from harness.models.reference import materialise
from harness.preflight import documents, tokenizer
from harness.preflight.rules import RULES

pytest.importorskip("tokenizers")

QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@pytest.fixture(autouse=True)
def no_limit_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit ends the process it is in, by a clock of ticks that drifts from the precise one
    over minutes: a fresh child may have it, and below has it, this process may not.
    """
    monkeypatch.setattr(tokenizer, "_at_most", lambda _seconds: contextlib.nullcontext())


@pytest.fixture(scope="module")
def honest() -> dict[str, Any]:
    document: dict[str, Any] = documents.read(
        materialise("ref-2m.f32.safetensors") / "tokenizer.json"
    )
    return document


def split(pattern: str) -> Callable[[dict[str, Any]], None]:
    """Replace what cuts the text into words."""
    part = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}

    def change(document: dict[str, Any]) -> None:
        document["pre_tokenizer"] = part

    return change


def added(token: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["added_tokens"].append(token)

    return change


def put(*keys: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        inner = document
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    return change


def written(folder: Path, document: object) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(document), "utf-8")
    return path


NESTED = {"Regex": "(a+)+b"}
GROWING: dict[str, Any] = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000} for _ in range(4)
    ],
}
REFUSED = {
    "nested repetition": (split("(a+)+b"), "tokenizer_limit", "characters like 'aaaaaaaa'"),
    "nested repetition in a normaliser": (
        put("normalizer", value={"type": "Replace", "pattern": NESTED, "content": "x"}),
        "tokenizer_limit",
        "characters like 'aaaaaaaa'",
    ),
    "a map of nothing": (
        put("normalizer", value={"type": "Precompiled", "precompiled_charsmap": "kAEAAHh4eHh4"}),
        "tokenizer_invalid",
        "opened",
    ),
    "id of 2^31": (put("model", "vocab", "x", value=1 << 31), "tokenizer_ids", "2147483648"),
    "negative id": (put("model", "vocab", "x", value=-1), "tokenizer_ids", "-1"),
    "id of text": (put("model", "vocab", "x", value="1"), "tokenizer_ids", "'1'"),
    "true id": (put("model", "vocab", "x", value=True), "tokenizer_ids", "True"),
    "two of one id": (put("model", "vocab", "x", value=0), "tokenizer_ids", "two tokens"),
    "added id of 2^31": (added({"id": 1 << 31}), "tokenizer_ids", "2147483648"),
    "added text": (added("x"), "tokenizer_ids", "None"),
    "unknown model": (put("model", "type", value="Python"), "tokenizer_type", "'Python'"),
    "custom part": (put("decoder", value={"type": "Custom"}), "tokenizer_type", "custom"),
    "custom part inside": (
        put("normalizer", value={"type": "Sequence", "normalizers": [{"type": "Custom"}]}),
        "tokenizer_type",
        "custom",
    ),
    "no model": (put("model", value=None), "tokenizer_invalid", "no model"),
    "no vocabulary": (put("model", "vocab", value=3), "tokenizer_invalid", "no list"),
    "unknown merges": (put("model", "merges", value=[["a", "zz"]]), "tokenizer_invalid", "opened"),
    "unknown part": (put("decoder", value={"type": "x"}), "tokenizer_invalid", "opened"),
}


@pytest.mark.parametrize(("change", "rule", "words"), REFUSED.values(), ids=REFUSED)
def test_a_forged_tokeniser_is_refused(
    honest: dict[str, Any],
    tmp_path: Path,
    change: Callable[[dict[str, Any]], None],
    rule: str,
    words: str,
) -> None:
    document = json.loads(json.dumps(honest))
    change(document)
    with pytest.raises(SpecError) as caught:
        tokenizer.check(written(tmp_path, document))
    assert (caught.value.reason, caught.value.allowed) == (rule, RULES[rule])
    assert words in caught.value.message


ENDING = {
    "a growing normaliser": put("normalizer", value=GROWING),
    "a growing decoder": put(
        "decoder", value={"type": "Sequence", "decoders": GROWING["normalizers"]}
    ),
}


@pytest.mark.parametrize("change", ENDING.values(), ids=ENDING)
def test_what_ends_the_child_names_its_file(
    honest: dict[str, Any], tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(materialise("ref-2m.f32.safetensors"), folder, copy_function=shutil.copyfile)
    document = json.loads(json.dumps(honest))
    change(document)
    written(folder, document)
    with pytest.raises(SpecError) as caught:
        preflight.inspect(folder, "safetensors")
    assert caught.value.reason == "tokenizer_limit"
    assert caught.value.where == f"{folder}: tokenizer.json"


@pytest.mark.parametrize("pattern", [QWEN, GPT2, r"\d|[^\s\d]+|\s"])
def test_honest_patterns_are_quick(honest: dict[str, Any], tmp_path: Path, pattern: str) -> None:
    document = json.loads(json.dumps(honest))
    split(pattern)(document)
    tokenizer.check(written(tmp_path, document))


def test_other_models_pass(tmp_path: Path) -> None:
    for model in (
        {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]},
        {"type": "WordLevel", "unk_token": "a", "vocab": {"a": 0}},
    ):
        tokenizer.check(written(tmp_path, {"version": "1.0", "added_tokens": [], "model": model}))


TEXTS = {
    "deep": ("[" * 50_000, "json_depth"),
    "deep object": ('{"a":' * 40 + "1" + "}" * 40, "json_depth"),
    "list": ("[]", "json_invalid"),
    "cut off": ('{"a": ', "json_invalid"),
    "no UTF-8": (b"\xff\xfe{\0}\0", "json_invalid"),
    "two of a key": ('{"a": 1, "a": 2}', "json_invalid"),
    "a number of 5,000 digits": ('{"a": ' + "9" * 5000 + "}", "json_invalid"),
    "large": ('{"a": "' + "x" * documents.BYTES_MAX + '"}', "json_size"),
}


@pytest.mark.parametrize(("text", "rule"), TEXTS.values(), ids=TEXTS)
def test_json_is_bounded(tmp_path: Path, text: str | bytes, rule: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(SpecError) as caught:
        documents.read(path)
    assert caught.value.reason == rule


def test_many_values_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_VALUES_MAX", 100)
    path = written(tmp_path, {"a": [0] * 98})
    assert documents.read(path) == {"a": [0] * 98}
    with pytest.raises(SpecError, match="more than 100 values"):
        documents.read(written(tmp_path, {"a": [0] * 99}))


def test_a_folder_is_judged_with_its_tokeniser(honest: dict[str, Any], tmp_path: Path) -> None:
    folder = shutil.copytree(materialise("ref-2m.f32.safetensors"), tmp_path / "m")
    assert preflight.inspect(folder, "safetensors").quantisation == "f32"
    document = json.loads(json.dumps(honest))
    split("(a+)+b")(document)
    written(folder, document)
    with pytest.raises(SpecError) as caught:
        preflight.inspect(folder, "safetensors")
    assert caught.value.reason == "tokenizer_limit"
    assert caught.value.where == str(folder / "tokenizer.json")
