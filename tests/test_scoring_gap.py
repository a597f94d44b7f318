"""The public–secret gap: found where it is there, seldom where it is not."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import Exit, HarnessError, IncomparableError, RecordError, SpecError
from harness.scoring.gap import Gap, between, gap, text
from harness.scoring.items import Item
from tests.strategies import Candidate, profile, records

CASES = ("ko-arith", "ko-josa", "en-arith", "en-josa")


def item(number: int, template: str, *, correct: bool, chance: float = 0.25) -> Item:
    return Item(
        number=number, template=template, level=1, chance=chance, correct=correct, answered=True
    )


def side(
    skill: float, seed: object, *, items: int = 100, spread: float = 0.2
) -> dict[str, list[Item]]:
    """Items of 20 templates a case, some of which are harder than others."""
    draw = random.Random(f"{seed}")
    out = {}
    for case in CASES:
        # A template is as hard on both sides.
        hard = random.Random(case)
        ease = [hard.uniform(-spread, spread) for _ in range(20)]
        out[case] = [
            item(n, f"t{n % 20}", correct=draw.random() < skill + ease[n % 20])
            for n in range(items)
        ]
    return out


def found(public: Mapping[str, list[Item]], secret: Mapping[str, list[Item]]) -> Gap:
    out = gap(public, secret)
    assert out is not None
    return out


def test_a_large_gap_is_found() -> None:
    out = found(side(0.75, "a"), side(0.55, "b"))
    assert out.significant
    assert out.p < 0.001
    assert out.value == pytest.approx(0.2 / 0.75, abs=0.12)
    assert out.interval.lo < out.value < out.interval.hi
    assert out.value == pytest.approx(out.public - out.secret)
    assert (out.public_items, out.secret_items) == (400, 400)
    assert out.cases == tuple(sorted(CASES))
    back = found(side(0.55, "b"), side(0.75, "a"))
    assert back.value == pytest.approx(-out.value)
    assert back.significant


def test_without_a_gap_an_alarm_is_rare() -> None:
    """At most 5 % are expected; templates are the same, which makes it rarer still."""
    alarms = sum(
        found(side(0.6, f"p{n}"), side(0.6, f"s{n}", items=60)).significant for n in range(100)
    )
    assert alarms <= 8


def test_a_gap_of_ten_points_is_seldom_missed() -> None:
    seen = sum(
        found(side(0.65, f"p{n}", items=200), side(0.55, f"s{n}", items=200)).significant
        for n in range(40)
    )
    assert seen >= 32


def test_all_right_and_all_wrong_of_few_items_prove_little() -> None:
    right = {"ko-arith": [item(0, "t", correct=True)]}
    wrong = {"ko-arith": [item(0, "t", correct=False)]}
    out = found(right, wrong)
    assert out.value == pytest.approx(4 / 3)
    assert not out.significant
    many = {"ko-arith": [item(n, f"t{n % 20}", correct=True) for n in range(100)]}
    none = {"ko-arith": [item(n, f"t{n % 20}", correct=False) for n in range(100)]}
    assert found(many, none).significant
    same = found(many, many)
    assert (same.value, same.significant, same.p) == (0.0, False, 1.0)


def test_only_cases_of_both_sides_count() -> None:
    public = side(0.7, "a")
    secret = {case: items for case, items in side(0.7, "b").items() if case != "en-josa"}
    secret["exam"] = secret["ko-arith"]
    out = found(public, secret)
    assert out.cases == ("en-arith", "ko-arith", "ko-josa")
    assert out.public_items == 300
    assert gap(public, {"exam": secret["exam"]}) is None
    assert gap({}, secret) is None
    assert gap({"ko-arith": []}, {"ko-arith": []}) is None


@settings(max_examples=30, deadline=None)
@given(
    public=st.floats(0, 1), secret=st.floats(0, 1), items=st.integers(1, 40), seed=st.integers(0, 9)
)
def test_the_interval_holds_the_gap(public: float, secret: float, items: int, seed: int) -> None:
    left, right = side(public, seed, items=items), side(secret, seed + 1, items=items)
    out = found(left, right)
    assert out.interval.lo <= out.value <= out.interval.hi
    assert 0 <= out.p <= 1
    assert out == found(left, right)
    shuffled = {case: list(reversed(rows)) for case, rows in reversed(left.items())}
    assert found(shuffled, right) == out


# --- runs -----------------------------------------------------------------------------

HONEST = Candidate(id="honest", skill=0.6, seed=1)
CHEAT = Candidate(id="cheat", skill=0.9, seed=2)


def runs(
    candidates: list[Candidate], seed: Mapping[str, Any] | None = None, **suite: Any
) -> list[dict[str, Any]]:
    used = profile()
    assert used.suites.accuracy is not None
    used = replace(
        used, suites=replace(used.suites, accuracy=replace(used.suites.accuracy, **suite))
    )
    made = records(candidates, used)
    if seed is not None:
        made[0]["seed"] = {"generator": "0a" * 32} | seed
    return made


PUBLIC = runs([HONEST, CHEAT], {"public": True})
SECRET = runs([replace(HONEST, seed=11), replace(CHEAT, skill=0.5, seed=12)], {"public": False})


def test_every_model_of_both_runs_is_compared() -> None:
    out = between(PUBLIC, SECRET)
    first, second = out["entries"]
    assert (first["model"], first["significant"]) == ("cheat", True)
    assert (second["model"], second["significant"]) == ("honest", False)
    assert first["lo"] > 0
    assert first["p"] < 0.05
    assert (first["public_items"], first["secret_items"]) == (240, 240)
    assert out["left_out"] == {}
    assert json.loads(json.dumps(out)) == out
    assert between(list(reversed(PUBLIC)), SECRET) == out
    table = text(out).splitlines()
    assert table[0].split() == ["model", "public", "secret", "gap", "95", "%", "interval", "p"]
    assert table[1].startswith("cheat ")
    assert table[1].endswith("better on the public items")
    assert table[2].startswith("honest ")
    assert not table[2].endswith("items")


def test_models_that_cannot_be_compared_are_named() -> None:
    other = runs([replace(HONEST, seed=11), replace(CHEAT, id="new")], {"public": False})
    for model in other[0]["models"]:
        if model["id"] == "honest":
            model["sha256"] = {"model.gguf": "0b" * 32}
    with pytest.raises(IncomparableError) as caught:
        between(PUBLIC, other)
    assert caught.value.message == "no model answered items in both runs"
    assert "honest: the model's files differ" in caught.value.allowed
    assert "cheat: only in the public run" in caught.value.allowed
    assert "new: only in the secret run" in caught.value.allowed
    assert caught.value.exit_code == Exit.INCOMPARABLE
    silent = runs([HONEST, replace(CHEAT, fails=(("accuracy", "crashed"),))], {"public": False})
    assert between(PUBLIC, silent)["left_out"] == {"cheat": "no case was answered in both runs"}
    assert "left out cheat: no case" in text(between(PUBLIC, silent))


@pytest.mark.parametrize(
    ("public", "secret", "message", "error"),
    [
        (SECRET, SECRET, "the first run asked secret items", SpecError),
        (PUBLIC, PUBLIC, "the second run asked the public items", SpecError),
        (PUBLIC, runs([HONEST], {"public": False}, shots=3),
         "the runs differ in more than their items: shots is 0 and 3", IncomparableError),
        (PUBLIC, runs([HONEST], {"public": False}, context=512),
         "the runs differ in more than their items: context is 2048 and 512", IncomparableError),
        (PUBLIC, runs([HONEST], {"public": False, "generator": "0b" * 32}),
         "the runs' items were made by different versions", IncomparableError),
        ([], SECRET, "no run record", RecordError),
    ],
    ids=["both secret", "both public", "shots", "context", "generator", "empty"],
)  # fmt: skip
def test_runs_that_say_nothing_of_a_gap(
    public: list[dict[str, Any]],
    secret: list[dict[str, Any]],
    message: str,
    error: type[HarnessError],
) -> None:
    with pytest.raises(error) as caught:
        between(public, secret)
    assert caught.value.message.startswith(message)
    assert caught.value.hint


def test_runs_that_do_not_say_their_seed_are_taken_at_their_word() -> None:
    assert between(runs([HONEST]), runs([replace(HONEST, seed=3)]))["entries"]


def test_more_items_on_one_side_are_no_difference() -> None:
    assert between(PUBLIC, runs([HONEST], {"public": False}, items=30))["entries"]


def test_own_data_is_the_same_in_both_runs_and_left_out() -> None:
    """Items under another name than a generated task's say nothing of a gap."""
    own = [
        row | {"case": "exam"} if row.get("kind") == "item" and row["case"] == "ko-josa" else row
        for row in runs([HONEST], {"public": True})
    ]
    out = between(own, runs([replace(HONEST, seed=11)], {"public": False}))
    assert out["entries"][0]["cases"] == ["en-arith", "en-josa", "ko-arith"]
