"""The published schemas: current, true to what real runs write, and able to refuse."""

from __future__ import annotations

import copy
import functools
import json
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from harness import resume, schema, spec, specgate, spectext
from harness.metrics import METRICS
from harness.plan import SUITE_VERSIONS
from harness.records import JournalWriter, read
from harness.schema import fields
from harness.score import LISTS, dump
from harness.score import scorecard as score
from tests.conftest import Harness
from tests.conftest import examples as examples_of
from tests.golden_records import FAKES, GOLDEN
from tests.golden_run import golden_records
from tests.schemas import (
    CARD,
    CARDS,
    KINDS,
    RECORD,
    RECORDS,
    TAGS,
    kind,
    on_disk,
    part_of,
    record_faults,
)

Json = dict[str, Any]
DOCS = Path(__file__).parents[1] / "docs"


@functools.cache
def examples() -> dict[str, Json]:
    """A record of each kind: real ones first, generated ones for what needs other hardware."""
    lines = on_disk(max(GOLDEN.glob("v*")) / "records.jsonl")
    chain = {"seq": 1, "prev": "0a" * 32}
    made = [record | chain for record in golden_records()] + [record | chain for record in RARE]
    return {kind(record): record for record in reversed([*lines, *made])}


PLACE = {"job": "0a" * 8, "model": "m", "suite": "accuracy", "process": 0}
RARE: list[Json] = [
    {"type": "event", "kind": "template_holds_items", "items": 2, "of": 40} | PLACE,
    {
        "type": "event",
        "kind": "resumed",
        "started_utc": "2026-11-27T08:24:26+00:00",
        "harness": "0.1.0",
        "again": ["0a" * 8],
    },
]


@pytest.mark.parametrize(
    ("name", "text"), [("record", schema.record_text), ("scorecard", schema.scorecard_text)]
)
def test_the_committed_schemas_are_current(name: str, text: Any) -> None:
    """Write it again with `harness schema NAME > docs/NAME.schema.json`."""
    committed = (DOCS / f"{name}.schema.json").read_text("utf-8")
    assert committed == text()
    Draft202012Validator.check_schema(json.loads(committed))


def test_the_command_prints_them(run_harness: Harness) -> None:
    assert json.loads(run_harness("schema", "record").stdout) == RECORD
    assert json.loads(run_harness("schema", "scorecard").stdout) == CARD


SPECIFICATION = {*vars(spec), *vars(specgate), *vars(spectext)}
"""Parts that docs/profile.schema.json and docs/models.schema.json explain."""


@pytest.mark.parametrize(("found", "others"), [(RECORD, SPECIFICATION), (CARD, {"Device"})])
def test_every_key_is_explained(found: Json, others: set[str]) -> None:
    for name, part in {**found["$defs"], "top": found}.items():
        for key, value in part.get("properties", {}).items():
            told = name in others or key in {*TAGS, "suite"} or value.get("description")
            assert told, f"{name}.{key}"


# --- true ------------------------------------------------------------------------------------


def test_every_kind_of_record_has_an_example() -> None:
    described = {" ".join(wanted.values()) for wanted, _ in KINDS}
    skipped = "sample item_skipped"  # the one kind that has a form and is the same in both
    assert described - {skipped} == {name for name in examples() if not name.startswith(skipped)}


def test_records_and_scorecard_of_the_golden_run_are_valid(tmp_path: Path) -> None:
    journal = JournalWriter(tmp_path / "records.jsonl")
    journal.append(*golden_records())
    journal.close()
    assert record_faults(tmp_path / "records.jsonl") == []
    CARDS.validate(json.loads(dump(score(golden_records()))))


@pytest.mark.parametrize("version", sorted(GOLDEN.glob("v*")), ids=lambda path: path.name)
def test_golden_records_are_valid_once_they_are_read(version: Path) -> None:
    journal = read(version / "records.jsonl")
    for number, record in enumerate(journal.records):
        assert part_of(record).is_valid(record | {"seq": number, "prev": ""}), record
    CARDS.validate(json.loads(dump(score(journal.records))))


PROFILE = """\
id: every
version: 1
title: every suite on the clockwork
reference: steady
tier: unverified
protocol:
  processes: {latency: 1, task: 1, kernel: 1, sustained: 1, memory: 1, energy: 1, accuracy: 1,
    language: 1, fidelity: 1}
  requests: 1
  warmup_max: 1
  grouping: suite
  job_timeout_s: 120
suites:
  latency: {prompt_tokens: [8], output_tokens: [4]}
  task: {languages: [ko], prompts: 1, output_tokens: 4}
  kernel: {prompt_tokens: 8, output_tokens: 4}
  sustained: {duration_s: 1, prompt_tokens: 8, output_tokens: 4}
  memory: {context: 32, output_tokens: 4}
  energy: {prompt_tokens: 8, output_tokens: 4}
  accuracy: {tasks: [josa], languages: [ko], items: 4}
  language: {tokens: 64, languages: [ko], context: 64}
  fidelity: {tokens: 64, languages: [ko], context: 64}
weights: {ttft_s: 0.5, decode_tok_per_s: 0.5}
"""
MODELS = """\
models:
  - {id: steady, family: toy, format: fake, quantisation: none, chat_template: plain,
     source: {kind: file, path: steady.fake.json}}
  - {id: other, family: toy, format: fake, quantisation: none, chat_template: plain,
     source: {kind: file, path: steady.fake.json}}
sets: {default: [steady, other]}
"""


def test_a_run_of_every_suite_is_valid(tmp_path: Path, run_harness: Harness) -> None:
    (tmp_path / "every.yaml").write_text(PROFILE)
    (tmp_path / "models.yaml").write_text(MODELS)
    (tmp_path / "steady.fake.json").write_text(json.dumps(FAKES["steady"]))
    run_harness("run", "--profile", "every.yaml", check=None)
    (folder,) = (tmp_path / "results").glob("2*")
    suites = {r["suite"] for r in on_disk(folder / "records.jsonl") if r["type"] == "job"}
    assert suites == {*SUITE_VERSIONS} - {"fidelity"}  # which wants a network of two precisions
    assert record_faults(folder / "records.jsonl") == []
    CARDS.validate(json.loads((folder / "scorecard.json").read_bytes()))


def test_words_are_those_of_the_program() -> None:
    assert set(typing.get_args(fields.Suite)) == set(SUITE_VERSIONS)
    assert set(CARD["$defs"]["Entry"]["properties"]["metrics"]["properties"]) == set(METRICS)
    assert {*typing.get_args(fields.Outcome)} == resume._ENDED | {"interrupted"}
    name = Draft202012Validator(CARD["$defs"]["Entry"]["properties"]["list"])
    assert all(name.is_valid(one) for one in LISTS)
    assert not name.is_valid("fixed")


# --- able to refuse --------------------------------------------------------------------------


def required(part: Any, value: Any, root: Json, place: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Places of a valid value that its schema demands: keys from the top down."""
    if "$ref" in part:
        part = {**root["$defs"][part["$ref"].rpartition("/")[2]]}
    for other in part.get("allOf", ()):
        yield from required(other, value, root, place)
    for other in [*part.get("anyOf", ()), *part.get("oneOf", ())]:
        if Draft202012Validator({**other, "$defs": root["$defs"]}).is_valid(value):
            yield from required(other, value, root, place)
            break
    if isinstance(value, dict):
        known, rest = part.get("properties", {}), part.get("additionalProperties", {})
        yield from ((*place, key) for key in part.get("required", ()))
        for key, item in value.items():
            inside = known.get(key, rest)
            if isinstance(inside, dict):
                yield from required(inside, item, root, (*place, key))
    elif isinstance(value, list) and value:
        yield from required(part.get("items", {}), value[0], root, (*place, 0))


def changed(value: Json, place: Sequence[Any], to: Any) -> Json:
    """A copy with another value at a place, or without it."""
    out = copy.deepcopy(value)
    inside: Any = out
    for key in place[:-1]:
        inside = inside[key]
    if to is None:
        del inside[place[-1]]
    else:
        inside[place[-1]] = to
    return out


WRONG = [["neither a number nor text"]]
"""No field of a record or scorecard takes this."""


@pytest.mark.parametrize("name", sorted(examples()))
def test_a_record_without_a_field_or_with_a_wrong_one_is_refused(name: str) -> None:
    record = examples()[name]
    RECORDS.validate(record)
    places = list(required(RECORD, record, RECORD))
    assert {(key,) for key in ("type", "seq", "prev")} <= set(places)
    own = part_of(record)
    for place in places:
        # Other kinds differ in their tags: only there could another one take it.
        validator = RECORDS if place[-1] in TAGS else own
        assert not validator.is_valid(changed(record, place, None)), f"without {place}"
        assert not validator.is_valid(changed(record, place, WRONG)), f"wrong {place}"
    assert RECORDS.is_valid(record | {"added": "by a later version"})


@functools.cache
def card_places() -> tuple[Json, list[tuple[Any, ...]]]:
    card = json.loads(dump(score(golden_records())))
    card["entries"] = card["entries"][:2]
    return card, sorted(set(required(CARD, card, CARD)), key=str)


@settings(max_examples=examples_of(60, 1000))
@given(data=st.data(), to=st.sampled_from([None, WRONG]))
def test_a_scorecard_without_a_field_or_with_a_wrong_one_is_refused(data: Any, to: Any) -> None:
    card, places = card_places()
    place = data.draw(st.sampled_from(places))
    assert not CARDS.is_valid(changed(card, place, to))


SUBTLE: dict[str, tuple[str, Json]] = {
    "an outcome that is none": ("job", {"outcome": "lost"}),
    "a negative time": ("sample request", {"end_ns": -1}),
    "half a nanosecond": ("sample request", {"end_ns": 1.5}),
    "a short hash": ("sample request", {"output_sha256": "0a"}),
    "no token at all": ("sample request", {"token_ns": []}),
    "a share above one": ("sample item free", {"credit": 1.1}),
    "a certain guess": ("sample item choice", {"chance": 1}),
    "one option": ("sample item choice", {"log_likelihoods": [-1.0]}),
    "a suite of another kind": ("sample kernel", {"suite": "latency"}),
    "an unknown kind": ("sample kernel", {"kind": "kernal"}),
    "an unknown type": ("job", {"type": "result"}),
    "the first start counted as a retry": ("job", {"retry": 0}),
    "local time": ("run", {"started_utc": "2026-11-27T08:24:26+09:00"}),
    "another schema": ("run", {"schema": 1}),
    "a run's name": ("run", {"run": "../../x"}),
    "neither before nor after": ("environment", {"when": "during"}),
}


@pytest.mark.parametrize("name", SUBTLE)
def test_impossible_values_are_refused(name: str) -> None:
    which, change = SUBTLE[name]
    record = examples()[which]
    assert RECORDS.is_valid(record)
    assert not RECORDS.is_valid(record | change)
