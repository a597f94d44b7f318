"""Samples read as columns say what they say when read one by one."""

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.scoring.gather import gather
from harness.scoring.reader import Reader
from harness.scoring.rules import read_rules
from harness.times import times_of_requests
from tests.answered import formed
from tests.strategies import Candidate, profile, records

ODD = (None, True, -1, 0, 1, 64, 1.5, 10**30, "", "x", [], [5], [1, 2, 2], [True, 2])


class OneByOne(Reader):
    """Leaves nothing to columns."""

    def _left(self, samples) -> Iterator:
        return chain.from_iterable(samples.values())


@cache
def rows() -> tuple[dict, ...]:
    found = formed(records([Candidate(id="ref", skill=0.7)], profile()))
    return tuple(row for row in found if row["type"] in {"run", "sample"})


@st.composite
def edited(draw) -> list[dict]:
    """Samples in any order; a few are spoilt, doubled, moved or gone."""
    run, *samples = rows()
    bulk = [n for n, row in enumerate(samples) if row["kind"] in {"request", "item"}]
    for at in draw(st.lists(st.sampled_from(bulk), max_size=2)):
        row = dict(samples[at])
        match draw(st.sampled_from(["spoil", "double", "double alike", "place", "drop", "output"])):
            case "spoil":
                row[draw(st.sampled_from(sorted(row.keys() - {"type", "model"})))] = draw(
                    st.sampled_from(ODD)
                )
                samples[at] = row
            case "double":
                samples.append(row | {"end_ns": 10**12, "template": "another"})
            case "double alike":
                samples.append(row)
            case "place":
                samples[at] = row | {"phase": draw(st.sampled_from(["", "x"])), "process": 7}
            case "drop":
                samples[at] = row | {"kind": "none"}
            case "output":
                samples[at] = row | {"output_sha256": draw(st.sampled_from("ab"))}
    if draw(st.booleans()):
        samples.reverse()
    return [run, *samples]


def told(reader: Reader, samples: Iterable[dict]) -> dict:
    _, counted = gather(samples)
    reader.collect(counted.of("ref").samples)
    return {
        "series": {
            place: (series.suite, [values.tolist() for values in series.processes])
            for place, series in reader.series().items()
        },
        "items": {task: list(items) for task, items in reader.items.items()},
        "problems": reader.problems,
        "deterministic": reader.deterministic(),
    }


@settings(max_examples=60, deadline=None)
@given(edited())
def test_columns_say_what_single_samples_say(found: list[dict]) -> None:
    run, *samples = found
    rules = read_rules(run["profile"])
    assert told(Reader(rules), samples) == told(OneByOne(rules), samples)


@pytest.mark.parametrize(
    ("asked", "change"),
    [
        ({"submitted": 0, "outputs": 2}, {"submitted": 0, "evaluated": 0}),
        ({"submitted": 4, "outputs": 0}, {"token_ns": [], "decoded": -1}),
    ],
)
def test_cases_that_ask_for_nothing_have_no_columns(asked: dict, change: dict) -> None:
    """A profile of a stranger's may say so."""
    sample = {"submitted": 4, "evaluated": 4, "decoded": 1, "ids_ns": 0, "token_ns": [5, 9],
              "end_ns": 9}  # fmt: skip
    assert times_of_requests([sample], submitted=4, outputs=2, depth=0) is not None
    assert times_of_requests([sample | change], depth=0, **asked) is None


def test_sound_samples_are_read_as_columns() -> None:
    run, *samples = rows()
    _, counted = gather(samples)
    left = list(Reader(read_rules(run["profile"]))._left(counted.of("ref").samples))
    assert left
    assert not {"request", "item"} & {row["kind"] for row in left if row["suite"] != "energy"}
